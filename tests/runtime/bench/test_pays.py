"""From which batch size on something pays, for timings whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from vaekit.runtime.bench.pays import pays_from

QUIET = 1 + 0.005 * np.array([0, 1, -1, 2, -2, 1, 0, -1, 1, 0])
"""Ten rounds that spread by 1 %."""

LOUD = np.exp(np.random.default_rng(4).normal(0, 1.5, 10))


def sweep(timing: Callable[..., Any], seconds: Mapping[int, float], noise: Any = QUIET, **names: Any) -> list[Any]:
    return [timing(list(time * noise), batch=batch, **names) for batch, time in seconds.items()]


def one(timings: list[Any]) -> Any:
    (pays,) = pays_from(timings)
    return pays


def test_threads_pay_from_the_batch_where_they_overtake(timing: Callable[..., Any]) -> None:
    alone = sweep(timing, {1: 10, 8: 20, 64: 100, 512: 800})
    two = sweep(timing, {1: 12, 8: 22, 64: 70, 512: 450}, threads=2)
    pays = one(alone + two)
    assert (pays.what, pays.over, pays.verdict, pays.batch) == ("cpu, 2 threads", "1 thread", "from", 64)
    assert pays.gain == pytest.approx(800 / 450)
    assert pays.text == "cpu, 2 threads over 1 thread: pays from batch 64; 1.78x (1.78 to 1.78) at batch 512"


def test_threads_that_are_ahead_everywhere_pay_at_every_size(timing: Callable[..., Any]) -> None:
    pays = one(sweep(timing, {1: 10, 64: 100}) + sweep(timing, {1: 6, 64: 60}, threads=2))
    assert (pays.verdict, pays.batch) == ("from", 1)
    assert "pays at every size measured, batch 1 to 64" in pays.text


def test_threads_that_are_never_ahead_never_pay(timing: Callable[..., Any]) -> None:
    pays = one(sweep(timing, {1: 10, 64: 100}) + sweep(timing, {1: 15, 64: 102}, threads=2))
    assert (pays.verdict, pays.batch) == ("never", None)
    assert "never pays in this sweep, batch 1 to 64" in pays.text


def test_pixels_are_held_against_values_and_otherwise_against_their_like(timing: Callable[..., Any]) -> None:
    timings = sweep(timing, {1: 10, 64: 100}) + sweep(timing, {1: 5, 64: 50}, precision="int8")
    timings += sweep(timing, {1: 12, 64: 80}, io="uint8") + sweep(timing, {1: 3, 64: 20}, precision="int8", io="uint8")
    found = list(pays_from(timings))
    assert [(pays.precision, pays.what, pays.over, pays.io, pays.batch) for pays in found] == [
        ("int8", "int8 on cpu", "fp32", "float32", 1),
        ("int8", "int8 on cpu", "fp32", "uint8", 1),
        ("fp32", "pixels on cpu", "float32 values", "uint8", 64),
        ("int8", "pixels on cpu", "float32 values", "uint8", 1),
    ]
    assert [pays.gain for pays in found] == pytest.approx([2, 4, 1.25, 2.5])
    assert found[2].text == (
        "pixels on cpu over float32 values: pays from batch 64; 1.25x (1.25 to 1.25) at batch 64; "
        "float32 values leave the app to convert its pixels"
    )


def test_a_difference_inside_the_noise_is_no_answer(timing: Callable[..., Any]) -> None:
    pays = one(sweep(timing, {1: 10, 64: 100}) + sweep(timing, {1: 9, 64: 90}, noise=LOUD / np.median(LOUD), threads=2))
    assert (pays.verdict, pays.batch) == ("unclear", None)
    assert "not clear, the difference is inside the noise" in pays.text


def test_what_pays_in_the_middle_only_is_said_so(timing: Callable[..., Any]) -> None:
    pays = one(sweep(timing, {1: 10, 8: 20, 64: 100}) + sweep(timing, {1: 12, 8: 10, 64: 120}, threads=2))
    assert (pays.verdict, pays.batch) == ("unclear", None)
    assert "pays at batch 8, and not at larger ones" in pays.text


def test_too_few_rounds_are_no_answer(timing: Callable[..., Any]) -> None:
    pays = one(
        sweep(timing, {1: 10, 64: 100}, noise=QUIET[:3]) + sweep(timing, {1: 5, 64: 50}, noise=QUIET[:3], threads=2)
    )
    assert pays.verdict == "unclear"


def test_each_thread_count_is_held_against_the_next_smaller_one(timing: Callable[..., Any]) -> None:
    timings = [
        *sweep(timing, {64: 100}),
        *sweep(timing, {64: 60}, threads=2),
        *sweep(timing, {64: 62}, threads=4),
    ]
    assert [(pays.what, pays.over, pays.verdict) for pays in pays_from(timings)] == [
        ("cpu, 2 threads", "1 thread", "from"),
        ("cpu, 4 threads", "2 threads", "never"),
    ]


def test_cuda_is_held_against_the_fastest_thread_count_of_the_cpu(timing: Callable[..., Any]) -> None:
    timings = [
        *sweep(timing, {1: 10, 64: 100, 512: 900}),
        *sweep(timing, {1: 12, 64: 60, 512: 450}, threads=2),
        *sweep(timing, {1: 80, 64: 80, 512: 110}, provider="cuda", threads=2),
        *sweep(timing, {1: 40, 64: 41, 512: 50}, provider="cuda", threads=2, way="bound"),
        *sweep(timing, {1: 9, 64: 20, 512: 45}, provider="cuda", threads=2, way="graph"),
    ]
    found = {(pays.what, pays.over): pays.batch for pays in pays_from(timings)}
    assert found == {
        ("cpu, 2 threads", "1 thread"): 64,
        ("cuda", "cpu"): 512,
        ("cuda bound, data on the GPU", "cpu"): 64,
        ("cuda graph, data on the GPU", "cpu"): 1,
    }


def test_a_precision_is_held_against_fp32_whatever_it_is_called(timing: Callable[..., Any]) -> None:
    timings = [
        *sweep(timing, {1: 10, 64: 100}),
        *sweep(timing, {1: 10, 64: 40}, precision="int4-made-up"),
    ]
    (pays,) = pays_from(timings)
    assert (pays.precision, pays.what, pays.over, pays.batch) == ("int4-made-up", "int4-made-up on cpu", "fp32", 64)


def test_halves_and_precisions_are_not_mixed(timing: Callable[..., Any]) -> None:
    timings = [
        *sweep(timing, {64: 100}),
        *sweep(timing, {64: 10}, threads=2, half="encoder"),
        *sweep(timing, {64: 10}, threads=2, precision="int8", half="encoder"),
    ]
    assert [(pays.half, pays.what) for pays in pays_from(timings)] == [("encoder", "int8 on cpu")]


def test_bound_calls_do_not_stand_in_for_calls_with_arrays(timing: Callable[..., Any]) -> None:
    timings = [*sweep(timing, {64: 100}), *sweep(timing, {64: 10}, threads=2, way="bound")]
    assert list(pays_from(timings)) == []


def test_nothing_measured_gives_no_answer() -> None:
    assert list(pays_from([])) == []
