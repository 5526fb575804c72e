"""What a manifest states about normal scores: ranks against counting, JSON there and back, and what is refused."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from vaekit.errors import BundleError, ConfigError, DataError
from vaekit.scores import QUANTILES, ScoreStatistics, rank, rounded, rounded_up, supported

STATED = ScoreStatistics(1000, 101.25, 20.5, {0.5: 98.0, 0.9: 130.0, 0.99: 161.5})


@pytest.mark.parametrize("items", [1, 2, 9, 10, 19, 99, 100, 999, 1000, 1001])
@pytest.mark.parametrize("quantile", [0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.999])
def test_one_more_normal_item_is_above_the_threshold_with_the_probability_that_was_asked_for(
    quantile: float, items: int
) -> None:
    # Among n + 1 exchangeable items without ties, the last one's place is 1 to n + 1 with equal chance: it is above the k-th
    # of the others in n + 1 - k cases. The smallest such k is counted here, in exact fractions.
    most = 1 - Fraction(str(quantile))
    allowed = [k for k in range(1, items + 1) if Fraction(items + 1 - k, items + 1) <= most]
    if allowed:
        assert rank(quantile, items) == allowed[0]
    else:
        with pytest.raises(
            DataError, match=r"quantile was asked for, but the data has [\d,]+ normal items, and it takes"
        ):
            rank(quantile, items)


def test_the_number_of_items_that_a_quantile_takes_is_the_smallest_that_works() -> None:
    with pytest.raises(DataError, match=r"the 0\.99 quantile .* the data has 98 normal items, and it takes 99 or more"):
        rank(0.99, 98)
    assert rank(0.99, 99) == 99
    assert supported(98) == tuple(q for q in QUANTILES if q <= 0.98)
    assert supported(99)[-1] == 0.99
    assert supported(1) == (0.5,)
    assert supported(999) == QUANTILES


def test_quantiles_that_are_kept_ascend_inside_0_and_1() -> None:
    assert QUANTILES[0] > 0
    assert QUANTILES[-1] < 1
    assert all(low < high for low, high in pairwise(QUANTILES))


@pytest.mark.parametrize("quantile", [0, 1, -0.5, 1.5, float("nan")])
def test_a_quantile_outside_0_and_1_is_refused(quantile: float) -> None:
    with pytest.raises(ConfigError, match=r"^quantile=.*: give a number above 0 and below 1, e\.g\. 0\.99\.$"):
        rank(quantile, 1000)


def test_json_gives_back_what_was_stated_with_six_digits() -> None:
    assert ScoreStatistics.from_json(STATED.to_json()) == STATED
    long = STATED.replace(mean=101.23456789, quantiles={0.5: 98.7654321})
    assert long.to_json()["mean"] == 101.235
    assert long.to_json()["quantiles"] == {"0.5": 98.7655}, "no score that was at the threshold is above it"
    assert ScoreStatistics.from_json(long.to_json()).to_json() == long.to_json()
    assert rounded(-0.00012345678) == -0.000123457


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.281734264, 1.28174),
        (1.281736264, 1.28174),
        (1.28174, 1.28174),
        (-1.281736264, -1.28173),
        (999999.4, 1e6),
        (1234567.0, 1234570.0),
        (0.0, 0.0),
        (-3e-300, -3e-300),
        (math.inf, math.inf),
    ],
)
def test_a_threshold_is_rounded_up(value: float, expected: float) -> None:
    assert rounded_up(value) == expected
    assert rounded_up(expected) == expected


def test_a_quantile_that_is_not_kept_is_refused_by_name() -> None:
    assert STATED.threshold(0.99) == 161.5
    with pytest.raises(DataError, match=r"the bundle keeps the quantiles 0\.5, 0\.9, 0\.99 .*, but 0\.8 was asked for"):
        STATED.threshold(0.8)
    with pytest.raises(DataError, match=r"it takes 9,999 or more; choose one of 0\.5, 0\.9, 0\.99\.$"):
        STATED.threshold(0.9999)


def test_scores_by_a_rule_of_a_later_version_are_passed_over() -> None:
    assert ScoreStatistics.from_json({**STATED.to_json(), "codes": "eight samples"}) is None


@pytest.mark.parametrize(
    "wrong",
    [{"items": 0}, {"std": -1.0}, {"quantiles": {"1.5": 3.0}}, {"quantiles": {"0.5": 9.0, "0.9": 3.0}}],
    ids=["no items", "negative deviation", "quantile above 1", "falling thresholds"],
)
def test_impossible_scores_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=re.escape("which is impossible; export the model again.")):
        ScoreStatistics.from_json({**STATED.to_json(), **wrong})
