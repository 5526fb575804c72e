"""Both terms of the negative ELBO, against torch.distributions in float64 and against closed forms."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal
from torch.distributions import kl_divergence as torch_kl

from vaekit import elbo
from vaekit.spec import DataSpec, Feature, Likelihood, ModelSpec
from vaekit.training.config import TrainConfig
from vaekit.training.models import MLP
from vaekit.training.objective import (
    Terms,
    as_values,
    free_bits_kl,
    importance_weighted_bound,
    kl_divergence,
    kl_per_dimension,
    negative_elbo_terms,
    negative_log_likelihood,
    reconstruction_loss,
    reparameterise,
    sampled_terms,
    training_loss,
)

N, D, SHAPE = 6, 4, (2, 3, 5)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_kl_is_that_of_torch_distributions() -> None:
    mean, log_var = 2 * draw(N, D), draw(N, D, seed=1)
    expected = torch_kl(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_divergence(mean, log_var), expected)


def test_the_kl_of_the_prior_itself_is_zero() -> None:
    assert torch.equal(kl_divergence(torch.zeros(N, D), torch.zeros(N, D)), torch.zeros(N))


def test_the_kl_of_a_shifted_prior_is_half_its_squared_distance() -> None:
    mean = draw(N, D)
    torch.testing.assert_close(kl_divergence(mean, torch.zeros_like(mean)), 0.5 * (mean**2).sum(1))


def test_the_kl_of_a_point_is_zero() -> None:
    assert torch.equal(kl_divergence(draw(N, D), None), torch.zeros(N, dtype=torch.float64))


def test_the_kls_gradient_is_the_mean_and_half_of_variance_minus_one() -> None:
    mean, log_var = draw(N, D).requires_grad_(), draw(N, D, seed=1).requires_grad_()
    kl_divergence(mean, log_var).sum().backward()
    assert mean.grad is not None
    assert log_var.grad is not None
    torch.testing.assert_close(mean.grad, mean.detach())
    torch.testing.assert_close(log_var.grad, 0.5 * (log_var.detach().exp() - 1))


@pytest.mark.parametrize("grey", [True, False])
def test_the_bernoulli_loss_is_cross_entropy_on_probabilities(grey: bool) -> None:
    logits = 3 * draw(N, *SHAPE)
    x = torch.sigmoid(draw(N, *SHAPE, seed=1))
    x = x if grey else x.round()
    p = torch.sigmoid(logits)
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)
    torch.testing.assert_close(reconstruction_loss(x, logits, "bernoulli"), expected)


def test_the_bernoulli_loss_of_ones_and_zeros_is_a_log_likelihood() -> None:
    logits, x = 3 * draw(N, *SHAPE), (draw(N, *SHAPE, seed=1) > 0).double()
    expected = -Bernoulli(logits=logits).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(reconstruction_loss(x, logits, "bernoulli"), expected)


def test_the_bernoulli_loss_stays_finite_where_probabilities_would_not() -> None:
    # sigmoid(200) is 1 in float32, and log(1 - 1) is minus infinity; from logits it costs 200 nats a value.
    loss = reconstruction_loss(torch.zeros(1, 3), torch.full((1, 3), 200.0), "bernoulli")
    assert loss.tolist() == [600.0]


def test_grey_pixels_of_one_half_cost_log_two_each_at_logit_zero() -> None:
    loss = reconstruction_loss(torch.full((2, 784), 0.5), torch.zeros(2, 784), "bernoulli")
    assert loss.tolist() == pytest.approx([784 * math.log(2)] * 2, rel=1e-6)


def test_the_gaussian_loss_is_a_log_likelihood_without_its_constant() -> None:
    x, means = draw(N, *SHAPE), draw(N, *SHAPE, seed=1)
    constant = 0.5 * math.prod(SHAPE) * math.log(2 * math.pi)
    expected = -Normal(means, 1.0).log_prob(x).flatten(1).sum(1) - constant
    torch.testing.assert_close(reconstruction_loss(x, means, "gaussian"), expected)


def test_the_code_is_drawn_with_the_standard_deviation_not_the_variance() -> None:
    mean, log_var, eps = draw(N, D), draw(N, D, seed=1), draw(N, D, seed=2)
    torch.testing.assert_close(reparameterise(mean, log_var, eps), mean + log_var.exp().sqrt() * eps)
    assert torch.equal(reparameterise(mean, None, eps), mean)


LIKELIHOODS: list[Likelihood] = ["bernoulli", "gaussian", "discretized-logistic"]


def spec_of(likelihood: Likelihood = "bernoulli", kind: str = "vae", scale: float | None = None) -> ModelSpec:
    scale = scale or (1.0 if likelihood == "bernoulli" else 0.3)
    return ModelSpec(kind, DataSpec((1, 3, 3)), 2, likelihood, scale)  # type: ignore[arg-type]


def model(kind: str = "vae") -> MLP:
    torch.manual_seed(0)
    return MLP(spec_of(kind=kind), (5,)).double()


@pytest.mark.parametrize("kind", ["vae", "ae"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_terms_are_per_item_and_do_not_depend_on_the_batch(kind: str, likelihood: str) -> None:
    x, eps, net = torch.sigmoid(draw(N, 1, 3, 3)), draw(N, 2, seed=1), model(kind)
    spec = spec_of(likelihood, kind)  # type: ignore[arg-type]
    whole = negative_elbo_terms(net, x, eps, spec)
    assert whole.reconstruction.shape == whole.kl.shape == (N,)
    for i in range(N):
        one = negative_elbo_terms(net, x[i : i + 1], eps[i : i + 1], spec)
        torch.testing.assert_close(whole.reconstruction[i : i + 1], one.reconstruction)
        torch.testing.assert_close(whole.kl[i : i + 1], one.kl)


def test_the_terms_are_those_of_an_elbo_written_with_torch_distributions() -> None:
    x, eps, net = torch.sigmoid(draw(N, 1, 3, 3)), draw(N, 2, seed=1), model()
    mean, log_var = net.encode(x)
    assert log_var is not None
    posterior = Normal(mean, (0.5 * log_var).exp())
    p = torch.sigmoid(net.decode_params(posterior.loc + posterior.scale * eps))
    found = negative_elbo_terms(net, x, eps, spec_of())
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)
    torch.testing.assert_close(found.reconstruction, expected)
    torch.testing.assert_close(found.kl, torch_kl(posterior, Normal(0.0, 1.0)).sum(1))


def test_an_autoencoder_ignores_the_noise_and_has_no_kl() -> None:
    x, net = torch.sigmoid(draw(N, 1, 3, 3)), model("ae")
    first = negative_elbo_terms(net, x, draw(N, 2, seed=1), spec_of(kind="ae"))
    second = negative_elbo_terms(net, x, draw(N, 2, seed=2), spec_of(kind="ae"))
    assert torch.equal(first.reconstruction, second.reconstruction)
    assert not first.kl.any()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradients_agree_with_finite_differences(likelihood: str) -> None:
    x, eps = torch.sigmoid(draw(2, 3)), draw(2, 2, seed=1)
    decoder, log_scale = draw(2, 3, seed=2).requires_grad_(), torch.tensor(-1.5).double().requires_grad_()

    def loss(mean: Tensor, log_var: Tensor, decoder: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        params = reparameterise(mean, log_var, eps) @ decoder
        return reconstruction_loss(x, params, likelihood, log_scale), kl_divergence(mean, log_var)  # type: ignore[arg-type]

    inputs = (draw(2, 2).requires_grad_(), draw(2, 2, seed=3).requires_grad_(), decoder, log_scale)
    assert torch.autograd.gradcheck(loss, inputs)


def levels(*shape: int, seed: int = 0) -> Tensor:
    """Pixels k / 255, black and white among them."""
    k = torch.randint(-40, 296, shape, generator=torch.Generator().manual_seed(seed)).clamp(0, 255)
    return k.double() / 255


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("scale", [0.004, 0.05, 1.0, 3.0])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_loss_is_that_of_the_runtimes_numpy(
    likelihood: Likelihood, scale: float, dtype: torch.dtype, rtol: float
) -> None:
    x, params = levels(N, *SHAPE).to(dtype), draw(N, *SHAPE, seed=1).to(dtype)
    means = params if likelihood == "gaussian" else torch.sigmoid(params.double())
    found = reconstruction_loss(x, params, likelihood, math.log(scale))
    expected = elbo.reconstruction_loss(x.numpy(), means.numpy(), likelihood, scale=scale)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), expected, rtol=rtol)
    trained = reconstruction_loss(x, params, likelihood, torch.tensor(scale, dtype=torch.float64).log().to(dtype))
    torch.testing.assert_close(trained, found)


@pytest.mark.parametrize("scale", [0.02, 0.3])
def test_the_logistic_loss_is_the_mass_that_scipys_logistic_has_between_levels(scale: float) -> None:
    x = torch.arange(256, dtype=torch.float64)[:, None] / 255
    mean = torch.rand(256, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logistic = scipy.stats.logistic(mean.numpy(), scale)
    upper, lower = x.numpy() + 0.5 / 255, x.numpy() - 0.5 / 255
    upper[255], lower[0] = np.inf, -np.inf
    expected = -np.log(
        np.where(
            upper < mean.numpy(), logistic.cdf(upper) - logistic.cdf(lower), logistic.sf(lower) - logistic.sf(upper)
        )
    )
    found = reconstruction_loss(x, torch.logit(mean), "discretized-logistic", math.log(scale))
    np.testing.assert_allclose(found.numpy(), expected[:, 0], rtol=1e-8)


def test_a_black_or_white_that_is_a_hair_off_costs_what_the_level_costs() -> None:
    off = torch.tensor([[3e-8], [1 - 6e-8], [1 / 255 - 1e-8]])
    levels, params = torch.tensor([[0.0], [1.0], [1 / 255]]), torch.tensor([[-2.0], [1.0], [-4.0]])
    torch.testing.assert_close(
        reconstruction_loss(off, params, "discretized-logistic", math.log(0.02)),
        reconstruction_loss(levels, params, "discretized-logistic", math.log(0.02)),
        rtol=1e-5,
        atol=0,
    )


def test_a_gaussian_of_some_scale_is_a_log_likelihood_without_its_constant() -> None:
    x, means = draw(N, *SHAPE), draw(N, *SHAPE, seed=1)
    constant = 0.5 * math.prod(SHAPE) * math.log(2 * math.pi)
    expected = -Normal(means, 0.2).log_prob(x).flatten(1).sum(1) - constant
    torch.testing.assert_close(reconstruction_loss(x, means, "gaussian", math.log(0.2)), expected)


def test_a_learned_scale_takes_the_place_of_the_specs() -> None:
    x, eps, net = levels(N, 1, 3, 3), draw(N, 2, seed=1), model()
    net.register_parameter("log_scale", nn.Parameter(torch.tensor(math.log(0.07), dtype=torch.float64)))
    learned = negative_elbo_terms(net, x, eps, spec_of("gaussian", scale=0.3))
    del net.log_scale
    torch.testing.assert_close(learned, negative_elbo_terms(net, x, eps, spec_of("gaussian", scale=0.07)))


def test_values_are_pixels_over_255_or_standardised_columns() -> None:
    pixels = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    assert as_values(pixels, DataSpec((3,))).flatten().tolist() == pytest.approx([0, 0.2, 1])
    table = DataSpec((2,), None, (Feature("pascal", 101_325.0, 0.5), Feature("kelvin", 288.0, 10.0)))
    found = as_values(torch.tensor([[101_325.5, 278.0], [101_324.0, 288.0]]), table)
    assert found.dtype == torch.float32
    assert found.tolist() == [[1.0, -1.0], [-2.0, 0.0]]
    series = DataSpec((2, 3), None, table.features)
    assert as_values(torch.full((1, 2, 3), 298.0), series)[0, 1].tolist() == [1.0, 1.0, 1.0]


K = 5


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_sampled_terms_are_those_of_torch_distributions_sample_by_sample(likelihood: Likelihood) -> None:
    x, eps, net, spec = levels(N, 1, 3, 3), draw(K, N, 2, seed=1), model(), spec_of(likelihood)
    found = sampled_terms(net, x, eps, spec)
    assert found.kl.shape == found.reconstruction.shape == (K, N)
    mean, log_var = net.encode(x)
    assert log_var is not None
    posterior, prior = Normal(mean, (0.5 * log_var).exp()), Normal(torch.zeros(2).double(), 1.0)
    for k in range(K):
        z = posterior.loc + posterior.scale * eps[k]
        torch.testing.assert_close(found.kl[k], (posterior.log_prob(z) - prior.log_prob(z)).sum(1))
        params = net.decode_params(z)
        expected = reconstruction_loss(x, params, likelihood, math.log(spec.scale))
        torch.testing.assert_close(found.reconstruction[k], expected)


def test_the_sampled_kl_is_the_kl_in_expectation() -> None:
    x, net = levels(2, 1, 3, 3), model()
    with torch.no_grad():
        sampled = sampled_terms(net, x, draw(100_000, 2, 2, seed=1), spec_of()).kl
        exact = negative_elbo_terms(net, x, draw(2, 2), spec_of()).kl
    error = sampled.std(0) / math.sqrt(len(sampled))
    assert bool(((sampled.mean(0) - exact).abs() < 4 * error).all())


def test_one_sample_of_the_importance_weighted_bound_is_the_sampled_elbo() -> None:
    terms = sampled_terms(model(), levels(N, 1, 3, 3), draw(1, N, 2, seed=1), spec_of())
    torch.testing.assert_close(importance_weighted_bound(terms), (terms.reconstruction + terms.kl)[0])


def test_the_importance_weighted_bound_is_the_log_of_the_mean_weight() -> None:
    terms = Terms(3 * draw(K, N).abs(), draw(K, N, seed=1))
    weights = (-(terms.reconstruction + terms.kl)).exp()
    torch.testing.assert_close(importance_weighted_bound(terms), -weights.mean(0).log())
    # At 0.5 the prior's and the posterior's part of the weight count half.
    halved = (-(terms.reconstruction + 0.5 * terms.kl)).exp()
    torch.testing.assert_close(importance_weighted_bound(terms, 0.5), -halved.mean(0).log())
    far = Terms(terms.reconstruction + 5000, terms.kl)  # exp(-5000) is 0 in float64
    torch.testing.assert_close(importance_weighted_bound(far), importance_weighted_bound(terms) + 5000)


def test_more_samples_make_the_bound_tighter_and_it_ends_at_the_likelihood() -> None:
    # A linear decoder with a Gaussian likelihood: p(x) = N(b, W W' + s^2), in closed form.
    net, scale = model(), 0.5
    net.decoder = nn.Sequential(nn.Linear(2, 9)).double()
    weight, bias = net.decoder[0].weight.detach(), net.decoder[0].bias.detach()
    x, spec = draw(1, 1, 3, 3), spec_of("gaussian", scale=scale)
    exact = -scipy.stats.multivariate_normal(bias.numpy(), (weight @ weight.T).numpy() + scale**2 * np.eye(9)).logpdf(
        x.flatten().numpy()
    ) - 4.5 * math.log(2 * math.pi)
    with torch.no_grad():
        terms = sampled_terms(net, x.expand(400, 1, 3, 3), draw(256, 400, 2, seed=1), spec)
        bounds = [
            float(importance_weighted_bound(Terms(terms.reconstruction[:k], terms.kl[:k])).mean())
            for k in (1, 4, 16, 256)
        ]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] > exact + 0.1
    assert bounds[-1] == pytest.approx(exact, abs=0.05)
    generator = torch.Generator().manual_seed(0)
    found = negative_log_likelihood(net, x.expand(2, 1, 3, 3), spec, samples=40_001, generator=generator, at_once=500)
    assert found.tolist() == pytest.approx([float(exact)] * 2, abs=0.03)


def test_free_bits_charge_each_dimension_at_least_their_nats() -> None:
    kl = torch.tensor([[0.0, 0.3, 1.0], [0.02, 0.1, 3.0]], requires_grad=True)
    charged = free_bits_kl(kl, 0.25)  # means over the batch: 0.01, 0.2, 2
    assert float(charged.detach()) == pytest.approx(0.25 + 0.25 + 2.0)
    charged.backward()  # type: ignore[no-untyped-call]
    assert kl.grad is not None
    assert kl.grad.tolist() == [[0, 0, 0.5], [0, 0, 0.5]]


def test_the_kl_by_dimension_adds_up_to_the_kl() -> None:
    mean, log_var = draw(N, D), draw(N, D, seed=1)
    torch.testing.assert_close(kl_per_dimension(mean, log_var).sum(1), kl_divergence(mean, log_var))
    np.testing.assert_allclose(kl_per_dimension(mean, log_var), elbo.kl_divergence(mean, log_var), rtol=1e-9)
    assert not kl_per_dimension(mean, None).any()


def test_the_loss_is_the_one_that_was_chosen_and_reports_both_terms() -> None:
    x, net, spec = levels(N, 1, 3, 3), model(), spec_of()
    eps, many = draw(N, 2, seed=1), draw(K, N, 2, seed=1)
    elbo_terms, samples = negative_elbo_terms(net, x, eps, spec), sampled_terms(net, x, many, spec)
    loss, terms = training_loss(net, x, eps, TrainConfig(latent=2), spec, 0.3)
    torch.testing.assert_close(loss, (elbo_terms.reconstruction + 0.3 * elbo_terms.kl).mean())
    torch.testing.assert_close(terms, elbo_terms)
    loss, terms = training_loss(net, x, eps, TrainConfig(latent=2, free_bits=0.1), spec, 0.3)
    free = free_bits_kl(kl_per_dimension(*net.encode(x)), 0.1)
    torch.testing.assert_close(loss, elbo_terms.reconstruction.mean() + 0.3 * free)
    torch.testing.assert_close(terms, elbo_terms)
    config = TrainConfig(latent=2, objective="iwae", importance_samples=K)
    loss, terms = training_loss(net, x, many, config, spec, 0.3)
    torch.testing.assert_close(loss, importance_weighted_bound(samples, 0.3).mean())
    torch.testing.assert_close(terms, Terms(samples.reconstruction.mean(0), samples.kl.mean(0)))
