"""The programs of docs/python.md do what the page says: each is run as it stands, and its output compared.

A program is a python block whose first line is a comment with the file's name; `$ python NAME` in a console block runs it, in a
folder of its own that holds the page's other programs too.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "python.md"

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NEEDS = {"check_service.py": ("starlette", "httpx2")}
"""Packages besides vaekit's own; they are part of the extra dev."""


def programs(page: str) -> dict[str, str]:
    found = {}
    for language, text in BLOCK.findall(page):
        if language == "python":
            name = re.match(r"# (\w+\.py)\n", text)
            assert name, f"a program without a name: {text[:60]}"
            assert name.group(1) not in found, f"two programs are called {name.group(1)}"
            found[name.group(1)] = text
    return found


def outputs(page: str) -> dict[str, str]:
    found = {}
    for language, text in BLOCK.findall(page):
        if language == "console":
            command, _, output = text.partition("\n")
            assert command.startswith("$ python "), command
            found[command.removeprefix("$ python ")] = output
    return found


TEXT = PAGE.read_text(encoding="utf-8")


def test_every_program_is_run_or_imported_by_one_that_is() -> None:
    run, written = outputs(TEXT), programs(TEXT)
    assert len(written) >= 9
    imported = {
        f"{node.module}.py"
        for name in run
        for node in ast.walk(ast.parse(written[name]))
        if isinstance(node, ast.ImportFrom)
    }
    assert set(written) <= set(run) | imported
    assert set(run) <= set(written)


@pytest.mark.parametrize("name", outputs(TEXT))
def test_a_program_of_the_page_prints_what_the_page_says(name: str, tmp_path: Path) -> None:
    for package in NEEDS.get(name, ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; it is part of the extra dev")
    for file, text in programs(TEXT).items():
        (tmp_path / file).write_text(text)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # A warning in a reader's program would be ours.
    command = [sys.executable, "-W", "error", name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == outputs(TEXT)[name]
    assert done.stderr == ""


def test_the_loop_of_the_page_allocates_no_frame(tmp_path: Path) -> None:
    # Python's own tally of memory, which NumPy reports to: the most that 600 frames need, after 600 others.
    program = programs(TEXT)["loop.py"]
    start, end = program.index("for frame in"), program.index("print(")
    loop = program[start:end]
    watched = (
        f"import tracemalloc\n{program[:start]}\n{loop}\n"
        f"tracemalloc.start()\n{loop}\nprint(tracemalloc.get_traced_memory()[1])\n"
    )
    one_frame = 28 * 28 * 4
    run = subprocess.run([sys.executable, "-c", watched], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(run.stdout.splitlines()[-1]) < one_frame
    # The control: the same loop, with a copy of each frame.
    spoilt = watched.replace("x_hat = call()", "x_hat = call().copy()")
    assert spoilt != watched
    run = subprocess.run([sys.executable, "-c", spoilt], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(run.stdout.splitlines()[-1]) > one_frame
