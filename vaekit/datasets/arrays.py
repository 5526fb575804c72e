"""NumPy's files: one array as .npy, or several as .npz.

Up to IN_MEMORY bytes, an array is read, converted where need be, and divided by copying. A larger .npy is mapped: its items
stay in the file and its splits are `Rows`; it must already be uint8 or float32, in C order and this machine's byte order.
Pickled objects are never loaded.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.dataset import Dataset, Split, by_seed, divide
from vaekit.datasets.mapped import scan
from vaekit.datasets.options import DataOptions
from vaekit.datasets.rows import IN_MEMORY
from vaekit.errors import DataError

NPZ_LIMIT: Final = 1 << 33
"""Most bytes that a .npz may unpack to, 8 GiB: it cannot be mapped."""

MAGIC: Final = b"\x93NUMPY"

NPZ_NAMES: Final = ("x, y", "x_train, y_train, x_test, y_test")
"""Arrays of a .npz: one set, to be divided, or a divided one; labels y and the test part may be missing."""


def load_npy(path: Path, options: DataOptions) -> Dataset:
    """Read a .npy file of items.

    Shapes (N, D), (N, D, T), (N, H, W) of uint8, which become (N, 1, H, W), and (N, C, H, W). See `as_items`.

    Raises:
        ConfigError: An option does not apply.
        DataError: The file is damaged, holds objects or what is no number, an unknown shape, NaN or infinities, fewer than
            two items, or is too large to convert.
    """
    options.only("a .npy file", "test_fraction", "split_seed")
    array = _open_npy(path)
    notes: list[str] = []
    mapped = array.size * min(array.dtype.itemsize, 4) > IN_MEMORY
    if mapped:
        array = _mappable(array, path)
        notes.append("mapped: items stay in the file and are read as they are needed")
    else:
        array = _convert(np.array(array), path.name, notes)
    items = as_items(array, path.name, notes)
    scanned = scan(array, name=path.name)  # in the file's order, also where the axes are turned
    train, test = divide(items, None, options, name=path.name, copy=not mapped)
    return Dataset(
        path.stem,
        str(path),
        scanned.sha256,
        train,
        test,
        options,
        kind="NumPy array",
        division=by_seed(options),
        notes=tuple(notes),
        bounds=(scanned.low, scanned.high),
    )


def load_npz(path: Path, options: DataOptions) -> Dataset:
    """Read a .npz archive: x, or x_train and x_test, with labels y, or y_train and y_test.

    Raises:
        ConfigError: An option does not apply.
        DataError: The archive is damaged, too large, has none of these arrays, or arrays that do not belong together; and
            what `load_npy` refuses.
    """
    arrays, notes = _open_npz(path), []
    divided = "x_test" in arrays
    options.only("a .npz file", *(() if divided else ("test_fraction", "split_seed")))
    expected = [name for names in NPZ_NAMES for name in names.split(", ")]
    ignored = sorted(set(arrays) - set(expected))
    if ignored:
        notes.append(f"left out: {', '.join(ignored)}")

    def part(suffix: str) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        where = f"{path.name}: x{suffix}"
        items = as_items(_convert(arrays["x" + suffix], where, notes), where, notes)
        labels = arrays.get("y" + suffix)
        return items, None if labels is None else _labels(labels, len(items), f"{path.name}: y{suffix}")

    if "x" in arrays and not {"x_train", "x_test"} & set(arrays):
        first, labels = part("")
    elif "x_train" in arrays and "x" not in arrays:
        first, labels = part("_train")
    else:
        raise DataError(f"{path} has arrays {', '.join(sorted(arrays)) or 'none'}; expected {' or '.join(NPZ_NAMES)}.")
    parts: tuple[Any, ...] = (first, labels)
    if divided:
        second = part("_test")
        if (
            first.shape[1:] != second[0].shape[1:]
            or first.dtype != second[0].dtype
            or not (len(first) and len(second[0]))
        ):
            raise DataError(
                f"{path}: x_train is {first.dtype} of shape {first.shape}, x_test {second[0].dtype} of {second[0].shape}; "
                "both need items, of one shape and type."
            )
        parts += second
        train, test = Split(first, labels), Split(*second)
    else:
        train, test = divide(first, labels, options, name=path.name, copy=True)
    scanned = scan(*parts, name=path.name)
    return Dataset(
        path.stem,
        str(path),
        scanned.sha256,
        train,
        test,
        options,
        kind="NumPy archive",
        division="as it came, in x_train and x_test" if divided else by_seed(options),
        notes=tuple(notes),
        bounds=(scanned.low, scanned.high),
    )


def as_items(array: NDArray[Any], name: str, notes: list[str]) -> NDArray[Any]:
    """Read an array's axes: (N, D), (N, D, T), (N, H, W) of uint8 as (N, 1, H, W), (N, C, H, W).

    Three axes of another type than uint8 could be grey images too: that they are read as time series is noted.

    Four axes whose last is 1, 3 or 4 long and whose second and third are longer can hardly be channels first: they are read
    as (N, H, W, C) and turned, which is noted.

    Raises:
        DataError: The array has another number of axes, or one of length 0.
    """
    if 2 <= array.ndim <= 4 and 0 in array.shape:
        raise DataError(
            f"{name} has shape {array.shape}: no {'items' if len(array) == 0 else 'values'}; give at least one."
        )
    if not 2 <= array.ndim <= 4:
        raise DataError(f"{name} has shape {array.shape}; give (N, D), (N, D, T), (N, H, W) of uint8 or (N, C, H, W).")
    if array.ndim == 3 and array.dtype == np.uint8:
        return array[:, np.newaxis]
    if array.ndim == 3:
        notes.append(
            f"{name}: shape {array.shape} was read as (N, D, T), time series; give (N, 1, H, W) for grey images"
        )
    if array.ndim == 4 and array.shape[3] in (1, 3, 4) and min(array.shape[1:3]) > 4:
        notes.append(f"{name}: shape {array.shape} was read as (N, H, W, C) and turned into (N, C, H, W)")
        return array.transpose(0, 3, 1, 2)
    return array


def _open_npy(path: Path) -> NDArray[Any]:
    """Map a .npy file after a look at its first bytes: np.load would take other formats too."""
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
    if head != MAGIC:
        raise DataError(
            f"{path} is no .npy file: it begins with {head.hex(' ') or 'nothing'}, not with {MAGIC.hex(' ')}."
        )
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OverflowError) as error:
        if "object" in str(error).lower():
            raise DataError(
                f"{path} holds Python objects, which are never loaded since they can run code; "
                "save numbers: np.save(path, np.stack(list_of_arrays).astype(np.float32))."
            ) from error
        if "empty file" in str(error):
            raise DataError(f"{path} has no items.") from error
        raise DataError(f"{path} is damaged or cut short: {' '.join(str(error).split())}.") from error
    return array


def _mappable(array: NDArray[Any], path: Path) -> NDArray[Any]:
    gibibytes = array.nbytes / (1 << 30)
    if array.dtype not in (np.uint8, np.float32) or not array.dtype.isnative:
        raise DataError(
            f"{path} holds {gibibytes:.1f} GiB of {array.dtype}, too much to convert in memory; save it as uint8 (pixels) "
            "or float32, in parts: np.lib.format.open_memmap(new, 'w+', 'float32', shape)."
        )
    if not array.flags.c_contiguous:
        raise DataError(
            f"{path} holds {gibibytes:.1f} GiB in Fortran order, where an item's values lie far apart; "
            "save it in C order: np.save(path, np.ascontiguousarray(x))."
        )
    return array


def _convert(array: NDArray[Any], name: str, notes: list[str]) -> NDArray[Any]:
    """Turn numbers into uint8 (kept) or float32 (all others), in C order."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} holds {array.dtype}; give uint8 pixels, or real numbers.")
    if array.dtype != np.float32:
        notes.append(f"{name}: {array.dtype} was turned into float32")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return np.ascontiguousarray(array, dtype=np.float32)


