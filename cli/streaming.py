"""What `encode` and `decode` share: options, the engine that was chosen, the progress bar, the report.

Needs: typer, rich.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vaekit.errors import ConfigError

from .console import console, error_console, print_json

if TYPE_CHECKING:
    from vaekit.bundle import Bundle
    from vaekit.runtime.ray_engine import RayPool
    from vaekit.runtime.session import Decoder, Encoder
    from vaekit.runtime.stream import OnRows, Streamed

Engine = Literal["local", "ray"]

RowsOutOption = Annotated[
    Path, typer.Option("--out", metavar="FILE", help="The result: `.npy`, `.npz` or `.parquet`, of any size.")
]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", min=1, help="Items a call of the model.")]
EngineOption = Annotated[
    Engine, typer.Option("--engine", help="`local`: this process. `ray`: several, by Ray Data; the same result.")
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes of the engine `ray`, a core each; without it, every usable core."),
]


def open_half(
    half: Literal["encoder", "decoder"],
    bundle: Bundle,
    *,
    engine: Engine,
    provider: str,
    precision: str,
    threads: int | None,
    workers: int | None,
) -> Encoder | Decoder | RayPool:
    """Open one half of a bundle where the engine says.

    Raises:
        ConfigError: An option that belongs to the other engine.
        ProviderError: The provider is not there or does not load.
        MissingDependencyError: ONNX Runtime or Ray is not installed.
    """
    if engine == "local":
        from vaekit.runtime.session import Decoder, Encoder

        if workers is not None:
            raise ConfigError(f"--workers {workers} belongs to --engine ray; one process has --threads.")
        return (Encoder if half == "encoder" else Decoder)(
            bundle, provider=provider, precision=precision, threads=threads
        )
    from vaekit.cores import count_cores
    from vaekit.runtime.ray_engine import RayPool

    if threads is not None:
        raise ConfigError(f"--threads {threads} belongs to --engine local; with ray each of --workers has one thread.")
    if provider not in ("auto", "cpu"):
        raise ConfigError(
            f"--provider {provider} was asked for, but --engine ray runs on the CPU; pass --engine local."
        )
    return RayPool(bundle, workers=workers or count_cores().usable, precision=precision)


@contextmanager
def progress(what: str, check: Callable[[], None], *, wanted: bool) -> Iterator[OnRows]:
    """Show a bar with rate and time left while the block runs; yields what moves it. On a pipe, no bar.

    `check` is called before each move; see `stoppable`.
    """
    screen = console()
    if not wanted or not screen.is_terminal:
        yield lambda *_: check()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(what),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} items/s"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=screen, transient=True, speed_estimate_period=10) as bar:
        task = bar.add_task(what, total=None, rate="-")

        def move(done: int, total: int) -> None:
            check()
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate="-" if speed is None else f"{speed:,.0f}")

        yield move


@contextmanager
def stoppable(out: Path | None) -> Iterator[Callable[[], None]]:
    """Turn Ctrl-C into one line and exit code 130; yields a check to be called now and then.

    A KeyboardInterrupt may not arrive: Python drops one that is raised while an object is being deleted, and a library in the
    middle of something may make another error of it. So it is written down that somebody asked. What then ends the block
    counts as the stop, and the check ends a block that nothing else does.
    """
    asked = False

    def note(*_: object) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    # Only the main thread may set a handler, and only it gets signals.
    ours = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, note) if ours else None
    try:
        yield check
    except BaseException as error:
        if not asked and not isinstance(error, KeyboardInterrupt):
            raise
        line = "stopped" if out is None else f"stopped; {out} was not written"
        error_console().print(line, style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def report(done: Streamed, *, as_json: bool) -> None:
    """Say what was written."""
    rate = done.items / done.seconds if done.seconds > 0 else 0.0
    if as_json:
        print_json(
            {
                "out": str(done.out),
                "items": done.items,
                "arrays": {name: list(shape) for name, shape in done.arrays.items()},
                "bytes": done.out.stat().st_size,
                "seconds": done.seconds,
                "items_per_second": rate,
            }
        )
        return
    arrays = ", ".join(f"{name} {' x '.join(f'{size:,}' for size in shape)}" for name, shape in done.arrays.items())
    console().print(
        f"wrote {done.out}: {arrays}; {done.seconds:.1f} s, {rate:,.0f} items/s", markup=False, soft_wrap=True
    )
