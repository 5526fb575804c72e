"""Rows of an array, one pass over it, and pages that are let go."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vaekit.datasets import DataOptions, Rows, mapped, release
from vaekit.datasets.dataset import choose_test, divide
from vaekit.datasets.mapped import Joined, Reader, chunks, gather, scan, spread
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


def test_a_pass_gives_sha256_and_bounds_over_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([900, -900, 5])
    for size in (1, 40, 1 << 20):
        monkeypatch.setattr(mapped, "CHUNK", size)
        assert [len(part) for part in chunks(ARRAY, size)] == {1: [1] * 11, 40: [3, 3, 3, 2]}.get(size, [11])
        found = scan(ARRAY, labels, None, -ARRAY, name="x")
        content = ARRAY.tobytes() + labels.tobytes() + (-ARRAY).tobytes()
        assert found == (hashlib.sha256(content).hexdigest(), -32.0, 32.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_with_its_row(value: float) -> None:
    array = ARRAY.copy()
    array[7, 1] = value
    with pytest.raises(DataError, match=re.escape(f"x.npy holds {value} in row 7; every value must be finite.")):
        scan(array, name="x.npy")


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
@pytest.mark.parametrize("count", [2, 3, 10, 1000])
def test_a_split_by_seed_is_a_partition_of_the_stated_size(count: int, seed: int) -> None:
    options = DataOptions(test_fraction=0.25, split_seed=seed)
    items = np.arange(count, dtype=np.float32)[:, None]
    train, test = divide(items, np.arange(count), options, name="x", copy=True)
    assert len(test) == max(1, round(count / 4))
    assert np.all(np.diff(train.items[:, 0]) > 0)
    assert sorted([*train.items[:, 0], *test.items[:, 0]]) == list(range(count))
    np.testing.assert_array_equal(test.labels, test.items[:, 0])
    np.testing.assert_array_equal(train.labels, train.items[:, 0])


def test_a_split_depends_on_its_seed_and_on_nothing_else() -> None:
    first, again, other = (choose_test(1000, DataOptions(split_seed=seed), name="x") for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    # Two choices of 100 of 1000 share 10 on average, with standard deviation sqrt(1000 * 0.01 * 0.99 ...) < 3.
    assert (first & other).sum() < 25
    # Neighbours are not chosen together more than chance would: 100 * 0.1 = 10 pairs.
    assert (first[1:] & first[:-1]).sum() < 25


def test_rows_of_a_large_array_are_chosen_in_blocks_that_together_are_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.datasets.dataset.MAX_BLOCKS", 7)
    items = np.arange(100, dtype=np.float32)[:, None]
    train, test = divide(items, np.arange(100), DataOptions(test_fraction=0.3), name="x", copy=False)
    assert isinstance(test.items, Rows)
    assert test.items.array is items
    assert sorted([*train.items[:][:, 0], *test.items[:][:, 0]]) == list(range(100))
    np.testing.assert_array_equal(train.labels, train.items[:][:, 0])
    np.testing.assert_array_equal(test.pixels(np.array([0])), test.items[:][:1])


def test_one_item_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="x has 1 items; at least two are needed"):
        choose_test(1, DataOptions(), name="x")


RESIDENT = """
import resource, sys
import numpy as np
from vaekit.datasets import Rows, release
array = np.load(sys.argv[1], mmap_mode="r")
views = {"array": array, "view": np.asarray(array)[:, ::2], "rows": Rows(array.transpose(0, 2, 1), np.arange(9))}
def resident():  # pages of files, in MiB
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssFile")).split()[1]) / 1024
for name, view in views.items():
    before = resident()
    array[::1].sum()
    filled = resident() - before
    if len(sys.argv) < 3:
        release(view)
    print(name, filled, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("control", [False, True])
def test_release_lets_the_pages_of_a_mapped_array_go(tmp_path: Path, control: bool) -> None:
    np.save(tmp_path / "x.npy", np.zeros((64, 256, 1024), np.float32))  # 64 MiB
    command = [sys.executable, "-c", RESIDENT, tmp_path / "x.npy", *(["keep"] if control else [])]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["array", "view", "rows"]
    _, filled, left = lines[0].split()
    assert float(filled) > 60
    for line in lines:
        left = float(line.split()[2])
        assert (left > 60 if line is lines[0] else True) if control else left < 4, line


def test_release_does_nothing_to_an_array_in_memory() -> None:
    array = ARRAY.copy()
    release(array)
    release(array[::2])
    release(Rows(array, np.array([0])), forget=True)
    np.testing.assert_array_equal(array, ARRAY)


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


def test_a_reader_gives_what_the_items_give_and_lets_go_of_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(40, dtype=np.float32).reshape(20, 2)
    released: list[int] = []
    monkeypatch.setattr(mapped, "release", lambda items: released.append(len(items)))
    monkeypatch.setattr(mapped, "RELEASE_AFTER", 50)  # bytes: four rows of eight do not reach it, eight do
    reader = Reader(Joined(array[:5], array[5:]))
    assert (len(reader), reader.shape, reader.dtype) == (20, (20, 2), np.float32)
    for start in range(0, 20, 4):
        np.testing.assert_array_equal(reader[start : start + 4], array[start : start + 4])
    assert released == [20, 20]
    reader.release()
    assert released == [20, 20, 20]
