"""Pixels drawn as 0 or 1: against the definition in plain integers, and against what probability says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import vaekit
from vaekit.datasets import Rows, release
from vaekit.datasets.binarized import Binarized
from vaekit.datasets.rows import Joined, spread
from vaekit.errors import ConfigError, DataError
from vaekit.noise import uniform

GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def mix(x: int) -> int:
    """splitmix64's finaliser in Python's integers."""
    x &= MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def word(seed: int, index: int, number: int) -> int:
    """Word `number`, from 1, of a sample."""
    return mix(mix(mix(seed + GOLDEN) + GOLDEN * (index + 1)) + GOLDEN * number)


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (7, 12345), (MASK, 3), (1, 1 << 62)])
def test_uniform_numbers_are_the_words_of_the_second_half_of_the_counter(seed: int, index: int) -> None:
    found = uniform(seed=seed, index=np.array([index, index + 1]), dim=5)
    wanted = [[(word(seed, i, 2**63 + j + 1) >> 11) / 2**53 for j in range(5)] for i in (index, index + 1)]
    assert found.tolist() == wanted
    # The same words as noise's, if they were counted from the front: (0, 0) of exports/NOISE.md.
    assert word(0, 0, 1) == 0x238275BC38FCBE91


def test_uniform_numbers_are_uniform_and_not_those_of_the_noise() -> None:
    u = uniform(seed=3, index=np.arange(20_000), dim=4)
    assert scipy.stats.kstest(u.ravel(), "uniform").pvalue > 0.001
    eps = vaekit.noise(seed=3, count=20_000, dim=4)
    assert np.abs(np.corrcoef(u.T, eps.T)[:4, 4:]).max() < 4 / np.sqrt(20_000)
    assert np.abs(np.corrcoef(u.T) - np.eye(4)).max() < 4 / np.sqrt(20_000)


def test_a_uniform_number_of_no_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed=-1 was asked for"):
        uniform(seed=-1, index=np.arange(3), dim=1)


def test_each_pixel_is_one_where_its_number_is_below_its_value() -> None:
    items = np.random.default_rng(0).integers(0, 256, size=(5, 1, 3, 2), dtype=np.uint8)
    found = Binarized(items, seed=9, start=100)[:]
    assert found.dtype == np.float32
    for i, item in enumerate(items):
        for j, level in enumerate(item.ravel().tolist()):
            u = (word(9, 100 + i, 2**63 + j + 1) >> 11) / 2**53
            assert found[i].ravel()[j] == float(u < float(np.float32(level) / np.float32(255)))


def test_black_is_never_drawn_and_white_always_and_grey_as_often_as_it_is_bright() -> None:
    levels = np.repeat(np.array([[0, 51, 128, 255]], np.uint8), 40_000, axis=0)
    found = Binarized(levels, seed=0)[:]
    assert set(np.unique(found)) == {0.0, 1.0}
    p = levels[0] / 255
    error = np.sqrt(p * (1 - p) / 40_000)
    assert (np.abs(found.mean(axis=0) - p) <= 4 * error).all()
    again = Binarized(levels / np.float32(255), seed=0)[:]
    np.testing.assert_array_equal(again, found)


def test_black_is_not_drawn_even_by_the_smallest_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.datasets.binarized.uniform", lambda *, dim, index, **_: np.zeros((len(index), dim)))
    assert Binarized(np.array([[0, 1, 255]], np.uint8), seed=0)[:].tolist() == [[0, 1, 1]]


def test_a_draw_depends_on_the_item_s_number_alone() -> None:
    items = np.random.default_rng(1).integers(0, 256, size=(50, 1, 4, 4), dtype=np.uint8)
    drawn = Binarized(items, seed=1)
    whole = drawn[:]
    assert (len(drawn), drawn.shape, drawn.ndim, drawn.dtype) == (50, (50, 1, 4, 4), 4, np.float32)
    np.testing.assert_array_equal(np.concatenate([drawn[0:7], drawn[7:50]]), whole)
    np.testing.assert_array_equal(drawn[np.array([30, 2, 2])], whole[[30, 2, 2]])
    np.testing.assert_array_equal(spread(drawn, 10)[:], whole[np.linspace(0, 49, 10).astype(int)])
    np.testing.assert_array_equal(Binarized(items[20:], seed=1, start=20)[:], whole[20:])
    np.testing.assert_array_equal(
        Joined(Binarized(items[:20], seed=1), Binarized(items[20:], seed=1, start=20))[:], whole
    )
    assert (Binarized(items, seed=2)[:] != whole).any()


def test_a_mapped_file_below_is_found_and_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 2), np.uint8))
    items = np.load(tmp_path / "x.npy", mmap_mode="r")
    seen = []
    monkeypatch.setattr("vaekit.datasets.mapped.mmap.MADV_DONTNEED", Spy(seen), raising=False)
    for drawn in (
        Binarized(items, seed=0),
        Binarized(Rows(items, np.arange(2)), seed=0),
        spread(Binarized(items, seed=0), 2),
    ):
        release(drawn)
    assert len(seen) == 3


class Spy:
    """Stands for the advice, and notes that it was given."""

    def __init__(self, seen: list[bool]) -> None:
        self.seen = seen

    def __index__(self) -> int:
        self.seen.append(True)
        return 4  # MADV_DONTNEED


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(
        DataError, match=r"the items hold values from .*, and only those in \[0, 1\] can be drawn as 0 or 1"
    ):
        Binarized(np.array([[0.5, value]], np.float32), seed=0)[:]
