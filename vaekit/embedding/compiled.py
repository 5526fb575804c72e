"""What a C file takes on a machine: flash, static RAM and stack, from the compiler's own report.

Needs: the standard library; a C compiler and `size`, if there are any.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Footprint(NamedTuple):
    """What one object file takes.

    Attributes:
        compiler: The compiler's first words about itself.
        machine: The processor that it compiles for.
        flash: Bytes of code and constants.
        data: Bytes of variables with a starting value.
        bss: Bytes of variables that start at zero.
        stack: Bytes of stack of all its functions together, so at least what any call needs; those of the maths library
            come on top.
    """

    compiler: str
    machine: str
    flash: int
    data: int
    bss: int
    stack: int


def measure(
    source: Path, *, compiler: str | None = None, size: str | None = None, flags: Sequence[str] = ("-Os",)
) -> Footprint | None:
    """Compile a C file and read its sizes; None where there is no compiler that tells them.

    Args:
        source: The file.
        compiler: The compiler; None finds this machine's.
        size: The tool that reads object files; None finds this machine's.
        flags: How the compiler optimises, and for which processor.
    """
    compiler = compiler or shutil.which("cc") or shutil.which("gcc")
    size = size or shutil.which("size")
    if compiler is None or size is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, "-std=c11", "-ffp-contract=off", "-fstack-usage", *flags]
        try:
            _output([*command, "-c", "-o", "object.o", str(source.resolve())], folder)
            flash, data, bss = (int(word) for word in _output([size, "object.o"], folder).splitlines()[1].split()[:3])
            usage = (Path(folder) / "object.su").read_text(encoding="utf-8").splitlines()
            version = _output([compiler, "--version"], folder).splitlines()[0]
        except (OSError, subprocess.CalledProcessError, ValueError, IndexError):  # a compiler of another kind
            return None
    stack = sum(int(line.split("\t")[1]) for line in usage)
    return Footprint(version, platform.machine(), flash, data, bss, stack)


def _output(command: list[str], folder: str) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
