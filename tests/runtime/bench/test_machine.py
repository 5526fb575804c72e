"""What a report says of the machine, from files as Linux writes them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from vaekit.runtime.bench import machine
from vaekit.runtime.bench.machine import describe_machine, load_average, memory_available, memory_limit

CPUINFO = """\
processor\t: 0
model name\t: Example CPU @ 3.00GHz
flags\t\t: fpu avx2 avx512f avx512_vnni amx_tile amx_int8

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n\nModel\t\t: Raspberry Pi 5 Model B\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "cpuinfo").write_text(CPUINFO)
    (folder / "meminfo").write_text("MemTotal:       8000000 kB\nMemAvailable:   3000000 kB\n")
    return folder


def test_the_processor_and_its_vector_units_are_read(proc: Path, tmp_path: Path) -> None:
    found = describe_machine(proc, tmp_path)
    assert found.processor == "Example CPU @ 3.00GHz"
    assert found.vector_units == ("avx2", "avx512f", "avx512_vnni", "amx_tile", "amx_int8")
    assert found.memory == 8_000_000 * 1024


def test_an_arm_board_is_named_too(proc: Path, tmp_path: Path) -> None:
    (proc / "cpuinfo").write_text(ARM)
    found = describe_machine(proc, tmp_path)
    assert (found.processor, found.vector_units) == ("Raspberry Pi 5 Model B", ("asimd", "asimddp", "i8mm"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("memory.max", "2000000000\n", 2_000_000_000),
        ("memory.max", "max\n", 8_000_000 * 1024),
        ("memory/memory.limit_in_bytes", "1000000000\n", 1_000_000_000),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", 8_000_000 * 1024),
    ],
)
def test_memory_is_what_the_container_gives(proc: Path, tmp_path: Path, name: str, content: str, expected: int) -> None:
    (tmp_path / "cgroup" / "memory").mkdir(parents=True)
    (tmp_path / "cgroup" / name).write_text(content)
    assert memory_limit(proc, tmp_path / "cgroup") == expected
    assert memory_available(proc, tmp_path / "cgroup") == min(expected, 3_000_000 * 1024)


def test_gpus_are_named_by_their_driver(proc: Path, tmp_path: Path) -> None:
    for number in (0, 1):
        folder = proc / "driver" / "nvidia" / "gpus" / f"0000:0{number}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text("Model: \t\t NVIDIA Example 100\nIRQ:   \t\t 11\n")
    assert describe_machine(proc, tmp_path).gpus == ("NVIDIA Example 100",) * 2


def test_a_machine_that_says_nothing_is_still_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_physical", lambda: None)
    found = describe_machine(tmp_path, tmp_path)
    assert found.processor  # what Python knows
    assert (found.memory, found.vector_units, found.gpus) == (None, (), ())
    assert memory_available(tmp_path, tmp_path) is None


def test_this_machine_is_described_without_its_name() -> None:
    found = describe_machine()
    assert found.cores_usable == len(os.sched_getaffinity(0)) or found.cores_usable < found.cores_machine
    assert found.versions["numpy"] == np.__version__
    assert "onnxruntime" in " ".join(found.versions)
    assert socket.gethostname() not in " ".join(map(str, found)).split()


def test_a_system_without_load_averages_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg")
    assert load_average() is None
