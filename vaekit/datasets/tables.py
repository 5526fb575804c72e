"""CSV and Parquet: each row an item (D,), or windows of a time series (D, T).

Items stay in their columns' own units. What standardises them, each column's mean and standard deviation over the training
rows, is measured here and goes into `Dataset.features`; the models subtract and divide inside their graphs.

Needs: NumPy; pyarrow through `columns.py`. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.columns import classes, numbers, read_columns
from vaekit.datasets.dataset import Dataset, Split, by_seed, choose_test
from vaekit.datasets.options import DataOptions
from vaekit.errors import ConfigError, DataError
from vaekit.spec import Feature

TABLE_ENDINGS: Final = (".csv", ".tsv", ".parquet", ".pq")


def load_table(path: Path, options: DataOptions) -> Dataset:
    """Read a table's rows, or the windows of the series that they are.

    Without a window, rows are divided by seed. With one, they are divided in time: the last `test_fraction` of the rows is
    for testing, and no window reaches over the border. Windows are views of one array of rows, so that overlapping ones
    take no memory of their own.

    Args:
        path: A .csv, .tsv, .parquet or .pq file, with a name for each column.
        options: `columns`, `label`, `window`, `stride`, `test_fraction`; without a window also `split_seed`.

    Returns:
        Items (D,) or (D, T), float32.

    Raises:
        ConfigError: An option does not apply.
        DataError: A column is missing or holds text, gaps or infinities; there are fewer than two rows, or fewer than a
            window in one part.
        MissingDependencyError: pyarrow is not installed.
    """
    table_kind = "Parquet table" if path.suffix.lower() in (".parquet", ".pq") else "CSV table"
    applies = ("columns", "window", "stride", "test_fraction")
    if options.window is None:
        options.only("the rows of a table", *applies, "label", "split_seed")
    else:
        options.only("the windows of a table, which are divided in time", *applies)
    table = read_columns(path)
    if table.num_rows == 0:
        raise DataError(f"{path} has no rows below its header.")
    names = options.columns or tuple(name for name in table.column_names if name != options.label)
    labels: NDArray[np.int64] | None = None
    label_names: tuple[str, ...] = ()
    if options.label is not None:
        labels, label_names = classes(table, options.label, where=path.name)
    if not names:
        raise ConfigError(f"{path.name} has no column but the label {options.label!r}; there is nothing to learn from.")
    rows = np.stack([numbers(table, name, where=path.name) for name in names], axis=1)  # (N, D)
    if options.window is None:
        chosen = choose_test(len(rows), options, name=path.name)
        training_rows = rows[~chosen]
        train, test = (Split(rows[which], None if labels is None else labels[which]) for which in (~chosen, chosen))
        kind, division = f"{table_kind}, one item a row", by_seed(options)
    else:
        training_rows, train, test = _divide_in_time(rows, options.window, options, path.name)
        kind = f"{table_kind}, windows of {options.window} rows, one every {options.stride or options.window}"
        division = f"in time, the last {100 * options.test_fraction:.3g}% of the rows to test on"
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape"))
    digest.update(rows.data)
    if labels is not None:
        digest.update(labels.data)
    return Dataset(
        path.stem,
        str(path),
        digest.hexdigest(),
        train,
        test,
        options,
        features=standardisation(training_rows, names),
        kind=kind,
        division=division,
        classes=label_names,
        bounds=(float(rows.min()), float(rows.max())),
    )


def standardisation(rows: NDArray[np.float32], names: tuple[str, ...]) -> tuple[Feature, ...]:
    """Measure each column's mean and standard deviation ``sqrt(mean((x - mean)^2))``, in float64, rounded to float32.

    A constant column has scale 1, so that it becomes 0 and not 0 / 0. The exported graphs hold float32: the model is trained by
    the numbers that they will take, which matters where the mean is a million deviations from 0.

    Args:
        rows: (N, D).
        names: D names.
    """
    features = []
    for column, name in zip(rows.T.astype(np.float64), names, strict=True):
        constant = column.min() == column.max()
        offset = float(column[0]) if constant else float(np.float32(column.mean()))
        scale = 1.0 if constant else float(max(np.float32(column.std()), np.finfo(np.float32).tiny))
        features.append(Feature(name, offset, scale))
    return tuple(features)


def constant_columns(dataset: Dataset) -> tuple[int, ...]:
    """Places of the columns that have one value among the training items; their scale is 1 (`standardisation`)."""
    unscaled = [place for place, feature in enumerate(dataset.features) if feature.scale == 1.0]
    if not unscaled:
        return ()
    train = dataset.train.items[:]
    return tuple(place for place in unscaled if train[:, place].min() == train[:, place].max())


def constant_in_training(dataset: Dataset) -> tuple[str, ...]:
    """Names of the columns that have one value among the training items, and others among the test items.

    A test item's value there reaches the model in the column's own unit, however large.
    """
    places = constant_columns(dataset)
    if not places:
        return ()
    first, test = dataset.train.items[:1], dataset.test.items[:]
    return tuple(dataset.features[place].name for place in places if (test[:, place] != first[:, place].min()).any())


def _divide_in_time(
    rows: NDArray[np.float32], window: int, options: DataOptions, name: str
) -> tuple[NDArray[np.float32], Split, Split]:
    """Cut a series (N, D) into training and test windows (M, D, T); also give the training rows."""
    if window > len(rows):
        raise DataError(f"{name} has {len(rows):,} rows, fewer than one window of {window:,}; give a shorter window.")
    border = len(rows) - max(1, round(len(rows) * options.test_fraction))
    parts = (rows[:border], rows[border:])
    for part, what in zip(parts, ("first", "last"), strict=True):
        if window > len(part):
            raise DataError(
                f"{name}: test_fraction={options.test_fraction:g} leaves {len(part):,} rows in the {what} part, fewer than "
                f"one window of {window:,}; give a shorter window, or another test_fraction."
            )
    stride = options.stride or window
    train, test = (Split(np.lib.stride_tricks.sliding_window_view(part, window, axis=0)[::stride]) for part in parts)
    return parts[0], train, test
