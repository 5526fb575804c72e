"""Grey pixels as zeros and ones, drawn once by seed: what published likelihoods of MNIST are measured on.

Pixel j of item i is 1 where ``uniform(seed, i, j) < x``, with x its value in [0, 1] as float32: 8-bit level k is k / 255. The
draw is that of `vaekit.noise.uniform`, so that the same seed gives the same pixels on every machine, whatever the batches are.

Source: Salakhutdinov & Murray 2008, doi:10.1145/1390156.1390266, for MNIST.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets.dataset import as_float
from vaekit.datasets.rows import Items, Rows
from vaekit.errors import DataError
from vaekit.noise import uniform


class Binarized:
    """Items whose pixels are zeros and ones; they are drawn as rows are taken, and nothing is kept.

    It stands where an array of items may: it has `shape`, `dtype`, `ndim`, ``len()`` and ``[]`` by a slice or by
    whole numbers from 0.

    Args:
        items: (N, *shape): uint8 pixels k, of probability k / 255, or floats in [0, 1].
        seed: Seed of the draws.
        start: Number of the first item among those that are drawn by this seed: the items of a test split count on from
            those of the training split.
    """

    def __init__(self, items: Items, *, seed: int, start: int = 0) -> None:
        self.items = items
        self.shape: tuple[int, ...] = tuple(items.shape)
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.ndim = len(self.shape)
        self._seed, self._start = seed, start

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def base(self) -> Any:
        """The array below, where `vaekit.datasets.mapped.release` looks for a mapping whose pages it may let go."""
        return self.items.array if isinstance(self.items, Rows) else self.items

    def __getitem__(self, rows: slice | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Draw some rows.

        Raises:
            DataError: A value is no probability.
        """
        x = as_float(self.items[rows])
        if x.size and not (x.min() >= 0 and x.max() <= 1):
            raise DataError(
                f"the items hold values from {x.min():g} to {x.max():g}, and only those in [0, 1] can be drawn as 0 or 1; "
                "scale them first."
            )
        number = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows)
        u = uniform(seed=self._seed, index=self._start + number, dim=prod(self.shape[1:]))
        return (u.reshape(x.shape) < x).astype(np.float32)
