"""What a command made: shown in the terminal, written to a file.

Needs: NumPy, rich.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.text import Text

from vaekit.errors import ConfigError, OutputError
from vaekit.images import Images, apng_bytes, gif_bytes, grid, png_bytes
from vaekit.spec import DataSpec
from vaekit.storage import write_file

from .console import console
from .graphics import Screen, screen_for
from .lines import Lines, limits, line_images
from .lines import legend as channels
from .picture_options import FPS, Graphics
from .pictures import Picture, readable_columns
from .rows import Rows

ENDINGS: Final = (".png", ".npz")
ANIMATED: Final = (".gif", ".apng")

COLUMNS = 8
"""Images in a row of a picture that is written."""

LARGE_ENOUGH: Final = 128
"""Pixels of the longer side of an animation's item, at least, where no --scale is given; of several beside each other, half."""


def check_out(out: Path | None, data: DataSpec, *, force: bool, moves: bool = False, scale: int | None = None) -> None:
    """Refuse an --out that cannot be written, before the work is done.

    Args:
        out: The file.
        data: What is drawn.
        force: Whether a file that exists may be replaced.
        moves: Whether the items follow each other, so that they can be an animation.
        scale: What --scale says.

    Raises:
        ConfigError: Its ending is unknown, a picture is wanted of items that are no images, or --scale has nothing to enlarge.
        OutputError: It exists, or its folder does not.
    """
    if scale is not None and (out is None or out.suffix.lower() == ".npz"):
        raise ConfigError(
            "--scale enlarges the picture that --out writes; give --out with a picture's ending, as in x.png."
        )
    if out is None:
        return
    ending = out.suffix.lower()
    known = (".png", *ANIMATED, ".npz") if moves else ENDINGS
    if ending in ANIMATED and not moves:
        raise ConfigError(
            f"--out {out}: these items do not follow each other, so there is nothing to play; choose one of "
            f"{', '.join(ENDINGS)}, or use `vaekit morph` or `vaekit traverse`."
        )
    if ending not in known:
        raise ConfigError(f"--out {out}: the ending {out.suffix!r} is unknown; choose one of {', '.join(known)}.")
    if ending != ".npz" and not (data.is_image or is_series(data)):
        raise ConfigError(f"--out {out}: items of shape {data.shape} are no images; write .npz instead.")
    if not force and out.exists():
        raise OutputError(f"{out} exists already; choose another path, or pass --force to replace it.")
    if not out.parent.is_dir():
        raise OutputError(f"{out} cannot be written: there is no folder {out.parent}; make it first.")


def is_series(data: DataSpec) -> bool:
    """Whether items are time series, which are drawn as lines."""
    return len(data.shape) == 2


def write_result(
    out: Path,
    arrays: dict[str, NDArray[Any]],
    *,
    columns: int = COLUMNS,
    force: bool,
    scale: int | None = None,
    frames: Images | None = None,
    fps: int = FPS,
) -> None:
    """Write arrays: the last one as a picture (.png), or all of them by name (.npz).

    Args:
        out: The file.
        arrays: What was made, by name; the last are the items.
        columns: Items in a row of the picture.
        force: Whether a file that exists may be replaced.
        scale: Enlargement of the picture; without it 1, and of an animation what makes its items `LARGE_ENOUGH`.
        frames: What a .gif or .apng plays, (N, C, H, W).
        fps: Frames a second.

    Raises:
        OutputError: The file exists or cannot be written.
    """
    ending, items = out.suffix.lower(), list(arrays.values())[-1]
    if ending in ANIMATED and frames is not None:
        encode = gif_bytes if ending == ".gif" else apng_bytes
        content = encode(frames, fps=fps, scale=scale or _enlargement(items, frames))
    elif ending == ".png":
        images = line_images(items) if items.ndim == 3 else items
        content = png_bytes(grid(images, columns), scale=scale or 1)
    else:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        content = buffer.getvalue()
    write_file(out, content, overwrite=force)
    console().print(f"wrote {out}", markup=False, soft_wrap=True)


def _enlargement(items: NDArray[Any], frames: Images) -> int:
    """Whole number that makes an animation's items large enough to see; lines are drawn so."""
    if items.ndim == 3:
        return 1
    alone = items.shape[2:] == frames.shape[2:]
    return int(-(-LARGE_ENOUGH // (max(items.shape[2:]) * (1 if alone else 2))))


def show(
    items: NDArray[np.float32],
    data: DataSpec,
    *,
    under: NDArray[np.float32] | None = None,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    graphics: Graphics | None = None,
) -> None:
    """Show items: images as a picture, time series as lines, other arrays as their first numbers, a table's below their names.

    Args:
        items: Shape (N, *shape).
        data: What an item is.
        under: Items of the same shape, each shown right below its partner.
        captions: One short text per item.
        columns: Images in a row; without it, as many as are readable.
        graphics: How pictures are drawn; see `screen_for`.

    Raises:
        ConfigError: The terminal cannot show what ``graphics`` asks for.
        MissingDependencyError: Neither can this installation.
    """
    screen = screen_for(console(), graphics)
    if len(items) == 0:
        return
    if data.is_image or is_series(data):
        console().print(drawn(items, data, screen, under=under, captions=captions, columns=columns))
        return
    captions = captions or [str(index) for index in range(len(items))]
    rows = Rows(items if under is None else np.concatenate([items, under]), data, captions, console().width)
    if rows.header is not None:
        console().print(rows.header, markup=False)
    for index, (item, caption) in enumerate(zip(items, captions, strict=True)):
        for row in [item] if under is None else [item, under[index]]:
            console().print(rows.line(caption, row), markup=False)


def drawn(
    items: NDArray[np.float32],
    data: DataSpec,
    screen: Screen,
    *,
    under: NDArray[np.float32] | None = None,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    scale: NDArray[np.float64] | None = None,
    legend: bool = True,
) -> RenderableType:
    """Draw images or time series for a screen, without printing them.

    Args:
        items: At least one, (N, *shape).
        data: What an item is.
        screen: How pictures are drawn.
        under: As in `show`.
        captions: As in `show`.
        columns: As in `show`.
        scale: Bounds of a time series' channels, (D, 2); without it, those of the items.
        legend: Whether lines say which channel is which.
    """
    if data.is_image:
        if not screen.has_pixels:
            columns = columns or readable_columns(data.shape, console().width, len(items))
        return Picture(items, under=under, captions=captions, columns=columns, screen=screen)
    if not screen.has_pixels:
        return Lines(
            items, data, screen=screen, under=under, captions=captions, columns=columns, scale=scale, legend=legend
        )
    bounds = limits(*([items] if under is None else [items, under])) if scale is None else scale
    picture = Picture(
        line_images(items, bounds),
        under=None if under is None else line_images(under, bounds),
        captions=captions,
        columns=columns,
        screen=screen,
    )
    return Group(Text(channels(data, bounds)), picture) if legend else picture
