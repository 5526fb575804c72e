"""`vaekit bench`: what a bundle costs on this machine, and which setting that speaks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from .options import BundleArgument, ForceOption, JsonOption, QuietOption, listed

if TYPE_CHECKING:
    from vaekit.bundle import Bundle
    from vaekit.runtime.bench.results import Plan, Report

T = TypeVar("T")


def bench(
    bundle: BundleArgument = None,
    half: Annotated[
        Literal["decoder", "encoder", "both"], typer.Option("--half", help="Which graphs to measure.")
    ] = "decoder",
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="NAME[,NAME…]", help="Without it, all of the bundle's.")
    ] = None,
    io: Annotated[
        str | None,
        typer.Option(
            "--io",
            metavar="NAME[,NAME…]",
            help="`float32`, and `uint8` for the app-ready graphs. Without it, what the bundle has.",
        ),
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option("--provider", metavar="NAME[,NAME…]", help="Without it, `cpu`, and `cuda` where that works."),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option("--threads", metavar="N[,N…]", help="Without it, 1, 2, 4, … up to the usable cores."),
    ] = None,
    batches: Annotated[
        str | None, typer.Option("--batches", metavar="N[,N…]", help="Items a call; without it, 1 to 4096.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="Time for each setting and batch size; without it, 1.")
    ] = None,
    short: Annotated[
        bool, typer.Option("--quick", help="Fewer batch sizes, rounds and starts, and less time: a first look.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.json", help="Write all results there.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE.png|.svg", help="Draw throughput and latency (needs the extra `plots`)."),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure latency, throughput, cold start and memory on this machine, and say which setting to take.

    Settings are measured in turn, round by round, so that other work on the machine meets all of them alike. Ctrl-C keeps
    what was measured until then.
    """
    from vaekit.bundle import Bundle
    from vaekit.runtime.bench.measure import Bench

    from .bench_report import progress, show, stopped

    _check_targets(out, plot, force=force)
    opened = Bundle.open(bundle)
    plan, skipped = _plan(
        opened, half, precision, provider, io=io, threads=threads, batches=batches, seconds=seconds, quick=short
    )
    with progress(wanted=not (quiet or as_json)) as move:
        run = Bench(opened, plan, skipped=skipped, on_progress=move)
        with suppress(KeyboardInterrupt):  # the report says that it is not complete
            run.run()
    report = run.report()
    drawn = plot if report.timings else None
    _write(report, out, drawn)
    show(report, [path for path in (out, drawn) if path is not None], as_json=as_json)
    if not report.complete:
        stopped(report, None if drawn == plot else plot)
        raise typer.Exit(130)


def _plan(
    bundle: Bundle,
    half: str,
    precision: str | None,
    provider: str | None,
    *,
    io: str | None,
    threads: str | None,
    batches: str | None,
    seconds: float | None,
    quick: bool,
) -> tuple[Plan, list[str]]:
    from vaekit.manifest import HALVES
    from vaekit.runtime.bench.measure import working_providers
    from vaekit.runtime.bench.plan import make_plan

    halves = HALVES if half == "both" else (half,)
    skipped: list[str] = []
    providers = _list("--provider", provider, str)
    if providers is None:
        providers, skipped = working_providers(bundle, halves[0])
    plan = make_plan(
        bundle.manifest,
        halves=halves,
        precisions=_list("--precision", precision, str),
        providers=providers,
        threads=_list("--threads", threads, int),
        batches=_list("--batches", batches, int),
        seconds=seconds,
        quick=quick,
        io=_list("--io", io, str),
    )
    return plan, skipped


def _list(option: str, text: str | None, kind: Callable[[str], T]) -> list[T] | None:
    """Read "1,8,64"."""
    from vaekit.errors import ConfigError

    if text is None:
        return None
    try:
        return [kind(part) for part in listed(text)]
    except ValueError:
        raise ConfigError(f"{option} {text}: give whole numbers with commas between them, e.g. 1,8,64.") from None


def _check_targets(out: Path | None, plot: Path | None, *, force: bool) -> None:
    """Refuse what cannot be written before anything is measured."""
    from vaekit.runtime.bench.files import check_target
    from vaekit.runtime.bench.plot import ENDINGS, import_matplotlib

    if out is not None:
        check_target(out, (".json",), overwrite=force)
    if plot is not None:
        check_target(plot, ENDINGS, overwrite=force)
        import_matplotlib()


def _write(report: Report, out: Path | None, plot: Path | None) -> None:
    from vaekit.runtime.bench.plot import picture
    from vaekit.runtime.bench.stored import to_json
    from vaekit.storage import write_file

    if out is not None:
        write_file(out, (json.dumps(to_json(report), indent=2, allow_nan=False) + "\n").encode())
    if plot is not None:
        write_file(plot, picture(report, plot))
