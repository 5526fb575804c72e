"""The likelihood of items by importance sampling, through the ONNX graphs, in memory that neither items nor samples enlarge.

For each item, K codes are drawn from its posterior, and

    -log p(x)  ~  -log 1/K sum_k w_k,      w_k = p(x | z_k) p(z_k) / q(z_k | x),      z_k = mean + exp(log_var / 2) eps_k

which in expectation is an upper bound, tighter with each sample, and ends at ``-log p(x)``. Code k of item i takes sample
index ``i K + k`` of the portable noise. These indices are worked through in order, a batch at a time, and each item's sum of
weights is carried from one batch to the next as its logarithm: no result depends on where batches end.

Source: Burda, Grosse & Salakhutdinov 2016, equation 8 and section 5, arXiv:1509.00519.

Shapes: N items, D latent dimensions, K samples of each posterior, B rows of a batch.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import as_float
from vaekit.datasets.mapped import Reader
from vaekit.elbo import reconstruction_loss
from vaekit.errors import ConfigError
from vaekit.latents import Posterior
from vaekit.noise import noise
from vaekit.runtime.evaluate import Moments, check_items
from vaekit.runtime.session import BATCH, Items
from vaekit.runtime.stream import OnRows, Source
from vaekit.runtime.vae import VAE
from vaekit.spec import ModelSpec

Nats = NDArray[np.float64]

BLOCK_VALUES = 1 << 15
"""Values whose loss is computed at a time: 256 KiB in float64, so that the arrays in between stay in a core's cache."""


class NegativeLogLikelihood(NamedTuple):
    """Mean over items of ``-log p(x)``, estimated by importance sampling; in nats an item.

    Attributes:
        items: Number of items, N.
        samples: Samples of each item's posterior, K.
        mean: The mean; in expectation it is too large, the less the more samples.
        standard_error: Its standard error over items; None for a single item.
        fewer: How much larger the mean is with half as many samples, from the same samples in two halves; near 0, more samples
            would change little. None for a single sample.
        fewer_error: The standard error of `fewer` over items.
    """

    items: int
    samples: int
    mean: float
    standard_error: float | None
    fewer: float | None
    fewer_error: float | None


def negative_log_likelihood(
    vae: VAE,
    items: Source,
    *,
    samples: int,
    seed: int = 0,
    batch_size: int = BATCH,
    on_progress: OnRows | None = None,
) -> NegativeLogLikelihood:
    """Estimate the mean of ``-log p(x)`` over items; the module's header has the formula.

    For a Gaussian likelihood p is a density of standardised values, without the constant ``V/2 log 2 pi``, as in
    `vaekit.elbo.reconstruction_loss`.

    Args:
        vae: The model, of kind "vae".
        items: (N, *data shape): float32 in the data's range, or uint8, which is divided by 255.
        samples: Samples K of each item's posterior; papers report 5,000.
        seed: Seed of the portable noise; code k of item i takes sample index i K + k.
        batch_size: Items a call of the encoder, and codes a call of the decoder.
        on_progress: Called after each call of the decoder with the items that are done and all items.

    Raises:
        ConfigError: The model is an autoencoder, or the samples or the batch size are below 1.
        DataError: There are no items.
        ShapeError: The items do not fit the model.
    """
    count, moments = check_items(items, batch_size), Moments(2)
    for bounds in stream_bounds(vae, items, samples=samples, seed=seed, batch_size=batch_size, on_progress=on_progress):
        moments.add(np.stack([bounds.nats, bounds.halved - bounds.nats], axis=1))
    mean, fewer = map(float, moments.mean)
    error, fewer_error = map(float, moments.standard_error) if count > 1 else (None, None)
    if samples == 1:
        return NegativeLogLikelihood(count, samples, mean, error, None, None)
    return NegativeLogLikelihood(count, samples, mean, error, fewer, fewer_error)


