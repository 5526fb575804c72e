"""A block of lines above a live bar, drawn anew where it stands.

rich's `Live` draws all that it shows ten times a second. Pictures change once an epoch and take up to a hundred kilobytes of
colours, so they are ordinary lines here, and only a new block moves the cursor up over the old one.

Needs: rich.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleDimensions, ConsoleRenderable, RenderHook
from rich.control import Control
from rich.segment import ControlType, Segment, Segments
from rich.text import Text

Line = list[Segment]


class InPlace(RenderHook):
    """The block; pushed onto the console's render hooks before the bar is, and popped after it.

    The old block stays where it is, and the new one is drawn under it, where the cursor would not find it: after somebody else
    printed a line, or when the terminal has another size than it had.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn = 0
        self._size: ConsoleDimensions | None = None
        self._drawing = False

    def show(self, above: Sequence[str], block: Sequence[Line]) -> None:
        """Draw a block in the place of the last one.

        Args:
            above: Lines that stay above it, and scroll away.
            block: Fewer lines than the console has, none wider than it.
        """
        erased = self._drawn if self._console.size == self._size else 0
        up = Control(*[(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * erased)
        segments = [segment for line in block for segment in (*line, Segment.line())]
        text = [Text("\n".join(above))] if above else []
        self._drawing = True
        try:
            self._console.print(up, *text, Segments(segments), soft_wrap=True)
        finally:
            self._drawing = False
        self._drawn, self._size = len(block), self._console.size

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """See who prints: a bar that draws itself prints controls alone."""
        if not self._drawing and not all(isinstance(renderable, Control) for renderable in renderables):
            self._drawn = 0
        return renderables
