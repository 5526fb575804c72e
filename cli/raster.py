"""Pixels on their way to a terminal: brought to a size, and one row of a picture as Kitty or Sixel graphics.

Images are enlarged by whole numbers, each pixel a square, or made smaller by averaging areas. textual-image encodes; its
codes go out as control segments, which rich neither counts nor cuts; empty lines are what rich sees of them.

Needs: NumPy, rich; textual-image and Pillow inside functions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.color import ColorSystem
from rich.segment import ControlType, Segment

from vaekit.images import Pixels, enlarge, indexed

from .terminal import Cell

if TYPE_CHECKING:
    from PIL import Image

READABLE: Final = 16
"""Characters that an image is as wide as, about: the size at which half blocks show a digit."""

MOST_CELLS: Final = 297
"""Columns or lines of one Kitty image: its placeholders are numbered by so many diacritics."""

_AS_IT_IS: Final = [(ControlType.CURSOR_FORWARD, 0)]  # marks a segment as control codes; rich prints the text alone


def wanted_columns(width: int, cell: Cell) -> int:
    """Characters that an image of so many pixels takes at its readable enlargement."""
    return -(-width * max(1, READABLE * cell[0] // width) // cell[0])


def fitted(pixels: Pixels, columns: int, lines: int, cell: Cell) -> Pixels:
    """Enlarge images (N, H, W, C) by the largest whole number at which they fit into characters, or else shrink them."""
    _, height, width, _ = pixels.shape
    room_width, room_height = columns * cell[0], lines * cell[1]
    scale = min(room_width // width, room_height // height)
    if scale >= 1:
        return enlarge(pixels, scale)
    small = max(1, min(room_width, room_height * width // height))
    return shrink(pixels, small, min(room_height, _in_proportion(pixels, small)))


def shrink(pixels: Pixels, width: int, height: int | None = None) -> Pixels:
    """Scale images (N, H, W, C) down: a pixel is the mean of the area it covers. Without a height, the aspect ratio is kept."""
    _, old_height, old_width, _ = pixels.shape
    if width == old_width and height is None:
        return pixels
    rows = _area_weights(old_height, height or _in_proportion(pixels, width))
    columns = _area_weights(old_width, width)
    means: NDArray[np.float64] = np.einsum("yh,nhwc,xw->nyxc", rows, pixels, columns, optimize=True)
    return np.rint(means).astype(np.uint8)


def _in_proportion(pixels: Pixels, width: int) -> int:
    """Height that goes with a width."""
    height: int = round(pixels.shape[1] * width / pixels.shape[2])
    return max(1, height)


def _area_weights(old: int, new: int) -> NDArray[np.float64]:
    """Matrix (new, old) that averages: ``w[i, j]`` is the part of pixel i's span that pixel j covers; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    pixel = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return np.asarray(np.clip(overlap, 0.0, None) * (new / old))


def lines_of(pixels: Pixels, cell: Cell) -> int:
    """Lines of characters that images take."""
    return -int(-pixels.shape[1] // cell[1])


def draw_sixel(pixels: Pixels, slot: int, gap: int, cell: Cell) -> Iterator[Segment]:
    """One row of images (N, H, W, C), each in the middle of its slot, with a palette of its own.

    Up to 256 colours are kept, rounded to the 101 levels that Sixel has for each of red, green and blue.
    """
    from textual_image._sixel import (
        image_to_sixels,
    )  # the package's other modules ask the terminal when they are imported

    lines = lines_of(pixels, cell)
    left = (slot - -(-pixels.shape[2] // cell[0])) // 2
    for _ in range(lines):  # makes room first: an image that begins too low would scroll away from the cursor
        yield Segment.line()
    for index, image in enumerate(pixels):
        column = index * (slot + gap) + left
        across = f"\x1b[{column}C" if column else ""
        codes = f"\x1b7\x1b[{lines}A{across}{image_to_sixels(indexed(image))}\x1b8"
        yield Segment(codes, None, _AS_IT_IS)


def kitty_image(layers: Sequence[Pixels], slot: int, gap: int, cell: Cell) -> Any:
    """Lay one row of images, or several under each other, on one transparent sheet that the terminal gets at the first drawing.

    Returns:
        textual-image's renderable: drawn again, it costs its placeholders alone.
    """
    library = _kitty(cell)
    sheet = np.concatenate([_sheet(pixels, slot, gap, cell) for pixels in layers])
    height, width, _ = sheet.shape
    return library(_rgba(sheet), width=width // cell[0], height=height // cell[1])


def draw_kitty(image: Any, console: Any, options: Any) -> Iterator[Segment]:
    """Send what `kitty_image` made, if this was not done before, and place it."""
    for segment in image.__rich_console__(console, options):
        # The colour is the image's number: rendered here, lest rich brings it down to what it takes the terminal for.
        text = segment.style.render(segment.text.rstrip("\n"), color_system=ColorSystem.TRUECOLOR)
        yield Segment(text, None, _AS_IT_IS)
        yield Segment.line()


def _sheet(pixels: Pixels, slot: int, gap: int, cell: Cell) -> NDArray[np.uint8]:
    """Images on whole characters: (lines * cell height, columns * cell width, 4), transparent between them."""
    count, height, width, _ = pixels.shape
    sheet = np.zeros((lines_of(pixels, cell) * cell[1], (count * (slot + gap) - gap) * cell[0], 4), np.uint8)
    left = (slot - -(-width // cell[0])) // 2
    for index, image in enumerate(pixels):
        start = (index * (slot + gap) + left) * cell[0]
        sheet[:height, start : start + width] = 255
        sheet[:height, start : start + width, :3] = image
    return sheet


def _rgba(sheet: NDArray[np.uint8]) -> Image.Image:
    from PIL import Image

    return Image.fromarray(sheet)


def _kitty(cell: Cell) -> Any:
    """textual-image's Kitty renderable; the package is imported without its questions, and told a character's size."""
    module: Any = sys
    shown, module.__stdout__ = sys.__stdout__, None  # without a standard output, it does not ask when it is imported
    try:
        from textual_image.renderable.tgp import Image as Renderable
    finally:
        module.__stdout__ = shown
    from textual_image import _terminal

    _terminal.get_cell_size._result = _terminal.CellSize(*cell)  # type: ignore[attr-defined]  # where it keeps its answer
    return Renderable
