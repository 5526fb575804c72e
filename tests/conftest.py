"""Fixtures that tests share: small data, small models that nobody trained, and bundles of them.

An export takes seconds, so each bundle is made once a session; a test that damages one takes a copy. Torch and ONNX are
imported inside the fixtures, so that tests which need neither start quickly.
"""

from __future__ import annotations

import functools
import gc
import gzip
import hashlib
import os
import shutil
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vaekit.bundle import CHECKSUMS, MANIFEST, Bundle, checksums, describe_file, describe_graph
from vaekit.datasets import Dataset, Split
from vaekit.manifest import FileInfo, Manifest
from vaekit.runtime.telemetry import turn_off
from vaekit.spec import DataSpec, ModelSpec

if TYPE_CHECKING:
    from vaekit.exporting import ModulePair

sys.path.append(str(Path(__file__).parent))  # tests are no package; those here share modules

TRAIN_ITEMS, TEST_ITEMS = 320, 300
"""Items of the small data sets: more than the 256 at which batches end, so that the last one is cut."""

FEATURES = 6
"""Values of an item of the real-valued data set."""


turn_off()  # tests import ONNX Runtime themselves too

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _dear_things_once() -> None:
    """Once the exporter was imported: what it does anew for each of hundreds of small models is done once, or for less long.

    torch builds its table of operators at each export, a second on a slow machine; here it keeps it. The rates that a
    manifest states are measured as ever, only shorter. And what the imports left is no longer searched for garbage.
    """
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")
    if registration is not None and not hasattr(registration.ONNXRegistry.from_torchlib, "cache_info"):
        build = registration.ONNXRegistry.from_torchlib.__func__
        registration.ONNXRegistry.from_torchlib = classmethod(functools.cache(build))
        gc.freeze()
    rates = sys.modules.get("vaekit.exporting.rates")
    if rates is not None:
        rates.SECONDS = min(rates.SECONDS, 0.05)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def small_dataset() -> Dataset:
    """Images of MNIST's shape and type, in memory: a bright rectangle whose place depends on the label, plus noise."""
    rng = np.random.default_rng(20240501)

    def split(count: int) -> Split:
        labels = np.arange(count, dtype=np.int64) % 10
        images = rng.integers(0, 40, size=(count, 1, 28, 28))
        for image, label in zip(images, labels, strict=True):
            top, left = 2 + 4 * (label // 2), 4 + 12 * (label % 2)
            image[0, top : top + 8, left : left + 8] += 200
        return Split(images.astype(np.uint8), labels)

    train, test = split(TRAIN_ITEMS), split(TEST_ITEMS)
    return Dataset("small", "small", _digest(train, test), train, test)


@pytest.fixture(scope="session")
def small_data_folder(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data set as the four IDX files that `load_dataset` reads."""
    folder = tmp_path_factory.mktemp("data") / "small"
    folder.mkdir()
    for part, split in (("train", small_dataset.train), ("t10k", small_dataset.test)):
        assert split.labels is not None
        for stem, array in (("images-idx3", split.items[:, 0]), ("labels-idx1", split.labels.astype(np.uint8))):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (folder / f"{part}-{stem}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes(), 1))
    return folder


@pytest.fixture(scope="session")
def real_dataset() -> Dataset:
    """Correlated real values without bounds and without labels, float32, shape (6,)."""
    rng = np.random.default_rng(7)
    mix = rng.normal(size=(2, FEATURES))

    def split(count: int) -> Split:
        items = rng.normal(size=(count, 2)) @ mix + 0.1 * rng.normal(size=(count, FEATURES))
        return Split(items.astype(np.float32))

    train, test = split(TRAIN_ITEMS), split(TEST_ITEMS)
    return Dataset("real", "real", _digest(train, test), train, test)


@pytest.fixture(scope="session")
def small_pair() -> ModulePair:
    """A VAE of 784-16-(2x5) and 5-16-784 with a sigmoid, its weights drawn and never trained."""
    return _pair(ModelSpec("vae", DataSpec((1, 28, 28)), 5, "bernoulli"), hidden=16, seed=1)


@pytest.fixture(scope="session")
def ae_pair() -> ModulePair:
    """The classic autoencoder of the same widths."""
    return _pair(ModelSpec("ae", DataSpec((1, 28, 28)), 5, "bernoulli"), hidden=16, seed=2)


@pytest.fixture(scope="session")
def gaussian_pair() -> ModulePair:
    """A VAE with a Gaussian likelihood on six real values, 3 latent dimensions."""
    return _pair(ModelSpec("vae", DataSpec((FEATURES,), None), 3, "gaussian"), hidden=8, seed=3)


@pytest.fixture(scope="session")
def small_bundle(small_pair: ModulePair, small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an exported bundle of `small_pair`. Shared by all tests: take `bundle_copy` to change anything."""
    return _export(small_pair, small_dataset, tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture(scope="session")
def ae_bundle(ae_pair: ModulePair, small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an exported bundle of `ae_pair`."""
    return _export(ae_pair, small_dataset, tmp_path_factory.mktemp("bundles") / "small-ae")


@pytest.fixture(scope="session")
def gaussian_bundle(gaussian_pair: ModulePair, real_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an exported bundle of `gaussian_pair`; without a preview, since its items are no images."""
    return _export(gaussian_pair, real_dataset, tmp_path_factory.mktemp("bundles") / "small-gaussian")


@pytest.fixture(scope="session")
def pixel_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small colour model's bundle that has app-ready graphs (uint8 pixels) too."""
    from pixel_models import colour_data, colour_pair

    from vaekit.exporting import export_bundle

    return export_bundle(colour_pair(), tmp_path_factory.mktemp("bundles") / "px", data=colour_data(), io="uint8").path


@pytest.fixture
def bundle_copy(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of `small_bundle` that a test may damage."""
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


@pytest.fixture
def at_home(tmp_path: Path) -> dict[str, str]:
    """Environment of a user with an empty home folder, HOME, who has said nothing about telemetry and is no CI."""
    home = tmp_path / "home"
    home.mkdir()
    left_out = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")
    return {**{name: value for name, value in os.environ.items() if name not in left_out}, "HOME": str(home)}


@pytest.fixture(scope="session")
def rehash() -> Callable[..., None]:
    """Return a function that makes a changed bundle consistent again, so that only its content can be refused.

    ``rehash(folder)`` states every file's size and SHA-256 anew, in manifest.json and in SHA256SUMS.
    ``rehash(folder, change)`` also passes the manifest through ``change(manifest) -> manifest``.
    """
    return _rehash


def _rehash(folder: Path, change: Callable[[Manifest], Manifest] = lambda manifest: manifest) -> None:
    def state(file: FileInfo) -> FileInfo:
        return describe_file(file.file, (folder / file.file).read_bytes())

    manifest = Manifest.from_bytes((folder / MANIFEST).read_bytes())
    precisions = {}
    for name, info in manifest.precisions.items():
        graphs = {}
        for half, graph in (("encoder", info.encoder), ("decoder", info.decoder)):
            graphs[half] = graph.replace(file=state(graph.file), ort=None if graph.ort is None else state(graph.ort))
        precisions[name] = info.replace(**graphs)
    manifest = change(
        manifest.replace(
            precisions=precisions,
            golden=state(manifest.golden),
            extra_files=tuple(map(state, manifest.extra_files)),
        )
    )
    content = manifest.to_bytes()
    (folder / MANIFEST).write_bytes(content)
    (folder / CHECKSUMS).write_bytes(checksums(content, manifest.files()))


@pytest.fixture(scope="session")
def replace_graph() -> Callable[[Path, str, bytes], None]:
    """Return ``replace_graph(folder, half, content)``: another graph in a bundle whose manifest states it truly."""

    def exchange(folder: Path, half: str, content: bytes) -> None:
        (folder / f"{half}.onnx").write_bytes(content)

        def change(manifest: Manifest) -> Manifest:
            info = manifest.precisions["fp32"]
            graph = getattr(info, half)
            try:
                graph = describe_graph(graph.file, content)
            except Exception:  # noqa: BLE001  the test wants to see this refusal when the bundle is loaded
                graph = graph.replace(file=describe_file(graph.file.file, content))
            return manifest.replace(precisions={"fp32": info.replace(**{half: graph})})

        _rehash(folder, change)

    return exchange


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run torch on one thread, so that its sums do not depend on the machine's cores; put back what training changes."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """Return ``need(name)``: path of a program; where there is none, a test is skipped, and fails in CI, which installs all."""

    def path_of(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            reason = f"{name} is not on PATH, so what it runs cannot be tried"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return path_of


def _digest(*splits: Split) -> str:
    digest = hashlib.sha256()
    for split in splits:
        digest.update(np.ascontiguousarray(split.items).data)
        if split.labels is not None:  # IDX files keep labels as bytes
            digest.update(split.labels.astype(np.uint8).data)
    return digest.hexdigest()


def _export(pair: ModulePair, data: Dataset, target: Path) -> Path:
    from vaekit.exporting import export_bundle

    bundle: Bundle = export_bundle(pair, target, data=data)
    return bundle.path


def _pair(spec: ModelSpec, *, hidden: int, seed: int) -> ModulePair:
    """Encoder and decoder written in plain torch, not with vaekit's own models."""
    import torch
    from torch import Tensor, nn

    from vaekit.exporting import ModulePair

    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(spec.data.size, hidden), nn.ReLU())
            self.mean = nn.Linear(hidden, spec.latent)
            self.log_var = nn.Linear(hidden, spec.latent)

        def forward(self, x: Tensor) -> Any:
            h = self.body(x)
            return (self.mean(h), self.log_var(h)) if spec.kind == "vae" else self.mean(h)

    last: list[nn.Module] = [nn.Sigmoid()] if spec.likelihood == "bernoulli" else []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = TwoHeads()
        decoder = nn.Sequential(
            nn.Linear(spec.latent, hidden),
            nn.Tanh(),
            nn.Linear(hidden, spec.data.size),
            *last,
            nn.Unflatten(1, spec.data.shape),
        )
        with torch.no_grad():  # wider than torch's own start, so that codes spread and pictures differ
            encoder.mean.weight.mul_(6)
            for parameter in decoder.parameters():
                parameter.mul_(3)
    return ModulePair(encoder, decoder, spec)
