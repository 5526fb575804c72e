"""Cores are counted as the machine, the affinity and the control group see them; files and calls are imitated."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaekit.cores import Cores, count_cores

has_affinity = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")


@pytest.fixture
def eight_of_sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 16 cores that gives this process 8."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def _version_2(folder: Path, content: str) -> Path:
    (folder / "cpu.max").write_text(content)
    return folder


def _version_1(folder: Path, quota: str, period: str) -> Path:
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu" / "cpu.cfs_period_us").write_text(period)
    return folder


@pytest.mark.usefixtures("eight_of_sixteen")
@pytest.mark.parametrize(
    ("content", "quota", "usable"),
    [
        ("max 100000\n", None, 8),
        ("100000 100000\n", 1.0, 1),
        ("150000 100000\n", 1.5, 2),  # rounded up: two threads use 1.5 cores' time better than one does
        ("20000 100000\n", 0.2, 1),
        ("125000 50000\n", 2.5, 3),
        ("3200000 100000\n", 32.0, 8),  # more time than cores
    ],
)
def test_a_version_2_quota_is_limit_over_period(tmp_path: Path, content: str, quota: float | None, usable: int) -> None:
    cores = count_cores(_version_2(tmp_path, content))
    assert cores == Cores(machine=16, affinity=8, quota=quota)
    assert cores.usable == usable


@pytest.mark.usefixtures("eight_of_sixteen")
@pytest.mark.parametrize(
    ("limit", "period", "quota"),
    [("-1\n", "100000\n", None), ("400000\n", "100000\n", 4.0), ("25000\n", "50000\n", 0.5)],
)
def test_a_version_1_quota_is_limit_over_period(tmp_path: Path, limit: str, period: str, quota: float | None) -> None:
    assert count_cores(_version_1(tmp_path, limit, period)).quota == quota


@pytest.mark.usefixtures("eight_of_sixteen")
def test_without_a_control_group_there_is_no_quota(tmp_path: Path) -> None:
    assert count_cores(tmp_path / "nowhere") == Cores(machine=16, affinity=8, quota=None)


@pytest.mark.usefixtures("eight_of_sixteen")
@pytest.mark.parametrize("content", ["", "100000", "many 100000", "100000 0", "1 2 3", "-1 100000", "\x00"])
def test_a_quota_that_makes_no_sense_is_no_quota(tmp_path: Path, content: str) -> None:
    assert count_cores(_version_2(tmp_path, content)).quota is None


@pytest.mark.usefixtures("eight_of_sixteen")
@pytest.mark.parametrize(("limit", "period"), [("", ""), ("100000", "0"), ("max", "100000")])
def test_a_version_1_quota_that_makes_no_sense_is_no_quota(tmp_path: Path, limit: str, period: str) -> None:
    assert count_cores(_version_1(tmp_path, limit, period)).quota is None


@pytest.mark.usefixtures("eight_of_sixteen")
def test_version_2_is_read_before_version_1(tmp_path: Path) -> None:
    _version_1(tmp_path, "700000", "100000")
    assert count_cores(_version_2(tmp_path, "300000 100000")).quota == 3.0


def test_without_affinity_every_core_of_the_machine_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS and Windows
    assert count_cores(tmp_path) == Cores(machine=6, affinity=6, quota=None)


def test_a_machine_that_does_not_say_has_one_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert count_cores(tmp_path).usable == 1


@has_affinity
def test_a_process_bound_to_one_core_counts_one() -> None:
    first = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{first}}}); from vaekit.cores import count_cores; "
        "cores = count_cores(); print(cores.affinity, cores.usable, cores.machine == os.cpu_count())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "1", "True"]


@has_affinity
def test_the_affinity_is_what_the_kernel_lists() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system has no /proc")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("Cpus_allowed:"))
    mask = int(line.split()[1].replace(",", ""), 16)
    assert count_cores().affinity == mask.bit_count()
