"""`vaekit morph`: turn one item into another through the latent space."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .options import (
    BundleArgument,
    DataOption,
    ForceOption,
    ImageOutOption,
    PrecisionOption,
    ProviderOption,
    ThreadsOption,
)


def morph(
    bundle: BundleArgument = None,
    first: Annotated[
        str,
        typer.Option("--from", metavar="LABEL|@INDEX|FILE", help="First item: a label, an index, or an image file."),
    ] = "3",
    last: Annotated[str, typer.Option("--to", metavar="LABEL|@INDEX|FILE", help="Last item, likewise.")] = "8",
    steps: Annotated[int, typer.Option("--steps", min=2, max=10_000, help="Items along the way, ends included.")] = 8,
    path: Annotated[
        Literal["linear", "spherical"], typer.Option("--path", help="Shape of the way through the latent space.")
    ] = "linear",
    data: DataOption = None,
    precision: PrecisionOption = "fp32",
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    out: ImageOutOption = None,
    force: ForceOption = False,
) -> None:
    """Morph between two items: decode the codes along a path between their posterior means."""
    import vaekit

    from .examples import examples, pick
    from .results import check_out, show, write_result

    vae = vaekit.load(bundle, provider=provider, precision=precision, threads=threads)
    check_out(out, vae.spec.data, force=force)
    items = examples(vae.bundle, data)
    a, b = pick(vae.bundle, items, first), pick(vae.bundle, items, last)
    x = vae.morph(a, b, steps=steps, path=path)
    show(x, vae.spec.data)
    if out is not None:
        write_result(out, {"a": a, "b": b, "x": x}, columns=steps, force=force)
