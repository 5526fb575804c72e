"""Importance-sampled likelihoods: against closed forms, torch in float64, and the estimator of training; and their memory."""

from __future__ import annotations

import copy
import math
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal

import vaekit
from vaekit.datasets import Dataset, Rows, Split
from vaekit.errors import ConfigError, DataError
from vaekit.runtime.likelihood import negative_log_likelihood, stream_bounds
from vaekit.spec import DataSpec, Feature, ModelSpec

if TYPE_CHECKING:
    from vaekit.exporting import ModulePair

V, D, SCALE = 6, 3, 0.4
UNITS = np.array([0.05, 0.3, 1.0, 3.0, 0.5, 2.0])
OFFSETS = np.array([0.3, -1.0, 0.0, 2.0, -0.5, 0.5])


def load(folder: Path) -> vaekit.VAE:
    return vaekit.load(folder, provider="cpu", threads=1)


def bounds_of(vae: vaekit.VAE, items: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """All items' estimates, and those from half the samples."""
    found = list(stream_bounds(vae, items, **options))
    return np.concatenate([bounds.nats for bounds in found]), np.concatenate([bounds.halved for bounds in found])


class LinearGaussian:
    """Probabilistic PCA, ``x = W z + b + scale * noise``, whose columns of W are orthogonal so that q may be exact.

    ``p(x) = N(b, W W' + scale^2)``, and the posterior of dimension d is normal with the mean
    ``l_d q_d' (x - b) / (scale^2 + l_d^2)`` and the variance ``scale^2 / (scale^2 + l_d^2)``, for W = Q diag(l).

    Source: Tipping & Bishop 1999, doi:10.1111/1467-9868.00196.
    """

    def __init__(self, features: bool) -> None:
        rng = np.random.default_rng(11)
        self.q = np.linalg.qr(rng.normal(size=(V, D)))[0]
        self.l = np.array([2.0, 1.0, 0.3])
        self.b = rng.normal(size=V)
        self.units, self.offsets = (UNITS, OFFSETS) if features else (np.ones(V), np.zeros(V))
        names = tuple(Feature(f"f{i}", float(OFFSETS[i]), float(UNITS[i])) for i in range(V)) if features else ()
        self.spec = ModelSpec("vae", DataSpec((V,), None, names), D, "gaussian", SCALE)
        rows = (rng.normal(size=(400, D)) * self.l) @ self.q.T + self.b + SCALE * rng.normal(size=(400, V))
        self.items = (rows * self.units + self.offsets).astype(np.float32)

    def exact(self) -> np.ndarray:
        """``-log p(x)`` of each item in standardised units, without ``V/2 log 2 pi``."""
        w = self.q * self.l
        log_pdf = scipy.stats.multivariate_normal(self.b, w @ w.T + SCALE**2 * np.eye(V)).logpdf(
            (self.items.astype(np.float64) - self.offsets) / self.units
        )
        return np.asarray(-log_pdf - V / 2 * np.log(2 * np.pi))

    def bundle(self, folder: Path, *, wider: float) -> Path:
        """Export the model with the exact posterior, or one of variances that are wider by a factor."""
        from vaekit.exporting import ModulePair, export_bundle

        this = self

        class Encoder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.log_var = nn.Parameter(torch.tensor(np.log(wider * SCALE**2 / (SCALE**2 + this.l**2))).float())
                weight = (this.q * this.l / (SCALE**2 + this.l**2)).T
                self.mean = linear(weight, -weight @ this.b)
                self.register_buffer("units", torch.from_numpy(this.units).float())
                self.register_buffer("offsets", torch.from_numpy(this.offsets).float())

            def forward(self, x: torch.Tensor) -> Any:
                mean = self.mean((x - self.offsets) / self.units)
                return mean, self.log_var + 0 * mean

        decoder = linear((this.q * this.l) * this.units[:, None], this.b * this.units + this.offsets)
        data = Dataset("pca", "pca", "0" * 64, Split(self.items), Split(self.items), features=self.spec.data.features)
        return export_bundle(ModulePair(Encoder(), decoder, self.spec), folder, data=data).path


def linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


@pytest.mark.parametrize("features", [False, True])
def test_with_the_exact_posterior_any_number_of_samples_gives_the_closed_form(features: bool, tmp_path: Path) -> None:
    model = LinearGaussian(features)
    vae = load(model.bundle(tmp_path / "exact", wider=1.0))
    for samples in (1, 2, 7):
        nats, halved = bounds_of(vae, model.items, samples=samples, seed=samples)
        np.testing.assert_allclose(nats, model.exact(), atol=1e-4)
        np.testing.assert_allclose(halved, model.exact(), atol=1e-4)
    found = negative_log_likelihood(vae, model.items, samples=3)
    assert found.mean == pytest.approx(model.exact().mean(), abs=1e-4)
    assert found.standard_error == pytest.approx(scipy.stats.sem(model.exact()), rel=1e-3)
    assert found.fewer == pytest.approx(0, abs=1e-4)


def test_with_another_posterior_the_estimate_meets_the_closed_form_within_its_error(tmp_path: Path) -> None:
    model = LinearGaussian(features=False)
    vae = load(model.bundle(tmp_path / "wide", wider=1.5))
    one, _ = bounds_of(vae, model.items, samples=1)
    assert (one - model.exact()).mean() > 0.05  # the ELBO is no likelihood here
    nats, _ = bounds_of(vae, model.items, samples=400)
    error = nats - model.exact()
    # Each item's error is its own noise; the bound's bias, half the variance of the mean weight, is about 2e-4 here.
    assert 0.001 < error.std() < 0.1
    assert abs(error.mean()) < 4 * scipy.stats.sem(error) + 1e-3


def test_more_samples_are_nearer_and_half_as_many_are_what_fewer_says(tmp_path: Path) -> None:
    model = LinearGaussian(features=False)
    vae = load(model.bundle(tmp_path / "wide", wider=2.5))
    items = np.repeat(model.items, 8, axis=0)
    found = {k: negative_log_likelihood(vae, items, samples=k, seed=k) for k in (1, 2, 4, 8)}
    means = [found[k].mean for k in (1, 2, 4, 8)]
    assert means == sorted(means, reverse=True)
    assert means[-1] > model.exact().mean()
    assert found[1].fewer is found[1].fewer_error is None
    for k in (2, 4, 8):
        fewer, error = found[k].fewer, found[k].fewer_error
        assert fewer is not None
        assert error is not None
        # Two unpaired means differ by what the paired estimate says, within the draws' noise.
        assert fewer == pytest.approx(found[k // 2].mean - found[k].mean, abs=0.03)
        assert 0 < error < fewer / 4


def in_float64(pair: ModulePair, x: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Log-weights (N, K) of torch's distributions, weights in float64, code k of item i from sample index i K + k."""
    encoder, decoder = copy.deepcopy(pair.encoder).double(), copy.deepcopy(pair.decoder).double()
    items = torch.from_numpy(x.astype(np.float64))
    eps = vaekit.noise(seed=seed, count=len(x) * samples, dim=pair.spec.latent).reshape(len(x), samples, -1)
    rows = []
    with torch.no_grad():
        for index in range(len(x)):
            mean, log_var = encoder(items[index : index + 1])
            q = Independent(Normal(mean, torch.exp(log_var / 2)), 1)
            z = mean + torch.exp(log_var / 2) * torch.from_numpy(eps[index]).double()
            x_hat = decoder(z)
            if pair.spec.likelihood == "bernoulli":
                log_p = Bernoulli(x_hat, validate_args=False).log_prob(items[index])
            else:
                log_p = Normal(x_hat, pair.spec.scale).log_prob(items[index]) + 0.5 * math.log(2 * math.pi)
            prior = Independent(Normal(torch.zeros_like(z), 1.0), 1)
            rows.append(log_p.flatten(1).sum(1) + prior.log_prob(z) - q.log_prob(z))
    return torch.stack(rows).numpy()


def nats_of(log_weights: np.ndarray) -> np.ndarray:
    return np.asarray(math.log(log_weights.shape[1]) - scipy.special.logsumexp(log_weights, axis=1))


@pytest.mark.parametrize("samples", [1, 5, 40])
@pytest.mark.parametrize(
    ("bundle", "pair", "data"),
    [("small_bundle", "small_pair", "small_dataset"), ("gaussian_bundle", "gaussian_pair", "real_dataset")],
)
def test_each_item_s_estimate_is_that_of_a_float64_model_with_the_same_noise(
    request: pytest.FixtureRequest, bundle: str, pair: str, data: str, samples: int
) -> None:
    test = request.getfixturevalue(data).test
    weights = in_float64(request.getfixturevalue(pair), test.pixels(slice(60)), samples, seed=4)
    vae = load(request.getfixturevalue(bundle))
    nats, halved = bounds_of(vae, test.items[:60], samples=samples, seed=4)
    np.testing.assert_allclose(nats, nats_of(weights), atol=0.01)
    if samples > 1:
        half = samples // 2  # of 5 samples the last is in neither
        halves = [nats_of(weights[:, :half]), nats_of(weights[:, half : 2 * half])]
        np.testing.assert_allclose(halved, np.mean(halves, axis=0), atol=0.01)
    found = negative_log_likelihood(vae, test.items[:60], samples=samples, seed=4)
    assert (found.items, found.samples) == (60, samples)
    assert found.mean == pytest.approx(nats_of(weights).mean(), abs=0.01)
    assert found.standard_error == pytest.approx(scipy.stats.sem(nats_of(weights)), rel=1e-3)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretized-logistic"])
def test_a_trained_run_has_the_bound_that_training_computes(
    likelihood: Any, small_dataset: Dataset, tmp_path: Path
) -> None:
    from vaekit.exporting import export_bundle
    from vaekit.training import Checkpoint, TrainConfig, train
    from vaekit.training.models import trained_spec
    from vaekit.training.objective import importance_weighted_bound, sampled_terms

    scale = {} if likelihood == "bernoulli" else {"scale": 0.2}
    config = TrainConfig(hidden=(8,), latent=3, epochs=1, likelihood=likelihood, device="cpu", **scale)
    train(small_dataset, config, tmp_path / "run")
    checkpoint = Checkpoint.latest(tmp_path / "run")
    vae = load(export_bundle(checkpoint, tmp_path / "bundle", data=small_dataset).path)
    x, samples = small_dataset.test.pixels(slice(50)), 30
    nats, _ = bounds_of(vae, small_dataset.test.items[:50], samples=samples, seed=2)
    eps = vaekit.noise(seed=2, count=50 * samples, dim=3).reshape(50, samples, 3).transpose(1, 0, 2)
    model = checkpoint.model().double()
    with torch.no_grad():
        terms = sampled_terms(
            model, torch.from_numpy(x).double(), torch.from_numpy(eps).double(), trained_spec(model, checkpoint.spec)
        )
    np.testing.assert_allclose(nats, importance_weighted_bound(terms).numpy(), atol=0.01)


@pytest.mark.parametrize("samples", [1, 3, 100])
def test_no_estimate_depends_on_where_batches_end(small_bundle: Path, small_dataset: Dataset, samples: int) -> None:
    vae, items = load(small_bundle), small_dataset.test.items[:20]
    wanted = bounds_of(vae, items, samples=samples, seed=1, batch_size=4096)
    for batch_size in (1, 7, 64) if samples < 100 else (33, 64):
        found = bounds_of(vae, items, samples=samples, seed=1, batch_size=batch_size)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_another_seed_draws_other_codes(small_bundle: Path, small_dataset: Dataset) -> None:
    vae, items = load(small_bundle), small_dataset.test.items[:20]
    first, again, other = (bounds_of(vae, items, samples=2, seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_no_call_of_the_decoder_has_more_rows_than_a_batch(
    small_bundle: Path, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    decode = vaekit.VAE.decode

    def spy(self: vaekit.VAE, z: np.ndarray) -> np.ndarray:
        rows.append(len(z))
        return decode(self, z)

    monkeypatch.setattr(vaekit.VAE, "decode", spy)
    bounds_of(load(small_bundle), small_dataset.test.items[:20], samples=130, batch_size=64)
    assert max(rows) == 64
    assert sum(rows) == 20 * 130


def test_memory_grows_neither_with_items_nor_with_samples(gaussian_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "items.npy"
    np.save(path, np.random.default_rng(0).normal(size=(30_000, 6)).astype(np.float32))
    items = np.load(path, mmap_mode="r")
    vae = load(gaussian_bundle)

    def peak(count: int, samples: int) -> int:
        tracemalloc.start()
        negative_log_likelihood(vae, Rows(items, np.arange(count)) if count < 30_000 else items, samples=samples)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(300, 2)  # what is made once
    small = peak(300, 2)
    assert small < 2_000_000
    assert peak(300, 600) < 1.3 * small  # one array of all samples would be 4 MB
    assert peak(30_000, 2) < 1.3 * small


def test_progress_counts_finished_items(gaussian_bundle: Path, real_dataset: Dataset) -> None:
    seen: list[tuple[int, int]] = []
    negative_log_likelihood(
        load(gaussian_bundle), real_dataset.test.items[:10], samples=100, batch_size=250,
        on_progress=lambda *at: seen.append(at),
    )  # fmt: skip
    assert seen == [(2, 10), (5, 10), (7, 10), (10, 10)]


def test_a_single_item_has_no_standard_error(gaussian_bundle: Path, real_dataset: Dataset) -> None:
    found = negative_log_likelihood(load(gaussian_bundle), real_dataset.test.items[:1], samples=4)
    assert found.standard_error is found.fewer_error is None
    assert found.fewer is not None


@pytest.mark.parametrize("samples", [0, -3])
def test_no_samples_are_refused(small_bundle: Path, small_dataset: Dataset, samples: int) -> None:
    with pytest.raises(ConfigError, match=f"{samples} samples a posterior were asked for, but .* takes at least 1"):
        negative_log_likelihood(load(small_bundle), small_dataset.test.items, samples=samples)


def test_an_autoencoder_is_refused(ae_bundle: Path, small_dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="the model is an autoencoder: it has no prior"):
        negative_log_likelihood(load(ae_bundle), small_dataset.test.items, samples=5)


def test_no_items_and_no_batch_are_refused(small_bundle: Path, small_dataset: Dataset) -> None:
    with pytest.raises(DataError, match="there is nothing to evaluate"):
        negative_log_likelihood(load(small_bundle), small_dataset.test.items[:0], samples=5)
    with pytest.raises(ConfigError, match="batch_size=0: give 1 or more"):
        negative_log_likelihood(load(small_bundle), small_dataset.test.items, samples=5, batch_size=0)
