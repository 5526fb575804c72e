"""The histogram of scores: rows against NumPy's own counting, and lines that keep to the screen."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from vaekit.cli.score_histogram import ROWS, Row, draw, histogram

RNG = np.random.default_rng(4)
NEAR = RNG.normal(100, 10, size=2000)
FAR = RNG.lognormal(3, 2, size=2000)
NEGATIVE = RNG.normal(-40, 3, size=500)


@pytest.mark.parametrize("bins", ["auto", "linear", "log"])
@pytest.mark.parametrize("limit", [None, 113.7, 1e5, 0.001, -100.0])
@pytest.mark.parametrize("scores", [NEAR, FAR, NEGATIVE, np.array([5.0]), np.array([2.0, 2.0, np.inf])])
def test_every_score_is_in_the_row_that_its_value_says(scores: np.ndarray, limit: float | None, bins: str) -> None:
    rows = histogram(scores, limit=limit, bins=bins)
    assert [row.items for row in rows] == [int(((scores > row.low) & (scores <= row.high)).sum()) for row in rows]
    assert sum(row.items for row in rows) == len(scores)
    assert all(one.high == other.low for one, other in pairwise(rows))
    assert (rows[0].low, rows[-1].high) == (-np.inf, np.inf)
    if limit is not None:
        assert [row.low for row in rows].count(limit) == 1
    assert len(rows) <= 2 * ROWS
    for width in (20, 80):
        lines = draw(rows, limit=limit, width=width)
        assert max(line.cell_len for line in lines) <= width
        assert sum("threshold" in line.plain for line in lines) == (limit is not None)


def test_scores_over_several_magnitudes_get_steps_of_equal_ratios() -> None:
    def edges(scores: np.ndarray, bins: str) -> np.ndarray:
        return np.array([row.low for row in histogram(scores, limit=None, bins=bins)[1:]])

    for bins in ("log", "auto"):
        ratios = edges(FAR, bins)[1:] / edges(FAR, bins)[:-1]
        np.testing.assert_allclose(ratios, ratios[0])
    for scores, bins in ((FAR, "linear"), (NEAR, "auto"), (NEGATIVE, "auto"), (NEGATIVE, "log")):
        np.testing.assert_allclose(np.diff(edges(scores, bins)), np.diff(edges(scores, bins))[0], rtol=1e-6)


def test_a_long_tail_stands_in_one_open_row() -> None:
    scores = np.append(NEGATIVE, [1e6, 2e6, 3e6])
    rows = histogram(scores, limit=None, bins="auto")
    assert (rows[-1].items, rows[-1].high) == (3, np.inf)
    assert sum(row.items > 20 for row in rows) > 4, "the others are told apart all the same"


def test_bars_are_as_long_as_their_counts_and_anomalies_have_their_share() -> None:
    rows = [Row(-np.inf, 1, 40, 10, None), Row(1, 2, 20, 0, None), Row(2, np.inf, 100, 1, 50.0)]
    lines = [line.plain for line in draw(rows, limit=None, width=60)]
    longest = lines[2].count("#") + lines[2].count("x") + lines[2].count("|")
    assert lines[0].count("#") == pytest.approx(0.3 * longest, abs=1)
    assert lines[0].count("x") == pytest.approx(0.1 * longest, abs=1)
    assert lines[1].count("#") == pytest.approx(0.2 * longest, abs=1)
    assert lines[2].count("x") == 1, "a single anomaly is seen"
    start = lines[2].index("#")
    assert lines[2].index("|") - start + 1 == pytest.approx(longest / 2, abs=1)


def test_normal_data_is_scaled_to_as_many_items() -> None:
    marks = NEAR > 115
    rows = histogram(NEAR, limit=115.0, bins="linear", anomalous=marks, usual=NEAR[:500])
    assert sum(row.usual or 0 for row in rows) == pytest.approx(len(NEAR))
    assert sum(row.anomalous for row in rows if row.low >= 115) == marks.sum()
    assert sum(row.anomalous for row in rows if row.low < 115) == 0


def test_a_score_at_the_threshold_is_drawn_below_it() -> None:
    rows = histogram(np.array([1.0, 2.0, 3.0, 4.0]), limit=3.0, bins="linear")
    assert sum(row.items for row in rows if row.low >= 3.0) == 1
