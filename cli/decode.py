"""`vaekit decode`: a file of latent codes of any size to the file of what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    BundleArgument,
    ForceOption,
    JsonOption,
    PrecisionOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
)
from .streaming import (
    BatchSizeOption,
    EngineOption,
    RowsOutOption,
    WorkersOption,
    open_half,
    progress,
    report,
    stoppable,
)


def decode(
    codes: Annotated[
        Path,
        typer.Option(
            "--codes", metavar="FILE", help="`.npy`, `.npz` or `.parquet`, as `vaekit encode` writes: z, else the mean."
        ),
    ],
    out: RowsOutOption,
    bundle: BundleArgument = None,
    batch_size: BatchSizeOption = 256,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    precision: PrecisionOption = "fp32",
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Decode latent codes of any number into a file of items, in constant memory.

    `.npy` and `.npz` hold one array of items; `.parquet` holds a row an item, with the columns that the model was trained on.
    """
    from vaekit.bundle import Bundle
    from vaekit.runtime.codes import open_codes
    from vaekit.runtime.sinks import check_target
    from vaekit.runtime.stream import decode_stream

    check_target(out, overwrite=force)
    opened = Bundle.open(bundle, keep=[("decoder", precision)])
    model = open_half(
        "decoder", opened, engine=engine, provider=provider, precision=precision, threads=threads, workers=workers
    )
    with (
        stoppable(out) as check,
        open_codes(codes) as z,
        progress("decode", check, wanted=not (quiet or as_json)) as move,
    ):
        done = decode_stream(
            model,  # type: ignore[arg-type]  # the half that was asked for
            z,
            out,
            batch_size=batch_size,
            overwrite=force,
            on_progress=move,
        )
    report(done, as_json=as_json)
