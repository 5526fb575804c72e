"""A histogram of scores in plain characters, its threshold on a line of its own.

Needs: NumPy, rich.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

Nats = NDArray[np.float64]
Marks = NDArray[np.bool_]

ROWS: Final = 16
"""Most rows on either scale; a threshold or a long tail may add one or two."""

MAGNITUDES: Final = 20.0
"""Largest score over the median from which `auto` takes steps of equal ratios."""

TAIL: Final = 4.0
"""Interquartile ranges above the upper quartile at which linear steps end: all that is higher stands in one open row."""

NORMAL, ANOMALOUS, USUAL = "#", "x", "|"
"""A share of the scored items; of those that are labelled as anomalies; and the end of the bar that normal data would have."""


class Row(NamedTuple):
    """One bar.

    Attributes:
        low: Where it begins, in nats.
        high: Where it ends; infinite for an open one.
        items: Scored items in it.
        anomalous: Those of them that are labelled as anomalies.
        usual: Normal data in it, scaled to as many items in all; None without such data.
    """

    low: float
    high: float
    items: int
    anomalous: int
    usual: float | None


def histogram(
    scores: Nats,
    *,
    limit: float | None,
    bins: Literal["auto", "linear", "log"],
    anomalous: Marks | None = None,
    usual: Nats | None = None,
) -> list[Row]:
    """Count scores in rows, of which one begins where the threshold is.

    A row holds the scores above `low` up to `high` itself, so that what is above the threshold is what is called unusual.

    Args:
        scores: (N,), at least one; infinite ones stand in the last row.
        limit: The threshold, or None.
        bins: "log": steps of equal ratios, for scores above 0 alone, else they are linear.
        anomalous: (N,), those that are labelled as anomalies.
        usual: Scores of normal data to compare with, (M,).
    """
    every = scores if usual is None else np.concatenate([scores, usual])
    finite = every[np.isfinite(every)]
    end = limit if limit is not None and math.isfinite(limit) else None
    inner = _edges(finite, end, bins) if len(finite) else np.empty(0)
    edges = np.array([-np.inf, *inner, np.inf])
    counts = _counts(scores, inner)
    marked = np.zeros(len(counts), int) if anomalous is None else _counts(scores[anomalous], inner)
    expected = None if usual is None else _counts(usual, inner) * (len(scores) / len(usual))
    return [
        Row(float(edges[at]), float(edges[at + 1]), int(counts[at]), int(marked[at]),
            None if expected is None else float(expected[at]))
        for at in range(len(counts))
    ]  # fmt: skip


def draw(rows: list[Row], *, limit: float | None, width: int) -> list[Text]:
    """Draw each row as a line of at most so many characters: where it begins, the bar, how many.

    Args:
        rows: As `histogram` gives them.
        limit: The threshold, which gets a line of its own above the row that begins there.
        width: Characters of the screen.
    """
    digits = _digits(rows)
    names = [f"{row.low:,.{digits}f}" if math.isfinite(row.low) else f"<= {row.high:,.{digits}f}" for row in rows]
    if len(rows) == 1:
        names = ["all"]
    counts = [f"{row.items:,}" for row in rows]
    left, right = max(map(len, names)), max(map(len, counts))
    if left + right + 6 > width:
        right, counts = 0, [""] * len(rows)  # no room for numbers: the shape is what a histogram is for
    room = max(1, width - left - right - 2)
    most = max(1.0, *(max(row.items, row.usual or 0.0) for row in rows))
    lines = []
    for name, count, row in zip(names, counts, rows, strict=True):
        above = limit is not None and row.low >= limit
        if limit is not None and row.low == limit:
            lines.append(_threshold_line(limit, width))
        bar = _bar(row, most, room, "red" if above else "green")
        line = Text.assemble((f"{name:>{left}} ", "dim"), bar, f" {count:>{right}}" if right else "")
        line.truncate(width)
        lines.append(line)
    return lines


def _counts(scores: Nats, inner: Nats) -> NDArray[np.int64]:
    return np.bincount(np.searchsorted(inner, scores, side="left"), minlength=len(inner) + 1)


def _edges(finite: Nats, limit: float | None, bins: str) -> Nats:
    """Where rows begin, ascending, without the first, which has no lower end; the threshold is one of them."""
    low, high, median = float(finite.min()), float(finite.max()), float(np.median(finite))
    if limit is not None:
        low, high = min(low, limit), max(high, limit)
    if low > 0 and (bins == "log" or (bins == "auto" and high > MAGNITUDES * median)):
        edges = np.exp(_steps(math.log(low), math.log(high), None if limit is None else math.log(limit)))
        if limit is not None:  # what the logarithm's last bit has moved
            edges[np.abs(edges - limit).argmin()] = limit
        return edges
    quarter, rest = np.quantile(finite, [0.25, 0.75])
    high = min(high, float(rest + TAIL * (rest - quarter)))
    return _steps(low, high if limit is None else max(high, limit), limit)


def _steps(low: float, high: float, at: float | None) -> Nats:
    """Equal steps between two values, of which one is at a third."""
    if not high > low:
        return np.array([] if at is None else [at])
    least = (high - low) / (ROWS - 1)
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= least)
    anchor = 0.0 if at is None else at
    first, last = math.floor((low - anchor) / step) + 1, math.ceil((high - anchor) / step) - 1
    if at is not None:
        first, last = min(first, 0), max(last, 0)
    return np.asarray(anchor + step * np.arange(first, last + 1, dtype=np.float64))


def _digits(rows: list[Row]) -> int:
    """Digits after the point that tell two rows apart."""
    lows = [row.low for row in rows if math.isfinite(row.low)]
    step = min((b - a for a, b in pairwise(lows)), default=1.0)
    return max(0, min(6, 1 - math.floor(math.log10(step)))) if step > 0 else 6


def _threshold_line(limit: float, width: int) -> Text:
    line = Text(f"-- threshold {limit:.6g} ".ljust(width, "-"), "yellow")
    line.truncate(width)
    return line


def _bar(row: Row, most: float, room: int, colour: str) -> Text:
    """The bar, `room` characters wide: what is there is at least one character."""
    length = max(math.ceil(room * row.items / most - 0.5), int(row.items > 0))
    marked = 0 if not row.items else round(length * row.anomalous / row.items)
    if 0 < row.anomalous < row.items:  # both are seen, however few there are of one
        length = min(max(2, length), max(2, room))
        marked = min(max(1, marked), length - 1)
    bar = NORMAL * (length - marked) + ANOMALOUS * marked
    text = Text(bar.ljust(room))
    text.stylize(colour, 0, length - marked)
    text.stylize("bold magenta", length - marked, length)
    if row.usual is not None and row.usual > 0:
        place = min(room - 1, max(0, math.ceil(room * row.usual / most - 0.5) - 1))
        plain = list(text.plain)
        plain[place] = USUAL
        text.plain = "".join(plain)
    return text
