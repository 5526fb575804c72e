"""Pixels to values and back: the two formulas, and what a manifest may state of the graphs that have them inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vaekit.appio import LAYOUTS, PixelIO, from_pixels, known_layout, pixel_shape, to_pixels
from vaekit.bundle import builtin_bundle
from vaekit.datasets import Split
from vaekit.errors import BundleError, ConfigError, ShapeError
from vaekit.images import to_uint8
from vaekit.manifest import Manifest
from vaekit.spec import DataSpec, Feature

RANGES = [(0.0, 1.0), (-1.0, 1.0), (-2.0, 0.7), (0.0, 255.0), (-5.0, -0.2)]
"""In float32, (0.7 + 2) - 2 is more than 0.7, and (-0.2 + 5) - 5 more than -0.2: the last level must not leave the range."""


def all_levels(layout: str) -> np.ndarray:
    """Every level once, as one image of 3 channels, 17 rows and 5 columns, and one level three times."""
    levels = np.arange(255, dtype=np.uint8).reshape(1, 3, 17, 5)
    levels = np.concatenate([levels, np.full_like(levels, 255)])
    return levels if layout == "nchw" else np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("limits", RANGES)
def test_a_pixel_stands_for_its_part_of_the_range(limits: tuple[float, float], layout: str) -> None:
    data, u = DataSpec((3, 17, 5), limits), all_levels(layout)
    x = from_pixels(u, data, layout)
    assert (x.shape, x.dtype) == ((2, 3, 17, 5), np.float32)
    low, high = limits
    expected = low + (high - low) * all_levels("nchw") / 255.0
    np.testing.assert_allclose(x, expected, rtol=0, atol=2.0**-22 * max(1.0, abs(low), abs(high)))
    assert x.min() == np.float32(low)
    assert x.max() == np.float32(high)


def test_for_the_unit_interval_it_is_what_the_readers_of_data_give_bit_for_bit() -> None:
    u = all_levels("nchw")
    expected = Split(u).pixels(slice(None))
    np.testing.assert_array_equal(from_pixels(u, DataSpec((3, 17, 5)), "nchw"), expected, strict=True)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("limits", RANGES)
def test_pixels_come_back_as_they_were(limits: tuple[float, float], layout: str) -> None:
    data, u = DataSpec((3, 17, 5), limits), all_levels(layout)
    np.testing.assert_array_equal(to_pixels(from_pixels(u, data, layout), data, layout), u, strict=True)


def test_halves_go_to_the_even_level_and_what_is_beyond_the_range_is_clipped() -> None:
    data = DataSpec((1, 2, 3), (0.0, 255.0))
    x = np.array([0.5, 1.5, 2.5, 254.5, -7.0, 300.0], np.float32).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(to_pixels(x, data, "nchw").ravel(), [0, 2, 2, 254, 0, 255])


def test_for_the_unit_interval_pixels_are_those_of_the_projects_own_rule() -> None:
    x = np.random.default_rng(0).normal(0.5, 0.5, (4, 3, 8, 6)).astype(np.float32)
    data = DataSpec((3, 8, 6))
    np.testing.assert_array_equal(to_pixels(x, data, "nhwc"), to_uint8(x), strict=True)
    np.testing.assert_array_equal(to_pixels(x, data, "nchw"), to_uint8(x).transpose(0, 3, 1, 2))
    assert to_pixels(x, data, "nchw").flags.c_contiguous


def test_a_nan_is_no_pixel() -> None:
    with pytest.raises(ShapeError, match="Pixels must be numbers"):
        to_pixels(np.full((1, 1, 2, 3), np.nan, np.float32), DataSpec((1, 2, 3)), "nhwc")


def test_the_shape_of_pixels_is_that_of_their_layout() -> None:
    data = DataSpec((3, 17, 5))
    assert pixel_shape(data, "nhwc") == (17, 5, 3)
    assert pixel_shape(data, "nchw") == (3, 17, 5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataSpec((6,), None), "is for grey or colour images, but an item is D 6; leave it out"),
        (DataSpec((2, 21), None, (Feature("a"), Feature("b"))), "an item is DT 2 x 21; leave it out"),
        (DataSpec((4, 8, 8)), "is for grey or colour images, but an item is CHW 4 x 8 x 8"),
        (DataSpec((3, 8, 8), None), "needs values between two bounds, which 0 and 255 stand for, but these have none"),
    ],
)
def test_what_has_no_pixels_is_refused(data: DataSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pixel_shape(data, "nhwc")


def test_a_manifest_without_pixels_is_written_as_it_was_byte_for_byte() -> None:
    content = (builtin_bundle() / "manifest.json").read_bytes()
    manifest = Manifest.from_bytes(content)
    assert manifest.pixels is None
    assert manifest.to_bytes() == content


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ConfigError, match="layout='hwcn' is unknown; choose one of nhwc, nchw"):
        known_layout("hwcn")


def test_a_precision_without_app_ready_graphs_is_refused_with_those_that_have_some() -> None:
    nothing: Any = None
    io = PixelIO("nhwc", nothing, {"fp32": nothing, "int8": nothing})
    with pytest.raises(BundleError, match=r"io='uint8' was asked for in precision='fp16', but .* in fp32, int8 alone"):
        io.graph("encoder", "fp16")
