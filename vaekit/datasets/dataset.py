"""`Dataset`: two splits of items, what is known of them, and how an array is divided into the two.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.mapped import chunks
from vaekit.datasets.options import DataOptions
from vaekit.datasets.rows import Items, Rows
from vaekit.errors import DataError
from vaekit.noise import noise
from vaekit.spec import DataSpec, Feature


class LoadProgress(NamedTuple):
    """How far the reading of a data set is.

    Attributes:
        what: What is being done, in words: "converting images".
        done: Finished units.
        total: All units, or None where nobody knows.
        unit: "bytes" or "files".
    """

    what: str
    done: int
    total: int | None
    unit: str


DEFAULT: Final = DataOptions()

MAX_BLOCKS: Final = 1 << 20
"""Most blocks that a split is drawn from: 8 MiB of their numbers, however many rows the array has."""

OnProgress: TypeAlias = Callable[[LoadProgress], None]


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        items: (N, *shape): uint8 pixels, which stand for items / 255, or float32 values in their own units. An array, or
            `Rows` of one that is larger than memory.
        labels: (N,) int64, or None.
        names: For a folder of images, each item's path in the folder; else empty.
    """

    items: Items
    labels: NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def pixels(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Some items as the model takes them: float32, pixels in [0, 1]."""
        return as_float(self.items[rows])


def item_number(split: Split, which: str) -> int | None:
    """Number of the item that a text like "@17" names; None where the text has another form.

    Raises:
        DataError: There are fewer items.
    """
    if not (which.startswith("@") and which[1:].isdecimal()):
        return None
    number = int(which[1:])
    if number >= len(split):
        raise DataError(f"item {which} was asked for, but there are {len(split):,}; give @0 to @{len(split) - 1}.")
    return number


def as_float(items: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn 8-bit pixels into float32 in [0, 1]; float32 goes through unchanged."""
    x = items.astype(np.float32, copy=False)
    return x / np.float32(255) if items.dtype == np.uint8 else x


@dataclass(frozen=True)
class Dataset:
    """Items to train on and items to test on.

    Attributes:
        name: "mnist", or the file's or folder's name.
        source: What `load_dataset` finds it by again: the name, or the absolute path.
        sha256: SHA-256 of the arrays' bytes (and of the columns' names), so that a run can tell whether it goes on with
            the same data. It does not depend on how seeds divide it: keep `options` beside it.
        train: The items to train on.
        test: The items to measure on.
        options: How it was read.
        features: Tables: each column's name, and the mean and standard deviation of its training rows. Items are *not*
            standardised: models do that inside their graphs.
        skipped: (path, reason) of each file that could not be read.
        kind: What was understood it to be, in words: "CSV table, windows of 64 rows".
        division: What divided it into the two splits, in words: "by seed 0, 10% to test on".
        classes: Names that the labels 0, 1, ... stand for; empty where labels are numbers of their own.
        notes: Remarks on decisions that reading took: "read as (N, H, W, C)".
        bounds: Smallest and largest value as they are kept, where reading has found them; else `spec` looks for them.
    """

    name: str
    source: str
    sha256: str
    train: Split
    test: Split
    options: DataOptions = DEFAULT
    features: tuple[Feature, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    kind: str = ""
    division: str = "as it came"
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None

    @property
    def spec(self) -> DataSpec:
        """Shape and range of an item: [0, 1] for pixels and for values that keep to it, else without bounds."""
        shape = tuple(self.train.items.shape[1:])
        if self.features:
            return DataSpec(shape, range=None, features=self.features)
        inside = all(self._unit_interval(split) for split in (self.train, self.test))
        return DataSpec(shape, range=(0.0, 1.0) if inside else None)

    def _unit_interval(self, split: Split) -> bool:
        if split.items.dtype == np.uint8:
            return True
        if self.bounds is not None:
            return self.bounds[0] >= 0 and self.bounds[1] <= 1
        # Not min() >= 0: a NaN is nowhere, and is not what the range is refused for; the loss finds it.
        return not any(chunk.min() < 0 or chunk.max() > 1 for chunk in chunks(split.items))


def choose_test(count: int, options: DataOptions, *, name: str) -> NDArray[np.bool_]:
    """Choose which of some rows are for testing: those whose portable noise is smallest.

    The choice depends on (count, test_fraction, split_seed) alone: it is the same on every machine and under every NumPy.

    Args:
        count: Rows, N.
        options: `test_fraction` and `split_seed`.
        name: What the data is called, for the message.

    Returns:
        (N,) True for test rows: at least one of each kind.

    Raises:
        DataError: There are fewer than two rows.
    """
    if count < 2:
        raise DataError(f"{name} has {count} items; at least two are needed, one to train on and one to test on.")
    tests = min(count - 1, max(1, round(count * options.test_fraction)))
    order = np.argsort(noise(seed=options.split_seed, count=count, dim=1)[:, 0], kind="stable")
    chosen = np.zeros(count, np.bool_)
    chosen[order[:tests]] = True
    return chosen


def by_seed(options: DataOptions) -> str:
    """Say in words how `choose_test` divides."""
    return f"by seed {options.split_seed}, {100 * options.test_fraction:.3g}% of the items to test on"


def divide(
    items: NDArray[Any], labels: NDArray[np.int64] | None, options: DataOptions, *, name: str, copy: bool
) -> tuple[Split, Split]:
    """Divide items by seed into a training and a test split, each in the items' own order.

    Args:
        items: (N, *shape) uint8 or float32.
        labels: (N,) or None.
        options: `test_fraction` and `split_seed`.
        name: What the data is called, for messages.
        copy: Give arrays of their own; else `Rows` of the one array, in blocks where there are more than MAX_BLOCKS rows.

    Raises:
        DataError: There are fewer than two items.
    """
    length = 1 if copy else max(1, -(-len(items) // MAX_BLOCKS))
    chosen = choose_test(-(-len(items) // length), options, name=name)

    def part(which: NDArray[np.bool_]) -> Split:
        if copy:
            return Split(items[which], None if labels is None else labels[which])
        blocks = np.flatnonzero(which)
        return Split(
            Rows(items, blocks, length),
            None if labels is None else np.asarray(Rows(labels, blocks, length)[:]),
        )

    return part(~chosen), part(chosen)
