"""Lines of text that change one by one: what is said of the code that is shown.

Needs: rich, textual.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.text import Text
from textual.strip import Strip

from .drawn import Drawn


class Notes(Drawn):
    """Some lines of text; one that is too long ends in an ellipsis."""

    def __init__(self, *, id: str) -> None:  # noqa: A002  textual's name
        super().__init__(id=id)
        self.lines: list[Text] = []

    def say(self, lines: Sequence[Text]) -> None:
        """Show other lines, and draw those that differ."""
        before, self.lines = self.lines, list(lines)
        count = max(len(before), len(self.lines))
        self.redraw(line for line in range(count) if before[line : line + 1] != self.lines[line : line + 1])

    def render_line(self, y: int) -> Strip:
        """One line."""
        width, plain = self.size.width, self.look()
        if y >= len(self.lines):
            return Strip.blank(width, plain)
        text = self.lines[y].copy()
        text.truncate(width, overflow="ellipsis")
        segments = Segment.apply_style(text.render(self.app.console), plain)
        return Strip(segments).adjust_cell_length(width, plain)
