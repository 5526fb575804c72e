"""vaekit's types, as `mypy --strict` sees them from a program that uses it; tests/test_packaging.py asks the wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = Path(__file__).with_name("consumer.py")

WRONG = """\
import vaekit
vae = vaekit.load("digits", provider=1)
vae.sample("16")
vae.encode([0.0])
vae.dream(3)
vaekit.prior(1, 20)
vaekit.load(42)
vae.bundle.manifest.name + 1
"""


def mypy(*files: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    # An editable install is found by a hook of Python's import, which mypy does not run: it gets the folder.
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    # What it found out about NumPy and vaekit serves the next call too; it holds that to the files' content itself.
    cache = ROOT / ".mypy_cache" / "from-outside"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", cache, *files]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_package_says_that_it_has_types() -> None:
    assert (ROOT / "vaekit" / "py.typed").is_file()


def test_a_strict_program_is_accepted_and_so_is_every_program_of_the_docs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    files = [CONSUMER]
    for text in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        files.append(tmp_path / text.split(None, 2)[1])
        files[-1].write_text(text)
    assert len(files) > 9
    done = mypy(*files, cwd=tmp_path)
    assert done.stdout == f"Success: no issues found in {len(files)} source files\n"


def test_each_wrong_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    done = mypy(tmp_path / "wrong.py", cwd=tmp_path)
    assert done.returncode == 1
    wrong = {int(line) for line in re.findall(r"^wrong\.py:(\d+): error", done.stdout, re.MULTILINE)}
    assert wrong == set(range(2, 2 + WRONG.count("\n") - 1)), done.stdout
