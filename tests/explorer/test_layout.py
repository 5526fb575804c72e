"""Widgets never share a place, and are where the screen is."""

from __future__ import annotations

import numpy as np
import pytest

from vaekit.cli.explorer.layout import SMALLEST, arrange
from vaekit.spec import DataSpec


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 8, 200), (3, 200, 8), (50,), (2, 100)])
@pytest.mark.parametrize("size", [SMALLEST, (80, 24), (61, 90), (300, 18), (237, 71)])
@pytest.mark.parametrize("dimensions", [1, 5, 200])
def test_widgets_share_no_place_and_stay_on_the_screen(
    size: tuple[int, int], shape: tuple[int, ...], dimensions: int
) -> None:
    width, height = size
    screen = np.zeros((height, width), int)
    for place in arrange(width, height, DataSpec(shape=shape), dimensions).values():
        assert min(place) >= 0
        assert place.width * place.height > 0
        assert place.x + place.width <= width
        assert place.y + place.height <= height
        screen[place.y : place.y + place.height, place.x : place.x + place.width] += 1
    assert screen.max() == 1
    assert screen[0].all(), "the title"
    assert screen[-3:].all(), "the way, the status, the keys"


@pytest.mark.parametrize("size", [(SMALLEST[0] - 1, 100), (100, SMALLEST[1] - 1)])
def test_a_screen_that_is_too_small_has_no_places(size: tuple[int, int]) -> None:
    assert arrange(*size, DataSpec(shape=(1, 28, 28)), 5) == {}
