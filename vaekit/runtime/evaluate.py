"""How good a model is: the ELBO of a data set, measured through the ONNX graphs.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import as_float
from vaekit.datasets.mapped import Reader
from vaekit.elbo import active_dimensions, bits_per_dimension
from vaekit.errors import ConfigError, DataError
from vaekit.runtime.session import BATCH
from vaekit.runtime.stream import OnRows, Source
from vaekit.runtime.vae import VAE, negative_elbo_terms
from vaekit.spec import Likelihood

LEVEL_TOLERANCE = 1e-3
"""Distance from the nearest 8-bit level, in levels, that is rounding: float32 holds k / 255 to 3e-5 of a level."""


class StandardErrors(NamedTuple):
    """Standard errors of means over items: the standard deviation over items, divided by the root of their number.

    They hold both what differs from item to item and the one code that is drawn for each.

    Attributes:
        negative_elbo: Of the mean negative ELBO, nats.
        reconstruction: Of the mean reconstruction, nats.
        kl: Of the mean KL, nats.
    """

    negative_elbo: float
    reconstruction: float
    kl: float


@dataclass(frozen=True)
class Evaluation:
    """Means over a data set, in nats an item.

    Attributes:
        items: Number of items.
        negative_elbo: ``reconstruction + kl``, with one sample of the posterior an item.
        reconstruction: Negative log-likelihood of the items under the decoder.
        kl: KL from the posterior to the prior; 0 for an autoencoder.
        kl_per_dimension: The same for each latent dimension, (D,).
        mean: Mean of the codes, (D,).
        std: Standard deviation of the codes, (D,): the root of the variance of the means plus the mean variance.
        active: Dimensions that carry information; see `vaekit.elbo.active_dimensions`.
        bits_per_dimension: The negative ELBO of a VAE where the items are discrete, else None; see `vaekit.elbo`.
        discrete: Whether every value is one of those that the likelihood gives a probability: 0 and 1 for bernoulli, the 8-bit
            levels for discretized-logistic. Where not, its nats are no log-probabilities.
        standard_errors: How far the three means are from those of many more such items; None for a single item.
    """

    items: int
    negative_elbo: float
    reconstruction: float
    kl: float
    kl_per_dimension: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    active: tuple[int, ...]
    bits_per_dimension: float | None = None
    discrete: bool = False
    standard_errors: StandardErrors | None = None

    def quality(self) -> Mapping[str, float]:
        """The numbers that a manifest keeps."""
        bits = self.bits_per_dimension
        return {
            "items": self.items,
            "negative_elbo": self.negative_elbo,
            "reconstruction": self.reconstruction,
            "kl": self.kl,
            **({} if bits is None else {"bits_per_dimension": bits}),
        }


def evaluate(
    vae: VAE, pixels: Source, *, seed: int = 0, batch_size: int = BATCH, on_progress: OnRows | None = None
) -> Evaluation:
    """Measure a model on a data set, in constant memory.

    Args:
        vae: The model.
        pixels: Items, shape (N, *data shape): float32 in the data's range, or uint8, which is divided by 255.
        seed: Seed of the posterior's samples; item i takes sample index i.
        batch_size: Items a call of the model.
        on_progress: Called after each batch with the items that are done and all items.

    Raises:
        ConfigError: The batch size is below 1.
        DataError: There are no items.
        ShapeError: The items do not fit the model.
    """
    count, spec = check_items(pixels, batch_size), vae.spec
    reconstruction = 0.0
    kl, variance = np.zeros(spec.latent), np.zeros(spec.latent)
    codes, terms = Moments(spec.latent), Moments(3)
    discrete = spec.likelihood != "gaussian"
    reader = Reader(pixels)
    for start in range(0, count, batch_size):
        x = as_float(reader[start : start + batch_size])
        found = negative_elbo_terms(vae, x, seed=seed, start=start)
        lost, kl_items = found.reconstruction, found.kl.sum(axis=1)
        reconstruction += float(lost.sum())
        kl += found.kl.sum(axis=0)
        codes.add(found.posterior.mean)
        terms.add(np.stack([lost + kl_items, lost, kl_items], axis=1))
        variance += np.exp(found.posterior.log_var.astype(np.float64)).sum(axis=0)
        discrete = discrete and has_probability(x, spec.likelihood)
        if on_progress is not None:
            on_progress(start + len(x), count)
    reader.release()
    kl /= count
    reconstruction /= count
    negative_elbo = reconstruction + float(kl.sum())
    bits = bits_per_dimension(negative_elbo, spec.data.size) if discrete and spec.kind == "vae" else None
    return Evaluation(
        items=count,
        negative_elbo=negative_elbo,
        reconstruction=reconstruction,
        kl=float(kl.sum()),
        kl_per_dimension=tuple(map(float, kl)),
        mean=tuple(map(float, codes.mean)),
        std=tuple(map(float, np.sqrt(codes.variance + variance / count))),
        active=active_dimensions(codes.variance),
        bits_per_dimension=bits,
        discrete=discrete,
        standard_errors=StandardErrors(*map(float, terms.standard_error)) if count > 1 else None,
    )


def check_items(items: Source, batch_size: int) -> int:
    """Give the number of items that are to be measured, in batches of some size.

    Raises:
        ConfigError: The batch size is below 1.
        DataError: There are no items.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: give 1 or more.")
    if len(items) == 0:
        raise DataError("there is nothing to evaluate: the data set has no items.")
    return len(items)


def has_probability(x: NDArray[np.float32], likelihood: Likelihood) -> bool:
    """Whether every value is one of the discrete ones that a likelihood gives a probability; a density has none."""
    if likelihood == "bernoulli":
        return bool(((x == 0) | (x == 1)).all())
    levels = 255 * x
    return likelihood == "discretized-logistic" and bool((np.abs(levels - np.rint(levels)) < LEVEL_TOLERANCE).all())


class RunningMean:
    """Mean of rows that come in batches.

    Sums are taken of differences from the first batch's mean, so that a variance far below the mean loses no digits.

    Args:
        dimensions: Values a row, D.
    """

    def __init__(self, dimensions: int) -> None:
        self._count = 0
        self._shift = np.zeros(dimensions)
        self._sum = np.zeros(dimensions)

    def _shifted(self, rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Count some rows and their sum; gives their differences from the first batch's mean."""
        values = rows.astype(np.float64)
        if self._count == 0 and len(values):
            self._shift = values.mean(axis=0)
        values -= self._shift
        self._count += len(values)
        self._sum += values.sum(axis=0)
        return values

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the rows, (D,)."""
        return np.asarray(self._shift + self._sum / self._count)


class Moments(RunningMean):
    """Mean and variance of rows that come in batches.

    Args:
        dimensions: Values a row, D.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__(dimensions)
        self._squares = np.zeros(dimensions)

    def add(self, rows: NDArray[np.floating[Any]]) -> None:
        """Count some more rows, (N, D)."""
        self._squares += np.square(self._shifted(rows)).sum(axis=0)

    @property
    def variance(self) -> NDArray[np.float64]:
        """Mean squared difference from the mean, (D,)."""
        return np.asarray(np.maximum(0.0, self._squares / self._count - np.square(self._sum / self._count)))

    @property
    def standard_error(self) -> NDArray[np.float64]:
        """Standard error of the mean, (D,): the root of the unbiased variance over the number of rows, which is 2 or more."""
        return np.asarray(np.sqrt(self.variance / (self._count - 1)))
