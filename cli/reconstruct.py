"""`vaekit reconstruct`: encode and decode items, and show each above its reconstruction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from .picture_options import GraphicsOption, ScaleOption


def reconstruct(
    bundle: BundleArgument = None,
    images: Annotated[
        list[Path] | None, typer.Option("--image", "-i", metavar="FILE", help="An image file; repeat for more.")
    ] = None,
    data: DataOption = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=10_000, help="Items of the data to show.")] = 8,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Decode, and score, a sample of the posterior instead of its mean."),
    ] = None,
    graphics: GraphicsOption = None,
    precision: PrecisionOption = "fp32",
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    out: ImageOutOption = None,
    scale: ScaleOption = None,
    force: ForceOption = False,
) -> None:
    """Encode and decode items: originals above, reconstructions below, each with its negative ELBO in nats."""
    import numpy as np

    import vaekit
    from vaekit.errors import ConfigError

    from .console import console
    from .examples import examples, image_files
    from .graphics import screen_for
    from .results import check_out, show, write_result

    if images and data is not None:
        raise ConfigError("--image and --data were both given; give one of them.")
    screen_for(console(), graphics)  # refused before the work is done
    vae = vaekit.load(bundle, provider=provider, precision=precision, threads=threads)
    check_out(out, vae.spec.data, force=force, scale=scale)
    x = image_files(vae.bundle, images) if images else examples(vae.bundle, data).pixels(slice(count))
    x_hat = vae.reconstruct(x, seed=seed)
    nats = vae.score(x, seed=seed)  # of the codes that are shown
    show(x, vae.spec.data, under=x_hat, captions=[f"{value:.1f}" for value in nats], graphics=graphics)
    if out is not None:
        both = np.concatenate([x, x_hat])
        write_result(
            out,
            {"x": x, "negative_elbo": nats, "x_hat": x_hat} if out.suffix.lower() == ".npz" else {"both": both},
            columns=len(x),
            force=force,
            scale=scale,
        )
