"""The latent dimensions as sliders: one line each, the one with the largest KL at the top.

    ▸ z4   ━━━━━━━━━━━━━┿━━━━━●━━━━━━━  +1.20   2.06

Values are in units of the prior's standard deviation, and the last column is the KL in nats. A value beyond the track stands
at its end; the number says where it is.

Needs: NumPy, rich, textual.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from .drawn import Drawn, at_once

REACH: Final = 3.5
"""Where a track ends, in standard deviations: 1 code in 2,000 of the prior lies beyond."""

SMALL: Final = 0.1
LARGE: Final = 0.5

NAME: Final = 7
"""Columns of the mark and the dimension's name."""

VALUE: Final = 7
KL: Final = 7


Moved = Callable[[int, float, str | None], None]
"""Puts a latent dimension at a value, in units of the prior's standard deviation. Steps with one mark are one step of the
history; one without a mark is a step of its own."""


class Sliders(ScrollView, Drawn, can_focus=True):
    """Sliders of some latent dimensions.

    Args:
        order: The dimensions, from top to bottom.
        kl: KL of every dimension in nats; empty where there is none.
        moved: Called when a slider is to stand at a value.
        settled: Called when a drag has ended.
    """

    DEFAULT_CSS = """
    Sliders { scrollbar-size-vertical: 1; overflow-x: hidden; }
    Sliders > .sliders--name { color: $text-muted; }
    Sliders > .sliders--chosen { color: $text; text-style: bold; }
    Sliders > .sliders--track { color: $foreground 25%; }
    Sliders > .sliders--filled { color: $accent; }
    Sliders > .sliders--value { color: $text; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"sliders--{part}" for part in ("name", "chosen", "track", "filled", "value")
    }
    BINDINGS: ClassVar[list[BindingType]] = at_once(
        ("up", "choose(-1)"),
        ("down", "choose(1)"),
        ("left", f"nudge(-{SMALL})"),
        ("right", f"nudge({SMALL})"),
        ("shift+left,pagedown", f"nudge(-{LARGE})"),
        ("shift+right,pageup", f"nudge({LARGE})"),
        ("home", "zero"),
    )

    def __init__(self, order: Sequence[int], kl: Sequence[float], moved: Moved, settled: Callable[[], None]) -> None:
        super().__init__(id="sliders")
        self._order = tuple(order)
        self._kl = tuple(kl)
        self._moved = moved
        self._settled = settled
        self._values: NDArray[np.float64] = np.zeros(max(order) + 1)
        self._dragged: int | None = None
        self.chosen = 0
        """Line of the slider that the keys move."""

    @property
    def dimension(self) -> int:
        """The latent dimension that the keys move."""
        return self._order[self.chosen]

    def show_values(self, values: NDArray[np.float64]) -> None:
        """Show other values, one for each latent dimension."""
        top = self.scroll_offset.y
        changed = [line - top for line, d in enumerate(self._order) if values[d] != self._values[d]]
        self._values = values
        self.redraw(changed)

    def on_resize(self) -> None:
        """As many lines as there are dimensions; the list scrolls where they do not fit."""
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._order))

    def track(self) -> tuple[int, int]:
        """First column of the tracks, and their width: odd, so that 0 has a column of its own."""
        room = self.scrollable_content_region.width - NAME - VALUE - (KL if self._kl else 0)
        return NAME, max(3, room - (1 - room % 2))

    def render_line(self, y: int) -> Strip:
        """One slider."""
        line = y + self.scroll_offset.y
        width = self.size.width
        if line >= len(self._order):
            return Strip.blank(width, self.look())
        dimension, chosen = self._order[line], line == self.chosen
        name = self.look("sliders--chosen" if chosen else "sliders--name")
        value = self._values[dimension]
        mark = "▸ " if chosen else "  "
        segments = [
            Segment(f"{mark}z{dimension}".ljust(NAME), name),
            *self._drawn_track(value, bold=chosen),
            Segment(signed(value).rjust(VALUE), name if chosen else self.look("sliders--value")),
        ]
        if self._kl:
            segments.append(Segment(f"{self._kl[dimension]:.2f}".rjust(KL), self.look("sliders--name")))
        if rest := width - sum(len(segment.text) for segment in segments):
            segments.append(Segment(" " * rest, self.look()))
        return Strip(segments, width)

    def _drawn_track(self, value: float, *, bold: bool) -> list[Segment]:
        """A line from end to end, filled from 0 to the knob."""
        plain, filled = self.look("sliders--track"), self.look("sliders--filled")
        if bold:
            filled += Style(bold=True)
        width = self.track()[1]
        knob = _column(value, width)
        zero = width // 2
        low, high = sorted((zero, knob))
        between = "━" * (high - low - 1)
        marks = "●" if knob == zero else f"┿{between}●" if knob > zero else f"●{between}┿"
        return [Segment("─" * low, plain), Segment(marks, filled), Segment("─" * (width - high - 1), plain)]

    def action_choose(self, by: int) -> None:
        """Choose the slider above or below."""
        self.choose(self.chosen + by)

    def choose(self, line: int) -> None:
        """Choose a slider, and scroll to it."""
        before, self.chosen = self.chosen, min(len(self._order) - 1, max(0, line))
        if self.chosen != before:
            self.scroll_to_region(Region(0, self.chosen, 1, 1), animate=False, force=True)
            top = self.scroll_offset.y
            self.redraw({before - top, self.chosen - top})

    def action_nudge(self, by: float) -> None:
        """Change the chosen dimension."""
        self._moved(self.dimension, float(self._values[self.dimension]) + by, None)

    def action_zero(self) -> None:
        """Put the chosen dimension at 0."""
        self._moved(self.dimension, 0.0, None)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Choose a slider; on its track, begin to drag it."""
        event.stop()
        if (line := self._line(event)) is None:
            return
        self.choose(line)
        if self._on_track(event):
            self._dragged = self.dimension
            self.capture_mouse()
            self._drag(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag."""
        event.stop()
        if self._dragged is not None:
            self._drag(event)

    def on_mouse_up(self) -> None:
        """End a drag."""
        if self._dragged is not None:
            self._dragged = None
            self.release_mouse()
            self._settled()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Over a track, raise its value; elsewhere the list scrolls."""
        self._wheel(event, SMALL)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Over a track, lower its value; elsewhere the list scrolls."""
        self._wheel(event, -SMALL)

    def _wheel(self, event: events.MouseEvent, by: float) -> None:
        line = self._line(event)
        if line is None or not self._on_track(event):
            return
        event.prevent_default()
        event.stop()
        self.choose(line)
        self._moved(self.dimension, float(self._values[self.dimension]) + by, f"wheel {self.dimension}")

    def _line(self, event: events.MouseEvent) -> int | None:
        """Number of the slider under the mouse."""
        at = event.get_content_offset(self)
        line = None if at is None else at.y + self.scroll_offset.y
        return line if line is not None and line < len(self._order) else None

    def _on_track(self, event: events.MouseEvent) -> bool:
        at = event.get_content_offset(self)
        first, width = self.track()
        return at is not None and first <= at.x < first + width

    def _drag(self, event: events.MouseEvent) -> None:
        first, width = self.track()
        x = event.screen_x - self.content_region.x - first  # the mouse may have left the list
        value = (min(width - 1, max(0, x)) / (width - 1) * 2 - 1) * REACH
        assert self._dragged is not None
        self._moved(self._dragged, value, f"drag {self._dragged}")


def _column(value: float, width: int) -> int:
    """Column of a track where a value stands."""
    return round((min(REACH, max(-REACH, value)) + REACH) / (2 * REACH) * (width - 1))


def signed(value: float) -> str:
    """A value with its sign and two decimals; what rounds to zero has none: "+1.20", "0.00"."""
    text = f"{value:+.2f}"
    return text[1:] if float(text) == 0 else text
