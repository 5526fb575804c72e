"""Where output goes: results to standard output, remarks and errors to standard error, with colour only on a terminal.

Needs: rich.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console


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
