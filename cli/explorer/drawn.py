"""`Drawn`: what the explorer's own widgets share. Only lines that change are drawn again, in styles that are looked up once.

Textual looks a style up anew after each refresh, by a walk over all ancestors: that would cost more than to draw a line in it.

Needs: rich, textual.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class Drawn(Widget):
    """A widget that draws its own lines."""

    ALLOW_SELECT: ClassVar[bool] = False  # else a drag would mark text elsewhere, and draw that again, too

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._looks: dict[str, Style] = {}
        self._whole: tuple[Region, list[Strip]] | None = None  # all lines, with the border, and what they cover
        self._stale: set[int] = set()  # those of them that have changed

    def notify_style_update(self) -> None:
        """Another theme, another focus: look styles up again."""
        self._looks.clear()
        self._whole = None
        super().notify_style_update()

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Draw again: some regions of the content, or all, and the border."""
        if regions:
            top = self.gutter.top
            self._stale.update(top + line for region in regions for line in region.line_range)
        else:
            self._whole = None
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def render_lines(self, crop: Region) -> list[Strip]:
        """All lines; where the border stays as it is, only those that have changed are put into it again."""
        if crop.size != self.outer_size:
            return super().render_lines(crop)
        if self._whole is None or self._whole[0] != crop:
            self._whole = crop, super().render_lines(crop)
        elif self._stale:
            lines, top = self._whole[1], self.gutter.top
            filters, background = self.get_line_filters(), self.background_colors[1]
            for line in self._stale:
                first, *_, last = lines[line]  # the border, or what keeps the text from the edge
                segments = [first, *self.render_line(line - top), last]
                for kind in filters:
                    segments = kind.apply(segments, background)
                lines[line] = Strip(segments, crop.width)
        self._stale.clear()
        return self._whole[1]

    def look(self, part: str = "") -> Style:
        """Style of a component class, or of the widget itself."""
        style = self._looks.get(part)
        if style is None:
            style = self._looks[part] = self.get_component_rich_style(part) if part else self.rich_style
        return style

    def redraw(self, lines: Iterable[int]) -> None:
        """Draw some lines of the content again; those that are out of sight cost nothing."""
        height, left, width = self.size.height, self.gutter.left, self.outer_size.width
        # With the border, since textual keeps the escape codes of a whole line alone.
        regions = [Region(-left, line, width, 1) for line in lines if 0 <= line < height]
        if regions:  # without one, textual would take all lines
            self.refresh(*regions)


def at_once(*keys: tuple[str, str]) -> list[BindingType]:
    """Keys of the widget that has the focus, each with its action.

    With priority, so that the application runs the action itself: otherwise a key goes to the widget, and from there back up.
    """
    return [Binding(key, action, show=False, priority=True) for key, action in keys]
