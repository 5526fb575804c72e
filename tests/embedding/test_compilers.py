"""Every C file that `vaekit embed` writes, under the strictest warnings of gcc, and of clang where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vaekit.embedding import embed

if TYPE_CHECKING:
    from vaekit.datasets import Dataset
    from vaekit.exporting import ModulePair

WARNINGS = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wdouble-promotion", "-Werror"]
GENERATED = ["-Wno-conversion", "-Wno-sign-conversion", "-Wno-shadow", "-Wno-double-promotion"]
"""What is not asked of vae_decoder.c where emx-onnx-cgen wrote it."""

COMPILERS = {
    "c": [name for name in ("gcc", "clang") if shutil.which(name)],
    "c++": [name for name in ("g++", "clang++") if shutil.which(name)],
}

PROJECTS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "c": ("c", None, {}),
    "c, pixels": ("c", "pixel_bundle", {"io": "uint8"}),
    "c, a table": ("c", "table_bundle", {}),
    "float32 weights": ("c-standalone", None, {}),
    "int8 weights": ("c-standalone", None, {"weights": "int8"}),
    "every function": ("c-standalone", "odd_bundle", {}),
    "generated": ("c-standalone", "conv_bundle", {}),
    "an autoencoder": ("c-standalone", "ae_bundle", {}),
}
"""Target, bundle and options of each kind of code."""


@pytest.fixture(scope="module", params=PROJECTS)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target, bundle, options = PROJECTS[request.param]
    source = request.getfixturevalue(bundle) if bundle else None
    return embed(target, source, tmp_path_factory.mktemp("c") / "project", **options)


@pytest.fixture(scope="module")
def pixel_bundle(small_pair: ModulePair, small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small_pair` with app-ready graphs."""
    from vaekit.exporting import export_bundle

    return export_bundle(small_pair, tmp_path_factory.mktemp("pixels") / "small", data=small_dataset, io="uint8").path


def includes(project: Path) -> list[str]:
    return [f"-I{project}", *(["-isystem", str(project / "ort")] if (project / "ort").is_dir() else [])]


@pytest.mark.parametrize("file", ["vae_decoder.c", "demo.c", "self_test.c"])
def test_c_is_clean_under_strict_warnings(project: Path, file: str, need: Callable[[str], str], tmp_path: Path) -> None:
    need("gcc")
    generated = "emx-onnx-cgen" in (project / file).read_text()
    for compiler in COMPILERS["c"]:
        command = [
            compiler,
            *WARNINGS,
            *(GENERATED if generated else []),
            "-O2",
            "-ffp-contract=off",
            *includes(project),
        ]
        done = subprocess.run(
            [*command, "-c", str(project / file), "-o", str(tmp_path / "object.o")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{compiler}: {done.stderr}"


def test_a_program_in_cpp_includes_the_header_and_links(
    project: Path, need: Callable[[str], str], tmp_path: Path
) -> None:
    need("g++"), need("gcc")
    (tmp_path / "main.cpp").write_text(
        '#include "vae_decoder.h"\nint main() { float eps[3]; vae_noise(7, 0, 3, eps); return eps[0] == eps[1]; }\n'
    )
    flags = ["-ffp-contract=off", *includes(project)]
    command = [
        "gcc",
        "-std=c11",
        *flags,
        "-ffunction-sections",
        "-c",
        str(project / "vae_decoder.c"),
        "-o",
        "decoder.o",
    ]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    for compiler in COMPILERS["c++"]:
        strict = ["-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Werror"]
        # What needs ONNX Runtime is not called, and is dropped: the names that are must be C's.
        command = [compiler, *strict, *flags, "main.cpp", "decoder.o", "-Wl,--gc-sections", "-lm", "-o", "program"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{compiler}: {done.stderr}"
        assert subprocess.run([tmp_path / "program"], check=False).returncode == 0


def test_the_warnings_are_seen(tmp_path: Path, need: Callable[[str], str]) -> None:
    need("gcc")
    (tmp_path / "wrong.c").write_text("int narrow(long wide);\nint narrow(long wide) { return wide; }\n")
    for compiler in COMPILERS["c"]:
        command = [compiler, *WARNINGS, "-c", "wrong.c", "-o", "wrong.o"]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0, compiler
