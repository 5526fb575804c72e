"""`vaekit encode`: a data set of any size to the file of its latent codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .data_options import for_model, read_data, reads_data
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

if TYPE_CHECKING:
    from vaekit.datasets import Dataset
    from vaekit.runtime.stream import Source
    from vaekit.spec import DataSpec

Part = Literal["all", "train", "test"]


@reads_data
def encode(
    given: dict[str, Any],
    data: Annotated[
        str, typer.Option("--data", metavar="NAME|PATH", help="The items: a data set's name, a folder or a file.")
    ],
    out: RowsOutOption,
    bundle: BundleArgument = None,
    part: Annotated[
        Part, typer.Option("--split", help="Which items; `all` are the training items, then the test items.")
    ] = "all",
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw a code z from each posterior too; see --seed.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed of --sample's portable noise; without it, 0.")
    ] = None,
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
    """Encode a data set of any size into a file, in constant memory.

    `.npz` and `.parquet` hold each item's mean and log-variance, and z with --sample; `.npy` holds the codes alone: z with
    --sample, else the mean. `vaekit decode` reads all three.
    """
    from vaekit.bundle import Bundle
    from vaekit.datasets import options_for
    from vaekit.errors import ConfigError
    from vaekit.runtime.sinks import check_target
    from vaekit.runtime.stream import encode_stream

    if seed is not None and not sample:
        raise ConfigError(f"--seed {seed} belongs to --sample, which was not given; the means need no seed.")
    check_target(out, overwrite=force)
    opened = Bundle.open(bundle, keep=[("encoder", precision)])
    options = for_model(options_for(data, opened.manifest.spec.data), given, data)
    model = open_half(
        "encoder", opened, engine=engine, provider=provider, precision=precision, threads=threads, workers=workers
    )
    dataset = read_data(data, options, quiet=quiet or as_json)
    check_columns(dataset, model.spec.data)
    items = _items(dataset, part)
    with stoppable(out) as check, progress("encode", check, wanted=not (quiet or as_json)) as move:
        done = encode_stream(
            model,  # type: ignore[arg-type]  # the half that was asked for
            items,
            out,
            batch_size=batch_size,
            seed=(seed or 0) if sample else None,
            overwrite=force,
            on_progress=move,
        )
    report(done, as_json=as_json)


def check_columns(dataset: Dataset, model: DataSpec) -> None:
    """Refuse a table whose columns are as many as the model's, but others or in another order."""
    from vaekit.errors import DataError

    found, wanted = ([feature.name for feature in features] for features in (dataset.features, model.features))
    if found and wanted and found != wanted:
        raise DataError(
            f"{dataset.name} has the columns {', '.join(found)}, but the model takes {', '.join(wanted)}; "
            "name these with --columns."
        )


def _items(dataset: Dataset, part: Part) -> Source:
    from vaekit.datasets.rows import Joined

    if part == "all":
        return Joined(dataset.train.items, dataset.test.items)
    return dataset.train.items if part == "train" else dataset.test.items
