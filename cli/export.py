"""`vaekit export`: from a run to a bundle, verified before it exists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import console, print_json, training_extra
from .options import ForceOption, JsonOption


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder, made by `vaekit train`.")],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="The bundle's folder.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What the model is called; without it, the folder's name.")
    ] = None,
    opset: Annotated[int, typer.Option("--opset", help="ONNX operator set.")] = 18,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Export a run's last checkpoint as two ONNX graphs in a bundle, compared with torch before the bundle exists."""
    with training_extra("export"):
        from vaekit.exporting import export_bundle
        from vaekit.training import Checkpoint
    checkpoint = Checkpoint.latest(run)
    if not as_json:
        console().print(f"exporting {run}, epoch {checkpoint.epoch}", markup=False, soft_wrap=True)
    bundle = export_bundle(checkpoint, out, name=name, opset=opset, overwrite=force)
    info = bundle.manifest.precisions["fp32"]
    if as_json:
        print_json({"bundle": str(out), **info.to_json()})
        return
    for half, graph in (("encoder", info.encoder), ("decoder", info.decoder)):
        console().print(
            f"  {half}: {graph.file.bytes:,} bytes, largest difference from torch {info.error[half]:.1e}",
            markup=False,
            soft_wrap=True,
        )
    console().print(
        f"  round trip: {info.error['round_trip']:.1e} over batches of 1, 2, 7 and 256; "
        f"{len(bundle.manifest.statistics.active)} of {bundle.manifest.spec.latent} latent dimensions active",
        markup=False,
        soft_wrap=True,
    )
    console().print(f"wrote {out}", markup=False, soft_wrap=True)
