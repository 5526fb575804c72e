"""Pixel scaling, sheets and image files, checked against Pillow, the PNG format and arithmetic by hand."""

from __future__ import annotations

import errno
import os
import stat
import struct
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vaekit.errors import ConfigError, DataError, OutputError, ShapeError
from vaekit.images import from_uint8, grid, load_image, save_png, to_uint8

RNG = np.random.default_rng(0)
EVERY_LEVEL = np.arange(256, dtype=np.uint8)


def _levels(path: Path, *, shape: tuple[int, ...]) -> Any:
    """A loaded image as (C, H, W) levels from 0 to 255."""
    loaded = load_image(path, shape=shape)
    assert loaded.dtype == np.float32
    assert loaded.shape == (1, *shape)
    return loaded[0] * np.float32(255)


# Scaling


def test_to_uint8_rounds_halves_to_the_even_neighbour() -> None:
    # The four products 255 * x are exactly 0.5, 1.5, 2.5 and 254.5 in float64.
    x = np.array([0.5, 1.5, 2.5, 254.5]) / 255
    assert (255 * x).tolist() == [0.5, 1.5, 2.5, 254.5]
    assert to_uint8(x.reshape(1, 1, 1, 4)).ravel().tolist() == [0, 2, 2, 254]


def test_to_uint8_clips_what_lies_beyond_the_unit_interval() -> None:
    x = np.array([-np.inf, -0.1, 0.0, 1.0, 1.1, np.inf], dtype=np.float32).reshape(1, 1, 2, 3)
    assert to_uint8(x).ravel().tolist() == [0, 0, 0, 255, 255, 255]


def test_to_uint8_agrees_with_exact_fractions_around_every_tie() -> None:
    # In float32 the product 255 * x can land on a tie that the true product only comes near.
    ties = ((np.arange(255) + 0.5) / 255).astype(np.float32)
    x = np.concatenate([np.nextafter(ties, np.float32(0)), ties, np.nextafter(ties, np.float32(1))])
    expected = [round(255 * Fraction(float(value))) for value in x]  # exact; halves to even
    assert to_uint8(x.reshape(1, 1, 3, 255)).ravel().tolist() == expected


def test_to_uint8_puts_the_channels_last() -> None:
    x = np.zeros((1, 3, 1, 2), dtype=np.float32)
    x[0, 0, 0, 0] = x[0, 2, 0, 1] = 1.0  # a red pixel, then a blue one
    assert to_uint8(x).tolist() == [[[[255, 0, 0], [0, 0, 255]]]]


def test_every_level_survives_the_way_to_floats_and_back() -> None:
    np.testing.assert_array_equal(to_uint8(from_uint8(EVERY_LEVEL.reshape(1, 16, 16))).ravel(), EVERY_LEVEL)
    colour = RNG.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(from_uint8(colour)), colour)


def test_from_uint8_gives_the_nearest_float32_to_each_fraction() -> None:
    x = from_uint8(EVERY_LEVEL.reshape(1, 16, 16))
    assert x.dtype == np.float32
    assert x.shape == (1, 1, 16, 16)
    assert x.flags.c_contiguous
    expected = np.array([np.float32(level / 255) for level in range(256)])
    np.testing.assert_array_equal(x.ravel(), expected)


def test_from_uint8_puts_the_channels_first_in_contiguous_memory() -> None:
    colour = RNG.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    x = from_uint8(colour)
    assert x.shape == (2, 3, 4, 5)
    assert x.flags.c_contiguous
    assert x[1, 2, 3, 4] == np.float32(colour[1, 3, 4, 2] / 255)


def test_nan_pixels_are_refused() -> None:
    x = np.array([0.0, np.nan], dtype=np.float32).reshape(1, 1, 1, 2)
    with pytest.raises(ShapeError, match="Pixels must be numbers, but the images hold NaN"):
        to_uint8(x)


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 2), (1, 2, 2, 2), (1, 1, 0, 2), (1, 4, 2, 2)])
def test_a_batch_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"Images must have shape \(N, C, H, W\) with C 1 or 3, found \("):
        to_uint8(np.zeros(shape, dtype=np.float32))


def test_bytes_are_not_taken_for_unit_floats() -> None:
    with pytest.raises(ShapeError, match=r"Images must be floats in \[0, 1\], found uint8"):
        to_uint8(np.zeros((1, 1, 2, 2), dtype=np.uint8))


def test_floats_are_not_taken_for_bytes() -> None:
    with pytest.raises(ShapeError, match="8-bit pixels were expected, found float32"):
        from_uint8(np.zeros((1, 2, 2), dtype=np.float32))


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 2, 4), (1, 1, 2, 2, 3)])
def test_pixels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"Pixels must have shape \(N, H, W\) or \(N, H, W, C\)"):
        from_uint8(np.zeros(shape, dtype=np.uint8))


# Sheets


def test_a_grid_of_three_in_two_columns_matches_the_sheet_drawn_by_hand() -> None:
    a, b, c = 0.1, 0.2, 0.3
    x = np.array([a, b, c], dtype=np.float32).reshape(3, 1, 1, 1) * np.ones((1, 1, 1, 2), dtype=np.float32)
    expected = [
        [a, a, 1, b, b],
        [1, 1, 1, 1, 1],
        [c, c, 1, 1, 1],  # the place of a fourth image is background
    ]
    sheet = grid(x, 2, gap=1)
    assert sheet.dtype == np.float32
    np.testing.assert_array_equal(sheet, np.array([expected], dtype=np.float32))


