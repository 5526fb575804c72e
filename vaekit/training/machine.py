"""The machine that a run trains on: its device, how torch is set up on it, and what is said when its memory is too small.

Needs: torch.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import torch

from vaekit.cores import count_cores
from vaekit.errors import ConfigError


def choose_device(device: str) -> torch.device:
    """Find the device: "auto" takes CUDA where torch sees one.

    Raises:
        ConfigError: CUDA was asked for, and torch sees none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device='cuda' was asked for, but torch {torch.__version__} sees no CUDA device; "
            "install a CUDA build of torch, or pass --device cpu."
        )
    return torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")


def prepare(device: torch.device) -> None:
    """Set up torch in this process: denormal numbers are flushed to zero, and no more threads than there are cores."""
    # Adam's moments decay into denormal numbers, which the processor computes with in microcode: half the speed.
    torch.set_flush_denormal(True)
    if device.type == "cpu":
        # Never more than torch was told, by OMP_NUM_THREADS or by the program around this.
        torch.set_num_threads(min(torch.get_num_threads(), count_cores().usable))


@contextlib.contextmanager
def float32_by_default() -> Iterator[None]:
    """Have torch make float32 arrays while the block runs, whatever the program around this has set."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch found no memory; on the CPU it says so in words alone, which differ between systems."""
    words = ("allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError) or any(each in str(error) for each in words)


def asked_for(error: RuntimeError) -> str:
    """What there was no memory for, as far as torch says it."""
    size = re.search(r"tried to allocate ([\d.]+ \w+)", str(error))
    return f"there is no memory for {size[1]}" if size else "there is not enough memory"
