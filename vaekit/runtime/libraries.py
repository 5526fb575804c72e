"""Which shared libraries an execution provider needs, and which of them this machine does not have.

ONNX Runtime names only the first library that it misses, and only on the process's standard error. Here the provider's
ELF file is read for all of them. Linux only: elsewhere nothing is listed.

Needs: the standard library. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

PROVIDER_FILE: Final = "libonnxruntime_providers_cuda.so"
DRIVER: Final = "libcuda.so.1"

NVIDIA: Final = re.compile(r"lib(cuda|cudart|cublas|cublasLt|cudnn|cufft|curand|nvrtc)\.so(\.\d+)*")
"""Names of CUDA's libraries, of its driver and of cuDNN."""

_ELF64_LITTLE: Final = b"\x7fELF\x02\x01"
_LOAD, _DYNAMIC = 1, 2  # types of a program header
_END, _NEEDED, _STRINGS = 0, 1, 5  # tags of the dynamic section


def needed_libraries(path: Path) -> list[str]:
    """List the libraries that a 64-bit little-endian ELF file asks the loader for (DT_NEEDED), in order.

    Returns:
        Their names, e.g. ``["libcudart.so.13", "libc.so.6"]``; an empty list for any other file.

    Source: System V ABI, chapter 5, "Program Header" and "Dynamic Section"; `man 5 elf`.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
            if image[:6] != _ELF64_LITTLE:
                return []
            return list(_needed(image))
    except (OSError, ValueError, struct.error):  # no such file, an empty one, one cut short
        return []


def _needed(image: mmap.mmap) -> Iterator[str]:
    (table,) = struct.unpack_from("<Q", image, 0x20)  # e_phoff
    size, count = struct.unpack_from("<HH", image, 0x36)  # e_phentsize, e_phnum
    # p_type, p_flags, p_offset (in the file), p_vaddr (in memory), p_paddr, p_filesz
    headers = [struct.unpack_from("<IIQQQQ", image, table + i * size) for i in range(count)]
    entries: list[tuple[int, int]] = []
    for kind, _, offset, _, _, length in headers:
        if kind == _DYNAMIC:
            entries = [struct.unpack_from("<qQ", image, offset + i) for i in range(0, length, 16)]
    strings = next((value for tag, value in entries if tag == _STRINGS), 0)  # an address in memory
    for kind, _, offset, address, _, length in headers:
        if kind == _LOAD and address <= strings < address + length:
            base = offset + strings - address
            for tag, value in entries:
                if tag == _END:
                    break
                if tag == _NEEDED:
                    yield image[base + value : image.find(b"\0", base + value)].decode("ascii", "replace")
            return


def cuda_libraries(package: Path, cuda_version: str) -> tuple[list[str], list[str]]:
    """Name NVIDIA's libraries that the CUDA provider of the package at `package` needs.

    Args:
        package: Folder of the package `onnxruntime`.
        cuda_version: What the wheel was built for, e.g. "13.0", or "" where it does not say.

    Returns:
        Those without which it does not load, and those that it opens at the first operator that needs them.
    """
    required = [name for name in needed_libraries(package / "capi" / PROVIDER_FILE) if NVIDIA.fullmatch(name)]
    if not required:
        return [], []
    major = cuda_version.partition(".")[0]
    later = ["libcudnn.so.9", *([f"libnvrtc.so.{major}"] if major else [])]  # cuDNN 9 goes with CUDA 12 and 13
    return required, [name for name in later if name not in required]


def missing_libraries(names: Iterable[str]) -> list[str]:
    """Name those that the loader cannot load; a library that this process already uses counts as there."""
    return [name for name in names if not loads(name)]


def loads(name: str) -> bool:
    """Whether the loader finds and loads a shared library of this name."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def nvidia_driver() -> str | None:
    """Version of NVIDIA's driver, "unknown" where it loads without saying one, or None without a driver."""
    with contextlib.suppress(OSError):
        said = Path("/proc/driver/nvidia/version").read_text()
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", said)
        return found.group() if found else "unknown"
    return "unknown" if loads("nvcuda.dll" if sys.platform == "win32" else DRIVER) else None
