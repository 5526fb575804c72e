"""`Drawn`: what the explorer's own widgets share. Only lines that change are drawn again, in styles that are looked up once.

Textual looks a style up anew after each refresh, by a walk over all ancestors: that would cost more than to draw a line in it.

Needs: rich, textual.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.widget import Widget


class Drawn(Widget):
    """A widget that draws its own lines."""

    ALLOW_SELECT: ClassVar[bool] = False  # else a drag would mark text elsewhere, and draw that again, too

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._looks: dict[str, Style] = {}

    def notify_style_update(self) -> None:
        """Another theme, another focus: look styles up again."""
        self._looks.clear()
        super().notify_style_update()

    def look(self, part: str = "") -> Style:
        """Style of a component class, or of the widget itself."""
        style = self._looks.get(part)
        if style is None:
            style = self._looks[part] = self.get_component_rich_style(part) if part else self.rich_style
        return style

    def redraw(self, lines: Iterable[int]) -> None:
        """Draw some lines of the content again; those that are out of sight cost nothing."""
        width, height = self.size
        regions = [Region(0, line, width, 1) for line in sorted(lines) if 0 <= line < height]
        if regions:  # without one, textual would take all lines
            self.refresh(*regions)


def at_once(*keys: tuple[str, str]) -> list[BindingType]:
    """Keys of the widget that has the focus, each with its action.

    With priority, so that the application runs the action itself: otherwise a key goes to the widget, and from there back up.
    """
    return [Binding(key, action, show=False, priority=True) for key, action in keys]
