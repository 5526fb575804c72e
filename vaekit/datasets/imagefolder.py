"""A folder of images: which files are its images, how they are divided, and what their folders say about them.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.dataset import Dataset, OnProgress, Split, by_seed, choose_test
from vaekit.datasets.imagecache import LISTED, converted_folder, too_many
from vaekit.datasets.options import DataOptions
from vaekit.datasets.rows import IN_MEMORY, Rows
from vaekit.errors import DataError

IMAGE_ENDINGS: Final = (".png", ".jpg", ".jpeg", ".webp")


def load_image_folder(folder: Path, options: DataOptions, on_progress: OnProgress | None = None) -> Dataset:
    """Read all PNG, JPEG and WebP files in a folder and the folders in it, except hidden ones.

    Where all images lie in two folders called train and test, these are the splits. Where all images of a split lie in at
    least two folders, the first folder of each path is its class: a number where all are numbers, else its place among the
    sorted names.

    Args:
        folder: The folder, absolute.
        options: `size`, `background`, `channels`, `max_skipped`; without train and test folders also `test_fraction` and
            `split_seed`.
        on_progress: Called after each file.

    Returns:
        Items (C, H, W), uint8, mapped; as `Rows` where they are more than IN_MEMORY bytes.

    Raises:
        ConfigError: An option does not apply.
        DataError: There is no image, too many cannot be read, or they have several sizes and `size` is None.
        OutputError: The cache folder cannot be written.
    """
    names, others = find_images(folder)
    if not names:
        raise DataError(
            f"{folder} has no image ({', '.join(IMAGE_ENDINGS)}) and none of the IDX files; "
            f"{others:,} other files are in it."
        )
    applies = ("size", "background", "channels", "max_skipped")
    pair = _train_and_test(folder, names)
    options.only("a folder of images", *applies, *(() if pair else ("test_fraction", "split_seed")))
    in_test = np.array([_top(name) == "test" for name in names])
    chosen = in_test if pair else choose_test(len(names), options, name=str(folder))
    ordered = [name for name, test in zip(names, chosen, strict=True) if not test]
    train = len(ordered)
    ordered += [name for name, test in zip(names, chosen, strict=True) if test]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on odd metadata; the size limit is held in pixels.py
        converted = converted_folder(folder, ordered, train, options, on_progress)
    if len(converted.skipped) > options.max_skipped * len(names):
        raise DataError(too_many(folder, converted.skipped, len(names), options))
    labels, classes = _labels(converted.files, inside=1 if pair else 0)
    digest = hashlib.sha256(bytes.fromhex(converted.sha256) + (b"" if labels is None else labels.tobytes()))

    def split(start: int, end: int) -> Split:
        part = slice(start, end)
        large = converted.pixels.nbytes > IN_MEMORY
        items = Rows(converted.pixels, np.arange(start, end)) if large else converted.pixels[part]
        return Split(items, None if labels is None else labels[part], converted.files[part])

    return Dataset(
        folder.name,
        str(folder),
        digest.hexdigest(),
        split(0, converted.train),
        split(converted.train, len(converted.files)),
        options,
        skipped=converted.skipped,
        kind="folder of images",
        division="as it came, in the folders train and test" if pair else by_seed(options),
        classes=classes,
        notes=(f"{others:,} other {'file was' if others == 1 else 'files were'} left alone",) if others else (),
    )


def find_images(folder: Path) -> tuple[list[str], int]:
    """List the images of a folder and the folders in it, as paths in it with "/", sorted; and count its other files.

    Raises:
        OSError: A folder cannot be listed.
    """
    names, others = [], 0

    def fail(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.startswith("."):
                continue
            if name.lower().endswith(IMAGE_ENDINGS):
                names.append(Path(place, name).relative_to(folder).as_posix())
            else:
                others += 1
    return sorted(names), others


def _top(name: str) -> str:
    return PurePosixPath(name).parts[0]


def _train_and_test(folder: Path, names: list[str]) -> bool:
    """Whether the images lie in train/ and test/.

    Raises:
        DataError: Some do, and others lie elsewhere, so that nobody knows what those are for.
    """
    tops = {_top(name) for name in names}
    if not {"train", "test"} <= tops:
        return False
    elsewhere = sorted(tops - {"train", "test"})
    if elsewhere:
        raise DataError(
            f"{folder} has images in train/ and test/, and also in {', '.join(elsewhere[:LISTED])}; "
            "leave only the two, or give another folder."
        )
    return True


def _labels(files: tuple[str, ...], *, inside: int) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Each image's class by its folder; `inside` folders come before it."""
    paths = [PurePosixPath(name).parts[inside:] for name in files]
    folders = sorted({parts[0] for parts in paths})
    if len(folders) < 2 or any(len(parts) < 2 for parts in paths):
        return None, ()
    if all(name.isascii() and name.isdigit() and len(name) < 19 for name in folders):
        return np.array([int(parts[0]) for parts in paths], np.int64), ()
    number = {name: index for index, name in enumerate(folders)}
    return np.array([number[parts[0]] for parts in paths], np.int64), tuple(folders)
