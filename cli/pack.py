"""`vaekit pack` and `vaekit unpack`: a bundle as one file, and as a folder again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import console, print_json
from .options import BundleArgument, ForceOption, JsonOption


def pack(
    bundle: BundleArgument = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file; without it, the bundle's name with `.vaekit`, here."),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle as one `.vaekit` file, which every command takes too; the same bundle gives the same bytes."""
    from vaekit import Bundle
    from vaekit.packing import ENDING
    from vaekit.packing import pack as pack_bundle

    opened = Bundle.open(bundle)
    path = out or Path(opened.path.resolve().name.removesuffix(ENDING) + ENDING)
    packed = pack_bundle(opened, path, overwrite=force)
    if as_json:
        print_json({"file": str(path), "bytes": packed.bytes, "sha256": packed.sha256})
        return
    console().print(f"wrote {path}, {packed.bytes:,} bytes, SHA-256 {packed.sha256}", markup=False, soft_wrap=True)


def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A `.vaekit` file.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The bundle's folder.")],
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a `.vaekit` file, and write it as a bundle's folder."""
    from vaekit.packing import unpack as unpack_bundle

    bundle = unpack_bundle(file, out, overwrite=force)
    if as_json:
        print_json({"bundle": str(out), "name": bundle.manifest.name})
        return
    console().print(f"wrote {out}", markup=False, soft_wrap=True)
