"""How items are divided by seed into those to train and those to test on."""

import numpy as np
import pytest

from vaekit.datasets import DataOptions, Rows
from vaekit.datasets.dataset import choose_test, divide
from vaekit.errors import DataError


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
