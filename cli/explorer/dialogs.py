"""What opens over the screen: the list of keys, and the question which item to encode.

Needs: rich, textual.
"""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from .keys import EVERYWHERE, HERE


class Help(ModalScreen[None]):
    """Every key; any of Escape, ? and q closes it."""

    DEFAULT_CSS = """
    Help { align: center middle; background: $background 60%; }
    Help VerticalScroll {
        width: 78; max-width: 96%; height: auto; max-height: 96%; background: $surface; border: round $accent; padding: 0 1;
    }
    Help VerticalScroll { scrollbar-size-vertical: 1; }
    Help VerticalScroll Static { width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", show=False),
    ]

    def compose(self) -> ComposeResult:
        """A table."""
        with VerticalScroll() as box:
            box.border_title = "keys"
            box.border_subtitle = "Esc closes"
            table = Table.grid(padding=(0, 2))
            table.add_column(style="bold", no_wrap=True)
            table.add_column()
            for key in (*HERE, *EVERYWHERE):
                table.add_row(key.shown, key.text)
            yield Static(table)


class Ask(ModalScreen[str | None]):
    """Asks which item to encode; gives the answer, or None after Escape.

    Args:
        question: What is asked, in one line.
    """

    DEFAULT_CSS = """
    Ask { align: center middle; background: $background 60%; }
    Ask Vertical { width: 64; max-width: 96%; height: auto; background: $surface; border: round $accent; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", show=False)]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """A line to type into."""
        with Vertical() as box:
            box.border_title = "encode"
            box.border_subtitle = "Enter goes there, Esc closes"
            yield Static(self._question)
            yield Input(placeholder="3, @17 or ./digit.png")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the answer."""
        self.dismiss(event.value.strip() or None)
