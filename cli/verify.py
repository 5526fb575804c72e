"""`vaekit verify`: replay a bundle's golden vectors on this machine."""

from __future__ import annotations

from math import isfinite
from typing import Annotated

import typer

from .console import console, one_line, print_json
from .options import BundleArgument, JsonOption, ProviderOption, ThreadsOption


def verify(
    bundle: BundleArgument = None,
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="Let CUDA use TF32; it has a tolerance of its own.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Prove that the model runs right here: replay its golden vectors, and print each deviation beside its tolerance."""
    from rich.table import Table

    import vaekit

    vae = vaekit.load(bundle, provider=provider, threads=threads, tf32=tf32)
    deviations = vaekit.verify_bundle(vae.bundle, vae)
    failed = [deviation for deviation in deviations if not deviation.passed]
    if as_json:
        print_json(
            {
                "bundle": vae.manifest.name,
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
                deviation.what,
                f"{deviation.measured:.1e}" if deviation.measured else "0",
                f"{deviation.tolerance:.0e}" if deviation.tolerance else "0",
                "[green]ok[/]" if deviation.passed else "[red]too far[/]",
            )
        console().print(table)
        verdict = f"{len(failed)} of {len(deviations)} too far" if failed else f"all {len(deviations)} within tolerance"
        console().print(
            f"{one_line(vae.manifest.name)} on {vae.provider}: {verdict}",
            style="red" if failed else "green",
            markup=False,
            soft_wrap=True,
        )
    if failed:
        raise typer.Exit(1)
