"""Arrays larger than memory, read in constant memory: pages that are let go, and one pass over all items.

A mapped array's pages become resident as they are read, and stay so until somebody lets them go: `release` does, and knows
where `rows` keeps the array.

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
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.rows import Joined, Rows
from vaekit.errors import DataError

CHUNK: Final = 32 << 20
"""Bytes of one step of a pass: what is resident at a time, and large enough that a step's overhead does not show."""

RELEASE_AFTER: Final = 32 << 20
"""Bytes that a `Reader` reads of a mapped file between two times that its pages are let go."""


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
