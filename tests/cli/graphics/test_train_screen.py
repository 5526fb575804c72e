"""`vaekit train` in a terminal: the preview is drawn in place, and whatever ends the run leaves the terminal clean."""

from __future__ import annotations

import fcntl
import io
import json
import re
import shutil
import signal
import struct
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress
from rich.segment import Segment

from vaekit.cli.in_place import InPlace

Run = Callable[..., Any]

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
COLOURS = {"COLORTERM": "truecolor", "OMP_NUM_THREADS": "1"}
SMALL = ("--hidden", "8", "--latent", "2", "--device", "cpu")


def screen_of(text: str, width: int) -> list[str]:
    """What a terminal without end shows: characters, line feeds, cursor up, and erased lines (ECMA-48)."""
    lines, y, x = [""], 0, 0
    for token in re.finditer(r"\x1b\[([?\d;]*)([A-Za-z])|(\n)|(\r)|([^\x1b])", text.replace("\r\n", "\n")):
        number, final, feed, back, character = token.groups()
        if final == "A":
            y -= int(number or 1)
            assert y >= 0
        elif final == "K":
            lines[y] = ""
        elif feed or (character and x == width):
            y, x = y + 1, 0
            lines += [""] * (y == len(lines))
        if back:
            x = 0
        if character:
            lines[y] = lines[y].ljust(x)[:x] + character + lines[y][x + 1 :]
            x += 1
    return [line.rstrip() for line in lines]


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (600, 28, 28), np.uint8))
    return path


def block(*lines: str) -> list[list[Segment]]:
    return [[Segment(line)] for line in lines]


def test_a_block_replaces_the_one_before_it_above_a_bar_that_moves() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=60, height=20, force_terminal=True, legacy_windows=False)
    place = InPlace(console)
    console.push_render_hook(place)
    with Progress(console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("bar", total=3)
        place.show(["epoch 1"], block("a", "b", "c"))
        bar.update(task, advance=1)
        bar.refresh()
        place.show(["epoch 2"], block("d", "e"))
        place.show([], block("f", "g"))
        before = screen_of(stream.getvalue(), 60)
        console.print("a warning")
        place.show(["epoch 3"], block("h"))
    console.pop_render_hook()
    assert before[:4] == ["epoch 1", "epoch 2", "f", "g"]
    assert before[4].startswith("bar")
    # What somebody else printed stays, and so does the block above it.
    assert screen_of(stream.getvalue(), 60)[:7] == ["epoch 1", "epoch 2", "f", "g", "a warning", "epoch 3", "h"]


def test_after_a_resize_nothing_above_the_block_is_erased() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=60, height=20, force_terminal=True, legacy_windows=False)
    place = InPlace(console)
    place.show(["kept"], block("a", "b"))
    console.width = 30
    place.show([], block("c"))
    assert screen_of(stream.getvalue(), 60)[:4] == ["kept", "a", "b", "c"]


@pytest.mark.slow  # starts the program in a terminal
def test_a_run_draws_in_place_and_its_last_block_stays(in_terminal: Run, items: Path, tmp_path: Path) -> None:
    shown = in_terminal("train", items, *SMALL, "--epochs", 4, "--out", tmp_path / "run", size=(40, 180), **COLOURS)
    assert shown.code == 0, shown.text
    lines = screen_of(shown.text, 180)
    assert sum("▀" in line for line in lines) == 33  # three rows of 22 pixels in 11 lines: once, not four times
    assert [line.split("  ")[0] for line in lines if line.startswith("epoch ")] == [f"epoch {n}/4" for n in range(1, 5)]
    history = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    title = f"train {history[-1]['train_negative_elbo']:.2f} test {history[-1]['test_negative_elbo']:.2f}"
    assert sum(title in line for line in lines) == 1
    assert not any("steps/s" in line and "━" in line for line in lines)  # the bar is gone
    assert shown.text.rindex(SHOW) > shown.text.rindex(HIDE)
    assert shown.modes[0] == shown.modes[1]


