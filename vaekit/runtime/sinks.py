"""Rows to a file of any size, in constant memory: .npy, .npz and .parquet, whole or not at all.

    codes.npy       one array
    codes.npz       one array a column, stored without compression, so that a reader can map them
    codes.parquet   one number a column: mean_0, mean_1, ...; an item of several axes is a list of fixed length

The same rows give the same bytes, in however many pieces they come: archives carry no date, and row groups end where
their size says, not where a piece ends.

Shapes: N rows.

Needs: NumPy; pyarrow inside the functions that write Parquet. Must not import: torch, onnx.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.mapped import npy_header
from vaekit.errors import MissingDependencyError
from vaekit.storage import check_ending, check_new_file, new_file

ENDINGS: Final = (".npy", ".npz", ".parquet")

ROW_GROUP_BYTES: Final = 16 << 20
"""Of one row group of a Parquet file: what is held before it is written, and what a reader reads at a time."""

Columns: TypeAlias = Mapping[str, NDArray[np.float32]]
"""Some rows by column name, each (n, ...) float32 with the same n."""


class Column(NamedTuple):
    """One array of the result.

    Attributes:
        name: What it is called in an archive or table.
        shape: Of one row: (D,) for codes, the data's shape for items.
        labels: In a table, the names of a (D,) row's numbers; empty for name_0, name_1, ....
    """

    name: str
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return int(np.prod(self.shape))


class Sink(Protocol):
    """What takes the rows."""

    def append(self, rows: Columns) -> None:
        """Take the next rows."""
        ...


def ending(out: Path) -> str:
    """Give a path's ending in lower case.

    Raises:
        ConfigError: It is none of `ENDINGS`.
    """
    return check_ending(out, ENDINGS)


@contextlib.contextmanager
def open_sink(out: Path, columns: Sequence[Column], count: int, *, overwrite: bool) -> Iterator[Sink]:
    """Write rows into a temporary file beside the target, which takes its name when the block ends without an error.

    Args:
        out: Target; its folder must exist, and its ending says the format.
        columns: What a row consists of; a .npy file takes one.
        count: How many rows will come, N.
        overwrite: Whether a file that stands there may be replaced.

    Yields:
        The sink, to be given all N rows.

    Raises:
        ConfigError: The ending is unknown.
        OutputError: The target exists, or the folder or disk does not take it.
        MissingDependencyError: Parquet was asked for, and pyarrow is not installed.
    """
    kind = ending(out)
    if kind == ".parquet":
        import_pyarrow()  # before anything is written
    with new_file(out, overwrite=overwrite) as file, contextlib.ExitStack() as stack:
        sink: _Npy | _Npz | _Parquet
        if kind == ".npy":
            sink = _Npy(file, columns[0], count)
        elif kind == ".npz":
            sink = _Npz(file, columns, count, stack, spool=out.parent)
        else:
            sink = _Parquet(file, columns, stack)
        yield sink
        sink.finish()


def check_target(out: Path, *, overwrite: bool) -> None:
    """Refuse a target that cannot be written, before the work is done.

    Raises:
        ConfigError: Its ending is unknown.
        OutputError: It exists, or its folder does not.
        MissingDependencyError: It is a Parquet file, and pyarrow is not installed.
    """
    if ending(out) == ".parquet":
        import_pyarrow()
    check_new_file(out, ENDINGS, overwrite=overwrite)


def import_pyarrow() -> Any:
    """Import pyarrow, with its Parquet part.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "Parquet files need pyarrow; install it with `pip install 'vaekit[tables]'`, or choose .npy or .npz."
        ) from error
    return pyarrow


class _Npy:
    """One array: a header that states all N rows, then the rows."""

    def __init__(self, file: IO[bytes], column: Column, count: int) -> None:
        self._file, self._name = file, column.name
        file.write(npy_header("<f4", (count, *column.shape)))

    def append(self, rows: Columns) -> None:
        array = np.ascontiguousarray(rows[self._name], "<f4")
        if array.size:  # memoryview casts no empty array
            self._file.write(array.data.cast("B"))

    def finish(self) -> None:
        pass


