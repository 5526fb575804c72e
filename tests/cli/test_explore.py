"""`vaekit explore` as a command: what it refuses, and a run in a pseudo-terminal. tests/explorer/ has what it shows."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.cli.explore import _check_screen
from vaekit.errors import ConfigError, MissingDependencyError

Result = Any


def test_without_a_terminal_one_line_says_what_it_needs(run: Callable[..., Result]) -> None:
    result = run("explore")
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("error: `vaekit explore` needs a terminal on standard input and output")
    assert result.err.count("\n") == 1


def test_a_terminal_without_a_cursor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal())
    monkeypatch.setattr(sys, "stdout", _Terminal())
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(ConfigError, match="needs a terminal with a cursor, but TERM is 'dumb'"):
        _check_screen()


class _Terminal:
    def isatty(self) -> bool:
        return True


def test_without_textual_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal())
    monkeypatch.setattr(sys, "stdout", _Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        MissingDependencyError, match=r"needs textual; install it with `pip install 'vaekit\[explore,cpu\]'`"
    ):
        _check_screen()


class Session:
    """`vaekit explore` in a pseudo-terminal of its own."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            environment.pop(name, None)
        self.slave = slave
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vaekit", "explore", *arguments],
            stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        )  # fmt: skip
        self.output = b""

    def until(self, wanted: str, timeout: float = 60) -> None:
        """Read until a text was written."""
        end = time.monotonic() + timeout
        while wanted.encode() not in self.output:
            if time.monotonic() > end:
                pytest.fail(f"{wanted!r} was never written; the end of what was: {self.output[-500:]!r}")
            self._read(0.1)

    def _read(self, wait: float) -> None:
        if select.select([self.master], [], [], wait)[0]:
            self.output += os.read(self.master, 65536)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def end(self) -> int:
        """Wait for the end, and give the exit code."""
        end = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < end:
            self._read(0.05)
        code = self.process.wait(timeout=1)
        while select.select([self.master], [], [], 0.05)[0]:
            self.output += os.read(self.master, 65536)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.mark.parametrize("quits", ["q", "\x03"])
def test_in_a_terminal_it_starts_takes_keys_and_leaves_everything_as_it_was(
    small_bundle: Path, tmp_path: Path, quits: str
) -> None:
    session = Session(str(small_bundle), "--out", str(tmp_path / "saves"), "--seed", "3")
    try:
        session.until("seed 3")
        session.press("r")
        session.until("seed 4")
        session.press("s")
        session.until("saved")
        session.press(quits)
        assert session.end() == 0
        assert termios.tcgetattr(session.slave) == session.before
        for on, off in (
            (b"\x1b[?1049h", b"\x1b[?1049l"),
            (b"\x1b[?1000h", b"\x1b[?1000l"),
            (b"\x1b[?25l", b"\x1b[?25h"),
        ):
            assert session.output.rfind(off) > session.output.rfind(on) >= 0
    finally:
        session.close()
    saved = json.loads(next((tmp_path / "saves").glob("*/code.json")).read_text())
    np.testing.assert_array_equal(np.float32(saved["z"]), vaekit.noise(seed=4, count=1, dim=5)[0])


def test_a_missing_bundle_is_one_red_line_also_in_a_terminal(tmp_path: Path) -> None:
    session = Session(str(tmp_path / "gone"))
    try:
        assert session.end() == 1
        assert b"error: " in session.output
        assert b"Traceback" not in session.output
        assert b"\x1b[?1049h" not in session.output  # the screen was never taken
    finally:
        session.close()
