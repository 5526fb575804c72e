"""Batches: every item once, in an order that depends on (seed, epoch) alone."""

from itertools import combinations

import numpy as np
import pytest
import torch

from vaekit.training.batches import Batches, epoch_generator

CPU = torch.device("cpu")
COUNT = 103


@pytest.fixture
def batches() -> Batches:
    return Batches(np.arange(COUNT, dtype=np.float32)[:, None], CPU)


def order(batches: Batches, seed: int, epoch: int, size: int = 10) -> list[int]:
    parts = batches.shuffled(size, epoch_generator(seed, epoch, CPU))
    return [int(value) for part in parts for value in part[:, 0]]


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
    assert [len(part) for part in batches.shuffled(size, epoch_generator(0, 1, CPU))] == expected
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
