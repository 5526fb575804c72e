"""Calibration: which items and codes are taken, and the ranges of a graph against NumPy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graphs_by_hand import Exported

import vaekit
from vaekit.datasets import Dataset, Split
from vaekit.errors import ConfigError, DataError, ShapeError
from vaekit.exporting import ModulePair, calibration
from vaekit.exporting.calibration import METHODS, calibration_data, ranges
from vaekit.exporting.quantize import INTEGER, prepare
from vaekit.noise import noise


@pytest.fixture
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


def test_items_come_from_all_over_the_training_part_and_no_item_serves_twice(
    vae: vaekit.VAE, small_dataset: Dataset
) -> None:
    data = calibration_data(vae, small_dataset.train, 40)
    assert data.x.shape == data.chosen_on.shape == (40, 1, 28, 28)
    assert data.x.dtype == np.float32
    where = {item.tobytes(): row for row, item in enumerate(small_dataset.train.pixels(slice(None)))}
    used, kept = ([where[item.tobytes()] for item in items] for items in (data.x, data.chosen_on))
    assert not set(used) & set(kept)
    assert (min(used), max(kept)) == (0, 319)
    for rows in (used, kept):
        assert np.diff(rows).min() >= 6, "every eighth or so"
        assert np.diff(rows).max() <= 10


def test_of_large_items_fewer_are_taken(
    vae: vaekit.VAE, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "ITEM_BYTES", 2 * 4 * 784 * 50)
    data = calibration_data(vae, small_dataset.train, 100)
    assert (len(data.x), len(data.chosen_on)) == (50, 50)
    monkeypatch.setattr(calibration, "ITEM_BYTES", 1)
    assert len(calibration_data(vae, small_dataset.train, 100).x) == 32


def test_codes_are_half_from_the_posteriors_and_half_from_the_prior(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    data = calibration_data(vae, small_dataset.train, 40)
    assert data.z.shape == (80, 5)
    posterior = vae.encode(data.x)
    eps = noise(seed=0, count=40, dim=5)
    np.testing.assert_allclose(data.z[:40], posterior.mean + np.exp(posterior.log_var / 2) * eps, atol=1e-5)
    np.testing.assert_array_equal(data.z[40:], noise(seed=0, count=40, dim=5, start=40))


def test_a_small_part_gives_half_of_its_items(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    data = calibration_data(vae, Split(small_dataset.train.items[:70]), 512)
    assert (len(data.x), len(data.chosen_on)) == (35, 35)


@pytest.mark.parametrize("count", [31, 0, -5])
def test_too_few_calibration_items_are_refused(vae: vaekit.VAE, small_dataset: Dataset, count: int) -> None:
    with pytest.raises(ConfigError, match=rf"calibration_items={count}: fewer than 32 items say little about a range"):
        calibration_data(vae, small_dataset.train, count)


@pytest.mark.parametrize("count", [1, 63])
def test_too_little_training_data_is_refused(vae: vaekit.VAE, small_dataset: Dataset, count: int) -> None:
    message = f"int8 takes 64 training items at least, .* but the data has {count}; give more, or leave int8 out"
    with pytest.raises(DataError, match=message):
        calibration_data(vae, Split(small_dataset.train.items[:count]))


@pytest.mark.parametrize("shape", [(100, 28, 28), (100, 1, 28, 27), (100, 784)])
def test_calibration_data_of_another_shape_is_refused(vae: vaekit.VAE, shape: tuple[int, ...]) -> None:
    message = r"the calibration data has items of shape \(.*\), but the model takes \(1, 28, 28\)"
    with pytest.raises(ShapeError, match=message):
        calibration_data(vae, Split(np.zeros(shape, np.uint8)))


def test_calibration_data_out_of_the_models_range_is_refused(vae: vaekit.VAE) -> None:
    with pytest.raises(ShapeError, match="x has values from 7 to 7, but the model takes 0 to 1"):
        calibration_data(vae, Split(np.full((100, 1, 28, 28), 7, np.float32)))


# Ranges.


@pytest.fixture
def decoder(small_bundle: Path) -> onnx.ModelProto:
    return prepare((small_bundle / "decoder.onnx").read_bytes())


def inner_values(pair: ModulePair, z: np.ndarray) -> list[np.ndarray]:
    """z, both products, the hyperbolic tangent between them and the result, by torch in float64."""
    first, tanh, second, *_ = pair.decoder.double().eval()
    with torch.inference_mode():
        a = first(torch.from_numpy(z).double())
        b = second(tanh(a))
        values = [torch.from_numpy(z), a, tanh(a), b, torch.sigmoid(b)]
    pair.decoder.float()
    return [value.numpy() for value in values]


def limits(found: object, model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
    names = {output for node in model.graph.node for output in node.output} | {"z"}
    return {
        name: tuple(float(np.asarray(limit).reshape(())) for limit in found[name].range_value)  # type: ignore[index]
        for name in names
        if name in found  # type: ignore[operator]
    }


def test_minmax_is_the_smallest_and_largest_value(
    decoder: onnx.ModelProto, small_pair: ModulePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = np.random.default_rng(1).normal(size=(100, 5)).astype(np.float32)
    found = limits(ranges(decoder, z, "minmax", INTEGER), decoder)
    expected = sorted((value.min(), value.max()) for value in inner_values(small_pair, z))
    np.testing.assert_allclose(sorted(set(found.values())), expected, rtol=1e-5)
    # In any number of goes.
    monkeypatch.setattr(calibration, "ACTIVATIONS", 30_000)
    assert calibration._rows_at_once(decoder) < 10
    assert limits(ranges(decoder, z, "minmax", INTEGER), decoder) == found


@pytest.mark.parametrize("method", METHODS)
def test_every_method_stays_within_what_was_seen(decoder: onnx.ModelProto, method: str) -> None:
    z = np.random.default_rng(1).normal(size=(200, 5)).astype(np.float32)
    seen = limits(ranges(decoder, z, "minmax", INTEGER), decoder)
    found = limits(ranges(decoder, z, method, INTEGER), decoder)
    assert found.keys() == seen.keys()
    for name, (low, high) in found.items():
        largest = max(map(abs, seen[name]))
        step = 2 * largest / 64  # of the histograms
        assert -largest - step <= low < high <= largest + step


def test_percentile_leaves_outliers_out(decoder: onnx.ModelProto) -> None:
    z = np.random.default_rng(1).uniform(-1, 1, size=(60_000, 5)).astype(np.float32)
    z[7, 3] = 1000.0  # one of 300,000
    assert limits(ranges(decoder, z, "minmax", INTEGER), decoder)["z"][1] == 1000.0
    assert limits(ranges(decoder, z, "percentile", INTEGER), decoder)["z"][1] < 10


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("constant", [0.0, 0.5])
def test_one_constant_value_has_a_range_too(image_model: Exported, method: str, constant: float) -> None:
    encoder = prepare(image_model.encoder)
    found = limits(ranges(encoder, np.full((40, 1, 16, 16), constant, np.float32), method, INTEGER), encoder)
    assert all(np.isfinite(limit) for pair in found.values() for limit in pair)


def test_nothing_is_printed(decoder: onnx.ModelProto, capfd: pytest.CaptureFixture[str]) -> None:
    for method in METHODS:
        ranges(decoder, np.zeros((40, 5), np.float32), method, INTEGER)
    assert capfd.readouterr() == ("", "")
