"""Animations: what Pillow and a small reader of PNG chunks find in them is what was put in."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from vaekit.errors import ConfigError, ShapeError
from vaekit.images import Images, apng_bytes, enlarge, from_uint8, gif_bytes, indexed, png_bytes, to_uint8

RNG = np.random.default_rng(4)
Encode = Callable[..., bytes]
BOTH = pytest.mark.parametrize("encode", [gif_bytes, apng_bytes])


def frames(count: int, channels: int, levels: int = 256) -> Images:
    return from_uint8((RNG.integers(0, levels, (count, 6, 5, channels)) * (255 // (levels - 1))).astype(np.uint8))


def decoded(content: bytes) -> tuple[list[np.ndarray], list[float], Any]:
    """Frames as they are shown (H, W, 3), their times in milliseconds, and the number of loops (0: for ever)."""
    with Image.open(io.BytesIO(content)) as image:
        pixels, times = [], []
        for frame in ImageSequence.Iterator(image):
            pixels.append(np.asarray(frame.convert("RGB")))
            times.append(frame.info["duration"])
        return pixels, times, image.info["loop"]


def squares(x: Images, scale: int) -> np.ndarray:
    """Pixels of images as (N, H, W, 3) in squares, by another function than the code's."""
    return np.kron(np.broadcast_to(to_uint8(x), (len(x), *x.shape[2:], 3)), np.ones((1, scale, scale, 1), np.uint8))


@BOTH
@pytest.mark.parametrize(("channels", "levels"), [(1, 256), (1, 2), (3, 256), (3, 6)])
def test_frames_come_back_exactly(encode: Encode, channels: int, levels: int) -> None:
    # 30 pixels a frame: never more than 256 colours.
    x = frames(7, channels, levels)
    pixels, _, loop = decoded(encode(x, fps=10, scale=3))
    np.testing.assert_array_equal(pixels, squares(x, 3))
    assert loop == 0


@BOTH
def test_ten_frames_a_second_are_a_hundred_milliseconds_each(encode: Encode) -> None:
    assert decoded(encode(frames(4, 1), fps=10))[1] == [100] * 4


def test_times_of_a_gif_are_hundredths_whose_rounding_does_not_add_up() -> None:
    times = decoded(gif_bytes(frames(12, 1), fps=12))[1]
    assert set(times) == {80, 90}
    assert sum(times) == 1000
    np.testing.assert_allclose(np.cumsum(times), 1000 / 12 * np.arange(1, 13), atol=5.001)


def test_times_of_an_apng_are_milliseconds_in_its_chunks() -> None:
    content = apng_bytes(frames(7, 3), fps=7)
    chunks, place = [], 8
    while place < len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        chunks.append((kind, content[place + 8 : place + 8 + length]))
        place += length + 12
    assert next(data for kind, data in chunks if kind == b"acTL") == struct.pack(">II", 7, 0)
    delays = [struct.unpack(">HH", data[20:24]) for kind, data in chunks if kind == b"fcTL"]
    np.testing.assert_allclose(
        np.cumsum([1000 * part / whole for part, whole in delays]), 1000 / 7 * np.arange(1, 8), atol=0.501
    )
    assert not {kind for kind, _ in chunks} & {b"tEXt", b"iTXt", b"zTXt", b"tIME", b"eXIf"}


@BOTH
def test_equal_neighbours_become_one_frame_of_their_common_time(encode: Encode) -> None:
    x = frames(4, 1)
    x[2] = x[1]
    pixels, times, _ = decoded(encode(x, fps=10))
    np.testing.assert_array_equal(pixels, squares(x[[0, 1, 3]], 1))
    assert times == [100, 200, 100]


@BOTH
def test_the_same_frames_give_the_same_bytes(encode: Encode) -> None:
    x = frames(5, 3)
    assert encode(x, fps=10, scale=2) == encode(x.copy(), fps=10, scale=2)


def test_more_than_256_colours_are_brought_down_frame_by_frame() -> None:
    ramp = np.linspace(0, 1, 32, dtype=np.float32)
    x = np.zeros((2, 3, 32, 32), np.float32)
    x[0, 0], x[0, 1] = ramp[:, None], ramp  # 1,024 colours of red and green
    x[1, 2], x[1, 1] = ramp[:, None], ramp  # and as many of blue and green
    pixels, _, _ = decoded(gif_bytes(x, fps=10))
    for shown, wanted in zip(pixels, to_uint8(x), strict=True):
        assert 128 < len(np.unique(shown.reshape(-1, 3), axis=0)) <= 256
        assert np.abs(shown.astype(int) - wanted).max() <= 17  # two levels of 255 / 31: 4 or 5 levels share a colour
    exact, _, _ = decoded(apng_bytes(x, fps=10))
    np.testing.assert_array_equal(exact, to_uint8(x))


@pytest.mark.parametrize("channels", [1, 3])
def test_up_to_256_colours_are_indexed_exactly(channels: int) -> None:
    pixels = RNG.permutation(np.arange(768).reshape(16, 16, 3) % 256).astype(np.uint8)[..., :channels]
    np.testing.assert_array_equal(np.asarray(indexed(pixels).convert("RGB")), np.broadcast_to(pixels, (16, 16, 3)))


def test_a_png_is_enlarged_by_squares() -> None:
    x = frames(1, 3)
    with Image.open(io.BytesIO(png_bytes(x[0], scale=4))) as image:
        np.testing.assert_array_equal(np.asarray(image), squares(x, 4)[0])


@BOTH
def test_what_cannot_be_an_animation_is_refused(encode: Encode) -> None:
    for fps in (0, -1, 51, float("nan")):
        with pytest.raises(ConfigError, match="give a number of frames a second above 0 and up to 50"):
            encode(frames(2, 1), fps=fps)
    with pytest.raises(ConfigError, match="scale=0: images are enlarged by a whole number; give 1 or more"):
        encode(frames(2, 1), fps=10, scale=0)
    with pytest.raises(ShapeError, match="needs at least one frame, got a batch of none"):
        encode(frames(0, 1), fps=10)
    with pytest.raises(ShapeError, match="must have shape"):
        encode(np.zeros((2, 2, 4, 4), np.float32), fps=10)


def test_enlarging_by_one_is_the_same() -> None:
    pixels = to_uint8(frames(2, 3))
    assert enlarge(pixels, 1) is pixels
