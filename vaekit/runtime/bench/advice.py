"""Which setting to take, for an app bound by latency and for one bound by throughput: a pure function of timings.

Of the settings that cost less than 10 % against the fastest, and are not surely slower, the plainest is taken, so that no
advice rests on a difference inside the noise.

Needs: NumPy.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from vaekit.runtime.bench.compare import REFERENCE, WAYS, By, Comparison, compare, median_interval
from vaekit.runtime.bench.results import Cell, Recommendation, Setting, Timing, count_of
from vaekit.runtime.bench.units import rate, seconds
from vaekit.runtime.bound import DEVICES

ALIKE: Final = 1.10
"""Settings within 10 % count as alike. A recommendation is sure where each other setting is surely slower or alike."""

Kind: TypeAlias = tuple[Setting, str]
"""A setting and a way, whatever the batch."""


def advise(timings: Sequence[Timing]) -> Iterator[Recommendation]:
    """Recommend a setting for an app bound by latency and for one bound by throughput, for each half, and for each io.

    Plain is, in this order: fp32 before other precisions, the CPU before other providers, calls with NumPy arrays before bound
    ones, few threads before many. A setting whose data stay on a GPU is compared with its like only, and so is one for pixels:
    which of the two an app takes hangs on what it has. Of the batch sizes the smallest is named from which on nothing is
    gained.
    """
    for half, io in dict.fromkeys((timing.cell.setting.half, timing.cell.setting.io) for timing in timings):
        alike = [one for one in timings if (one.cell.setting.half, one.cell.setting.io) == (half, io)]
        pixels = "" if io == "float32" else ", uint8 pixels"
        here = [timing for timing in alike if not _stays_on_gpu(timing.cell)]
        there = [timing for timing in alike if _stays_on_gpu(timing.cell)]
        for what, some in ((pixels, here), (f"{pixels}, data on the GPU", there)):
            if some:
                yield from _for_latency(half, f"latency{what}", some)
                yield from _recommendations(half, f"throughput{what}", some, "rates")


class _Choice(NamedTuple):
    """What `_choose` found.

    Attributes:
        timing: The timing to take.
        alike: Other settings that are as fast: less than 10 % apart, at 95 % confidence.
        unclear: Other settings that are neither surely slower nor alike, each with how far the chosen one is ahead.
        lead: How far the chosen one is ahead of the next that is surely slower, or None where there is none.
    """

    timing: Timing
    alike: list[Timing]
    unclear: list[tuple[Timing, Comparison]]
    lead: float | None


def _choose(candidates: Sequence[Timing], by: By) -> _Choice:
    """Take the plainest of the settings near the fastest, each at its best batch size; then its smallest batch near that."""
    tops: dict[Kind, Timing] = {}
    for timing in sorted(candidates, key=lambda one: _speed(one, by)):
        tops[_kind(timing)] = timing
    fastest = max(tops.values(), key=lambda one: _speed(one, by))
    chosen = min(_near(fastest, tops.values(), by), key=_plainness)
    alike, unclear, leads = [], [], []
    for other in tops.values():
        than = compare(chosen, other, by)
        if other is chosen:
            continue
        if than.faster:
            leads.append(than.ratio)
        elif than.low > 1 / ALIKE and than.ratio < ALIKE:
            alike.append(other)
        else:
            unclear.append((other, than))
    same = [timing for timing in candidates if _kind(timing) == _kind(chosen)]
    smallest = min(_near(chosen, same, by), key=lambda one: one.cell.batch)
    return _Choice(smallest, alike, unclear, min(leads, default=None))


def _near(first: Timing, candidates: Iterable[Timing], by: By) -> list[Timing]:
    """Those that the first is not surely faster than, nor 10 % faster by the median; itself among them."""
    found = [(other, compare(first, other, by)) for other in candidates if other is not first]
    return [first, *(other for other, than in found if not than.faster and than.ratio < ALIKE)]


def _for_latency(half: str, purpose: str, timings: Sequence[Timing]) -> Iterator[Recommendation]:
    batch = min(timing.cell.batch for timing in timings)
    if batch > 1:
        purpose += f" at batch {batch}"
    yield from _recommendations(half, purpose, [one for one in timings if one.cell.batch == batch], "medians")


def _recommendations(half: str, purpose: str, candidates: Sequence[Timing], by: By) -> Iterator[Recommendation]:
    """The best of all, and where that is no fp32, the best of fp32."""
    recommended = _recommendation(half, purpose, candidates, by)
    yield recommended
    exact = [timing for timing in candidates if timing.cell.setting.precision == REFERENCE]
    if recommended.cell is not None and recommended.cell.setting.precision != REFERENCE and exact:
        yield _recommendation(half, f"{purpose}, {REFERENCE}", exact, by)


def _recommendation(half: str, purpose: str, candidates: Sequence[Timing], by: By) -> Recommendation:
    rounds = min(len(timing.rates) for timing in candidates)
    if median_interval(range(rounds))[0] == float("-inf"):
        text = f"none, since {count_of(rounds, 'round')} of measurements are too few to tell settings apart."
        return Recommendation(half, purpose, None, False, text)
    choice = _choose(candidates, by)
    cell = choice.timing.cell
    batch = f", batch {cell.batch:,}" if by == "rates" else ""
    text = f"{cell.name}{batch}: {_numbers(choice.timing, by)}. {_sureness(choice)}"
    if by == "medians":
        text += _steadier(choice.timing, candidates)
    return Recommendation(half, purpose, cell, not choice.unclear, text)


def _sureness(choice: _Choice) -> str:
    if choice.unclear:
        names = [f"{other.cell.name} (by the median {than.text} ahead of it)" for other, than in choice.unclear[:2]]
        if len(choice.unclear) > len(names):
            names.append(f"{len(choice.unclear) - len(names)} more")
        return f"Not sure: the rounds spread too far to tell it from {' and '.join(names)}."
    behind = "" if choice.lead is None else f"{choice.lead:.2f}x ahead of the next"
    if choice.alike:
        names = [other.cell.name for other in choice.alike]
        return f"Sure: as fast as {', '.join(names)}, within {ALIKE - 1:.0%}, and plainer{f'; {behind}' if behind else ''}."
    return f"Sure: {behind}." if behind else "Nothing else was measured."


def _steadier(chosen: Timing, candidates: Sequence[Timing]) -> str:
    """Name a setting whose slowest calls are much faster, if there is one."""
    tails = [(other, compare(other, chosen, "tails")) for other in candidates if other is not chosen]
    steadier = [other for other, than in tails if than.faster and than.ratio >= ALIKE]
    if not steadier:
        return ""
    best = min(steadier, key=lambda one: _middle(one, "tails"))
    ours, theirs = seconds(chosen.quantile(0.95)), seconds(best.quantile(0.95))
    return f" Where the slowest calls count, take {best.cell.name}: its p95 is {theirs}, not {ours}."


def _numbers(timing: Timing, by: By) -> str:
    if by == "rates":
        return f"{rate(timing.rate.median)} items/s ({rate(timing.rate.low)} to {rate(timing.rate.high)})"
    return ", ".join(f"p{100 * level:g} {seconds(timing.quantile(level))}" for level in (0.5, 0.95, 0.99))


def _plainness(timing: Timing) -> tuple[bool, bool, int, int]:
    setting, way = _kind(timing)
    return (setting.precision != REFERENCE, setting.provider != "cpu", WAYS.index(way), setting.threads)


def _stays_on_gpu(cell: Cell) -> bool:
    return cell.setting.provider in DEVICES and cell.way != WAYS[0]


def _kind(timing: Timing) -> Kind:
    return (timing.cell.setting, timing.cell.way)


def _middle(timing: Timing, by: By) -> float:
    values: tuple[float, ...] = getattr(timing, by)
    return statistics.median(values)


def _speed(timing: Timing, by: By) -> float:
    return _middle(timing, by) if by == "rates" else -_middle(timing, by)
