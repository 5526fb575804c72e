"""What `vaekit bench` found, as records, and the JSON of `--out` and `--json`.

Times are in seconds, sizes in bytes, rates in items per second. The JSON is one object:

    format       "vaekit-bench"                     version    1
    bundle       name of the model                  bundle_bytes   all files of the bundle
    complete     false where the run was interrupted; what was measured until then is there
    machine      processor, vector_units, gpus, cores_usable, cores_machine, memory, system, load_before, load_after
                 (the one-minute load average, null where the system has none), versions (by package)
    plan         halves, precisions, io ("float32" for the plain graphs, "uint8" for the app-ready ones), providers, threads,
                 batches, seconds (for each timing), rounds, starts
    resolution   smallest step that the clock shows
    skipped      what could not be measured, each with its reason
    baseline     a start of Python with `import numpy` alone, or null
    starts       one object a setting: half, precision, provider, threads, io, and
        first        the first start, which also fills the page cache; it is in none of the other numbers
        seconds      each later one: from before the process is made until its first item is there
        stages       medians of what the child saw: import, load, first_item; the rest is Python itself
        resident     memory resident after the first item        peak   the most it ever was; null where unknown
        checksum     weighted sum of that first item, equal to what this process computed
    disk         bytes of each graph: half, precision, bytes, io
    timings      one object a setting, way and batch size: half, precision, provider, threads, io, and
        way          "call" (encode or decode, NumPy in and out), "bound" (the call that `bind` gives, whose arrays stay; on a
                     GPU the outputs stay in its memory), "graph" (all stays there, and a CUDA graph is replayed)
        batch        items a call
        inner        calls in one timed block; above 1 only where a call is too short for the clock, and then the
                     quantiles are those of blocks' means
        first        the first call of this size, apart
        blocks       timed blocks in all rounds
        quantiles    seconds a call, at `quantile_levels`
        rates        items per second of each round        medians, tails   p50 and p95 of each round, seconds a call
    quantile_levels  the levels, 0 to 1
    advice       pays: half, precision, what, over, verdict ("from", "never", "unclear"), batch (null unless "from"), gain
                 (at the largest batch size), text, io; settings: half, purpose, cell (a timing's seven names), sure, text

Reports that were written before there was `io` have none, and are of float32 graphs.

Rounds of the same number were taken within the same seconds in all timings, so compare two timings round by round.

Needs: the standard library.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

FORMAT: Final = "vaekit-bench"
VERSION: Final = 1

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

    def to_json(self) -> dict[str, Any]:
        """Give the seven names as JSON's types."""
        return {**self.setting._asdict(), "way": self.way, "batch": self.batch}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Cell:
        """Read the names."""
        return cls(_setting(value), value["way"], value["batch"])


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
    """What was measured of one cell; the module's header has the fields."""

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

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types."""
        fields = self._asdict()
        del fields["cell"]
        return {**self.cell.to_json(), **{name: _listed(value) for name, value in fields.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Timing:
        """Read the fields."""
        lists = (tuple(value[name]) for name in ("quantiles", "rates", "medians", "tails"))
        return cls(Cell.from_json(value), value["inner"], value["first"], value["blocks"], *lists)


class Start(NamedTuple):
    """What was measured of fresh processes; the module's header has the fields. The baseline has no setting."""

    setting: Setting | None
    first: float
    seconds: tuple[float, ...]
    stages: Mapping[str, float]
    resident: int | None
    peak: int | None
    checksum: float | None

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types."""
        fields = self._asdict()
        del fields["setting"]
        setting = {} if self.setting is None else self.setting._asdict()
        return {**setting, **{name: _listed(value) for name, value in fields.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Start:
        """Read the fields."""
        setting = _setting(value) if "half" in value else None
        names = ("stages", "resident", "peak", "checksum")
        return cls(setting, value["first"], tuple(value["seconds"]), *(value[name] for name in names))


class Disk(NamedTuple):
    """Bytes of one graph's file."""

    half: str
    precision: str
    bytes: int
    io: str = "float32"


class Machine(NamedTuple):
    """What the numbers were taken on; the module's header has the fields."""

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
    """From which batch size on one thing is faster than another; the module's header has the fields."""

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

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types."""
        return {**self._asdict(), "cell": self.cell and self.cell.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recommendation:
        """Read the fields."""
        cell = value["cell"] and Cell.from_json(value["cell"])
        return cls(value["half"], value["purpose"], cell, value["sure"], value["text"])


class Report(NamedTuple):
    """Everything that one run found; the module's header has the fields."""

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

    def to_json(self) -> dict[str, Any]:
        """Give the report as JSON's types."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "bundle": self.bundle,
            "bundle_bytes": self.bundle_bytes,
            "complete": self.complete,
            "machine": _plain(self.machine),
            "plan": _plain(self.plan),
            "resolution": self.resolution,
            "skipped": list(self.skipped),
            "baseline": self.baseline and self.baseline.to_json(),
            "starts": [start.to_json() for start in self.starts],
            "disk": [_plain(disk) for disk in self.disk],
            "quantile_levels": list(LEVELS),
            "timings": [timing.to_json() for timing in self.timings],
            "advice": {
                "pays": [_plain(pays) for pays in self.pays],
                "settings": [recommendation.to_json() for recommendation in self.settings],
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Report:
        """Read a report that `to_json` gave."""
        return cls(
            value["bundle"],
            value["bundle_bytes"],
            value["complete"],
            Machine(**_tuples(value["machine"])),
            Plan(**_tuples(value["plan"])),
            value["resolution"],
            tuple(value["skipped"]),
            value["baseline"] and Start.from_json(value["baseline"]),
            tuple(map(Start.from_json, value["starts"])),
            tuple(Disk(**disk) for disk in value["disk"]),
            tuple(map(Timing.from_json, value["timings"])),
            tuple(Pays(**pays) for pays in value["advice"]["pays"]),
            tuple(map(Recommendation.from_json, value["advice"]["settings"])),
        )


def graphs_name(precision: str, io: str) -> str:
    """Write what tells graphs apart as their files do: "fp32", and of those for pixels "fp32.uint8"."""
    return precision if io == "float32" else f"{precision}.{io}"


def count_of(number: int, noun: str) -> str:
    """Write "1 thread", "2 threads"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def unique(values: Iterable[str]) -> list[str]:
    """Each value once, in the order of their first places."""
    return list(dict.fromkeys(values))


def _setting(value: Mapping[str, Any]) -> Setting:
    return Setting(**{name: value[name] for name in Setting._fields if name in value})


def _plain(record: Any) -> dict[str, Any]:
    return {name: _listed(value) for name, value in record._asdict().items()}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(part) if isinstance(part, list) else part for name, part in value.items()}
