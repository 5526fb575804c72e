"""Posterior means of a few test items, kept while a run goes on: what the picture of a latent space taking shape is drawn from.

    runs/NAME/means.npz
      rows     (n,)        which of the test items, the same in every epoch
      labels   (n,)        their labels, where the data has some
      epochs   (E,)        epochs that are kept, ascending
      means    (E, n, D)   float32

The file stays small however long a run is: at most `KEPT_EPOCHS` epochs and `KEPT_VALUES` values each. It is written before
the epoch's checkpoint, whole or not at all, by the one process that writes; what a killed run left of later epochs is dropped
when it goes on.

Needs: torch.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vaekit.datasets import Dataset, Split
from vaekit.datasets.rows import evenly
from vaekit.errors import CheckpointError, OutputError
from vaekit.spec import ModelSpec
from vaekit.storage import write_file
from vaekit.training.checkpoint import last_good
from vaekit.training.models import EncoderGraph

MEANS: Final = "means.npz"

KEPT_ITEMS: Final = 1000
"""Most items whose means are kept."""

KEPT_VALUES: Final = 1 << 17
"""Most values of an epoch's means, half a mebibyte: a larger code is kept of fewer items."""

KEPT_EPOCHS: Final = 32
"""Most epochs that are kept, besides the last one."""

ITEM_BYTES: Final = 1 << 26
"""Most memory for the items, 64 MiB."""

FEWEST: Final = 16
"""Of fewer items than this nothing is kept where code or items are too large: a picture of them would show nothing."""

BATCH: Final = 250


@dataclass(frozen=True)
class KeptMeans:
    """What means.npz holds.

    Attributes:
        rows: Numbers of the test items, (n,) int64.
        labels: Their labels, (n,) int64, or None.
        epochs: Epochs, (E,) int64, ascending.
        means: Posterior means, (E, n, D) float32.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    epochs: NDArray[np.int64]
    means: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """Give the content of means.npz."""
        arrays: dict[str, Any] = {"rows": self.rows, "epochs": self.epochs, "means": self.means}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays, **({} if self.labels is None else {"labels": self.labels}))
        return buffer.getvalue()

    @classmethod
    def read(cls, run: Path) -> KeptMeans | None:
        """Read a run's means.npz; None where there is none, as in a run of an older vaekit.

        Raises:
            CheckpointError: The file is damaged.
        """
        path = run / MEANS
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
                arrays = dict(archive)
            kept = cls(arrays["rows"], arrays.get("labels"), arrays["epochs"], arrays["means"])
            kinds = [kept.rows.dtype.kind, kept.epochs.dtype.kind, kept.means.dtype.kind]
            if kinds != ["i", "i", "f"] or kept.means.shape[:2] != (len(kept.epochs), len(kept.rows)):
                raise ValueError(f"its means have shape {kept.means.shape}")
            return kept
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise CheckpointError(
                f"{path} cannot be read: {error}; delete it, and the run keeps means from its next epoch on."
            ) from error


class MeansKeeper:
    """Encodes the same test items after each epoch, and keeps their means.

    Args:
        data: Its test items are taken, evenly spaced.
        spec: What is trained.
        run: The run's folder.
    """

    def __init__(self, data: Dataset, spec: ModelSpec, run: Path) -> None:
        self._spec = spec
        self._run = run
        self._rows = chosen_rows(data.test, spec.latent)
        self._items = np.array(data.test.items[self._rows])  # as they are kept: 8-bit pixels stay 8-bit
        labels = data.test.labels
        self._labels = None if labels is None else labels[self._rows]
        self._kept: KeptMeans | None = None

    def resume(self, epoch: int) -> None:
        """Go on from what the file holds of an epoch and those before it; a damaged file is begun anew."""
        kept = None
        with contextlib.suppress(CheckpointError):
            kept = KeptMeans.read(self._run)
        if kept is not None and np.array_equal(kept.rows, self._rows) and kept.means.shape[2] == self._spec.latent:
            self._keep(kept, kept.epochs <= epoch)

    def epoch(self, epoch: int, model: nn.Module) -> None:
        """Encode the items, and write the file anew.

        Args:
            epoch: The epoch that ended.
            model: The model as it would be exported, in evaluation mode; left as it was.

        Raises:
            OutputError: The disk is full or read-only.
        """
        if len(self._rows) == 0:
            return
        new = KeptMeans(self._rows, self._labels, np.array([epoch]), self._encode(model)[None])
        if self._kept is not None:
            epochs = np.concatenate([self._kept.epochs, new.epochs])
            new = KeptMeans(self._rows, self._labels, epochs, np.concatenate([self._kept.means, new.means]))
        self._keep(new, np.isin(new.epochs, kept_epochs(new.epochs)))
        assert self._kept is not None
        try:
            write_file(self._run / MEANS, self._kept.to_bytes())
        except OutputError as error:
            raise OutputError(
                f"epoch {epoch} could not be saved: {error} Free some space and resume; {last_good(self._run)}."
            ) from error

    def _keep(self, kept: KeptMeans, which: NDArray[np.bool_]) -> None:
        self._kept = KeptMeans(self._rows, self._labels, kept.epochs[which], kept.means[which])

    def _encode(self, model: nn.Module) -> NDArray[np.float32]:
        device = next(model.parameters()).device
        encoder = EncoderGraph(model, self._spec).to(device)
        found = np.empty((len(self._rows), self._spec.latent), np.float32)
        # A user's module may draw random numbers in its encoder; training must not notice that it was called here.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.inference_mode():
            for start in range(0, len(found), BATCH):
                batch = Split(self._items[start : start + BATCH]).pixels(slice(None))
                outputs = encoder(torch.from_numpy(batch).to(device))
                mean = outputs[0] if isinstance(outputs, tuple) else outputs
                found[start : start + BATCH] = mean.float().cpu().numpy()
        return found


def chosen_rows(split: Split, latent: int) -> NDArray[np.int64]:
    """Choose the items whose means are kept: evenly spaced, few enough for the limits above; none where too few would do.

    Args:
        split: The test items.
        latent: Latent dimensions, D.

    Returns:
        Their numbers, (n,) ascending.
    """
    item = prod(split.items.shape[1:]) * split.items.dtype.itemsize
    count = min(KEPT_ITEMS, KEPT_VALUES // latent, ITEM_BYTES // item)
    if count < min(FEWEST, len(split)):
        return np.empty(0, np.int64)
    return evenly(len(split), count)


def kept_epochs(epochs: Sequence[int] | NDArray[np.int64]) -> list[int]:
    """Choose which of the epochs so far are kept: each s-th from the first on, and the last.

    s is the smallest power of two that leaves at most `KEPT_EPOCHS`. It only grows by doubling, so what is kept of a longer run
    was kept of the shorter one.

    Args:
        epochs: Ascending, at least one.
    """
    last, stride = int(epochs[-1]), 1
    while -(-last // stride) > KEPT_EPOCHS:
        stride *= 2
    return [int(epoch) for epoch in epochs if (epoch - 1) % stride == 0 or epoch == last]
