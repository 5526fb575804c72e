"""Timing, with a clock that goes only when it is told to: every number is known beforehand."""

from __future__ import annotations

import gc
import math
import time
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vaekit.runtime.bench import timing
from vaekit.runtime.bench.timing import (
    LEAST_ROUNDS,
    LONG,
    MOST,
    MOST_INNER,
    SETTLE,
    Contender,
    burst,
    calibrate,
    garbage_collection_off,
    quantiles,
    ready,
    resolution,
    take_turns,
)


def test_resolution_is_the_step_of_the_clock(clock: Any) -> None:
    clock.step = 2.0**-20
    assert resolution(clock) == 2.0**-20


def test_resolution_of_a_clock_that_shows_whole_milliseconds_is_a_millisecond(clock: Any) -> None:
    clock.step = 0.0001
    assert resolution(lambda: math.floor(clock() * 1000) / 1000) == pytest.approx(0.001)


def test_resolution_of_a_clock_that_stands_still_is_infinite(clock: Any) -> None:
    assert resolution(clock) == math.inf


def test_resolution_of_the_real_clock_is_below_a_millisecond() -> None:
    assert 0 < resolution(time.perf_counter) < 1e-3


@pytest.mark.parametrize(("call_seconds", "expected"), [(1.0, 1), (0.01, 1), (0.004, 4), (0.001, 16), (0.0004, 32)])
def test_calibrated_blocks_are_the_fewest_calls_in_powers_of_two_that_last_long_enough(
    clock: Any, call_seconds: float, expected: int
) -> None:
    assert calibrate(clock.call_of([call_seconds]), clock, least=0.01) == expected


def test_calibration_is_not_fooled_by_one_interruption(clock: Any) -> None:
    interrupted = [0.5] + [0.001] * 1000
    assert calibrate(clock.call_of(interrupted), clock, least=0.01) == 16


def test_calibration_of_a_call_that_takes_no_time_ends(clock: Any) -> None:
    assert calibrate(lambda: None, clock, least=math.inf) == MOST_INNER


def test_a_burst_settles_first_and_times_every_block_after_that(clock: Any) -> None:
    calls: list[float] = []

    def call() -> None:
        calls.append(clock.now)
        clock.now += 0.001

    contender = Contender(call, inner=2)
    burst(contender, clock, seconds=0.01)
    (times,) = contender.bursts
    assert list(times) == pytest.approx([0.001] * 5)
    settling = math.ceil(round(SETTLE / 0.001, 6))
    assert len(calls) == settling + 10
    assert contender.spent == pytest.approx((settling + 10) * 0.001)


def test_a_call_that_is_long_needs_no_settling_and_is_timed_once(clock: Any) -> None:
    contender = Contender(clock.call_of([2.0]), inner=1)
    burst(contender, clock, seconds=0.1, call_seconds=LONG)
    assert [list(times) for times in contender.bursts] == [[2.0]]
    assert contender.spent == 2.0


def test_a_burst_keeps_a_limited_number_of_blocks(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "MOST", 7)
    contender = Contender(clock.call_of([0.001]), inner=1)
    burst(contender, clock, seconds=1000.0)
    assert len(contender.bursts[0]) == 7
    assert MOST * 8 < 1 << 20  # bytes of one burst


def test_percentiles_of_known_durations_are_numpys(clock: Any) -> None:
    durations = np.random.default_rng(3).lognormal(-7, 1, size=400)
    contender = Contender(clock.call_of(list(durations)), inner=1)
    burst(contender, clock, seconds=float(durations.sum()) - 1e-9, call_seconds=LONG)
    found = quantiles(contender.bursts, (0.5, 0.95, 0.99))
    np.testing.assert_allclose(found, np.percentile(durations, [50, 95, 99]), rtol=1e-6)


def test_quantiles_are_of_the_blocks_of_all_rounds_together() -> None:
    rounds = [array("d", [1.0, 2.0, 3.0]), array("d", [10.0]), array("d", [4.0, 5.0])]
    assert quantiles(rounds, (0.0, 0.95, 1.0)) == pytest.approx(np.percentile([1, 2, 3, 10, 4, 5], [0, 95, 100]))


def test_contenders_take_turns_in_an_order_that_changes(clock: Any) -> None:
    order: list[int] = []
    contenders = [Contender(clock.call_of([0.001]), inner=1) for _ in range(4)]
    take_turns(contenders, clock, seconds=1.0, rounds=10, on_burst=order.append)
    rounds = [order[start : start + 4] for start in range(0, 40, 4)]
    assert all(sorted(one) == [0, 1, 2, 3] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 3
    assert [len(contender.bursts) for contender in contenders] == [10] * 4


def test_what_slows_the_machine_in_some_rounds_slows_all_contenders_alike(clock: Any) -> None:
    loud = [False]

    def call_of(seconds: float) -> Callable[[], None]:
        def call() -> None:
            clock.now += seconds * (3 if loud[0] else 1)

        return call

    contenders = [Contender(call_of(0.001), 1), Contender(call_of(0.002), 1)]
    bursts = iter(range(1000))

    def on_burst(_: int) -> None:
        loud[0] = 8 <= next(bursts) < 14  # a neighbour that wakes up for three rounds

    take_turns(contenders, clock, seconds=1.0, rounds=10, on_burst=on_burst)
    medians = [[float(np.median(times)) for times in contender.bursts] for contender in contenders]
    np.testing.assert_allclose(np.divide(medians[1], medians[0]), 2.0, rtol=1e-6)
    assert max(medians[0]) == pytest.approx(0.003)


def test_a_slow_contender_leaves_when_its_time_is_over_and_not_before_it_can_be_judged(clock: Any) -> None:
    quick, slow = Contender(clock.call_of([0.001]), 1), Contender(clock.call_of([5.0]), 1)
    take_turns([quick, slow], clock, seconds=1.0, rounds=10)
    assert (len(quick.bursts), len(slow.bursts)) == (10, LEAST_ROUNDS)
    slow = Contender(clock.call_of([5.0]), 1)
    take_turns([slow], clock, seconds=1.0, rounds=10, least_rounds=2)
    assert len(slow.bursts) == 2


def test_the_first_call_is_apart_and_a_long_one_is_alone_in_its_block(clock: Any) -> None:
    contender, first = ready(clock.call_of([0.03, 0.001, 0.001, 0.001, 0.001]), clock, least=0.002)
    assert (first, contender.inner, contender.bursts) == (pytest.approx(0.03), 2, [])
    contender, first = ready(clock.call_of([2 * LONG]), clock, least=10.0)
    assert (first, contender.inner) == (pytest.approx(2 * LONG), 1)


def test_an_interruption_keeps_the_bursts_that_ended(clock: Any) -> None:
    bursts = iter(range(7))

    def on_burst(_: int) -> None:
        try:
            next(bursts)
        except StopIteration:
            raise KeyboardInterrupt from None

    contenders = [Contender(clock.call_of([0.001]), 1) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        take_turns(contenders, clock, seconds=1.0, rounds=10, on_burst=on_burst)
    assert sorted(len(contender.bursts) for contender in contenders) == [3, 4]
    assert gc.isenabled()


def test_garbage_is_not_collected_while_something_is_timed(clock: Any) -> None:
    seen = []

    def call() -> None:
        seen.append(gc.isenabled())
        clock.now += 0.01

    take_turns([Contender(call, 1)], clock, seconds=0.1, rounds=2)
    assert set(seen) == {False}
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off_and_collects_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.disable()
    monkeypatch.setattr(gc, "collect", lambda: pytest.fail("collected"))
    try:
        with garbage_collection_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
