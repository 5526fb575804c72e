"""Options of every command that draws, spelt and explained once: how it is drawn here, and what --out writes.

Needs: typer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

Graphics = Literal["auto", "kitty", "sixel", "blocks", "ascii"]

FPS: Final = 10
"""Frames a second of an animation: a hundred milliseconds each, which every format holds exactly."""

GraphicsOption = Annotated[
    Graphics | None,
    typer.Option(
        "--graphics",
        help="How pictures are drawn here; without it $VAEKIT_GRAPHICS, else `auto`: the best that the terminal has.",
    ),
]
ScaleOption = Annotated[
    int | None,
    typer.Option(
        "--scale",
        min=1,
        max=64,
        help="Pixels a side that --out draws a pixel with; without it 1, and in animations what makes items large enough.",
    ),
]
AnimateOption = Annotated[
    bool, typer.Option("--animate", help="Play in place, back and forth, until `q` or Ctrl-C. Needs a terminal.")
]
FpsOption = Annotated[
    int | None,
    typer.Option("--fps", min=1, max=50, help=f"Frames a second of --animate, .gif and .apng; without it {FPS}."),
]
LoopsOption = Annotated[
    int | None, typer.Option("--loops", min=1, help="With --animate: stop after so many times there and back.")
]
MovingOutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write the result too: `.png` as one picture, `.gif` or `.apng` playing back and forth, `.npz` as arrays.",
    ),
]
