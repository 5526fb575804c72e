"""Bundles that tests of the explorer share: series, colour, a code of one, two or 256 dimensions, no labels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vaekit
from vaekit.cli.explorer.app import ExploreApp
from vaekit.datasets import Dataset, Split
from vaekit.spec import DataSpec, Feature, ModelSpec

sys.path.append(str(Path(__file__).parent))  # tests are no package; those here share a module

from pilots import app_of

SPECS = {
    "one": ModelSpec("vae", DataSpec((1, 8, 8)), 1, "bernoulli"),
    "two": ModelSpec("vae", DataSpec((1, 8, 8)), 2, "bernoulli"),
    "many": ModelSpec("vae", DataSpec((1, 8, 8)), 256, "bernoulli"),
    "colour": ModelSpec("vae", DataSpec((3, 16, 20)), 4, "bernoulli"),
    "series": ModelSpec("vae", DataSpec((2, 24), None, (Feature("speed"), Feature("torque", 5.0, 2.0))), 3, "gaussian"),
}


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return ``bundle_of(name)``: folder of an exported bundle of that spec, made once."""
    made: dict[str, Path] = {}

    def bundle(name: str) -> Path:
        if name not in made:
            made[name] = _export(SPECS[name], tmp_path_factory.mktemp("explore") / name)
        return made[name]

    return bundle


def _export(spec: ModelSpec, target: Path) -> Path:
    import torch
    from torch import nn

    from vaekit.exporting import ModulePair, export_bundle

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = nn.Linear(spec.data.size, spec.latent)
            self.log_var = nn.Linear(spec.data.size, spec.latent)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            flat = x.flatten(1)
            return 4 * self.mean(flat), self.log_var(flat) - 2

    last: list[nn.Module] = [nn.Sigmoid()] if spec.likelihood == "bernoulli" else []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        decoder = nn.Sequential(nn.Linear(spec.latent, spec.data.size), *last, nn.Unflatten(1, spec.data.shape))
        pair = ModulePair(Encoder(), decoder, spec)
    rng = np.random.default_rng(3)
    items = rng.random((40, *spec.data.shape)).astype(np.float32)
    data = Dataset("toy", "toy", "0" * 64, Split(items), Split(items[:20]), features=spec.data.features)
    return export_bundle(pair, target, data=data).path


@pytest.fixture
def vae(small_bundle: Path) -> vaekit.VAE:
    """The small VAE of five dimensions."""
    return vaekit.load(small_bundle, provider="cpu", threads=1)


@pytest.fixture
def app(small_bundle: Path, small_data_folder: Path, tmp_path: Path) -> ExploreApp:
    """The small model of five dimensions with 300 labelled items on its map."""
    return app_of(small_bundle, str(small_data_folder), folder=tmp_path / "explored")
