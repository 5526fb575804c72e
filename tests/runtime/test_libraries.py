"""The ELF reader against binutils' readelf, and the loader against libraries that surely exist or do not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from vaekit.runtime import libraries
from vaekit.runtime.libraries import cuda_libraries, loads, missing_libraries, needed_libraries, nvidia_driver

linux = pytest.mark.skipif(sys.platform != "linux", reason="ELF files and their loader are Linux's")


def _elf_files() -> list[Path]:
    python = Path(sys.executable).resolve()
    numpy = sorted(Path(np.__file__).parent.rglob("*.so"))[:4]
    return [python, *numpy, *sorted((Path(onnxruntime.__file__).parent / "capi").glob("*.so*"))]


@linux
@pytest.mark.skipif(shutil.which("readelf") is None, reason="binutils' readelf is not installed")
def test_the_needed_libraries_are_those_that_readelf_lists() -> None:
    compared = 0
    for path in _elf_files():
        said = subprocess.run(["readelf", "-dW", path], capture_output=True, text=True, check=True).stdout
        expected = re.findall(r"\(NEEDED\).*\[(.+)\]", said)
        assert needed_libraries(path) == expected, path
        compared += len(expected)
    assert compared > 5


def test_a_file_of_another_kind_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("INPUT(-lm)")
    (tmp_path / "empty.so").touch()
    for name in ("text.so", "empty.so", "absent.so", "."):
        assert needed_libraries(tmp_path / name) == []


@linux
def test_an_elf_file_that_was_cut_short_never_crashes_the_reader(tmp_path: Path) -> None:
    content = Path(sys.executable).resolve().read_bytes()
    whole = needed_libraries(Path(sys.executable).resolve())
    for length in (6, 16, 40, 64, 100, 500, 1000, len(content) // 2, len(content) - 1):
        cut = tmp_path / "cut.so"
        cut.write_bytes(content[:length])
        assert set(needed_libraries(cut)) <= {*whole, ""}


@linux
def test_a_library_loads_where_the_loader_finds_it() -> None:
    assert loads("libc.so.6")
    assert not loads("libvaekit-has-no-such.so.1")
    assert missing_libraries(["libc.so.6", "libvaekit-has-no-such.so.1", "libm.so.6"]) == ["libvaekit-has-no-such.so.1"]


CUDA_12_PROVIDER = [
    "libcublasLt.so.12",
    "libcudnn.so.9",
    "libcurand.so.10",
    "libcuda.so.1",
    "libstdc++.so.6",
    "libc.so.6",
]
CUDA_13_PROVIDER = ["libcublasLt.so.13", "libcublas.so.13", "libcudart.so.13", "libm.so.6", "ld-linux-x86-64.so.2"]


@pytest.mark.parametrize(
    ("needed", "version", "required", "later"),
    [
        (CUDA_12_PROVIDER, "12.8", CUDA_12_PROVIDER[:4], ["libnvrtc.so.12"]),
        (CUDA_13_PROVIDER, "13.0", CUDA_13_PROVIDER[:3], ["libcudnn.so.9", "libnvrtc.so.13"]),
        (CUDA_13_PROVIDER, "", CUDA_13_PROVIDER[:3], ["libcudnn.so.9"]),
        (["libamdhip64.so.6", "libc.so.6"], "", [], []),
        ([], "13.0", [], []),
    ],
)
def test_nvidias_libraries_are_told_from_the_systems(
    monkeypatch: pytest.MonkeyPatch, needed: list[str], version: str, required: list[str], later: list[str]
) -> None:
    asked: list[Path] = []

    def read(path: Path) -> list[str]:
        asked.append(path)
        return needed

    monkeypatch.setattr(libraries, "needed_libraries", read)
    assert cuda_libraries(Path("/site/onnxruntime"), version) == (required, later)
    assert asked == [Path("/site/onnxruntime/capi/libonnxruntime_providers_cuda.so")]


def test_a_cpu_wheel_needs_no_library_of_nvidia() -> None:
    package = Path(onnxruntime.__file__).parent
    if (package / "capi" / libraries.PROVIDER_FILE).exists():
        pytest.skip("the installed ONNX Runtime has a CUDA provider")
    assert cuda_libraries(package, "") == ([], [])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\nGCC", "535.129.03"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86  Release Build\n", "570.86"),
        ("nothing that looks like one", "unknown"),
    ],
)
def test_the_drivers_version_is_read_from_the_kernel(monkeypatch: pytest.MonkeyPatch, said: str, expected: str) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _self: said)
    assert nvidia_driver() == expected


@pytest.mark.parametrize(("there", "expected"), [(True, "unknown"), (False, None)])
def test_a_driver_without_a_kernel_file_is_found_by_its_library(
    monkeypatch: pytest.MonkeyPatch, there: bool, expected: str | None
) -> None:
    def refuse(_self: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(libraries, "loads", lambda name: there and name in ("libcuda.so.1", "nvcuda.dll"))
    assert nvidia_driver() == expected
