"""Which of two timings is faster: the interval of the median against SciPy's binomial and published tables."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
import pytest
from scipy import stats

from vaekit.runtime.bench.compare import compare, median_interval


@pytest.mark.parametrize(
    ("count", "rank"),
    # Conover 1999, table A3 at p = 1/2; the same ranks are in Dixon & Massey 1983, table A-25.
    [(6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (15, 4), (20, 6), (25, 8), (30, 10), (50, 18)],
)
def test_the_medians_interval_has_the_ranks_of_the_published_tables(count: int, rank: int) -> None:
    values = np.random.default_rng(count).permutation(count) + 1.0
    assert median_interval(list(values)) == (rank, count + 1 - rank)


@pytest.mark.parametrize("count", range(6, 61))
def test_the_interval_is_the_shortest_that_is_sure_enough(count: int) -> None:
    low, high = median_interval([float(value) for value in range(1, count + 1)])
    rank = int(low)
    assert high == count + 1 - rank
    assert 1 - 2 * stats.binom.cdf(rank - 1, count, 0.5) >= 0.95
    assert 1 - 2 * stats.binom.cdf(rank, count, 0.5) < 0.95


@pytest.mark.parametrize("count", range(1, 6))
def test_fewer_than_six_rounds_have_no_interval(count: int) -> None:
    assert median_interval([1.0] * count) == (-inf, inf)


def test_the_interval_holds_the_true_median_as_often_as_stated() -> None:
    rng = np.random.default_rng(5)
    draws = rng.lognormal(0, 2, size=(4000, 10))  # its median is 1; skewed, as times are
    held = [low <= 1 <= high for low, high in map(median_interval, draws.tolist())]
    # 1 - 2 P(B <= 1) for n = 10 is 97.85 %; four standard errors of 4000 draws are 0.9 %.
    assert np.mean(held) == pytest.approx(0.9785, abs=0.009)


def test_rounds_are_compared_with_their_own_number(timing: Callable[..., Any]) -> None:
    times = np.array([1.0, 5.0, 2.0, 9.0, 1.5, 3.0, 7.0, 1.1])  # the machine is slower in some rounds
    than = compare(timing(times), timing(1.25 * times, threads=2))
    assert than == pytest.approx((1.25, 1.25, 1.25))
    assert than.faster
    back = compare(timing(1.25 * times, threads=2), timing(times))
    assert back == pytest.approx((0.8, 0.8, 0.8))
    assert not back.faster


@pytest.mark.parametrize("by", ["medians", "tails"])
def test_shorter_times_are_faster(timing: Callable[..., Any], by: Any) -> None:
    than = compare(timing([1.0] * 8, tails=[1.0] * 8), timing([2.0] * 8, tails=[2.0] * 8), by)
    assert than == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("gain", "noise", "faster"),
    [
        (1.5, 0.01, True),
        (1.5, 2.0, False),  # inside the noise
        (1.02, 0.001, False),  # sure, and worth nothing
    ],
)
def test_faster_takes_a_gain_that_is_sure_and_worth_something(
    timing: Callable[..., Any], gain: float, noise: float, faster: bool
) -> None:
    rng = np.random.default_rng(1)
    first, second = np.exp(rng.normal(0, noise, (2, 10)))
    assert compare(timing(first), timing(gain * second)).faster is faster


def test_the_rounds_that_only_one_of_them_has_are_left_out(timing: Callable[..., Any]) -> None:
    assert compare(timing([1.0] * 6), timing([3.0] * 6 + [1000.0] * 4)) == (3.0, 3.0, 3.0)


def test_the_text_gives_the_interval_where_there_is_one(timing: Callable[..., Any]) -> None:
    assert compare(timing([1.0] * 6), timing([1.5] * 6)).text == "1.50x (1.50 to 1.50)"
    assert compare(timing([1.0] * 5), timing([1.5] * 5)).text == "1.50x"
