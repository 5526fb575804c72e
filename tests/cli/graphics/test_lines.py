"""Time series as lines: characters are read back as dots, and dots compared with the values."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement

import vaekit
from vaekit.cli.graphics import Screen
from vaekit.cli.lines import COLOURS, Lines, legend, limits, line_images, strip
from vaekit.errors import ConfigError, ShapeError
from vaekit.spec import DataSpec, Feature

Run = Callable[..., Any]
RNG = np.random.default_rng(6)
UNIT = np.array([0.0, 1.0])
TWO = DataSpec((2, 40), None, (Feature("speed"), Feature("torque")))


def printed(items: np.ndarray, *, mode: Any = "blocks", width: int = 80, colour: bool = False, **options: Any) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=colour, color_system="truecolor" if colour else None, _environ={}
    )
    data = options.pop("data", DataSpec(items.shape[1:], None))
    console.print(Lines(items, data, screen=Screen(mode), **options))
    return stream.getvalue()


def dots_of(lines: list[str], width: int) -> np.ndarray:
    """Braille as dots (4 h, 2 w), by the table of the Unicode standard: dots 1 2 3 7 left, 4 5 6 8 right, a bit each."""
    dots = np.zeros((4 * len(lines), 2 * width), bool)
    for y, line in enumerate(lines):
        for x, character in enumerate(line):
            code = 0 if character == " " else ord(character) - 0x2800
            assert 0 <= code < 256
            for bit, (row, column) in enumerate([(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1)]):
                dots[4 * y + row, 2 * x + column] = code >> bit & 1
    return dots


# A strip.


def test_a_rising_line_is_a_diagonal() -> None:
    dots = strip(np.linspace(0, 1, 8), UNIT, 8, 8)
    assert dots[7, 0]
    assert dots[0, 7]
    rows = np.arange(8)[:, None]
    highest, lowest = np.where(dots, rows, 99).min(axis=0), np.where(dots, rows, -1).max(axis=0)
    assert (np.diff(highest) <= 0).all()
    assert (lowest - highest <= 2).all()
    np.testing.assert_allclose((highest + lowest) / 2, np.linspace(7, 0, 8), atol=1)


@pytest.mark.parametrize(("steps", "width"), [(3, 50), (50, 50), (1000, 50), (5000, 20), (1, 10)])
def test_a_line_has_no_gap_and_passes_every_value(steps: int, width: int) -> None:
    values = RNG.random(steps)
    dots = strip(values, UNIT, 24, width)
    rows = np.arange(24)[:, None]
    highest, lowest = np.where(dots, rows, 99).min(axis=0), np.where(dots, rows, -1).max(axis=0)
    np.testing.assert_array_equal(dots.sum(axis=0), lowest - highest + 1)  # one piece a column
    assert (highest[1:] <= lowest[:-1] + 1).all()
    assert (lowest[1:] >= highest[:-1] - 1).all()
    for step, value in enumerate(values):  # the value's own dot, written again
        column = min(width - 1, int(step / max(1, steps - 1) * width))
        row = 23 * (1 - value)
        assert highest[column] - 0.51 <= row <= lowest[column] + 0.51


def test_one_peak_of_a_long_series_is_not_lost() -> None:
    values = np.zeros(10_000)
    values[4321] = 1.0
    dots = strip(values, UNIT, 16, 60)
    assert dots[0].nonzero()[0].tolist() == [4321 * 60 // 9999]


def test_a_constant_line_stands_in_the_middle_and_values_beyond_at_the_edge() -> None:
    (bounds,) = limits(np.full((1, 1, 9), 5.0, np.float32))
    assert bounds.tolist() == [4.0, 6.0]
    assert strip(np.full(9, 5.0), bounds, 9, 6)[4].all()
    assert strip(np.full(9, 7.0), bounds, 9, 6)[0].all()


def test_bounds_are_those_of_all_items_by_channel() -> None:
    a = np.array([[[0, 1, 2], [10, 10, 10]]], np.float32)
    b = np.array([[[-3, 1, 0], [20, 10, 15]]], np.float32)
    assert limits(a, b).tolist() == [[-3, 2], [10, 20]]


# In a terminal.


def test_braille_shows_the_strips() -> None:
    items = RNG.random((1, 2, 40)).astype(np.float32)
    lines = printed(items, data=TWO, width=30).splitlines()
    assert " ".join(" ".join(lines[:-4]).split()) == legend(TWO, limits(items))
    shown = dots_of(lines[-4:], 30)
    for channel in (0, 1):
        wanted = strip(items[0, channel], limits(items)[channel], 8, 60)
        np.testing.assert_array_equal(shown[8 * channel : 8 * channel + 8], wanted)


def test_ascii_shows_each_third_of_a_character_its_own_sign() -> None:
    items = np.linspace(0, 1, 400, dtype=np.float32).reshape(1, 1, 400)
    lines = printed(items, mode="ascii", width=18).splitlines()
    assert lines[0] == "channel 0 0 to 1"
    assert len(lines) == 1 + 6  # one channel: twice three lines, 18 levels on 18 characters
    for x in range(18):
        (y,) = [y for y in range(6) if len(lines[1 + y]) > x and lines[1 + y][x] in "|'-."][:1]
        assert abs(y * 3 + 1 - (17 - x)) <= 2
    assert "".join(lines[1:]).isascii()


def test_channels_have_colours_where_the_terminal_has() -> None:
    items = RNG.random((1, 2, 40)).astype(np.float32)
    coloured = printed(items, colour=True)
    assert "\x1b[36m" in coloured
    assert "\x1b[33m" in coloured
    assert "\x1b" not in printed(items, colour=True, mode="ascii")
    assert "\x1b" not in printed(items)


@pytest.mark.parametrize("mode", ["blocks", "ascii"])
def test_no_line_is_wider_than_the_console_and_every_item_is_shown(mode: Any) -> None:
    items = RNG.random((5, 3, 30)).astype(np.float32)
    for width in (1, 5, 20, 49, 50, 80, 200):
        stream = io.StringIO()
        console = Console(file=stream, width=width, _environ={})
        lines = Lines(
            items, DataSpec((3, 30), None), screen=Screen(mode), under=items, captions=list("abcde"), legend=False
        )
        rendered = "".join(segment.text for segment in console.render(lines))
        assert max(map(cell_len, rendered.splitlines())) <= width
        assert sorted(character for character in rendered if character in "abcde") == list("abcde")
        assert Measurement.get(console, console.options, lines).maximum <= width


def test_items_stand_beside_each_other_and_reconstructions_below() -> None:
    items = RNG.random((2, 1, 40)).astype(np.float32)
    under = RNG.random((2, 1, 40)).astype(np.float32)
    lines = printed(items, under=under, captions=["one", "two"], width=50, legend=False).splitlines()
    assert len(lines) == 4 + 4 + 1
    shown = dots_of([line.ljust(50) for line in lines[:8]], 50)
    bounds = limits(items, under)[0]
    for row, layer in enumerate((items, under)):
        for column in (0, 1):
            part = shown[16 * row : 16 * row + 16, 52 * column : 52 * column + 48]
            np.testing.assert_array_equal(part, strip(layer[column, 0], bounds, 16, 48))
    assert lines[8].split() == ["one", "two"]


def test_the_legend_names_channels_and_says_what_is_left_out() -> None:
    scale = np.array([[0.0, 1.0]] * 8)
    assert legend(TWO, scale[:2]) == "speed 0 to 1, torque 0 to 1"
    text = legend(DataSpec((8, 4), None), scale)
    assert text.startswith("channel 0 0 to 1, channel 1 ")
    assert text.endswith("channel 5 0 to 1; 2 more channels are not drawn")
    assert len(printed(RNG.random((1, 8, 4)).astype(np.float32), legend=False).splitlines()) == 6 * 2


def test_a_stream_that_cannot_encode_braille_gets_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp437")
    items = RNG.random((1, 1, 40)).astype(np.float32)
    Console(file=stream, width=40, _environ={}).print(Lines(items, DataSpec((1, 40), None), screen=Screen("blocks")))
    stream.flush()
    assert stream.buffer.getvalue().isascii()  # type: ignore[attr-defined]


def test_what_cannot_be_drawn_is_refused() -> None:
    items = np.zeros((1, 1, 4), np.float32)
    with pytest.raises(ConfigError, match="lines need columns >= 1, got 0"):
        Lines(items, DataSpec((1, 4), None), screen=Screen("blocks"), columns=0)
    items[0, 0, 1] = np.nan
    with pytest.raises(ShapeError, match="drawn of finite numbers, but the series hold NaN or infinity"):
        Lines(items, DataSpec((1, 4), None), screen=Screen("blocks"))


# In a picture.


def test_a_picture_of_lines_has_a_strip_a_channel_in_its_colour() -> None:
    items = RNG.random((2, 2, 40)).astype(np.float32)
    images = line_images(items)
    assert images.shape == (2, 3, 2 * 64 + 6, 128 + 6)
    bounds = limits(items)
    for image, item in zip(images, items, strict=True):
        for channel in (0, 1):
            top = 3 + 64 * channel + 2
            part = image[:, top : top + 60, 3:131]
            dots = strip(item[channel], bounds[channel], 60, 128)
            np.testing.assert_array_equal(part, np.where(dots, COLOURS[channel][:, None, None], np.float32(1)))


# By commands.


def test_commands_draw_time_series(run: Run, odd_bundle: Callable[[str], Path]) -> None:
    bundle = odd_bundle("series")
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    x = vae.sample(3, seed=2)
    done = run("sample", bundle, "-n", 3, "--seed", 2)
    assert (done.code, done.err) == (0, "")
    assert done.out == printed(x, data=vae.spec.data, mode="ascii")
    assert done.out.startswith("speed ")
    golden = vae.bundle.golden().x[:2]
    done = run("reconstruct", bundle, "-n", 2)
    captions = [f"{nats:.1f}" for nats in vae.score(golden)]
    assert done.out == printed(
        golden, data=vae.spec.data, mode="ascii", under=vae.reconstruct(golden), captions=captions
    )
    done = run("morph", bundle, "--from", "@0", "--to", "@1", "--steps", 4)
    assert done.out == printed(vae.morph(golden[:1], golden[1:], steps=4), data=vae.spec.data, mode="ascii")


def test_commands_write_time_series_as_pictures(run: Run, odd_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = odd_bundle("series")
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    assert run("sample", bundle, "-n", 1, "--out", tmp_path / "x.png", "--scale", 2).code == 0
    with Image.open(tmp_path / "x.png") as image:
        wanted = np.rint(line_images(vae.sample(1))[0].transpose(1, 2, 0) * 255).repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(np.asarray(image), wanted)
    ends = ("--from", "@0", "--to", "@1", "--steps", 3)
    assert run("morph", bundle, *ends, "--out", tmp_path / "x.gif").code == 0
    with Image.open(tmp_path / "x.gif") as image:
        assert (image.n_frames, image.size) == (4, (134, 134))  # type: ignore[attr-defined]
    assert run("traverse", bundle, "--steps", 3, "--out", tmp_path / "y.apng").code == 0


def test_a_terminal_with_pixels_gets_lines_as_pixels(
    in_terminal: Run, kitty_images: Any, odd_bundle: Callable[[str], Path]
) -> None:
    bundle = odd_bundle("series")
    shown = in_terminal("sample", bundle, "-n", 1, kind="kitty")
    (sheet,) = kitty_images(shown.text)
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    wanted = np.rint(line_images(vae.sample(1))[0].transpose(1, 2, 0) * 255)
    np.testing.assert_array_equal(sheet[:134, :128, :3], wanted[:, :128])
    assert "speed " in shown.text


def test_a_terminal_gets_lines_in_braille(in_terminal: Run, odd_bundle: Callable[[str], Path]) -> None:
    shown = in_terminal("sample", odd_bundle("series"), "-n", 1, kind="plain", size=(24, 20))
    assert shown.code == 0
    assert any(0x2800 < ord(character) < 0x2900 for character in shown.text)
    assert "\x1b[36m" in shown.text


def test_frames_of_a_time_series_share_one_scale(in_terminal: Run, odd_bundle: Callable[[str], Path]) -> None:
    options = ("--from", "@0", "--to", "@1", "--steps", 3, "--animate", "--loops", 1, "--fps", 50)
    shown = in_terminal("morph", odd_bundle("series"), *options, VAEKIT_GRAPHICS="blocks")
    assert shown.code == 0
    legends = [line for line in shown.text.splitlines() if "speed" in line]
    assert len(legends) == 5
    assert len({line.partition("speed")[2] for line in legends}) == 1
