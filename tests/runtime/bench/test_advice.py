"""Which setting is recommended, for timings whose answer is known."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vaekit.runtime.bench.advice import advise

QUIET = 1 + 0.004 * np.array([0, 1, -1, 2, -2, 1, 0, -1, 1, 0])
OTHER = 1 + 0.004 * np.array([1, -2, 0, 1, -1, 0, 2, -1, 0, 1])
"""Ten rounds that spread by 1 %, each in its own way."""


def advice(timings: list[Any]) -> dict[str, Any]:
    return {one.purpose: one for one in advise(timings)}


def test_the_fastest_is_recommended_where_the_lead_is_sure(timing: Callable[..., Any]) -> None:
    found = advice([timing(10e-6 * QUIET), timing(15e-6 * OTHER, threads=2)])["latency"]
    assert found.cell.setting.threads == 1
    assert found.sure
    assert found.text.startswith("fp32 cpu, 1 thread, call: p50 10.0 us, p95 ")
    assert "Sure: 1.50x ahead of the next." in found.text


@pytest.mark.parametrize("faster", [1.0, 0.985, 1.02])
def test_of_settings_that_are_alike_the_plainest_is_taken(timing: Callable[..., Any], faster: float) -> None:
    timings = [
        timing(10e-6 * faster * OTHER, threads=4),
        timing(10e-6 * QUIET, threads=1, way="bound"),
        timing(10e-6 * OTHER, threads=2),
        timing(30e-6 * QUIET, threads=1),
    ]
    found = advice(timings)["latency"]
    assert (found.cell.setting.threads, found.cell.way) == (2, "call")
    assert found.sure
    assert "as fast as" in found.text
    assert "fp32 cpu, 1 thread, bound" in found.text
    (lead,) = re.findall(r"within 10%, and plainer; ([\d.]+)x ahead of the next\.$", found.text)
    assert float(lead) == pytest.approx(3, rel=0.01)


def test_a_gain_of_a_few_per_cent_that_is_sure_is_taken(timing: Callable[..., Any]) -> None:
    found = advice([timing(10e-6 * QUIET), timing(9.4e-6 * QUIET, way="bound")])["latency"]
    assert found.cell.way == "bound"
    assert found.sure


@pytest.mark.parametrize(
    ("plain", "fancy", "taken"),
    [
        (10e-6, 9.5e-6, "call"),  # 5 % inside a spread of 100 %: no reason for anything but the plainest
        (20e-6, 10e-6, "bound"),
    ],
)
def test_a_difference_inside_the_noise_is_called_unsure(
    timing: Callable[..., Any], plain: float, fancy: float, taken: str
) -> None:
    rng = np.random.default_rng(11)
    noise = np.exp(rng.normal(0, 1.0, (2, 10)))
    noise /= np.median(noise[0] / noise[1]) ** np.array([[1], [0]])  # so that the median ratio is the one stated
    found = advice([timing(plain * noise[0]), timing(fancy * noise[1], way="bound")])["latency"]
    assert found.cell.way == taken
    assert not found.sure
    assert "Not sure: the rounds spread too far to tell it from" in found.text


def test_too_few_rounds_recommend_nothing(timing: Callable[..., Any]) -> None:
    found = advice([timing([10e-6] * 5), timing([90e-6] * 5, threads=2)])
    assert [one.cell for one in found.values()] == [None, None]
    assert found["latency"].text == "none, since 5 rounds of measurements are too few to tell settings apart."


def test_latency_and_throughput_may_want_different_settings(timing: Callable[..., Any]) -> None:
    timings = [
        timing(10e-6 * QUIET, batch=1),
        timing(400e-6 * QUIET, batch=64),
        timing(14e-6 * QUIET, batch=1, threads=2),
        timing(220e-6 * QUIET, batch=64, threads=2),
    ]
    found = advice(timings)
    assert found["latency"].cell.setting.threads == 1
    assert found["throughput"].cell.setting.threads == 2
    assert found["throughput"].cell.batch == 64
    # 64 items in 220 us
    assert "fp32 cpu, 2 threads, call, batch 64: 291k items/s" in found["throughput"].text


def test_the_smallest_batch_from_which_on_nothing_is_gained_is_named(timing: Callable[..., Any]) -> None:
    timings = [timing(time * QUIET, batch=batch) for batch, time in ((1, 10e-6), (64, 100e-6), (256, 402e-6))]
    timings.append(timing(1600e-6 * OTHER, batch=1024))
    assert advice(timings)["throughput"].cell.batch == 64


def test_without_batch_1_the_latency_is_of_the_smallest_batch_and_says_so(timing: Callable[..., Any]) -> None:
    found = advice([timing(10e-6 * QUIET, batch=8), timing(10e-6 * QUIET, batch=64)])
    assert found["latency at batch 8"].cell.batch == 8


def test_the_latency_names_the_setting_whose_slowest_calls_are_quicker(timing: Callable[..., Any]) -> None:
    loud = timing(10e-6 * QUIET, threads=2, tails=80e-6 * QUIET)
    steady = timing(12e-6 * QUIET, threads=1, tails=13e-6 * QUIET)
    found = advice([loud, steady])["latency"]
    assert found.cell.setting.threads == 2
    assert "Where the slowest calls count, take fp32 cpu, 1 thread, call" in found.text


@pytest.mark.parametrize("purpose", ["latency", "throughput"])
def test_where_another_precision_wins_the_best_of_fp32_is_named_too(timing: Callable[..., Any], purpose: str) -> None:
    timings = [
        timing(10e-6 * QUIET),
        timing(20e-6 * QUIET, threads=2),
        timing(4e-6 * QUIET, precision="int8", threads=2),
    ]
    found = advice(timings)
    assert found[purpose].cell.setting.precision == "int8"
    assert found[f"{purpose}, fp32"].cell.setting[1:4] == ("fp32", "cpu", 1)


def test_data_that_stay_on_a_gpu_are_compared_with_their_like(timing: Callable[..., Any]) -> None:
    timings = [
        timing(10e-6 * QUIET),
        timing(50e-6 * QUIET, provider="cuda"),
        timing(5e-6 * QUIET, provider="cuda", way="bound"),
        timing(3e-6 * QUIET, provider="cuda", way="graph"),
    ]
    found = advice(timings)
    assert found["latency"].cell.setting.provider == "cpu"
    assert found["latency, data on the GPU"].cell.way == "graph"


def test_one_setting_alone_is_said_to_be_alone(timing: Callable[..., Any]) -> None:
    found = advice([timing(10e-6 * QUIET)])["latency"]
    assert found.text.endswith("Nothing else was measured.")


def test_each_half_gets_its_own_advice(timing: Callable[..., Any]) -> None:
    timings = [timing(10e-6 * QUIET), timing(10e-6 * QUIET, half="encoder")]
    assert [(one.half, one.purpose) for one in advise(timings)] == [
        ("decoder", "latency"),
        ("decoder", "throughput"),
        ("encoder", "latency"),
        ("encoder", "throughput"),
    ]


def test_nothing_measured_gives_no_advice() -> None:
    assert list(advise([])) == []


def test_pixels_are_recommended_apart_since_an_app_takes_what_it_has(timing: Callable[..., Any]) -> None:
    timings = [
        timing(10e-6 * QUIET),
        timing(5e-6 * QUIET, threads=2),
        timing(8e-6 * QUIET, io="uint8"),
        timing(16e-6 * QUIET, threads=2, io="uint8"),
    ]
    found = advice(timings)
    assert list(found) == ["latency", "throughput", "latency, uint8 pixels", "throughput, uint8 pixels"]
    assert found["latency"].cell.setting.io == "float32"
    assert found["latency"].cell.setting.threads == 2
    pixels = found["latency, uint8 pixels"]
    assert (pixels.cell.setting.io, pixels.cell.setting.threads) == ("uint8", 1)
    assert pixels.text.startswith("fp32.uint8 cpu, 1 thread, call: p50 8.00 us")
    assert "2.00x ahead of the next" in pixels.text
