"""How a picture reaches a terminal: what is asked, what is drawn, and that the pixels that arrive are the model's."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import vaekit
from vaekit.cli import graphics, terminal
from vaekit.cli.graphics import Screen, screen_for
from vaekit.cli.pictures import HALF_BLOCK, RAMP, Picture
from vaekit.errors import ConfigError, MissingDependencyError
from vaekit.images import from_uint8, to_uint8

Run = Callable[..., Any]
Decode = Callable[[str], list[np.ndarray]]

CELL = (8, 16)
ENLARGED = 4  # 28 pixels in 16 characters of 8 pixels: 128 // 28
SLOT, GAP = 14, 2  # 4 * 28 / 8 characters
QUESTIONS = b"\x1b[16t\x1b[c"
KITTY_QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
RNG = np.random.default_rng(2)


@pytest.fixture
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


def squares(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Each pixel (H, W, C) as a square, written with another function than the code's."""
    return np.kron(pixels, np.ones((scale, scale, 1), dtype=pixels.dtype))


# What arrives.


def test_kitty_gets_the_models_pixels(
    in_terminal: Run, kitty_images: Decode, small_bundle: Path, vae: vaekit.VAE
) -> None:
    shown = in_terminal("sample", small_bundle, "-n", 6, "--seed", 3, kind="kitty")
    assert shown.code == 0
    rows = kitty_images(shown.text)  # 5 * 16 - 2 = 78 characters: five in a row, then one
    assert [row.shape for row in rows] == [(112, 78 * 8, 4), (112, 14 * 8, 4)]
    wanted = to_uint8(vae.sample(6, seed=3))
    for index, pixels in enumerate(wanted):
        row, column = divmod(index, 5)
        left = column * (SLOT + GAP) * 8
        image = rows[row][:, left : left + 112]
        np.testing.assert_array_equal(image[..., :3], np.broadcast_to(squares(pixels, ENLARGED), (112, 112, 3)))
        assert (image[..., 3] == 255).all()
    assert (rows[0][:, 112:128, 3] == 0).all(), "the gap is the terminal's own"


def test_sixel_gets_the_models_pixels_in_its_101_levels(
    in_terminal: Run, sixel_images: Decode, small_bundle: Path, vae: vaekit.VAE
) -> None:
    shown = in_terminal("sample", small_bundle, "-n", 6, "--seed", 3, kind="sixel")
    assert shown.code == 0
    images = sixel_images(shown.text)
    assert len(images) == 6
    for image, pixels in zip(images, to_uint8(vae.sample(6, seed=3)), strict=True):
        wanted = np.broadcast_to(squares(pixels, ENLARGED), (112, 112, 3)).astype(int)
        assert np.abs(image - wanted).max() <= 2  # half of 255 / 100, and a rounding
    places = re.findall(r"\x1b7\x1b\[7A(?:\x1b\[(\d+)C)?\x1bP", shown.text)
    assert [int(place or 0) for place in places] == [0, 16, 32, 48, 64, 0]
    assert shown.text.count("\x1b8") == 6
    rows = re.findall(r"\x1b\[\?25l\n{7}(.*?)\x1b\[\?25h", shown.text, re.DOTALL)
    assert [row.count("\x1bP") for row in rows] == [5, 1], "without a cursor, which xterm would cut out of them"


