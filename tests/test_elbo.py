"""Both terms of the ELBO against torch.distributions in float64, and against numbers that one can work out."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import Bernoulli, Independent, Normal
from torch.distributions import kl_divergence as torch_kl

from vaekit.elbo import active_dimensions, kl_divergence, reconstruction_loss
from vaekit.errors import ConfigError, ShapeError

RNG = np.random.default_rng(0)


def test_kl_is_that_of_torch_s_normals() -> None:
    mean, log_var = RNG.normal(size=(30, 4)), 2 * RNG.normal(size=(30, 4))
    posterior = Normal(torch.from_numpy(mean), torch.from_numpy(np.exp(log_var / 2)))
    expected = torch_kl(posterior, Normal(torch.zeros(30, 4).double(), 1.0))
    found = kl_divergence(mean, log_var)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12)


def test_kl_is_zero_at_the_prior_and_half_a_nat_one_standard_deviation_away() -> None:
    np.testing.assert_array_equal(kl_divergence([[0.0, 1.0, -2.0]], [[0.0, 0.0, 0.0]]), [[0.0, 0.5, 2.0]])


def test_kl_of_float32_is_computed_in_float64() -> None:
    mean = np.full((1, 1), 1e-4, np.float32)  # 1 + mean^2 rounds to 1 in float32
    assert kl_divergence(mean, np.zeros_like(mean))[0, 0] == pytest.approx(5e-9, rel=1e-6)


def test_kl_refuses_shapes_that_differ() -> None:
    with pytest.raises(ShapeError, match=r"mean has shape \(2, 3\) and log_var \(3, 2\); they must be the same"):
        kl_divergence(np.zeros((2, 3)), np.zeros((3, 2)))


@pytest.mark.parametrize("binary", [True, False])
def test_bernoulli_loss_is_torch_s_log_probability(binary: bool) -> None:
    x = RNG.random((20, 1, 6, 5))
    x = np.round(x) if binary else x
    p = RNG.uniform(0.001, 0.999, size=x.shape)
    # For grey pixels torch's log_prob is the cross-entropy too, once its check of the support is off.
    model = Independent(Bernoulli(torch.from_numpy(p), validate_args=False), 3, validate_args=False)
    found = reconstruction_loss(x, p, "bernoulli")
    assert found.shape == (20,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, -model.log_prob(torch.from_numpy(x)).numpy(), rtol=1e-9)


def test_bernoulli_loss_is_torch_s_cross_entropy_from_logits() -> None:
    logits, x = 3 * RNG.normal(size=(20, 12)), RNG.random((20, 12))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits), torch.from_numpy(x), reduction="none"
    ).sum(1)
    np.testing.assert_allclose(
        reconstruction_loss(x, 1 / (1 + np.exp(-logits)), "bernoulli"), expected.numpy(), rtol=1e-9
    )


def test_a_fair_coin_costs_one_bit_a_pixel() -> None:
    x = RNG.random((3, 784))
    np.testing.assert_allclose(reconstruction_loss(x, np.full_like(x, 0.5), "bernoulli"), 784 * np.log(2))


def test_gaussian_loss_is_torch_s_without_its_constant() -> None:
    x, x_hat = RNG.normal(size=(2, 20, 6, 5))
    log_prob = Independent(Normal(torch.from_numpy(x_hat), 1.0), 2).log_prob(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(reconstruction_loss(x, x_hat, "gaussian"), -log_prob - 15 * np.log(2 * np.pi), rtol=1e-9)


@pytest.mark.parametrize("scale", [0.05, 0.7, 3.0])
@pytest.mark.parametrize("shape", [(5,), (5, 8)])
def test_gaussian_loss_with_a_scale_and_units_is_scipys_in_standardised_units(
    scale: float, shape: tuple[int, ...]
) -> None:
    units = np.array([1e-3, 0.2, 1.0, 30.0, 1e5]).reshape(-1, *(1 for _ in shape[1:]))
    x, x_hat = units * RNG.normal(size=(7, *shape)), units * RNG.normal(size=(7, *shape))
    log_pdf = scipy.stats.norm.logpdf(x / units, loc=x_hat / units, scale=scale).reshape(7, -1).sum(1)
    constant = 0.5 * x[0].size * np.log(2 * np.pi)
    found = reconstruction_loss(x, x_hat, "gaussian", scale=scale, units=units)
    np.testing.assert_allclose(found, -log_pdf - constant, rtol=1e-9)


@pytest.mark.parametrize("scale", [0.002, 0.03, 0.5, 20.0])
def test_discretized_logistic_loss_is_the_mass_that_scipys_logistic_has_between_levels(scale: float) -> None:
    levels = np.arange(256) / 255
    mean = RNG.random(256)
    upper = np.where(levels == 1, np.inf, levels + 0.5 / 255)
    lower = np.where(levels == 0, -np.inf, levels - 0.5 / 255)
    # In the upper tail F rounds to 1: there the mass is the difference of the survival functions.
    below, above = (scipy.stats.logistic(mean, scale).cdf, scipy.stats.logistic(mean, scale).sf)
    mass = np.where(levels < mean, below(upper) - below(lower), above(lower) - above(upper))
    sound = mass > 1e-290
    assert sound.sum() > 100
    found = reconstruction_loss(levels[:, None], mean[:, None], "discretized-logistic", scale=scale)
    np.testing.assert_allclose(found[sound], -np.log(mass[sound]), rtol=1e-6)


@pytest.mark.parametrize("scale", [0.002, 0.1, 5.0])
@pytest.mark.parametrize("mean", [0.0, 0.3337, 1.0])
def test_the_256_levels_of_a_discretized_logistic_are_all_there_is(mean: float, scale: float) -> None:
    levels = (np.arange(256, dtype=np.uint8) / np.float32(255)).astype(np.float32)[:, None]
    loss = reconstruction_loss(levels, np.full_like(levels, mean), "discretized-logistic", scale=scale)
    assert np.exp(-loss).sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [0.002, 0.1])
def test_a_black_or_white_that_is_a_hair_off_costs_what_the_level_costs(scale: float) -> None:
    off, levels = np.array([[3e-8], [1 - 6e-8], [-1e-9], [1 / 255 - 1e-8]]), np.array([[0.0], [1.0], [0.0], [1 / 255]])
    mean = np.array([[0.2], [0.7], [0.1], [0.01]])
    found = reconstruction_loss(off, mean, "discretized-logistic", scale=scale)
    np.testing.assert_allclose(found, reconstruction_loss(levels, mean, "discretized-logistic", scale=scale), rtol=1e-5)


def test_a_level_far_in_the_tail_costs_its_distance_over_the_scale() -> None:
    # log F falls by 1 / s with distance: black under a white mean at s = 1/1000 costs 1000 - 1/510 * 1000 nats.
    loss = reconstruction_loss([[0.0]], [[1.0]], "discretized-logistic", scale=1e-3)
    np.testing.assert_allclose(loss, 1000 - 1000 / 510, rtol=1e-9)


def test_saturated_probabilities_cost_much_but_not_infinitely() -> None:
    x = np.array([[0.0], [1.0], [0.0], [1.0]], np.float32)
    x_hat = np.array([[0.0], [1.0], [1.0], [0.0]], np.float32)
    loss = reconstruction_loss(x, x_hat, "bernoulli")
    gap = float(np.finfo(np.float32).epsneg)  # between 1 and the float32 below it
    np.testing.assert_allclose(loss[:3], [0, 0, -np.log(gap)], rtol=1e-6, atol=1e-7)
    assert loss[3] == pytest.approx(18, abs=0.03)  # the logit at which ONNX Runtime's sigmoid ends


def test_the_clamp_changes_no_probability_that_float32_can_hold_below_one() -> None:
    p = np.array([[np.nextafter(np.float32(1), np.float32(0)), 1e-7]], np.float32)
    expected = -np.log1p(-p.astype(np.float64))
    np.testing.assert_allclose(reconstruction_loss(np.zeros_like(p), p, "bernoulli"), expected.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "discretized-logistic"])
def test_reconstruction_refuses_shapes_that_differ(likelihood: str) -> None:
    with pytest.raises(ShapeError, match=r"x has shape \(2, 3\) and x_hat \(2, 4\); they must be the same"):
        reconstruction_loss(np.zeros((2, 3)), np.zeros((2, 4)), likelihood)  # type: ignore[arg-type]


def test_an_unknown_likelihood_is_refused() -> None:
    with pytest.raises(ConfigError, match="likelihood='poisson' is unknown; choose one of bernoulli, gaussian"):
        reconstruction_loss(np.zeros((2, 3)), np.zeros((2, 3)), "poisson")  # type: ignore[arg-type]


def test_dimensions_are_active_where_their_means_vary_by_more_than_a_hundredth() -> None:
    signs = np.tile([1.0, -1.0], 50)[:, None]  # variance 1
    mean = 5 + signs * np.sqrt([0.0, 0.0099, 0.0101, 4.0])
    found = active_dimensions(mean.astype(np.float32).var(axis=0))
    assert found == (2, 3)
    assert all(type(dimension) is int for dimension in found)  # they go into JSON


def test_no_dimension_is_active_where_the_means_do_not_vary() -> None:
    assert active_dimensions(np.full((10, 3), 7.0).var(axis=0)) == ()