def _open_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > NPZ_LIMIT:
                raise DataError(
                    f"{path} unpacks to {total / (1 << 30):.1f} GiB, over the limit of {NPZ_LIMIT >> 30} GiB for .npz; "
                    "save x alone as .npy, which is mapped instead."
                )
            arrays = {}
            for member in members:
                with archive.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = _read_member(file, member, path)
            return arrays
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        if "object" in str(error).lower():
            raise DataError(f"{path} holds Python objects, which are never loaded since they can run code.") from error
        raise DataError(f"{path} is no .npz file or is damaged: {' '.join(str(error).split())}.") from error


def _read_member(file: Any, member: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    """Read one array whose header states no more than the member holds: NumPy sets aside what the header says."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("object arrays")
    stated = prod(shape) * dtype.itemsize
    content = file.read(stated + 1)
    if len(content) != stated:
        raise DataError(f"{path}: {member.filename} states {stated:,} bytes of values, but holds {len(content):,}.")
    return np.frombuffer(bytearray(content), dtype).reshape(shape, order="F" if fortran else "C")


def _labels(labels: NDArray[Any], count: int, name: str) -> NDArray[np.int64]:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{name} is {labels.dtype} of shape {labels.shape}; labels are whole numbers of shape ({count},)."
        )
    return labels.astype(np.int64)
