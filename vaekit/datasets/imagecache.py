"""Image files converted once, in parallel, into one mapped array of 8-bit pixels.

    CACHE/images/KEY/pixels.npy   (N, C, H, W) uint8: training images, then test images, each by the order of their names
    CACHE/images/KEY/index.json   their names, the pixels' SHA-256, and what was skipped

KEY is the SHA-256 over every file's name, length and content and the options that the pixels depend on: a changed folder is
another one. A conversion that was cut short or changed since is made again. Both files appear whole or not at all.

Threads, not processes: Pillow decodes and scales without holding Python's lock, and threads need no second start of the
user's program.

Needs: NumPy; Pillow through `pixels.py`. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from vaekit.cores import count_cores
from vaekit.datasets.ahead import in_order
from vaekit.datasets.cachefolder import CACHE_VARIABLE, cache_folder
from vaekit.datasets.dataset import LoadProgress, OnProgress
from vaekit.datasets.mapped import npy_header, scan
from vaekit.datasets.options import DataOptions
from vaekit.datasets.pixels import Probe, probe, read_pixels
from vaekit.errors import DataError, OutputError
from vaekit.storage import new_folder

CACHE_VERSION: Final = 1
"""Part of the key: to be raised when the same files and options would give other pixels."""

PIXELS, INDEX = "pixels.npy", "index.json"

ATTEMPTS: Final = 3
"""Looks into the cache: the first, one after converting, one after another process has repaired the same damage."""

LISTED: Final = 3
"""How many files, sizes or folders an error names."""

In = TypeVar("In")
Out = TypeVar("Out")


class Converted(NamedTuple):
    """What a folder of the cache holds.

    Attributes:
        pixels: (N, C, H, W) uint8, mapped.
        sha256: Of the pixels.
        train: Number of training images; the test images follow them.
        files: N names.
        skipped: (name, reason) of the others.
    """

    pixels: NDArray[np.uint8]
    sha256: str
    train: int
    files: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def converted_folder(
    folder: Path, names: list[str], train: int, options: DataOptions, on_progress: OnProgress | None
) -> Converted:
    """Take a folder's pixels from the cache, or convert them into it.

    Args:
        folder: Where the images are.
        names: Their paths in it: those to train on, then those to test on.
        train: Number of the former.
        options: `size`, `background`, `channels`; `max_skipped` is for the caller to hold.
        on_progress: Called after each file.

    Raises:
        DataError: No training or no test image can be read, or they have several sizes and `size` is None.
        OutputError: The cache folder cannot be written.
    """
    background = options.background_rgb

    def look(name: str) -> Probe:
        return probe(folder / name, background)

    probes = list(_told("reading images", _on_every_core(look, names), len(names), on_progress))
    key = _key(names, train, probes, options)
    target = cache_folder() / "images" / key
    for _ in range(ATTEMPTS):
        stood = target.exists()
        cached = read_cache(target)
        if cached is not None:
            return cached
        channels = options.channels or (1 if all(found.grey for found in probes) else 3)
        if options.size is None:
            _one_size(folder, probes)
        if stood:  # cut short or changed
            shutil.rmtree(target, ignore_errors=True)
        try:
            # Never over one that stands: of several processes the first one's stays, and all take it.
            with new_folder(target) as temporary:
                _convert(folder, names, train, probes, channels, options, temporary, on_progress)
        except OutputError as error:
            if not target.exists():
                raise OutputError(f"{error} Set {CACHE_VARIABLE} to a folder with room.") from error
    raise OutputError(f"{target} changes while it is read; set {CACHE_VARIABLE} to another folder.")


def _key(names: list[str], train: int, probes: list[Probe], options: DataOptions) -> str:
    stated = {
        "version": CACHE_VERSION,
        "size": options.size,
        "background": options.background_rgb,
        "channels": options.channels,
        "train": train,
        "files": [(name, found.bytes, found.sha256) for name, found in zip(names, probes, strict=True)],
    }
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()


def _one_size(folder: Path, probes: list[Probe]) -> None:
    """Hold that all readable images have one size.

    Raises:
        DataError: They have several.
    """
    sizes = Counter(found.size for found in probes if found.size is not None)
    if len(sizes) > 1:
        most = ", ".join(f"{width}x{height} ({count:,})" for (width, height), count in sizes.most_common(LISTED))
        more = f" and {len(sizes) - LISTED:,} more" if len(sizes) > LISTED else ""
        raise DataError(f"{folder} has images of {len(sizes):,} sizes: {most}{more}; pass --size to bring them to one.")


def _convert(
    folder: Path,
    names: list[str],
    train: int,
    probes: list[Probe],
    channels: int,
    options: DataOptions,
    target: Path,
    on_progress: OnProgress | None,
) -> None:
    """Write pixels.npy and index.json."""
    background = options.background_rgb

    def decode(place: int) -> NDArray[np.uint8] | str:
        if probes[place].reason:
            return probes[place].reason
        try:
            return read_pixels(folder / names[place], size=options.size, background=background, channels=channels)
        except DataError as error:
            return str(error)

    files: list[str] = []
    skipped: list[tuple[str, str]] = []
    digest = hashlib.sha256()
    shape: tuple[int, ...] | None = None
    train_files = 0
    with (target / PIXELS).open("wb") as file:
        for place, found in enumerate(
            _told("converting images", _on_every_core(decode, range(len(names))), len(names), on_progress)
        ):
            if not isinstance(found, str) and found.shape != (shape or found.shape):
                found = f"{found.shape[2]}x{found.shape[1]} once turned, where others are {shape}"  # noqa: PLW2901
            if isinstance(found, str):
                skipped.append((names[place], found))
                continue
            if shape is None:
                shape = found.shape
                file.write(npy_header("|u1", (len(names), *shape)))
            file.write(found.data)
            digest.update(found.data)
            files.append(names[place])
            train_files += place < train
        if shape is None or not 0 < train_files < len(files):
            raise DataError(too_many(folder, tuple(skipped), len(names), options))
        file.seek(0)
        file.write(npy_header("|u1", (len(files), *shape)))
    index = {"sha256": digest.hexdigest(), "train": train_files, "files": files, "skipped": skipped}
    (target / INDEX).write_text(json.dumps(index), encoding="utf-8")


def read_cache(target: Path) -> Converted | None:
    """Open a converted folder, or give None where it is not there, is cut short, or is not what it was."""
    try:
        index = json.loads((target / INDEX).read_text(encoding="utf-8"))
        pixels = np.load(target / PIXELS, mmap_mode="r", allow_pickle=False)
        files = tuple(index["files"])
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) != len(files):
            return None
        if scan(pixels, name=PIXELS).sha256 != index["sha256"]:
            return None
        skipped = tuple((str(name), str(reason)) for name, reason in index["skipped"])
        return Converted(pixels, index["sha256"], int(index["train"]), files, skipped)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def too_many(folder: Path, skipped: tuple[tuple[str, str], ...], count: int, options: DataOptions) -> str:
    """Say that too few images can be read, and why."""
    listed = "; ".join(f"{name}: {reason}" for name, reason in skipped[:LISTED])
    more = f"; and {len(skipped) - LISTED:,} more" if len(skipped) > LISTED else ""
    return (
        f"{folder}: {len(skipped):,} of {count:,} images cannot be read, and max_skipped={options.max_skipped:g} "
        f"(with one left to train on and one to test on) is the limit: {listed}{more}."
    )


def _on_every_core(function: Callable[[In], Out], inputs: Iterable[In]) -> Iterator[Out]:
    threads = count_cores().usable
    return in_order(function, inputs, threads=threads, ahead=4 * threads)


def _told(what: str, results: Iterator[Out], total: int, on_progress: OnProgress | None) -> Iterator[Out]:
    """Pass results on, and tell how many have come."""
    for done, result in enumerate(results, 1):
        yield result
        if on_progress is not None:
            on_progress(LoadProgress(what, done, total, "files"))
