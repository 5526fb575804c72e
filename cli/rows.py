"""Rows of a table as lines of numbers, below the names of their columns where these fit.

Needs: NumPy, rich.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import NDArray
from rich.cells import cell_len

from vaekit.spec import DataSpec

from .console import one_line

MOST: Final = 8
"""Values of an item that are shown; of more the line says that there are more."""


class Rows:
    """Lines of one layout: each column as wide as its name and its values, unless that is wider than the screen.

    Args:
        items: All that will be shown, (N, *shape).
        data: What an item is.
        captions: One for each item, or fewer; the widest decides where values begin.
        width: Characters of the screen.
    """

    def __init__(self, items: NDArray[Any], data: DataSpec, captions: Sequence[str], width: int) -> None:
        names = [one_line(feature.name) for feature in data.features[:MOST]]
        shown = [_values(item) for item in items]
        self._caption = max(map(cell_len, captions), default=0)
        self._widths = [max(map(cell_len, column)) for column in zip(names, *shown, strict=True)] if names else []
        end = 2 if data.size > MOST else 0  # " …"
        if names and self._caption + 1 + sum(2 + column for column in self._widths) + end > width:
            self._widths = []
        self.header = self._line("", names, data.size) if self._widths else None
        """The names, or None where there are none or they do not fit."""

    def line(self, caption: str, item: NDArray[Any]) -> str:
        """Give one item's line."""
        if self._widths:
            return self._line(f"{caption}:", _values(item), item.size)
        return f"{caption}: {' '.join(_values(item))}{' …' if item.size > MOST else ''}"

    def _line(self, begin: str, cells: Sequence[str], size: int) -> str:
        columns = (" " * (2 + width - cell_len(cell)) + cell for width, cell in zip(self._widths, cells, strict=True))
        return f"{begin}{' ' * (self._caption + 1 - cell_len(begin))}{''.join(columns)}{' …' if size > MOST else ''}"


def _values(item: NDArray[Any]) -> list[str]:
    return [f"{value:.6g}" for value in item.reshape(-1)[:MOST]]
