"""Where each widget stands: the image has the room that whole pixels need, and what stands beside it the rest.

Needs: the standard library.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from vaekit.spec import DataSpec

SMALLEST: Final = (60, 18)
"""Columns and lines that the screen must have."""

FACTS: Final = 4
"""Lines under the item."""


class Place(NamedTuple):
    """A widget's upper left corner and size, in columns and lines."""

    x: int
    y: int
    width: int
    height: int


def arrange(width: int, height: int, data: DataSpec, dimensions: int) -> dict[str, Place]:
    """Divide the screen: item and facts on the left, sliders and map on the right, the way from A to B below.

    Args:
        width: Columns of the screen.
        height: Its lines.
        data: What an item is.
        dimensions: How many have a slider.

    Returns:
        Places by the widgets' names; none where the screen is too small.
    """
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return {}
    room = width * 11 // 20 - 2
    wanted, body = room, height - 4  # the title, and the three lines at the bottom
    item = body - FACTS
    if data.is_chw:
        _, rows, columns = data.shape
        if scale := min(room // columns, 2 * (item - 2) // rows):
            wanted, item = columns * scale, -(-rows * scale // 2) + 2
    left = min(room, max(30, wanted)) + 2
    sliders = min(dimensions + 2, max(5, body // 2))
    return {
        "title": Place(0, 0, width, 1),
        "item": Place(0, 1, left, item),
        "facts": Place(0, 1 + item, left, FACTS),
        "sliders": Place(left, 1, width - left, sliders),
        "atlas": Place(left, 1 + sliders, width - left, body - sliders),
        "track": Place(0, height - 3, width, 1),
        "status": Place(0, height - 2, width, 1),
        "hints": Place(0, height - 1, width, 1),
    }


def too_small(width: int, height: int) -> str:
    """What a screen says that nothing fits into."""
    columns, lines = SMALLEST
    return f"vaekit explore needs a screen of {columns} x {lines} characters; this one has {width} x {height}."
