"""Fair timing of short functions on a machine that others use too.

- A block of calls is timed that lasts at least `TICKS` steps of the clock, so the clock's own step is at most 1 % of it.
- Contenders run in turn, round by round, in a new order each round: a noisy neighbour then meets all of them alike, and two
  of them may be compared within each round.
- Each burst begins with calls that are not timed, which bring back caches and threads that the previous contender had.
- Python's garbage collector is off while something is timed.

Nothing here knows a model, and the clock is an argument.

Source: Hoefler & Belli 2015, "Scientific Benchmarking of Parallel Computing Systems", sections 3 and 4,
doi:10.1145/2807591.2807644.

Needs: NumPy.
"""

from __future__ import annotations

import gc
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

Clock: TypeAlias = Callable[[], float]
"""A clock that never goes back, in seconds, such as `time.perf_counter`."""

TICKS: Final = 100
"""Steps of the clock that a timed block lasts at least."""

SETTLE: Final = 0.003
"""Seconds of calls that are not timed before each burst: longer than ONNX Runtime's threads spin after their last call."""

LONG: Final = 0.05
"""A call of this many seconds needs no settling: what the previous contender left over is small beside it."""

MOST_INNER: Final = 1 << 16
"""Calls in one timed block at most: a function that takes no time at all by the clock must not be called for ever."""

MOST: Final = 20_000
"""Timed blocks of one burst at most, so that a cell's samples stay below a few megabytes."""

LEAST_ROUNDS: Final = 6
"""Rounds that even a slow contender gets: with fewer, no 95 % interval of a median exists."""


@dataclass
class Contender:
    """A function that is timed.

    Attributes:
        call: The function.
        inner: Calls in one timed block, from `calibrate`.
        spent: Seconds that it has had, settling included.
        bursts: Seconds a call of each timed block, an array each round.
    """

    call: Callable[[], object]
    inner: int
    spent: float = 0.0
    bursts: list[array[float]] = field(default_factory=list)


def resolution(clock: Clock, readings: int = 1000) -> float:
    """Smallest step between two readings that differ, in seconds: the clock's own step, or what a reading costs.

    A clock that stands still for all the readings gives infinity.
    """
    steps = []
    previous = clock()
    for _ in range(readings):
        now = clock()
        if now > previous:
            steps.append(now - previous)
        previous = now
    return min(steps, default=float("inf"))


def calibrate(call: Callable[[], object], clock: Clock, *, least: float) -> int:
    """Find how many calls in a row last at least `least` seconds, as a power of two.

    The shortest of three blocks counts, so that an interruption does not make a block look long.
    """
    inner = 1
    while inner < MOST_INNER and min(_block([call] * inner, clock) for _ in range(3)) < least:
        inner *= 2
    return inner


def ready(call: Callable[[], object], clock: Clock, *, least: float) -> tuple[Contender, float]:
    """Make a call for the first time, apart from all others, and find how many of it fill a block.

    Args:
        call: The function.
        clock: The clock.
        least: Seconds of a block.

    Returns:
        What `take_turns` takes, and the seconds of the first call.
    """
    began = clock()
    call()
    first = clock() - began
    return Contender(call, 1 if first >= LONG else calibrate(call, clock, least=least)), first


def burst(contender: Contender, clock: Clock, *, seconds: float, call_seconds: float | None = None) -> None:
    """Settle, then time blocks until they have lasted `seconds` in all; at least one. The result goes to the contender.

    Args:
        contender: What is timed.
        clock: The clock.
        seconds: How long.
        call_seconds: About what one call takes, where that is known; from `LONG` on nothing is settled.
    """
    began = clock()
    if call_seconds is None or call_seconds < LONG:
        while True:
            contender.call()
            if clock() - began >= SETTLE:
                break
    calls = [contender.call] * contender.inner
    durations = array("d")
    total = 0.0
    while True:
        took = _block(calls, clock)
        durations.append(took / contender.inner)
        total += took
        if total >= seconds or len(durations) >= MOST:
            break
    contender.bursts.append(durations)
    contender.spent += clock() - began


def take_turns(
    contenders: Sequence[Contender],
    clock: Clock,
    *,
    seconds: float,
    rounds: int,
    least_rounds: int = LEAST_ROUNDS,
    on_burst: Callable[[int], None] = lambda _: None,
) -> None:
    """Time all contenders, in rounds.

    Args:
        contenders: What is timed; their `bursts` are filled, so an interruption loses only the burst that was running.
        clock: The clock.
        seconds: Time for each contender. One whose calls are so long that it has had its time sooner leaves.
        rounds: Rounds at most.
        least_rounds: Rounds before a contender may leave.
        on_burst: Called with a contender's index before each of its bursts.
    """
    order = random.Random(0)  # noqa: S311  (no secret)
    with garbage_collection_off():
        for number in range(rounds):
            indices = list(range(len(contenders)))
            order.shuffle(indices)
            for index in indices:
                contender = contenders[index]
                if number >= least_rounds and contender.spent >= seconds:
                    continue
                on_burst(index)
                call_seconds = min(contender.bursts[-1]) if contender.bursts else None
                burst(contender, clock, seconds=seconds / rounds, call_seconds=call_seconds)


def quantiles(bursts: Sequence[array[float]], levels: Sequence[float]) -> tuple[float, ...]:
    """Quantiles of all blocks of all rounds, interpolated linearly as `numpy.quantile` does."""
    return tuple(float(value) for value in np.quantile(np.concatenate(bursts), levels))


@contextmanager
def garbage_collection_off() -> Iterator[None]:
    """Collect once, then keep Python's garbage collector from running; put it back as it was.

    Inside another one nothing is collected: with torch loaded it takes a quarter of a second.
    """
    enabled = gc.isenabled()
    if enabled:
        gc.collect()
        gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _block(calls: Sequence[Callable[[], object]], clock: Clock) -> float:
    began = clock()
    for call in calls:  # a prepared list: `range` would cost 100 ns inside the timed part
        call()
    return clock() - began
