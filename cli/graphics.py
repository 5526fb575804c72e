"""How a picture reaches this terminal: as pixels (Kitty, Sixel), as half blocks in colour, or as plain characters.

The one place that decides. Pixels need a terminal on standard input and output, its answer to a question, and for Sixel the
extra `terminal`. Pipes, dumb terminals and NO_COLOR get characters: neither a question nor any other escape code goes there.

Needs: rich; textual-image is only looked for.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Final, Literal, NamedTuple, get_args

from rich.console import Console

from vaekit.errors import ConfigError, MissingDependencyError

from . import terminal
from .picture_options import Graphics

Mode = Literal["kitty", "sixel", "blocks", "ascii"]

VARIABLE: Final = "VAEKIT_GRAPHICS"
HALF_BLOCK: Final = "\N{UPPER HALF BLOCK}"


class Screen(NamedTuple):
    """How pictures are drawn.

    Attributes:
        mode: With what.
        cell: Width and height of a character in pixels; (1, 2) for half blocks and plain characters.
    """

    mode: Mode
    cell: terminal.Cell = (1, 2)

    @property
    def has_pixels(self) -> bool:
        """Whether images keep their pixels, however small a character is."""
        return self.mode in ("kitty", "sixel")


def screen_for(console: Console, asked: Graphics | None = None) -> Screen:
    """Decide how pictures reach a console.

    What an option asks for is drawn, or refused with the reason. What only $VAEKIT_GRAPHICS asks for, perhaps in a shell's
    profile, must not break a pipe: where it cannot be drawn, characters are.

    Args:
        console: Where pictures will be printed.
        asked: What the command line asks for; None asks the environment, and "auto" the terminal.

    Raises:
        ConfigError: The console cannot show what was asked for, or $VAEKIT_GRAPHICS is unknown.
        MissingDependencyError: Sixel is asked for, and textual-image is not installed.
    """
    wish = asked or _from_environment()
    if wish == "auto":
        return _best(console)
    reason = _obstacle(wish, console)
    if reason is None:
        return Screen(wish, terminal.cell_size()) if wish in ("kitty", "sixel") else Screen(wish)
    if asked is None:
        return _characters(console)
    if reason == _MISSING:
        raise MissingDependencyError(
            f"--graphics {wish} needs textual-image; install it with `pip install 'vaekit[terminal]'`, "
            "or use --graphics blocks."
        )
    raise ConfigError(
        f"--graphics {wish} was asked for, but {reason}; use --graphics auto, or write a file with --out."
    )


def no_codes(console: Console) -> str | None:
    """Why escape codes may not go to a console, or None where they may."""
    if not console.is_terminal:
        return "standard output is no terminal"
    if console.no_color:
        return "NO_COLOR is set"
    if console.color_system is None or console.is_dumb_terminal:
        return "this terminal takes no colours"
    return None


def encodable(text: str, encoding: str) -> str:
    """Text as a stream of that encoding can take it: what is missing becomes a question mark."""
    try:
        return text.encode(encoding, "replace").decode(encoding)
    except LookupError:  # a stream with an encoding that Python does not know
        return text.encode("ascii", "replace").decode("ascii")


_MISSING: Final = "textual-image is not installed"


def _from_environment() -> Graphics:
    value = os.environ.get(VARIABLE, "").strip().lower() or "auto"
    for known in get_args(Graphics):
        if value == known:
            return known  # type: ignore[no-any-return]
    raise ConfigError(f"{VARIABLE}={value!r} is unknown; choose one of {', '.join(get_args(Graphics))}.")


def _best(console: Console) -> Screen:
    plain = _characters(console)
    if plain.mode == "ascii" or terminal.in_multiplexer() or _obstacle("kitty", console) or not terminal.may_ask():
        return plain
    found = terminal.answers()
    if found.sixel and _obstacle("sixel", console) is None:
        return Screen("sixel", terminal.cell_size())
    return Screen("kitty", terminal.cell_size()) if found.kitty else plain


def _characters(console: Console) -> Screen:
    return Screen("ascii" if _obstacle("blocks", console) else "blocks")


def _obstacle(mode: Mode, console: Console) -> str | None:
    """Why a console cannot show pictures so, or None."""
    if mode == "ascii":
        return None
    reason = no_codes(console)
    if reason is None and mode == "blocks" and encodable(HALF_BLOCK, console.encoding) != HALF_BLOCK:
        reason = f"its encoding, {console.encoding}, has no half blocks"
    return reason if reason is not None or mode == "blocks" else _pixel_obstacle(mode, console)


def _pixel_obstacle(mode: Mode, console: Console) -> str | None:
    """Why a colour terminal cannot show pixels, or None."""
    if not _is_standard_output(console):
        return "standard output is no terminal"
    if mode == "kitty" and terminal.in_multiplexer():
        return "tmux and screen do not pass Kitty's graphics on"
    return None if mode == "kitty" or importlib.util.find_spec("textual_image") else _MISSING


def _is_standard_output(console: Console) -> bool:
    """Whether a console writes to this process's standard output itself, and that is a terminal, whatever FORCE_COLOR says."""
    try:
        return console.file.fileno() == 1 and os.isatty(1)
    except (AttributeError, OSError, ValueError):
        return False