def test_captions_and_reconstructions_come_with_the_pixels(
    in_terminal: Run, kitty_images: Decode, sixel_images: Decode, small_bundle: Path, vae: vaekit.VAE
) -> None:
    x = vae.bundle.golden().x[:3]
    wanted = [squares(pixels, ENLARGED) for pixels in to_uint8(np.concatenate([x, vae.reconstruct(x)]))]
    scores = [f"{score:.1f}" for score in vae.score(x)]

    shown = in_terminal("reconstruct", small_bundle, "-n", 3, kind="kitty")
    (row,) = kitty_images(shown.text)
    for index, pixels in enumerate(wanted):
        top, left = 112 * (index // 3), (SLOT + GAP) * 8 * (index % 3)
        np.testing.assert_array_equal(row[top : top + 112, left : left + 112, :1], pixels)
    assert shown.text.rpartition("\x1b8")[2].split() == scores

    shown = in_terminal("reconstruct", small_bundle, "-n", 3, kind="sixel")
    for image, pixels in zip(sixel_images(shown.text), wanted, strict=True):
        assert np.abs(image - pixels.astype(int)).max() <= 2
    assert shown.text.rpartition("\x1b8\x1b[?25h")[2].split() == scores


def test_colours_reach_kitty_and_sixel(
    in_terminal: Run, kitty_images: Decode, sixel_images: Decode, odd_bundle: Callable[[str], Path]
) -> None:
    bundle = odd_bundle("colour")
    (pixels,) = to_uint8(vaekit.load(bundle, provider="cpu", threads=1).sample(1))
    wanted = squares(pixels, 16 * 8 // 5)  # (150, 125, 3)
    (sheet,) = kitty_images(in_terminal("sample", bundle, "-n", 1, kind="kitty").text)
    np.testing.assert_array_equal(sheet[:150, :125, :3], wanted)
    assert (sheet[150:, :, 3] == 0).all()
    (image,) = sixel_images(in_terminal("sample", bundle, "-n", 1, kind="sixel").text)
    assert np.abs(image - wanted.astype(int)).max() <= 2


# What is asked.


def test_terminal_that_answers_nothing_gets_half_blocks_after_one_question(
    in_terminal: Run, small_bundle: Path
) -> None:
    shown = in_terminal("sample", small_bundle, "-n", 1, kind="mute", limit=60)  # and does not hang
    assert shown.code == 0
    assert shown.raw.startswith(QUESTIONS)
    assert HALF_BLOCK in shown.text
    assert not {"\x1bP", "\x1b_"} & set(re.findall(r"\x1b.", shown.text))
    assert shown.modes[0] == shown.modes[1]


def test_terminal_without_graphics_is_asked_twice_and_gets_half_blocks(in_terminal: Run, small_bundle: Path) -> None:
    shown = in_terminal("sample", small_bundle, "-n", 1, kind="plain")
    assert shown.raw.startswith(QUESTIONS + KITTY_QUESTION)
    assert HALF_BLOCK in shown.text
    assert not {"\x1bP", "\x1b_"} & set(re.findall(r"\x1b.", shown.text))


@pytest.mark.parametrize("program", [{"TERM_PROGRAM": "Apple_Terminal"}, {"TERM": "linux"}])
def test_terminals_that_print_commands_get_none(in_terminal: Run, small_bundle: Path, program: dict[str, str]) -> None:
    shown = in_terminal("sample", small_bundle, "-n", 1, kind="plain", **program)
    assert b"\x1b_" not in shown.raw
    assert HALF_BLOCK in shown.text


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        ([], {"TMUX": "/tmp/tmux-0/default,1,0"}),
        ([], {"TERM": "screen-256color"}),
        ([], {"VAEKIT_GRAPHICS": "blocks"}),
        ([], {"VAEKIT_GRAPHICS": "kitty", "TMUX": "/tmp/tmux-0/default,1,0"}),
        (["--graphics", "blocks"], {"VAEKIT_GRAPHICS": "sixel"}),
    ],
)
def test_nothing_is_asked_where_half_blocks_are_certain(
    in_terminal: Run, small_bundle: Path, options: list[str], environment: dict[str, str]
) -> None:
    shown = in_terminal("sample", small_bundle, "-n", 1, *options, kind="kitty", **environment)
    assert shown.code == 0
    assert set(re.findall(rb"\x1b[^\d;]*[\d;]*.", shown.raw)) <= set(re.findall(rb"\x1b\[[\d;]+m", shown.raw))
    assert HALF_BLOCK in shown.text


@pytest.mark.parametrize(
    ("kind", "options", "environment"),
    [
        ("kitty", [], {"NO_COLOR": "1"}),
        ("sixel", [], {"NO_COLOR": "1", "VAEKIT_GRAPHICS": "sixel"}),
        ("kitty", [], {"TERM": "dumb"}),
        ("sixel", ["--graphics", "ascii"], {}),
        ("kitty", [], {"VAEKIT_GRAPHICS": "ascii"}),
    ],
)
def test_no_escape_code_goes_where_none_is_wanted(
    in_terminal: Run, small_bundle: Path, kind: str, options: list[str], environment: dict[str, str]
) -> None:
    shown = in_terminal("sample", small_bundle, "-n", 1, *options, kind=kind, **environment)
    assert shown.code == 0
    assert set(shown.raw.decode()) <= set(RAMP) | {"\r", "\n"}


def test_what_was_typed_ahead_is_left_to_whom_it_is_meant_for(in_terminal: Run, small_bundle: Path) -> None:
    code = (
        f"import sys, vaekit.cli as cli\n"
        f"try: cli.main(['sample', {str(small_bundle)!r}, '-n', '1'])\n"
        "except SystemExit: pass\n"
        "print('left:', sys.stdin.readline())"
    )
    shown = in_terminal(code=code, kind="kitty", typed=b"ls -l\n")
    assert b"\x1b[c" not in shown.raw
    assert "left: ls -l" in shown.text


