"""The loss of a run as a small curve: braille dots with numbers on its axes, or one line of block characters.

Needs: NumPy, rich.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from .graphics import encodable
from .lines import BRAILLE, BRAILLE_BITS, strip

BLOCKS: Final = "▁▂▃▄▅▆▇█"
PLAIN: Final = "_.-=*#"
"""What stands for the blocks where a stream cannot encode them."""

TRAIN, TEST = "#2a85d0", "#d06a00"
"""A blue and an orange for black and for white; on one, a terminal's own blue is hard to read, on the other its yellow."""
SMALLEST: Final = (20, 3)
"""Characters and lines below which a curve says nothing."""


class Loss(NamedTuple):
    """An epoch's negative ELBO, in nats an item.

    Attributes:
        epoch: 1 for the first.
        train: While training.
        test: On the test items after it.
    """

    epoch: int
    train: float
    test: float


class Curve:
    """Negative ELBO by epoch as a rich renderable: a title with the last numbers, the two curves, and the epochs' axis.

    Both curves have one scale, from the smallest to the largest value so far; the axis has these two numbers. Where the curves
    share a character, it has the colour of the test items.

    Args:
        losses: Epochs in order, at least one.
        height: Lines, title and axis included, from 3 on.
        width: Characters; without it, as many as the console has.
        name: What the numbers are.
    """

    def __init__(self, losses: Sequence[Loss], *, height: int, width: int | None = None, name: str = "-ELBO") -> None:
        self._losses = losses
        self._name = name
        self._height = max(SMALLEST[1], height)
        self._width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = min(options.max_width, self._width or options.max_width)
        last = self._losses[-1]
        title = Text.assemble((f"train {last.train:.2f}", TRAIN), " ", (f"test {last.test:.2f}", TEST))
        if room >= cell_len(title.plain) + len(self._name) + 1:
            title = Text(f"{self._name} ").append_text(title)
        yield _cut(title, room)
        low, high = bounds(self._losses)
        numbers = [f"{high:.4g}", f"{low:.4g}"]
        gutter = max(map(len, numbers)) + 1
        lines = self._height - 2
        plot = room - gutter
        if plot < 2:
            return
        braille = encodable(chr(BRAILLE), options.encoding) == chr(BRAILLE)
        drawn = [
            _drawn([getattr(loss, part) for loss in self._losses], (low, high), lines, plot, braille)
            for part in ("train", "test")
        ]
        for row in range(lines):
            number = numbers[0] if row == 0 else numbers[1] if row == lines - 1 else ""
            line = Text.assemble((f"{number:>{gutter - 1}} ", "dim"), no_wrap=True)
            yield line.append_text(_line(drawn[0][row], drawn[1][row], braille))
        first, now = str(self._losses[0].epoch), str(last.epoch)
        label = "epoch" if plot >= len(first) + len(now) + 8 else ""
        axis = f"{first}{label:^{max(1, plot - len(first) - len(now))}}{now}"
        yield _cut(Text(" " * gutter + axis, "dim"), room)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        room = min(options.max_width, self._width or options.max_width)
        return Measurement(min(SMALLEST[0], room), room)


def bounds(losses: Sequence[Loss]) -> tuple[float, float]:
    """Smallest and largest value of both curves; where they are one, half a nat to each side."""
    values = [value for loss in losses for value in (loss.train, loss.test)]
    low, high = min(values), max(values)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def loss_name(kind: str) -> str:
    """What the loss of a kind of model is called; an autoencoder has no ELBO."""
    return "-ELBO" if kind == "vae" else "reconstruction"


def sparkline(values: Sequence[float], width: int, *, levels: str = BLOCKS) -> str:
    """Draw values as one line of characters, the smallest as the first of the levels and the largest as the last.

    A value v becomes level ``round((n - 1) (v - low) / (high - low))``; more values than characters are means of equal parts.

    Args:
        values: Finite, at least one.
        width: Most characters.
        levels: The n characters, from low to high.
    """
    parts = [part.mean() for part in np.array_split(np.asarray(values, np.float64), min(width, len(values)))]
    low, high = min(parts), max(parts)
    scale = (len(levels) - 1) / (high - low) if high > low else 0.0
    return "".join(levels[round((part - low) * scale)] for part in parts)


def loss_line(losses: Sequence[Loss], room: int, encoding: str, *, name: str = "-ELBO") -> str:
    """The run's test loss in one line, "test -ELBO 131.20 █▄▂▁ 105.72", or the last number where that is too long."""
    values = [loss.test for loss in losses]
    levels = BLOCKS if encodable(BLOCKS, encoding) == BLOCKS else PLAIN
    before, after = f"test {name} {values[0]:.2f}", f"{values[-1]:.2f}"
    left = min(room - len(before) - len(after) - 2, 40)
    if len(values) < 2 or left < 2:
        return f"test {name} {after}"
    return f"{before} {sparkline(values, left, levels=levels)} {after}"


def _drawn(
    values: Sequence[float], limits: tuple[float, float], lines: int, width: int, braille: bool
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """One curve's characters, (lines, width): braille patterns of its dots, or whether there is one."""
    tall, wide = (4, 2) if braille else (1, 1)
    dots = strip(np.asarray(values), np.asarray(limits), lines * tall, width * wide)
    cells = dots.reshape(lines, tall, width, wide).transpose(0, 2, 1, 3)
    weights = BRAILLE_BITS if braille else np.ones((1, 1), np.int64)
    return np.asarray((cells * weights).sum(axis=(2, 3)), np.int64)


def _line(train: Sequence[int], test: Sequence[int], braille: bool) -> Text:
    """A line of both curves."""
    line = Text(no_wrap=True)
    for a, b in zip(train, test, strict=True):
        character = " " if not a | b else chr(BRAILLE | int(a | b)) if braille else "*" if b else "o"
        line.append(character, TEST if b else TRAIN if a else None)
    return line


def _cut(text: Text, room: int) -> Text:
    text.no_wrap = True
    if cell_len(text.plain) > room:
        text.truncate(room)
    return text
