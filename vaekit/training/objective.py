"""The objective: both terms of the negative ELBO, the importance-weighted bound, free bits; in nats, in torch.

Everything is per item and from the decoder's parameters (logits, not probabilities). `vaekit.elbo` is the runtime's copy in
NumPy, from the decoder's means.

Items come standardised and as floats: `as_values` makes them so.

Needs: torch. Shapes: N items, V values an item, D latent dimensions, k samples.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vaekit.spec import DataSpec, Likelihood, ModelSpec
from vaekit.training.config import TrainConfig

HALF_LEVEL = 0.5 / 255
"""Half the distance of two neighbouring 8-bit levels."""


class Terms(NamedTuple):
    """The two terms of the negative ELBO of N items, in nats, shape (N,) each; of k samples an item, (k, N)."""

    reconstruction: Tensor
    kl: Tensor


def as_values(items: Tensor, data: DataSpec) -> Tensor:
    """Give items as what a model takes: pixels over 255, and where the data has features ``(x - offsets) / units``.

    Args:
        items: (N, *shape), uint8 pixels, or float values in the data's own units.
        data: What an item is.

    Returns:
        (N, *shape), float.
    """
    x = as_floats(items)
    if not data.features:
        return x
    # In float64: a column far from zero would lose its digits in the difference.
    offsets, units = _standardisation(data, x.device)
    return ((x - offsets) / units).to(x.dtype)


@functools.lru_cache(maxsize=8)
def _standardisation(data: DataSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Offsets and units on a device, float64: made and sent there once, not at each step."""
    return torch.from_numpy(data.offsets).to(device), torch.from_numpy(data.units).to(device)


def as_floats(items: Tensor) -> Tensor:
    """Give pixels over 255 as float32; floats as they are."""
    return items.float() / 255 if items.dtype == torch.uint8 else items


def reparameterise(mean: Tensor, log_var: Tensor | None, eps: Tensor) -> Tensor:
    """``z = mean + exp(log_var / 2) * eps``, eps (N, D) or (k, N, D); a point posterior (None) gives its mean."""
    return mean if log_var is None else mean + torch.exp(0.5 * log_var) * eps


def reconstruction_loss(x: Tensor, params: Tensor, likelihood: Likelihood, log_scale: Tensor | float = 0.0) -> Tensor:
    """Negative log-likelihood per item of V values.

    - bernoulli, from logits l: ``sum(max(l, 0) - l x + log(1 + exp(-|l|)))``, which is ``-sum(x log p + (1-x) log(1-p))``
    - gaussian, from means m: ``1/2 ||(x - m) / scale||^2 + V log scale``, without the constant ``V/2 log 2 pi``
    - discretized-logistic, from logits l of the means m = sigmoid(l), over the 256 levels x = k/255, with F the logistic
      function and s the scale: ``-sum log(F((x + 1/510 - m) / s) - F((x - 1/510 - m) / s))``; the first F is 1 for x = 1,
      the second 0 for x = 0

    Args:
        x: Items, shape (N, ...).
        params: Logits or means, same shape.
        likelihood: "bernoulli", "gaussian" or "discretized-logistic".
        log_scale: Natural log of the scale: a number, or a tensor of shape () where it is trained.

    Returns:
        Nats, shape (N,).

    Source: the logistic over levels is Salimans et al. 2017, section 2.1, arXiv:1701.05517, with one component; one trained
    scale for all values is Rybkin, Daniilidis & Levine 2021, section 3, arXiv:2006.13202.
    """
    if likelihood == "bernoulli":
        return functional.binary_cross_entropy_with_logits(params, x, reduction="none").flatten(1).sum(1)
    scale = torch.exp(log_scale) if isinstance(log_scale, Tensor) else math.exp(log_scale)
    if likelihood == "gaussian":
        squares = 0.5 * (x - params).square().flatten(1).sum(1)
        return squares / (scale * scale) + math.prod(x.shape[1:]) * log_scale
    return -_log_mass(x, torch.sigmoid(_wide(params)), scale).flatten(1).sum(1)


