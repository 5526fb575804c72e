"""A report as a picture: throughput over the batch size, and how the time of one call is distributed.

Lines differ in colour (the palette of Okabe and Ito, which the colour-blind can tell apart), in dashes and in markers, so
that a grey print can be read too. All axes are logarithmic.

Source: Okabe & Ito 2008, Color Universal Design, jfly.uni-koeln.de/color.

Needs: matplotlib, inside functions (the extra `plots`). Must not import: torch, onnx.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from vaekit.errors import MissingDependencyError
from vaekit.runtime.bench.results import LEVELS, Report, Setting, Timing, count_of

ENDINGS: Final = (".png", ".svg")

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

MOST_LINES: Final = 8
"""Lines that one panel can carry; where there are more, those of calls with NumPy arrays are drawn alone."""


def import_matplotlib() -> Any:
    """Import matplotlib's figures.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import matplotlib
        import matplotlib.figure
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "a plot needs matplotlib; install it with `pip install 'vaekit[plots]'`, or leave --plot out."
        ) from error
    return matplotlib


def draw(report: Report) -> Any:
    """Draw a report: a row of two panels for each half.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    matplotlib = import_matplotlib()
    halves = report.plan.halves
    figure = matplotlib.figure.Figure(figsize=(12, 5 * len(halves)), layout="constrained")
    machine = report.machine
    figure.suptitle(
        f"{report.bundle} on {machine.processor}, {count_of(machine.cores_usable, 'core')}"
        f"{'' if report.complete else ' (interrupted)'}"
    )
    panels = figure.subplots(len(halves), 2, squeeze=False)
    for half, (left, right) in zip(halves, panels, strict=True):
        timings = [timing for timing in report.timings if timing.cell.setting.half == half]
        _throughput(left, half, timings)
        _latency(right, half, timings)
    return figure


def picture(report: Report, path: Path) -> bytes:
    """Give the content of a PNG or SVG file.

    Args:
        report: What to draw.
        path: The file's name; only its ending counts.
    """
    matplotlib = import_matplotlib()
    kind = path.suffix.lower().removeprefix(".")
    buffer = io.BytesIO()
    # Text stays text in an SVG, so it can be searched; and the same report gives the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vaekit"}):
        draw(report).savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {})
    return buffer.getvalue()


def _throughput(axes: Any, half: str, timings: Sequence[Timing]) -> None:
    """Median of the rounds, and a bar from the slowest to the fastest."""
    axes.set(xscale="log", yscale="log", xlabel="items a call", ylabel="items per second")
    for number, (name, line) in enumerate(_lines(timings).items()):
        rates = [timing.rate for timing in line]
        below = [rate.median - rate.low for rate in rates]
        above = [rate.high - rate.median for rate in rates]
        axes.errorbar(
            [timing.cell.batch for timing in line],
            [rate.median for rate in rates],
            yerr=[below, above],
            label=name,
            capsize=3,
            elinewidth=0.8,
            **_style(number),
        )
    axes.set_title(f"{half}: throughput (bars: slowest to fastest round)")
    batches = sorted({timing.cell.batch for timing in timings})
    axes.set_xticks(batches, [f"{batch:,}" for batch in batches], minor=False)
    axes.minorticks_off()
    _finish(axes)


def _latency(axes: Any, half: str, timings: Sequence[Timing]) -> None:
    """Part of the calls that take longer than a time, at the smallest batch size."""
    axes.set(xscale="log", yscale="log", xlabel="microseconds", ylabel="calls that take longer, %")
    smallest = min((timing.cell.batch for timing in timings), default=1)
    # The largest value has no part above it, and no place on a logarithmic axis.
    shown = [(index, 1 - level) for index, level in enumerate(LEVELS) if level < 1]
    for number, (name, line) in enumerate(_lines(timings).items()):
        for timing in line:
            if timing.cell.batch == smallest:
                axes.plot(
                    [1e6 * timing.quantiles[index] for index, _ in shown],
                    [100 * part for _, part in shown],
                    label=name,
                    **_style(number),
                )
    axes.set_title(f"{half}: time of a call at batch {smallest:,}")
    axes.set_yticks([100, 50, 10, 5, 1, 0.1], ["100", "50", "10", "5", "1", "0.1"], minor=False)
    _finish(axes)


def _lines(timings: Sequence[Timing]) -> dict[str, list[Timing]]:
    """Timings by setting and way, each by ascending batch."""
    lines: dict[tuple[Setting, str], list[Timing]] = {}
    for timing in sorted(timings, key=lambda one: one.cell.batch):
        lines.setdefault((timing.cell.setting, timing.cell.way), []).append(timing)
    if len(lines) > MOST_LINES:
        lines = {key: line for key, line in lines.items() if key[1] == "call"}
    return {f"{setting.name}, {way}": line for (setting, way), line in sorted(lines.items())}


def _style(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number % len(DASHES)],
        "linewidth": 1.5,
        "markersize": 6,
    }


def _finish(axes: Any) -> None:
    axes.grid(visible=True, which="major", linewidth=0.4, color="0.8")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")