class _Npz:
    """Arrays by name in one archive.

    An archive takes its members one after the other, while rows come with all columns at once. The first column goes
    straight into the archive; the others wait in files without a name beside it, and follow at the end. The model runs once,
    and the disk holds the waiting columns twice for a moment.
    """

    def __init__(
        self, file: IO[bytes], columns: Sequence[Column], count: int, stack: contextlib.ExitStack, *, spool: Path
    ) -> None:
        self._archive = stack.enter_context(zipfile.ZipFile(file, "w", zipfile.ZIP_STORED))
        self._first = stack.enter_context(self._member(columns[0].name))
        self._waiting = {
            column.name: stack.enter_context(tempfile.TemporaryFile(dir=spool))  # noqa: SIM115  (the stack closes them)
            for column in columns[1:]
        }
        targets = [self._first, *self._waiting.values()]
        self._arrays = [_Npy(target, column, count) for target, column in zip(targets, columns, strict=True)]

    def append(self, rows: Columns) -> None:
        for array in self._arrays:
            array.append(rows)

    def finish(self) -> None:
        self._first.close()
        for name, file in self._waiting.items():
            file.seek(0)
            with self._member(name) as member:
                shutil.copyfileobj(file, member, 1 << 20)

    def _member(self, name: str) -> IO[bytes]:
        # A ZipInfo of its own is dated 1980; zip64, since nobody has told the archive that the member is small.
        return self._archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


class _Parquet:
    """A table, in row groups of `ROW_GROUP_BYTES`."""

    def __init__(self, file: IO[bytes], columns: Sequence[Column], stack: contextlib.ExitStack) -> None:
        self._arrow = import_pyarrow()
        self._columns = columns
        fields = [field for column in columns for field in self._fields(column)]
        self._schema = self._arrow.schema(fields)
        # No dictionary: hardly two floats are equal.
        writer = self._arrow.parquet.ParquetWriter(file, self._schema, use_dictionary=False, compression="zstd")
        self._writer = stack.enter_context(writer)
        self._group = max(1, ROW_GROUP_BYTES // (4 * sum(column.size for column in columns)))
        self._pieces: list[Columns] = []
        self._held = 0

    def append(self, rows: Columns) -> None:
        self._pieces.append(rows)
        self._held += len(rows[self._columns[0].name])
        if self._held < self._group:
            return
        whole = self._gather()
        full = self._held - self._held % self._group
        for start in range(0, full, self._group):
            self._write({name: array[start : start + self._group] for name, array in whole.items()})
        self._pieces, self._held = [{name: array[full:] for name, array in whole.items()}], self._held - full

    def finish(self) -> None:
        if self._held:
            self._write(self._gather())

    def _gather(self) -> dict[str, NDArray[np.float32]]:
        return {c.name: np.concatenate([piece[c.name] for piece in self._pieces]) for c in self._columns}

    def _fields(self, column: Column) -> list[Any]:
        number = self._arrow.float32()
        if len(column.shape) == 1:
            labels = column.labels or tuple(f"{column.name}_{index}" for index in range(column.size))
            return [self._arrow.field(label, number, nullable=False) for label in labels]
        shape = {"shape": "x".join(map(str, column.shape))}  # the list is flat, the last axis fastest
        return [self._arrow.field(column.name, self._arrow.list_(number, column.size), nullable=False, metadata=shape)]

    def _write(self, rows: Columns) -> None:
        arrays = []
        for column in self._columns:
            values = rows[column.name]
            if len(column.shape) == 1:
                arrays += [self._arrow.array(np.ascontiguousarray(values[:, index])) for index in range(column.size)]
            else:
                flat = self._arrow.array(np.ascontiguousarray(values).reshape(-1))
                arrays.append(self._arrow.FixedSizeListArray.from_arrays(flat, column.size))
        table = self._arrow.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(table, row_group_size=self._group)
