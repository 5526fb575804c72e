"""What a command made: shown in the terminal, written to a file.

Needs: NumPy, rich.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import ConfigError, OutputError
from vaekit.images import grid, png_bytes
from vaekit.spec import DataSpec
from vaekit.storage import write_file

from .console import console
from .pictures import Picture, readable_columns

ENDINGS = (".png", ".npz")

COLUMNS = 8
"""Images in a row of a picture that is written."""


def check_out(out: Path | None, data: DataSpec, *, force: bool) -> None:
    """Refuse an --out that cannot be written, before the work is done.

    Raises:
        ConfigError: Its ending is unknown, or a picture is wanted of items that are no images.
        OutputError: It exists, or its folder does not.
    """
    if out is None:
        return
    if out.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--out {out}: the ending {out.suffix!r} is unknown; choose one of {', '.join(ENDINGS)}.")
    if out.suffix.lower() == ".png" and not data.is_image:
        raise ConfigError(f"--out {out}: items of shape {data.shape} are no images; write .npz instead.")
    if not force and out.exists():
        raise OutputError(f"{out} exists already; choose another path, or pass --force to replace it.")
    if not out.parent.is_dir():
        raise OutputError(f"{out} cannot be written: there is no folder {out.parent}; make it first.")


def write_result(out: Path, arrays: dict[str, NDArray[Any]], *, columns: int = COLUMNS, force: bool) -> None:
    """Write arrays: the last one as a picture (.png), or all of them by name (.npz).

    Raises:
        OutputError: The file exists or cannot be written.
    """
    if out.suffix.lower() == ".png":
        content = png_bytes(grid(list(arrays.values())[-1], columns))
    else:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        content = buffer.getvalue()
    write_file(out, content, overwrite=force)
    console().print(f"wrote {out}", markup=False, soft_wrap=True)


def show(
    items: NDArray[np.float32],
    data: DataSpec,
    *,
    under: NDArray[np.float32] | None = None,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
) -> None:
    """Show items: images as a picture, other arrays as their first numbers."""
    if len(items) == 0:
        return
    if data.is_image:
        screen = console()
        columns = columns or readable_columns(data.shape, screen.width, len(items))
        screen.print(Picture(items, under=under, captions=captions, columns=columns))
        return
    for index, item in enumerate(items):
        rows = [item] if under is None else [item, under[index]]
        for row in rows:
            values = " ".join(f"{value:.3g}" for value in row.reshape(-1)[:8])
            caption = captions[index] if captions else str(index)
            console().print(f"{caption}: {values}{' …' if row.size > 8 else ''}", markup=False)
