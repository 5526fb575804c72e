"""`vaekit traverse`: what each latent dimension does, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vaekit.manifest import LatentStatistics

NARROW = 12
"""Characters that an image of a row is wide at least, before the row is broken."""


def traverse(
    bundle: BundleArgument = None,
    dims: Annotated[
        str,
        typer.Option(
            "--dims",
            metavar="active|all|0,3,5",
            help="Which latent dimensions; the first two in the order of their KL, an autoencoder's of their spread.",
        ),
    ] = "active",
    reach: Annotated[
        float,
        typer.Option("--range", help="How far to go to both sides, in standard deviations of the aggregate posterior."),
    ] = 3.0,
    steps: Annotated[int, typer.Option("--steps", min=2, max=1_000, help="Values of each dimension.")] = 9,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="LABEL|@INDEX|FILE",
            help=f"The item whose code is changed: a label ({LABEL_RULE}), an index, or an image file; without it, @0.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Change the code that `vaekit sample` draws first by this seed.")
    ] = None,
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
    """Change one latent dimension of a code at a time, and decode: a row for each dimension."""
    import numpy as np

    import vaekit
    from vaekit.errors import ConfigError
    from vaekit.latents import traverse as codes

    from .animation import check_drawable, check_playing, moving
    from .console import console
    from .examples import named_examples, pick
    from .graphics import screen_for
    from .picture_options import FPS
    from .results import ANIMATED, check_out, write_result

    if seed is not None and (start is not None or data is not None):
        raise ConfigError("--seed draws a code, and --from or --data name an item to encode; give one of them.")
    if not 0 < reach <= 100:
        raise ConfigError(f"--range {reach:g}: give a number of standard deviations above 0 and up to 100.")
    screen = screen_for(console(), graphics)
    check_playing(animate=animate, fps=fps, loops=loops, out=out)
    vae = vaekit.load(bundle, provider=provider, precision=precision, threads=threads)
    check_out(out, vae.spec.data, force=force, moves=True, scale=scale)
    if animate:
        check_drawable(vae.spec.data)
    statistics = vae.manifest.statistics
    chosen = dimensions(dims, statistics)
    if seed is not None:
        code = vae.prior(1, seed=seed)
    else:
        items, classes = named_examples(vae.bundle, data)
        code = vae.encode(pick(vae.bundle, items, start or "@0", classes)).mean
    values = around(statistics, chosen, reach, steps)
    x = np.stack([vae.decode(codes(code, dimension, row)) for dimension, row in zip(chosen, values, strict=True)])
    if out is not None:
        arrays = {"z": code, "dimensions": np.array(chosen), "values": values, "x": x.reshape(-1, *x.shape[2:])}
        if out.suffix.lower() == ".npz":
            arrays["x"] = x
        frames = moving(x.swapaxes(0, 1)) if out.suffix.lower() in ANIMATED else None
        write_result(out, arrays, columns=steps, force=force, scale=scale, frames=frames, fps=fps or FPS)
    if animate:
        _play(x, vae.spec.data, chosen, values, screen, fps=fps or FPS, loops=loops)
    else:
        _show(x, vae.spec.data, chosen, values, statistics, screen)


def dimensions(which: str, statistics: LatentStatistics) -> list[int]:
    """Latent dimensions to traverse.

    Args:
        which: "active": those that carry information, or the first of all if none does; "all"; or numbers, "0,3,5", as they
            stand. The first two come in the order of their mean KL, the largest first; an autoencoder's of their spread.
        statistics: The bundle's.

    Raises:
        ConfigError: It is none of these, or there is no such dimension.
    """
    import numpy as np

    from vaekit.errors import ConfigError

    from .options import listed

    latent = len(statistics.mean)
    order = np.argsort(-np.asarray(statistics.kl or statistics.std), kind="stable").tolist()
    if which in ("active", "all"):
        active = [dimension for dimension in order if which == "all" or dimension in statistics.active]
        return active or order[:1]
    names = listed(which)
    if not names or not all(name.isascii() and name.isdecimal() for name in names):
        raise ConfigError(f"--dims {which!r}: give active, all, or numbers of dimensions, as in 0,3,5.")
    numbers = list(dict.fromkeys(map(int, names)))
    if max(numbers) >= latent:
        raise ConfigError(f"--dims {which!r}: the model has {latent}; give 0 to {latent - 1}.")
    return numbers


def around(statistics: LatentStatistics, chosen: list[int], reach: float, steps: int) -> NDArray[np.float32]:
    """Values of each dimension: ``m + s t``, t from -reach to reach in equal steps; m, s the aggregate posterior's.

    Returns:
        Shape (dimensions, steps), float32.
    """
    import numpy as np

    mean, std = (np.asarray(numbers)[chosen, None] for numbers in (statistics.mean, statistics.std))
    return (mean + std * np.linspace(-reach, reach, steps)).astype(np.float32)


def in_row(steps: int, width: int, columns: int) -> int:
    """Images in a line of a screen: all steps, or where they would be less than `NARROW` wide, equal parts of them.

    Args:
        steps: Images of a dimension.
        width: An image's width in characters.
        columns: The screen's.
    """
    from .pictures import GAP

    fitting = max(1, (columns + GAP) // (min(width, NARROW) + GAP))
    return -(-steps // -(-steps // fitting))


def _show(
    x: NDArray[np.float32],
    data: Any,
    chosen: list[int],
    values: NDArray[np.float32],
    statistics: LatentStatistics,
    screen: Any,
) -> None:
    from .console import console
    from .lines import limits
    from .results import drawn, is_series
    from .rows import Rows

    out = console()
    bounds = limits(*x) if is_series(data) else None
    steps = [[f"{value:+z.2f}" for value in row] for row in values]
    drawable = data.is_image or bounds is not None
    rows = (
        None if drawable else Rows(x.reshape(-1, *data.shape), data, [text for row in steps for text in row], out.width)
    )
    if rows is not None and rows.header is not None:
        out.print(rows.header, markup=False)
    for row, (items, dimension) in enumerate(zip(x, chosen, strict=True)):
        kl = f"  KL {statistics.kl[dimension]:.2f} nats" if statistics.kl else ""
        active = "" if dimension in statistics.active else "  not active"
        gap = "\n" if row else ""
        out.print(f"{gap}z{dimension}{kl}{active}", markup=False)
        if rows is None:
            columns = len(items) if screen.has_pixels else in_row(len(items), data.shape[-1], out.width)
            out.print(drawn(items, data, screen, captions=steps[row], columns=columns, scale=bounds, legend=row == 0))
        else:
            for caption, item in zip(steps[row], items, strict=True):
                out.print(rows.line(caption, item), markup=False)


def _play(
    x: NDArray[np.float32],
    data: Any,
    chosen: list[int],
    values: NDArray[np.float32],
    screen: Any,
    *,
    fps: int,
    loops: int | None,
) -> None:
    """Play one dimension after the other, each there and back."""
    from .animation import play, there_and_back
    from .lines import limits
    from .results import drawn, is_series

    bounds = limits(*x) if is_series(data) else None
    count, steps = x.shape[:2]
    frames = [
        drawn(x[row, step, None], data, screen, captions=[f"z{chosen[row]} {values[row, step]:+z.2f}"], scale=bounds)
        for row in range(count)
        for step in range(steps)
    ]
    order = [row * steps + step for row in range(count) for step in (*there_and_back(steps), 0)]
    play(frames, fps=fps, loops=loops, order=order)
