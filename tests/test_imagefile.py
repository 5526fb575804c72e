"""Image files as they are read, checked against Pillow and arithmetic by hand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vaekit.errors import DataError, ShapeError
from vaekit.imagefile import load_image
from vaekit.images import from_uint8, save_png

RNG = np.random.default_rng(0)
EVERY_LEVEL = np.arange(256, dtype=np.uint8)


def _levels(path: Path, *, shape: tuple[int, ...]) -> Any:
    """A loaded image as (C, H, W) levels from 0 to 255."""
    loaded = load_image(path, shape=shape)
    assert loaded.dtype == np.float32
    assert loaded.shape == (1, *shape)
    return loaded[0] * np.float32(255)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_the_right_size_is_read_pixel_for_pixel(tmp_path: Path, channels: int) -> None:
    pixels = RNG.integers(0, 256, (1, 6, 4, channels), dtype=np.uint8)
    save_png(tmp_path / "a.png", from_uint8(pixels)[0])
    np.testing.assert_array_equal(load_image(tmp_path / "a.png", shape=(channels, 6, 4)), from_uint8(pixels))


def test_colours_become_grey_by_their_luma(tmp_path: Path) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    np.testing.assert_allclose(_levels(tmp_path / "a.png", shape=(1, 1, 4)), [[[76, 150, 29, 255]]], atol=0.51)


def test_a_grey_image_fills_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(EVERY_LEVEL.reshape(16, 16)).save(tmp_path / "a.png")
    levels = _levels(tmp_path / "a.png", shape=(3, 16, 16))
    np.testing.assert_allclose(levels, np.broadcast_to(EVERY_LEVEL.reshape(16, 16), (3, 16, 16)), atol=1e-4)


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr"])
def test_other_pixel_modes_are_converted(tmp_path: Path, mode: str) -> None:
    white_right = Image.new("RGB", (4, 2))
    white_right.paste((255, 255, 255), (2, 0, 4, 2))
    white_right.convert(mode).save(tmp_path / "a.tiff")
    np.testing.assert_allclose(_levels(tmp_path / "a.tiff", shape=(3, 2, 4))[:, 0], [[0, 0, 255, 255]] * 3, atol=2)


def test_transparency_is_laid_over_black(tmp_path: Path) -> None:
    # Red at alpha 0, 0.2, 0.8 and 1 over black: 255 * alpha.
    rgba = np.array([[[255, 0, 0, 0], [255, 0, 0, 51], [255, 0, 0, 204], [255, 0, 0, 255]]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    levels = _levels(tmp_path / "a.png", shape=(3, 1, 4))
    np.testing.assert_allclose(levels, [[[0, 51, 204, 255]], [[0] * 4], [[0] * 4]], atol=1e-4)


def test_a_transparent_palette_entry_is_black(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "a.gif", transparency=0)
    np.testing.assert_allclose(_levels(tmp_path / "a.gif", shape=(3, 1, 2)), [[[0, 0]], [[0, 255]], [[0, 0]]])


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bit_greys_are_scaled_by_their_full_range(tmp_path: Path, suffix: str) -> None:
    greys = np.array([[0, 1, 128, 257, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(greys).save(tmp_path / f"a.{suffix}")
    loaded = load_image(tmp_path / f"a.{suffix}", shape=(1, 1, 6))
    np.testing.assert_allclose(loaded[0, 0], greys / 65535, rtol=1e-6)


def test_a_transparent_sixteen_bit_grey_is_black(tmp_path: Path) -> None:
    greys = np.array([[1000, 65535]], dtype=np.uint16)
    Image.fromarray(greys).save(tmp_path / "a.png", transparency=65535)
    np.testing.assert_allclose(load_image(tmp_path / "a.png", shape=(1, 1, 2))[0, 0], [[1000 / 65535, 0]], rtol=1e-6)


def test_the_stored_rotation_is_applied(tmp_path: Path) -> None:
    # Orientation 6: the camera was turned, and the picture must turn by 90 degrees clockwise.
    upright = np.array([[255, 0, 0], [0, 0, 0]], dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(upright).save(tmp_path / "a.png", exif=exif)
    levels = _levels(tmp_path / "a.png", shape=(1, 3, 2))
    np.testing.assert_array_equal(levels[0], np.rot90(upright, -1))


def test_a_wide_image_is_centred_between_black_bars(tmp_path: Path) -> None:
    Image.new("L", (40, 20), 255).save(tmp_path / "a.png")
    levels = _levels(tmp_path / "a.png", shape=(1, 8, 8))[0]
    np.testing.assert_array_equal(levels[2:6], 255)
    np.testing.assert_array_equal(levels[[0, 1, 6, 7]], 0)


def test_a_tall_image_is_centred_between_black_bars_and_enlarged(tmp_path: Path) -> None:
    Image.new("RGB", (1, 2), (255, 255, 255)).save(tmp_path / "a.png")
    levels = _levels(tmp_path / "a.png", shape=(3, 8, 8))
    np.testing.assert_array_equal(levels[:, :, 2:6], 255)
    np.testing.assert_array_equal(levels[:, :, [0, 1, 6, 7]], 0)


def test_a_very_thin_image_keeps_a_row_of_pixels(tmp_path: Path) -> None:
    Image.new("L", (500, 1), 255).save(tmp_path / "a.png")
    levels = _levels(tmp_path / "a.png", shape=(1, 9, 9))[0]
    np.testing.assert_array_equal(levels[4], 255)
    assert levels.sum() == 9 * 255


@pytest.mark.parametrize("sixteen_bit", [False, True])
def test_scaling_down_keeps_the_mean_and_stays_in_range(tmp_path: Path, sixteen_bit: bool) -> None:
    # Blocks of 40x40 pixels, black and white: half of it white, with edges that Lanczos overshoots.
    board = np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((40, 40)))
    greys = (board * 65535).astype(np.uint16) if sixteen_bit else (board * 255).astype(np.uint8)
    Image.fromarray(greys).save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png", shape=(1, 30, 30))
    assert 0.0 <= loaded.min() <= loaded.max() <= 1.0
    assert loaded.mean() == pytest.approx(0.5, abs=0.01)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^Cannot read the image .*none\.png: No such file or directory\.$"):
        load_image(tmp_path / "none.png", shape=(1, 2, 2))


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Cannot read the image .*: Is a directory"):
        load_image(tmp_path, shape=(1, 2, 2))


@pytest.mark.parametrize("content", [b"", b"GIF but not really", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_a_file_that_is_no_image_is_reported_with_the_formats(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png is no image known here; give one of BMP, GIF, JPEG, PNG"):
        load_image(tmp_path / "a.png", shape=(1, 2, 2))


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_truncated_image_is_reported_on_one_line(tmp_path: Path, keep: float) -> None:
    Image.fromarray(RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match=r"(?i)^Cannot read the image .*a\.jpg: .*truncated.*\.$"):
        load_image(tmp_path / "a.jpg", shape=(1, 2, 2))


def test_a_png_damaged_anywhere_loads_or_gives_a_data_error(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    refused = 0
    for at in range(len(data)):
        (tmp_path / "a.png").write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            load_image(tmp_path / "a.png", shape=(1, 2, 2))
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused += 1
    assert refused > len(data) // 2


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_an_image_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    # A header alone; Pillow warns about the smaller size and raises on the larger one.
    (tmp_path / "a.ppm").write_bytes(b"P5 %d %d 255\n" % (side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a program outside pytest may have set
        with pytest.raises(DataError, match=r"a\.ppm has more than \d+ pixels; give a smaller image\."):
            load_image(tmp_path / "a.ppm", shape=(1, 2, 2))


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="its pixels are floating point, of unknown range"):
        load_image(tmp_path / "a.tiff", shape=(1, 2, 2))


@pytest.mark.parametrize("level", [-1, 65536])
def test_pixels_beyond_sixteen_bits_are_refused(tmp_path: Path, level: int) -> None:
    Image.fromarray(np.full((2, 2), level, dtype=np.int32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="its pixels go beyond 16 bits"):
        load_image(tmp_path / "a.tiff", shape=(1, 2, 2))


@pytest.mark.parametrize("shape", [(28, 28), (2, 28, 28), (1, 0, 28), (1, 1, 28, 28)])
def test_an_image_is_read_only_for_the_shape_of_an_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"An image can be read for shape \(C, H, W\) with C 1 or 3, not for \("):
        load_image(tmp_path / "a.png", shape=shape)
