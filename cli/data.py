"""`vaekit data`: what a data set was understood to be, before anybody trains on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.options import DataOptions

from .console import console, one_line, print_json, print_table
from .data_options import (
    DataArgument,
    read_data,
    reads_data,
)
from .options import JsonOption, QuietOption

if TYPE_CHECKING:
    from rich.console import Console

    from vaekit.datasets import Dataset

IMAGES: Final = 16
"""Examples that are drawn."""

LISTED: Final = 10
"""Labels, features or skipped files that are listed; --json gives all."""

ROWS, COLUMNS = 5, 6
"""Size of the table of examples."""


@reads_data
def data(
    given: dict[str, Any],
    source: DataArgument = "mnist",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read a data set and show what was understood: kind, counts, shape, range, labels, and examples."""
    found = read_data(source, DataOptions(**given), quiet=quiet)
    if as_json:
        print_json(describe(found))
        return
    out = console()
    _print_lines(out, found)
    _print_features(out, found)
    _print_examples(out, found)


def describe(found: Dataset) -> dict[str, Any]:
    """Say all that is known of a data set as JSON's types."""
    spec = found.spec
    return {
        "name": found.name,
        "kind": found.kind,
        "source": found.source,
        "sha256": found.sha256,
        "train_items": len(found.train),
        "test_items": len(found.test),
        "division": found.division,
        "shape": list(spec.shape),
        "layout": spec.layout,
        "stored_as": str(found.train.items.dtype),
        "range": None if spec.range is None else list(spec.range),
        "bounds": None if found.bounds is None else list(found.bounds),
        "labels": [{"label": label, "name": name, "items": count} for label, name, count in _labels(found)],
        "features": [vars(feature) for feature in found.features],
        "skipped": [{"path": path, "reason": reason} for path, reason in found.skipped],
        "notes": list(found.notes),
        "options": found.options.to_json(),
    }


def _labels(found: Dataset) -> list[tuple[int, str, int]]:
    """Each label, what it stands for, and how many items of both splits have it."""
    given = [split.labels for split in (found.train, found.test) if split.labels is not None]
    if not given:
        return []
    labels, counts = np.unique(np.concatenate(given), return_counts=True)
    names = found.classes
    return [
        (label, names[label] if names else str(label), count)
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True)
    ]


def _print_lines(out: Console, found: Dataset) -> None:
    from rich.table import Table
    from rich.text import Text

    spec = found.spec
    shape = " x ".join(map(str, spec.shape))
    if spec.range is not None:
        limits = "0 to 1" + (", from 8-bit pixels" if found.train.items.dtype == np.uint8 else "")
    else:
        limits = "real values" + ("" if found.bounds is None else f", {found.bounds[0]:.6g} to {found.bounds[1]:.6g}")
    lines = [
        ("name", found.name),
        ("kind", found.kind),
        ("source", found.source),
        ("items", f"{len(found.train):,} to train on, {len(found.test):,} to test on"),
        ("division", found.division),
        ("shape", f"{spec.layout} {shape}"),
        ("range", limits),
    ]
    labels = _labels(found)
    if labels:
        listed = ", ".join(f"{name} ({count:,})" for _, name, count in labels[:LISTED])
        lines.append(("labels", listed + _more(len(labels))))
    else:
        lines.append(("labels", "none"))
    lines += [("note", note) for note in found.notes]
    lines.append(("skipped", f"{len(found.skipped):,} files" if found.skipped else "nothing"))
    lines += [("", f"{path}: {reason}") for path, reason in found.skipped[:LISTED]]
    if len(found.skipped) > LISTED:
        lines.append(("", f"{len(found.skipped) - LISTED:,} more; --json lists all"))
    lines.append(("sha256", found.sha256))
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in lines:
        table.add_row(Text(name), Text(one_line(text)))  # not markup: a name may hold brackets
    print_table(table, out)


def _print_features(out: Console, found: Dataset) -> None:
    from vaekit.datasets.tables import constant_columns

    if not found.features:
        return
    shown = found.features[:LISTED]
    constant = constant_columns(found)  # divided by 1, which is not their deviation
    rows = [
        [feature.name, f"{feature.offset:.6g}", "0" if place in constant else f"{feature.scale:.6g}"]
        for place, feature in enumerate(shown)
    ]
    out.print()
    _print_table(out, ["feature", "mean", "deviation"], rows)
    if len(found.features) > LISTED:
        out.print(f"{len(found.features) - LISTED:,} more; --json lists all", markup=False)


def _print_examples(out: Console, found: Dataset) -> None:
    """Draw images, or list the first values of rows or of one window."""
    from .pictures import Picture, readable_columns

    split, spec = found.train, found.spec
    out.print()
    if spec.is_image:
        # Spread over the split: in a folder of classes, neighbours are alike.
        rows = np.linspace(0, len(split) - 1, min(IMAGES, len(split))).astype(np.int64)
        captions = None
        if split.labels is not None:
            captions = [found.classes[label] if found.classes else str(label) for label in split.labels[rows].tolist()]
        columns = readable_columns(spec.shape, out.width, len(rows))
        out.print(Picture(split.pixels(rows), captions=captions, columns=columns))
        return
    if len(spec.shape) == 3:
        out.print(f"no picture: {spec.shape[0]} channels are neither grey nor colour", markup=False)
        return
    names = [feature.name for feature in found.features] or [str(place) for place in range(spec.shape[0])]
    if len(spec.shape) == 1:
        title, values = "row", split.pixels(slice(0, ROWS))  # (rows, D)
    else:
        title, values = "step", split.pixels(slice(0, 1))[0].T[:ROWS]  # (steps, D)
    _print_table(out, [title, *names[:COLUMNS]], _cells(values))
    left = len(names) - COLUMNS
    if left > 0:
        out.print(f"{left:,} more columns", markup=False)


def _cells(values: NDArray[np.float32]) -> list[list[str]]:
    return [[str(place), *(f"{value:.6g}" for value in row[:COLUMNS])] for place, row in enumerate(values)]


def _print_table(out: Console, header: list[str], rows: list[list[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(header):
        table.add_column(Text(one_line(name)), justify="right" if place else "left")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    print_table(table, out)


def _more(count: int) -> str:
    return f" and {count - LISTED:,} more" if count > LISTED else ""
