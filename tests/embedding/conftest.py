"""What the tests of the targets share: the tools that a target needs, and bundles with more kinds of graphs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np
import onnxruntime
import pytest

from vaekit.datasets import Dataset
from vaekit.spec import DataSpec, ModelSpec

if TYPE_CHECKING:
    from vaekit.exporting import ModulePair

ORT_HOME = Path(onnxruntime.__file__).parent / "capi"
"""The library inside the Python wheel, which has no headers."""


@pytest.fixture(scope="session")
def unavailable() -> Callable[[str], NoReturn]:
    """Return ``unavailable(reason)``, for a tool that is missing: the test is skipped, and fails in CI, which installs all."""

    def stop(reason: str) -> NoReturn:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    return stop


@pytest.fixture(scope="session")
def make(need: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return ``make(folder, *targets) -> CompletedProcess``, with the wheel's ONNX Runtime."""
    need("make"), need("cc")

    def call(folder: Path, *targets: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "-C", str(folder), *targets, f"ORT_HOME={ORT_HOME}"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return call


@pytest.fixture(scope="session")
def assert_flags_build_anew(make: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[[Path, int], None]:
    """Return ``assert_flags_build_anew(project, count)``: other flags run that many commands, and keep what the noise needs."""

    def commands(project: Path, *flags: str) -> list[str]:
        done = make(project, "check", *flags)
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if " -o build/" in line]

    def check(project: Path, count: int) -> None:
        commands(project)
        assert commands(project) == []
        lines = commands(project, "CFLAGS=-O1 -DIT='is so'")
        assert len(lines) == count
        assert all(" -O1 -DIT='is so' -std=c11 -ffp-contract=off " in line for line in lines)
        assert commands(project, "CFLAGS=-O1 -DIT='is so'") == []
        assert len(commands(project)) == count, "what other flags have built is no longer what is tested"

    return check


@pytest.fixture(scope="session")
def table_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a table whose columns have units far apart: its decoder ends in a scale and an offset for each column."""
    rng = np.random.default_rng(11)
    rows = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 3)) * [1, 1e3, 1e-3] + [5, 1e5, 0]
    return _trained(tmp_path_factory.mktemp("table"), rows, "mlp", 0)


@pytest.fixture(scope="session")
def conv_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional model of windows of a series."""
    rng = np.random.default_rng(12)
    return _trained(tmp_path_factory.mktemp("conv"), rng.normal(size=(400, 2)).cumsum(axis=0), "conv", 16)


@pytest.fixture(scope="session")
def odd_bundle(real_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of dense layers with every function of single values that c-standalone writes by itself."""
    import torch
    from torch import Tensor, nn

    from vaekit.exporting import ModulePair, export_bundle

    class Affine(nn.Module):
        """``((v - a) / b) * c + a``, one number for each value, or one for all."""

        def __init__(self, *shape: int) -> None:
            super().__init__()
            a, b, c = torch.linspace(-0.3, 0.4, 3 * max(shape, default=1)).reshape(3, *shape)
            self.register_buffer("a", a), self.register_buffer("b", b + 2), self.register_buffer("c", c + 1.5)

        def forward(self, v: Tensor) -> Tensor:
            return (v - self.a) / self.b * self.c + self.a

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        encoder = nn.Linear(6, 2)
        layers = [
            nn.Linear(2, 9),
            nn.LeakyReLU(0.2),
            nn.Linear(9, 11, bias=False),
            nn.ELU(),
            Affine(11),
            nn.Linear(11, 13),
        ]
        layers += [nn.Sigmoid(), Affine(), nn.Linear(13, 5), nn.Tanh(), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6)]
        decoder = nn.Sequential(*layers, nn.Hardtanh(-0.4, 0.5))
    spec = ModelSpec("ae", DataSpec((6,), None), 2, "gaussian")
    return export_bundle(
        ModulePair(encoder, decoder, spec), tmp_path_factory.mktemp("odd") / "odd", data=real_dataset
    ).path


@pytest.fixture(scope="session")
def variants_bundle(small_pair: ModulePair, small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_pair` in three precisions."""
    from vaekit.exporting import Gate, export_bundle

    folder = tmp_path_factory.mktemp("variants") / "small"
    gate = Gate(max_delta_elbo=0.05, min_gain=1.0)
    precisions = ("fp16", "int8")
    bundle = export_bundle(
        small_pair, folder, data=small_dataset, precisions=precisions, gate=gate, calibration_items=64
    )
    assert set(bundle.manifest.precisions) == {"fp32", "fp16", "int8"}
    return bundle.path


def _trained(folder: Path, rows: np.ndarray, arch: str, window: int) -> Path:
    from vaekit.datasets import DataOptions, load_dataset
    from vaekit.exporting import export_bundle
    from vaekit.training import TrainConfig, train

    header = ",".join("abc"[: rows.shape[1]])
    np.savetxt(folder / "data.csv", rows, delimiter=",", header=header, comments="")
    options = DataOptions(window=window, stride=4) if window else DataOptions()
    common = {"likelihood": "gaussian", "latent": 2, "epochs": 1, "device": "cpu", "arch": arch}
    config = TrainConfig(**common, **({"width": 4} if arch == "conv" else {"hidden": (9, 7)}))
    checkpoint = train(load_dataset(folder / "data.csv", options), config, folder / "run")
    return export_bundle(checkpoint, folder / "bundle").path
