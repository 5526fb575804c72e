"""A report of `vaekit bench` as JSON: what `--out` and `--json` give, and how it is read again.

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

from collections.abc import Mapping
from typing import Any, Final

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

FORMAT: Final = "vaekit-bench"
VERSION: Final = 1


def to_json(report: Report) -> dict[str, Any]:
    """Give a report as JSON's types."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "bundle": report.bundle,
        "bundle_bytes": report.bundle_bytes,
        "complete": report.complete,
        "machine": _plain(report.machine),
        "plan": _plain(report.plan),
        "resolution": report.resolution,
        "skipped": list(report.skipped),
        "baseline": report.baseline and _start_to_json(report.baseline),
        "starts": [_start_to_json(start) for start in report.starts],
        "disk": [_plain(disk) for disk in report.disk],
        "quantile_levels": list(LEVELS),
        "timings": [_timing_to_json(timing) for timing in report.timings],
        "advice": {
            "pays": [_plain(pays) for pays in report.pays],
            "settings": [_recommendation_to_json(recommendation) for recommendation in report.settings],
        },
    }


def from_json(value: Mapping[str, Any]) -> Report:
    """Read a report that `to_json` gave."""
    return Report(
        value["bundle"],
        value["bundle_bytes"],
        value["complete"],
        Machine(**_tuples(value["machine"])),
        Plan(**_tuples(value["plan"])),
        value["resolution"],
        tuple(value["skipped"]),
        value["baseline"] and _start(value["baseline"]),
        tuple(map(_start, value["starts"])),
        tuple(Disk(**disk) for disk in value["disk"]),
        tuple(map(_timing, value["timings"])),
        tuple(Pays(**pays) for pays in value["advice"]["pays"]),
        tuple(map(_recommendation, value["advice"]["settings"])),
    )


def _cell_to_json(cell: Cell) -> dict[str, Any]:
    """The seven names that a timing has."""
    return {**cell.setting._asdict(), "way": cell.way, "batch": cell.batch}


def _cell(value: Mapping[str, Any]) -> Cell:
    return Cell(_setting(value), value["way"], value["batch"])


def _setting(value: Mapping[str, Any]) -> Setting:
    return Setting(**{name: value[name] for name in Setting._fields if name in value})


def _timing_to_json(timing: Timing) -> dict[str, Any]:
    fields = _plain(timing)
    del fields["cell"]
    return {**_cell_to_json(timing.cell), **fields}


def _timing(value: Mapping[str, Any]) -> Timing:
    lists = (tuple(value[name]) for name in ("quantiles", "rates", "medians", "tails"))
    return Timing(_cell(value), value["inner"], value["first"], value["blocks"], *lists)


def _start_to_json(start: Start) -> dict[str, Any]:
    fields = _plain(start)
    del fields["setting"]
    setting = {} if start.setting is None else start.setting._asdict()
    return {**setting, **fields}


def _start(value: Mapping[str, Any]) -> Start:
    setting = _setting(value) if "half" in value else None
    names = ("stages", "resident", "peak", "checksum")
    return Start(setting, value["first"], tuple(value["seconds"]), *(value[name] for name in names))


def _recommendation_to_json(recommendation: Recommendation) -> dict[str, Any]:
    return {**recommendation._asdict(), "cell": recommendation.cell and _cell_to_json(recommendation.cell)}


def _recommendation(value: Mapping[str, Any]) -> Recommendation:
    cell = value["cell"] and _cell(value["cell"])
    return Recommendation(value["half"], value["purpose"], cell, value["sure"], value["text"])


def _plain(record: Any) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in record._asdict().items()}


def _tuples(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(part) if isinstance(part, list) else part for name, part in value.items()}
