"""A data set without the items of some labels: what a model of normal data is trained on, where anomalies have labels.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.dataset import Dataset, Split
from vaekit.datasets.mapped import scan
from vaekit.datasets.options import DataOptions
from vaekit.datasets.rows import IN_MEMORY, Items, Rows
from vaekit.datasets.tables import standardisation
from vaekit.errors import DataError


def label_numbers(dataset: Dataset, names: Iterable[str]) -> tuple[int, ...]:
    """Find labels by what they are called; see `find_label`.

    Args:
        dataset: A data set with labels.
        names: "9", "boat".

    Raises:
        DataError: The data has no labels, or none like that.
    """
    wanted = tuple(names)
    splits = (dataset.train.labels, dataset.test.labels)
    if any(labels is None for labels in splits):
        raise DataError(f"label {', '.join(wanted)} was asked for, but {dataset.name} has no labels.")
    occurring = np.unique(np.concatenate([np.unique(labels) for labels in splits if labels is not None]))
    numbers = []
    for name in wanted:
        number = find_label(name, occurring, dataset.classes)
        if number is None:
            shown = label_names(occurring, dataset.classes)
            raise DataError(f"label {name!r} does not occur in {dataset.name}, which has {shown}.")
        numbers.append(number)
    return tuple(numbers)


def find_label(which: str, occurring: NDArray[np.int64], classes: tuple[str, ...]) -> int | None:
    """Find a label by its class's name, or by its number where no class has that name.

    Args:
        which: What it is called.
        occurring: The labels that there are.
        classes: Names of the labels 0, 1, ...; empty where a label is its own name.

    Returns:
        The label; None where there is none like that.
    """
    if which in classes:
        which = str(classes.index(which))
    return next((int(label) for label in occurring if str(label) == which), None)


def label_name(dataset: Dataset, label: int) -> str:
    """What a label is called: its class's name, else its number."""
    return _called(label, dataset.classes)


def label_names(labels: NDArray[np.int64], classes: tuple[str, ...]) -> str:
    """What labels are called, for a message; of many the first 20."""
    shown = ", ".join(_called(int(label), classes) for label in labels[:20])
    return f"{shown} and {len(labels) - 20:,} more" if len(labels) > 20 else shown


def leave_out(dataset: Dataset, options: DataOptions) -> Dataset:
    """Give a data set without the items of `options.without_label`, in both splits.

    A table's columns are standardised by the training rows that are left, and the range is that of the items that are left.
    Labels keep their numbers, and the SHA-256 stays that of all items: it says which data it was, the options what was taken.

    Args:
        dataset: As it was read.
        options: `without_label`, and what else it was read by.

    Raises:
        DataError: There are no labels, none like that, or nothing is left of a split.
    """
    numbers = label_numbers(dataset, options.without_label)
    train, test = (_without(split, numbers) for split in (dataset.train, dataset.test))
    what = ", ".join(dict.fromkeys(label_name(dataset, number) for number in numbers))
    for name, split in (("training", train), ("test", test)):
        if len(split) == 0:
            raise DataError(f"without label {what}, {dataset.name} has no {name} items left.")
    left = len(dataset.train) - len(train), len(dataset.test) - len(test)
    features = dataset.features
    if features:
        features = standardisation(np.asarray(train.items[:], np.float32), tuple(feature.name for feature in features))
    bounds = dataset.bounds
    if bounds is not None:
        left_over = scan(train.items, test.items, name=dataset.name)
        bounds = left_over.low, left_over.high
    note = f"without label {what}: {left[0]:,} training and {left[1]:,} test items left out"
    notes = (*dataset.notes, note)
    return replace(dataset, train=train, test=test, options=options, bounds=bounds, features=features, notes=notes)


def _called(label: int, classes: tuple[str, ...]) -> str:
    return classes[label] if 0 <= label < len(classes) else str(label)


def _without(split: Split, numbers: tuple[int, ...]) -> Split:
    assert split.labels is not None  # label_numbers has looked
    kept = np.flatnonzero(~np.isin(split.labels, numbers))
    names = tuple(split.names[row] for row in kept) if split.names else ()
    return Split(_rows(split.items, kept), split.labels[kept], names)


def _rows(items: Items, kept: NDArray[np.int64]) -> Items:
    """Some rows; of items that are larger than memory, none is copied."""
    if isinstance(items, Rows):
        return Rows(items.array, items.numbers(kept))
    row_bytes = items.nbytes // max(1, len(items))
    return Rows(items, kept) if row_bytes * len(kept) > IN_MEMORY else items[kept]
