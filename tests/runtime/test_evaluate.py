"""Means over a data set, against a float64 evaluation of the torch modules in one batch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal
from torch.distributions import kl_divergence as torch_kl

import vaekit
from vaekit.datasets import Dataset, Split
from vaekit.errors import ConfigError, DataError, ShapeError
from vaekit.runtime.evaluate import evaluate, has_probability
from vaekit.spec import DataSpec, ModelSpec

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


def in_float64(pair: ModulePair, x: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Per item, the terms of the ELBO: the same weights and noise, everything in torch and float64."""
    encoder, decoder = copy.deepcopy(pair.encoder).double(), copy.deepcopy(pair.decoder).double()
    items = torch.from_numpy(x.astype(np.float64))
    with torch.no_grad():
        mean, log_var = encoder(items)
        posterior = Normal(mean, torch.exp(log_var / 2))
        eps = torch.from_numpy(vaekit.noise(seed=seed, count=len(x), dim=mean.shape[1])).double()
        x_hat = decoder(posterior.loc + posterior.scale * eps)
        kl = torch_kl(posterior, Normal(torch.zeros_like(mean), 1.0))
        if pair.spec.likelihood == "bernoulli":
            log_p = Bernoulli(x_hat, validate_args=False).log_prob(items)
        else:
            log_p = Normal(x_hat, pair.spec.scale).log_prob(items) + 0.5 * np.log(2 * np.pi)
    return {"reconstruction": -log_p.flatten(1).sum(1).numpy(), "kl": kl.numpy(), "mean": mean.numpy()}


@pytest.mark.parametrize("batch_size", [1, 77, 256, 1000])
@pytest.mark.parametrize(
    ("bundle", "pair", "data"),
    [("small_bundle", "small_pair", "small_dataset"), ("gaussian_bundle", "gaussian_pair", "real_dataset")],
)
def test_elbo_and_kl_of_each_dimension_are_those_of_a_float64_model_with_the_same_noise(
    request: pytest.FixtureRequest, bundle: str, pair: str, data: str, batch_size: int
) -> None:
    test = request.getfixturevalue(data).test
    truth = in_float64(request.getfixturevalue(pair), test.pixels(slice(None)), seed=3)
    found = evaluate(load(request.getfixturevalue(bundle)), test.items, seed=3, batch_size=batch_size)
    nats = truth["reconstruction"] + truth["kl"].sum(axis=1)
    assert found.negative_elbo == pytest.approx(nats.mean(), abs=0.01)
    np.testing.assert_allclose(found.kl_per_dimension, truth["kl"].mean(axis=0), atol=1e-3)
    assert found.active == tuple(np.flatnonzero(truth["mean"].var(axis=0) > 0.01))
    assert found.standard_errors is not None
    for name, values in (
        ("negative_elbo", nats),
        ("reconstruction", truth["reconstruction"]),
        ("kl", truth["kl"].sum(axis=1)),
    ):
        assert getattr(found.standard_errors, name) == pytest.approx(scipy.stats.sem(values), rel=1e-4)


def test_a_standard_error_is_how_far_means_of_other_items_are(gaussian_bundle: Path, real_dataset: Dataset) -> None:
    vae = load(gaussian_bundle)
    items = np.concatenate([real_dataset.train.items[:], real_dataset.test.items[:]])
    groups = [evaluate(vae, items[start::20]) for start in range(20)]
    spread = np.std([group.negative_elbo for group in groups], ddof=1)
    stated = np.mean([group.standard_errors.negative_elbo for group in groups if group.standard_errors])
    assert 0.6 < spread / stated < 1.6  # a standard deviation of 20 numbers is known to 16 %


def test_a_single_item_has_no_standard_error(small_bundle: Path, small_dataset: Dataset) -> None:
    assert evaluate(load(small_bundle), small_dataset.test.items[:1]).standard_errors is None


def test_bits_are_given_where_every_value_has_a_probability(small_bundle: Path, small_dataset: Dataset) -> None:
    vae = load(small_bundle)
    grey = evaluate(vae, small_dataset.test.items)
    assert (grey.discrete, grey.bits_per_dimension) == (False, None)
    binary = evaluate(vae, (small_dataset.test.items > 100).astype(np.float32))
    assert binary.discrete
    assert binary.bits_per_dimension == pytest.approx(binary.negative_elbo / np.log(2) / 784)
    one_grey = (small_dataset.test.items > 100).astype(np.float32)
    one_grey[-1, 0, 0, 0] = 0.5
    assert not evaluate(vae, one_grey).discrete


def test_an_autoencoder_and_a_density_have_no_bits(
    ae_bundle: Path, gaussian_bundle: Path, small_dataset: Dataset, real_dataset: Dataset
) -> None:
    assert evaluate(load(ae_bundle), small_dataset.test.items // 128 * 255).bits_per_dimension is None
    assert not evaluate(load(gaussian_bundle), np.zeros_like(real_dataset.test.items[:])).discrete


@pytest.mark.parametrize(
    ("values", "likelihood", "discrete"),
    [
        (np.arange(256, dtype=np.uint8) / np.float32(255), "discretized-logistic", True),
        (np.arange(257) / 256, "discretized-logistic", False),
        (np.arange(256) / 255, "bernoulli", False),
        (np.array([0, 1, 1]), "bernoulli", True),
        (np.array([0, 1, 1]), "gaussian", False),
    ],
)
def test_the_values_that_a_likelihood_gives_a_probability(values: np.ndarray, likelihood: Any, discrete: bool) -> None:
    assert has_probability(values.astype(np.float32), likelihood) is discrete


def test_progress_counts_items_up_to_all(small_bundle: Path, small_dataset: Dataset) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(load(small_bundle), small_dataset.test.items, batch_size=128, on_progress=lambda *at: seen.append(at))
    assert seen == [(128, 300), (256, 300), (300, 300)]


def test_a_batch_of_none_is_refused(small_bundle: Path, small_dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="batch_size=0: give 1 or more"):
        evaluate(load(small_bundle), small_dataset.test.items, batch_size=0)


def test_pixels_that_the_runtime_s_sigmoid_rounds_to_0_cost_about_what_their_logits_say(tmp_path: Path) -> None:
    from vaekit.exporting import ModulePair, export_bundle

    class Encoder(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return x[:, :2], 0 * x[:, :2]

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("logits", torch.linspace(-18, -10, 400))

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(self.logits + 0 * z[:, :1])

    items = np.full((10, 400), 0.02, np.float32)
    spec = ModelSpec("vae", DataSpec((400,)), 2, "bernoulli")
    data = Dataset("dark", "dark", "0" * 64, Split(items), Split(items))
    vae = load(export_bundle(ModulePair(Encoder(), Decoder(), spec), tmp_path / "dark", data=data).path)
    logits = np.linspace(-18, -10, 400)
    expected = (np.logaddexp(0, logits) - 0.02 * logits).sum()
    assert (vae.decode(np.zeros((1, 2), np.float32)) == 0).sum() > 10  # else this proves nothing here
    # 0.1 nats for the log of each pixel's mean.
    assert evaluate(vae, items).reconstruction == pytest.approx(expected, abs=0.02 * 400 * 0.1)
