"""`vaekit verify`: replay a bundle's golden vectors on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from .console import console, one_line, print_json
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

    Each of the bundle's precisions is replayed, in each format that it is stored in.
    """
    from rich.table import Table

    import vaekit

    opened = vaekit.Bundle.open(bundle)
    deviations: list[vaekit.Deviation] = []
    for name, stored_as in _stored(opened, precision):
        vae = vaekit.load(opened, provider=provider, precision=name, threads=threads, tf32=tf32, format=stored_as)
        deviations += _named(vaekit.verify_bundle(opened, vae), name, stored_as, first=not deviations)
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
        console().print(table)
        verdict = f"{len(failed)} of {len(deviations)} too far" if failed else f"all {len(deviations)} within tolerance"
        console().print(
            f"{one_line(opened.manifest.name)} on {vae.provider}: {verdict}",
            style="red" if failed else "green",
            markup=False,
            soft_wrap=True,
        )
    if failed:
        raise typer.Exit(1)


def _stored(bundle: Bundle, precision: str | None) -> Iterator[tuple[str, str]]:
    """Each precision with each format that its graphs are stored in."""
    for name in bundle.manifest.precisions if precision is None else [precision]:
        yield name, "onnx"
        if all(bundle.manifest.graph(half, name).ort for half in ("encoder", "decoder")):
            yield name, "ort"


def _named(deviations: list[Deviation], precision: str, stored_as: str, *, first: bool) -> Iterator[Deviation]:
    """Say which graphs a deviation is of, where they are not the fp32 ones; noise and codes are of none, and come once."""
    whose = " ".join(filter(None, ("" if precision == "fp32" else precision, "" if stored_as == "onnx" else stored_as)))
    for deviation in deviations:
        if first or deviation.what not in ("noise", "reparameterise"):
            yield deviation._replace(what=f"{whose}: {deviation.what}" if whose else deviation.what)
