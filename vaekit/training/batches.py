"""Batches of items: no Python per item, and an order that is a function of (seed, epoch).

Items that fit into memory are kept as one tensor on the device, 8-bit pixels as 8 bits; one gather takes a batch of them, and
the step makes that float32. Items of a mapped file stay in the file: a thread reads the next batches while this one is
trained on, and lets the file's pages go again.
All randomness of an epoch comes from generators that are seeded anew at its start, so that a resumed run needs no state.

Needs: torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from vaekit.datasets.ahead import in_order
from vaekit.datasets.mapped import Reader
from vaekit.datasets.rows import Items, Rows
from vaekit.training.ranks import Ranks

AHEAD: Final = 4
"""Batches of a mapped file that are read ahead of the step."""


class Batches:
    """Items handed out in batches on a device.

    Args:
        items: (N, *shape) uint8 pixels or float32 values; an array in memory or mapped, or `Rows` of one.
        device: Where the batches are wanted.
    """

    def __init__(self, items: Items, device: torch.device) -> None:
        self.device = device
        self._count = len(items)
        self._mapped: Items | None = items if isinstance(items, (Rows, np.memmap)) else None
        if not isinstance(items, (Rows, np.memmap)):
            with warnings.catch_warnings():
                # Read-only arrays, which torch warns of; nothing here writes to them. No copy: windows of a series overlap.
                warnings.simplefilter("ignore", UserWarning)
                self._items = torch.from_numpy(items).to(device)

    def __len__(self) -> int:
        return self._count

    def shuffled(
        self,
        batch_size: int,
        generator: torch.Generator,
        process: Ranks = Ranks(),  # noqa: B008  (it never changes)
    ) -> Iterator[Tensor]:
        """All items once, in a new order and as they are kept; the last batch may be smaller.

        Args:
            batch_size: Items a batch, those of all processes together.
            generator: Decides the order.
            process: This process's rows of each batch are given; see `Ranks.rows`.
        """
        order = torch.randperm(len(self), generator=generator, device=generator.device)
        own = (batch[process.rows(len(batch))] for batch in torch.split(order, batch_size))
        if self._mapped is not None:
            yield from self._read_ahead(own)
            return
        for rows in own:
            # Not [rows]: on rows scattered over 47 MB index_select takes a fifth of the time.
            yield self._items.index_select(0, rows.to(self._items.device))

    def ordered(self, batch_size: int) -> Iterator[Tensor]:
        """All items once, in their own order and as they are kept."""
        rows = (slice(start, start + batch_size) for start in range(0, len(self), batch_size))
        yield from (self._items[part] for part in rows) if self._mapped is None else self._read_ahead(rows)

    def _read_ahead(self, wanted: Iterator[Tensor | slice]) -> Iterator[Tensor]:
        """Read batches of the mapped file in a thread, a few ahead of whoever takes them."""
        reader = Reader(self._mapped)

        def batch(rows: Tensor | slice) -> Tensor:
            if isinstance(rows, slice):
                array = np.array(reader[rows])
            else:
                # In the file's order, so that the disk is read forwards; then in the batch's.
                index = rows.cpu().numpy()
                forwards = np.argsort(index)
                array = np.empty((len(index), *reader.shape[1:]), reader.dtype)
                array[forwards] = reader[index[forwards]]
            tensor = torch.from_numpy(array)
            return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

        with contextlib.closing(in_order(batch, wanted, threads=1, ahead=AHEAD)) as batches:
            try:
                yield from batches
            finally:
                reader.release()


def epoch_generator(seed: int, epoch: int, device: torch.device, stream: str = "") -> torch.Generator:
    """Give a generator whose numbers depend on (seed, epoch, stream) alone; epoch 0 is for measuring on test items."""
    digest = hashlib.sha256(f"vaekit {seed} {epoch}{stream and ' '}{stream}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
