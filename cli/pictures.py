"""Images in a terminal: a batch becomes what rich prints.

A colour terminal gets two pixels a character: U+2580, the upper half block, in the upper pixel's colour on the lower
pixel's. Pipes, dumb terminals, NO_COLOR and streams that cannot encode the block get a ramp of ASCII characters, and
not one escape code. Terminals with graphics get the pixels themselves, by `cli/raster.py`; which way it is, `cli/graphics.py`
says. This file decides how pixels become characters and how many images stand in a row; which images to show is the commands'
business.

Needs: NumPy, rich, vaekit.images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len, set_cell_size
from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from vaekit.errors import ConfigError, ShapeError
from vaekit.images import Images, Pixels, to_uint8

from . import raster
from .graphics import HALF_BLOCK, Screen, encodable, screen_for

RAMP = " .:-=+*#%@"  # black to white, in equal steps
SMALLEST_READABLE = 16  # characters that a digit needs to be told apart
GAP = 2  # columns between images; about as wide as the one line between rows is high
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as in imagefile.load_image

Codes = npt.NDArray[np.int64]
NO_CELL = -1  # a cell that belongs to no image: a space in the terminal's own colours
NO_PIXEL = 1 << 24  # the missing lower pixel of an image of odd height; colours are 24 bits


class Layout(NamedTuple):
    """Where images go, in character columns; an image is ``width`` wide and stands in the middle of its ``slot``."""

    columns: int
    gap: int
    slot: int
    width: int

    @property
    def total(self) -> int:
        """Width of a full row."""
        return self.columns * (self.slot + self.gap) - self.gap


Rows: TypeAlias = Iterator[tuple[int, Iterable[Segment]]]


class Picture:
    """A batch of images as a rich renderable: ``console.print(Picture(x))``.

    As many images stand in a row as the console is wide. In characters, images are drawn pixel for pixel and never
    enlarged; one that is too wide is scaled down by averaging areas. Kitty and Sixel graphics enlarge small images by a whole
    number, to about 16 characters, and keep a row within the screen's height. The result is never wider than the console.

    Args:
        x: Images, shape (N, C, H, W), C = 1 or 3, float, in [0, 1].
        under: Images of the same shape, each drawn right below its partner in ``x``: originals above, reconstructions
            under. Pairs stay together when rows wrap.
        captions: One short text per image or pair, printed under it and cut to its place.
        columns: Images in a row; they are scaled down until that many fit, and fewer stand in a row only on a console
            with fewer characters than that.
        screen: How images are drawn; without it, `screen_for` decides by the console when the picture is printed.

    Raises:
        ConfigError: ``columns`` is below 1, or there is not one caption per image.
        ShapeError: ``x`` is not a batch of at least one image or holds NaN, or ``under`` has another shape.
    """

    def __init__(
        self,
        x: Images,
        *,
        under: Images | None = None,
        captions: Sequence[str] | None = None,
        columns: int | None = None,
        screen: Screen | None = None,
    ) -> None:
        layers = [x] if under is None else [x, under]
        self._layers = [to_uint8(layer) for layer in layers]  # each (N, H, W, C)
        if len({layer.shape for layer in layers}) > 1:
            shapes = " above ".join(str(layer.shape) for layer in layers)
            raise ShapeError(f"Images and those under them must have one shape, got {shapes}.")
        if len(x) == 0:
            raise ShapeError("A picture needs at least one image, got a batch of none.")
        if columns is not None and columns < 1:
            raise ConfigError(f"A picture needs columns >= 1, got {columns}.")
        if captions is not None and len(captions) != len(x):
            raise ConfigError(f"A picture needs one caption per image, got {len(captions)} for {len(x)} images.")
        self._captions = None if captions is None else [_printable(caption) for caption in captions]
        self._columns = columns
        self._screen = screen
        # Rows that the terminal has, so that an animation sends each once: by first image, place and size.
        self._sent: dict[tuple[int, Layout, tuple[int, ...]], raster.KittyImage] = {}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        screen = self._screen or screen_for(console)
        layout = self._layout(options.max_width, screen)
        draw = self._pixel_rows if screen.has_pixels else self._character_rows
        for start, segments in draw(layout, screen, console, options):
            if start:
                yield Segment.line()
            yield from segments
            if self._captions is not None:
                captions = self._captions[start : start + layout.columns]
                yield Segment(_caption_line(captions, layout, options.encoding))
                yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, self._layout(options.max_width, self._screen or screen_for(console)).total)

    def _character_rows(self, layout: Layout, screen: Screen, *_: Any) -> Rows:
        """Each row's first image, and the row in characters."""
        layers = [raster.shrink(pixels, layout.width) for pixels in self._layers]
        draw = _draw_half_blocks if screen.mode == "blocks" else _draw_ramp
        for start in range(0, len(layers[0]), layout.columns):
            row = slice(start, start + layout.columns)
            yield start, chain.from_iterable(draw(pixels[row], layout) for pixels in layers)

    def _pixel_rows(self, layout: Layout, screen: Screen, console: Console, *_: Any) -> Rows:
        """Each row's first image, and the row as Kitty or Sixel graphics."""
        columns, lines = layout.width, max(1, (console.height - 2) // len(self._layers))
        if screen.mode == "sixel":
            columns = min(columns, raster.SIXEL_PIXELS // screen.cell[0])
            lines = min(lines, raster.SIXEL_PIXELS // screen.cell[1])
        layers = [raster.fitted(pixels, columns, lines, screen.cell) for pixels in self._layers]
        place = (layout.slot, layout.gap, screen.cell)
        for start in range(0, len(layers[0]), layout.columns):
            row = [pixels[start : start + layout.columns] for pixels in layers]
            if screen.mode == "sixel":
                yield start, chain.from_iterable(raster.draw_sixel(pixels, *place) for pixels in row)
                continue
            which = (start, layout, layers[0].shape)
            if which not in self._sent:
                self._sent[which] = raster.send_kitty(row, *place, console.file)
            yield start, raster.place_kitty(self._sent[which])

    def _layout(self, room: int, screen: Screen) -> Layout:
        """Fit the images into ``room`` columns: ``K * slot + (K - 1) * gap <= room``."""
        count, _, width, _ = self._layers[0].shape
        if screen.has_pixels:
            width = raster.wanted_columns(width, screen.cell)
        wanted = max([width, *map(cell_len, self._captions or ())])
        if self._columns is None:
            slot = min(room, wanted)
            columns, gap = min(count, (room + GAP) // (slot + GAP)), GAP
        else:
            columns, gap = min(count, self._columns, room), GAP
            if columns * (1 + gap) - gap > room:
                gap = 0
            slot = min(wanted, (room + gap) // columns - gap)
        return Layout(columns, gap, slot, min(width, slot))


def _draw_half_blocks(pixels: Pixels, layout: Layout) -> Iterator[Segment]:
    """One row of images (N, H, W, C): upper colour on lower colour; equal neighbours share a segment."""
    red, green, blue = np.moveaxis(np.broadcast_to(pixels, (*pixels.shape[:3], 3)).astype(np.int64), -1, 0)
    colours = red << 16 | green << 8 | blue
    if colours.shape[1] % 2:
        colours = np.pad(colours, ((0, 0), (0, 1), (0, 0)), constant_values=NO_PIXEL)
    codes = _side_by_side(colours[:, 0::2] << 25 | colours[:, 1::2], layout, NO_CELL)
    styles: dict[int, Style | None] = {NO_CELL: None}
    for line in codes:
        starts = [0, *(np.flatnonzero(line[1:] != line[:-1]) + 1).tolist(), len(line)]
        for start, end, code in zip(starts, starts[1:], line[starts[:-1]].tolist(), strict=False):
            if code not in styles:
                styles[code] = _cell_style(code)
            yield Segment((" " if code == NO_CELL else HALF_BLOCK) * (end - start), styles[code])
        yield Segment.line()


def _draw_ramp(pixels: Pixels, layout: Layout) -> Iterator[Segment]:
    """One row of images (N, H, W, C): a cell's character shows the mean luma of its upper and lower pixel."""
    luma = pixels[..., 0].astype(np.float64) if pixels.shape[-1] == 1 else pixels @ LUMA
    if luma.shape[1] % 2:
        luma = np.pad(luma, ((0, 0), (0, 1), (0, 0)), mode="edge")  # a lone upper pixel speaks for its cell
    means = (luma[:, 0::2] + luma[:, 1::2]) / 2
    levels = np.rint(means / 255 * (len(RAMP) - 1)).astype(np.int64)
    for line in _side_by_side(levels, layout, 0):  # level 0 is the space
        yield Segment("".join(RAMP[level] for level in line.tolist()).rstrip())
        yield Segment.line()


def _side_by_side(cells: Codes, layout: Layout, empty: int) -> Codes:
    """Put images' cells, shape (N, lines, width), into their slots of one row: (lines, N * (slot + gap) - gap)."""
    count, lines, width = cells.shape
    row = np.full((lines, count, layout.slot + layout.gap), empty, dtype=np.int64)
    left = (layout.slot - width) // 2
    row[:, :, left : left + width] = cells.transpose(1, 0, 2)
    row_cells = row.reshape(lines, -1)
    return row_cells[:, : row_cells.shape[1] - layout.gap]


def _cell_style(code: int) -> Style:
    # Not cached between renders: a Style remembers the escape codes of the first console that it was printed on.
    upper, lower = code >> 25, code & (NO_PIXEL | NO_PIXEL - 1)
    return Style.from_color(_colour(upper), None if lower == NO_PIXEL else _colour(lower))


@lru_cache(maxsize=4096)
def _colour(rgb: int) -> Color:
    # Color.from_rgb spends most of its time on a name in hexadecimal.
    return Color("pixel", ColorType.TRUECOLOR, triplet=ColorTriplet(rgb >> 16, rgb >> 8 & 255, rgb & 255))


def _caption_line(captions: Sequence[str], layout: Layout, encoding: str) -> str:
    cells = []
    for caption in captions:
        text = encodable(caption, encoding)
        room = max(0, layout.slot - cell_len(text))
        cells.append(set_cell_size(" " * (room // 2) + text, layout.slot))
    return (" " * layout.gap).join(cells).rstrip()


def _printable(caption: Any) -> str:
    """Keep a caption on its line, and escape codes out of the terminal."""
    return "".join(character if character.isprintable() else " " for character in str(caption))


def readable_columns(shape: tuple[int, ...], width: int, count: int) -> int:
    """Say how many images to put in a row: all of them where they stay readable, else as many as fit at full size.

    Where fewer than four fit at full size, up to four are scaled down instead.

    Args:
        shape: An item's shape; its last axis is the image's width in pixels.
        width: The terminal's width in characters.
        count: Images to show.
    """
    full = (width + GAP) // (shape[-1] + GAP)
    smaller = (width + GAP) // (min(shape[-1], SMALLEST_READABLE) + GAP)
    return max(1, full, smaller if count <= smaller else min(4, smaller))