def _log_mass(x: Tensor, mean: Tensor, scale: Tensor | float) -> Tensor:
    """Log-probability of 8-bit levels.

    With u and v a level's edges, ``F(u) - F(v) = F(u) (1 - F(v)) (1 - exp(v - u))``, whose log loses nothing in the tails. An
    edge at 0 or 1 or beyond is at infinity.
    """
    below = functional.logsigmoid((x + HALF_LEVEL - mean) / scale)  # log F(u)
    above = functional.logsigmoid((mean - x + HALF_LEVEL) / scale)  # log(1 - F(v))
    width = torch.as_tensor(2 * HALF_LEVEL / scale, dtype=mean.dtype, device=mean.device)  # u - v
    inside = torch.log(-torch.expm1(-width))
    zero = torch.zeros((), dtype=mean.dtype, device=mean.device)
    darkest, brightest = x <= HALF_LEVEL, x >= 1 - HALF_LEVEL
    return (
        torch.where(brightest, zero, below)
        + torch.where(darkest, zero, above)
        + torch.where(darkest | brightest, zero, inside)
    )


def kl_per_dimension(mean: Tensor, log_var: Tensor | None) -> Tensor:
    """KL from the posterior to N(0, 1) in each dimension: ``1/2 (var - log var - 1 + mean^2)``; 0 for a point posterior.

    Args:
        mean: Shape (N, D).
        log_var: Shape (N, D), or None.

    Returns:
        Nats, shape (N, D).

    Source: Kingma & Welling 2014, appendix B, arXiv:1312.6114.
    """
    if log_var is None:
        return torch.zeros_like(mean)
    return 0.5 * (log_var.exp() - log_var - 1 + mean.square())


def kl_divergence(mean: Tensor, log_var: Tensor | None) -> Tensor:
    """KL from the posterior to N(0, I) per item: ``1/2 sum(var - log var - 1 + mean^2)``; 0 for a point posterior.

    Args:
        mean: Shape (N, D).
        log_var: Shape (N, D), or None.

    Returns:
        Nats, shape (N,).
    """
    return kl_per_dimension(mean, log_var).sum(1)


def free_bits_kl(kl: Tensor, free_bits: float) -> Tensor:
    """``sum over d of max(free_bits, mean over the batch of KL_d)``: below the threshold a dimension's KL has no gradient.

    Args:
        kl: KL per item and dimension, (N, D).
        free_bits: Nats for each dimension.

    Returns:
        Nats, shape ().

    Source: Kingma et al. 2016, arXiv:1606.04934, with groups of one dimension.
    """
    return kl.mean(0).clamp(min=free_bits).sum()


def log_scale_of(model: Any, spec: ModelSpec) -> Tensor | float:
    """Natural log of the likelihood's scale: the model's parameter `log_scale`, or else the spec's number."""
    learned: Tensor | None = getattr(model, "log_scale", None)
    return math.log(spec.scale) if learned is None else learned


def negative_elbo_terms(model: Any, x: Tensor, eps: Tensor, spec: ModelSpec) -> Terms:
    """Encode, draw one code an item with the given noise, decode, and measure.

    Args:
        model: Anything with `encode` and `decode_params`; see `vaekit.training.models.Model`.
        x: Items as `as_values` gives them, shape (N, *shape).
        eps: Standard normal noise, shape (N, D).
        spec: Likelihood and scale.

    Returns:
        Both terms; their sum is the negative ELBO, ``reconstruction + beta * kl`` the loss of a beta-VAE.

    Source: Kingma & Welling 2014, equation 10, arXiv:1312.6114; Higgins et al. 2017 for beta.
    """
    reconstruction, mean, log_var = _reconstructed(model, x, eps, spec)
    return Terms(reconstruction, kl_divergence(mean, log_var))


def sampled_terms(model: Any, x: Tensor, eps: Tensor, spec: ModelSpec) -> Terms:
    """Both terms for each of k samples of the posterior, the KL as it is sampled: ``log q(z | x) - log p(z)``.

    For z = mean + sigma eps, q normal and p = N(0, I) that is ``1/2 sum(z^2 - eps^2 - log_var)``. Its mean over samples
    is the KL.

    Args:
        model: Anything with `encode` and `decode_params`.
        x: Items as `as_values` gives them, (N, *shape).
        eps: Standard normal noise, (k, N, D).
        spec: Likelihood and scale.

    Returns:
        Terms of shape (k, N).
    """
    k, n = eps.shape[:2]
    mean, log_var = map(_wide, model.encode(x))
    z = reparameterise(mean, log_var, eps)
    params = model.decode_params(z.flatten(0, 1))
    repeated = x.expand(k, *x.shape).reshape(k * n, *x.shape[1:])
    reconstruction = reconstruction_loss(repeated, params, spec.likelihood, log_scale_of(model, spec))
    return Terms(reconstruction.view(k, n), 0.5 * (z.square() - eps.square() - log_var).sum(2))


