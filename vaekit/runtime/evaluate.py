"""How good a model is: the ELBO of a data set, measured through the ONNX graphs.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import as_float
from vaekit.datasets.mapped import Items, Reader
from vaekit.elbo import active_dimensions, bits_per_dimension
from vaekit.errors import DataError
from vaekit.runtime.session import BATCH, VAE, negative_elbo_terms


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
        std: Standard deviation of the codes, (D,): the variance of the means plus the mean variance.
        active: Dimensions that carry information; see `vaekit.elbo.active_dimensions`.
        bits_per_dimension: The negative ELBO for a likelihood of discrete levels, else None; see `vaekit.elbo`.
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


def evaluate(vae: VAE, pixels: Items, *, seed: int = 0) -> Evaluation:
    """Measure a model on a data set, in constant memory.

    Args:
        vae: The model.
        pixels: Items, shape (N, *data shape): float32 in the data's range, or uint8, which is divided by 255.
        seed: Seed of the posterior's samples; item i takes sample index i.

    Raises:
        DataError: There are no items.
        ShapeError: The items do not fit the model.
    """
    count = len(pixels)
    if count == 0:
        raise DataError("there is nothing to evaluate: the data set has no items.")
    reconstruction = 0.0
    kl, variance = np.zeros(vae.spec.latent), np.zeros(vae.spec.latent)
    codes = Moments(vae.spec.latent)
    reader = Reader(pixels)
    for start in range(0, count, BATCH):
        x = as_float(reader[start : start + BATCH])
        posterior, lost, kl_rows = negative_elbo_terms(vae, x, seed=seed, start=start)
        reconstruction += float(lost.sum())
        kl += kl_rows.sum(axis=0)
        codes.add(posterior.mean)
        variance += np.exp(posterior.log_var.astype(np.float64)).sum(axis=0)
    reader.release()
    kl /= count
    reconstruction /= count
    negative_elbo = reconstruction + float(kl.sum())
    discrete = vae.spec.likelihood == "discretized-logistic"
    return Evaluation(
        items=count,
        negative_elbo=negative_elbo,
        reconstruction=reconstruction,
        kl=float(kl.sum()),
        kl_per_dimension=tuple(map(float, kl)),
        mean=tuple(map(float, codes.mean)),
        std=tuple(map(float, np.sqrt(codes.variance + variance / count))),
        active=active_dimensions(codes.variance),
        bits_per_dimension=bits_per_dimension(negative_elbo, vae.spec.data.size) if discrete else None,
    )


class Moments:
    """Mean and variance of rows that come in batches.

    Sums are taken of differences from the first batch's mean, so that a variance far below the mean loses no digits.

    Args:
        dimensions: Values a row, D.
    """

    def __init__(self, dimensions: int) -> None:
        self._count = 0
        self._shift = np.zeros(dimensions)
        self._sum = np.zeros(dimensions)
        self._squares = np.zeros(dimensions)

    def add(self, rows: NDArray[np.floating[Any]]) -> None:
        """Count some more rows, (N, D), N at least 1."""
        values = rows.astype(np.float64)
        if self._count == 0:
            self._shift = values.mean(axis=0)
        values -= self._shift
        self._count += len(values)
        self._sum += values.sum(axis=0)
        self._squares += np.square(values).sum(axis=0)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the rows, (D,)."""
        return np.asarray(self._shift + self._sum / self._count)

    @property
    def variance(self) -> NDArray[np.float64]:
        """Mean squared difference from the mean, (D,)."""
        return np.asarray(np.maximum(0.0, self._squares / self._count - np.square(self._sum / self._count)))
