"""Timings and a report of settings that nobody measured, and a clock that goes when it is told to."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import pytest

from vaekit.runtime.bench.results import (
    LEVELS,
    Cell,
    Disk,
    Machine,
    Pays,
    Plan,
    Recommendation,
    Report,
    Setting,
    Start,
    Timing,
)
from vaekit.runtime.bench.timing import quantiles


class FakeClock:
    """Shows the time that it was moved to; each reading may move it by a step."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 100.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now

    def call_of(self, durations: Sequence[float]) -> Callable[[], None]:
        """A function that takes these times in turn, over and over."""
        left: list[float] = []

        def call() -> None:
            if not left:
                left.extend(reversed(durations))
            self.now += left.pop()

        return call


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def timing() -> Callable[..., Timing]:
    """Return ``timing(times, batch=…, threads=…, …)``: a timing whose round i had calls of ``times[i]`` seconds."""

    def make(
        times: Sequence[float],
        *,
        batch: int = 1,
        threads: int = 1,
        way: str = "call",
        provider: str = "cpu",
        precision: str = "fp32",
        half: str = "decoder",
        io: str = "float32",
        tails: Sequence[float] | None = None,
    ) -> Timing:
        times = [float(time) for time in times]
        tails = times if tails is None else [float(time) for time in tails]
        return Timing(
            cell=Cell(Setting(half, precision, provider, threads, io), way, batch),
            inner=1,
            first=2 * times[0],
            blocks=len(times),
            quantiles=quantiles([array("d", times)], LEVELS),
            rates=tuple(batch / time for time in times),
            medians=tuple(times),
            tails=tuple(tails),
        )

    return make


@pytest.fixture
def report(timing: Callable[..., Timing]) -> Report:
    """One of every record, most of int8 on two threads."""
    setting = Setting("decoder", "int8", "cpu", 2)
    machine = Machine("a processor", ("avx2",), (), 2, 8, 1 << 34, "a system", 0.1, None, {"numpy": "2.4"})
    return Report(
        bundle="small",
        bundle_bytes=1234,
        complete=False,
        machine=machine,
        plan=Plan(("decoder",), ("fp32", "int8"), ("cpu",), (1, 2), (1, 64), 0.5, 10, 3, ("float32", "uint8")),
        resolution=4e-8,
        skipped=("cuda: not here",),
        baseline=Start(None, 0.3, (0.1, 0.11), {"import": 0.05}, 20_000_000, None, None),
        starts=(Start(setting, 0.5, (0.2,), {"import": 0.1, "load": 0.05, "first_item": 0.01}, None, 5, 1.25),),
        disk=(Disk("decoder", "int8", 300), Disk("decoder", "int8", 310, "uint8")),
        timings=(
            timing([1e-5, 2e-5], io="uint8"),
            timing([2e-3] * 3, batch=64, precision="int8", threads=2, way="bound"),
        ),
        pays=(Pays("decoder", "fp32", "cpu, 2 threads", "1 thread", "never", None, 0.9, "text", "uint8"),),
        settings=(
            Recommendation("decoder", "latency", Cell(setting, "bound", 1), True, "text"),
            Recommendation("decoder", "throughput", None, False, "none"),
        ),
    )
