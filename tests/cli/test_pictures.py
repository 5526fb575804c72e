"""Pictures in a terminal: what is printed is read back as a terminal would, and compared with the pixels."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.panel import Panel
from rich.segment import Segment

from vaekit.cli.pictures import GAP, HALF_BLOCK, RAMP, Picture, readable_columns
from vaekit.errors import ConfigError, ShapeError
from vaekit.images import Images, from_uint8

RNG = np.random.default_rng(0)
COLOUR: dict[str, Any] = {"force_terminal": True, "color_system": "truecolor"}
PLAIN: dict[str, Any] = {"force_terminal": False}


class Stream(io.StringIO):
    """A text stream that says what it encodes to, and whether somebody looks at it."""

    def __init__(self, encoding: str = "utf-8", tty: bool = False) -> None:
        super().__init__()
        self._encoding, self._tty = encoding, tty

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._tty


def _print(
    picture: RenderableType,
    *,
    width: int = 80,
    environ: Mapping[str, str] | None = None,
    stream: Stream | None = None,
    **console: Any,
) -> str:
    stream = stream or Stream()
    Console(file=stream, width=width, _environ=environ or {}, **console).print(picture)
    return stream.getvalue()


def _segments(picture: Picture, width: int = 80) -> list[list[Segment]]:
    console = Console(file=Stream(), width=width, _environ={}, **COLOUR)
    return list(Segment.split_lines(console.render(picture)))


def _pixels(line: Sequence[Segment]) -> list[tuple[Any, Any] | None]:
    """Each cell of a line as (upper, lower) colour, None for a cell outside the images and a colour that is not set."""
    cells: list[tuple[Any, Any] | None] = []
    for segment in line:
        if segment.style is None:
            assert set(segment.text) <= {" "}
            cells += [None] * len(segment.text)
        else:
            assert set(segment.text) == {HALF_BLOCK}
            colours = [c and tuple(c.get_truecolor()) for c in (segment.style.color, segment.style.bgcolor)]
            cells += [(colours[0], colours[1])] * len(segment.text)
    return cells


def _grey(*rows: Sequence[int]) -> Images:
    return from_uint8(np.array([rows], dtype=np.uint8))


def _random(count: int, channels: int, height: int, width: int) -> Images:
    return from_uint8(RNG.integers(0, 256, (count, height, width, channels), dtype=np.uint8))


# Half blocks


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("height", [6, 7])
def test_half_blocks_carry_the_pixels_of_the_image(channels: int, height: int) -> None:
    u8 = RNG.integers(0, 256, (1, height, 5, channels), dtype=np.uint8)
    lines = _segments(Picture(from_uint8(u8)))
    assert len(lines) == (height + 1) // 2
    for y, line in enumerate(lines):
        for x, cell in enumerate(_pixels(line)):
            assert cell is not None
            for part, row in zip(cell, (2 * y, 2 * y + 1), strict=True):
                expected = tuple(np.broadcast_to(u8[0, row, x], 3).tolist()) if row < height else None
                assert part == expected


def test_a_red_pixel_over_a_blue_one_is_written_in_two_codes() -> None:
    u8 = np.array([[[[255, 0, 0]], [[0, 0, 255]]]], dtype=np.uint8)
    assert _print(Picture(from_uint8(u8)), **COLOUR) == "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m\n"


def test_equal_neighbours_share_a_segment() -> None:
    (line,) = _segments(Picture(_grey([0, 0, 0, 9, 9, 0], [0, 0, 0, 9, 9, 9])))
    assert [len(segment.text) for segment in line] == [3, 2, 1]


def test_black_pixels_are_drawn_black_and_gaps_are_left_to_the_terminal() -> None:
    (line,) = _segments(Picture(_random(2, 1, 2, 3) * np.float32(0)))
    black = ((0, 0, 0), (0, 0, 0))
    assert _pixels(line) == [black] * 3 + [None] * GAP + [black] * 3


@pytest.mark.parametrize("system", list(ColorSystem))
def test_colours_are_brought_down_to_what_the_terminal_has(system: ColorSystem) -> None:
    u8 = np.array([[[[250, 128, 10]], [[0, 0, 90]]]], dtype=np.uint8)
    upper = Color.parse("rgb(250,128,10)").downgrade(system).get_ansi_codes(foreground=True)
    lower = Color.parse("rgb(0,0,90)").downgrade(system).get_ansi_codes(foreground=False)
    name = {"EIGHT_BIT": "256"}.get(system.name, system.name.lower())
    printed = _print(Picture(from_uint8(u8)), force_terminal=True, color_system=name, legacy_windows=False)
    assert printed == f"\x1b[{';'.join(upper + lower)}m▀\x1b[0m\n"


def test_one_picture_prints_on_consoles_with_different_colours() -> None:
    picture = Picture(_grey([200], [100]))
    for name, code in [("truecolor", "38;2;"), ("256", "38;5;"), ("truecolor", "38;2;")]:
        assert code in _print(picture, force_terminal=True, color_system=name)


# The ramp


def test_the_ramp_goes_from_space_to_at_sign_in_equal_steps() -> None:
    levels = np.rint(np.linspace(0, 255, len(RAMP))).astype(int).tolist()
    assert _print(Picture(_grey(levels, levels)), **PLAIN) == " .:-=+*#%@\n"


def test_a_ramp_cell_averages_its_two_pixels() -> None:
    # Means 127.5 and 28.33 are levels 4.5 (to even: 4) and 1; a lone last row speaks for itself.
    printed = _print(Picture(_grey([255, 57], [0, 0], [255, 57])), **PLAIN)
    assert printed == "=.\n@:\n"


@pytest.mark.parametrize(("rgb", "character"), [((255, 0, 0), "-"), ((0, 255, 0), "+"), ((0, 0, 255), ".")])
def test_the_ramp_weighs_colours_by_their_luma(rgb: tuple[int, int, int], character: str) -> None:
    # 9 * 0.299 = 2.7, 9 * 0.587 = 5.3, 9 * 0.114 = 1.0
    u8 = np.full((1, 2, 1, 3), rgb, dtype=np.uint8)
    assert _print(Picture(from_uint8(u8)), **PLAIN) == f"{character}\n"


@pytest.mark.parametrize(
    ("environ", "stream", "console"),
    [
        ({"NO_COLOR": "1", "COLORTERM": "truecolor"}, Stream(tty=True), {}),
        ({"NO_COLOR": "1"}, Stream(tty=True), COLOUR),
        ({"TERM": "dumb"}, Stream(tty=True), {}),
        ({"TERM": "dumb"}, Stream(tty=True), COLOUR),
        ({"COLORTERM": "truecolor"}, Stream(tty=False), {}),
        ({}, Stream(tty=False), {"color_system": "truecolor"}),
        ({}, Stream(tty=True), {"color_system": None}),
        ({"COLORTERM": "truecolor"}, Stream("ascii", tty=True), {}),
        ({"COLORTERM": "truecolor"}, Stream("latin-1", tty=True), {}),
        ({"COLORTERM": "truecolor"}, Stream("no-such-encoding", tty=True), {}),
    ],
    ids=lambda value: value.encoding if isinstance(value, Stream) else None,
)
def test_no_escape_code_goes_where_colour_does_not_belong(
    environ: dict[str, str], stream: Stream, console: dict[str, Any]
) -> None:
    printed = _print(Picture(_random(3, 3, 9, 9), captions=["a", "b", "é"]), environ=environ, stream=stream, **console)
    assert printed.strip()
    assert "\x1b" not in printed
    assert HALF_BLOCK not in printed


@pytest.mark.parametrize(
    ("environ", "stream", "console"),
    [
        ({"COLORTERM": "truecolor"}, Stream(tty=True), {}),
        ({"TERM": "xterm-256color"}, Stream(tty=True), {}),
        ({"NO_COLOR": ""}, Stream(tty=True), {}),
        ({"FORCE_COLOR": "1"}, Stream(tty=False), {}),
        ({}, Stream(tty=False), COLOUR),
        ({"COLORTERM": "truecolor"}, Stream("cp437", tty=True), {}),  # has the half block
    ],
)
def test_escape_codes_go_to_terminals_that_show_colour(
    environ: dict[str, str], stream: Stream, console: dict[str, Any]
) -> None:
    # The control of the test above.
    printed = _print(Picture(_random(3, 3, 9, 9)), environ=environ, stream=stream, **console)
    assert "\x1b[" in printed
    assert HALF_BLOCK in printed


# Layout


@pytest.mark.parametrize("console", [COLOUR, PLAIN], ids=["colour", "plain"])
@pytest.mark.parametrize("columns", [None, 1, 3, 7])
def test_no_line_is_wider_than_the_console(console: dict[str, Any], columns: int | None) -> None:
    x = np.ones((7, 1, 5, 28), dtype=np.float32)
    captions = ["", "seven", "a caption that is longer than its image is wide", "数字", "é", "f", "g"]
    for width in range(1, 201):
        stream = Stream()
        rich_console = Console(file=stream, width=width, _environ={}, **console)
        # Rendered, not printed: printing would crop what is too wide.
        picture = Picture(x, captions=captions, columns=columns)
        segments = list(rich_console.render(picture))
        lines = [line for line in Segment.split_lines(segments) if line]
        widths = [sum(cell_len(segment.text) for segment in line) for line in lines]
        assert max(widths) <= width
        assert Measurement.get(rich_console, rich_console.options, picture).maximum >= max(widths)
        cells = sum(segment.text.count(HALF_BLOCK) + segment.text.count("@") for line in lines for segment in line)
        assert cells >= 7  # nothing was left out


@pytest.mark.parametrize(("width", "columns"), [(28, 1), (57, 1), (58, 2), (87, 2), (88, 3), (118, 4), (200, 6)])
def test_as_many_images_stand_in_a_row_as_fit(width: int, columns: int) -> None:
    # K images of 28 columns take 28 K + 2 (K - 1).
    first = _segments(Picture(np.ones((9, 1, 2, 28), dtype=np.float32)), width)[0]
    assert sum(cell is not None for cell in _pixels(first)) == 28 * columns


def test_a_last_row_that_is_not_full_ends_early() -> None:
    lines = _segments(Picture(np.ones((3, 1, 2, 4), dtype=np.float32)), width=10)
    white = ((255, 255, 255), (255, 255, 255))
    assert [_pixels(line) for line in lines] == [
        [white] * 4 + [None] * GAP + [white] * 4,
        [],  # a free line between the rows
        [white] * 4,
    ]


def test_an_image_that_is_too_wide_is_averaged_by_halves() -> None:
    # 4x4 into 2x2: the mean of each block of four.
    x = _grey([0, 40, 255, 255], [80, 120, 255, 255], [8, 8, 0, 0], [8, 8, 0, 4])
    (line,) = _segments(Picture(x), width=2)
    assert _pixels(line) == [((60,) * 3, (8,) * 3), ((255,) * 3, (1,) * 3)]


def test_areas_are_weighed_by_their_overlap() -> None:
    # 3 columns into 2: the middle one counts half to each side, (1 * a + 0.5 * b) / 1.5; 3 rows of equals stay equal.
    x = _grey([30, 60, 90], [30, 60, 90], [30, 60, 90])
    (line,) = _segments(Picture(x), width=2)
    assert _pixels(line) == [((40,) * 3, (40,) * 3), ((80,) * 3, (80,) * 3)]


def test_shrinking_keeps_the_aspect_ratio() -> None:
    lines = _segments(Picture(np.ones((1, 1, 40, 20), dtype=np.float32)), width=10)
    assert len(lines) == 20 / 2
    assert {len(_pixels(line)) for line in lines} == {10}


def test_a_fixed_number_of_columns_scales_the_images_down_to_fit() -> None:
    # Four images and three gaps of 2 in 80 columns leave floor(74 / 4) = 18 for each.
    x = np.ones((8, 1, 28, 28), dtype=np.float32)
    lines = _segments(Picture(x, columns=4), width=80)
    assert sum(cell is not None for cell in _pixels(lines[0])) == 4 * 18
    assert len(lines) == 9 + 1 + 9


def test_a_fixed_number_of_columns_never_enlarges() -> None:
    line = _segments(Picture(np.ones((2, 1, 2, 3), dtype=np.float32), columns=1), width=80)[0]
    assert len(_pixels(line)) == 3


def test_more_columns_than_characters_drop_the_gaps_first() -> None:
    x = np.ones((6, 1, 2, 8), dtype=np.float32)
    assert [len(_pixels(line)) for line in _segments(Picture(x, columns=6), width=7)] == [6]
    assert [len(_pixels(line)) for line in _segments(Picture(x, columns=6), width=4)] == [4, 0, 2]


def test_reconstructions_stand_right_under_their_originals() -> None:
    x, under = _grey([10], [20]), _grey([30], [40])
    three = [np.repeat(images, 3, axis=0) for images in (x, under)]
    lines = _segments(Picture(three[0], under=three[1], captions=["a", "b", "c"]), width=4)
    pair = [[((10,) * 3, (20,) * 3)], [((30,) * 3, (40,) * 3)]]
    gap: list[Any] = [None] * GAP
    assert _pixels(lines[0]) == pair[0] + gap + pair[0]
    assert _pixels(lines[1]) == pair[1] + gap + pair[1]
    assert lines[2][0].text == "a  b"
    assert _pixels(lines[4]) == pair[0]  # the third pair, after a free line
    assert _pixels(lines[5]) == pair[1]
    assert lines[6][0].text == "c"


# Captions


def test_a_caption_stands_in_the_middle_under_its_image() -> None:
    x = np.ones((2, 1, 2, 5), dtype=np.float32)
    assert _print(Picture(x, captions=["7", "no"]), **PLAIN) == "@@@@@  @@@@@\n  7     no\n"


def test_a_caption_wider_than_its_image_moves_the_images_apart() -> None:
    x = np.ones((2, 1, 2, 1), dtype=np.float32)
    assert _print(Picture(x, captions=["12345", "67890"]), **PLAIN) == "  @      @\n12345  67890\n"


def test_a_caption_wider_than_the_console_is_cut() -> None:
    x = np.ones((1, 1, 2, 2), dtype=np.float32)
    assert _print(Picture(x, captions=["12345"]), width=3, **PLAIN) == "@@\n123\n"


def test_wide_characters_count_as_two_columns() -> None:
    x = np.ones((2, 1, 2, 6), dtype=np.float32)
    assert _print(Picture(x, captions=["数字", "ab"]), **PLAIN) == "@@@@@@  @@@@@@\n 数字     ab\n"


def test_a_caption_cannot_break_its_line_or_smuggle_escape_codes() -> None:
    x = np.ones((1, 1, 2, 9), dtype=np.float32)
    assert _print(Picture(x, captions=["a\x1b[31m\nb"]), **PLAIN) == "@@@@@@@@@\na [31m b\n"


def test_a_caption_is_no_markup() -> None:
    x = np.ones((1, 1, 2, 9), dtype=np.float32)
    assert _print(Picture(x, captions=["[red]9:x:"]), **PLAIN).splitlines()[1] == "[red]9:x:"


@pytest.mark.parametrize("encoding", ["ascii", "no-such-encoding"])
def test_a_caption_that_the_stream_cannot_encode_is_spelled_with_question_marks(encoding: str) -> None:
    x = np.ones((1, 1, 2, 4), dtype=np.float32)
    assert _print(Picture(x, captions=["café"]), stream=Stream(encoding), **PLAIN) == "@@@@\ncaf?\n"


# Inside other renderables


def test_a_picture_tells_rich_how_wide_it_is() -> None:
    console = Console(file=Stream(), width=60, _environ={})
    assert console.measure(Picture(np.ones((5, 1, 2, 28), dtype=np.float32))) == Measurement(1, 28 + GAP + 28)


def test_a_panel_closes_around_a_picture() -> None:
    printed = _print(Panel.fit(Picture(np.ones((2, 1, 2, 3), dtype=np.float32))), **PLAIN)
    assert [len(line) for line in printed.splitlines()] == [12, 12, 12]
    assert "@@@  @@@" in printed


def test_a_picture_without_room_draws_nothing() -> None:
    console = Console(file=Stream(), width=10, _environ={})
    options = console.options.update(width=0)
    picture = Picture(np.ones((1, 1, 2, 3), dtype=np.float32))
    assert list(console.render(picture, options)) == []
    assert Measurement.get(console, options, picture) == Measurement(0, 0)


# Errors


def test_a_picture_of_nothing_is_refused() -> None:
    with pytest.raises(ShapeError, match="A picture needs at least one image"):
        Picture(np.zeros((0, 1, 2, 2), dtype=np.float32))


def test_a_picture_of_one_bare_image_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"Images must have shape \(N, C, H, W\)"):
        Picture(np.zeros((1, 2, 2), dtype=np.float32))


def test_a_picture_of_nan_is_refused_before_it_is_printed() -> None:
    with pytest.raises(ShapeError, match="NaN"):
        Picture(np.full((1, 1, 2, 2), np.nan, dtype=np.float32))


def test_a_picture_in_no_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match="A picture needs columns >= 1, got 0"):
        Picture(np.zeros((1, 1, 2, 2), dtype=np.float32), columns=0)


def test_captions_that_do_not_match_the_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="one caption per image, got 1 for 2 images"):
        Picture(np.zeros((2, 1, 2, 2), dtype=np.float32), captions=["a"])


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2, 3, 2, 2), (2, 1, 2, 3)])
def test_reconstructions_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"must have one shape, got \(2, 1, 2, 2\) above \(" + str(shape)[1:5]):
        Picture(np.zeros((2, 1, 2, 2), dtype=np.float32), under=np.zeros(shape, dtype=np.float32))


# Speed


def test_runs_of_equal_cells_keep_the_output_small() -> None:
    printed = _print(Picture(np.zeros((100, 1, 28, 28), dtype=np.float32)), **COLOUR)
    # 50 rows of 14 lines with two runs each.
    assert len(re.findall(r"\x1b\[38", printed)) == 50 * 14 * 2


@pytest.mark.parametrize(
    ("width", "count", "columns"),
    [
        (80, 16, 4),  # two fit at full size, 2 * 28 + 2 <= 80; four at 16 to 18 characters are easier to compare
        (108, 6, 6),  # all six in one row: 6 * 16 + 5 * 2 = 106
        (108, 7, 4),  # seven do not fit in one row
        (300, 16, 16),  # 16 * 16 + 15 * 2 = 286
        (300, 40, 10),  # 10 * 28 + 9 * 2 = 298 at full size
        (10, 3, 1),
    ],
)
def test_images_stand_in_one_row_where_they_stay_readable(width: int, count: int, columns: int) -> None:
    assert readable_columns((1, 28, 28), width, count) == columns
