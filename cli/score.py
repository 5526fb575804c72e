"""`vaekit score`: how unusual each item of a data set is, by a model of what is normal."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vaekit.errors import BundleError, ConfigError
from vaekit.scores import USUAL_QUANTILE

from .console import print_json
from .data_options import for_model, read_data, reads_data
from .encode import Part, check_columns
from .evaluate import same_data
from .options import (
    LABEL_RULE,
    ForceOption,
    JsonOption,
    PrecisionOption,
    ProviderOption,
    QuietOption,
    ThreadsOption,
)
from .streaming import BatchSizeOption, progress, stoppable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vaekit import VAE
    from vaekit.datasets import Dataset

    from .score_items import Chosen, Limit

Bins = Literal["auto", "linear", "log"]

FAILED = 3
"""Exit code where more items than --fail-above says are unusual: neither that of an error nor that of a wrong option."""


@reads_data
def score(
    given: dict[str, Any],
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[BUNDLE] DATA",
            help="A bundle, without which it is the built-in MNIST model, and a data set as `vaekit train` takes it.",
        ),
    ],
    part: Annotated[
        Part | None,
        typer.Option("--split", help="Which items; without it, `test` of the model's own data, `all` of other data."),
    ] = None,
    anomalous: Annotated[
        list[str] | None,
        typer.Option(
            "--anomalous",
            metavar="LABEL",
            help=f"Items of this label ({LABEL_RULE}) are anomalies: say how well they are found; may be repeated.",
        ),
    ] = None,
    normal: Annotated[
        str | None,
        typer.Option(
            "--normal",
            metavar="DATA",
            help="Take the threshold from this data, which must be normal and not trained on.",
        ),
    ] = None,
    quantile: Annotated[
        float | None,
        typer.Option(
            "--quantile",
            metavar="0…1",
            help=f"Part of normal items that the threshold lets pass; without it, {USUAL_QUANTILE}.",
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", metavar="NATS", help="Scores above this are unusual.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=0, metavar="N", help="Show so many of the most unusual items.")] = 8,
    bins: Annotated[
        Bins,
        typer.Option(
            "--bins",
            help="The histogram's steps; `auto` is `log` where scores span magnitudes. With scores of 0 or less, `linear`.",
        ),
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write every score: `.csv`, `.parquet`, or `.npz` (labels as numbers)."
        ),
    ] = None,
    fail_above: Annotated[
        int | None,
        typer.Option(
            "--fail-above", min=0, metavar="N", help=f"Exit with code {FAILED} if more than N items are unusual."
        ),
    ] = None,
    batch_size: BatchSizeOption = 256,
    precision: PrecisionOption = "fp32",
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score items by how unusual they are: negative ELBO in nats, with z at the posterior's mean.

    The threshold is a quantile of what normal items score, which the bundle keeps, or that of --normal. A high score means that
    the model has seen nothing like it; a low one does not mean that an item is normal: simple items score low in every model.
    """
    import vaekit
    from vaekit.runtime.anomaly import score_items

    from .score_items import chosen_items
    from .score_report import as_values, check_scores_file, no_threshold, show_scores, write_scores

    bundle, data = _places(arguments)
    silent = quiet or as_json
    if threshold is not None and (quantile is not None or normal is not None):
        raise ConfigError("--threshold says the threshold itself; leave out --quantile and --normal, or leave it out.")
    if out is not None:
        check_scores_file(out, force=force)
    vae = vaekit.load(bundle, provider=provider, precision=precision, threads=threads)
    dataset = _read(vae, data, given, silent=silent)
    chosen = chosen_items(dataset, part or _usual_part(vae, dataset), tuple(anomalous or ()))
    with stoppable(out) as check:
        usual = None
        if normal is not None:
            other = _read(vae, normal, given, silent=silent)
            items = chosen_items(other, _usual_part(vae, other), ()).items
            with progress("normal", check, wanted=not silent) as move:
                usual = score_items(vae, items, batch_size=batch_size, on_progress=move)
        limit = _limit(vae, threshold, quantile, usual, normal)
        if fail_above is not None and limit is None:
            raise ConfigError(
                f"--fail-above {fail_above} counts items above a threshold, but {no_threshold(vae.manifest.scores)}."
            )
        with progress("score", check, wanted=not silent) as move:
            scores = score_items(vae, chosen.items, batch_size=batch_size, on_progress=move)
        chosen = chosen.scored(scores)
        if out is not None:
            write_scores(out, dataset, chosen, limit, force=force)
    if as_json:
        print_json(as_values(vae, dataset, chosen, limit, top=top))
    else:
        show_scores(vae, dataset, chosen, limit, top=top, bins=bins, usual=usual, out=out)
    _judge(chosen, limit, fail_above)


def _places(arguments: list[str]) -> tuple[Path | None, str]:
    """The bundle, if one was named, and the data."""
    if len(arguments) > 2:
        raise ConfigError(
            f"score takes a bundle and a data set, or a data set alone, but was given {len(arguments)} arguments."
        )
    return (None if len(arguments) == 1 else Path(arguments[0])), arguments[-1]


def _read(vae: VAE, data: str, given: dict[str, Any], *, silent: bool) -> Dataset:
    """Read data as the model takes it."""
    from vaekit.datasets import options_for
    from vaekit.errors import ShapeError

    dataset = read_data(data, for_model(options_for(data, vae.spec.data), given, data), quiet=silent)
    check_columns(dataset, vae.spec.data)
    shape = tuple(dataset.test.items.shape[1:])
    if shape != vae.spec.data.shape:
        raise ShapeError(f"{dataset.name} has items of shape {shape}, but the model takes {vae.spec.data.shape}.")
    return dataset


def _usual_part(vae: VAE, dataset: Dataset) -> Part:
    """Of the model's own data the items that it was not trained on, of other data all."""
    return "test" if same_data(vae, dataset) else "all"


def _limit(
    vae: VAE,
    threshold: float | None,
    quantile: float | None,
    usual: NDArray[np.float64] | None,
    normal: str | None,
) -> Limit | None:
    """Where normal ends, and who says so; None where nobody does and nobody asked."""
    from vaekit.runtime.anomaly import threshold as at_quantile

    from .score_items import Limit

    if threshold is not None:
        if not isfinite(threshold):
            raise ConfigError(f"--threshold {threshold}: give a number of nats.")
        return Limit(threshold, None, None, "given by --threshold")
    kept = vae.manifest.scores
    wanted = USUAL_QUANTILE if quantile is None else quantile
    if usual is not None:
        return Limit(at_quantile(usual, wanted), wanted, len(usual), f"{len(usual):,} items of {normal}")
    if not 0 < wanted < 1:
        raise ConfigError(f"--quantile {wanted:g}: give a number above 0 and below 1, e.g. {USUAL_QUANTILE}.")
    if kept is None:
        if quantile is None:
            return None
        raise BundleError(
            f"--quantile {wanted:g} was asked for, but the bundle {vae.manifest.name!r} keeps no scores of normal items; "
            "give --normal DATA or --threshold, or export it again."
        )
    if quantile is None and wanted not in kept.quantiles:
        return None
    nats = kept.threshold(wanted, of=f"the bundle {vae.manifest.name!r}")
    return Limit(nats, wanted, kept.items, f"{kept.items:,} normal test items, kept in the bundle")


def _judge(chosen: Chosen, limit: Limit | None, fail_above: int | None) -> None:
    """End with `FAILED` where more items are unusual than may be."""
    if fail_above is not None and limit is not None and int(chosen.unusual(limit).sum()) > fail_above:
        raise typer.Exit(FAILED)
