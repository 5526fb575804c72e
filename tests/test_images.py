"""Pixel scaling, sheets and written image files, checked against Pillow, the PNG format and arithmetic by hand."""

from __future__ import annotations

import errno
import os
import stat
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaekit.errors import ConfigError, OutputError, ShapeError
from vaekit.images import from_uint8, grid, save_png, to_uint8

RNG = np.random.default_rng(0)
EVERY_LEVEL = np.arange(256, dtype=np.uint8)


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
