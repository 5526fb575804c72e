"""Pixels on their way to a terminal: brought to a size, and one row of a picture as Kitty or Sixel graphics.

Images are enlarged by whole numbers, each pixel a square, or made smaller by averaging areas. The codes go out as control
segments, which rich neither counts nor cuts; empty lines are what rich sees of them.

Needs: NumPy, rich; Pillow, and for Sixel textual-image, inside functions.
"""

from __future__ import annotations

import base64
import io
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from typing import IO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.segment import ControlType, Segment

from vaekit.images import Pixels, enlarge, indexed

from .terminal import HIDE_CURSOR, SHOW_CURSOR, Cell

READABLE: Final = 16
"""Characters that an image is as wide as, about: the size at which half blocks show a digit."""

SIXEL_PIXELS: Final = 1000
"""Pixels that a Sixel image is at most wide or high: a larger one is not shown by xterm, unless its maxGraphicSize is set."""

KITTY_CHUNK: Final = 4096
"""Characters of an image's data in one escape code."""

PLACED_IMAGE: Final = re.compile(r"\x1b_Ga=p,i=(\d+)")
DEFINED_COLOUR: Final = re.compile(r"(#\d+);2;\d+;\d+;\d+")

_AS_IT_IS: Final = [(ControlType.CURSOR_FORWARD, 0)]  # marks a segment as control codes; rich prints the text alone
_NUMBERS: Final = itertools.count(int.from_bytes(os.urandom(3), "big") + 1)  # those of other programs are seldom met


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

    Up to 256 colours are kept, rounded to the 101 levels that Sixel has for each of red, green and blue. The cursor is hidden
    meanwhile: xterm shows it where it happens to be between two reads, and cuts its cell out of an image that comes there.
    """
    from textual_image._sixel import (
        image_to_sixels,
    )  # the package's other modules ask the terminal when they are imported

    lines = lines_of(pixels, cell)
    left = (slot - -(-pixels.shape[2] // cell[0])) // 2
    yield Segment(HIDE_CURSOR, None, _AS_IT_IS)
    for _ in range(lines):  # makes room first: an image that begins too low would scroll away from the cursor
        yield Segment.line()
    for index, image in enumerate(pixels):
        column = index * (slot + gap) + left
        across = f"\x1b[{column}C" if column else ""
        # A colour that is defined is not yet chosen: the VT340 and xterm go on with the one before.
        sixels = DEFINED_COLOUR.sub(r"\g<0>\1", image_to_sixels(indexed(image)))
        yield Segment(f"\x1b7\x1b[{lines}A{across}{sixels}\x1b8", None, _AS_IT_IS)
    yield Segment(SHOW_CURSOR, None, _AS_IT_IS)


class KittyImage(NamedTuple):
    """A row of images that the terminal keeps, so that it is sent once however often it is placed.

    Attributes:
        number: By which the terminal knows it.
        columns: Characters that it is wide.
        lines: Characters that it is high.
    """

    number: int
    columns: int
    lines: int


def send_kitty(layers: Sequence[Pixels], slot: int, gap: int, cell: Cell, stream: IO[str]) -> KittyImage:
    """Lay one row of images, or several under each other, on one transparent sheet, and give it to the terminal."""
    from PIL import Image

    sheet = np.concatenate([_sheet(pixels, slot, gap, cell) for pixels in layers])
    height, width, _ = sheet.shape
    image = KittyImage(next(_NUMBERS), width // cell[0], height // cell[1])
    encoded = io.BytesIO()
    Image.fromarray(sheet).save(encoded, format="PNG")
    data = base64.standard_b64encode(encoded.getvalue()).decode()
    keys = f"a=t,f=100,i={image.number},"
    for start in range(0, len(data), KITTY_CHUNK):
        more = int(start + KITTY_CHUNK < len(data))
        stream.write(f"\x1b_G{keys}q=2,m={more};{data[start : start + KITTY_CHUNK]}\x1b\\")
        keys = ""
    stream.flush()
    return image


def place_kitty(image: KittyImage) -> Iterator[Segment]:
    """Show what was sent: at the cursor, not by placeholder characters, which kitty knows from 0.28 on alone."""
    for _ in range(image.lines):
        yield Segment.line()
    place = f"\x1b_Ga=p,i={image.number},c={image.columns},r={image.lines},C=1,q=2\x1b\\"
    yield Segment(f"\x1b7\x1b[{image.lines}A{place}\x1b8", None, _AS_IT_IS)


def taken_away(codes: str) -> str:
    """What removes from the screen the Kitty images that some codes placed there; the terminal keeps their pixels.

    By their numbers: when a terminal's size changes, images may stay where they are while the characters around them move.
    """
    return "".join(f"\x1b_Ga=d,d=i,i={number},q=2\x1b\\" for number in PLACED_IMAGE.findall(codes))


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
