"""How unusual each item of a data set is, where normal ends, and how well the two are told apart.

    scores = score_items(vae, items)                    one number an item
    limit = threshold(scores_of_normal_items, 0.99)     normal items are above it one time in a hundred
    auroc(scores, anomalous)                            1: every anomaly above every normal item; 1/2: chance

`vaekit.scores` says what a score is. A low score means that the model explains the item cheaply, which is not the same as
that the item is of the kind it was trained on: simple items (few strokes, flat windows) are cheap for every model.

Shapes: N items.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vaekit.datasets import as_float
from vaekit.datasets.mapped import Reader
from vaekit.errors import DataError, ShapeError
from vaekit.runtime.evaluate import check_items
from vaekit.runtime.session import BATCH
from vaekit.runtime.stream import OnRows, Source
from vaekit.runtime.vae import VAE
from vaekit.scores import ScoreStatistics, rank, supported

Nats = NDArray[np.float64]


def stream_scores(
    vae: VAE, items: Source, *, batch_size: int = BATCH, on_progress: OnRows | None = None
) -> Iterator[Nats]:
    """Give the scores of a data set of any size, a batch at a time and in its order, in constant memory.

    Args:
        vae: The model.
        items: (N, *data shape): float32 in the data's range, or uint8, which is divided by 255.
        batch_size: Items a call of the model.
        on_progress: Called after each batch with the items that are done and all items.

    Raises:
        ConfigError: The batch size is below 1, or the model was opened with ``io="uint8"``.
        DataError: There are no items.
        ShapeError: The items do not fit the model.
    """
    count = check_items(items, batch_size)
    reader = Reader(items)
    for start in range(0, count, batch_size):
        x = as_float(reader[start : start + batch_size])
        yield vae.score(x)
        if on_progress is not None:
            on_progress(start + len(x), count)
    reader.release()


def score_items(vae: VAE, items: Source, *, batch_size: int = BATCH, on_progress: OnRows | None = None) -> Nats:
    """Give the scores of a data set of any size, (N,); of the items, one batch at a time is in memory. See `stream_scores`."""
    return np.concatenate(list(stream_scores(vae, items, batch_size=batch_size, on_progress=on_progress)))


def threshold(scores: ArrayLike, quantile: float) -> float:
    """Where normal ends: the score of rank ``ceil((N + 1) q)`` among N normal items; see `vaekit.scores.rank`.

    Args:
        scores: Of normal items that the model was not trained on, (N,).
        quantile: Part q of normal items that are not above it.

    Raises:
        ConfigError: The quantile is not between 0 and 1.
        DataError: There are too few items for it.
        ShapeError: The scores are no list of numbers, or hold a NaN.
    """
    s = _scores(scores)
    place = rank(quantile, len(s)) - 1
    return float(np.partition(s, place)[place])


def summarise(scores: ArrayLike) -> ScoreStatistics:
    """Give what a manifest keeps of the scores of normal items, (N,).

    Raises:
        DataError: There are no scores, or one is infinite.
        ShapeError: The scores are no list of numbers, or hold a NaN.
    """
    s = np.sort(_scores(scores))
    if not len(s) or not np.isfinite(s).all():
        infinite = int((~np.isfinite(s)).sum())
        raise DataError(f"{len(s):,} scores, {infinite:,} of them infinite, say nothing of what is normal.")
    quantiles = {q: float(s[rank(q, len(s)) - 1]) for q in supported(len(s))}
    return ScoreStatistics(len(s), float(s.mean()), float(s.std()), quantiles)


class Auroc(NamedTuple):
    """How well scores tell anomalies from normal items.

    Attributes:
        value: Probability that an anomaly scores higher than a normal item, ties counted half.
        standard_error: Of the value, over samples of so many anomalies and normal items.
        anomalous: Number of anomalies.
        normal: Number of normal items.
    """

    value: float
    standard_error: float
    anomalous: int
    normal: int


def auroc(scores: ArrayLike, anomalous: ArrayLike) -> Auroc:
    """Area under the ROC curve, by ranks in O(N log N), with its standard error.

    With R the sum of the anomalies' ranks (equal scores share the mean of theirs), a anomalies and n normal items,

        A = U / (a n),    U = R - a (a + 1) / 2

        SE^2 = (A (1 - A) + (a - 1) (Q1 - A^2) + (n - 1) (Q2 - A^2)) / (a n),    Q1 = A / (2 - A),   Q2 = 2 A^2 / (1 + A)

    Args:
        scores: (N,).
        anomalous: (N,) true for anomalies.

    Raises:
        DataError: There is no anomaly, or nothing else.
        ShapeError: The two differ in length, or a score is NaN.

    Source: Mann & Whitney 1947, doi:10.1214/aoms/1177730491; Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    s, positive = _scores(scores), np.asarray(anomalous, np.bool_)
    if positive.shape != s.shape:
        raise ShapeError(f"there are {len(s):,} scores, but marks of shape {positive.shape}; give one mark an item.")
    a, n = int(positive.sum()), int((~positive).sum())
    if not a or not n:
        raise DataError(f"an AUROC compares anomalies with normal items, but there are {a:,} and {n:,}.")
    _, group, sizes = np.unique(s, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # from 1
    value = float((ranks[positive].sum() - a * (a + 1) / 2) / (a * n))
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = (value * (1 - value) + (a - 1) * (q1 - value**2) + (n - 1) * (q2 - value**2)) / (a * n)
    return Auroc(value, math.sqrt(max(0.0, variance)), a, n)


def _scores(scores: ArrayLike) -> Nats:
    s = np.asarray(scores, np.float64)
    if s.ndim != 1 or np.isnan(s).any():
        raise ShapeError(
            f"scores of shape {s.shape} were given; give a list of numbers, one an item, none of them NaN."
        )
    return s
