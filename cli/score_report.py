"""What `vaekit score` found: as text with a histogram and the most unusual items, as JSON, as a file of all scores.

Needs: NumPy, rich; pyarrow inside the function that writes Parquet.
"""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import as_float
from vaekit.datasets.leaveout import label_name
from vaekit.scores import USUAL_QUANTILE, ScoreStatistics
from vaekit.storage import check_ending, check_new_file, write_file

from .console import console, one_line
from .results import show
from .score_histogram import ANOMALOUS, NORMAL, USUAL, Nats, draw, histogram
from .score_items import Chosen, Limit

if TYPE_CHECKING:
    from vaekit import VAE
    from vaekit.datasets import Dataset

ENDINGS: Final = (".csv", ".npz", ".parquet")


def show_scores(
    vae: VAE,
    dataset: Dataset,
    chosen: Chosen,
    limit: Limit | None,
    *,
    top: int,
    bins: Literal["auto", "linear", "log"],
    usual: Nats | None,
    out: Path | None,
) -> None:
    """Print what was found."""
    screen = console()

    def say(text: str) -> None:
        screen.print(one_line(text), markup=False)

    scores = chosen.scores
    what = "negative ELBO at z = mean" if vae.spec.kind == "vae" else "reconstruction loss"
    say(f"{vae.manifest.name} on {dataset.name}, {_part(chosen)}: {what} in nats")
    finite = scores[np.isfinite(scores)]
    if len(finite):
        say(
            f"mean {finite.mean():.6g}, standard deviation {finite.std():.6g}, "
            f"lowest {finite.min():.6g}, highest {scores.max():.6g}"
        )
    if len(finite) < len(scores):
        say(f"{len(scores) - len(finite):,} infinite: values so far off that the model's arithmetic overflows")
    nats = None if limit is None else limit.nats
    rows = histogram(scores, limit=nats, bins=bins, anomalous=chosen.anomalous, usual=usual)
    for line in draw(rows, limit=nats, width=screen.width):
        screen.print(line, no_wrap=True, overflow="crop")
    legend = []
    if chosen.anomalous is not None:
        legend.append(f"{NORMAL} other items, {ANOMALOUS} label {', '.join(chosen.anomalies)}")
    if usual is not None:
        legend.append(f"{USUAL} where the bar of normal data would end")
    if legend:
        say("; ".join(legend))
    for text in _verdict(vae, chosen, limit):
        say(text)
    if top:
        _show_highest(vae, dataset, chosen, top)
    if out is not None:
        say(f"wrote {out}")


def _part(chosen: Chosen) -> str:
    count = f"{len(chosen.scores):,}"
    return f"all {count} items" if chosen.part == "all" else f"{count} {chosen.part} items"


def _verdict(vae: VAE, chosen: Chosen, limit: Limit | None) -> list[str]:
    lines = []
    if limit is None:
        lines.append(f"no threshold: {no_threshold(vae.manifest.scores)}")
    else:
        unusual = chosen.unusual(limit)
        quantile = "" if limit.quantile is None else f"the {limit.quantile:g} quantile of "
        lines.append(
            f"unusual: {int(unusual.sum()):,} of {len(unusual):,} ({unusual.mean():.2%}), above {limit.nats:.6g} nats, "
            f"{quantile}{limit.source}"
        )
        if vae.precision != "fp32" and limit.items is not None and "bundle" in limit.source:
            lines.append(f"the threshold is that of fp32, the scores are those of {vae.precision}")
    found = chosen.auroc()
    if found is not None:
        lines.append(
            f"AUROC {found.value:.4f} +- {found.standard_error:.4f}: {found.anomalous:,} items of label "
            f"{', '.join(chosen.anomalies)} against {found.normal:,} others (standard error: Hanley & McNeil 1982)"
        )
        if limit is not None and chosen.anomalous is not None:
            caught, false = unusual[chosen.anomalous].mean(), unusual[~chosen.anomalous].mean()
            lines.append(f"above the threshold: {caught:.1%} of these anomalies, {false:.1%} of the others")
    return lines


def no_threshold(kept: ScoreStatistics | None) -> str:
    """Why the bundle gives no threshold where nobody asks for a quantile, and what does."""
    others = "--normal DATA (normal items that the model was not trained on)"
    if kept is None or not kept.quantiles:
        return f"the bundle keeps none; give {others}, or --threshold"
    quantiles = " or ".join(f"{quantile:g}" for quantile in kept.quantiles)
    return (
        f"the bundle keeps none for the {USUAL_QUANTILE:g} quantile of its {kept.items:,} normal items; give --quantile "
        f"{quantiles}, {others}, or --threshold"
    )


