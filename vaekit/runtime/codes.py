"""Latent codes read back from a file of any size: .npy, .npz or .parquet, as one array that is mapped, not loaded.

In a file of several arrays the codes are `z` where there is one, else `mean`: what `vaekit encode` writes. An array that lies
in its file as it is in memory is mapped where it lies; a compressed one, or a table's columns, are first laid out
in a temporary file.

Shapes: N codes, D latent dimensions.

Needs: NumPy; pyarrow inside the function that reads Parquet. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import contextlib
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import DataError, OutputError, one_line
from vaekit.runtime.sinks import ending, import_pyarrow

NAMES: Final = ("z", "mean")
"""Arrays that may be the codes, the first one that is there."""

PIECE: Final = 1 << 20
"""Bytes copied at a time."""


@contextlib.contextmanager
def open_codes(path: Path) -> Iterator[NDArray[Any]]:
    """Map the codes of a file while the block runs.

    Args:
        path: A .npy file with one array; a .npz file with arrays, or a .parquet file with columns z_0, z_1, ... or mean_0, ....

    Yields:
        Codes, (N, D), of a floating type.

    Raises:
        ConfigError: The ending is unknown.
        DataError: The file is missing, damaged, or holds no codes.
        MissingDependencyError: It is a Parquet file, and pyarrow is not installed.
        OutputError: There is no room for the temporary file.
    """
    kind = ending(path)
    with contextlib.ExitStack() as stack:
        try:
            path.open("rb").close()  # what the system has against it: pyarrow would say it twice
            if kind == ".npy":
                codes = _map_array(path, 0)  # np.load's messages advise to trust pickled objects
            elif kind == ".npz":
                codes = _from_archive(path, stack)
            else:
                codes = _from_table(path, stack)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, struct.error, RuntimeError) as error:
            reason = one_line(error, 600) or type(error).__name__
            raise DataError(f"{path} cannot be read as a {kind} file: {reason}.") from error
        if codes.ndim != 2 or codes.dtype.kind != "f":
            raise DataError(
                f"{path} holds an array of shape {codes.shape} and dtype {codes.dtype}; codes are (N, D) floating numbers."
            )
        yield codes


def _from_archive(path: Path, stack: contextlib.ExitStack) -> NDArray[Any]:
    archive = stack.enter_context(zipfile.ZipFile(path))
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    found = [members[name] for name in NAMES if name in members]
    if not found:
        raise DataError(f"{path} holds {', '.join(members) or 'no arrays'}; codes are called {' or '.join(NAMES)}.")
    info = found[0]
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        return _map_array(path, _content(path, info))
    copy = _temporary(stack)
    with archive.open(info) as member, _room():
        while piece := member.read(PIECE):
            copy.write(piece)
        copy.flush()
    return _map_array(Path(copy.name), 0)


def _content(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin: after its local header, whose two last lengths vary."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
        if header[:4] != b"PK\x03\x04":
            raise ValueError("an entry of the archive is damaged")
        name, extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + int(name) + int(extra)


def _map_array(path: Path, start: int) -> NDArray[Any]:
    """Map the .npy content that begins at some byte of a file."""
    with path.open("rb") as file:
        file.seek(start)
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise ValueError(f"its array has the format version {version}, which is unknown here")
        shape, fortran, dtype = read[version](file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which are never loaded")
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, mode="r", offset=file.tell(), shape=shape, order="F" if fortran else "C")


def _from_table(path: Path, stack: contextlib.ExitStack) -> NDArray[Any]:
    arrow = import_pyarrow()
    table = stack.enter_context(arrow.parquet.ParquetFile(path))
    names = set(table.schema_arrow.names)
    for name in NAMES:
        count = sum(bool(re.fullmatch(rf"{name}_\d+", column)) for column in names)
        wanted = [f"{name}_{index}" for index in range(count)]
        if count and names.issuperset(wanted):
            break
    else:
        raise DataError(f"{path} has no columns {' or '.join(f'{name}_0, {name}_1, ...' for name in NAMES)}.")
    rows, copy = table.metadata.num_rows, _temporary(stack)
    with _room():
        for batch in table.iter_batches(columns=wanted):
            if any(column.null_count for column in batch.columns):
                raise DataError(f"{path} has gaps among its codes; every value must be a number.")
            columns = [np.asarray(batch.column(column), np.float32) for column in wanted]
            copy.write(np.stack(columns, axis=1).tobytes())
        copy.flush()
    if rows == 0:
        return np.empty((0, count), np.float32)
    return np.memmap(copy.name, np.float32, mode="r", shape=(rows, count))


def _temporary(stack: contextlib.ExitStack) -> IO[bytes]:
    """A file with a name, so that other processes can map it; it goes when the codes do."""
    return stack.enter_context(tempfile.NamedTemporaryFile(prefix="vaekit-codes-"))


@contextlib.contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"the codes could not be laid out in {tempfile.gettempdir()}: {error.strerror or error}; "
            "set TMPDIR to a folder with room."
        ) from error
