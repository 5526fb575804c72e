"""Several processes that train one model: who this one is, sums over all of them, and a clean end when one is lost.

`torchrun` starts the processes and tells each its rank. Each holds the whole model, takes its part of every batch, and gives
its gradient to one all-reduce; the sum is the gradient of the whole batch, so a run gives the same losses (to rounding) with
any number of processes. Rank 0 alone writes.

Needs: torch.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from vaekit.errors import RankError, VaekitError, one_line

T = TypeVar("T")

TIMEOUT: Final = datetime.timedelta(minutes=10)
"""How long a process waits for the others: longer than rank 0 needs to write a checkpoint."""


class Ranks:
    """This process among those that train together.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    @property
    def writes(self) -> bool:
        """Whether this process writes files and talks to the user: rank 0 does."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """Which of a batch's items are this process's: every `size`-th from `rank` on.

        Of a batch with too few items for it, the first: it must go along with the others. Its `share` is 0.
        """
        return slice(self.rank, None, self.size) if self.rank < count else slice(0, 1)

    def share(self, count: int) -> float:
        """The part of a batch's items that count as this process's, 0 to 1; those of all processes make 1."""
        return len(range(self.rank, count, self.size)) / count

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes.

        Raises:
            RankError: Another process ended.
        """
        if self.size == 1 or not tensors:
            return
        with _named():
            if len(tensors) == 1:
                dist.all_reduce(tensors[0])
                return
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            dist.all_reduce(flat)
            totals = torch.split(flat, [tensor.numel() for tensor in tensors])
            for tensor, total in zip(tensors, totals, strict=True):
                tensor.copy_(total.view_as(tensor))

    def agree(self, tensors: Iterable[Tensor]) -> None:
        """Hold that every process has the same numbers, to the last bit.

        Raises:
            RankError: They differ: a process computed something else, so this run is not one model.
        """
        if self.size == 1:
            return
        sums = [(tensor.double().sum(), tensor.double().square().sum()) for tensor in tensors]
        low = torch.stack([number for pair in sums for number in pair])
        high = low.clone()
        with _named():
            dist.all_reduce(low, dist.ReduceOp.MIN)
            dist.all_reduce(high, dist.ReduceOp.MAX)
        if not torch.equal(low, high):
            raise RankError(
                "the processes of this run no longer hold the same weights; train with one process to find out why."
            )

    def first(self, work: Callable[[], T]) -> T | None:
        """Do some work in rank 0 alone, while the others wait for it; they get None.

        Raises:
            RankError: It failed in rank 0, where the error itself is raised.
        """
        if self.size == 1:
            return work()
        result, failed = None, None
        if self.writes:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  it is raised again, when the others know
                failed = error
        told = torch.tensor([failed is not None], dtype=torch.int32, device=_device())
        with _named():
            dist.broadcast(told, 0)
        if failed is not None:
            raise failed
        if told.item():
            raise RankError("rank 0 stopped with an error, so this one stops as well.")
        return result


@contextlib.contextmanager
def ranks(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun started; a process of its own is rank 0 of 1.

    Args:
        device: Where this process trains: its kind decides how the processes talk, by gloo on the CPU or by NCCL on CUDA.

    Raises:
        RankError: The others were not reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 and not dist.is_initialized():
        yield Ranks()
        return
    joined = not dist.is_initialized()
    if joined:
        with _named():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
        if joined:
            with _named():
                dist.barrier()  # nobody closes the connection while another still uses it
    finally:
        if joined:
            with contextlib.suppress(RuntimeError):  # the others may be gone
                dist.destroy_process_group()
            # gloo's threads end with the group's last reference. One that is left to the end of the interpreter aborts the
            # process ("terminate called without an active exception").
            gc.collect()


def local_device(device: torch.device) -> torch.device:
    """The GPU of this process: torchrun numbers the processes of a machine in LOCAL_RANK."""
    if device.type != "cuda":
        return device
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise RankError(
            f"{local + 1} or more processes were started here, but torch sees {torch.cuda.device_count()} GPUs; "
            "pass torchrun that number as --nproc-per-node."
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def is_first() -> bool:
    """Whether this process may print: outside torchrun always, inside it for rank 0."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Turn what a lost connection raises into one line."""
    try:
        yield
    except VaekitError:
        raise
    except (RuntimeError, ValueError) as error:  # torch's DistError is a RuntimeError
        raise RankError(
            f"the other processes of this run were lost, so this one stops: {one_line(error, 200)}."
        ) from error


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
