"""Batches of items: no Python per item, and an order that is a function of (seed, epoch).

Items that fit into memory are kept as one tensor on the device, 8-bit pixels as 8 bits; one gather takes a batch of them, and
the step makes that float32. Items of a mapped file stay in the file: a thread reads the next batches while this one is
trained on, and lets the file's pages go again.
All randomness of an epoch comes from generators that are seeded anew at its start, so that a resumed run needs no state.

Needs: torch.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from vaekit.datasets.mapped import Items, Rows, release

AHEAD: Final = 4
"""Batches of a mapped file that are read ahead of the step."""

RELEASE_AFTER: Final = 256 << 20
"""Bytes read from a mapped file between two releases of its pages."""


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
        self, batch_size: int, generator: torch.Generator, *, part: int = 0, parts: int = 1
    ) -> Iterator[tuple[Tensor, int]]:
        """All items once, in a new order and as they are kept; the last batch may be smaller.

        Args:
            batch_size: Items a batch, those of all parts together.
            generator: Decides the order.
            part: Which of `parts` processes this is: its items of a batch are every `parts`-th from `part` on.
            parts: How many processes share each batch.

        Yields:
            This part's items of the batch, and the number of items of the whole batch. A part of a batch that has too few for
            it gets the batch's first item, which the caller must not count.
        """
        order = torch.randperm(len(self), generator=generator, device=generator.device)
        batches = (order[start : start + batch_size] for start in range(0, len(self), batch_size))
        rows = ((batch[part::parts] if part < len(batch) else batch[:1], len(batch)) for batch in batches)
        if self._mapped is None:
            for own, count in rows:
                # Not [own]: on rows scattered over 47 MB index_select takes a fifth of the time.
                yield self._items.index_select(0, own.to(self._items.device)), count
            return
        yield from self._read_ahead(rows)

    def ordered(self, batch_size: int) -> Iterator[Tensor]:
        """All items once, in their own order and as they are kept."""
        starts = range(0, len(self), batch_size)
        if self._mapped is None:
            for start in starts:
                yield self._items[start : start + batch_size]
            return
        rows = ((slice(start, start + batch_size), 0) for start in starts)
        yield from (items for items, _ in self._read_ahead(rows))

    def _read_ahead(self, rows: Iterator[tuple[Any, int]]) -> Iterator[tuple[Tensor, int]]:
        """Read batches of the mapped file in a thread, a few ahead of whoever takes them."""
        items = self._mapped
        assert items is not None
        read = 0

        def batch(wanted: Tensor | slice) -> Tensor:
            nonlocal read
            # In the file's order, so that the disk is read forwards; then in the batch's.
            if isinstance(wanted, slice):
                array = np.array(items[wanted])
            else:
                index = wanted.cpu().numpy()
                forwards = np.argsort(index)
                array = np.empty((len(index), *items.shape[1:]), items.dtype)
                array[forwards] = items[index[forwards]]
            read += array.nbytes
            if read > RELEASE_AFTER:
                release(items)
                read = 0
            tensor = torch.from_numpy(array)
            return tensor.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else tensor

        waiting: deque[tuple[Future[Tensor], int]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="vaekit-read-ahead") as reader:
            try:
                for wanted, count in rows:
                    waiting.append((reader.submit(batch, wanted), count))
                    if len(waiting) > AHEAD:
                        future, whole = waiting.popleft()
                        yield future.result(), whole
                while waiting:
                    future, whole = waiting.popleft()
                    yield future.result(), whole
            finally:
                for future, _ in waiting:
                    future.cancel()
                release(items)


def epoch_generator(seed: int, epoch: int, device: torch.device, stream: str = "") -> torch.Generator:
    """Give a generator whose numbers depend on (seed, epoch, stream) alone; epoch 0 is for measuring on test items."""
    digest = hashlib.sha256(f"vaekit {seed} {epoch}{stream and ' '}{stream}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
