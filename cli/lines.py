"""Time series as lines: a strip a channel, of braille or ASCII characters in a terminal, of pixels in a file.

One strip is a grid of dots; `strip` sets those that the line touches. A character shows 2 x 4 of them in braille, 1 x 3 in
ASCII, and a picture one a pixel. All items are drawn on the same scale, one for each channel.

Shapes: N items, D channels, T steps; h x w dots.

Needs: NumPy, rich.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from vaekit.errors import ConfigError, ShapeError
from vaekit.images import Images
from vaekit.spec import DataSpec

from .console import one_line
from .graphics import Screen, encodable

Dots = NDArray[np.bool_]

MOST_CHANNELS: Final = 6
"""Channels that are drawn; the legend says if there are more."""

NARROWEST: Final = 24
"""Characters that a line needs to be read, where several stand beside each other."""

GAP: Final = 2
LINES: Final = {"braille": 2, "ascii": 3}
"""Lines of characters a strip takes; twice as many where a series has one channel."""

BRAILLE: Final = 0x2800
BRAILLE_BITS: Final = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # (row, column) -> bit
ASCII_ROWS: Final = "'-."
"""What stands for a dot in the upper, middle and lower third of a character."""

NAMES: Final = ("cyan", "yellow", "magenta", "green", "blue", "red")
COLOURS: Final = np.array(
    [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0)], dtype=np.float32
) / np.float32(255)
"""A channel's colour in a picture on white: Okabe & Ito's palette, told apart by the colour-blind too."""

PICTURE: Final = (64, 128)
"""Height and width of a strip in a picture, pixels; a series of several channels has them on top of each other."""
MARGIN: Final = 3


def limits(*items: NDArray[np.float32]) -> NDArray[np.float64]:
    """Smallest and largest value of each channel over all items (N, D, T): (D, 2); of a constant channel, 1 to each side.

    Raises:
        ShapeError: A value is not finite.
    """
    if not all(np.isfinite(batch).all() for batch in items):
        raise ShapeError(
            "Lines are drawn of finite numbers, but the series hold NaN or infinity; check the model's output."
        )
    low = np.min([batch.min(axis=(0, 2)) for batch in items], axis=0).astype(np.float64)
    high = np.max([batch.max(axis=(0, 2)) for batch in items], axis=0).astype(np.float64)
    flat = low == high
    return np.stack([low - flat, high + flat], axis=1)


def strip(values: NDArray[Any], bounds: NDArray[np.float64], height: int, width: int) -> Dots:
    """Draw one channel of one item as a connected line.

    The line goes straight from step to step. At the value v its row of dots is ``round((h - 1) (high - v) / (high - low))``,
    and a column holds all rows from its highest to its lowest value there: no peak is lost, however long the series is.

    Args:
        values: Shape (T,).
        bounds: Lowest and highest value, (2,); what lies beyond is drawn at the edge.
        height: Rows of dots, h.
        width: Columns of dots, w.

    Returns:
        Shape (h, w).
    """
    steps = np.arange(len(values))
    level = np.clip((bounds[1] - values.astype(np.float64)) / (bounds[1] - bounds[0]), 0, 1)  # 0 is the top
    edge = np.interp(np.linspace(0, steps[-1], width + 1), steps, level)  # where the line enters and leaves the columns
    top, bottom = np.minimum(edge[:-1], edge[1:]), np.maximum(edge[:-1], edge[1:])
    column = np.minimum(steps * width // max(1, steps[-1]), width - 1)
    np.minimum.at(top, column, level)
    np.maximum.at(bottom, column, level)
    row = np.arange(height)[:, None]
    return np.asarray((row >= np.rint((height - 1) * top)) & (row <= np.rint((height - 1) * bottom)))


def strips(item: NDArray[np.float32], scale: NDArray[np.float64], height: int, width: int) -> list[Dots]:
    """Draw the first channels of one item (D, T), each in a strip of its own."""
    return [strip(item[d], scale[d], height, width) for d in range(min(len(item), MOST_CHANNELS))]


def line_images(items: NDArray[np.float32], scale: NDArray[np.float64] | None = None) -> Images:
    """Draw time series as colour images: dark lines on white, a strip a channel.

    Args:
        items: Shape (N, D, T), finite.
        scale: Bounds of each channel, (D, 2); without it, those of the items.

    Returns:
        Shape (N, 3, H, 134), float32, H = 64 times the channels drawn, and a margin of 3.
    """
    bounds = limits(items) if scale is None else scale
    height, width = PICTURE
    drawn = min(items.shape[1], MOST_CHANNELS)
    images = np.ones((len(items), 3, drawn * height + 2 * MARGIN, width + 2 * MARGIN), dtype=np.float32)
    for image, item in zip(images, items, strict=True):
        for d, dots in enumerate(strips(item, bounds, height - 4, width)):  # 4 pixels between strips
            top = MARGIN + d * height + 2
            image[:, top : top + height - 4, MARGIN : MARGIN + width][:, dots] = COLOURS[d][:, None]
    return images


class Lines:
    """Time series as a rich renderable: a legend, and each item's strips with its caption under them.

    Args:
        items: Shape (N, D, T), finite.
        data: What the channels are called.
        screen: Whether characters may be braille and in colour.
        under: Items of the same shape, each drawn right below its partner.
        captions: One short text per item.
        columns: Items in a row; fewer stand there where a console is too narrow.
        scale: Bounds of each channel, (D, 2), so that pictures that follow each other can be compared.
        legend: Whether to say which strip is which channel, and from where to where it goes.

    Raises:
        ConfigError: ``columns`` is below 1.
    """

    def __init__(
        self,
        items: NDArray[np.float32],
        data: DataSpec,
        *,
        screen: Screen,
        under: NDArray[np.float32] | None = None,
        captions: Sequence[str] | None = None,
        columns: int | None = None,
        scale: NDArray[np.float64] | None = None,
        legend: bool = True,
    ) -> None:
        if columns is not None and columns < 1:
            raise ConfigError(f"lines need columns >= 1, got {columns}.")
        self._layers = [items] if under is None else [items, under]
        self._scale = limits(*self._layers) if scale is None else scale
        self._data = data
        self._screen = screen
        self._captions = None if captions is None else [one_line(caption) for caption in captions]
        self._columns = columns
        self._legend = legend

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width
        braille = chr(BRAILLE + 1)
        kind = "ascii" if self._screen.mode == "ascii" or encodable(braille, options.encoding) != braille else "braille"
        if self._legend:
            yield Text(encodable(legend(self._data, self._scale), options.encoding))
        count = len(self._layers[0])
        fitting = max(1, (room + GAP) // (min(room, NARROWEST) + GAP))
        columns = min(count, self._columns or fitting, fitting)
        slot = (room + GAP) // columns - GAP
        for start in range(0, count, columns):
            if start:
                yield Segment.line()
            rows = range(start, min(count, start + columns))
            for layer in self._layers:
                yield from self._row([layer[row] for row in rows], kind, slot)
            if self._captions is not None:
                cells = [_centred(encodable(self._captions[row], options.encoding), slot) for row in rows]
                yield Segment((" " * GAP).join(cells).rstrip())
                yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)

    def _row(self, items: Sequence[NDArray[np.float32]], kind: str, slot: int) -> Iterator[Segment]:
        """Items beside each other: for each channel, the lines of its strip."""
        lines = LINES[kind] * (2 if items[0].shape[0] == 1 else 1)
        dots_high, dots_wide = (4 * lines, 2 * slot) if kind == "braille" else (3 * lines, slot)
        characters = _braille if kind == "braille" else _ascii
        drawn = [strips(item, self._scale, dots_high, dots_wide) for item in items]
        for channel, beside in enumerate(zip(*drawn, strict=True)):
            style = None if self._screen.mode == "ascii" else Style(color=NAMES[channel])
            for line in zip(*map(characters, beside), strict=True):
                yield Segment((" " * GAP).join(line).rstrip(), style)
                yield Segment.line()


def legend(data: DataSpec, scale: NDArray[np.float64]) -> str:
    """Names of the channels that are drawn, and their bounds: "speed 0.1 to 4.2, torque -1 to 1"."""
    names = [one_line(feature.name) for feature in data.features] or [f"channel {d}" for d in range(len(scale))]
    bounds = [
        f"{name} {low:.6g} to {high:.6g}" for name, (low, high) in zip(names, scale[:MOST_CHANNELS], strict=False)
    ]
    more = len(scale) - MOST_CHANNELS
    return ", ".join(bounds) + (f"; {more} more channels are not drawn" if more > 0 else "")


def _braille(dots: Dots) -> list[str]:
    """Dots (4 h, 2 w) as h lines of w braille characters; a blank one is a space."""
    cells = dots.reshape(len(dots) // 4, 4, -1, 2).transpose(0, 2, 1, 3)  # (h, w, 4, 2)
    codes = (cells * BRAILLE_BITS).sum(axis=(2, 3))
    return ["".join(chr(BRAILLE + code) if code else " " for code in line) for line in codes.tolist()]


def _ascii(dots: Dots) -> list[str]:
    """Dots (3 h, w) as h lines of w ASCII characters: "|" where a line passes more than one of the three."""
    cells = dots.reshape(len(dots) // 3, 3, -1).transpose(0, 2, 1)  # (h, w, 3)
    return [
        "".join(" " if not cell.any() else "|" if cell.sum() > 1 else ASCII_ROWS[int(cell.argmax())] for cell in line)
        for line in cells
    ]


def _centred(text: str, width: int) -> str:
    return set_cell_size(" " * (max(0, width - cell_len(text)) // 2) + text, width)
