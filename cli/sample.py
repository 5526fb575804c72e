"""`vaekit sample`: draw from the prior and show it here."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import (
    BundleArgument,
    ForceOption,
    ImageOutOption,
    PrecisionOption,
    ProviderOption,
    SeedOption,
    ThreadsOption,
)
from .picture_options import GraphicsOption, ScaleOption


def sample(
    bundle: BundleArgument = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=100_000, help="Items to draw.")] = 16,
    seed: SeedOption = 0,
    columns: Annotated[
        int | None, typer.Option("--columns", min=1, help="Images in a row; without it, as many as are readable.")
    ] = None,
    graphics: GraphicsOption = None,
    precision: PrecisionOption = "fp32",
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    out: ImageOutOption = None,
    scale: ScaleOption = None,
    force: ForceOption = False,
) -> None:
    """Draw items from the prior and show them in the terminal."""
    import vaekit

    from .console import console
    from .graphics import screen_for
    from .results import check_out, show, write_result

    screen_for(console(), graphics)  # refused before the work is done
    vae = vaekit.load(bundle, provider=provider, precision=precision, threads=threads)
    check_out(out, vae.spec.data, force=force, scale=scale)
    z = vae.prior(count, seed=seed)
    x = vae.sample(count, seed=seed)
    show(x, vae.spec.data, columns=columns, graphics=graphics)
    if out is not None:
        write_result(out, {"z": z, "x": x}, force=force, scale=scale)
