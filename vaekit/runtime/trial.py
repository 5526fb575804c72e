"""ONNX Runtime tried on this machine: one provider, a graph of one MatMul, and what native code says meanwhile.

The reason why a provider does not load stands only in what ONNX Runtime writes to file descriptor 2, so that is caught.

Needs: NumPy; ONNX Runtime where it is installed. Must not import: torch, onnx.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from vaekit.runtime.providers import Options, open_session, short_name

# y = x @ [[1, 2], [3, 4]], opset 13, IR version 7. The numbers are exact in any precision that a provider may pick.
PROBE: Final = (
    b"\x08\x07"  # ModelProto.ir_version
    b"\x3a\x5f"  # .graph, 95 bytes
    b"\x0a\x11\x0a\x01x\x0a\x01w\x12\x01y\x22\x06MatMul"  # .node: inputs x and w, output y
    b"\x12\x01g"  # .name
    b"\x2a\x1b\x08\x02\x08\x02\x10\x01"  # .initializer: dims 2, 2, float32,
    b"\x22\x10\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40\x42\x01w"  # float_data 1 2 3 4, name w
    b"\x5a\x14\x0a\x01x\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x02"  # .input: x, float32 (n, 2)
    b"\x62\x14\x0a\x01y\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x02"  # .output: y, float32 (n, 2)
    b"\x42\x04\x0a\x00\x10\x0d"  # .opset_import: domain "", version 13
)


class Trial(NamedTuple):
    """How a provider did; nothing is said of one that is right.

    Attributes:
        reason: Why it does not load or run, or "".
        wrong: What it gave and what it should have, or "".
    """

    reason: str = ""
    wrong: str = ""


def try_provider(name: str) -> Trial:
    """Run the probe on one provider, and compare with NumPy.

    Args:
        name: The provider's name in ONNX Runtime.
    """
    x = np.array([[1, 1], [2, -1]], np.float32)
    expected = x @ np.array([[1, 2], [3, 4]], np.float32)
    try:
        with standard_error() as said:
            opened = open_session(PROBE, Options(short_name(name), threads=1), name="a graph of one MatMul")
            (y,) = opened.session.run(["y"], {"x": x})
    # A provider's failure is the finding, whatever its type.
    except Exception as error:  # noqa: BLE001
        reason = _loader_reason(said) or (first_line(error.__cause__) if error.__cause__ else str(error))
        return Trial(reason=reason or type(error).__name__)
    if not np.array_equal(y, expected):
        return Trial(wrong=f"{y.tolist()} instead of {expected.tolist()}")
    return Trial()


@contextlib.contextmanager
def standard_error() -> Iterator[list[str]]:
    """Catch what native code writes to file descriptor 2, and append it to the list that is handed out."""
    caught: list[str] = []
    try:
        saved = os.dup(2)
    except OSError:  # a process without standard error
        yield caught
        return
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        os.dup2(file.fileno(), 2)
        try:
            yield caught
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            caught.append(file.read().decode(errors="replace"))


def first_line(error: BaseException) -> str:
    """What an error says, as one line."""
    return str(error).strip().partition("\n")[0][:300]


def _loader_reason(said: list[str]) -> str:
    """Find the dynamic loader's own words in ONNX Runtime's log."""
    found = re.search(r"with error:\s*(.+)", "".join(said))
    return found[1].strip() if found else ""