class Bounds(NamedTuple):
    """Estimates of ``-log p(x)`` of some items, (B,) each, in nats.

    Attributes:
        nats: From all K samples.
        halved: Mean of the two estimates from the first K // 2 samples and from as many after them; for one sample, the same as
            `nats`.
    """

    nats: Nats
    halved: Nats


def stream_bounds(
    vae: VAE,
    items: Source,
    *,
    samples: int,
    seed: int = 0,
    batch_size: int = BATCH,
    on_progress: OnRows | None = None,
) -> Iterator[Bounds]:
    """Give the estimate of each item, in the items' order, a batch of items at a time; see `negative_log_likelihood`."""
    check_samples(vae.spec, samples)
    reader, count = Reader(items), len(items)
    for start in range(0, count, batch_size):
        x = as_float(reader[start : start + batch_size])

        def report(done: int, start: int = start) -> None:
            if on_progress is not None:
                on_progress(start + done, count)

        yield _bounds(vae, x, samples=samples, seed=seed, start=start, batch_size=batch_size, report=report)
    reader.release()


def check_samples(spec: ModelSpec, samples: int) -> None:
    """Refuse what has no importance-sampled likelihood.

    Raises:
        ConfigError: The model is an autoencoder, or there are fewer samples than one.
    """
    if spec.kind == "ae":
        raise ConfigError(
            "a likelihood was asked for, but the model is an autoencoder: it has no prior and its posterior is a point, so "
            "p(x) is not defined; leave the samples out."
        )
    if samples < 1:
        raise ConfigError(
            f"{samples} samples a posterior were asked for, but importance sampling takes at least 1; papers report 5,000."
        )


def _bounds(
    vae: VAE, x: Items, *, samples: int, seed: int, start: int, batch_size: int, report: Callable[[int], None]
) -> Bounds:
    """The estimates of one batch of items, of which the first is item `start` of all."""
    posterior = vae.encode(x)
    split = samples // 2
    log_sums = np.full((len(x), 3), -np.inf)  # of each item's weights: two halves, and the last of an odd number
    for first in range(0, len(x) * samples, batch_size):
        index = np.arange(first, min(first + batch_size, len(x) * samples))  # i K + k, of this batch's items
        item, k = np.divmod(index, samples)
        log_weight = _log_weights(vae, x, posterior, item, seed=seed, start=start * samples + first)
        part = 3 * item + (k // split if split else 0)
        begins = np.flatnonzero(np.diff(part, prepend=-1))
        sums = np.logaddexp.reduceat(log_weight, begins)
        place = np.divmod(part[begins], 3)
        log_sums[place] = np.logaddexp(log_sums[place], sums)
        report(int(index[-1] + 1) // samples)
    nats = math.log(samples) - np.logaddexp.reduce(log_sums, axis=1)
    if samples == 1:
        return Bounds(nats, nats)
    return Bounds(nats, (math.log(split) - log_sums[:, :2]).mean(axis=1))


def _log_weights(vae: VAE, x: Items, posterior: Posterior, item: NDArray[np.int64], *, seed: int, start: int) -> Nats:
    """``log w = log p(x | z) + log p(z) - log q(z | x)``, (B,), of codes whose items are given, from sample index `start` on.

    For normals the last two are ``-1/2 sum_d (z^2 - eps^2 - log_var)``.
    """
    spec = vae.spec
    mean, log_var = posterior.mean[item].astype(np.float64), posterior.log_var[item].astype(np.float64)
    eps = noise(seed=seed, count=len(item), dim=spec.latent, start=start)
    z = mean + np.exp(log_var / 2) * eps
    x_hat = vae.decode(z.astype(np.float32))
    lost = np.empty(len(item))
    high = max(1, BLOCK_VALUES // spec.data.size)
    for first in range(0, len(item), high):
        rows = slice(first, first + high)
        lost[rows] = reconstruction_loss(
            x[item[rows]], x_hat[rows], spec.likelihood, scale=spec.scale, units=spec.data.units
        )
    return np.asarray(-lost - 0.5 * (np.square(z) - np.square(eps.astype(np.float64)) - log_var).sum(axis=1))
