"""What is drawn is scaled, encoded, decoded, and recognised."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import vaekit

Screen = Any  # the classes of conftest.py, which tests cannot import
OpenScreen = Callable[..., Screen]

pytestmark = pytest.mark.slow  # a page takes about a second to open, mostly for compiling 14 MB of WebAssembly


STROKES = {
    0: [[(0.5 + 0.2 * math.sin(a / 4), 0.5 - 0.32 * math.cos(a / 4)) for a in range(26)]],
    1: [[(0.56, 0.18), (0.44, 0.82)]],
    3: [[(0.34, 0.24), (0.5, 0.18), (0.64, 0.3), (0.5, 0.46), (0.66, 0.62), (0.5, 0.8), (0.32, 0.74)]],
    7: [[(0.3, 0.22), (0.7, 0.22), (0.44, 0.82)]],
}


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("digit", STROKES)
def test_a_drawn_digit_is_recognised_in_its_reconstruction(
    mnist: Screen, python: vaekit.VAE, digit_in: Callable[..., int], digit: int
) -> None:
    mnist.draw(STROKES[digit])
    mnist.settle()
    assert mnist.text("#source") == "Your drawing, encoded"
    seen, made = mnist.picture("#seen")[0], mnist.picture()[0]
    assert correlation(seen, made) > 0.85
    assert digit_in(made) == digit
    encoded = python.encode((seen / 255).astype(np.float32)[None, None]).mean
    for dimension, value in mnist.code().items():  # the canvas holds 8 bits of what was encoded
        assert value == pytest.approx(encoded[0, dimension], abs=0.1)


def test_a_drawing_is_scaled_and_centred_as_in_mnist(mnist: Screen) -> None:
    mnist.draw(STROKES[7])
    large = mnist.picture("#seen")[0]
    mnist.page.click("#clear")
    assert mnist.picture("#seen").max() == 0
    mnist.draw(STROKES[7], scale=0.6, shift=0.12)
    small = mnist.picture("#seen")[0]
    rows, columns = np.nonzero(small > 100)
    assert 17 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 22
    for image in (large, small):
        middle = [(image * at).sum() / image.sum() for at in np.indices(image.shape)]
        assert middle == pytest.approx([14, 14], abs=0.6)  # as those of MNIST: from 13.5 to 14.5
    assert correlation(large, small) > 0.8  # the stroke is thicker, as the drawing was enlarged with it
    mnist.page.uncheck("#centre")
    placed = mnist.picture("#seen")[0]
    assert (placed * np.indices(placed.shape)[1]).sum() / placed.sum() > 15
    assert np.ptp(np.nonzero(placed > 100)[0]) < 15


def test_mnists_own_digits_pass_the_scaling_unchanged(mnist: Screen, python: vaekit.VAE) -> None:
    # They were made by it: enlarged tenfold and moved by a part of a pixel, each comes back as it was.
    originals = python.bundle.golden().x[:16, 0]
    moved = np.roll(np.kron(originals, np.ones((1, 10, 10))), (-13, 17), axis=(1, 2))
    for image, original in zip(moved, originals, strict=True):
        grey = base64.b64encode(np.rint(255 * image).astype(np.uint8).tobytes()).decode()
        found = mnist.floats_of(
            f"""
            const {{ centredItemOf }} = await import(at('page/ink.js'));
            const grey = Uint8Array.from(atob("{grey}"), (c) => c.charCodeAt(0));
            const data = new Uint8ClampedArray(4 * grey.length);
            grey.forEach((v, i) => data.set([v, v, v, 255], 4 * i));
            return centredItemOf({{ data, width: 280, height: 280 }}, [1, 28, 28], [0, 1]);""",
        )
        assert correlation(found, original) > 0.99


def test_an_example_is_encoded_shown_and_drawn_on(mnist: Screen, python: vaekit.VAE) -> None:
    x = python.bundle.golden().x
    mnist.page.click("#example")
    assert mnist.text("#source") == "Test item 0, encoded"
    mnist.assert_shows(x[0], "#seen")
    mnist.assert_shows(python.reconstruct(x[:1])[0])
    mnist.page.click("#example")
    mnist.assert_shows(python.reconstruct(x[1:2])[0])
    before = mnist.picture("#pad")
    mnist.draw(STROKES[1])
    assert (mnist.picture("#pad") >= before).all()
    assert mnist.text("#source") == "Your drawing, encoded"


def test_a_code_that_was_drawn_can_be_edited(mnist: Screen, python: vaekit.VAE) -> None:
    mnist.page.click("#example")
    mnist.settle()
    z = python.encode(python.bundle.golden().x[:1]).mean
    mnist.page.locator("#z7").fill(str(mnist.code()[7] + 1))
    z[0, 7] = mnist.code()[7]
    mnist.assert_shows(python.decode(z)[0])
