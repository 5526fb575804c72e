"""How one item is drawn, whatever it is: a grey or colour image, lines of a time series, bars of a table's row.

A `Board` is a figure whose coordinates are inches from the upper left corner, so that text, arrows and items are placed by
measure and pixels of images come out square.

Needs: NumPy; matplotlib inside functions. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from vaekit.figures.style import (
    BLUE,
    COLOURS,
    DASHES,
    DPI,
    GREY,
    INK,
    LINE,
    MARGIN,
    PALE,
    SMALL,
    WIDTH,
    heading,
    heading_height,
    new_figure,
)
from vaekit.spec import DataSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES_ASPECT: Final = 0.62
"""Height over width of a time series or a row of a table."""

MOST_LINES: Final = 6
"""Channels of a time series that are drawn."""

MOST_BARS: Final = 64
"""Values of a row that are drawn as bars; a longer row is a line."""


NARROWEST: Final = 5.5
"""Inches: a heading needs some room."""


class Look:
    """How the items of one model are drawn, on one scale for all of them.

    Args:
        data: What an item is.
        items: Items to take the scale from, (N, *shape); those without a range of their own are drawn from the smallest to the
            largest of these values, standardised by column.
    """

    def __init__(self, data: DataSpec, items: NDArray[np.float32]) -> None:
        self.data = data
        self.kind: Literal["image", "series", "row"] = (
            "image" if data.is_chw else "series" if len(data.shape) == 2 else "row"
        )
        if data.range is not None:
            self.low, self.high = data.range
        else:
            values = self.standardised(items)
            self.low, self.high = (float(bound) for bound in np.percentile(values, (0.5, 99.5)))
            if self.low == self.high:
                self.low, self.high = self.low - 1, self.high + 1
        if self.kind == "row":
            self.low, self.high = min(0.0, self.low), max(0.0, self.high)

    @property
    def aspect(self) -> float:
        """Height over width."""
        return self.data.shape[1] / self.data.shape[2] if self.kind == "image" else SERIES_ASPECT

    @property
    def is_colour(self) -> bool:
        """Whether an item is a colour image, so that a picture needs more colours than a palette has."""
        return self.kind == "image" and self.data.shape[0] == 3

    @property
    def in_words(self) -> str:
        """What stands in a cell, where it is no image."""
        if self.kind == "image":
            return "" if self.data.is_image else f"Mean of the {self.data.shape[0]} channels."
        unit = "standardised" if self.data.features else "as they are"
        if self.kind == "series":
            shown = min(MOST_LINES, self.data.shape[0])
            which = (
                "a line a channel"
                if shown == self.data.shape[0]
                else f"the first {shown} of {self.data.shape[0]} channels"
            )
            return f"Each cell is a time series, {which}, values {unit} from {self.low:.2g} to {self.high:.2g}."
        return f"Each cell is a row, its {self.data.shape[0]:,} values {unit} from {self.low:.2g} to {self.high:.2g}."

    def standardised(self, items: NDArray[np.float32]) -> NDArray[np.float64]:
        """Values of columns of different units, brought to one scale: ``(x - offset) / unit``; others as they are."""
        return np.asarray((items - self.data.offsets) / self.data.units)

    def size(self, width: float) -> tuple[float, float]:
        """Width and height of a cell, inches, at most a width; an image's pixels become whole numbers of the figure's."""
        if self.kind != "image":
            return width, width * self.aspect
        _, rows, columns = self.data.shape
        pixel = int(width * DPI / columns + 1e-6) / DPI
        return (pixel * columns, pixel * rows) if pixel else (width, width * self.aspect)

    def draw(self, axes: Axes, item: NDArray[np.float32], left: float, top: float, width: float, height: float) -> None:
        """Draw an item into a rectangle of axes whose y points down."""
        if self.kind == "image":
            pixels = item.transpose(1, 2, 0) if self.is_colour else item.mean(axis=0)
            edge = 0.02 / DPI  # a hair less than whole pixels, which rounding would make one more
            scaled = np.clip((pixels - self.low) / (self.high - self.low), 0, 1)
            axes.imshow(
                scaled, cmap="gray", vmin=0, vmax=1, extent=(left + edge, left + width - edge, top + height - edge, top + edge),
                interpolation="nearest", aspect="auto", zorder=2,
            )  # fmt: skip
            return
        frame(axes, left, top, width, height)
        inner, inset = (left + 0.04 * width, 0.92 * width), 0.06 * height

        def y(values: NDArray[np.float64]) -> NDArray[np.float64]:
            part = np.clip((values - self.low) / (self.high - self.low), 0, 1)
            return np.asarray(top + height - inset - part * (height - 2 * inset))

        values = self.standardised(item)
        if self.kind == "series" or len(values) > MOST_BARS:
            lines = values[:MOST_LINES] if self.kind == "series" else values[None]
            x = inner[0] + inner[1] * np.linspace(0, 1, lines.shape[1]) if lines.shape[1] > 1 else [left + width / 2]
            for index, line in enumerate(lines):
                style: dict[str, Any] = {"color": COLOURS[index], "linestyle": DASHES[index % len(DASHES)]}
                axes.plot(x, y(line), linewidth=1.0, marker="." if len(line) == 1 else "", zorder=3, **style)
            return
        step = inner[1] / len(values)
        zero = float(y(np.zeros(1))[0])
        axes.bar(
            inner[0] + step * (np.arange(len(values)) + 0.5), y(values) - zero, width=0.8 * step, bottom=zero,
            color=BLUE, edgecolor=INK, linewidth=0.3, zorder=3,
        )  # fmt: skip
        axes.plot([left, left + width], [zero, zero], color=GREY, linewidth=0.5, zorder=4)


def frame(axes: Axes, left: float, top: float, width: float, height: float, **look: Any) -> None:
    """Draw a rectangle's edge."""
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((left, top), width, height, **{"fill": False, "edgecolor": PALE, "linewidth": 0.8, **look})
    )


