"""Rows of an array are those that NumPy would take, and are copied as late as can be."""

import os
from pathlib import Path

import numpy as np
import pytest

from vaekit.datasets import Rows
from vaekit.datasets.rows import gather, spread
from vaekit.errors import DataError

ARRAY = np.arange(11 * 3, dtype=np.float32).reshape(11, 3)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 20])
def test_rows_are_those_of_the_array_that_their_blocks_cover(length: int) -> None:
    blocks = np.arange(0, -(-11 // length), 2)
    rows = Rows(ARRAY, blocks, length)
    expected = ARRAY[[row for row in range(11) if (row // length) % 2 == 0]]
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == (expected.shape, np.float32, 2, len(expected))
    np.testing.assert_array_equal(rows[:], expected)
    np.testing.assert_array_equal(rows[1:-1:2], expected[1:-1:2])
    wanted = np.array([len(expected) - 1, 0, -1, 0])
    np.testing.assert_array_equal(rows[wanted], expected[wanted])
    assert rows[np.array([], np.int64)].shape == (0, 3)


@pytest.mark.parametrize(
    "view",
    ["whole", "transposed", "with an axis", "mirrored", "swapped", "every second", "from the third", "in memory"],
)
def test_rows_of_a_file_are_those_of_the_array(tmp_path: Path, view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(size=(50, 50, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    array = array if view == "in memory" else np.load(tmp_path / "x.npy", mmap_mode="r")
    array = {
        "transposed": array.transpose(0, 2, 1),
        "with an axis": np.asarray(array)[:, None],
        "mirrored": array[:, ::-1],
        "swapped": array.transpose(1, 0, 2),
        "every second": array[::2],
        "from the third": array[2:],
    }.get(view, array)
    reads = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *given: reads.append(given) or real(*given))
    wanted = np.array([7, 3, 4, 5, 19, 0, 7, 8])
    found = gather(array, wanted)
    np.testing.assert_array_equal(found, array[wanted])
    found[:] = 0  # a copy
    assert len(reads) == (5 if view in ("whole", "transposed", "with an axis") else 0), "runs 7, 3-5, 19, 0, 7-8"
    assert gather(array, np.array([], np.int64)).shape == (0, *array.shape[1:])


def test_a_file_that_is_cut_short_in_use_is_an_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4096, 16), np.float32))
    rows = Rows(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(4096))
    os.truncate(tmp_path / "x.npy", 64 * 1000)
    assert rows[:10].shape == (10, 16)
    with pytest.raises(DataError, match=r"x\.npy ends at byte 64,000; it was cut short while it was in use"):
        rows[990:1010]


def test_rows_refuse_what_numpy_would_refuse() -> None:
    rows = Rows(ARRAY, np.array([0, 4]))
    for wanted in (np.array([2]), np.array([-3]), np.array([True, False]), np.array([[0]]), np.array([0.0])):
        with pytest.raises(IndexError):
            rows[wanted]


@pytest.mark.parametrize("count", [1, 2, 7, 10, 11, 50])
def test_items_that_are_spread_are_evenly_spaced_and_not_copied(count: int) -> None:
    array = np.arange(40, dtype=np.float32).reshape(20, 2)
    rows = Rows(array, np.arange(0, 10, 2), length=2)  # rows 0, 1, 4, 5, 8, 9, 12, 13, 16, 17
    for items in (array, rows):
        found = spread(items, count)
        if count >= len(items):
            assert found is items
            continue
        wanted = np.linspace(0, len(items) - 1, count).astype(np.int64)
        assert isinstance(found, Rows)
        assert found.array is array
        np.testing.assert_array_equal(found[:], items[wanted])
