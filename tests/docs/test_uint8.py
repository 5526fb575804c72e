"""The programs of docs/embedding/uint8.md do what the page says, on a bundle that was exported as it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).parent))  # tests are no package; those of the docs share their reader of pages

from test_examples import outputs, programs
from test_types import mypy

if TYPE_CHECKING:
    from vaekit.datasets import Dataset
    from vaekit.exporting import ModulePair

PAGE = Path(__file__).resolve().parents[2] / "docs" / "embedding" / "uint8.md"
TEXT = PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(small_pair: ModulePair, small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's programs and its bundle, which here nobody trained."""
    from vaekit.exporting import export_bundle

    place = tmp_path_factory.mktemp("page")
    export_bundle(small_pair, place / "digits", data=small_dataset, io="uint8")
    for name, text in programs(TEXT).items():
        (place / name).write_text(text)
    return place


def test_every_program_of_the_page_is_run() -> None:
    assert set(programs(TEXT)) == set(outputs(TEXT)) == {"camera.py", "texture.py"}


@pytest.mark.parametrize("name", outputs(TEXT))
def test_a_program_prints_what_the_page_says(folder: Path, name: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", name]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == outputs(TEXT)[name]


def test_a_strict_type_checker_accepts_them(folder: Path, tmp_path: Path) -> None:
    files = [folder / name for name in programs(TEXT)]
    assert mypy(*files, cwd=tmp_path).stdout == "Success: no issues found in 2 source files\n"
