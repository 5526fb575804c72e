"""`vaekit explore`: walk through a model's latent space in the terminal."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from vaekit.errors import ConfigError, DataError, MissingDependencyError

from .options import BundleArgument, DataOption, PrecisionOption, ProviderOption, SeedOption


def explore(
    bundle: BundleArgument = None,
    data: DataOption = None,
    seed: SeedOption = 0,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where `s` saves: a new folder in this one each time.")
    ] = Path("explored"),
    precision: PrecisionOption = "fp32",
    provider: ProviderOption = "auto",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads inside one call.")] = 1,
) -> None:
    """Walk through the latent space: sliders, a map, morphs, in the terminal. `?` lists the keys."""
    _check_screen()
    import vaekit
    from vaekit.explorer.explorer import Explorer
    from vaekit.explorer.landscape import measure

    from .examples import named_examples, pick

    vae = vaekit.load(bundle, provider=provider, precision=precision, threads=threads)
    items, classes = named_examples(vae.bundle, data)
    landscape, no_map = None, ""
    try:
        landscape = measure(vae.encode, items, data or "the bundle", classes)
    except DataError as error:
        no_map = str(error)

    # A change waits for the next of textual's frames: 17 ms at its usual 60 a second, 4 ms so.
    os.environ.setdefault("TEXTUAL_FPS", "240")
    from .explorer.app import ExploreApp
    from .explorer.item import bounds_of

    shown = items.pixels(slice(0, 1000))
    ExploreApp(
        Explorer(vae, landscape, seed=seed),
        bounds=bounds_of(shown),
        pick=lambda which: pick(vae.bundle, items, which, classes),
        folder=out,
        no_map=no_map,
    ).run()


def _check_screen() -> None:
    """Refuse where no screen can be drawn, before anything is loaded.

    Raises:
        ConfigError: Standard input or output is no terminal, or a dumb one.
        MissingDependencyError: Textual is not installed.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            "`vaekit explore` needs a terminal on standard input and output; for pipes and files there are "
            "`vaekit sample`, `morph` and `traverse`."
        )
    if os.environ.get("TERM") in ("dumb", "unknown"):
        raise ConfigError(f"`vaekit explore` needs a terminal with a cursor, but TERM is {os.environ['TERM']!r}.")
    if importlib.util.find_spec("textual") is None:
        raise MissingDependencyError(
            "`vaekit explore` needs textual; install it with `pip install 'vaekit[explore,cpu]'`."
        )
