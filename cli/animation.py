"""Frames that play in the terminal, in place, until q is pressed: there and back, as often as asked.

Needs: NumPy, typer, rich.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console, RenderableType

from vaekit.errors import ConfigError
from vaekit.images import Images, grid
from vaekit.spec import DataSpec

from . import terminal
from .console import console
from .graphics import no_codes
from .lines import limits, line_images
from .picture_options import FPS
from .raster import taken_away
from .results import ANIMATED, COLUMNS, is_series

BEGIN_FRAME, END_FRAME = (
    "\x1b[?2026h",
    "\x1b[?2026l",
)  # a terminal that knows them shows a frame at once, others ignore them
ERASE_BELOW: Final = "\x1b[J"
KEPT: Final = 512
"""Frames whose codes are kept between loops."""


def there_and_back(count: int) -> list[int]:
    """Frames of one loop: ``0, 1, ..., count - 1, ..., 1``; the next loop goes on at 0, so no frame is shown twice in a row."""
    return [*range(count), *range(count - 2, 0, -1)]


def check_playing(*, animate: bool, fps: int | None, loops: int | None, out: Path | None) -> None:
    """Refuse what cannot be played, before the work is done.

    Raises:
        ConfigError: There is no terminal to play in, or --fps or --loops have nothing to time.
    """
    if fps is not None and not animate and (out is None or out.suffix.lower() not in ANIMATED):
        raise ConfigError("--fps times an animation; give --animate, or --out with .gif or .apng.")
    if loops is not None and not animate:
        raise ConfigError("--loops counts what --animate plays; give both (a .gif or .apng plays for ever).")
    reason = no_codes(console()) or (None if os.isatty(1) else "standard output is no terminal")
    if animate and reason is not None:
        raise ConfigError(f"--animate plays in a terminal, but {reason}; write a file instead, with --out x.gif.")


def check_drawable(data: DataSpec) -> None:
    """Refuse to play what is shown as numbers.

    Raises:
        ConfigError: Items are neither images nor time series.
    """
    if not (data.is_image or is_series(data)):
        raise ConfigError(f"--animate plays images and time series, but items of shape {data.shape} are neither.")


def moving(x: NDArray[np.float32]) -> Images:
    """Frames of a file, there and back: sheets of one cell or several.

    Args:
        x: What each step shows: (steps, cells, *shape), images or time series.

    Returns:
        Shape (2 * steps - 2, C, H, W).
    """
    if x.ndim == 4:  # (steps, cells, channels, time): all on one scale
        bounds = limits(*x)
        x = np.stack([line_images(step, bounds) for step in x])
    sheets = np.stack([grid(step, COLUMNS) for step in x])
    return sheets[there_and_back(len(x))]


def play(
    frames: Sequence[RenderableType], *, fps: int = FPS, loops: int | None = None, order: Sequence[int] | None = None
) -> None:
    """Play frames in place, until q is pressed or all loops are done; the last one stays, the cursor below it.

    Frames begin ``1 / fps`` seconds after each other. On Ctrl-C, SIGTERM or an error, the terminal is put back, too.

    Args:
        frames: What to show; of equal heights.
        fps: Frames a second.
        loops: Times that ``order`` is played; None plays until a key stops it.
        order: Numbers of frames; without it, `there_and_back`.

    Raises:
        typer.Exit: Ctrl-C (code 130) or SIGTERM (143) ended it.
    """
    screen = console()
    order = order or there_and_back(len(frames))

    @functools.lru_cache(maxsize=KEPT)
    def codes(index: int, _size: tuple[int, int]) -> str:
        return rendered(screen, frames[index])

    with terminal.Stage() as stage:
        due, shown, picture, size = time.monotonic(), 0, "", (0, 0)
        while loops is None or shown <= loops * len(order):  # the last frame is the first again
            now_size = (screen.width, screen.height)
            height = 0 if stage.resumed else picture.count("\n")
            up = f"\r\x1b[{height}A" if height else ""
            off = "" if stage.resumed else taken_away(picture)
            clear = ERASE_BELOW if now_size != size else ""
            picture = codes(order[shown % len(order)], now_size)
            sys.stdout.write(BEGIN_FRAME + off + up + clear + picture + END_FRAME)
            sys.stdout.flush()
            size, stage.resumed = now_size, False
            shown += 1
            due = max(due + 1 / fps, time.monotonic())  # a slow terminal delays what follows, rather than lose frames
            if "q" in stage.wait(due).lower() or stage.stopped is not None:
                break
    if stage.stopped is not None:
        raise typer.Exit(128 + stage.stopped)


def rendered(screen: Console, frame: RenderableType) -> str:
    """What a console would print of a frame, as text; narrowed until it is less high than the screen, and at last cut.

    A frame does not show the cursor again, which is hidden as long as frames play.
    """
    width = screen.width
    for _ in range(8):
        with screen.capture() as capture:
            screen.print(frame, width=width)
        text = capture.get().replace(terminal.SHOW_CURSOR, "")
        lines = text.count("\n")
        if lines < screen.height:
            return text
        width = max(1, width * (screen.height - 1) // lines)
    return "".join(text.splitlines(keepends=True)[: max(1, screen.height - 1)])
