"""Columns of a CSV or Parquet file as numbers, strictly: a text, a gap or an infinity is an error that says where it is.

Rows are counted from 1, without the header.

Needs: NumPy; pyarrow inside functions. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    import pyarrow as pa

DELIMITERS: Final = ",;\t"
GAPS: Final = ["", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None"]
"""What stands for a missing value in a CSV file."""

HEADER_LIMIT: Final = 1 << 20
"""Bytes within which the first line must end."""


def read_columns(path: Path) -> pa.Table:
    """Read a CSV (.csv, .tsv) or Parquet file (.parquet, .pq) whole.

    Raises:
        DataError: The file is empty, damaged, not UTF-8, or has no header.
        MissingDependencyError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.csv as pa_csv
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"reading {path.name} needs {error.name}; install it with `pip install 'vaekit[tables]'`."
        ) from error
    try:
        with path.open("rb") as file:  # not by name: pyarrow takes some characters of names for an address
            if path.suffix.lower() in (".parquet", ".pq"):
                table = pq.read_table(file)
            else:
                delimiter = _delimiter(path)
                table = pa_csv.read_csv(
                    file,
                    parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                    convert_options=pa_csv.ConvertOptions(null_values=GAPS, strings_can_be_null=True),
                )
    except pa.ArrowException as error:
        raise DataError(f"{path} cannot be read as a table: {' '.join(str(error).split()).rstrip('.')}.") from error
    if "" in table.column_names:
        place = table.column_names.index("") + 1
        raise DataError(f"{path}: column {place} has no name (pandas writes its row numbers so, unless index=False).")
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise DataError(
            f"{path} has more than one column called {', '.join(map(repr, twice))}; give each its own name."
        )
    return table


def numbers(table: pa.Table, name: str, *, where: str) -> NDArray[np.float32]:
    """Take one column as float32.

    Args:
        table: What `read_columns` gave.
        name: The column.
        where: The file's name, for messages.

    Returns:
        (N,) finite values.

    Raises:
        DataError: There is no such column, or it has a text, a gap, an infinity, or a value beyond float32.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _column(table, name, where)
    kind = column.type
    if pa.types.is_null(kind) and len(column):
        raise DataError(f"{where}: column {name!r} has a gap in row 1; fill it, or drop the row.")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        # pyarrow takes a column for text where Python still sees numbers, as in "+1.5".
        column = pa.chunked_array([[_number(text, name, row, where) for row, text in enumerate(column.to_pylist(), 1)]])
        kind = pa.float64()
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        raise DataError(
            f"{where}: column {name!r} holds {kind} (row 1: {_short(column[0])}); name the numeric columns by --columns."
        )
    if column.null_count:
        row = column.is_null().to_pylist().index(True) + 1
        raise DataError(f"{where}: column {name!r} has a gap in row {row}; fill it, or drop the row.")
    values: NDArray[np.float64] = pc.cast(column, pa.float64(), safe=False).to_numpy()
    bad = np.flatnonzero(~(np.abs(values) <= np.finfo(np.float32).max))  # NaN compares false
    if bad.size:
        value = values[bad[0]]
        what = "a gap" if np.isnan(value) else f"{value:g}"
        raise DataError(
            f"{where}: column {name!r} has {what} in row {bad[0] + 1}; every value must be a finite float32."
        )
    return values.astype(np.float32)


def classes(table: pa.Table, name: str, *, where: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Take one column as labels.

    Returns:
        (N,) labels, and what they stand for: whole numbers are labels themselves, and stand for nothing else (); texts are
        numbered in sorted order.

    Raises:
        DataError: There is no such column, it has a gap, or it holds neither whole numbers nor text.
    """
    import pyarrow as pa

    column = _column(table, name, where)
    if column.null_count or not len(column):
        row = column.is_null().to_pylist().index(True) + 1 if len(column) else 1
        raise DataError(f"{where}: the label column {name!r} has a gap in row {row}; every row needs a label.")
    if pa.types.is_integer(column.type) and column.type != pa.uint64():
        return column.cast(pa.int64()).to_numpy(), ()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts, codes = np.unique(np.asarray(column.to_pylist()), return_inverse=True)
        return codes.astype(np.int64), tuple(map(str, texts))
    raise DataError(f"{where}: the label column {name!r} holds {column.type}; labels are whole numbers or texts.")


def _column(table: pa.Table, name: str, where: str) -> Any:
    if name not in table.column_names:
        raise DataError(f"{where} has no column {name!r}; it has {', '.join(map(repr, table.column_names))}.")
    return table.column(name)


def _delimiter(path: Path) -> str:
    """The delimiter that the first line has most of; and a look at whether that line is a header."""
    with path.open("rb") as file:
        line = file.readline(HEADER_LIMIT)
    header = line.decode("utf-8-sig", "replace").strip("\r\n")
    if not header.strip():
        raise DataError(f"{path} has no header: its first line is empty; name the columns there.")
    delimiter = max(DELIMITERS, key=header.count)
    names = [name.strip().strip('"') for name in header.split(delimiter)]
    # pandas calls columns without names 0, 1, 2, ...; other numbers are a first row of values.
    if all(map(_numeric, names)) and names != [str(place) for place in range(len(names))]:
        raise DataError(f"{path} has no header: its first line is {_short(header)}; name the columns there.")
    return delimiter


def _number(text: str | None, name: str, row: int, where: str) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise DataError(
            f"{where}: column {name!r} holds text in row {row}: {_short(text)}; name the numeric columns by --columns, or "
            "correct it."
        ) from None


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _short(value: object) -> str:
    text = repr(str(value))
    return text if len(text) <= 40 else f"{text[:36]}...'"
