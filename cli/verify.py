"""`vaekit verify`: replay a bundle's golden vectors on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from .console import console, one_line, print_json, print_table
from .options import BundleArgument, JsonOption, ProviderOption, ThreadsOption

if TYPE_CHECKING:
    from vaekit import Bundle, Deviation


def verify(
    bundle: BundleArgument = None,
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="NAME", help="Verify this one; without it, each in the bundle.")
    ] = None,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="Let CUDA use TF32; it has a tolerance of its own.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Prove that the model runs right here: replay its golden vectors, and print each deviation beside its tolerance.

    Each of the bundle's precisions is replayed, in each format that it is stored in, and with uint8 pixels where the bundle has
    graphs for them.
    """
    from rich.table import Table

    import vaekit

    opened = vaekit.Bundle.open(bundle)
    deviations: list[vaekit.Deviation] = []
    for way in _ways(opened, precision):
        name, stored_as, io = way
        vae = vaekit.load(
            opened, provider=provider, precision=name, threads=threads, tf32=tf32, format=stored_as, io=io
        )
        deviations += _named(vaekit.verify_bundle(opened, vae), way, first=not deviations)
    failed = [deviation for deviation in deviations if not deviation.passed]
    if as_json:
        print_json(
            {
                "bundle": opened.manifest.name,
                "provider": vae.provider,
                "passed": not failed,
                "deviations": [
                    {
                        "what": deviation.what,
                        # null where the model gives NaN or another shape: JSON has no infinity
                        "measured": deviation.measured if isfinite(deviation.measured) else None,
                        "tolerance": deviation.tolerance,
                        "passed": deviation.passed,
                    }
                    for deviation in deviations
                ],
            }
        )
    else:
        table = Table(box=None, pad_edge=False)
        for heading, side in (("compared", "left"), ("deviation", "right"), ("tolerance", "right"), ("", "left")):
            table.add_column(heading, justify=side)  # type: ignore[arg-type]
        for deviation in deviations:
            table.add_row(
                one_line(deviation.what).replace("[", r"\["),
                f"{deviation.measured:.1e}" if deviation.measured else "0",
                f"{deviation.tolerance:.0e}" if deviation.tolerance else "0",
                "[green]ok[/]" if deviation.passed else "[red]too far[/]",
            )
        print_table(table)
        verdict = f"{len(failed)} of {len(deviations)} too far" if failed else f"all {len(deviations)} within tolerance"
        console().print(
            f"{one_line(opened.manifest.name)} on {vae.provider}: {verdict}",
            style="red" if failed else "green",
            markup=False,
            soft_wrap=True,
        )
    if failed:
        raise typer.Exit(1)


def _ways(bundle: Bundle, precision: str | None) -> Iterator[tuple[str, str, str]]:
    """Each precision, or one, with each format and io that its graphs are there in."""
    if precision is not None:
        bundle.manifest.graph("decoder", precision)  # refuses one that the bundle lacks
    return (way for way in bundle.manifest.ways() if precision in (None, way[0]))


def _named(deviations: list[Deviation], way: tuple[str, str, str], *, first: bool) -> Iterator[Deviation]:
    """Say which graphs a deviation is of, where they are not the fp32 ones; noise and codes are of none, and come once."""
    whose = " ".join(part for part, usual in zip(way, ("fp32", "onnx", "float32"), strict=True) if part != usual)
    for deviation in deviations:
        if first or deviation.what not in ("noise", "reparameterise"):
            yield deviation.replace(what=f"{whose}: {deviation.what}" if whose else deviation.what)
