"""Golden vectors: a model's own numbers for some items, and golden.npz, the file that carries them.

The file is read without pickles and within a limit, and whatever is wrong with it becomes one error.

Shapes: N items, D latent dimensions.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import IntegrityError

GOLDEN_LIMIT = 1 << 28
"""Largest golden.npz after unpacking, 256 MiB: a small file must not unpack into a large one."""

_HOSTILE = (MemoryError, OverflowError, RuntimeError, AttributeError)
"""What NumPy raises for an archive that no accident makes: arrays stated larger than the memory, an unknown compression or
a password, a member that is no array."""


class Golden(NamedTuple):
    """Golden vectors: what the model gives for N items, so that any host can replay them.

    Attributes:
        x: Items of the test set, (N, ...) float32; of the app-ready graphs, uint8 pixels in their layout.
        mean: Posterior means, (N, D) float32.
        log_var: Posterior log-variances, (N, D) float32; minus infinity for an autoencoder.
        eps: Portable noise for `seed` and items 0 to N - 1, (N, D) float32.
        z: ``mean + exp(log_var / 2) * eps``, (N, D) float32.
        x_hat: The decoder's means for z, (N, ...) float32; of the app-ready graphs, rounded to uint8 pixels.
        labels: Labels of the items, (N,) int64, or None where the data has none.
    """

    x: NDArray[np.float32]
    mean: NDArray[np.float32]
    log_var: NDArray[np.float32]
    eps: NDArray[np.float32]
    z: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None

    def to_bytes(self) -> bytes:
        """Give the content of golden.npz; the same arrays give the same bytes."""
        arrays = {name: value for name, value in self._asdict().items() if value is not None}
        buffer = BytesIO()
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, *, io: str = "float32", name: str = "golden.npz") -> Golden:
        """Read golden.npz without pickles and within `GOLDEN_LIMIT`.

        Args:
            content: The file's content.
            io: What items are: dtype of x and x_hat.
            name: What messages call it.

        Raises:
            IntegrityError: It is no such archive, or holds other arrays.
        """
        try:
            with zipfile.ZipFile(BytesIO(content)) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > GOLDEN_LIMIT:
                raise IntegrityError(f"{name} unpacks to {unpacked:,} bytes; the limit is {GOLDEN_LIMIT:,}.")
            with np.load(BytesIO(content), allow_pickle=False) as archive_arrays:
                arrays = dict(archive_arrays)
            labels = arrays.pop("labels", None)
            if labels is not None and labels.dtype != np.int64:
                raise IntegrityError(f"{name} holds labels of dtype {labels.dtype}, not int64.")
            names = ("x", "mean", "log_var", "eps", "z", "x_hat")
            wanted = {what: np.dtype(io if what in ("x", "x_hat") else np.float32) for what in names}
            if {what: array.dtype for what, array in arrays.items()} != wanted:
                found = ", ".join(f"{what} {array.dtype}" for what, array in sorted(arrays.items()))
                of_items = "" if io == "float32" else f" (x and x_hat in {io})"
                raise IntegrityError(f"{name} holds {found}, not {', '.join(names)} in float32{of_items}.")
            return cls(**arrays, labels=labels)
        except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError, *_HOSTILE) as error:
            raise IntegrityError(f"{name} cannot be read: {error}.") from error
