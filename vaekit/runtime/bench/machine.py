"""What the numbers were taken on: processor, memory, system, versions. Nothing that names the machine or its user.

Needs: the standard library.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Final

import vaekit
from vaekit.cores import count_cores
from vaekit.runtime.bench.results import Machine
from vaekit.runtime.providers import installed_wheels

VECTOR_UNITS: Final = (
    *("sse4_2", "avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve"),
)
"""Flags of Linux's /proc/cpuinfo that decide how fast float32, fp16 and int8 run."""

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def describe_machine(proc: Path = _PROC, cgroup: Path = _CGROUP) -> Machine:
    """Look at this machine.

    Args:
        proc: Where Linux's process files are mounted.
        cgroup: Where the control group's files are mounted.
    """
    cores = count_cores(cgroup)
    processor, units = _processor(proc)
    load = load_average()
    return Machine(
        processor=processor,
        vector_units=units,
        gpus=_gpus(proc),
        cores_usable=cores.usable,
        cores_machine=cores.machine,
        memory=memory_limit(proc, cgroup),
        system=platform.platform(),
        load_before=load,
        load_after=load,
        versions=_versions(),
    )


def load_average() -> float | None:
    """Processes that ran or waited over the last minute, on average; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):  # Windows has none
        return None


def memory_limit(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int | None:
    """Bytes of memory that this process may use: the machine's, cut by the control group's limit; None if unknown."""
    limits = [_meminfo(proc, "MemTotal")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # versions 2 and 1; without a limit "max" or 2^63
        limits.append(_number(_read(cgroup / name)))
    known = [limit for limit in limits if limit is not None]
    return min(known, default=_physical())


def memory_available(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int | None:
    """Bytes that could be allocated now without swapping; None if unknown."""
    known = [limit for limit in (_meminfo(proc, "MemAvailable"), memory_limit(proc, cgroup)) if limit is not None]
    return min(known, default=None)


def _processor(proc: Path) -> tuple[str, tuple[str, ...]]:
    fields: dict[str, str] = {}
    for line in _read(proc / "cpuinfo").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features", "")).split())
    name = fields.get("model name") or fields.get("Model") or _brand() or platform.processor() or platform.machine()
    return name, tuple(unit for unit in VECTOR_UNITS if unit in flags)


def _brand() -> str:
    """Processor's name on macOS."""
    if platform.system() != "Darwin":
        return ""
    done = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _gpus(proc: Path) -> tuple[str, ...]:
    """Models of the NVIDIA devices, from their driver."""
    models = []
    for path in sorted((proc / "driver" / "nvidia" / "gpus").glob("*/information")):
        lines = dict(line.split(":", 1) for line in _read(path).splitlines() if ":" in line)
        models.append(lines.get("Model", "NVIDIA GPU").strip())
    return tuple(models)


def _versions() -> dict[str, str]:
    versions = {"vaekit": vaekit.__version__, "python": platform.python_version()}
    versions["numpy"] = importlib.metadata.version("numpy")
    return versions | dict(wheel.split(" ", 1) for wheel in installed_wheels())


def _meminfo(proc: Path, name: str) -> int | None:
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith(f"{name}:"):
            kibibytes = _number(line.split()[1])
            return None if kibibytes is None else kibibytes * 1024
    return None


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
