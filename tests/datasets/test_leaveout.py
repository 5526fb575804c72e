"""A data set without some labels: what is left is what NumPy picks, and what cannot be left out is named."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vaekit.datasets import DataOptions, Dataset, Rows, Split, load_dataset
from vaekit.datasets.leaveout import label_name, label_numbers, leave_out
from vaekit.errors import DataError

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed (the extra [tables])"
)


def without(*labels: str) -> DataOptions:
    return DataOptions(without_label=labels)


def test_both_splits_lose_the_items_of_these_labels_and_nothing_else(small_data_folder: Path) -> None:
    whole, found = load_dataset(small_data_folder), load_dataset(small_data_folder, without("3", "7"))
    for before, after in ((whole.train, found.train), (whole.test, found.test)):
        assert before.labels is not None
        assert after.labels is not None
        kept = [row for row, label in enumerate(before.labels) if label not in (3, 7)]
        np.testing.assert_array_equal(after.items, before.items[kept])
        np.testing.assert_array_equal(after.labels, before.labels[kept])
    assert found.sha256 == whole.sha256
    assert found.options == without("3", "7")
    assert found.notes == (*whole.notes, "without label 3, 7: 64 training and 60 test items left out")


def test_classes_are_named_and_their_numbers_stay(small_dataset: Dataset) -> None:
    named = replace(small_dataset, classes=tuple("abcdefghij"))
    assert label_numbers(named, ["c", "a"]) == (2, 0)
    assert (label_name(named, 2), label_name(small_dataset, 2)) == ("c", "2")
    found = leave_out(named, without("c"))
    assert found.train.labels is not None
    assert set(found.train.labels.tolist()) == set(range(10)) - {2}
    for wanted in ("12", "-1", "C", ""):
        message = f"label '{wanted}' does not occur in small, which has a, b, c, d, e, f, g, h, i, j\\."
        with pytest.raises(DataError, match=message):
            label_numbers(named, [wanted])


def test_a_number_names_a_class_where_no_class_has_that_name(small_dataset: Dataset) -> None:
    assert label_numbers(replace(small_dataset, classes=tuple("abcdefghij")), ["2", "a"]) == (2, 0)
    named = replace(small_dataset, classes=("3", "seven", *"cdefghij"))
    assert label_numbers(named, ["3", "1", "seven"]) == (0, 1, 1)
    found = leave_out(named, without("3", "1", "seven"))
    assert found.train.labels is not None
    assert set(found.train.labels.tolist()) == set(range(2, 10))
    assert found.notes[-1] == "without label 3, seven: 64 training and 60 test items left out"


def test_rows_of_an_array_larger_than_memory_are_not_copied(small_dataset: Dataset) -> None:
    items = np.asarray(small_dataset.train.items)
    rows = Rows(items, np.arange(0, len(items), 2))
    labels = small_dataset.train.labels
    assert labels is not None
    found = leave_out(replace(small_dataset, train=Split(rows, labels[::2])), without("0"))
    assert isinstance(found.train.items, Rows)
    assert found.train.items.array is items
    np.testing.assert_array_equal(found.train.items[:], items[::2][labels[::2] != 0])


def test_names_of_files_stay_with_their_images(small_dataset: Dataset) -> None:
    labels = small_dataset.test.labels
    assert labels is not None
    names = tuple(f"{label}-{row}.png" for row, label in enumerate(labels))
    found = leave_out(replace(small_dataset, test=replace(small_dataset.test, names=names)), without("4"))
    assert found.test.names == tuple(name for name in names if not name.startswith("4-"))


def test_the_range_is_that_of_the_items_that_are_left(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items, labels = rng.random((40, 6), np.float32), np.arange(40) % 2
    items[labels == 1] += 5
    np.savez(tmp_path / "x.npz", x=items, y=labels)
    assert load_dataset(tmp_path / "x.npz").spec.range is None
    found = load_dataset(tmp_path / "x.npz", DataOptions(without_label=("1",)))
    assert found.spec.range == (0.0, 1.0)
    assert found.bounds == (items[labels == 0].min(), items[labels == 0].max())


@needs_pyarrow
def test_a_table_is_standardised_by_what_is_left(tmp_path: Path) -> None:
    path, rng = tmp_path / "rows.csv", np.random.default_rng(1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["speed", "state"])
        writer.writerows((value, "good") for value in rng.normal(size=80).round(6))
        writer.writerows((1e6, "bad") for _ in range(20))
    found = load_dataset(path, DataOptions(label="state", without_label=("bad",)))
    left = np.asarray(found.train.items, np.float64)
    assert (np.abs(left) < 10).all()
    assert found.features[0].offset == pytest.approx(left.mean())
    assert found.features[0].scale == pytest.approx(left.std())


def test_what_cannot_be_left_out_is_refused(
    small_dataset: Dataset, real_dataset: Dataset, small_data_folder: Path
) -> None:
    with pytest.raises(DataError, match="label 3 was asked for, but real has no labels"):
        leave_out(real_dataset, without("3"))
    with pytest.raises(DataError, match="label '12' does not occur in small, which has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"):
        load_dataset(small_data_folder, without("12"))
    with pytest.raises(DataError, match="has no training items left"):
        leave_out(small_dataset, without(*map(str, range(10))))
    many = replace(small_dataset, train=Split(small_dataset.train.items, np.arange(320)))
    with pytest.raises(DataError, match=r"18, 19 and 300 more\.$"):
        label_numbers(many, ["x"])
