"""The pictures: what is drawn is what was measured, and every line can be told from the others without colour."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vaekit.errors import MissingDependencyError
from vaekit.runtime.bench.plot import COLOURS, MOST_LINES, draw, picture
from vaekit.runtime.bench.results import LEVELS, Machine, Plan, Report

pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra [plots])")


def report_of(timings: list[Any], halves: tuple[str, ...] = ("decoder",), *, complete: bool = True) -> Report:
    machine = Machine("Example CPU", (), (), 2, 2, None, "a system", None, None, {})
    plan = Plan(halves, ("fp32",), ("cpu",), (1, 2), (1, 64), 1.0, 6, 0)
    return Report("small", 1, complete, machine, plan, 1e-8, (), None, (), (), tuple(timings), (), ())


def grid(timing: Callable[..., Any], threads: tuple[int, ...] = (1, 2), half: str = "decoder") -> list[Any]:
    return [
        timing([batch * n * 1e-6, batch * n * 2e-6, batch * n * 3e-6], batch=batch, threads=n, way=way, half=half)
        for n in threads
        for way in ("call", "bound")
        for batch in (1, 64, 1024)
    ]


def line_of(axes: Any, label: str) -> Any:
    handles, labels = axes.get_legend_handles_labels()
    handle = handles[labels.index(label)]
    return getattr(handle, "lines", (handle,))[0]


def test_throughput_is_drawn_over_the_batch_size(timing: Callable[..., Any]) -> None:
    left, right = draw(report_of(grid(timing))).axes
    line = line_of(left, "fp32 cpu, 2 threads, bound")
    assert list(line.get_xdata()) == [1, 64, 1024]
    np.testing.assert_allclose(
        np.asarray(line.get_ydata(), float), 1 / (2 * 2e-6)
    )  # the median round takes 2 us an item and thread
    for axes in (left, right):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert axes.get_xlabel()
        assert axes.get_ylabel()
    assert [label.get_text() for label in left.get_xticklabels()] == ["1", "64", "1,024"]


def test_graphs_for_pixels_have_lines_of_their_own(timing: Callable[..., Any]) -> None:
    timings = [
        timing([batch * factor * 1e-6] * 3, batch=batch, io=io)
        for io, factor in (("float32", 1), ("uint8", 4))
        for batch in (1, 64)
    ]
    for axes in draw(report_of(timings)).axes:
        assert axes.get_legend_handles_labels()[1] == ["fp32 cpu, 1 thread, call", "fp32.uint8 cpu, 1 thread, call"]
    line = line_of(draw(report_of(timings)).axes[0], "fp32.uint8 cpu, 1 thread, call")
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), 1 / 4e-6)


def test_the_part_of_calls_that_take_longer_is_drawn_over_the_time(timing: Callable[..., Any]) -> None:
    times = list(np.random.default_rng(0).lognormal(-10, 1, 500))
    axes = draw(report_of([timing(times)])).axes[1]
    line = line_of(axes, "fp32 cpu, 1 thread, call")
    for level, time, part in zip(LEVELS, line.get_xdata(), line.get_ydata(), strict=False):
        assert time == pytest.approx(1e6 * np.quantile(times, level))
        assert part == pytest.approx(100 * (1 - level))


def test_lines_differ_in_dashes_and_markers_too(timing: Callable[..., Any]) -> None:
    for axes in draw(report_of(grid(timing, (1, 2, 4, 8)))).axes:
        handles, _ = axes.get_legend_handles_labels()
        lines = [getattr(handle, "lines", (handle,))[0] for handle in handles]
        styles = {(str(line.get_linestyle()), line.get_marker()) for line in lines}
        assert len(styles) == len(lines) == MOST_LINES
        markers = {line.get_marker() for line in lines}
        assert len(markers) == MOST_LINES
        assert len({dashes for dashes, _ in styles}) >= 4  # matplotlib calls all patterns of one's own dashed


def test_the_colours_are_those_of_okabe_and_ito() -> None:
    # Okabe & Ito 2008, as RGB: blue, vermilion, bluish green, reddish purple, orange, sky blue, black
    rgb = [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (0, 0, 0)]
    assert [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS] == rgb


def test_where_there_are_too_many_lines_calls_are_drawn_alone(timing: Callable[..., Any]) -> None:
    axes = draw(report_of(grid(timing, (1, 2, 4, 8, 16)))).axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert len(labels) == 5
    assert all(label.endswith("call") for label in labels)


def test_each_half_has_its_own_row(timing: Callable[..., Any]) -> None:
    figure = draw(report_of(grid(timing) + grid(timing, half="encoder"), ("encoder", "decoder")))
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == ["encoder", "encoder", "decoder", "decoder"]


def test_a_png_is_a_picture_with_dark_lines_on_white(timing: Callable[..., Any]) -> None:
    image = Image.open(io.BytesIO(picture(report_of(grid(timing)), Path("bench.PNG"))))
    assert image.format == "PNG"
    pixels = np.asarray(image.convert("L"))
    assert pixels.shape[1] > 1500
    assert pixels[0, 0] == 255
    assert 0.005 < (pixels < 128).mean() < 0.2


def test_an_svg_keeps_its_text_and_the_same_report_gives_the_same_bytes(timing: Callable[..., Any]) -> None:
    first, second = (picture(report_of(grid(timing)), Path("bench.svg")) for _ in range(2))
    text = first.decode()
    for words in ("fp32 cpu, 2 threads, bound", "items per second", "microseconds", "small on Example CPU, 2 cores"):
        assert words in text
    assert first == second


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_an_interrupted_report_is_drawn_and_says_so(timing: Callable[..., Any], ending: str) -> None:
    for timings in ([], [timing([1e-5])]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            content = picture(report_of(timings, complete=False), Path(f"bench.{ending}"))
        assert len(content) > 1000
    assert "(interrupted)" in draw(report_of([], complete=False)).get_suptitle()


def test_without_matplotlib_the_message_is_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = r"a plot needs matplotlib; install it with `pip install 'vaekit\[plots\]'`, or leave --plot out\."
    with pytest.raises(MissingDependencyError, match=message):
        draw(report_of([]))
