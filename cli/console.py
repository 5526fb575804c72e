"""Where output goes: results to standard output, remarks and errors to standard error, with colour only on a terminal.

Needs: rich.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from vaekit.errors import MissingDependencyError


def console() -> Console:
    """Standard output, as it is now: made anew each time, so that a redirection is seen."""
    return Console(highlight=False)


def error_console() -> Console:
    """Standard error."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print a result for a script: JSON on standard output, nothing else. NaN and infinities are none of its numbers."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


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
