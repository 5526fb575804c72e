"""The map: posterior means of a data set's items on a plane of the latent space, and how to move in that plane.

Shapes: N items, D latent dimensions.

Needs: NumPy. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import Split
from vaekit.datasets.mapped import Reader
from vaekit.datasets.rows import evenly, spread
from vaekit.errors import DataError
from vaekit.explorer.state import Scale
from vaekit.latents import Latents, Posterior
from vaekit.plane import principal_axes

MOST_ITEMS: Final = 4000
"""Most items on the map, evenly spaced: more dots than a terminal has."""

FEWEST: Final = 3
"""Fewer items make no map."""

BATCH: Final = 256
GOLDEN: Final = (5**0.5 - 1) / 2
"""The golden ratio's fraction: multiples of it fill [0, 1) evenly, however many there are."""


@dataclass(frozen=True, eq=False)
class Plane:
    """Two directions of the latent space, and the place of a code along each.

    ``place(z) = (z - centre) . axis / |axis|^2``, so that one unit along an axis is one `axes` row.

    Attributes:
        centre: The code at (0, 0), (D,).
        axes: Orthogonal directions, (2, D); a row of zeros where there is only one.
        names: What the two are called.
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    names: tuple[str, str]

    @property
    def flat(self) -> bool:
        """Whether there is only one direction, since the code has one dimension."""
        return not self.axes[1].any()

    def place(self, z: NDArray[Any]) -> NDArray[np.float64]:
        """Places of codes, (..., D) -> (..., 2)."""
        squares = np.square(self.axes).sum(axis=1)
        along = (z.astype(np.float64) - self.centre) @ self.axes.T
        return np.asarray(along / np.where(squares > 0, squares, 1.0))

    def moved(self, z: NDArray[Any], by: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
        """The code that lies so far from another in the plane, (D,); what it has outside the plane stays."""
        return np.asarray(z.astype(np.float64) + np.asarray(by, np.float64) @ self.axes)

    def at(self, z: NDArray[Any], place: Sequence[float]) -> NDArray[np.float64]:
        """The code at a place of the plane that has another's coordinates outside it, (D,)."""
        return self.moved(z, np.asarray(place, np.float64) - self.place(z))


@dataclass(frozen=True, eq=False)
class Landscape:
    """Posterior means of some items.

    Attributes:
        means: (N, D).
        labels: (N,), or None.
        of: What the items are, in words: "4,000 items of mnist".
        classes: Names that the labels 0, 1, ... stand for; empty where labels are numbers of their own.
    """

    means: Latents
    labels: NDArray[np.int64] | None
    of: str
    classes: tuple[str, ...] = ()

    def called(self, label: int) -> str:
        """A label's name, or its number where it has none."""
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)

    def plane(self, kind: str, scale: Scale, order: Sequence[int]) -> Plane:
        """A plane to show them on.

        Args:
            kind: "kl": the first two dimensions of an order, in the prior's units; "pca": the principal axes of the means.
            scale: The units.
            order: Dimensions, the most informative first.
        """
        latent = self.means.shape[1]
        if kind == "pca":
            found = principal_axes(self.means)
            first, second = (f"axis {axis + 1} ({share:.0%})" for axis, share in enumerate(found.shares))
            return Plane(found.centre, found.axes, (first, second))
        chosen = order[:2] if len(order) > 1 else (*order, *(d for d in range(latent) if d not in order))[:2]
        axes = np.zeros((2, latent))
        for row, dimension in enumerate(chosen):
            axes[row, dimension] = scale.unit[dimension]
        names = [f"z{dimension}" for dimension in chosen] + ["(spread)"] * (2 - len(chosen))
        return Plane(scale.centre, axes, (names[0], names[1]))

    def places(self, plane: Plane) -> NDArray[np.float64]:
        """Where the items lie, (N, 2); with one dimension alone spread upwards, so that no dot hides another."""
        places = plane.place(self.means)
        if plane.flat:
            places[:, 1] = (np.arange(len(places)) * GOLDEN) % 1 - 0.5
        return places


def measure(
    encode: Callable[[NDArray[np.float32]], Posterior], split: Split, of: str, classes: tuple[str, ...] = ()
) -> Landscape:
    """Encode items of a data set, at most `MOST_ITEMS` of them, evenly spaced.

    Args:
        encode: Items (N, *shape) -> posterior.
        split: The items.
        of: What they are called.
        classes: Names of their labels.

    Raises:
        DataError: There are fewer than `FEWEST`.
    """
    total = len(split)
    if total < FEWEST:
        raise DataError(f"a map needs {FEWEST} items or more, but {of} has {total}.")
    count = min(total, MOST_ITEMS)
    items = spread(split.items, count) if count < total else split.items
    labels = None if split.labels is None else split.labels[evenly(total, count)] if count < total else split.labels
    reader = Split(Reader(items))  # type: ignore[arg-type]  # a reader has what a split needs
    means = [encode(reader.pixels(slice(at, min(count, at + BATCH)))).mean for at in range(0, count, BATCH)]
    return Landscape(np.concatenate(means), labels, f"{count:,} items of {of}", classes)
