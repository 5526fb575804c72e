"""The way from A to B: a slider of the place t between two pinned points, which can play.

Needs: rich, textual.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.strip import Strip

from vaekit.explorer.state import MORPH_STEPS, View

from .drawn import Drawn, at_once

STEP: Final = 5
"""Hundredths that a key moves t by."""

LEFT: Final = 4
"""Columns before the track: the mark and the letter A."""


class Track(Drawn, can_focus=True):
    """One line: ``A ━━━━●────── B  t 0.40  linear``.

    Args:
        moved: Called with t, when the code is to stand at t hundredths of the way, and with the mark of a drag, or None.
        settled: Called when a drag has ended.
    """

    DEFAULT_CSS = """
    Track { height: 1; }
    Track > .track--set { color: $accent; text-style: bold; }
    Track > .track--line { color: $foreground 25%; }
    Track > .track--muted { color: $text-muted; }
    Track:focus > .track--muted { color: $text; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"track--set", "track--line", "track--muted"}
    BINDINGS: ClassVar[list[BindingType]] = at_once(
        ("left", f"move(-{STEP})"),
        ("right", f"move({STEP})"),
        ("shift+left,pagedown", f"move(-{5 * STEP})"),
        ("shift+right,pageup", f"move({5 * STEP})"),
        ("home", f"move(-{MORPH_STEPS})"),
        ("end", f"move({MORPH_STEPS})"),
    )

    def __init__(self, moved: Callable[[int, str | None], None], settled: Callable[[], None]) -> None:
        super().__init__(id="track")
        self._moved = moved
        self._settled = settled
        self._view: View | None = None
        self._playing = False
        self._dragging = False

    def show_view(self, view: View, *, playing: bool) -> None:
        """Show what is pinned, and where between them the code stands."""
        before, self._view = self._view, view
        if before is None or playing != self._playing or _shown(before) != _shown(view):
            self.redraw([0])
        self._playing = playing

    def track(self) -> tuple[int, int]:
        """First column and width of the track."""
        return LEFT, max(3, self.size.width - LEFT - 30)

    def render_line(self, y: int) -> Strip:  # noqa: ARG002  there is one line
        """The whole widget."""
        line, on, muted = (self.look(f"track--{part}") for part in ("line", "set", "muted"))
        view, width = self._view, self.track()[1]
        if view is None or view.a is None or view.b is None:
            missing = "a pins point A, b pins point B; then Space plays the way between them"
            if view is not None and (view.a is not None or view.b is not None):
                held, other = ("A", "b") if view.b is None else ("B", "a")
                missing = f"{held} is pinned; {other} pins the other point, then Space plays the way between them"
            return Strip([Segment(f"{self._mark()}{missing}", muted)]).adjust_cell_length(self.size.width, self.look())
        t = view.t
        knob = -1 if t is None else round(t / MORPH_STEPS * (width - 1))
        said = f"t {'--' if t is None else f'{t / MORPH_STEPS:.2f}'}  {view.path}{'  playing' if self._playing else ''}"
        segments = [Segment(f"{self._mark()}A ", muted), Segment("━" * max(0, knob), on)]
        if knob >= 0:
            segments.append(Segment("●", on))
        segments += [Segment("─" * (width - max(0, knob + 1)), line), Segment(f" B   {said}", muted)]
        return Strip(segments).adjust_cell_length(self.size.width, self.look())

    def _mark(self) -> str:
        return "▸ " if self.has_focus else "  "

    def action_move(self, by: int) -> None:
        """Move along the way; from elsewhere, begin at A."""
        t = None if self._view is None else self._view.t
        self._moved(min(MORPH_STEPS, max(0, (t or 0) + by)) if t is not None or by > 0 else 0, None)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Go there, and begin to drag."""
        event.stop()
        self._dragging = True
        self.capture_mouse()
        self._drag(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag."""
        event.stop()
        if self._dragging:
            self._drag(event)

    def on_mouse_up(self) -> None:
        """End a drag."""
        if self._dragging:
            self._dragging = False
            self.release_mouse()
            self._settled()

    def on_mouse_scroll_up(self) -> None:
        """Towards B."""
        self._wheel(STEP)

    def on_mouse_scroll_down(self) -> None:
        """Towards A."""
        self._wheel(-STEP)

    def _wheel(self, by: int) -> None:
        t = 0 if self._view is None or self._view.t is None else self._view.t
        self._moved(min(MORPH_STEPS, max(0, t + by)), "wheel t")

    def _drag(self, event: events.MouseEvent) -> None:
        first, width = self.track()
        x = min(width - 1, max(0, event.screen_x - self.content_region.x - first))
        self._moved(round(x / (width - 1) * MORPH_STEPS), "drag t")


def _shown(view: View) -> tuple[object, ...]:
    """All that the line shows of a view."""
    return view.a is None, view.b is None, view.t, view.path
