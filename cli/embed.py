"""`vaekit embed`: a model as a small project inside a host program."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from .console import console
from .options import BundleArgument, ForceOption


def _list(value: bool) -> None:
    """Print each target with what it is, and stop."""
    if not value:
        return
    from vaekit.embedding import TARGETS, load_target

    for target in TARGETS:
        console().print(f"{target:<14}{load_target(target).SUMMARY}", markup=False, soft_wrap=True)
    raise typer.Exit


def embed(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="python, c, c-standalone, node, web or triton; `--list` says what each is."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The project's folder.")],
    bundle: BundleArgument = None,
    precision: Annotated[str, typer.Option("--precision", help="Which of the bundle's precisions to take.")] = "fp32",
    io: Annotated[
        str,
        typer.Option(
            "--io",
            metavar="float32|uint8",
            help="python, c and node: `uint8` takes the bundle's app-ready graphs, with raw pixels of 0 to 255 in and out.",
        ),
    ] = "float32",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="float32|int8",
            help="c-standalone only: how the C file stores weights; int8 is a quarter of the flash.",
        ),
    ] = None,
    ort_web: Annotated[
        Path | None,
        typer.Option(
            "--ort-web",
            metavar="DIR",
            help="web only: the npm package onnxruntime-web, unpacked; without it, npm fetches the package.",
        ),
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option("--max-batch", min=1, help="triton only: most items that the server puts into one call."),
    ] = None,
    queue_delay: Annotated[
        int | None,
        typer.Option("--queue-delay", min=0, help="triton only: microseconds that a request waits to share a call."),
    ] = None,
    force: ForceOption = False,
    _listing: Annotated[
        bool, typer.Option("--list", callback=_list, is_eager=True, help="List the targets and stop.")
    ] = False,
) -> None:
    """Write a small project that runs the model inside a host program, with a self-test that replays the goldens."""
    from vaekit.embedding import embed as embed_model
    from vaekit.embedding import load_target

    given = {
        "io": None if io == "float32" else io,  # what every target takes is no option
        "weights": weights,
        "ort_web": ort_web,
        "max_batch": max_batch,
        "queue_delay": queue_delay,
    }
    options = {name: value for name, value in given.items() if value is not None}
    folder = embed_model(target, bundle, out, precision=precision, overwrite=force, **options)
    screen = console()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        screen.print(
            f"  {path.relative_to(folder)}  {path.stat().st_size:,} bytes", markup=False, soft_wrap=True, style="dim"
        )
    screen.print(f"wrote {folder}; try it:", markup=False, soft_wrap=True)
    place = f"./{folder}" if str(folder).startswith("-") else str(folder)  # `cd -x` takes -x for an option
    screen.print(f"  cd {shlex.quote(place)}", markup=False, soft_wrap=True)
    for command in load_target(target).TRY:
        screen.print(f"  {command}", markup=False, soft_wrap=True)
