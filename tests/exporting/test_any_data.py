"""From data of every kind to a bundle that is proved: tables in their own units, series, images, larger models, own modules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit
from vaekit.datasets import DataOptions, load_dataset, options_for
from vaekit.elbo import bits_per_dimension
from vaekit.exporting import export_bundle
from vaekit.runtime.evaluate import evaluate
from vaekit.runtime.verify import ROUNDING, verify_bundle
from vaekit.spec import DataSpec
from vaekit.training import TrainConfig, train

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ("temperature", "pressure", "flow")
ROWS = 600


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three columns that follow one another, in units far apart: tens, a hundred thousand, a thousandth."""
    rng = np.random.default_rng(3)
    t = np.arange(ROWS)
    columns = (
        20 + 5 * np.sin(t / 20) + rng.normal(0, 0.3, ROWS),
        1e5 + 300 * np.cos(t / 20) + rng.normal(0, 20, ROWS),
        1e-3 * np.sin(t / 20 + 1) + rng.normal(0, 1e-4, ROWS),
    )
    path = tmp_path_factory.mktemp("table") / "plant.csv"
    lines = [",".join(NAMES), *(",".join(f"{value:.9g}" for value in row) for row in zip(*columns, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty colour images of two sizes: a bright square on one of two sides."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(4)
    for index in range(40):
        side = 24 if index % 2 else 33
        pixels = rng.integers(0, 60, (side, side, 3), np.uint8)
        left = 2 if index % 4 < 2 else side // 2
        pixels[4:12, left : left + 8] = (250, 120, 30)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def bundle_of(data: Path, options: DataOptions, config: TrainConfig, folder: Path) -> vaekit.Bundle:
    """Train, export, and prove once more."""
    checkpoint = train(load_dataset(data, options), config, folder / "run")
    bundle = export_bundle(checkpoint, folder / "bundle")
    proof = verify_bundle(bundle, vaekit.load(bundle, provider="cpu", threads=1))
    assert all(deviation.passed for deviation in proof), proof
    return bundle


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))


def test_a_table_goes_in_and_comes_out_in_its_own_units(table: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        likelihood="gaussian", scale="learned", hidden=(32,), latent=3, epochs=40, batch_size=32, learning_rate=5e-3,
        device="cpu",
    )  # fmt: skip
    bundle = bundle_of(table, DataOptions(), config, tmp_path)
    features = bundle.manifest.spec.data.features
    assert [feature.name for feature in features] == list(NAMES)
    rows = np.loadtxt(table, delimiter=",", skiprows=1, dtype=np.float32)
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    again = vae.reconstruct(rows)
    # Within half a standard deviation of each column, on average: a model in other units would be off by thousands.
    assert (np.abs(again - rows).mean(axis=0) < 0.5 * rows.std(axis=0)).all()
    drawn = vae.sample(500)
    assert (np.abs(drawn.mean(axis=0) - rows.mean(axis=0)) < 0.5 * rows.std(axis=0)).all()
    # The learned scale is in the manifest, and is the spread that is left, in standard deviations.
    left = float((((rows - again) / rows.std(axis=0)) ** 2).mean() ** 0.5)
    assert 0.5 * left < bundle.manifest.spec.scale < 2 * left + 0.3
    card = (bundle.path / "README.md").read_text()
    assert all(name in card for name in NAMES)


def test_the_nats_of_a_table_are_those_of_standardised_values(table: Path, tmp_path: Path) -> None:
    config = TrainConfig(likelihood="gaussian", scale=0.5, hidden=(8,), latent=2, epochs=2, device="cpu")
    bundle = bundle_of(table, DataOptions(), config, tmp_path)
    data = load_dataset(table)
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    found = evaluate(vae, data.test.items)
    x = data.test.items[:]
    posterior = vae.encode(x)
    x_hat = vae.decode(posterior.sample(seed=0))
    units = np.array([feature.scale for feature in data.features])
    by_hand = 0.5 * (((x.astype(np.float64) - x_hat) / units / 0.5) ** 2).sum(axis=1) + 3 * np.log(0.5)
    assert found.reconstruction == pytest.approx(by_hand.mean(), rel=1e-6)


@pytest.mark.parametrize("arch", ["mlp", "conv", "resnet"])
def test_windows_of_a_series(table: Path, tmp_path: Path, arch: str) -> None:
    config = TrainConfig(likelihood="gaussian", latent=2, epochs=1, arch=arch, device="cpu", width=None)
    bundle = bundle_of(table, DataOptions(window=20, stride=5, columns=NAMES[::-1]), config, tmp_path)
    data = bundle.manifest.spec.data
    assert (data.shape, data.layout) == ((3, 20), "DT")
    assert [feature.name for feature in data.features] == list(NAMES[::-1])
    assert vaekit.load(bundle, provider="cpu").sample(2).shape == (2, 3, 20)


def test_a_folder_of_photographs_with_bits_per_dimension(photos: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        likelihood="discretized-logistic",
        arch="conv",
        width=8,
        latent=4,
        epochs=40,
        learning_rate=5e-3,
        batch_size=16,
        ema=0.9,
        device="cpu",
    )
    bundle = bundle_of(photos, DataOptions(size=16), config, tmp_path)
    quality = bundle.manifest.precisions["fp32"].quality
    assert bundle.manifest.spec.data == DataSpec((3, 16, 16))
    assert quality["bits_per_dimension"] == pytest.approx(quality["negative_elbo"] / (3 * 16 * 16 * np.log(2)))
    assert 0 < quality["bits_per_dimension"] < 8.5  # 8 is what levels cost that nothing is known of
    assert "bits per dimension" in (bundle.path / "README.md").read_text()
    assert (bundle.path / "preview.png").exists()


def test_a_module_of_the_users_own(small_data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Tiny(torch.nn.Module):\n"
        "    def __init__(self, spec):\n"
        "        super().__init__()\n"
        "        self.spec = spec\n"
        "        self.down = torch.nn.Linear(spec.data.size, 2 * spec.latent)\n"
        "        self.up = torch.nn.Linear(spec.latent, spec.data.size)\n"
        "    def encode(self, x):\n"
        "        return tuple(self.down(x.flatten(1)).chunk(2, 1))\n"
        "    def decode_params(self, z):\n"
        "        return self.up(z).reshape(-1, *self.spec.data.shape)\n"
    )
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(model="mine:Tiny", latent=3, epochs=1, device="cpu")
    bundle = bundle_of(small_data_folder, DataOptions(), config, tmp_path)
    assert bundle.manifest.made_by["config"]["model"] == "mine:Tiny"


def test_averaged_weights_are_what_is_exported(small_data_folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(hidden=(8,), latent=2, epochs=2, learning_rate=0.05, ema=0.99, device="cpu")
    checkpoint = train(load_dataset(small_data_folder), config, tmp_path / "run")
    bundle = export_bundle(checkpoint, tmp_path / "bundle")
    now = {name[4:]: value for name, value in checkpoint.optimizer().items() if name.startswith("now/")}
    averaged = checkpoint.weights()
    assert set(now) == set(averaged)
    assert any(not torch.equal(now[name], averaged[name]) for name in now)
    x = load_dataset(small_data_folder).test.pixels(slice(8))
    with torch.inference_mode():
        wanted = checkpoint.model().encode(torch.from_numpy(x))[0].numpy()  # type: ignore[operator]
    np.testing.assert_allclose(vaekit.load(bundle, provider="cpu").encode(x).mean, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [
        ("photos", DataSpec((3, 16, 16)), DataOptions(size=16, channels=3)),
        ("photos", DataSpec((1, 16, 20)), DataOptions(channels=1)),
        ("mnist", DataSpec((1, 28, 28)), DataOptions()),
        ("x.npy", DataSpec((4,)), DataOptions()),
    ],
)
def test_data_is_read_as_the_model_takes_it(
    name: str, spec: DataSpec, expected: DataOptions, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    source = str(photos) if name == "photos" else name
    assert options_for(source, spec) == expected


def test_a_table_is_read_as_the_model_takes_it() -> None:
    features = tuple(vaekit.Feature(name, 1.0, 2.0) for name in NAMES)
    assert options_for("x.csv", DataSpec((3,), None, features)) == DataOptions(columns=NAMES)
    assert options_for("x.parquet", DataSpec((3, 9), None, features)) == DataOptions(columns=NAMES, window=9)


def test_values_of_any_size_are_compared_as_closely_as_float32_can_hold_them() -> None:
    from vaekit.runtime.verify import difference

    b = np.array([[1e6, 1.0]], np.float32)
    near = np.nextafter(b, np.float32(np.inf))
    assert difference(near, b) == pytest.approx(0.0625)
    units = np.array([100.0, 1.0])
    assert difference(near, b, units=units) == 0.0
    off = b + np.array([[100.0, 0.01]], np.float32)
    assert difference(off, b, units=units) == pytest.approx(1 - ROUNDING * 1e6 / 100, rel=1e-6)


def test_bits_per_dimension() -> None:
    assert bits_per_dimension(784 * np.log(2), 784) == pytest.approx(1)
    assert bits_per_dimension(3072 * 8 * np.log(2), 3072) == pytest.approx(8)