def test_character_size_comes_from_the_kernel_then_the_terminal_then_the_first_sixel_terminal(
    in_terminal: Run, sixel_images: Decode, small_bundle: Path
) -> None:
    arguments = ("sample", small_bundle, "-n", 1)
    (image,) = sixel_images(in_terminal(*arguments, kind="sixel", pixels=(80 * 9, 24 * 18)).text)
    assert len(image) == 28 * (16 * 9 // 28)
    (image,) = sixel_images(in_terminal(*arguments, "--graphics", "sixel", kind="mute").text)
    assert len(image) == 28 * (16 * 10 // 28)


# What is refused.


@pytest.mark.parametrize("mode", ["kitty", "sixel", "blocks"])
def test_graphics_for_a_pipe_are_refused_but_not_those_of_the_environment(
    run: Run, small_bundle: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    done = run("sample", small_bundle, "-n", 1, "--graphics", mode)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"error: --graphics {mode} was asked for, but standard output is no terminal; "
        "use --graphics auto, or write a file with --out.\n"
    )
    monkeypatch.setenv("VAEKIT_GRAPHICS", mode)
    done = run("sample", small_bundle, "-n", 1)
    assert (done.code, done.err) == (0, "")
    assert set(done.out) <= set(RAMP) | {"\n"}


@pytest.mark.parametrize("command", ["sample", "reconstruct", "morph", "traverse"])
def test_every_command_with_pictures_knows_the_option(run: Run, small_bundle: Path, command: str) -> None:
    done = run(command, small_bundle, "--graphics", "sixel")
    assert (done.code, done.out) == (1, "")
    assert "--graphics sixel was asked for" in done.err
    done = run(command, small_bundle, "--graphics", "ascii")
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("mode", "environment", "reason"),
    [
        ("sixel", {"NO_COLOR": "1"}, "NO_COLOR is set"),
        ("kitty", {"TERM": "dumb"}, "this terminal takes no colours"),
        ("kitty", {"TMUX": "/tmp/tmux-0/default,1,0"}, "tmux and screen do not pass Kitty's graphics on"),
        ("blocks", {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}, "its encoding, ascii, has no half blocks"),
    ],
)
def test_graphics_that_a_terminal_cannot_show_are_refused(
    in_terminal: Run, small_bundle: Path, mode: str, environment: dict[str, str], reason: str
) -> None:
    shown = in_terminal("sample", small_bundle, "--graphics", mode, kind="kitty", **environment)
    plain = " ".join(re.sub(r"\x1b\[[\d;]*m", "", shown.text).split())
    assert shown.code == 1
    assert plain == (
        f"error: --graphics {mode} was asked for, but {reason}; use --graphics auto, or write a file with --out."
    )


def test_sixel_that_was_asked_for_is_drawn_in_tmux_which_may_know_it(
    in_terminal: Run, sixel_images: Decode, small_bundle: Path
) -> None:
    shown = in_terminal("sample", small_bundle, "-n", 1, "--graphics", "sixel", kind="mute", TERM="tmux-256color")
    assert len(sixel_images(shown.text)) == 1


def test_an_unknown_name_in_the_environment_is_refused(
    run: Run, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAEKIT_GRAPHICS", "iterm")
    done = run("sample", small_bundle)
    wanted = "error: VAEKIT_GRAPHICS='iterm' is unknown; choose one of auto, kitty, sixel, blocks, ascii.\n"
    assert (done.code, done.err) == (1, wanted)


def test_without_the_extra_sixel_is_refused_and_auto_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphics, "_is_standard_output", lambda _: True)
    monkeypatch.setattr(terminal, "may_ask", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    console = Console(force_terminal=True, color_system="truecolor", file=io.StringIO(), _environ={})
    with pytest.raises(MissingDependencyError, match=r"--graphics sixel needs textual-image; .*vaekit\[terminal\]"):
        screen_for(console, "sixel")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("TMUX", raising=False)
    for has, wanted in (
        (terminal.Answers(sixel=True, kitty=False, cell=CELL), Screen("blocks")),
        (terminal.Answers(sixel=False, kitty=True, cell=CELL), Screen("kitty", CELL)),
    ):
        monkeypatch.setattr(terminal, "answers", lambda has=has: has)
        monkeypatch.setattr(terminal, "cell_size", lambda: CELL)
        assert screen_for(console, "auto") == wanted


def test_a_pipe_gets_no_escape_code_from_any_picture(small_bundle: Path) -> None:
    for arguments in (["sample"], ["reconstruct"], ["morph"], ["traverse", "--dims", "all"]):
        command = [sys.executable, "-m", "vaekit", arguments[0], str(small_bundle), *arguments[1:]]
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout
        assert b"\x1b" not in done.stdout


# Where images stand.


def codes(x: np.ndarray, width: int, height: int, mode: Any = "sixel", **options: Any) -> str:
    """What a picture sends to a terminal of a size."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, force_terminal=True, _environ={})
    console.print(Picture(x, screen=Screen(mode, CELL), **options))
    return stream.getvalue()


def random(count: int, channels: int, height: int, width: int) -> np.ndarray:
    return from_uint8(RNG.integers(0, 256, (count, height, width, channels), dtype=np.uint8))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5, 90), (1, 90, 5), (1, 1, 1), (3, 500, 700)])
@pytest.mark.parametrize("columns", [None, 1, 4])
def test_no_picture_is_wider_or_higher_than_the_screen(
    sixel_images: Decode, shape: tuple[int, int, int], columns: int | None
) -> None:
    x = np.ones((5, *shape), dtype=np.float32)
    for width, height in ((1, 3), (3, 24), (20, 24), (80, 24), (200, 60)):
        printed = codes(x, width, height, columns=columns, captions=["one"] * 5)
        images = sixel_images(printed)
        places = re.findall(r"\x1b\[(\d+)A(?:\x1b\[(\d+)C)?\x1bP", printed)
        assert len(images) == len(places) == 5
        for image, (lines, column) in zip(images, places, strict=True):
            assert int(column or 0) + -(-image.shape[1] // CELL[0]) <= width
            assert -(-image.shape[0] // CELL[1]) <= int(lines) <= max(1, height - 2)


def test_images_are_as_large_as_a_row_of_so_many_leaves_them(sixel_images: Decode) -> None:
    # 9 slots and 8 gaps of 2 in 80 characters: 7 each, 56 pixels, so 28 pixels are enlarged by 2.
    images = sixel_images(codes(random(9, 1, 28, 28), 80, 24, columns=9))
    assert {image.shape for image in images} == {(56, 56, 3)}


def test_two_layers_share_the_height_of_the_screen(sixel_images: Decode) -> None:
    x = random(1, 1, 28, 28)
    images = sixel_images(codes(x, 80, 12, under=x))
    assert {image.shape for image in images} == {(56, 56, 3)}  # five lines of 16 pixels each: 80 // 28


def test_an_image_that_is_too_large_is_averaged(sixel_images: Decode) -> None:
    x = random(1, 1, 40, 320)
    (image,) = sixel_images(codes(x, 20, 24))  # 160 pixels: halves
    means = x[0, 0].astype(np.float64).reshape(20, 2, 160, 2).mean(axis=(1, 3)) * 255
    assert np.abs(image[..., 0] - means).max() <= 3


def test_a_sixel_image_is_within_the_size_that_xterm_shows(sixel_images: Decode) -> None:
    for shape, wanted in (((1, 500, 1500), (333, 1000)), ((1, 1500, 500), (990, 330))):  # 62 lines are 992
        (image,) = sixel_images(codes(random(1, *shape), 300, 200))
        assert image.shape[:2] == wanted


def test_a_kitty_picture_is_sent_once_for_each_size_it_is_drawn_at(kitty_images: Decode) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=24, force_terminal=True, _environ={})
    picture = Picture(random(1, 1, 8, 8), screen=Screen("kitty", CELL))
    console.print(picture)
    first = len(stream.getvalue())
    assert len(kitty_images(stream.getvalue())) == 1
    console.print(picture)
    assert len(stream.getvalue()) - first < 100 < first
    console.height = 6  # room for 4 lines, where there were 8; the place stays 16 characters wide
    console.print(picture)
    assert [image.shape for image in kitty_images(stream.getvalue())] == [(128, 128, 4), (64, 128, 4)]


def test_a_picture_alone_asks_the_console_how_it_is_drawn() -> None:
    stream = io.StringIO()
    Console(file=stream, width=80, _environ={}).print(Picture(random(1, 1, 4, 4)))
    assert set(stream.getvalue()) <= set(RAMP) | {"\n"}


def test_columns_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="columns >= 1, got 0"):
        Picture(random(1, 1, 4, 4), columns=0, screen=Screen("sixel", CELL))
