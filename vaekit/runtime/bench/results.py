"""What `vaekit bench` found, as records; `stored` says what each field means, and writes them as JSON.

Times are in seconds, sizes in bytes, rates in items per second.

Needs: the standard library.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

LEVELS: Final = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Levels of the quantiles that are kept."""


class Setting(NamedTuple):
    """One way to open a half of a bundle."""

    half: str
    precision: str
    provider: str
    threads: int
    io: str = "float32"

    @property
    def name(self) -> str:
        """For people who know which half it is: "fp32 cpu, 2 threads", "fp32.uint8 cpu, 2 threads"."""
        return f"{graphs_name(self.precision, self.io)} {self.provider}, {count_of(self.threads, 'thread')}"

    @property
    def text(self) -> str:
        """For people: "decoder fp32 cpu, 2 threads"."""
        return f"{self.half} {self.name}"


class Cell(NamedTuple):
    """One setting, called in one way, at one batch size."""

    setting: Setting
    way: str
    batch: int

    @property
    def text(self) -> str:
        """For people: "decoder fp32 cpu, 2 threads, bound, batch 64"."""
        return f"{self.setting.text}, {self.way}, batch {self.batch:,}"

    @property
    def name(self) -> str:
        """What it is, whatever the half and the batch: "fp32 cpu, 2 threads, bound"."""
        return f"{self.setting.name}, {self.way}"


class Spread(NamedTuple):
    """Lowest, median and highest of some values."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        return cls(min(values), statistics.median(values), max(values))


class Timing(NamedTuple):
    """What was measured of one cell; `stored` says what its fields mean."""

    cell: Cell
    inner: int
    first: float
    blocks: int
    quantiles: tuple[float, ...]
    rates: tuple[float, ...]
    medians: tuple[float, ...]
    tails: tuple[float, ...]

    def quantile(self, level: float) -> float:
        """Seconds a call at one of `LEVELS`."""
        return self.quantiles[LEVELS.index(level)]

    @property
    def rate(self) -> Spread:
        """Items per second: the median round, the slowest and the fastest."""
        return Spread.of(self.rates)


class Start(NamedTuple):
    """What was measured of fresh processes; `stored` says what its fields mean. The baseline has no setting."""

    setting: Setting | None
    first: float
    seconds: tuple[float, ...]
    stages: Mapping[str, float]
    resident: int | None
    peak: int | None
    checksum: float | None


class Disk(NamedTuple):
    """Bytes of one graph's file."""

    half: str
    precision: str
    bytes: int
    io: str = "float32"


class Machine(NamedTuple):
    """What the numbers were taken on; `stored` says what its fields mean."""

    processor: str
    vector_units: tuple[str, ...]
    gpus: tuple[str, ...]
    cores_usable: int
    cores_machine: int
    memory: int | None
    system: str
    load_before: float | None
    load_after: float | None
    versions: Mapping[str, str]

    @property
    def busy(self) -> bool:
        """Whether other work had more than a quarter of the usable cores when the run began."""
        return self.load_before is not None and self.load_before > 0.25 * self.cores_usable


class Plan(NamedTuple):
    """What is measured, and for how long; `vaekit.runtime.bench.plan` makes it and checks it.

    Attributes:
        halves: "decoder", "encoder" or both.
        precisions: Of the bundle's.
        providers: Short names.
        threads: Thread counts, ascending.
        batches: Batch sizes, ascending.
        seconds: Time for each cell, warm-up included.
        rounds: Rounds in which that time is spent.
        starts: Processes started for each setting, besides the first.
        io: "float32", "uint8" or both; a precision that has no app-ready graphs is measured without.
    """

    halves: tuple[str, ...]
    precisions: tuple[str, ...]
    providers: tuple[str, ...]
    threads: tuple[int, ...]
    batches: tuple[int, ...]
    seconds: float
    rounds: int
    starts: int
    io: tuple[str, ...] = ("float32",)


class Pays(NamedTuple):
    """From which batch size on one thing is faster than another; `stored` says what its fields mean."""

    half: str
    precision: str
    what: str
    over: str
    verdict: str
    batch: int | None
    gain: float
    text: str
    io: str = "float32"


class Recommendation(NamedTuple):
    """A cell to take for a purpose, or None where the numbers do not decide."""

    half: str
    purpose: str
    cell: Cell | None
    sure: bool
    text: str


class Report(NamedTuple):
    """Everything that one run found; `stored` says what its fields mean."""

    bundle: str
    bundle_bytes: int
    complete: bool
    machine: Machine
    plan: Plan
    resolution: float
    skipped: tuple[str, ...]
    baseline: Start | None
    starts: tuple[Start, ...]
    disk: tuple[Disk, ...]
    timings: tuple[Timing, ...]
    pays: tuple[Pays, ...]
    settings: tuple[Recommendation, ...]

    def timing(self, cell: Cell) -> Timing | None:
        """The timing of a cell, or None where it was not measured."""
        return next((timing for timing in self.timings if timing.cell == cell), None)


def graphs_name(precision: str, io: str) -> str:
    """Write what tells graphs apart as their files do: "fp32", and of those for pixels "fp32.uint8"."""
    return precision if io == "float32" else f"{precision}.{io}"


def count_of(number: int, noun: str) -> str:
    """Write "1 thread", "2 threads"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def unique(values: Iterable[str]) -> list[str]:
    """Each value once, in the order of their first places."""
    return list(dict.fromkeys(values))