class Board:
    """A figure with a heading and one plane in inches, y pointing down.

    Args:
        width: Inches.
        height: Inches below the heading.
        title: The heading.
        subtitle: What a reader has to know.

    Attributes:
        cells: Of a sheet, each item's left, top, width and height, row by row.
    """

    def __init__(self, width: float, height: float, title: str, subtitle: str) -> None:
        self.top = heading_height(width, subtitle)
        # Whole pixels, so that every row of items has the same height on the screen.
        self.width, self.height = (round(side * DPI) / DPI for side in (width, self.top + height))
        self.figure = new_figure(width, self.height)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.cells: list[list[tuple[float, float, float, float]]] = []
        self.hold()
        heading(self.figure, title, subtitle)

    def hold(self) -> None:
        """Set the limits again after what matplotlib would fit them to."""
        self.axes.set_xlim(0, self.width)
        self.axes.set_ylim(self.height, 0)

    def item(self, look: Look, item: NDArray[np.float32], left: float, top: float, size: tuple[float, float]) -> None:
        """Draw an item; left and top are rounded to the figure's pixels."""
        look.draw(self.axes, item, round(left * DPI) / DPI, round(top * DPI) / DPI, *size)
        self.hold()  # imshow changes the limits

    def text(self, x: float, y: float, text: str, **look: Any) -> None:
        """Write something; centred on the place unless `ha` and `va` say otherwise."""
        self.axes.text(x, y, text, **{"ha": "center", "va": "center", "size": SMALL, **look})


def sheet(
    look: Look,
    rows: Sequence[NDArray[np.float32]],
    *,
    title: str,
    subtitle: str,
    names: Sequence[str] = (),
    columns: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    width: float = WIDTH,
    cell: float = 0.8,
    gap: float = 0.05,
    gaps: Sequence[float] = (),
) -> Board:
    """Lay rows of items out on a board.

    Args:
        look: How an item is drawn.
        rows: Items of each row, (K, *shape); rows may differ in length.
        title: The heading.
        subtitle: What a reader has to know.
        names: A name for each row, at its left.
        columns: A name for each column, above the first row.
        captions: Texts for each row, one below each item; an empty list for a row without.
        width: Of the figure at most, inches; it is as wide as its items and its title need.
        cell: The widest that an item may be drawn, inches.
        gap: Between items, inches.
        gaps: Additional space above each row, inches.

    Returns:
        The board, with the items drawn.
    """
    longest = max(len(row) for row in rows)
    left = MARGIN + (max(len(line) for name in names for line in name.split("\n")) * 0.078 + 0.12 if names else 0)
    wide, high = look.size(min(cell, (width - left - MARGIN - (longest - 1) * gap) / longest))
    width = min(width, max(NARROWEST, left + longest * (wide + gap) - gap + MARGIN))
    has_captions = [bool(captions and captions[row]) for row in range(len(rows))]
    extra = [gaps[row] if gaps else 0.0 for row in range(len(rows))]
    head = LINE if columns else 0.0
    height = head + sum(extra) + sum(high + gap + LINE * captioned for captioned in has_captions) + MARGIN
    board = Board(width, height, title, subtitle)
    y = board.top + head
    for index, row in enumerate(rows):
        y += extra[index]
        if names:
            board.text(left - 0.12, y + high / 2, names[index], ha="right")
        board.cells.append([(left + column * (wide + gap), y, wide, high) for column in range(len(row))])
        for column, item in enumerate(row):
            x = left + column * (wide + gap)
            board.item(look, item, x, y, (wide, high))
            if index == 0 and columns:
                board.text(x + wide / 2, y - LINE / 2, columns[column], color=GREY)
            if has_captions[index]:
                board.text(x + wide / 2, y + high + LINE / 2, captions[index][column])
        y += high + gap + LINE * has_captions[index]
    return board
