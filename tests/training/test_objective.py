"""Both terms of the negative ELBO, against torch.distributions in float64 and against closed forms."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal
from torch.distributions import kl_divergence as torch_kl

from vaekit.spec import DataSpec, ModelSpec
from vaekit.training.models import MLP
from vaekit.training.objective import kl_divergence, negative_elbo_terms, reconstruction_loss, reparameterise

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


def model(kind: str = "vae") -> MLP:
    torch.manual_seed(0)
    spec = ModelSpec(kind, DataSpec((1, 3, 3)), 2, "bernoulli")  # type: ignore[arg-type]
    return MLP(spec, (5,)).double()


@pytest.mark.parametrize("kind", ["vae", "ae"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_terms_are_per_item_and_do_not_depend_on_the_batch(kind: str, likelihood: str) -> None:
    x, eps, net = torch.sigmoid(draw(N, 1, 3, 3)), draw(N, 2, seed=1), model(kind)
    whole = negative_elbo_terms(net, x, eps, likelihood)  # type: ignore[arg-type]
    assert whole.reconstruction.shape == whole.kl.shape == (N,)
    for i in range(N):
        one = negative_elbo_terms(net, x[i : i + 1], eps[i : i + 1], likelihood)  # type: ignore[arg-type]
        torch.testing.assert_close(whole.reconstruction[i : i + 1], one.reconstruction)
        torch.testing.assert_close(whole.kl[i : i + 1], one.kl)


def test_the_terms_are_those_of_an_elbo_written_with_torch_distributions() -> None:
    x, eps, net = torch.sigmoid(draw(N, 1, 3, 3)), draw(N, 2, seed=1), model()
    mean, log_var = net.encode(x)
    assert log_var is not None
    posterior = Normal(mean, (0.5 * log_var).exp())
    p = torch.sigmoid(net.decode_params(posterior.loc + posterior.scale * eps))
    found = negative_elbo_terms(net, x, eps, "bernoulli")
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)
    torch.testing.assert_close(found.reconstruction, expected)
    torch.testing.assert_close(found.kl, torch_kl(posterior, Normal(0.0, 1.0)).sum(1))


def test_an_autoencoder_ignores_the_noise_and_has_no_kl() -> None:
    x, net = torch.sigmoid(draw(N, 1, 3, 3)), model("ae")
    first = negative_elbo_terms(net, x, draw(N, 2, seed=1), "bernoulli")
    second = negative_elbo_terms(net, x, draw(N, 2, seed=2), "bernoulli")
    assert torch.equal(first.reconstruction, second.reconstruction)
    assert not first.kl.any()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradients_agree_with_finite_differences(likelihood: str) -> None:
    x, eps = torch.sigmoid(draw(2, 3)), draw(2, 2, seed=1)
    decoder = draw(2, 3, seed=2).requires_grad_()

    def loss(mean: Tensor, log_var: Tensor, decoder: Tensor) -> tuple[Tensor, Tensor]:
        params = reparameterise(mean, log_var, eps) @ decoder
        return reconstruction_loss(x, params, likelihood), kl_divergence(mean, log_var)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(loss, (draw(2, 2).requires_grad_(), draw(2, 2, seed=3).requires_grad_(), decoder))
