"""Batches: every item once, in an order that depends on (seed, epoch) alone."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

import vaekit.datasets.mapped as mapped_module
from vaekit.datasets.rows import Rows
from vaekit.training.batches import AHEAD, Batches, epoch_generator
from vaekit.training.ranks import Ranks

CPU = torch.device("cpu")
COUNT = 103


@pytest.fixture
def batches() -> Batches:
    return Batches(np.arange(COUNT, dtype=np.float32)[:, None], CPU)


def order(batches: Batches, seed: int, epoch: int, size: int = 10) -> list[int]:
    parts = batches.shuffled(size, epoch_generator(seed, epoch, CPU))
    return [int(value) for items in parts for value in items[:, 0]]


def test_an_epoch_has_every_item_once(batches: Batches) -> None:
    assert len(batches) == COUNT
    assert sorted(order(batches, 0, 1)) == list(range(COUNT))


def test_an_epoch_is_not_in_the_files_order(batches: Batches) -> None:
    found = np.array(order(batches, 0, 1))
    # A random permutation of 103 has one fixed point on average; ten or more are as likely as 1 in 10 million.
    assert (found == np.arange(COUNT)).sum() < 10


def test_the_order_depends_on_seed_and_epoch_and_nothing_else(batches: Batches) -> None:
    torch.manual_seed(1)
    first = order(batches, 3, 7)
    torch.manual_seed(2)
    order(batches, 3, 8)
    assert order(batches, 3, 7) == first


def test_each_epoch_and_each_seed_has_an_order_of_its_own(batches: Batches) -> None:
    orders = [order(batches, seed, epoch) for seed in (0, 1, 10) for epoch in (0, 1, 2, 10)]
    assert all(a != b for a, b in combinations(orders, 2))


def test_the_order_does_not_depend_on_the_batch_size(batches: Batches) -> None:
    assert order(batches, 0, 1, size=1) == order(batches, 0, 1, size=64)


@pytest.mark.parametrize(("size", "expected"), [(10, [10] * 10 + [3]), (103, [103]), (500, [103]), (1, [1] * 103)])
def test_the_last_batch_may_be_smaller(batches: Batches, size: int, expected: list[int]) -> None:
    assert [len(items) for items in batches.shuffled(size, epoch_generator(0, 1, CPU))] == expected
    assert [len(part) for part in batches.ordered(size)] == expected


def test_ordered_batches_keep_the_order(batches: Batches) -> None:
    assert torch.cat(list(batches.ordered(10)))[:, 0].tolist() == list(range(COUNT))


def test_pixels_stay_8_bit_and_keep_their_shape() -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(5, 1, 4, 3), dtype=np.uint8)
    (found,) = Batches(images, CPU).ordered(9)
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.numpy(), images)


def test_arrays_that_may_not_be_written_to_are_taken_without_a_warning() -> None:
    items = np.frombuffer(bytes(range(6)), np.uint8).reshape(3, 2)  # what reading a file gives
    assert torch.cat(list(Batches(items, CPU).ordered(2))).tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("seed", [0, (1 << 63) - 1])
def test_every_seed_gives_a_generator_of_standard_normals(seed: int) -> None:
    draws = torch.randn(20_000, generator=epoch_generator(seed, 1, CPU))
    # Standard errors: 1/sqrt(n) = 0.007 of the mean, 1/sqrt(2n) = 0.005 of the deviation; four of each.
    assert abs(float(draws.mean())) < 0.03
    assert abs(float(draws.std()) - 1) < 0.02


def test_streams_of_one_epoch_are_independent() -> None:
    draws = [torch.randn(9, generator=epoch_generator(0, 1, CPU, stream)).tolist() for stream in ("", "a", "b")]
    assert draws[0] == torch.randn(9, generator=epoch_generator(0, 1, CPU)).tolist()
    assert all(a != b for a, b in combinations(draws, 2))


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_parts_of_a_batch_are_the_batch(batches: Batches, parts: int) -> None:
    whole = list(batches.shuffled(10, epoch_generator(0, 1, CPU)))
    split = [list(batches.shuffled(10, epoch_generator(0, 1, CPU), Ranks(part, parts))) for part in range(parts)]
    for index, items in enumerate(whole):
        assert sum(Ranks(part, parts).share(len(items)) for part in range(parts)) == pytest.approx(1)
        for part in range(parts):
            own = split[part][index]
            assert own.tolist() == items[part::parts].tolist()
            assert Ranks(part, parts).share(len(items)) == len(own) / len(items)


def test_a_part_without_items_gets_one_that_does_not_count() -> None:
    batches = Batches(np.arange(5, dtype=np.float32)[:, None], CPU)
    last = list(batches.shuffled(4, epoch_generator(0, 1, CPU), Ranks(2, 3)))[-1]
    assert len(last) == 1
    assert Ranks(2, 3).share(1) == 0


@pytest.fixture
def mapped(tmp_path: Path) -> np.memmap:  # type: ignore[type-arg]
    path = tmp_path / "items.npy"
    np.save(path, np.arange(COUNT * 4, dtype=np.float32).reshape(COUNT, 4))
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize("rows", [False, True], ids=["mapped", "rows of mapped"])
def test_a_mapped_file_gives_the_batches_of_an_array_in_memory(mapped: np.memmap, rows: bool) -> None:  # type: ignore[type-arg]
    array = np.asarray(mapped)[::2] if rows else np.asarray(mapped)
    items = Rows(mapped, np.arange(0, COUNT, 2)) if rows else mapped
    here, there = Batches(array.copy(), CPU), Batches(items, CPU)
    for a, b in (
        (here.ordered(10), there.ordered(10)),
        *(
            (
                here.shuffled(10, epoch_generator(0, 1, CPU), Ranks(part, parts)),
                there.shuffled(10, epoch_generator(0, 1, CPU), Ranks(part, parts)),
            )
            for part, parts in ((0, 1), (1, 2))
        ),
    ):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=0)


def test_a_mapped_file_is_read_a_few_batches_ahead_and_its_pages_are_let_go(
    mapped: np.memmap,  # type: ignore[type-arg]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released: list[int] = []
    monkeypatch.setattr(mapped_module, "release", lambda items: released.append(len(items)))
    monkeypatch.setattr(
        mapped_module, "RELEASE_AFTER", 500
    )  # bytes: three batches of ten items of 16 bytes do not reach it
    batches = Batches(mapped, CPU).ordered(10)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert 1 <= len(released) <= 1 + (AHEAD + 2) // 4
    released.clear()
    assert sum(len(items) for items in Batches(mapped, CPU).ordered(10)) == COUNT
    assert len(released) == 1 + 11 // 4


def test_an_error_while_reading_ahead_reaches_the_reader(mapped: np.memmap) -> None:  # type: ignore[type-arg]
    class Lost(Rows):
        def __getitem__(self, rows: object) -> np.ndarray:  # type: ignore[type-arg]
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(Batches(Lost(mapped, np.arange(9)), CPU).ordered(1))
