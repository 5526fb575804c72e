"""Where output goes: results to standard output, remarks and errors to standard error, with colour only on a terminal.

Needs: rich.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console, RenderableType

from vaekit.errors import MissingDependencyError

UNBOUNDED: Final = 10_000
"""Columns of a screen that is none."""


def console() -> Console:
    """Standard output, as it is now: made anew each time, so that a redirection is seen."""
    return Console(highlight=False)


def error_console() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False)


def print_table(table: RenderableType, screen: Console | None = None) -> None:
    """Print a table as wide as the terminal; elsewhere each row on one line, for grep, and no spaces behind it."""
    screen = screen or console()
    if screen.is_terminal:
        screen.print(table)
        return
    with screen.capture() as captured:
        width, screen.width = screen.width, UNBOUNDED
        screen.print(table)
        screen.width = width
    for line in captured.get().splitlines():
        screen.print(line.rstrip(), markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a result for a script: JSON on standard output, nothing else. NaN and infinities are none of its numbers."""
    print(json.dumps(value, indent=2, allow_nan=False))  # noqa: T201  (which takes a closed standard output too)


def one_line(text: object) -> str:
    """Keep text from elsewhere (a path, a manifest, another package's message) on its line, without escape codes."""
    return "".join(character if character.isprintable() else " " for character in str(text))


@contextlib.contextmanager
def training_extra(command: str) -> Iterator[None]:
    """Around a command's imports of what only training and export need.

    Raises:
        MissingDependencyError: One of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"`vaekit {command}` needs {error.name}; install it with `pip install 'vaekit[train,cpu]'`."
        ) from error
