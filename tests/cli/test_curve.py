"""The curve of a run's loss: where its dots stand, what its axes say, and what is left of it where there is little room."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from rich.console import Console

from vaekit.cli.curve import BLOCKS, PLAIN, TEST, TRAIN, Curve, Loss, bounds, loss_line, sparkline


def shown(curve: Curve, width: int = 60, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=stream, width=width).print(curve)
    stream.flush()
    return raw.getvalue().decode(encoding).splitlines()


def dots(lines: list[str], gutter: int) -> np.ndarray:
    """Rows of braille as dots; the pattern of a character is its code point's low byte (ISO/IEC 11548-1)."""
    bits = ((0, 3), (1, 4), (2, 5), (6, 7))
    width = max(map(len, lines)) - gutter
    rows = [[ord(c) - 0x2800 if c != " " else 0 for c in line[gutter:].ljust(width)] for line in lines]
    return np.array([[code >> bits[y][x] & 1 for code in row for x in (0, 1)] for row in rows for y in range(4)])


def straight(count: int) -> list[Loss]:
    return [Loss(epoch, 100.0 + count - epoch, 100.0 + count - epoch) for epoch in range(1, count + 1)]


def test_a_straight_fall_is_a_diagonal_from_corner_to_corner() -> None:
    lines = shown(Curve(straight(9), height=6, width=16 + 4))
    found = dots(lines[1:5], 4)
    assert found.shape == (16, 32)
    expected = np.arange(32) * 15 / 31  # row 0 is the highest value
    for column in range(32):
        rows = np.flatnonzero(found[:, column])
        assert rows.size
        assert abs(rows.mean() - expected[column]) <= 1
    assert (found[0, 0], found[15, 31]) == (1, 1)


def test_the_axes_say_the_extremes_and_the_epochs() -> None:
    losses = [Loss(3, 180.5, 150.0), Loss(4, 140.0, 120.0), Loss(5, 125.0, 110.25)]
    lines = shown(Curve(losses, height=6))
    assert lines[0] == "-ELBO train 125.00 test 110.25"
    assert lines[1].startswith("180.5 ")
    assert lines[4].startswith("110.2 ") or lines[4].startswith("110.3 ")
    assert re.fullmatch(r" {6}3 +epoch +5", lines[5])
    assert len(lines) == 6


def test_both_curves_share_one_scale_and_have_their_colours() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=40, force_terminal=True, color_system="truecolor", legacy_windows=False)
    console.print(Curve([Loss(1, 10, 0), Loss(2, 10, 0)], height=6))
    lines = stream.getvalue().splitlines()
    plot = [re.findall(r"\x1b\[38;2;([\d;]+)m([\u2800-\u28ff]+)", line) for line in lines[1:5]]
    assert {colour for colour, _ in plot[0]} == {"42;133;208"}  # ten, on top: training
    assert {colour for colour, _ in plot[3]} == {"208;106;0"}  # zero, at the bottom
    assert plot[1] == plot[2] == []


@pytest.mark.parametrize("colour", [TRAIN, TEST])
def test_a_curve_can_be_read_on_black_and_on_white(colour: str) -> None:
    # Contrast as WCAG 2.2 defines it, which asks for 3 of graphics.
    levels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    luminance = np.dot([0.2126, 0.7152, 0.0722], linear)
    assert (luminance + 0.05) / 0.05 > 3
    assert 1.05 / (luminance + 0.05) > 3


def test_the_scale_takes_in_both_curves() -> None:
    assert bounds([Loss(1, 5.0, 9.0), Loss(2, 3.0, 4.0)]) == (3.0, 9.0)
    assert bounds([Loss(1, 9.0, 5.0), Loss(2, 4.0, 3.0)]) == (3.0, 9.0)


def test_a_constant_loss_and_a_single_epoch_are_a_line_in_the_middle() -> None:
    assert bounds([Loss(1, 7.0, 7.0)]) == (6.5, 7.5)
    found = dots(shown(Curve([Loss(1, 7.0, 7.0)], height=6, width=24))[1:5], 4)
    assert set(np.flatnonzero(found.any(axis=1))) <= {7, 8}


@pytest.mark.parametrize("width", range(1, 30))
def test_no_line_is_wider_than_the_console(width: int) -> None:
    lines = shown(Curve(straight(1000), height=5), width=width)
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= 5


def test_without_braille_it_is_ascii() -> None:
    lines = shown(Curve(straight(9), height=6), encoding="ascii")
    assert all(line.isascii() for line in lines)
    assert "*" in lines[1]


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 40, BLOCKS),
        ([7, 0], 40, "█▁"),
        ([5, 5, 5], 40, "▁▁▁"),
        ([0, 0, 7, 7], 2, "▁█"),  # means of equal parts
        ([1], 40, "▁"),
    ],
)
def test_a_sparkline_goes_from_the_smallest_to_the_largest_value(
    values: list[float], width: int, expected: str
) -> None:
    assert sparkline(values, width) == expected


def test_the_line_of_a_run_has_its_first_and_last_number() -> None:
    losses = [Loss(1, 0, 131.2), Loss(2, 0, 110.0), Loss(3, 0, 105.724)]
    assert loss_line(losses, 80, "utf-8") == "test -ELBO 131.20 █▂▁ 105.72"
    plain = loss_line(losses, 80, "ascii")
    assert plain == f"test -ELBO 131.20 {PLAIN[-1]}{PLAIN[1]}{PLAIN[0]} 105.72"
    assert loss_line(losses[:1], 80, "utf-8") == "test -ELBO 131.20"
    assert loss_line(losses, 20, "utf-8") == "test -ELBO 105.72"
    assert loss_line(losses[:1], 80, "utf-8", name="reconstruction") == "test reconstruction 131.20"
    for width in (30, 80, 200):
        assert len(loss_line(straight(1000), width, "utf-8")) <= min(width, 66)
