"""The latent dimensions as sliders: one line each, the one with the largest KL at the top.

    ▸ z4   ━━━━━━━━━━━━━┿━━━━━●━━━━━━━  +1.20   2.06

Values are in units of the prior's standard deviation, and the last column is the KL in nats. A value beyond the track stands
at its end; the number says where it is.

Needs: NumPy, rich, textual.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

REACH: Final = 3.5
"""Where a track ends, in standard deviations: 1 code in 2,000 of the prior lies beyond."""

SMALL: Final = 0.1
LARGE: Final = 0.5

NAME: Final = 7
"""Columns of the mark and the dimension's name."""

VALUE: Final = 7
KL: Final = 7


class Sliders(ScrollView, can_focus=True):
    """Sliders of some latent dimensions.

    Args:
        order: The dimensions, from top to bottom.
        kl: KL of every dimension in nats; empty where there is none.
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
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", show=False),
        Binding("down", "choose(1)", show=False),
        Binding("left", f"nudge(-{SMALL})", show=False),
        Binding("right", f"nudge({SMALL})", show=False),
        Binding("shift+left,pagedown", f"nudge(-{LARGE})", show=False),
        Binding("shift+right,pageup", f"nudge({LARGE})", show=False),
        Binding("home", "zero", show=False),
    ]

    class Moved(Message):
        """A slider is to stand at a value.

        Attributes:
            dimension: The latent dimension.
            value: In units of the prior's standard deviation.
            mark: Steps with one mark are one step of the history; None is a step of its own.
        """

        def __init__(self, dimension: int, value: float, mark: str | None = None) -> None:
            super().__init__()
            self.dimension, self.value, self.mark = dimension, value, mark

    class Settled(Message):
        """A drag has ended."""

    def __init__(self, order: Sequence[int], kl: Sequence[float]) -> None:
        super().__init__(id="sliders")
        self._order = tuple(order)
        self._kl = tuple(kl)
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
        changed = [line for line, d in enumerate(self._order) if values[d] != self._values[d]]
        self._values = values
        if changed:
            width = self.size.width
            self.refresh(*(Region(0, line - top, width, 1) for line in changed if 0 <= line - top < self.size.height))

    def on_resize(self) -> None:
        """As many lines as there are dimensions; the list scrolls where they do not fit."""
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._order))

    def track(self) -> tuple[int, int]:
        """First column of the tracks, and their width: odd, so that 0 has a column of its own."""
        room = self.scrollable_content_region.width - NAME - VALUE - (KL if self._kl else 0)
        return NAME, max(3, room - (1 - room % 2))

    def column(self, value: float) -> int:
        """Column of a track where a value stands."""
        width = self.track()[1]
        place = (min(REACH, max(-REACH, value)) + REACH) / (2 * REACH)
        return round(place * (width - 1))

    def render_line(self, y: int) -> Strip:
        """One slider."""
        line = y + self.scroll_offset.y
        width = self.size.width
        if line >= len(self._order):
            return Strip.blank(width, self.rich_style)
        dimension, chosen = self._order[line], line == self.chosen
        name = self.get_component_rich_style("sliders--chosen" if chosen else "sliders--name")
        value = self._values[dimension]
        mark = "▸ " if chosen else "  "
        segments = [
            Segment(f"{mark}z{dimension}".ljust(NAME), name),
            *self._drawn_track(value, bold=chosen),
            Segment(signed(value).rjust(VALUE), name if chosen else self.get_component_rich_style("sliders--value")),
        ]
        if self._kl:
            segments.append(
                Segment(f"{self._kl[dimension]:.2f}".rjust(KL), self.get_component_rich_style("sliders--name"))
            )
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _drawn_track(self, value: float, *, bold: bool) -> list[Segment]:
        """A line from end to end, filled from 0 to the knob."""
        plain, filled = (self.get_component_rich_style(f"sliders--{part}") for part in ("track", "filled"))
        if bold:
            filled += Style(bold=True)
        width, knob = self.track()[1], self.column(value)
        zero = width // 2
        low, high = sorted((zero, knob))
        cells = ["━" if low <= at <= high else "─" for at in range(width)]
        cells[zero] = "┿" if low <= zero <= high else "┼"
        cells[knob] = "●"
        text = "".join(cells)
        return [Segment(text[:low], plain), Segment(text[low : high + 1], filled), Segment(text[high + 1 :], plain)]

    def action_choose(self, by: int) -> None:
        """Choose the slider above or below."""
        self.choose(self.chosen + by)

    def choose(self, line: int) -> None:
        """Choose a slider, and scroll to it."""
        self.chosen = min(len(self._order) - 1, max(0, line))
        self.scroll_to_region(Region(0, self.chosen, 1, 1), animate=False, force=True)
        self.refresh()

    def action_nudge(self, by: float) -> None:
        """Change the chosen dimension."""
        self._move(self.dimension, float(self._values[self.dimension]) + by)

    def action_zero(self) -> None:
        """Put the chosen dimension at 0."""
        self._move(self.dimension, 0.0)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Choose a slider; on its track, begin to drag it."""
        if (line := self._line(event)) is None:
            return
        self.choose(line)
        if self._on_track(event):
            self._dragged = self.dimension
            self.capture_mouse()
            self._drag(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag."""
        if self._dragged is not None:
            self._drag(event)

    def on_mouse_up(self) -> None:
        """End a drag."""
        if self._dragged is not None:
            self._dragged = None
            self.release_mouse()
            self.post_message(self.Settled())

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
        self._move(self.dimension, float(self._values[self.dimension]) + by, f"wheel {self.dimension}")

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
        self._move(self._dragged, value, f"drag {self._dragged}")

    def _move(self, dimension: int, value: float, mark: str | None = None) -> None:
        self.post_message(self.Moved(dimension, value, mark))


def signed(value: float) -> str:
    """A value with its sign and two decimals; what rounds to zero has none: "+1.20", "0.00"."""
    text = f"{value:+.2f}"
    return text[1:] if float(text) == 0 else text