def test_a_grid_without_gaps_is_a_reshape() -> None:
    x = RNG.random((6, 3, 4, 5), dtype=np.float32)
    expected = x.reshape(2, 3, 3, 4, 5).transpose(2, 0, 3, 1, 4).reshape(3, 8, 15)
    np.testing.assert_array_equal(grid(x, 3, gap=0), expected)


def test_a_grid_is_no_wider_than_its_images() -> None:
    x = np.zeros((2, 1, 4, 5), dtype=np.float32)
    assert grid(x, 8, gap=2).shape == (1, 4, 5 + 2 + 5)


def test_the_background_fills_gaps_and_empty_places() -> None:
    sheet = grid(np.ones((3, 1, 2, 2), dtype=np.float32), 2, gap=2, background=0.25)
    assert sheet.shape == (1, 6, 6)
    assert (sheet == 0.25).sum() == 36 - 3 * 4


@pytest.mark.parametrize(("columns", "gap"), [(0, 2), (-1, 2), (2, -1)])
def test_a_grid_of_no_columns_or_negative_gaps_is_refused(columns: int, gap: int) -> None:
    with pytest.raises(ConfigError, match=rf"columns >= 1 and gap >= 0, got columns={columns} and gap={gap}\."):
        grid(np.zeros((1, 1, 2, 2), dtype=np.float32), columns, gap=gap)


def test_a_grid_of_no_images_is_refused() -> None:
    with pytest.raises(ShapeError, match="A grid needs at least one image"):
        grid(np.zeros((0, 1, 2, 2), dtype=np.float32), 2)


# Writing


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_saved_png_holds_the_quantised_pixels(tmp_path: Path, channels: int, mode: str) -> None:
    image = RNG.random((channels, 4, 6), dtype=np.float32)
    save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as read:
        assert (read.format, read.mode, read.size) == ("PNG", mode, (6, 4))
        pixels = np.asarray(read).reshape(4, 6, channels)
    np.testing.assert_array_equal(pixels, np.rint(image.transpose(1, 2, 0).astype(np.float64) * 255))


def test_a_saved_png_has_no_chunk_but_pixels_and_is_the_same_each_time(tmp_path: Path) -> None:
    image = RNG.random((3, 8, 8), dtype=np.float32)
    save_png(tmp_path / "a.png", image)
    save_png(tmp_path / "b.png", image)
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.png").read_bytes()
    chunks, at = set(), 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.add(data[at + 4 : at + 8])
        at += 12 + length
    assert chunks == {b"IHDR", b"IDAT", b"IEND"}


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("precious")
    black = np.zeros((1, 2, 2), dtype=np.float32)
    with pytest.raises(
        OutputError, match=r"a\.png exists already; choose another path, or pass --force to replace it\."
    ):
        save_png(path, black)
    assert path.read_text() == "precious"
    save_png(path, black, overwrite=True)
    with Image.open(path) as read:
        assert read.size == (2, 2)
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists"):
        save_png(tmp_path / "a.png", np.zeros((1, 2, 2), dtype=np.float32))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_never_a_target(tmp_path: Path, overwrite: bool) -> None:
    with pytest.raises(OutputError, match=r"is a folder; name a file in it"):
        save_png(tmp_path, np.zeros((1, 2, 2), dtype=np.float32), overwrite=overwrite)


def test_a_missing_folder_is_reported_with_the_path_and_the_reason(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"none/a\.png could not be written: No such file or directory\.$"):
        save_png(tmp_path / "none" / "a.png", np.zeros((1, 2, 2), dtype=np.float32))


def test_a_folder_that_is_a_file_is_reported_as_such(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/a\.png could not be written: Not a directory"):
        save_png(tmp_path / "file" / "a.png", np.zeros((1, 2, 2), dtype=np.float32))


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="file size limits are a Unix thing")
    path = tmp_path / "a.png"
    path.write_text("precious")
    noise = RNG.random((3, 64, 64), dtype=np.float32)  # about 12 kB as a PNG
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match=rf"a\.png could not be written: {os.strerror(errno.EFBIG)}\.$"):
            save_png(path, noise, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_interrupted_rename_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        assert len(os.listdir(tmp_path)) == 1  # the control: there is something to remove
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_png(tmp_path / "a.png", np.zeros((1, 2, 2), dtype=np.float32))
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="permission bits of POSIX systems")
def test_a_saved_png_has_the_permissions_of_an_ordinary_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    save_png(tmp_path / "a.png", np.zeros((1, 2, 2), dtype=np.float32))
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a.png")]
    assert modes[0] == modes[1]


def test_a_batch_is_not_saved_as_one_image(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"One image of shape \(C, H, W\) was expected, found \(1, 1, 2, 2\)"):
        save_png(tmp_path / "a.png", np.zeros((1, 1, 2, 2), dtype=np.float32))
    assert os.listdir(tmp_path) == []


# Reading


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