@pytest.mark.slow  # starts the program in a terminal
def test_a_resumed_run_goes_on_with_the_curve(in_terminal_at_once: Run, items: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = ("train", items, *SMALL, "--epochs", 3, "--no-compile", "--quiet", "--out", run)
    assert in_terminal_at_once(*given, **COLOURS).code == 0
    # As if it was stopped after the second epoch.
    shutil.rmtree(run / "checkpoints" / "epoch-0003")
    (run / "metrics.jsonl").write_text("".join((run / "metrics.jsonl").read_text().splitlines(keepends=True)[:2]))
    shown = in_terminal_at_once("train", "--resume", run, size=(40, 180), **COLOURS)
    assert shown.code == 0, shown.text
    axis = [line for line in screen_of(shown.text, 180) if re.search(r"1 +epoch +3$", line)]
    assert len(axis) == 1


@pytest.mark.slow  # starts the program in a terminal
def test_without_a_preview_a_run_ends_with_its_curve_in_one_line(
    in_terminal_at_once: Run, items: Path, tmp_path: Path
) -> None:
    shown = in_terminal_at_once(
        "train", items, *SMALL, "--epochs", 3, "--no-preview", "--out", tmp_path / "run", **COLOURS
    )
    assert shown.code == 0
    assert "▀" not in shown.text
    history = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    first, last = (history[n]["test_negative_elbo"] for n in (0, -1))
    (line,) = [line for line in screen_of(shown.text, 80) if line.startswith("test -ELBO")]
    assert re.fullmatch(rf"test -ELBO {first:.2f} █[▁-█]▁ {last:.2f}", line)


@pytest.mark.slow  # starts the program in a terminal
@pytest.mark.parametrize(
    ("environment", "arguments"),
    [({"NO_COLOR": "1"}, ()), ({"TERM": "dumb"}, ()), ({}, ("--quiet",))],
    ids=["no colour", "dumb", "quiet"],
)
def test_no_escape_codes_where_none_are_wanted(
    in_terminal_at_once: Run, items: Path, tmp_path: Path, environment: dict[str, str], arguments: tuple[str, ...]
) -> None:
    given = ("train", items, *SMALL, "--epochs", 2, *arguments, "--out", tmp_path / "run")
    shown = in_terminal_at_once(*given, **{**COLOURS, **environment})
    assert shown.code == 0
    assert "\x1b" not in shown.text
    assert ("test -ELBO" in shown.text.replace("  test -ELBO", "")) is not bool(arguments)


@pytest.mark.slow  # starts the program in a terminal
def test_twenty_columns_and_ten_lines_show_what_fits(in_terminal_at_once: Run, items: Path, tmp_path: Path) -> None:
    given = ("train", items, *SMALL, "--epochs", 3, "--out", tmp_path / "run")
    shown = in_terminal_at_once(*given, size=(10, 20), **COLOURS)
    assert shown.code == 0, shown.text
    assert "▀" not in shown.text
    assert sum(bool(re.search(r"1 .*3$", line)) for line in screen_of(shown.text, 20)) == 1


@pytest.mark.slow  # starts the program in a terminal
def test_resizing_while_it_runs_does_not_end_it(in_terminal_at_once: Run, items: Path, tmp_path: Path) -> None:
    sizes = iter([(12, 40), (50, 200), (3, 5), (1, 1), (30, 100)])
    seen = [0]

    def resize(raw: bytes, _process: Any, terminal: int) -> None:
        if raw.count(b"epoch ") > seen[0] + 3 and (size := next(sizes, None)) is not None:
            seen[0] = raw.count(b"epoch ")
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))

    given = ("train", items, *SMALL, "--epochs", 40, "--out", tmp_path / "run")
    shown = in_terminal_at_once(*given, size=(40, 180), act=resize, **COLOURS)
    assert shown.code == 0, shown.text
    assert next(sizes, None) is None
    assert "Traceback" not in shown.text


@pytest.mark.slow  # starts the program in a terminal
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_leaves_the_terminal_and_the_run_clean(
    in_terminal_at_once: Run, items: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    from vaekit.training import Checkpoint

    stopped = []

    def stop(raw: bytes, process: Any, _terminal: int) -> None:
        if not stopped and raw.count("▀".encode()) and b"epoch 3/" in raw:
            stopped.append(True)
            process.send_signal(number)

    given = ("train", items, *SMALL, "--epochs", 100_000, "--out", tmp_path / "run")
    shown = in_terminal_at_once(*given, size=(40, 180), act=stop, **COLOURS)
    assert shown.code == code
    assert Checkpoint.latest(tmp_path / "run").epoch >= 2
    assert HIDE in shown.text
    assert shown.text.rindex(SHOW) > shown.text.rindex(HIDE)
    assert "go on with `vaekit train --resume" in shown.text
    assert "Traceback" not in shown.text
    ends = shown.text.rstrip("\n").split("\x1b[")
    assert ends[-1].startswith("0m")  # colours are off
    assert shown.modes[0] == shown.modes[1]


@pytest.mark.slow  # starts torchrun in a terminal
def test_of_several_processes_one_draws(in_terminal_at_once: Run, items: Path, tmp_path: Path) -> None:
    launch = ["torchrun", "--nproc-per-node", "2", "--standalone", "-m", "vaekit", "train"]
    command = [*launch, str(items), *SMALL, "--epochs", "3", "--preview"]
    code = (
        "import runpy, sys\n"
        f"sys.argv = {[*command, '--out', str(tmp_path / 'run')]!r}\n"
        "runpy.run_module('torch.distributed.run', run_name='__main__')"
    )
    shown = in_terminal_at_once(code=code, size=(40, 180), limit=180, **COLOURS)
    assert shown.code == 0, shown.text
    lines = screen_of(shown.text, 180)
    assert sum("▀" in line for line in lines) == 33  # three rows of images, once
    assert shown.text.count(HIDE) == 1  # one bar
    assert [line.split("  ")[0] for line in lines if line.startswith("epoch ")] == [f"epoch {n}/3" for n in range(1, 4)]
