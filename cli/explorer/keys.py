"""Every key of `vaekit explore` and what it does: the one table that the app, its help and the documentation share.

Needs: the standard library.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Key(NamedTuple):
    """One thing to do.

    Attributes:
        keys: Textual's names, separated by commas.
        action: The app's action; empty where the widget with the focus has its own.
        shown: How the keys are written for people.
        text: What it does.
    """

    keys: str
    action: str
    shown: str
    text: str


HERE: Final = (
    Key("", "", "↑ ↓", "sliders: the dimension above, below; map: walk"),
    Key("", "", "← →", "sliders and map: change by 0.1; A to B: t by 0.05"),
    Key("", "", "PgUp PgDn", "change by 0.5; so does Shift with an arrow"),
    Key("", "", "Home End", "sliders: Home is 0; A to B: the ends"),
    Key("", "", "mouse", "click or drag sliders, map, A to B; the wheel changes, too"),
)
"""Keys of the widget that has the focus."""

EVERYWHERE: Final = (
    Key("r", "randomise", "r", "the next seed: item 0 of `vaekit sample --seed`"),
    Key("e", "encode", "e", "encode a label (3), an index (@17) or an image file"),
    Key("0", "reset", "0", "every dimension at 0, the prior's mean"),
    Key("a", "pin('A')", "a", "pin this point as A"),
    Key("b", "pin('B')", "b", "pin this point as B"),
    Key("A", "go('A')", "A", "go to A"),
    Key("B", "go('B')", "B", "go to B"),
    Key("space", "play", "Space", "play from A to B, there and back; again: stop"),
    Key("l", "bend", "l", "the way's shape: linear or spherical"),
    Key("m", "turn_map", "m", "the map's axes: most KL, or principal axes"),
    Key("u", "undo", "u", "undo"),
    Key("ctrl+r", "redo", "Ctrl-R", "redo"),
    Key("s", "save", "s", "save the item, z, and a program that decodes it"),
    Key("t", "turn_theme", "t", "dark or light"),
    Key("tab", "app.focus_next", "Tab", "to sliders, map, A to B (Shift-Tab: back)"),
    Key("question_mark", "help", "?", "this list"),
    Key("q,ctrl+c,ctrl+q", "quit", "q", "quit (Ctrl-C, too)"),
)
"""Keys that work wherever the focus is."""

HINTS: Final = (
    *(("?", "keys"), ("r", "random"), ("e", "encode"), ("a b", "pin"), ("Space", "play")),
    *(("s", "save"), ("u", "undo"), ("Tab", "focus"), ("q", "quit"), ("0", "reset"), ("m", "map axes"), ("t", "theme")),
    *(("l", "path"), ("Ctrl-R", "redo")),
)
"""The last line; what does not fit is left out."""
