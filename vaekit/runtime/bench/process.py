"""Cold start and memory, measured in fresh processes.

A start is the time from before the process is made until its first item is there, with the files in the page cache. Python's
bytecode is there too, as pip leaves it; where this process may not write any (PYTHONDONTWRITEBYTECODE, as developers set), the
children keep theirs in a folder of their own, or each of them would compile what a user's machine has compiled.

Needs: NumPy. Must not import: torch, onnx.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from math import isclose
from pathlib import Path
from statistics import median
from typing import IO, Any, Final

import vaekit
from vaekit.errors import MeasurementError
from vaekit.runtime.bench import child
from vaekit.runtime.bench.results import Setting, Start
from vaekit.runtime.bench.timing import Clock

TIMEOUT: Final = 300.0
"""Seconds after which a process that gives no item is ended."""

# -P: a file of the current folder must not stand in for a module. The appended folder serves a vaekit that is not installed.
ITEM: Final = """
import sys, time
began = time.perf_counter()
sys.path.append({root!r})
from vaekit.runtime.bench.child import main
main(began)
"""
BASELINE: Final = """
import sys, time
began = time.perf_counter()
import numpy
done = time.perf_counter()
sys.stdout.write("ready\\n")
sys.stdout.flush()
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("child", {child!r})
child = module_from_spec(spec)
spec.loader.exec_module(child)
child.report({{"stages": {{"import": done - began}}, "checksum": None}}, child.resident_and_peak())
"""


class Starter:
    """Starts one kind of process over and over.

    Args:
        setting: What the process opens; None is the baseline, which imports NumPy alone.
        folder: The bundle's folder.
        expected: Checksum of the first item, from this process; None checks nothing.
    """

    def __init__(self, setting: Setting | None, folder: Path, expected: float | None = None) -> None:
        self.setting = setting
        self._expected = expected
        places = {"root": str(Path(vaekit.__file__).parents[1]), "child": child.__file__}
        self._command = [sys.executable, "-P", "-c", (ITEM if setting else BASELINE).format(**places)]
        if setting is not None:
            self._command += [str(folder.resolve()), setting.half, setting.precision, setting.provider]
            self._command += [str(setting.threads), setting.io]
        self.seconds: list[float] = []
        self.reports: list[dict[str, Any]] = []

    def start(self, clock: Clock, environment: dict[str, str]) -> None:
        """Start one process, wait for its first item and its report, and keep both.

        Raises:
            MeasurementError: It failed, gave no item in time, or gave another item than this process.
        """
        began = clock()
        # A file takes what it says: a full pipe would stop it.
        with tempfile.TemporaryFile("w+") as errors, _process(self._command, environment, errors) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            took = clock() - began
            rest, _ = process.communicate()
            errors.seek(0)
            said = errors.read()
        if line.strip() != child.READY or process.returncode != 0:
            reason = said.strip().splitlines()[-1:] or [f"it ended with code {process.returncode}"]
            raise MeasurementError(f"a new process could not run {self._what}: {reason[0]}")
        report = json.loads(rest)
        if self._expected is not None and not isclose(report["checksum"], self._expected, rel_tol=1e-3, abs_tol=1e-4):
            raise MeasurementError(
                f"a new process ran {self._what}, and its first item has the checksum {report['checksum']:g}, but here it "
                f"has {self._expected:g}; is the bundle being changed?"
            )
        self.seconds.append(took)
        self.reports.append(report)

    def result(self) -> Start | None:
        """What was measured, or None before there was a start besides the first."""
        if len(self.seconds) < 2:
            return None
        reports = self.reports[1:]
        return Start(
            setting=self.setting,
            first=self.seconds[0],
            seconds=tuple(self.seconds[1:]),
            stages={name: median(one["stages"][name] for one in reports) for name in reports[0]["stages"]},
            resident=_median([one["resident"] for one in reports]),
            peak=_median([one["peak"] for one in reports]),
            checksum=reports[-1]["checksum"],
        )

    @property
    def _what(self) -> str:
        return "Python" if self.setting is None else self.setting.text


def start_in_turn(
    starters: Sequence[Starter], clock: Clock, *, starts: int, on_start: Callable[[int], None] = lambda _: None
) -> None:
    """Start each process once to fill the page cache, then `starts` times, in rounds and in a new order each round.

    Raises:
        MeasurementError: One of them fails.
    """
    order = random.Random(0)  # noqa: S311  (no secret)
    with _environment() as environment:
        for _ in range(1 + starts):
            indices = list(range(len(starters)))
            order.shuffle(indices)
            for index in indices:
                on_start(index)
                starters[index].start(clock, environment)


@contextlib.contextmanager
def _process(command: list[str], environment: dict[str, str], errors: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a process that does not outlive the block, nor `TIMEOUT`."""
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    except OSError as error:
        raise MeasurementError(f"no new Python process can be started: {error.strerror or error}.") from error
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.daemon = True
    timer.start()
    try:
        with process:
            try:
                yield process
            except BaseException:  # Ctrl-C too
                process.kill()
                raise
    finally:
        timer.cancel()


@contextlib.contextmanager
def _environment() -> Iterator[dict[str, str]]:
    environment = dict(os.environ)
    if not sys.dont_write_bytecode:
        yield environment
        return
    with tempfile.TemporaryDirectory() as folder:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        yield {**environment, "PYTHONPYCACHEPREFIX": folder}


def _median(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return int(median(known)) if known else None
