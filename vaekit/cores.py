"""How many cores this process may really use.

`os.cpu_count` counts the machine's cores. A container often gives fewer, by CPU affinity or by a quota of CPU time, and
ONNX Runtime's own default then starts too many threads, or fails to pin them.

Needs: the standard library.
"""

from __future__ import annotations

import math
import os
from typing import Final

from vaekit.value import Value

_CGROUP: Final = "/sys/fs/cgroup"


class Cores(Value):
    """Cores as the machine, the affinity mask and the control group see them.

    Attributes:
        machine: Logical cores of the machine.
        affinity: Those that this process may run on.
        quota: CPU time per wall time that the control group allows, in cores, or None without a limit.
    """

    machine: int
    affinity: int
    quota: float | None

    @property
    def usable(self) -> int:
        """Threads that can run at once: the affinity, cut by the quota rounded up; at least 1."""
        return max(1, self.affinity if self.quota is None else min(self.affinity, math.ceil(self.quota)))


def count_cores(cgroup: str | os.PathLike[str] = _CGROUP) -> Cores:
    """Count them.

    Args:
        cgroup: Where the control group's files are mounted.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (cpu.cfs_quota_us).
    """
    machine = os.cpu_count() or 1
    try:
        affinity = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such call
        affinity = machine
    return Cores(machine, affinity, _quota(cgroup))


def _quota(cgroup: str | os.PathLike[str]) -> float | None:
    try:
        limit, period = _text(cgroup, "cpu.max").split()  # version 2: "max 100000" or "150000 100000"
    except (OSError, ValueError):
        try:
            limit = _text(cgroup, "cpu", "cpu.cfs_quota_us").strip()  # version 1: -1 is no limit
            period = _text(cgroup, "cpu", "cpu.cfs_period_us").strip()
        except OSError:
            return None
    try:
        cores = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return cores if cores > 0 else None


def _text(*path: str | os.PathLike[str]) -> str:
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()
