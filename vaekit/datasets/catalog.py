"""`load_dataset`: from a name or a path to a `Dataset`, whatever kind of data stands there.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from vaekit.datasets.arrays import load_npy, load_npz
from vaekit.datasets.builtin import KNOWN, load_builtin
from vaekit.datasets.dataset import DEFAULT, Dataset, OnProgress
from vaekit.datasets.idx import FILES, read_folder
from vaekit.datasets.imagefolder import IMAGE_ENDINGS, load_image_folder
from vaekit.datasets.leaveout import leave_out
from vaekit.datasets.options import DataOptions
from vaekit.datasets.tables import TABLE_ENDINGS, load_table
from vaekit.errors import DataError
from vaekit.spec import DataSpec

KINDS: Final = (
    f"a known name ({', '.join(KNOWN)}), a folder of images ({', '.join(IMAGE_ENDINGS)}) or of IDX files, "
    f"or a .npy, .npz, {', '.join(TABLE_ENDINGS)} file"
)
"""What can be read, for messages."""


def load_dataset(
    data: str | os.PathLike[str] = "mnist",
    options: DataOptions = DEFAULT,
    *,
    on_progress: OnProgress | None = None,
) -> Dataset:
    """Read a data set.

    Args:
        data: A name ("mnist", "fashion-mnist"), a folder of images or of the four IDX files, or a .npy, .npz, CSV or
            Parquet file. `vaekit/datasets/__init__.py` says which module reads which.
        options: How to read it.
        on_progress: Called while files are downloaded or converted.

    Returns:
        Its splits. Items have shape (C, H, W), (D,) or (D, T).

    Raises:
        ConfigError: An option does not apply to this kind of data.
        DataError: There is no such data, or it is damaged, empty, or not what its name promises.
        MissingDependencyError: CSV and Parquet need pyarrow, which is not installed.
        OutputError: The cache folder cannot be written.
    """
    if options.without_label:  # whatever the kind of data, as long as it has labels
        return leave_out(load_dataset(data, replace(options, without_label=()), on_progress=on_progress), options)
    name = os.fspath(data)
    if name in KNOWN:
        return load_builtin(name, options, on_progress)
    path = Path(name)
    try:
        if path.is_dir():
            path = path.resolve()
            if _holds_idx(path):
                return _load_idx(path, Path(name), options)
            return load_image_folder(path, options, on_progress)
        if path.is_file():
            ending = path.suffix.lower()
            load = {".npy": load_npy, ".npz": load_npz, **dict.fromkeys(TABLE_ENDINGS, load_table)}.get(ending)
            if load is None:
                raise DataError(f"{path} is no data set that is known here; give {KINDS}.")
            return load(path.resolve(), options)
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}.") from error
    raise DataError(f"there is no data set {name!r}; give {KINDS}.")


def _holds_idx(folder: Path) -> bool:
    return any((folder / (stem + ending)).exists() for stem in FILES for ending in ("", ".gz"))


def _load_idx(path: Path, shown: Path, options: DataOptions) -> Dataset:
    options.only("a folder of IDX files")
    train, test, sha256 = read_folder(shown)
    return Dataset(path.name, str(path), sha256, train, test, options, kind="IDX images")


def options_for(data: str | os.PathLike[str], spec: DataSpec) -> DataOptions:
    """How to read data so that a model takes it: images of its size, the columns it was trained on, windows of its length.

    Args:
        data: A name or a path, as `load_dataset` takes it.
        spec: What the model takes.
    """
    path = Path(os.fspath(data))
    if path.suffix.lower() in TABLE_ENDINGS and spec.features:
        window = spec.shape[1] if len(spec.shape) == 2 else None
        return DataOptions(columns=tuple(feature.name for feature in spec.features), window=window)
    if os.fspath(data) not in KNOWN and os.path.isdir(path) and not _holds_idx(path) and spec.is_image:
        channels, height, width = spec.shape
        return DataOptions(size=height if height == width else None, channels=channels)
    return DEFAULT
