"""Which items `vaekit score` scores, how they are numbered, and where normal ends.

Needs: NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.dataset import by_seed, choose_test
from vaekit.datasets.leaveout import label_name, label_numbers
from vaekit.datasets.rows import Joined, Rows
from vaekit.errors import DataError

if TYPE_CHECKING:
    from vaekit.datasets import Dataset
    from vaekit.runtime.anomaly import Auroc
    from vaekit.runtime.stream import Source

Nats = NDArray[np.float64]
Part = Literal["all", "train", "test"]


class Limit(NamedTuple):
    """Where normal ends.

    Attributes:
        nats: Scores above it are unusual.
        quantile: Of normal items, whose quantile it is; None where it was given.
        items: How many normal items that was measured on; None where it was given.
        source: Who says so, in words.
    """

    nats: float
    quantile: float | None
    items: int | None
    source: str


@dataclass(frozen=True)
class Chosen:
    """The items that are scored, numbered as they stand in the split, or in the file where a seed divided it.

    Attributes:
        part: Which split.
        items: (N, *shape), in the order in which they are read.
        order: (N,) where the item of each number stands in `items`.
        labels: (N,) by number, or None.
        names: What each is called, by number: paths in a folder of images; else empty.
        anomalies: What the labels of anomalies are called.
        anomalous: (N,) by number, whether it is labelled as an anomaly; None where no label was said to be one.
        scores: (N,) by number.
    """

    part: Part
    items: Source
    order: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    names: tuple[str, ...]
    anomalies: tuple[str, ...]
    anomalous: NDArray[np.bool_] | None
    scores: Nats

    def scored(self, scores: Nats) -> Chosen:
        """Add the scores, which come in the order in which items were read."""
        return replace(self, scores=scores[self.order])

    def unusual(self, limit: Limit) -> NDArray[np.bool_]:
        """Which items are above the threshold, (N,)."""
        return self.scores > limit.nats

    def highest(self, count: int) -> NDArray[np.int64]:
        """Numbers of the items with the highest scores, highest first; of equal ones the first."""
        return np.argsort(-self.scores, kind="stable")[:count]

    def auroc(self) -> Auroc | None:
        """How well the scores tell anomalies from the rest, where labels say which they are."""
        from vaekit.runtime.anomaly import auroc

        return None if self.anomalous is None else auroc(self.scores, self.anomalous)


def chosen_items(dataset: Dataset, part: Part, anomalies: tuple[str, ...]) -> Chosen:
    """Choose what to score.

    Args:
        dataset: The data.
        part: Which split; "all" are both.
        anomalies: Labels of anomalies; see `vaekit.datasets.leaveout.find_label`.

    Raises:
        DataError: Anomalies are named where there are no labels, or none like that in this part, or nothing else.
    """
    numbers = label_numbers(dataset, anomalies) if anomalies else ()
    anomalies = tuple(dict.fromkeys(label_name(dataset, number) for number in numbers))
    splits = {"train": (dataset.train,), "test": (dataset.test,), "all": (dataset.train, dataset.test)}[part]
    items: Any = splits[0].items if len(splits) == 1 else Joined(*(split.items for split in splits))
    order = _file_order(dataset) if part == "all" else np.arange(len(items))
    known = [split.labels for split in splits if split.labels is not None]
    labels = np.concatenate(known)[order] if len(known) == len(splits) else None
    called = [name for split in splits for name in split.names]
    names = tuple(called[place] for place in order) if called else ()
    anomalous = None
    if numbers and labels is not None:
        anomalous = np.isin(labels, numbers)
        if anomalous.all() or not anomalous.any():
            which = "all" if anomalous.all() else "none"
            raise DataError(
                f"{which} of the {len(labels):,} items of {dataset.name} (split {part}) have the label "
                f"{', '.join(anomalies)}; an AUROC compares anomalies with other items."
            )
    return Chosen(part, items, order, labels, names, anomalies, anomalous, np.empty(0))


def _file_order(dataset: Dataset) -> NDArray[np.int64]:
    """Where each row of a file stands among its training items, then its test items: there, where no seed divided them."""
    count = len(dataset.train) + len(dataset.test)
    whole = not (isinstance(dataset.train.items, Rows) or dataset.options.without_label)
    if not (whole and dataset.division == by_seed(dataset.options)):
        return np.arange(count)
    tests = choose_test(count, dataset.options, name=dataset.name)
    if int(tests.sum()) != len(dataset.test):
        return np.arange(count)
    return np.argsort(np.concatenate([np.flatnonzero(~tests), np.flatnonzero(tests)]))