def _show_highest(vae: VAE, dataset: Dataset, chosen: Chosen, top: int) -> None:
    numbers = chosen.highest(top)
    console().print(f"\nthe {len(numbers)} most unusual (number{', label' * (chosen.labels is not None)}, score):")
    items = np.concatenate([as_float(chosen.items[int(p) : int(p) + 1]) for p in chosen.order[numbers]])
    captions = []
    for number in numbers:
        label = "" if chosen.labels is None else f" {label_name(dataset, int(chosen.labels[number]))}"
        captions.append(one_line(f"{number}{label} {chosen.scores[number]:.4g}"))
    show(items, vae.spec.data, captions=captions)


def as_values(vae: VAE, dataset: Dataset, chosen: Chosen, limit: Limit | None, *, top: int) -> dict[str, Any]:
    """Give the result as JSON's types; an infinite score is null."""
    scores, found = chosen.scores, chosen.auroc()
    finite = scores[np.isfinite(scores)]
    numbers = chosen.highest(top)
    unusual = None if limit is None else chosen.unusual(limit)
    values: dict[str, Any] = {
        "model": vae.manifest.name,
        "precision": vae.precision,
        "provider": vae.provider,
        "data": {"name": dataset.name, "sha256": dataset.sha256, "split": chosen.part},
        "items": len(scores),
        "mean": float(finite.mean()) if len(finite) else None,
        "std": float(finite.std()) if len(finite) else None,
        "lowest": _number(scores.min()),
        "highest": _number(scores.max()),
        "infinite": len(scores) - len(finite),
        "threshold": None
        if limit is None
        else {"nats": _number(limit.nats), "quantile": limit.quantile, "normal_items": limit.items},
        "unusual": None if unusual is None else int(unusual.sum()),
        "top": [
            {
                "index": int(number),
                **({"name": chosen.names[number]} if chosen.names else {}),
                **({} if chosen.labels is None else {"label": label_name(dataset, int(chosen.labels[number]))}),
                "score": _number(scores[number]),
            }
            for number in numbers
        ],
        "auroc": None,
    }
    if found is not None and chosen.anomalous is not None:
        caught: dict[str, Any] = {}
        if unusual is not None:
            caught = {
                "found": float(unusual[chosen.anomalous].mean()),
                "false_alarms": float(unusual[~chosen.anomalous].mean()),
            }
        values["auroc"] = {**found._asdict(), "labels": list(chosen.anomalies), **caught}
    return values


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def check_scores_file(out: Path, *, force: bool) -> None:
    """Refuse a file that cannot be written, before the work is done.

    Raises:
        ConfigError: Its ending is unknown.
        OutputError: It exists, or its folder does not.
        MissingDependencyError: It is a Parquet file, and pyarrow is not installed.
    """
    from vaekit.runtime.sinks import import_pyarrow

    if check_ending(out, ENDINGS) == ".parquet":
        import_pyarrow()
    check_new_file(out, ENDINGS, overwrite=force)


def write_scores(out: Path, dataset: Dataset, chosen: Chosen, limit: Limit | None, *, force: bool) -> None:
    """Write each item's number, name, label, score and whether it is unusual, as far as these are known.

    A label is its class's name where classes have names; in .npz, which is for arrays, it is always its number.

    Raises:
        OutputError: The file exists or cannot be written; nothing half-written is left.
    """
    columns: dict[str, NDArray[Any]] = {"index": np.arange(len(chosen.scores))}
    if chosen.names:
        columns["name"] = np.array(chosen.names)
    if chosen.labels is not None:
        named = dataset.classes and check_ending(out, ENDINGS) != ".npz"
        columns["label"] = (
            np.array([label_name(dataset, int(label)) for label in chosen.labels]) if named else chosen.labels
        )
    columns["score"] = chosen.scores
    if limit is not None:
        columns["unusual"] = chosen.unusual(limit)
    content = {".csv": _csv, ".npz": _npz, ".parquet": _parquet}[check_ending(out, ENDINGS)](columns)
    write_file(out, content, overwrite=force)


def _csv(columns: dict[str, NDArray[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    shown = [values.astype(int) if values.dtype == np.bool_ else values for values in columns.values()]
    writer.writerows(zip(*(values.tolist() for values in shown), strict=True))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _npz(columns: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **columns)
    return buffer.getvalue()


def _parquet(columns: dict[str, NDArray[Any]]) -> bytes:
    from vaekit.runtime.sinks import import_pyarrow

    arrow, buffer = import_pyarrow(), io.BytesIO()
    arrow.parquet.write_table(arrow.table({name: arrow.array(values) for name, values in columns.items()}), buffer)
    return buffer.getvalue()
