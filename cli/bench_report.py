"""What `vaekit bench` shows: a bar while it runs, tables and advice afterwards.

Needs: rich.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .console import console, error_console, one_line, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from vaekit.runtime.bench.measure import Progress
    from vaekit.runtime.bench.results import Report, Start, Timing


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
    _line(_machine(report))
    if report.machine.busy:
        _line(
            f"other work was running (load {report.machine.load_before:g} on {report.machine.cores_usable} usable cores): "
            "times are longer and spread wider than on a quiet machine",
            style="yellow",
        )
    console().print()
    for half in report.plan.halves:
        timings = [timing for timing in report.timings if timing.cell.setting.half == half]
        if timings:
            _table(_latency(half, timings))
            _table(_throughput(half, timings))
        if any(start.setting is not None and start.setting.half == half for start in report.starts):
            _table(_starts(report, half))
    for line in report.skipped:
        _line(f"left out: {line}", style="yellow")
    _advice(report)
    for path in written:
        _line(f"wrote {path}")


def stopped(report: Report) -> None:
    """Say that the run was interrupted, and what is there."""
    rounds = max((len(timing.rates) for timing in report.timings), default=0)
    starts = max((len(start.seconds) for start in report.starts), default=0)
    error_console().print(
        f"stopped after {starts} of {report.plan.starts} starts and {rounds} of {report.plan.rounds} rounds",
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


def _latency(half: str, timings: Sequence[Timing]) -> Table:
    from vaekit.runtime.bench.units import seconds

    batch = min(timing.cell.batch for timing in timings)
    table = _new(f"{half}: time of a call at batch {batch:,}", ("p50", "p95", "p99", "first call", "calls"))
    for timing in timings:
        if timing.cell.batch == batch:
            values = [seconds(timing.quantile(level)) for level in (0.5, 0.95, 0.99)]
            calls = f"{timing.blocks * timing.inner:,}"
            table.add_row(one_line(timing.cell.name), *values, seconds(timing.first), calls)
    return table


def _throughput(half: str, timings: Sequence[Timing]) -> Table:
    """A column a batch size: median of the rounds; and half the widest range of them."""
    from vaekit.runtime.bench.units import rate

    batches = sorted({timing.cell.batch for timing in timings})
    table = _new(f"{half}: items per second, by batch size", [*(f"{batch:,}" for batch in batches), "spread"])
    rows: dict[str, dict[int, Timing]] = {}
    for timing in timings:
        rows.setdefault(timing.cell.name, {})[timing.cell.batch] = timing
    for name, row in rows.items():
        rates = [rate(row[batch].rate.median) if batch in row else "-" for batch in batches]
        spread = max((timing.rate.high - timing.rate.low) / (2 * timing.rate.median) for timing in row.values())
        table.add_row(one_line(name), *rates, f"±{spread:.0%}")
    return table


def _starts(report: Report, half: str) -> Table:
    headings = ("first item", "spread", "import", "load", "call", "peak memory", "graph on disk")
    table = _new(f"{half}: a new process, from its start to its first item", headings)
    disk = {(graph.half, graph.precision, graph.io): graph.bytes for graph in report.disk}
    if report.baseline is not None:
        table.add_row("`import numpy` alone", *_start(report.baseline), "-")
    for start in report.starts:
        if start.setting is not None and start.setting.half == half:
            size = disk[half, start.setting.precision, start.setting.io]
            table.add_row(one_line(start.setting.name), *_start(start), f"{size / 1e6:,.2f} MB")
    return table


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
        _line(f"{pays.half + ', ' if several else ''}{graphs_name(pays.precision, pays.io)}: {pays.text}")
    for recommendation in report.settings:
        _line(
            f"{recommendation.half} for {recommendation.purpose}: {recommendation.text}",
            style="green" if recommendation.sure else "yellow",
        )


def _new(title: str, headings: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _table(table: Table) -> None:
    """Print a table and an empty line; on a pipe as wide as it is, since nobody knows how wide the reader's screen is."""
    screen = console()
    if not screen.is_terminal:
        screen.width = 1000
    screen.print(table)
    screen.print()


def _line(text: str, style: str | None = None) -> None:
    console().print(one_line(text), style=style, markup=False, soft_wrap=True)
