"""The evidence lower bound, per item and in nats, from plain arrays.

``-ELBO = reconstruction + KL``, both as sums over an item's values. This is the runtime's copy of the objective, in
NumPy and from the decoder's means; `vaekit.training.objective` holds the one that is trained, in torch and from logits.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from vaekit.errors import ConfigError, ShapeError
from vaekit.spec import LIKELIHOODS, Likelihood

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LOWEST_PROBABILITY = 2.0**-26
"""A smaller mean counts as this, which is a logit of -18.

On CPUs, ONNX Runtime's sigmoid takes smaller logits for -18 and is right to about 2^-24, absolutely: below logits of -17 most
of its means are 0. Where a pixel is not black, that 0 must not cost the 87 nats of the smallest float32: the mean over MNIST's
test images would be 0.04 nats off. Means of other providers, which may be right to smaller ones, count alike.
"""

HIGHEST_PROBABILITY = 1 - 2.0**-24
"""Largest float32 below 1: a mean that was rounded to 1 counts as this."""

ACTIVE_VARIANCE = 0.01
"""A latent dimension is active where the variance of its posterior mean over the data is larger.

Source: Burda, Grosse & Salakhutdinov 2016, section 5.2, arXiv:1509.00519.
"""


def kl_divergence(mean: ArrayLike, log_var: ArrayLike) -> NDArray[np.float64]:
    """KL from the posterior to the prior, per item and dimension: ``1/2 (var - log var - 1 + mean^2)``.

    Args:
        mean: Posterior means, shape (N, D).
        log_var: Natural logs of the posterior variances, shape (N, D).

    Returns:
        Nats, shape (N, D), float64; sum over the last axis for an item's KL.

    Raises:
        ShapeError: The two differ in shape.

    Source: Kingma & Welling 2014, appendix B, arXiv:1312.6114.
    """
    mu, lv = np.asarray(mean, np.float64), np.asarray(log_var, np.float64)
    if mu.shape != lv.shape:
        raise ShapeError(f"mean has shape {mu.shape} and log_var {lv.shape}; they must be the same.")
    return 0.5 * (np.exp(lv) - lv - 1 + mu * mu)


def reconstruction_loss(
    x: ArrayLike, x_hat: ArrayLike, likelihood: Likelihood, *, scale: float = 1.0, units: ArrayLike = 1.0
) -> NDArray[np.float64]:
    """Negative log-likelihood of each item of V values under the decoder's means.

    - bernoulli: ``-sum(x log x_hat + (1 - x) log(1 - x_hat))``
    - gaussian: ``1/2 ||(x - x_hat) / (scale units)||^2 + V log scale``, without the constant ``V/2 log 2 pi``
    - discretized-logistic, over the 256 levels x = k/255, with s the scale and F the logistic function:
      ``-sum log(F((x + 1/510 - x_hat) / s) - F((x - 1/510 - x_hat) / s))``; the first F is 1 for x = 1, the second 0 for x = 0

    Args:
        x: Items, shape (N, ...).
        x_hat: The decoder's means for them, same shape.
        likelihood: "bernoulli", "gaussian" or "discretized-logistic".
        scale: The likelihood's scale; see `vaekit.ModelSpec`.
        units: What standardising divides each value by, of a shape that multiplies an item; see `vaekit.DataSpec.units`.

    Returns:
        Nats, shape (N,), float64.

    Raises:
        ShapeError: The two differ in shape.
        ConfigError: The likelihood is unknown.
    """
    a, b = np.asarray(x, np.float64), np.asarray(x_hat, np.float64)
    if a.shape != b.shape:
        raise ShapeError(f"x has shape {a.shape} and x_hat {b.shape}; they must be the same.")
    axes = tuple(range(1, a.ndim))
    if likelihood == "bernoulli":
        return np.asarray(-_log_bernoulli(a, b).sum(axis=axes))
    if likelihood == "gaussian":
        size = a[0].size if len(a) else 0
        return np.asarray(0.5 * np.square((a - b) / (scale * np.asarray(units))).sum(axis=axes) + size * np.log(scale))
    if likelihood == "discretized-logistic":
        return np.asarray(-_log_mass(a, b, scale).sum(axis=axes))
    raise ConfigError(f"likelihood={likelihood!r} is unknown; choose one of {', '.join(LIKELIHOODS)}.")


def _log_bernoulli(x: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """``x log p + (1 - x) log(1 - p)``, in two arrays that are written over: making more of them takes longer than the logs."""
    log_p = np.maximum(p, LOWEST_PROBABILITY)
    np.log(log_p, out=log_p)
    # Not log1p, ten times slower in NumPy: the means are float32, so that 1 - p is right to 1e-16, and so is its log.
    log_1_minus_p = np.subtract(1, np.minimum(p, HIGHEST_PROBABILITY))
    np.log(log_1_minus_p, out=log_1_minus_p)
    log_p -= log_1_minus_p
    log_p *= x
    log_p += log_1_minus_p
    return log_p


def bits_per_dimension(nats: float, size: int) -> float:
    """``nats / (V ln 2)`` of an item of V values; it means something for likelihoods of discrete values alone.

    Args:
        nats: Negative ELBO of an item, or the mean over items.
        size: Values in an item, V.
    """
    return nats / (size * math.log(2))


def _log_mass(x: NDArray[np.float64], mean: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Log-probability of 8-bit levels: the logistic distribution's mass within half a level on either side.

    With u and v the two edges, ``F(u) - F(v) = F(u) (1 - F(v)) (1 - exp(v - u))``, whose log loses nothing in the tails. An
    edge at 0 or 1 or beyond is at infinity, also that of a black of 1e-8, as in images that were normalised and back.
    """
    half = 0.5 / 255
    upper, lower = (x + half - mean) / scale, (x - half - mean) / scale
    darkest, brightest = x <= half, x >= 1 - half
    log_below = np.where(brightest, 0.0, -np.logaddexp(0, -upper))  # log F(u)
    log_above = np.where(darkest, 0.0, -np.logaddexp(0, lower))  # log(1 - F(v))
    return log_below + log_above + np.where(darkest | brightest, 0.0, np.log(-np.expm1(-2 * half / scale)))


def active_dimensions(variance: ArrayLike) -> tuple[int, ...]:
    """Latent dimensions that carry information: those with ``Var_x(mean) > 0.01`` over a data set.

    Args:
        variance: Variance over a data set of each dimension's posterior mean, shape (D,).

    Returns:
        Their indices, ascending.
    """
    return tuple(int(d) for d in np.flatnonzero(np.asarray(variance, np.float64) > ACTIVE_VARIANCE))
