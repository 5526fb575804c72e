"""Frames that play in a terminal: which, in which order, and that the terminal is as it was whatever ends them."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import vaekit
from vaekit.cli.animation import rendered, there_and_back
from vaekit.cli.graphics import Screen
from vaekit.cli.pictures import HALF_BLOCK, Picture
from vaekit.images import to_uint8

Run = Callable[..., Any]
Decode = Callable[[str], list[np.ndarray]]

BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
BLOCKS = {"COLORTERM": "truecolor", "VAEKIT_GRAPHICS": "blocks"}


@pytest.fixture
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


def frames_of(text: str) -> list[str]:
    return re.findall(rf"{re.escape(BEGIN)}(.*?){re.escape(END)}", text, re.DOTALL)


def captions(frames: list[str]) -> list[str]:
    return [frame.splitlines()[-1].strip() for frame in frames]


def is_as_before(shown: Any) -> bool:
    """The cursor is visible, colours are off, and keys are read as they were."""
    hidden = [text == HIDE for text in re.findall(r"\x1b\[\?25[lh]", shown.text)]
    assert hidden[0] is True, "it was hidden at all"
    return not hidden[-1] and "\x1b[0m" + SHOW in shown.text and shown.modes[0] == shown.modes[1]


def after(count: int, do: Callable[[Any, int], None]) -> Callable[[bytes, Any, int], None]:
    """Do something once when so many frames were shown."""
    done = []

    def act(raw: bytes, process: Any, terminal: int) -> None:
        if not done and raw.count(END.encode()) >= count:
            done.append(True)
            do(process, terminal)

    return act


def test_frames_go_there_and_back_and_no_frame_comes_twice_in_a_row() -> None:
    assert there_and_back(4) == [0, 1, 2, 3, 2, 1]
    assert there_and_back(2) == [0, 1]
    assert there_and_back(1) == [0]


def test_morph_plays_its_steps_in_place_and_leaves_the_last(
    in_terminal: Run, small_bundle: Path, vae: vaekit.VAE
) -> None:
    arguments = ("--from", "3", "--to", "8", "--steps", 4, "--animate", "--loops", 2, "--fps", 50)
    shown = in_terminal("morph", small_bundle, *arguments, **BLOCKS)
    assert shown.code == 0
    frames = frames_of(shown.text)
    ts = ["0.00", "0.33", "0.67", "1.00"]
    assert captions(frames) == [ts[step] for step in (0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0)]
    assert not frames[0].startswith("\r"), "the first takes the place where the cursor is"
    assert all(frame.startswith("\r\x1b[15A") for frame in frames[1:]), "14 lines of 28 pixels, and the caption"
    assert {frame.count("\n") for frame in frames} == {15}

    golden = vae.bundle.golden().x
    steps = to_uint8(vae.morph(golden[3], golden[8], steps=4))
    for frame, step in zip(frames, (0, 1, 2, 3, 2, 1, 0), strict=False):
        upper, lower = steps[step, :2, 0, 0].tolist()
        assert f"\x1b[38;2;{upper};{upper};{upper};48;2;{lower};{lower};{lower}m{HALF_BLOCK}" in frame
    assert is_as_before(shown)
    assert shown.text.endswith("\x1b[0m" + SHOW)


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (lambda _, terminal: os.write(terminal, b"q"), 0),
        (lambda _, terminal: os.write(terminal, b"xQ"), 0),
        (lambda _, terminal: os.write(terminal, b"\x03"), 130),
        (lambda process, _: process.send_signal(signal.SIGTERM), 143),
    ],
    ids=["q", "Q", "Ctrl-C", "SIGTERM"],
)
def test_what_stops_it_puts_the_terminal_back(
    in_terminal: Run, small_bundle: Path, stop: Callable[[Any, int], None], code: int
) -> None:
    shown = in_terminal("morph", small_bundle, "--animate", "--fps", 20, act=after(3, stop), **BLOCKS)
    assert shown.code == code
    assert is_as_before(shown)
    assert "Traceback" not in shown.text
    assert shown.text.count(BEGIN) == shown.text.count(END) >= 3, "no frame is cut"


def test_an_error_puts_the_terminal_back(in_terminal: Run) -> None:
    code = (
        "from vaekit.cli.animation import play\n"
        "class Bad:\n"
        "    def __rich_console__(self, console, options):\n"
        "        raise ZeroDivisionError('on purpose')\n"
        "play(['one', 'two', Bad()], fps=50)"
    )
    shown = in_terminal(code=code, **BLOCKS)
    assert shown.code == 1
    assert [frame[-4:-1] for frame in frames_of(shown.text)] == ["one", "two"]
    assert is_as_before(shown)
    assert shown.text.index(SHOW) < shown.text.index("ZeroDivisionError")  # from Python 3.13 on in colours


def test_ctrl_z_puts_back_and_goes_on_where_the_cursor_then_is(in_terminal: Run, small_bundle: Path) -> None:
    # No shell takes care of this process group, so the kernel lets it go on at once.
    typed = []

    def act(raw: bytes, process: Any, terminal: int) -> None:
        if len(typed) < 1 and raw.count(END.encode()) >= 3:
            typed.append(process.send_signal(signal.SIGTSTP))
        if (
            len(typed) == 1
            and raw.count(HIDE.encode()) == 2
            and raw.rpartition(HIDE.encode())[2].count(END.encode()) >= 2
        ):
            typed.append(os.write(terminal, b"q"))

    shown = in_terminal("morph", small_bundle, "--animate", "--fps", 20, act=act, **BLOCKS)
    assert shown.code == 0
    assert re.findall(r"\x1b\[\?25[lh]", shown.text) == [HIDE, SHOW, HIDE, SHOW]
    resumed = frames_of(shown.text.rpartition(HIDE)[2])
    assert "\x1b[15A" not in resumed[0]
    assert "\x1b[15A" in resumed[1]
    assert is_as_before(shown)


def test_a_kitty_terminal_gets_each_frame_once_and_shows_one_at_a_time(
    in_terminal: Run, kitty_images: Decode, small_bundle: Path, vae: vaekit.VAE
) -> None:
    arguments = ("--steps", 3, "--animate", "--loops", 3, "--fps", 50)
    shown = in_terminal("morph", small_bundle, *arguments, kind="kitty")
    assert shown.code == 0
    frames = frames_of(shown.text)
    assert len(frames) == 3 * 4 + 1
    placed = [re.findall(r"\x1b_Ga=p,i=(\d+)", frame) for frame in frames]
    assert [len(numbers) for numbers in placed] == [1] * 13
    assert len({number for (number,) in placed}) == 3
    removed = [re.findall(r"\x1b_Ga=d,d=i,i=(\d+),q=2\x1b\\.*\x1b_Ga=p", frame, re.DOTALL) for frame in frames]
    assert removed == [[], *placed[:-1]], "the frame before, and before the next is placed"
    golden = vae.bundle.golden().x
    for image, pixels in zip(kitty_images(shown.text), to_uint8(vae.morph(golden[3], golden[8], steps=3)), strict=True):
        np.testing.assert_array_equal(image[:112, :112, :1], np.kron(pixels, np.ones((4, 4, 1), np.uint8)))


def test_sixel_frames_are_drawn_in_place(in_terminal: Run, sixel_images: Decode, small_bundle: Path) -> None:
    shown = in_terminal("morph", small_bundle, "--steps", 3, "--animate", "--loops", 1, "--fps", 50, kind="sixel")
    assert shown.code == 0
    images = sixel_images(shown.text)
    assert len(images) == 5
    np.testing.assert_array_equal(images[0], images[4])
    np.testing.assert_array_equal(images[1], images[3])
    assert np.abs(images[0] - images[2]).max() > 20
    assert {frame.count("\n") for frame in frames_of(shown.text)} == {8}
    assert shown.text.count(SHOW) == 1, "no frame shows the cursor"
    assert is_as_before(shown)


def test_characters_without_colour_can_play_too(in_terminal: Run, small_bundle: Path) -> None:
    options = ("--graphics", "ascii", "--animate", "--loops", 1, "--fps", 50, "--steps", 2)
    shown = in_terminal("morph", small_bundle, *options)
    assert shown.code == 0
    assert captions(frames_of(shown.text)) == ["0.00", "1.00", "0.00"]
    assert HALF_BLOCK not in shown.text


def test_frames_follow_the_size_of_the_terminal(in_terminal: Run, small_bundle: Path) -> None:
    def resize(_: Any, terminal: int) -> None:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 10, 20, 0, 0))

    narrowed = after(3, resize)

    def act(raw: bytes, process: Any, terminal: int) -> None:
        narrowed(raw, process, terminal)
        if raw.count(b"\x1b[J") >= 2 and raw.rpartition(b"\x1b[J")[2].count(END.encode()) > 1:
            os.write(terminal, b"q")

    shown = in_terminal("morph", small_bundle, "--animate", "--fps", 20, act=act, **BLOCKS)
    frames = frames_of(shown.text)
    assert (frames[0].count("\n"), shown.code) == (15, 0)
    first = next(place for place, frame in enumerate(frames) if place and "\x1b[J" in frame)
    assert first >= 3
    for frame in frames[first:]:
        assert frame.count("\n") < 10
        assert max(line.count(HALF_BLOCK) for line in frame.splitlines()) <= 20
    assert is_as_before(shown)


@pytest.mark.parametrize(("height", "width"), [(24, 80), (10, 80), (24, 20), (4, 7), (2, 80)])
@pytest.mark.parametrize("mode", ["blocks", "ascii"])
def test_a_frame_is_less_high_than_the_screen(height: int, width: int, mode: Any) -> None:
    console = Console(width=width, height=height, force_terminal=True, color_system="truecolor", _environ={})
    for shape in ((1, 256, 256), (3, 64, 8), (1, 8, 64)):
        picture = Picture(np.ones((1, *shape), np.float32), captions=["z12 +1.23"], screen=Screen(mode))
        lines = rendered(console, picture).splitlines()
        assert 0 < len(lines) < max(2, height)
        assert all(line.count(HALF_BLOCK) + line.count("@") <= width for line in lines)


# What is refused.


@pytest.mark.parametrize("command", ["morph", "traverse"])
def test_playing_needs_a_terminal(run: Run, small_bundle: Path, command: str) -> None:
    done = run(command, small_bundle, "--animate")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error: --animate plays in a terminal, but standard output is no terminal; "
        "write a file instead, with --out x.gif.\n"
    )


@pytest.mark.parametrize(
    ("environment", "reason"),
    [({"NO_COLOR": "1"}, "NO_COLOR is set"), ({"TERM": "dumb"}, "this terminal takes no colours")],
)
def test_playing_needs_escape_codes(
    in_terminal: Run, small_bundle: Path, environment: dict[str, str], reason: str
) -> None:
    shown = in_terminal("morph", small_bundle, "--animate", **environment)
    assert shown.code == 1
    assert f"--animate plays in a terminal, but {reason}; write" in " ".join(shown.text.split())
    assert (
        "\x1b" not in re.sub(r"\x1b\[[\d;]*m", "", shown.text)
        if "NO_COLOR" in environment
        else "\x1b" not in shown.text
    )


@pytest.mark.parametrize("command", ["morph", "traverse"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fps", 10], r"--fps times an animation; give --animate, or --out with \.gif or \.apng\."),
        (["--fps", 10, "--out", "x.png"], r"--fps times an animation"),
        (["--loops", 2], r"--loops counts what --animate plays; give both"),
        (["--scale", 2], r"--scale enlarges the picture that --out writes; give --out with a picture's ending"),
        (["--scale", 2, "--out", "x.npz"], r"--scale enlarges the picture"),
    ],
)
def test_options_without_an_effect_are_refused(
    run: Run, small_bundle: Path, command: str, options: list[Any], message: str
) -> None:
    done = run(command, small_bundle, *options)
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(rf"error: {message}.*\n", done.err)


@pytest.mark.parametrize("command", ["morph", "traverse"])
def test_numbers_are_not_played(in_terminal: Run, gaussian_bundle: Path, command: str) -> None:
    shown = in_terminal(command, gaussian_bundle, "--animate", **BLOCKS)
    assert shown.code == 1
    assert "--animate plays images and time series, but items of shape (6,) are neither." in shown.text.replace(
        "\n", " "
    )
    assert HIDE not in shown.text
