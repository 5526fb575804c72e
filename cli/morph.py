"""`vaekit morph`: turn one item into another through the latent space."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from .options import (
    LABEL_RULE,
    BundleArgument,
    DataOption,
    ForceOption,
    PrecisionOption,
    ProviderOption,
    ThreadsOption,
)
from .picture_options import AnimateOption, FpsOption, GraphicsOption, LoopsOption, MovingOutOption, ScaleOption


def morph(
    bundle: BundleArgument = None,
    first: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="LABEL|@INDEX|FILE",
            help=f"First item: a label ({LABEL_RULE}), an index, or an image file.",
        ),
    ] = "3",
    last: Annotated[str, typer.Option("--to", metavar="LABEL|@INDEX|FILE", help="Last item, likewise.")] = "8",
    steps: Annotated[int, typer.Option("--steps", min=2, max=10_000, help="Items along the way, ends included.")] = 8,
    path: Annotated[
        Literal["linear", "spherical"], typer.Option("--path", help="Shape of the way through the latent space.")
    ] = "linear",
    data: DataOption = None,
    graphics: GraphicsOption = None,
    animate: AnimateOption = False,
    fps: FpsOption = None,
    loops: LoopsOption = None,
    precision: PrecisionOption = "fp32",
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    out: MovingOutOption = None,
    scale: ScaleOption = None,
    force: ForceOption = False,
) -> None:
    """Morph between two items: decode the codes along a path between their posterior means."""
    import vaekit

    from .animation import check_drawable, check_playing, moving, play
    from .console import console
    from .examples import named_examples, pick
    from .graphics import screen_for
    from .lines import limits
    from .picture_options import FPS
    from .results import ANIMATED, check_out, drawn, is_series, show, write_result

    screen = screen_for(console(), graphics)
    check_playing(animate=animate, fps=fps, loops=loops, out=out)
    vae = vaekit.load(bundle, provider=provider, precision=precision, threads=threads)
    spec = vae.spec.data
    check_out(out, spec, force=force, moves=True, scale=scale)
    if animate:
        check_drawable(spec)
    items, classes = named_examples(vae.bundle, data)
    a, b = (pick(vae.bundle, items, which, classes) for which in (first, last))
    x = vae.morph(a, b, steps=steps, path=path)
    if not animate:
        show(x, spec, graphics=graphics)
    if out is not None:
        frames = moving(x[:, None]) if out.suffix.lower() in ANIMATED else None
        arrays = {"a": a, "b": b, "x": x}
        write_result(out, arrays, columns=steps, force=force, scale=scale, frames=frames, fps=fps or FPS)
    if animate:
        bounds = limits(x) if is_series(spec) else None
        captions = [f"{step / (steps - 1):.2f}" for step in range(steps)]  # t, from 0 to 1
        pictures = [
            drawn(x[step, None], spec, screen, captions=[captions[step]], scale=bounds) for step in range(steps)
        ]
        play(pictures, fps=fps or FPS, loops=loops)
