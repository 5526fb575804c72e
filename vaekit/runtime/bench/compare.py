"""Which of two timings is faster, and how sure that is.

Two timings are compared round by round, since rounds of one number were taken within the same seconds. Of the ratios the
median counts, with an interval that holds the true median with 95 % confidence, whatever their distribution: the k-th
smallest to the k-th largest of n ratios, where ``1 - 2 P(B < k) >= 0.95`` and B is binomial(n, 1/2). Fewer than 6 rounds
have no such interval.

Source: Hoefler & Belli 2015, section 3.1.3, doi:10.1145/2807591.2807644; Conover 1999, Practical Nonparametric
Statistics, section 3.2.

Needs: the standard library.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from math import comb
from typing import Final, Literal, NamedTuple, TypeAlias

from vaekit.runtime.bench.results import Timing

By: TypeAlias = Literal["rates", "medians", "tails"]

CONFIDENCE: Final = 0.95

WORTH: Final = 1.03
"""A smaller gain than 3 % is none: the layout of memory alone moves a measurement by that much."""

REFERENCE: Final = "fp32"
"""The precision that others are held against."""

WAYS: Final = ("call", "bound", "graph")
"""Ways of calling a half, from the plainest on."""


class Comparison(NamedTuple):
    """How many times as fast the first of two timings is.

    Attributes:
        ratio: Median over the rounds.
        low: Lower end of its 95 % interval; minus infinity where there are too few rounds.
        high: Upper end; plus infinity where there are too few rounds.
    """

    ratio: float
    low: float
    high: float

    @property
    def faster(self) -> bool:
        """Whether the first is surely faster, and by an amount that is worth something."""
        return self.low > 1 and self.ratio >= WORTH

    @property
    def text(self) -> str:
        """For people: "1.31x (1.28 to 1.35)"."""
        if self.high == float("inf"):
            return f"{self.ratio:.2f}x"
        return f"{self.ratio:.2f}x ({self.low:.2f} to {self.high:.2f})"


def compare(first: Timing, second: Timing, by: By = "rates") -> Comparison:
    """Compare two timings in the rounds that both have.

    Args:
        first: The one that may be faster.
        second: The other one.
        by: "rates" (items per second), "medians" or "tails" (p50 and p95 of the seconds a call).
    """
    pairs = zip(getattr(first, by), getattr(second, by), strict=False)
    ratios = [a / b if by == "rates" else b / a for a, b in pairs]
    return Comparison(statistics.median(ratios), *median_interval(ratios))


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Give the interval of the median that no distribution can make less sure than stated; see the module's header.

    Returns:
        Lower and upper end; minus and plus infinity where there are too few values.
    """
    count, ordered = len(values), sorted(values)
    rank, outside = 0, 0.0  # outside: P(B < rank)
    while 1 - 2 * (outside + comb(count, rank) / 2**count) >= confidence:
        outside += comb(count, rank) / 2**count
        rank += 1
    return (ordered[rank - 1], ordered[-rank]) if rank else (float("-inf"), float("inf"))
