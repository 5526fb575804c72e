"""IDX: the file format of MNIST and its relatives, plain or gzipped, and the folder of four such files that they are.

    0  0  type  dimensions | sizes, 4 bytes each, big-endian | values, last axis fastest

Only type 0x08, unsigned bytes, is read: no data set that vaekit knows has another.

Needs: NumPy. Source: the format's description on the MNIST page of LeCun, Cortes & Burges.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from io import BufferedIOBase
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.dataset import Split
from vaekit.errors import DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""The four files of an MNIST-like data set, each plain or with ".gz"."""

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"

LIMIT = 1 << 34
"""Largest content in bytes after unpacking, 16 GiB: a small gzip file must not unpack without end."""

CHUNK = 1 << 20
"""Bytes a read: `file.read(n)` sets aside n bytes first, and a damaged header may state 16 GiB for a file of 20 bytes."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file.

    Args:
        path: The file; gzipped or not is seen from its first bytes.

    Returns:
        The array, in the file's shape.

    Raises:
        DataError: The file is missing, truncated, damaged, too long, or of another format.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == GZIP_MAGIC
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != UNSIGNED_BYTE or not 1 <= head[3] <= 4:
                raise DataError(
                    f"{path} is no IDX file of unsigned bytes: it begins with {head.hex(' ') or 'nothing'}, "
                    "not with 00 00 08 and the number of dimensions."
                )
            sizes = file.read(4 * head[3])
            if len(sizes) < 4 * head[3]:
                raise DataError(f"{path} is truncated: it ends within its header; copy it again.")
            shape = struct.unpack(f">{head[3]}I", sizes)
            stated = prod(shape)
            if stated > LIMIT:
                raise DataError(f"{path} states {stated:,} values of shape {shape}; the limit is {LIMIT:,}.")
            content = _read(file, stated + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged: {error}; copy it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(content) != stated:
        found = "more" if len(content) > stated else f"{len(content):,}"
        raise DataError(f"{path} states {stated:,} values of shape {shape}, but holds {found}; copy it again.")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read(file: BufferedIOBase, count: int) -> bytearray:
    """Up to `count` bytes, in memory that grows with what the file really holds."""
    content = bytearray()
    while chunk := file.read(min(CHUNK, count - len(content))):
        content += chunk
    return content


def read_folder(folder: Path) -> tuple[Split, Split, str]:
    """Read the four files of an MNIST-like data set.

    Returns:
        Training and test split, items (N, 1, H, W), and the SHA-256 of the four arrays' bytes in the order of `FILES`.

    Raises:
        DataError: A file is missing or damaged, or the files do not belong together.
    """
    digest = hashlib.sha256()
    arrays = []
    for stem in FILES:
        array = read_idx(find_file(folder, stem))
        digest.update(np.ascontiguousarray(array).data)
        arrays.append(array)
    train, test = _split(folder, arrays[0], arrays[1]), _split(folder, arrays[2], arrays[3])
    if train.items.shape[1:] != test.items.shape[1:]:
        raise DataError(
            f"{folder}: training images have shape {train.items.shape[1:]}, test images {test.items.shape[1:]}."
        )
    return train, test, digest.hexdigest()


def find_file(folder: Path, stem: str) -> Path:
    """One of the four files, plain or packed.

    Raises:
        DataError: It is not there.
    """
    for ending in ("", ".gz"):
        if (folder / (stem + ending)).exists():
            return folder / (stem + ending)
    raise DataError(f"{folder} has no file {stem} or {stem}.gz; an IDX data set has {', '.join(FILES)}.")


def _split(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or len(images) == 0:
        raise DataError(
            f"{folder}: images have shape {images.shape} and labels {labels.shape}; expected (N, H, W) and (N,), N > 0."
        )
    return Split(images[:, None], labels.astype(np.int64))
