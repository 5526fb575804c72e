"""The map: posterior means of items as braille dots in the colour of their label, and where the shown code stands.

A character has 2 x 4 dots, and the colour of the label that has most of them. Under the map stand the labels.

Needs: NumPy, rich, textual.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region
from textual.strip import Strip

from vaekit.explorer.landscape import Landscape, Plane

from ..console import one_line
from .drawn import Drawn, at_once
from .sliders import LARGE, SMALL

FEWEST_LETTERS: Final = 3
"""A label's name is not cut below so many columns."""

BRAILLE: Final = 0x2800
BITS: Final = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # (row, column) -> bit

ON_DARK: Final = (
    *("#4fa3ff", "#ff9f40", "#43d18d", "#ff6b6b", "#c58bff"),
    *("#d6a36f", "#ff8fd0", "#b8c0cc", "#dede4a", "#3fd9e6"),
)
ON_LIGHT: Final = (
    *("#005fb8", "#b35900", "#007a45", "#c4161c", "#7b2fbe"),
    *("#7a4a1e", "#b0197e", "#586069", "#6f6f00", "#007a87"),
)
"""Colours of labels on a dark and on a light ground; from the eleventh label on they come again."""

HERE: Final = "◉"
MARGIN: Final = 0.04
"""Part of the map that stays free around the items."""


class Sign(NamedTuple):
    """What marks a code on the map.

    Attributes:
        text: One character.
        part: Its component class.
    """

    text: str
    part: str


