"""The objective: both terms of the negative ELBO, per item, in nats, from the decoder's natural parameters.

Needs: torch. Shapes: N items, D latent dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vaekit.spec import Likelihood
from vaekit.training.models import Model


class Terms(NamedTuple):
    """The two terms of the negative ELBO of N items, in nats, shape (N,) each."""

    reconstruction: Tensor
    kl: Tensor


def reparameterise(mean: Tensor, log_var: Tensor | None, eps: Tensor) -> Tensor:
    """``z = mean + exp(log_var / 2) * eps``, all (N, D); a point posterior (None) gives its mean."""
    return mean if log_var is None else mean + torch.exp(0.5 * log_var) * eps


def reconstruction_loss(x: Tensor, params: Tensor, likelihood: Likelihood) -> Tensor:
    """Negative log-likelihood per item.

    - bernoulli, from logits l: ``sum(max(l, 0) - l x + log(1 + exp(-|l|)))``, which is ``-sum(x log p + (1-x) log(1-p))``
    - gaussian (unit variance), from means m: ``1/2 ||x - m||^2``, without the constant ``D/2 log 2 pi``

    Args:
        x: Items, shape (N, ...).
        params: Logits or means, same shape.
        likelihood: "bernoulli" or "gaussian".

    Returns:
        Nats, shape (N,).
    """
    if likelihood == "bernoulli":
        return functional.binary_cross_entropy_with_logits(params, x, reduction="none").flatten(1).sum(1)
    return 0.5 * (x - params).square().flatten(1).sum(1)


def kl_divergence(mean: Tensor, log_var: Tensor | None) -> Tensor:
    """KL from the posterior to N(0, I) per item: ``1/2 sum(var - log var - 1 + mean^2)``; 0 for a point posterior.

    Args:
        mean: Shape (N, D).
        log_var: Shape (N, D), or None.

    Returns:
        Nats, shape (N,).

    Source: Kingma & Welling 2014, appendix B, arXiv:1312.6114.
    """
    if log_var is None:
        return mean.new_zeros(len(mean))
    return 0.5 * (log_var.exp() - log_var - 1 + mean.square()).sum(1)


def negative_elbo_terms(model: Model, x: Tensor, eps: Tensor, likelihood: Likelihood) -> Terms:
    """Encode, draw one code an item with the given noise, decode, and measure.

    Args:
        model: Anything with `encode` and `decode_params`.
        x: Items, shape (N, *shape).
        eps: Standard normal noise, shape (N, D).
        likelihood: What the decoder's parameters mean.

    Returns:
        Both terms; their sum is the negative ELBO, ``reconstruction + beta * kl`` the loss of a beta-VAE.

    Source: Kingma & Welling 2014, equation 10, arXiv:1312.6114; Higgins et al. 2017 for beta.
    """
    mean, log_var = model.encode(x)
    params = model.decode_params(reparameterise(mean, log_var, eps))
    return Terms(reconstruction_loss(x, params, likelihood), kl_divergence(mean, log_var))
