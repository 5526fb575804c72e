"""What `vaekit bench` shows: a bar while it runs, tables and advice afterwards.

Needs: rich.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from .console import console, error_console, one_line, print_json

if TYPE_CHECKING:
    from vaekit.runtime.bench.measure import Progress
    from vaekit.runtime.bench.results import Report, Start, Timing

GAP: Final = 2
"""Spaces between columns."""


@contextmanager
def progress(*, wanted: bool) -> Iterator[Progress]:
    """Show a bar with what is being measured and the time left; yields what moves it. On a pipe, no bar."""
    screen = console()
    if not wanted or not screen.is_terminal:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(bar_width=20), TimeRemainingColumn(compact=True), TextColumn("{task.description}"))
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("opening the bundle", total=None)
        yield lambda what, done, total: bar.update(task, description=one_line(what), completed=done, total=total)


def show(report: Report, written: Sequence[Path], *, as_json: bool) -> None:
    """Print a report: as JSON, or as tables."""
    if as_json:
        from vaekit.runtime.bench.stored import to_json

        print_json(to_json(report))
        return
    _sentence(_machine(report))
    if report.machine.busy:
        _sentence(
            f"other work was running (load {report.machine.load_before:g} on {report.machine.cores_usable} usable cores): "
            "times are longer and spread wider than on a quiet machine",
            style="yellow",
        )
    console().print()
    for half in report.plan.halves:
        timings = [timing for timing in report.timings if timing.cell.setting.half == half]
        if timings:
            _latency(half, timings)
            _throughput(half, timings)
        if any(start.setting is not None and start.setting.half == half for start in report.starts):
            _starts(report, half)
    for line in report.skipped:
        _sentence(f"left out: {line}", style="yellow")
    _advice(report)
    for path in written:
        _line(f"wrote {path}")


def stopped(report: Report, undrawn: Path | None) -> None:
    """Say that the run was interrupted, what is there, and which picture is not."""
    rounds = max((len(timing.rates) for timing in report.timings), default=0)
    starts = max((len(start.seconds) for start in report.starts), default=0)
    error_console().print(
        f"stopped after {starts} of {report.plan.starts} starts and {rounds} of {report.plan.rounds} rounds"
        f"{'' if undrawn is None else f'; no call was timed, so {one_line(undrawn)} is not drawn'}",
        style="yellow",
        markup=False,
        soft_wrap=True,
    )


def _machine(report: Report) -> str:
    machine = report.machine
    memory = "" if machine.memory is None else f", {machine.memory / 2**30:.1f} GiB"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{report.bundle} on {machine.processor}, {machine.cores_usable} of {machine.cores_machine} cores usable{memory}, "
        f"{', '.join([*machine.gpus, machine.system])}; {versions}"
    )


def _latency(half: str, timings: Sequence[Timing]) -> None:
    from vaekit.runtime.bench.units import seconds

    batch = min(timing.cell.batch for timing in timings)
    rows = []
    for timing in timings:
        if timing.cell.batch == batch:
            values = [seconds(timing.quantile(level)) for level in (0.5, 0.95, 0.99)]
            calls = f"{timing.blocks * timing.inner:,}"
            rows.append([timing.cell.name, *values, seconds(timing.first), calls])
    _table(f"{half}: time of a call at batch {batch:,}", ("p50", "p95", "p99", "first call", "calls"), rows)


def _throughput(half: str, timings: Sequence[Timing]) -> None:
    """A column a batch size: median of the rounds; and half the widest range of them."""
    from vaekit.runtime.bench.units import rate

    batches = sorted({timing.cell.batch for timing in timings})
    found: dict[str, dict[int, Timing]] = {}
    for timing in timings:
        found.setdefault(timing.cell.name, {})[timing.cell.batch] = timing
    rows = []
    for name, row in found.items():
        rates = [rate(row[batch].rate.median) if batch in row else "-" for batch in batches]
        spread = max((timing.rate.high - timing.rate.low) / (2 * timing.rate.median) for timing in row.values())
        rows.append([name, *rates, f"±{spread:.0%}"])
    _table(f"{half}: items per second, by batch size", [*(f"{batch:,}" for batch in batches), "spread"], rows)


def _starts(report: Report, half: str) -> None:
    headings = ("first item", "spread", "import", "load", "call", "peak memory", "graph on disk")
    rows = []
    disk = {(graph.half, graph.precision, graph.io): graph.bytes for graph in report.disk}
    if report.baseline is not None:
        rows.append(["`import numpy` alone", *_start(report.baseline), "-"])
    for start in report.starts:
        if start.setting is not None and start.setting.half == half:
            size = disk[half, start.setting.precision, start.setting.io]
            rows.append([start.setting.name, *_start(start), f"{size / 1e6:,.2f} MB"])
    _table(f"{half}: a new process, from its start to its first item", headings, rows)


def _start(start: Start) -> list[str]:
    from vaekit.runtime.bench.results import Spread
    from vaekit.runtime.bench.units import seconds

    whole = Spread.of(start.seconds)
    stages = [start.stages.get(name) for name in ("import", "load", "first_item")]
    return [
        seconds(whole.median),
        f"±{(whole.high - whole.low) / (2 * whole.median):.0%}",
        *("-" if stage is None else seconds(stage) for stage in stages),
        "-" if start.peak is None else f"{start.peak / 1e6:,.1f} MB",
    ]


def _advice(report: Report) -> None:
    from vaekit.runtime.bench.results import graphs_name

    several = len(report.plan.halves) > 1
    for pays in report.pays:
        _sentence(f"{pays.half + ', ' if several else ''}{graphs_name(pays.precision, pays.io)}: {pays.text}")
    for recommendation in report.settings:
        _sentence(
            f"{recommendation.half} for {recommendation.purpose}: {recommendation.text}",
            style="green" if recommendation.sure else "yellow",
        )


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table and an empty line. No value is cut: columns that the screen has no room for follow below the others.

    On a pipe all stand side by side, since nobody knows how wide the reader's screen is.

    Args:
        title: What it says.
        headings: Of the columns after the first, which has the settings.
        rows: Each setting's name and values.
    """
    screen = console()
    names = [one_line(name) for name, *_ in rows]
    first = max(map(len, ("setting", *names)))
    room = screen.width - first if screen.is_terminal else None
    columns = [(heading, [row[at] for row in rows]) for at, heading in enumerate(headings, start=1)]
    _sentence(title, style="bold")
    while columns:
        count, widths = _fitting(columns, room)
        shown, columns = columns[:count], columns[count:]
        heads = [wrap(heading, width) for (heading, _), width in zip(shown, widths, strict=True)]
        for at in range(-max(map(len, heads)), 0):  # the last lines of all headings stand on one line
            cells = [head[at] if len(head) >= -at else "" for head in heads]
            _line(_row("setting" if at == -1 else "", cells, first, widths), style="bold")
        for row, name in enumerate(names):
            _line(_row(name, [values[row] for _, values in shown], first, widths))
    screen.print()


def _fitting(columns: Sequence[tuple[str, Sequence[str]]], room: int | None) -> tuple[int, list[int]]:
    """How many columns go side by side, at least one, and how wide each is; headings are broken between words to fit more."""
    whole = [max(map(len, (heading, *values))) for heading, values in columns]
    if room is None or sum(whole) + GAP * len(whole) <= room:
        return len(columns), whole
    broken = [max(map(len, (*heading.split(), *values))) for heading, values in columns]
    ends = accumulate(GAP + width for width in broken)
    count = max(1, sum(end <= room for end in ends))
    fits = sum(whole[:count]) + GAP * count <= room
    return count, (whole if fits else broken)[:count]


def _row(name: str, cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    values = (" " * GAP + cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return name.ljust(first) + "".join(values)


def _line(text: str, style: str | None = None) -> None:
    console().print(one_line(text), style=style, markup=False, soft_wrap=True)


def _sentence(text: str, style: str | None = None) -> None:
    """Print a line that a terminal breaks between words."""
    screen = console()
    screen.print(one_line(text), style=style, markup=False, soft_wrap=not screen.is_terminal)