class Atlas(Drawn, can_focus=True):
    """The map of a landscape.

    Args:
        landscape: The items, or None.
        reason: What to say where there is no landscape.
        walked: Called with how far the code is to move in the plane, to the right and up.
        jumped: Called with the place of the plane where the code is to stand.
        settled: Called when a drag has ended.
    """

    DEFAULT_CSS = """
    Atlas > .atlas--plain { color: $accent; }
    Atlas > .atlas--muted { color: $text-muted; }
    Atlas > .atlas--here { color: $text; text-style: bold reverse; }
    Atlas > .atlas--pin { color: $text; text-style: bold; background: $primary 40%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"atlas--{part}" for part in ("plain", "muted", "here", "pin")}
    BINDINGS: ClassVar[list[BindingType]] = at_once(
        ("left", f"walk(-{SMALL}, 0)"),
        ("right", f"walk({SMALL}, 0)"),
        ("up", f"walk(0, {SMALL})"),
        ("down", f"walk(0, -{SMALL})"),
        ("shift+left", f"walk(-{LARGE}, 0)"),
        ("shift+right", f"walk({LARGE}, 0)"),
        ("shift+up,pageup", f"walk(0, {LARGE})"),
        ("shift+down,pagedown", f"walk(0, -{LARGE})"),
    )

    def __init__(
        self,
        landscape: Landscape | None,
        reason: str,
        walked: Callable[[float, float], None],
        jumped: Callable[[tuple[float, float]], None],
        settled: Callable[[], None],
    ) -> None:
        super().__init__(id="atlas")
        self._landscape = landscape
        self._reason = reason
        self._walked = walked
        self._jumped = jumped
        self._settled = settled
        self._plane: Plane | None = None
        self._ground: tuple[object, list[Strip]] | None = None
        self._places: NDArray[np.float64] = np.zeros((0, 2))
        self._window = np.array([[-1.0, -1.0], [1.0, 1.0]])  # lower left and upper right corner
        self._codes: list[tuple[NDArray[np.float32], Sign]] = []
        self._signs: dict[tuple[int, int], Sign] = {}  # by column and line
        self._dragging = False
        self._names: list[int] = []

    def on_mount(self) -> None:
        """Know the labels."""
        if self._landscape is not None and self._landscape.labels is not None:
            self._names = [int(label) for label in np.unique(self._landscape.labels)]

    def show_plane(self, plane: Plane) -> None:
        """Show the items on another plane."""
        if self._landscape is None or plane is self._plane:
            return
        self._plane = plane
        self._places = self._landscape.places(plane)
        low, high = self._places.min(axis=0), self._places.max(axis=0)
        size = np.where(high > low, high - low, 1.0)
        self._window = np.stack([low - MARGIN * size, high + MARGIN * size])
        self.refresh()

    def show_codes(self, here: NDArray[np.float32], pins: Sequence[tuple[str, NDArray[np.float32] | None]]) -> None:
        """Show where codes stand: the one that is decoded, and those that are pinned."""
        if self._plane is not None:
            self._codes = [(z, Sign(name, "atlas--pin")) for name, z in pins if z is not None]
            self._codes.append((here, Sign(HERE, "atlas--here")))
            before, self._signs = self._signs, self._placed()
            cells = [cell for cell in before.keys() | self._signs.keys() if before.get(cell) != self._signs.get(cell)]
            if cells:
                self.refresh(*(Region(column, line, 1, 1) for column, line in cells))

    def on_resize(self) -> None:
        """Place the signs in another room."""
        self._signs = self._placed()
        self.refresh()

    def cell(self, place: NDArray[np.float64]) -> tuple[int, int]:
        """Column and line of a place; one beyond the map stands at its edge."""
        column, line = self._cells(place[None])[0]
        return int(column), int(line)

    def place(self, x: int, y: int) -> tuple[float, float]:
        """The place in the middle of a character."""
        width, height = self._room()
        part = np.array([(x + 0.5) / width, 1 - (y + 0.5) / height])
        right, up = self._window[0] + part * (self._window[1] - self._window[0])
        return float(right), 0.0 if self._plane is not None and self._plane.flat else float(up)

    def render_line(self, y: int) -> Strip:
        """One line of the map, or of the labels under it."""
        if self._plane is None:
            return self._said(y)
        lines = self._lines()
        strip = lines[min(y, len(lines) - 1)]
        for (column, line), sign in self._signs.items():
            if line == y:
                here = Strip([Segment(sign.text, self.look(sign.part))])
                strip = Strip.join([strip.crop(0, column), here, strip.crop(column + 1)])
        return strip

    def action_walk(self, right: float, up: float) -> None:
        """Move the code."""
        self._walked(right, up)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Jump, and begin to drag."""
        event.stop()
        at = event.get_content_offset(self)
        if self._plane is not None and at is not None and at.y < self._room()[1]:
            self._dragging = True
            self.capture_mouse()
            self._jumped(self.place(at.x, at.y))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag."""
        event.stop()
        if self._dragging:
            width, height = self._room()
            x = min(width - 1, max(0, event.screen_x - self.content_region.x))
            y = min(height - 1, max(0, event.screen_y - self.content_region.y))
            self._jumped(self.place(int(x), int(y)))

    def on_mouse_up(self) -> None:
        """End a drag."""
        if self._dragging:
            self._dragging = False
            self.release_mouse()
            self._settled()

    def _room(self) -> tuple[int, int]:
        """Columns and lines of the map itself."""
        return max(1, self.size.width), max(1, self.size.height - 1)

    def _placed(self) -> dict[tuple[int, int], Sign]:
        """The sign at each cell that has one; of several, the last: the shown code is never hidden."""
        return {} if self._plane is None else {self.cell(self._plane.place(z)): sign for z, sign in self._codes}

    def _cells(self, places: NDArray[np.float64], fine: tuple[int, int] = (1, 1)) -> NDArray[np.int64]:
        """Column and line of places, (N, 2), in characters, or in dots of so many a character."""
        size = np.array(self._room()) * fine
        part = (places - self._window[0]) / (self._window[1] - self._window[0])
        part[:, 1] = 1 - part[:, 1]  # lines count from the top
        return np.asarray(np.clip(np.floor(part * size), 0, size - 1), np.int64)

    def _lines(self) -> list[Strip]:
        """The map without the shown code, and the labels under it: kept, since a change moves no item."""
        key = (self._plane, self.size, self.app.theme)
        if self._ground is None or self._ground[0] != key:
            plain = self.look()
            lines = [*self._draw(), self._legend()]
            self._ground = (key, [line.adjust_cell_length(self.size.width, plain) for line in lines])
        return self._ground[1]

    def _draw(self) -> list[Strip]:
        """Neighbours of one label share a segment."""
        width, height = self._room()
        columns, rows = self._cells(self._places, (2, 4)).T
        bits = np.zeros((height, width), np.int64)
        np.bitwise_or.at(bits, (rows // 4, columns // 2), BITS[rows % 4, columns % 2])
        labels = self._landscape.labels if self._landscape is not None else None
        most = np.zeros((height, width), np.int64)
        if labels is not None and self._names:
            counts = np.zeros((height, width, len(self._names)), np.int32)
            np.add.at(counts, (rows // 4, columns // 2, np.searchsorted(self._names, labels)), 1)
            most = counts.argmax(axis=2)
        colours, plain = self._colours(), self.look()
        most = np.where(bits > 0, most % len(colours), -1)
        strips = []
        for codes, line in zip(bits.tolist(), most.tolist(), strict=True):
            segments, start = [], 0
            for at in range(1, width + 1):
                if at == width or line[at] != line[start]:
                    text = "".join(chr(BRAILLE + code) if code else " " for code in codes[start:at])
                    segments.append(Segment(text, plain if line[start] < 0 else colours[line[start]]))
                    start = at
            strips.append(Strip(segments, width))
        return strips

    def _colours(self) -> list[Style]:
        if not self._names:
            return [self.look("atlas--plain")]
        plain = self.look()
        palette = ON_DARK if self.app.current_theme.dark else ON_LIGHT
        return [plain + Style(color=colour) for colour in palette]

    def _legend(self) -> Strip:
        """Which colour is which label, as many as fit; without labels, what the axes are."""
        muted = self.look("atlas--muted")
        assert self._plane is not None
        axes = f"→ {self._plane.names[0]}  ↑ {self._plane.names[1]}"
        segments, left, colours = [Segment(axes, muted)], self.size.width - len(axes) - 1, self._colours()
        for number, name in enumerate(self._called(left)):
            text = f" {name}"
            if cell_len(text) > left - 2 and number + 1 < len(self._names):
                segments.append(Segment(" …", muted))
                break
            if not number:
                segments.append(Segment(" ", muted))
            segments.append(Segment(text, colours[number % len(colours)] + Style(bold=True)))
            left -= cell_len(text)
        return Strip(segments)

    def _called(self, room: int) -> list[str]:
        """What the labels are called, in so many columns: names, else their beginnings, else numbers."""
        if self._landscape is not None and self._landscape.classes:
            names = shortened([one_line(self._landscape.called(label)) for label in self._names], room)
            if names is not None:
                return names
        return [str(label) for label in self._names]

    def _said(self, y: int) -> Strip:
        """Why there is no map."""
        width = self.size.width
        words, lines = self._reason.split(), [""]
        for word in words:
            if len(lines[-1]) + len(word) + 1 > width:
                lines.append("")
            lines[-1] = f"{lines[-1]} {word}".strip()
        text = lines[y] if y < len(lines) else ""
        return Strip([Segment(text, self.look("atlas--muted"))]).adjust_cell_length(width, self.look())


def shortened(names: Sequence[str], room: int) -> list[str] | None:
    """Names that stand side by side in so many columns, a space before each, cut to the largest length at which they fit.

    Returns:
        The names, or None where they would have fewer than `FEWEST_LETTERS`, or two of them would read the same.
    """
    widths = [cell_len(name) for name in names]
    for most in range(max(widths, default=0), FEWEST_LETTERS - 1, -1):
        if sum(1 + min(width, most) for width in widths) <= room:
            cut = [
                name if width <= most else set_cell_size(name, most) for name, width in zip(names, widths, strict=True)
            ]
            return cut if len(set(cut)) == len(cut) else None
    return None
