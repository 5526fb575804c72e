"""The program `vaekit`, also as `python -m vaekit`: loads the command line, whose libraries take half a second, and runs it."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Ctrl-C ends it by exit code 130 also while it is being loaded."""
    try:
        from vaekit.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
