"""How good a model is: the ELBO of a data set, measured through the ONNX graphs.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import as_float
from vaekit.elbo import active_dimensions
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
    """

    items: int
    negative_elbo: float
    reconstruction: float
    kl: float
    kl_per_dimension: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    active: tuple[int, ...]

    def quality(self) -> Mapping[str, float]:
        """The numbers that a manifest keeps."""
        return {
            "items": self.items,
            "negative_elbo": self.negative_elbo,
            "reconstruction": self.reconstruction,
            "kl": self.kl,
        }


def evaluate(vae: VAE, pixels: NDArray[np.uint8] | NDArray[np.float32], *, seed: int = 0) -> Evaluation:
    """Measure a model on a data set.

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
    reconstruction = np.empty(count)
    kl = np.zeros(vae.spec.latent)
    means = np.empty((count, vae.spec.latent), np.float32)
    variance = np.zeros(vae.spec.latent)
    for start in range(0, count, BATCH):
        rows = slice(start, start + BATCH)
        posterior, reconstruction[rows], kl_rows = negative_elbo_terms(
            vae, as_float(pixels[rows]), seed=seed, start=start
        )
        kl += kl_rows.sum(axis=0)
        means[rows] = posterior.mean
        variance += np.exp(posterior.log_var.astype(np.float64)).sum(axis=0)
    kl /= count
    spread = np.sqrt(means.astype(np.float64).var(axis=0) + variance / count)
    return Evaluation(
        items=count,
        negative_elbo=float(reconstruction.mean() + kl.sum()),
        reconstruction=float(reconstruction.mean()),
        kl=float(kl.sum()),
        kl_per_dimension=tuple(map(float, kl)),
        mean=tuple(map(float, means.astype(np.float64).mean(axis=0))),
        std=tuple(map(float, spread)),
        active=active_dimensions(means),
    )
