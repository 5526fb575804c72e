"""Arguments and options that several commands share, so that they are spelt and explained once.

Needs: typer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

LABEL_RULE: Final = "a class's name, else its number"
"""What names a label, for help: `vaekit.datasets.leaveout.find_label`."""

BundleArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="BUNDLE", help="A bundle: its folder or its `.vaekit` file; without it, the built-in MNIST model."
    ),
]
ProviderOption = Annotated[
    str,
    typer.Option(
        "--provider",
        metavar="auto|cpu|cuda|NAME",
        help="ONNX Runtime's execution provider. Only `auto` may fall back to the CPU, and says so.",
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads inside one call; without it, every usable core.")
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="fp32|fp16|int8|NAME",
        help="Which of the bundle's precisions to run; `vaekit inspect` lists them.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of the portable noise: same seed, same result.")]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME|PATH",
        help="A data set as `vaekit train` takes it, its test items; without it, the bundle's own examples.",
    ),
]
ImageOutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write the result too: `.png` as one picture, `.npz` as arrays."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is already there.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar; plain lines only.")]


def listed(text: str) -> tuple[str, ...]:
    """Split names at commas: "fp32, int8" is two."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
