"""Items that a command works on: image files, a data set's test items, or the bundle's own examples.

Needs: NumPy. Must not import: torch, onnx.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vaekit.bundle import Bundle
from vaekit.datasets import Split, load_dataset, options_for
from vaekit.datasets.dataset import item_number
from vaekit.datasets.leaveout import find_label, label_names
from vaekit.errors import DataError
from vaekit.imagefile import load_image


def examples(bundle: Bundle, data: str | None) -> Split:
    """Test items of a data set, or without one the items of the bundle's golden vectors.

    Raises:
        DataError: The data set is not found, or has items of another shape.
    """
    return named_examples(bundle, data)[0]


def named_examples(bundle: Bundle, data: str | None) -> tuple[Split, tuple[str, ...]]:
    """`examples`, and what their labels 0, 1, ... stand for: empty where that is not known, as of a bundle's own items.

    Raises:
        DataError: The data set is not found, or has items of another shape.
    """
    if data is None:
        golden = bundle.golden()
        return Split(golden.x, golden.labels), ()
    dataset = load_dataset(data, options_for(data, bundle.manifest.spec.data))
    split = dataset.test
    if split.items.shape[1:] != bundle.manifest.spec.data.shape:
        raise DataError(
            f"{data!r} has items of shape {split.items.shape[1:]}, but the model takes {bundle.manifest.spec.data.shape}."
        )
    return split, dataset.classes


def image_files(bundle: Bundle, paths: Sequence[Path]) -> NDArray[np.float32]:
    """Image files as items of the model.

    Raises:
        DataError: The model takes no images, or a file cannot be read.
    """
    shape = bundle.manifest.spec.data.shape
    if not bundle.manifest.spec.data.is_image:
        raise DataError(f"the model takes items of shape {shape}, not images; give --data instead of image files.")
    return np.concatenate([load_image(path, shape=shape) for path in paths])


def pick(bundle: Bundle, split: Split, which: str, classes: tuple[str, ...] = ()) -> NDArray[np.float32]:
    """One item: by label ("3", "boat"), by index ("@17"), or an image file (one that is called 3 is "./3").

    Args:
        bundle: The model's.
        split: The items.
        which: What names the item; a label by its class's name, or by its number where no class has that name.
        classes: Names of the labels 0, 1, ...; empty where a label is its own name.

    Returns:
        Shape (1, *shape), float32.

    Raises:
        DataError: There is no such label, index or file.
    """
    index = item_number(split, which)
    if index is not None:
        return split.pixels(slice(index, index + 1))
    labels = np.unique([] if split.labels is None else split.labels)
    label = find_label(which, labels, classes)
    if label is not None:
        first = int(np.argmax(split.labels == label))
        return split.pixels(slice(first, first + 1))
    if which in classes or which.isdecimal():
        if split.labels is None:
            raise DataError(
                f"label {which} was asked for, but the items have no labels; give an index, as in @{which}."
            )
        raise DataError(f"label {which} was asked for, but the items' labels are {label_names(labels, classes)}.")
    if os.path.isfile(which):  # not Path.is_file, which raises for a name that is too long
        return image_files(bundle, [Path(which)])
    known = "the items have none" if split.labels is None else f"the items' are {label_names(labels, classes)}"
    raise DataError(f"{which!r} is no image file, no index (@17) and no label; {known}.")
