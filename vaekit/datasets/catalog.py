"""Data sets by name or folder: where their files are looked for, and what their content must be.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.idx import read_idx
from vaekit.errors import DataError
from vaekit.spec import DataSpec

DATA_VARIABLE: Final = "VAEKIT_DATA"
"""Environment variable that names a folder of data sets, looked at first."""

FILES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""The four files of an MNIST-like data set, each plain or with ".gz"."""

KNOWN: Final = {"mnist": "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"}
"""Names, and the SHA-256 of the four arrays' bytes in the order of `FILES`."""


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    Attributes:
        items: (N, *shape): uint8 pixels, which stand for items / 255, or float32 values as the model takes them.
        labels: (N,) int64, or None.
    """

    items: NDArray[np.uint8] | NDArray[np.float32]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def pixels(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Some items as the model takes them: float32, pixels in [0, 1]."""
        return as_float(self.items[rows])


def as_float(items: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn 8-bit pixels into float32 in [0, 1]; float32 goes through unchanged."""
    x = items.astype(np.float32, copy=False)
    return x / np.float32(255) if items.dtype == np.uint8 else x


@dataclass(frozen=True)
class Dataset:
    """Items to train on and items to test on.

    Attributes:
        name: "mnist", or the folder's name.
        source: What `load_dataset` finds it by again: the name, or the folder's absolute path.
        sha256: SHA-256 of the arrays' bytes, so that a run can tell whether it goes on with the same data.
        train: The items to train on.
        test: The items to measure on.
    """

    name: str
    source: str
    sha256: str
    train: Split
    test: Split

    @property
    def spec(self) -> DataSpec:
        """Shape and range of an item: [0, 1] for pixels and for values that keep to it, else without bounds."""
        shape = tuple(self.train.items.shape[1:])
        beyond = any(
            split.items.dtype != np.uint8 and len(split) and (split.items.min() < 0 or split.items.max() > 1)
            for split in (self.train, self.test)
        )
        return DataSpec(shape, range=None if beyond else (0.0, 1.0))


def load_dataset(data: str | os.PathLike[str] = "mnist") -> Dataset:
    """Read a data set.

    Args:
        data: "mnist", or a folder that holds the four IDX files of an MNIST-like data set.

    Returns:
        Its splits, with image items of shape (1, H, W).

    Raises:
        DataError: The name is unknown, or a file is missing, damaged, or not what its name promises.
    """
    name = os.fspath(data)
    if name in KNOWN:
        folder = _find(name)
    elif Path(name).is_dir():
        folder = Path(name)
    else:
        raise DataError(
            f"there is no data set {name!r}: it is neither a known name ({', '.join(KNOWN)}) nor a folder with IDX files."
        )
    digest = hashlib.sha256()
    arrays = []
    for stem in FILES:
        array = read_idx(_file(folder, stem))
        digest.update(np.ascontiguousarray(array).data)
        arrays.append(array)
    train, test = _split(folder, arrays[0], arrays[1]), _split(folder, arrays[2], arrays[3])
    if train.items.shape[1:] != test.items.shape[1:]:
        raise DataError(
            f"{folder}: training images have shape {train.items.shape[1:]}, test images {test.items.shape[1:]}."
        )
    if name in KNOWN and digest.hexdigest() != KNOWN[name]:
        raise DataError(
            f"{folder} is not {name}: the SHA-256 of its content is {digest.hexdigest()}, not {KNOWN[name]}; "
            "copy the files again, or give the folder's path to use them as they are."
        )
    known = name in KNOWN
    return Dataset(
        name if known else folder.resolve().name,
        name if known else str(folder.resolve()),
        digest.hexdigest(),
        train,
        test,
    )


def _split(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or len(images) == 0:
        raise DataError(
            f"{folder}: images have shape {images.shape} and labels {labels.shape}; expected (N, H, W) and (N,), N > 0."
        )
    return Split(images[:, None], labels.astype(np.int64))


def _find(name: str) -> Path:
    """The first folder that holds the data set's first file."""
    places = list(_places(name))
    for folder in places:
        if any((folder / (FILES[0] + ending)).exists() for ending in ("", ".gz")):
            return folder
    raise DataError(
        f"the data set {name!r} was not found in {', '.join(map(str, places))}; "
        f"set {DATA_VARIABLE} to the folder that holds {name}/, or give the path of its files."
    )


def _places(name: str) -> Iterator[Path]:
    if os.environ.get(DATA_VARIABLE):
        yield Path(os.environ[DATA_VARIABLE]) / name
    yield Path("data") / name  # a clone, from its root
    yield Path(__file__).resolve().parents[2] / "data" / name  # a clone, from anywhere, by an editable install


def _file(folder: Path, stem: str) -> Path:
    for ending in ("", ".gz"):
        if (folder / (stem + ending)).exists():
            return folder / (stem + ending)
    raise DataError(f"{folder} has no file {stem} or {stem}.gz; an IDX data set has {', '.join(FILES)}.")