def importance_weighted_bound(terms: Terms, kl_weight: Tensor | float = 1.0) -> Tensor:
    """Upper bound of ``-log p(x)`` from k samples: ``-log 1/k sum exp(log p(x | z) + log p(z) - log q(z | x))``.

    One sample gives the negative ELBO in sampled form; more make it tighter; without end it is ``-log p(x)``.

    Args:
        terms: What `sampled_terms` gives, (k, N).
        kl_weight: Weight of ``log p(z) - log q(z | x)``; at other values than 1, as in a warm-up, it is no bound.

    Returns:
        Nats, shape (N,).

    Source: Burda, Grosse & Salakhutdinov 2016, equation 8, arXiv:1509.00519.
    """
    return math.log(len(terms.kl)) - torch.logsumexp(-(terms.reconstruction + kl_weight * terms.kl), dim=0)


@torch.no_grad()
def negative_log_likelihood(
    model: Any, x: Tensor, spec: ModelSpec, *, samples: int, generator: torch.Generator, at_once: int = 100
) -> Tensor:
    """Estimate ``-log p(x)`` by the importance-weighted bound with many samples, a few at a time in constant memory.

    Args:
        model: Anything with `encode` and `decode_params`.
        x: Items as `as_values` gives them, (N, *shape).
        spec: Likelihood and scale.
        samples: Samples k of each item's posterior; papers report 5,000.
        generator: Source of the noise, on the items' device.
        at_once: Samples of each item that are decoded together.

    Returns:
        Nats, shape (N,), float64; an upper bound in expectation.

    Source: Burda, Grosse & Salakhutdinov 2016, section 5, arXiv:1509.00519.
    """
    log_total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    for start in range(0, samples, at_once):
        shape = (min(at_once, samples - start), len(x), spec.latent)
        eps = torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)
        terms = sampled_terms(model, x, eps, spec)
        log_total = torch.logaddexp(log_total, torch.logsumexp(-(terms.reconstruction + terms.kl).double(), dim=0))
    return math.log(samples) - log_total


def training_loss(
    model: Any, x: Tensor, eps: Tensor, config: TrainConfig, spec: ModelSpec, kl_weight: Tensor | float
) -> tuple[Tensor, Terms]:
    """Give what is minimised, shape (), and both terms of each item.

    Args:
        model: Anything with `encode` and `decode_params`.
        x: Items as `as_values` gives them, (N, *shape).
        eps: Noise, (N, D), or (k, N, D) for the objective "iwae".
        config: Objective and free bits.
        spec: Likelihood and scale.
        kl_weight: Weight of the KL.

    Returns:
        The loss, and terms of shape (N,): for "iwae" their means over the samples.
    """
    if config.objective == "iwae":
        samples = sampled_terms(model, x, eps, spec)
        return importance_weighted_bound(samples, kl_weight).mean(), Terms(
            samples.reconstruction.mean(0), samples.kl.mean(0)
        )
    reconstruction, mean, log_var = _reconstructed(model, x, eps, spec)
    terms = Terms(reconstruction, kl_divergence(mean, log_var))
    if config.free_bits:
        free = free_bits_kl(kl_per_dimension(mean, log_var), config.free_bits)
        return reconstruction.mean() + kl_weight * free, terms
    return (terms.reconstruction + kl_weight * terms.kl).mean(), terms


def _reconstructed(model: Any, x: Tensor, eps: Tensor, spec: ModelSpec) -> tuple[Tensor, Tensor, Tensor | None]:
    """Reconstruction loss (N,), and the posterior's mean and log_var, (N, D) each."""
    mean, log_var = model.encode(x)
    mean, log_var = _wide(mean), None if log_var is None else _wide(log_var)
    params = model.decode_params(reparameterise(mean, log_var, eps))
    return reconstruction_loss(x, params, spec.likelihood, log_scale_of(model, spec)), mean, log_var


def _wide(tensor: Tensor) -> Tensor:
    """bfloat16, from autocast's products, as float32: sums over an item need its digits."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
