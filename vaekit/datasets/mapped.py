"""Arrays larger than memory: a file that is mapped, some of its rows, and one pass over it in constant memory.

A mapped array's pages become resident as they are read, and stay so until somebody lets them go: `release` does.

Shapes: N rows, each of any shape.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import isfinite, prod
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import DataError

IN_MEMORY: Final = 1 << 30
"""Bytes, 1 GiB, up to which items are plain arrays; those of larger files are `Rows`."""

CHUNK: Final = 32 << 20
"""Bytes of one step of a pass: what is resident at a time, and large enough that a step's overhead does not show."""

RELEASE_AFTER: Final = 32 << 20
"""Bytes that a `Reader` reads of a mapped file between two times that its pages are let go."""

MAX_BLOCKS: Final = 1 << 20
"""Most blocks that a split is drawn from: 8 MiB of their numbers, however many rows the array has."""


class Rows:
    """Some rows of an array, in order, none of them copied: what a split of a mapped array is.

    The rows come in blocks of equal length, so that the choice among a billion rows still fits into a few megabytes.
    It has what an array of items needs and no more: `shape`, `dtype`, `ndim`, ``len()`` and ``[]`` by a slice or by
    whole numbers, which copies the rows that it gives.

    Args:
        array: (N, *shape), mapped or not.
        blocks: Increasing numbers of the blocks, int64: block b is rows b * length to (b + 1) * length.
        length: Rows in a block; the array's last block may be shorter.
    """

    def __init__(self, array: NDArray[Any], blocks: NDArray[np.int64], length: int = 1) -> None:
        self.array = array
        self._blocks = blocks
        self._length = length
        count = len(blocks) * length
        if len(blocks):
            count -= max(0, (int(blocks[-1]) + 1) * length - len(array))
        self.shape: tuple[int, ...] = (count, *array.shape[1:])
        self.dtype: np.dtype[Any] = array.dtype
        self.ndim = array.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.integer[Any]]) -> NDArray[Any]:
        if isinstance(rows, slice):
            wanted = np.arange(*rows.indices(len(self)))
        else:
            wanted = np.asarray(rows)
            if wanted.dtype.kind not in "iu" or wanted.ndim != 1:
                raise IndexError(f"rows are taken by a slice or an array of whole numbers, not by {rows!r}.")
            if wanted.size and (wanted.min() < -len(self) or wanted.max() >= len(self)):
                raise IndexError(f"rows {wanted.min()} to {wanted.max()} were asked for, but there are {len(self)}.")
            wanted = np.where(wanted < 0, wanted + len(self), wanted)
        return gather(self.array, self.numbers(wanted))

    def numbers(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where these rows stand in the array, (n,) -> (n,)."""
        block, place = np.divmod(rows, self._length)
        return self._blocks[block] * self._length + place


Items: TypeAlias = NDArray[np.uint8] | NDArray[np.float32] | Rows
"""Items of a split: an array, or rows of one. Both have len, shape, dtype, ndim and [] by slice or whole numbers."""


class Joined:
    """Items one after the other as one: a training and a test split, say.

    Args:
        parts: Arrays or `Rows` of the same item shape and dtype.
    """

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.shape: tuple[int, ...] = (sum(len(part) for part in parts), *parts[0].shape[1:])
        self.dtype: np.dtype[Any] = parts[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        start, stop, _ = rows.indices(len(self))
        pieces, first = [], 0
        for part in self.parts:
            inside = slice(max(start - first, 0), min(stop - first, len(part)))
            if inside.start < inside.stop:
                pieces.append(part[inside])
            first += len(part)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


class Reader:
    """Items that somebody reads once: of a mapped file, what was read lately is let go before more is read.

    Args:
        items: What has `shape`, `dtype`, ``len()`` and ``[]``: an array, `Rows`, `Joined`.
    """

    def __init__(self, items: Any) -> None:
        self.items = items
        self.shape: tuple[int, ...] = items.shape
        self.dtype: np.dtype[Any] = items.dtype
        self._read = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: slice | NDArray[np.integer[Any]]) -> NDArray[Any]:
        if self._read > RELEASE_AFTER:
            self.release()
        found: NDArray[Any] = self.items[rows]
        self._read += found.nbytes
        return found

    def release(self) -> None:
        """Let go all that was read."""
        release(self.items)
        self._read = 0


def evenly(total: int, count: int) -> NDArray[np.int64]:
    """Numbers of some of `total` rows, evenly spaced from the first to the last; all of them, where there are no more.

    Args:
        total: Rows there are.
        count: How many at most.
    """
    return np.linspace(0, total - 1, min(count, total)).astype(np.int64)


def spread(items: NDArray[Any] | Rows, count: int) -> Items:
    """Choose some items, evenly spaced, without copying one; all of them, where there are no more.

    Args:
        items: (N, *shape).
        count: How many at most.
    """
    if len(items) <= count:
        return items
    chosen = evenly(len(items), count)
    return Rows(items.array, items.numbers(chosen)) if isinstance(items, Rows) else Rows(items, chosen)


def gather(array: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Copy some rows of an array; those of a mapped file are read from the file, not through the mapping.

    Random rows through a mapping bring their neighbours along, page by page: reading them took a tenth of the time from a
    cold file and a third from a warm one, and leaves nothing resident. A file that was cut short in the meantime is an error
    then, where a mapping would end the process.

    Args:
        array: (N, *shape): in memory, a mapped array, or a view of one that begins where its rows begin.
        rows: Their numbers, each 0 to N - 1, in any order.

    Raises:
        DataError: The file can no longer be read.
    """
    file = _file(array)
    if file is None or file.filename is None or not len(rows) or not hasattr(os, "preadv"):
        return np.asarray(array[rows])
    raw = np.empty((len(rows), *file.shape[1:]), file.dtype)
    content = raw.reshape(len(rows), -1).view(np.uint8)
    size = content.shape[1]
    # Rows that follow each other are one read.
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    descriptor = os.open(file.filename, os.O_RDONLY)
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
            part = content[start:end].data.cast("B")
            at = file.offset + int(rows[start]) * size
            while part:
                count = os.preadv(descriptor, [part], at)
                if count == 0:
                    raise DataError(f"{file.filename} ends at byte {at:,}; it was cut short while it was in use.")
                part, at = part[count:], at + count
    finally:
        os.close(descriptor)
    return np.lib.stride_tricks.as_strided(raw, (len(rows), *array.shape[1:]), (raw.strides[0], *array.strides[1:]))


def _file(array: NDArray[Any]) -> np.memmap[Any, Any] | None:
    """The mapped array whose rows these are, if they are: np.load's own, or a view with the axes of a row in another order."""
    base: Any = array
    while isinstance(base, np.ndarray) and not (isinstance(base, np.memmap) and not isinstance(base.base, np.ndarray)):
        base = base.base
    whole = (
        isinstance(base, np.memmap)
        and base.flags.c_contiguous
        and array.ctypes.data == base.ctypes.data
        and len(array) == len(base)
        and array.strides[0] == base.strides[0]
        and array.nbytes == base.nbytes
    )
    return base if whole else None


def release(items: NDArray[Any] | Rows | Joined, *, forget: bool = False) -> None:
    """Let the resident pages of a mapped array go; they are read again when they are next needed.

    Does nothing for an array in memory, and where the system cannot do it.

    Args:
        items: An array, a view of one, `Rows`, or `Joined` of these.
        forget: Let the system's cache of the file go too, so that it is read from the disk again.
    """
    if isinstance(items, Joined):
        for part in items.parts:
            release(part, forget=forget)
        return
    base: Any = items.array if isinstance(items, Rows) else items
    path = None
    while base is not None and not isinstance(base, mmap.mmap):
        # np.memmap keeps its mapping; a view that is no memmap leads to it by `base`.
        path = getattr(base, "filename", None) or path
        base = getattr(base, "_mmap", None) or getattr(base, "base", None)
    if base is None or not hasattr(mmap, "MADV_DONTNEED"):
        return
    base.madvise(mmap.MADV_DONTNEED)
    if forget and path is not None and hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def chunks(items: NDArray[Any] | Rows, size: int | None = None) -> Iterator[NDArray[Any]]:
    """All items once, in order, about `size` bytes (CHUNK) at a time; what was read of a mapped array is let go again.

    A file of more than half the machine's memory is let go from the system's cache too: it would push out everybody's
    files, and could hardly stay. (Filling that cache from a sparse file of 20 GiB took 50 s on the machine where this was
    written; reading it through a few pages of cache took 3.)
    """
    row_bytes = max(1, items.dtype.itemsize * prod(items.shape[1:]))
    step = max(1, (size or CHUNK) // row_bytes)
    forget = row_bytes * len(items) > _memory() / 2
    for start in range(0, len(items), step):
        yield items[start : start + step]
        release(items, forget=forget)


def _memory() -> float:
    """Bytes of memory that the machine has; infinite where it does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return float("inf")


def npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    """Give the beginning of a .npy file; NumPy leaves room for any number of rows, so it can be written over.

    Args:
        descr: NumPy's name of the type, with its byte order: "<f4", "|u1".
        shape: (N, *shape).
    """
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue()


class Scan(NamedTuple):
    """What one pass over an array tells.

    Attributes:
        sha256: SHA-256 of its bytes, last axis fastest.
        low: Smallest value.
        high: Largest value.
    """

    sha256: str
    low: float
    high: float


def scan(*parts: NDArray[Any] | Rows | None, name: str) -> Scan:
    """Hash arrays one after the other and find the bounds of those that hold items, in one pass.

    While one thread hashes a chunk, this one looks for its bounds.

    Args:
        parts: uint8 or float32 items; int64 labels, which are hashed only; None, which is passed over.
        name: What the data is called, for the message.

    Returns:
        The hash over all parts, the bounds over the items.

    Raises:
        DataError: A value is not finite; the message names its row.
    """
    digest = hashlib.sha256()
    low, high = np.inf, -np.inf
    with ThreadPoolExecutor(1) as hasher:
        for part in parts:
            row = 0
            for chunk in () if part is None else chunks(part):
                whole = np.ascontiguousarray(chunk)
                hashing = hasher.submit(digest.update, whole.data.cast("B") if whole.size else b"")
                if whole.dtype != np.int64:
                    # NaN and infinities show in the bounds, so no pass of its own looks for them.
                    least, most = float(whole.min()), float(whole.max())
                    low, high = min(low, least), max(high, most)
                    if not (isfinite(least) and isfinite(most)):
                        hashing.result()
                        raise DataError(_not_finite(name, whole, row))
                hashing.result()
                row += len(whole)
    return Scan(digest.hexdigest(), low, high)


def _not_finite(name: str, chunk: NDArray[Any], start: int) -> str:
    bad = ~np.isfinite(chunk.reshape(len(chunk), -1))
    row = int(np.flatnonzero(bad.any(axis=1))[0])
    value = chunk.reshape(len(chunk), -1)[row][bad[row]][0]
    return f"{name} holds {value} in row {start + row}; every value must be finite."
