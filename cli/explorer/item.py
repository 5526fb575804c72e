"""The decoded item: an image in half blocks, a time series as lines, a row of a table as bars.

An image is enlarged by the largest whole number that its room allows, each pixel a square, or made smaller by averaging
areas. Its colours are the pixels' own, in any theme.

Needs: NumPy, rich, textual.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, zip_longest
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.filter import ANSIToTruecolor, LineFilter
from textual.strip import Strip

from vaekit.explorer.saving import in_unit_interval
from vaekit.images import Pixels, to_uint8
from vaekit.spec import DataSpec

from ..graphics import HALF_BLOCK, Screen
from ..lines import Lines
from ..raster import fitted
from .drawn import Drawn
from .sliders import signed

CELL: Final = (1, 2)
"""Pixels of a character: one wide, two high."""

MOST_STYLES: Final = 1 << 16
"""Styles that are remembered: a grey image has no more pairs of pixels."""

Bounds = NDArray[np.float64]


class Pairs(dict[int, Style]):
    """The style of each pair of pixels that was met: the upper one's colour on the lower one's."""

    def __missing__(self, code: int) -> Style:
        """A pair that is new."""
        if len(self) >= MOST_STYLES:
            self.clear()
        style = self[code] = Style.from_color(_colour(code >> 24), _colour(code & 0xFFFFFF))
        return style


class ItemView(Drawn):
    """Shows one item, and draws those lines again that differ from the last item's.

    Args:
        data: What items are.
        bounds: Smallest and largest value of each of an item's first axis, (D, 2): where lines and bars end.
    """

    DEFAULT_CSS = """
    ItemView > .item--name { color: $text-muted; }
    ItemView > .item--bar { color: $accent; }
    ItemView > .item--track { color: $foreground 25%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"item--name", "item--bar", "item--track"}

    def __init__(self, data: DataSpec, bounds: Bounds) -> None:
        super().__init__(id="item")
        self._data = data
        self._bounds = bounds
        self._item: NDArray[np.float32] | None = None
        self._strips: list[Strip] | None = None
        self._rows: dict[bytes, Strip] = {}  # the image's lines by their pixels
        self._pairs = Pairs()
        self._new = False
        self.drawn = 0
        """How often a change was drawn onto the screen; benchmarks and tests wait for it."""

    def show_item(self, item: NDArray[np.float32]) -> None:
        """Show another item, (*data shape)."""
        self._item = np.nan_to_num(item)  # a copy; a model may give anything, and pixels are numbers
        self._new = True
        before = self._strips
        if before is None:
            self.refresh()
            return
        self._strips = self._draw()
        pairs = zip_longest(before, self._strips)
        self.redraw(line for line, (old, new) in enumerate(pairs) if old is not new and old != new)

    def on_resize(self) -> None:
        """Draw for another room."""
        self._forget()
        self.refresh()

    def notify_style_update(self) -> None:
        """Draw in another theme's colours."""
        self._forget()
        super().notify_style_update()

    def _forget(self) -> None:
        self._strips = None
        self._rows.clear()

    def render_line(self, y: int) -> Strip:
        """One line of the item."""
        if self._strips is None:
            self._strips = self._draw()
        if self._new:
            self._new = False
            self.drawn += 1
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.look())

    def _draw(self) -> list[Strip]:
        if self._item is None or min(self.size) < 1:
            return []
        if self._data.is_chw:
            return self._image(self._item)
        return self._series(self._item) if len(self._data.shape) == 2 else self._row(self._item)

    def _image(self, item: NDArray[np.float32]) -> list[Strip]:
        if not self._data.is_image:  # two channels, or many: the first as grey
            item = item[:1]
        pixels = to_uint8(in_unit_interval(item, self._data)[None])
        width, height = self.size
        codes = half_blocks(fitted(pixels, width, height, CELL)[0])
        before, self._rows = self._rows, {}
        for row in codes:
            key = row.tobytes()
            if key not in self._rows:
                self._rows[key] = before.get(key) or self._line(row.tolist(), width)
        blank = Strip.blank(width, self.look())
        return [blank] * ((height - len(codes)) // 2) + [self._rows[row.tobytes()] for row in codes]

    def _line(self, codes: list[int], width: int) -> Strip:
        """A line of half blocks in the middle of the room; neighbours of one pair of pixels share a segment."""
        free, pairs = width - len(codes), self._pairs
        left, right = (Segment(" " * size, self.look()) for size in (free // 2, free - free // 2))
        blocks = [Segment(HALF_BLOCK * len(list(same)), pairs[code]) for code, same in groupby(codes)]
        return Strip([left, *blocks, right], width)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's, but for an image that of ANSI colours, of which it has none."""
        filters = super().get_line_filters()
        return [f for f in filters if not isinstance(f, ANSIToTruecolor)] if self._data.is_chw else filters

    def _series(self, item: NDArray[np.float32]) -> list[Strip]:
        """A strip a channel; what its numbers are stands in the legend."""
        values = item[None]
        lines = Lines(values, self._data, screen=Screen("blocks"), columns=1, scale=self._bounds)
        console = self.app.console
        rendered = console.render_lines(lines, console.options.update_width(self.size.width), style=self.look())
        return [Strip(segments) for segments in rendered]

    def _row(self, item: NDArray[np.float32]) -> list[Strip]:
        """A line a column: its name, its value, and where that lies between the data's smallest and largest."""
        names = [feature.name for feature in self._data.features] or [f"x{column}" for column in range(len(item))]
        height = self.size.height
        shown = len(item) if len(item) <= height else height - 1
        widest = max(4, min(16, max(map(len, names[:shown]), default=4)))
        strips = [self._bar(names[d], float(item[d]), self._bounds[d], widest) for d in range(shown)]
        if shown < len(item):
            more = f"… and {len(item) - shown} more"
            strips.append(Strip([Segment(more, self.look("item--name"))]).extend_cell_length(1))
        return [strip.adjust_cell_length(self.size.width, self.look()) for strip in strips]

    def _bar(self, name: str, value: float, bounds: Sequence[float] | Bounds, widest: int) -> Strip:
        number = signed(value) if abs(value) < 1e4 else f"{value:.3g}"
        room = max(1, self.size.width - widest - 12)
        low, high = float(bounds[0]), float(bounds[1])
        level = min(1.0, max(0.0, (value - low) / (high - low)))
        filled = round(level * room)
        return Strip(
            [
                Segment(f"{name[:widest]:<{widest}} ", self.look("item--name")),
                Segment(f"{number:>10} ", self.look()),
                Segment("━" * filled, self.look("item--bar")),
                Segment("─" * (room - filled), self.look("item--track")),
            ]
        )


def half_blocks(pixels: Pixels) -> NDArray[np.int64]:
    """Two pixels a character, (H, W, C) -> (ceil(H / 2), W): ``upper << 24 | lower``, each ``r << 16 | g << 8 | b``."""
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.int64)
    colours = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    if len(colours) % 2:
        colours = np.concatenate([colours, colours[-1:]])  # a lone last line is as high as two
    return np.asarray(colours[0::2] << 24 | colours[1::2])


@lru_cache(1024)
def _colour(rgb: int) -> Color:
    return Color.from_rgb(rgb >> 16, rgb >> 8 & 255, rgb & 255)


def bounds_of(items: NDArray[np.float32]) -> Bounds:
    """Smallest and largest value of each place on items' first axis, (N, D, ...) -> (D, 2); of a constant, 1 to each side."""
    flat = items.reshape(*items.shape[:2], -1).astype(np.float64)
    low, high = flat.min(axis=(0, 2)), flat.max(axis=(0, 2))
    same = low == high
    return np.stack([low - same, high + same], axis=1)
