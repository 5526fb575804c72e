"""Some rows of an array, in order, none of them copied until it is taken: what the items of a split are.

`mapped` reads them in constant memory.

Shapes: N rows, each of any shape.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import os
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import DataError

IN_MEMORY: Final = 1 << 30
"""Bytes, 1 GiB, up to which items are plain arrays; those of larger files are `Rows`."""


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
