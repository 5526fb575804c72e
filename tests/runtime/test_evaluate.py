"""Means over a data set, against a float64 evaluation of the torch modules in one batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import vaekit
from vaekit.datasets import Dataset
from vaekit.errors import DataError, ShapeError
from vaekit.runtime.evaluate import evaluate

if TYPE_CHECKING:
    from vaekit.exporting import ModulePair


def load(folder: Path) -> vaekit.VAE:
    return vaekit.load(folder, provider="cpu", threads=1)


def expected(pair: ModulePair, x: np.ndarray, seed: int) -> dict[str, Any]:
    """The evaluation written out once more: modules in torch, everything after them in NumPy float64."""
    with torch.inference_mode():
        out = pair.encoder(torch.from_numpy(x))
    mean = (out[0] if isinstance(out, tuple) else out).numpy().astype(np.float64)
    variance = np.exp(out[1].numpy().astype(np.float64)) if isinstance(out, tuple) else np.zeros_like(mean)
    z = mean + np.sqrt(variance) * vaekit.noise(seed=seed, count=len(x), dim=mean.shape[1])
    with torch.inference_mode():
        x_hat = pair.decoder(torch.from_numpy(z.astype(np.float32))).numpy().astype(np.float64)
    loss = (x - x_hat) ** 2 / 2
    if pair.spec.likelihood == "bernoulli":
        loss = -(x * np.log(x_hat) + (1 - x) * np.log(1 - x_hat))
    kl = (variance + mean**2 - 1 - np.log(variance)) / 2 if pair.spec.kind == "vae" else np.zeros_like(mean)
    return {
        "reconstruction": loss.reshape(len(x), -1).sum(axis=1).mean(),
        "kl_per_dimension": kl.mean(axis=0),
        "mean": mean.mean(axis=0),
        "std": np.sqrt(mean.var(axis=0) + variance.mean(axis=0)),
        "active": tuple(np.flatnonzero(mean.var(axis=0) > 0.01)),
    }


@pytest.mark.parametrize(
    ("bundle", "pair", "data"),
    [
        ("small_bundle", "small_pair", "small_dataset"),
        ("ae_bundle", "ae_pair", "small_dataset"),
        ("gaussian_bundle", "gaussian_pair", "real_dataset"),
    ],
)
def test_an_evaluation_is_that_of_torch_in_float64(
    request: pytest.FixtureRequest, bundle: str, pair: str, data: str
) -> None:
    model, dataset = request.getfixturevalue(pair), request.getfixturevalue(data)
    assert len(dataset.test) == 300  # more than a batch, and no multiple of one
    truth = expected(model, dataset.test.pixels(slice(None)), seed=5)
    found = evaluate(load(request.getfixturevalue(bundle)), dataset.test.items, seed=5)
    assert found.items == 300
    assert found.reconstruction == pytest.approx(truth["reconstruction"], abs=0.01)
    assert found.kl == pytest.approx(truth["kl_per_dimension"].sum(), abs=0.01)
    assert found.negative_elbo == pytest.approx(found.reconstruction + found.kl)
    np.testing.assert_allclose(found.kl_per_dimension, truth["kl_per_dimension"], atol=1e-4)
    np.testing.assert_allclose(found.mean, truth["mean"], atol=1e-5)
    np.testing.assert_allclose(found.std, truth["std"], atol=1e-5)
    assert found.active == truth["active"]


def test_pixels_and_the_floats_that_they_stand_for_are_evaluated_alike(
    small_bundle: Path, small_dataset: Dataset
) -> None:
    vae = load(small_bundle)
    items = small_dataset.test.items[:20]
    assert items.dtype == np.uint8
    assert evaluate(vae, items) == evaluate(vae, (items / 255).astype(np.float32))


def test_item_i_takes_sample_i_of_the_noise(small_bundle: Path, small_dataset: Dataset) -> None:
    vae = load(small_bundle)
    x = small_dataset.test.pixels(slice(None))
    assert evaluate(vae, x, seed=9).negative_elbo == pytest.approx(vae.score(x, seed=9).mean(), abs=1e-3)


def test_quality_is_what_a_manifest_keeps(small_bundle: Path, small_dataset: Dataset) -> None:
    vae = load(small_bundle)
    found = evaluate(vae, small_dataset.test.items)
    assert set(found.quality()) == {"items", "negative_elbo", "reconstruction", "kl"}
    for name, value in vae.manifest.precisions["fp32"].quality.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6)


def test_no_items_are_refused(small_bundle: Path) -> None:
    with pytest.raises(DataError, match="there is nothing to evaluate: the data set has no items"):
        evaluate(load(small_bundle), np.empty((0, 1, 28, 28), np.uint8))


def test_items_that_do_not_fit_the_model_are_refused(small_bundle: Path) -> None:
    with pytest.raises(ShapeError, match=r"x has shape \(3, 28, 28\), but the model takes \(N, 1, 28, 28\)"):
        evaluate(load(small_bundle), np.zeros((3, 28, 28), np.uint8))
