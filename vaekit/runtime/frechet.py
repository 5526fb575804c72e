"""How far a model's own samples are from real items, in its own codes: a Fréchet distance that needs no other network.

Decoded codes of the prior and real items are both encoded; a normal distribution is fitted to the posterior means of each; and

    d^2 = ||mean_1 - mean_2||^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))

is the squared Fréchet (2-Wasserstein) distance of the two normals. What it is good for: a model whose samples leave the region
where its encoder puts real items shows a distance far above the floor, which is the same distance between two sets of real
items. What it is not: the Fréchet Inception Distance, which looks through another network. Here a model judges itself, by
features that it chose; what its encoder ignores is not seen; codes of two models have different units. So it says nothing of
which of two models is better.

Like every distance of fitted normals it is too large: two sets of N codes of unit variance that nothing tells apart are about
``D (D + 5) / (2 N)`` from each other. The floor is taken with as many items where they exist, and holds the same.

Source: Dowson & Landau 1982, doi:10.1016/0047-259X(82)90077-X, for the formula; Heusel et al. 2017, arXiv:1706.08500, for FID.

Shapes: N items, D latent dimensions.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import as_float
from vaekit.datasets.binarized import Binarized
from vaekit.datasets.mapped import Reader
from vaekit.errors import ConfigError, DataError, ShapeError
from vaekit.runtime.evaluate import RunningMean, check_items
from vaekit.runtime.session import BATCH, Items
from vaekit.runtime.stream import OnRows, Source
from vaekit.runtime.vae import VAE

DRAWN = 1 << 62
"""Number of the first decoded sample among items that are drawn as 0 or 1: far beyond any data set's."""


class Normal(NamedTuple):
    """A normal distribution that was fitted to rows.

    Attributes:
        items: Number of rows, N.
        mean: Their mean, (D,).
        covariance: Their unbiased covariance, (D, D).
    """

    items: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


class Fit(RunningMean):
    """Fits a normal distribution to rows that come in batches.

    Args:
        dimensions: Values a row, D.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__(dimensions)
        self._products = np.zeros((dimensions, dimensions))

    def add(self, rows: NDArray[np.floating[Any]]) -> None:
        """Count some more rows, (N, D)."""
        values = self._shifted(rows)
        self._products += values.T @ values

    def normal(self) -> Normal:
        """Give the fit.

        Raises:
            DataError: There were fewer than two rows.
        """
        if self._count < 2:
            raise DataError(f"a normal distribution was to be fitted to {self._count} items; give at least 2.")
        mean = self._sum / self._count  # of the differences
        covariance = (self._products - self._count * np.outer(mean, mean)) / (self._count - 1)
        return Normal(self._count, self.mean, covariance)


def squared_frechet_distance(a: Normal, b: Normal) -> float:
    """``||mean_1 - mean_2||^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))`` of two normals.

    With R the symmetric root of S_1, the eigenvalues of S_1 S_2 are those of the symmetric R S_2 R, so that only symmetric
    matrices are taken apart; eigenvalues that rounding put below 0 count as 0.

    Raises:
        ShapeError: The two have other dimensions.
    """
    if a.mean.shape != b.mean.shape:
        raise ShapeError(f"the distance of normals in {a.mean.size} and {b.mean.size} dimensions is not defined.")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b.covariance @ root), 0)).sum()
    spread = np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross
    return float(np.square(a.mean - b.mean).sum() + max(spread, 0.0))


class Frechet(NamedTuple):
    """Squared Fréchet distances between posterior means, in a model's own codes.

    Attributes:
        samples: Of decoded samples of the prior to the items.
        floor: Of other real items to the items: what a perfect model would be near to.
        items: Items, and as many samples.
        floor_items: Other items.
    """

    samples: float
    floor: float
    items: int
    floor_items: int


def frechet(
    vae: VAE,
    items: Source,
    other: Source,
    *,
    seed: int = 0,
    binarized: bool = False,
    batch_size: int = BATCH,
    on_progress: OnRows | None = None,
) -> Frechet:
    """Measure how far decoded samples of the prior are from items, beside how far other items are from them.

    Read the module's header for what this says and what it does not.

    Args:
        vae: The model. For an autoencoder, codes come from the normal that was fitted to its training items' codes.
        items: Items to compare with, (N, *data shape), N at least 2; as many samples are drawn.
        other: Other items of the same kind, at least 2; best as many.
        seed: Seed of the prior's codes, and of pixels that are drawn.
        binarized: Draw each pixel of a sample as 0 or 1, as a `Binarized` data set's are; else samples are the decoder's means.
        batch_size: Items a call of the model.
        on_progress: Called after each batch with the items that are done and all.

    Raises:
        ConfigError: The batch size is below 1, or pixels are to be drawn of a model that is not Bernoulli.
        DataError: There are fewer than two of one kind.
        ShapeError: The items do not fit the model.
    """
    if binarized and vae.spec.likelihood != "bernoulli":
        raise ConfigError(f"pixels of 0 or 1 were asked for, but the model's likelihood is {vae.spec.likelihood}.")
    count, total = check_items(items, batch_size), 2 * len(items) + len(other)
    done = 0

    def fit(batches: Iterator[Items]) -> Normal:
        nonlocal done
        fitted = Fit(vae.spec.latent)
        for x in batches:
            fitted.add(vae.encode(x).mean)
            done += len(x)
            if on_progress is not None:
                on_progress(done, total)
        return fitted.normal()

    real, floor = fit(_read(items, batch_size)), fit(_read(other, batch_size))
    sampled = fit(_sampled(vae, count, seed=seed, binarized=binarized, batch_size=batch_size))
    return Frechet(squared_frechet_distance(sampled, real), squared_frechet_distance(floor, real), count, len(other))


def _read(items: Source, batch_size: int) -> Iterator[Items]:
    reader = Reader(items)
    for start in range(0, len(items), batch_size):
        yield as_float(reader[start : start + batch_size])
    reader.release()


def _sampled(vae: VAE, count: int, *, seed: int, binarized: bool, batch_size: int) -> Iterator[Items]:
    """Decoded codes of the prior, as the encoder takes them: within the data's range, which a Gaussian's means may leave."""
    limits = vae.spec.data.range
    for start in range(0, count, batch_size):
        x = vae.decode(vae.prior(min(batch_size, count - start), seed=seed, start=start))
        if limits is not None:
            x = np.clip(x, *limits)
        yield Binarized(x, seed=seed, start=DRAWN + start)[:] if binarized else x
