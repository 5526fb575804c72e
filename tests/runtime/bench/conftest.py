"""Timings of settings that nobody measured, and a clock that goes when it is told to."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

import pytest

from vaekit.runtime.bench.results import LEVELS, Cell, Setting, Timing
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
