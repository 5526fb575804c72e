"""Samples, sliders and the morph show what Python gives; and the page keeps to itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.embedding.web import SEEDS

Screen = Any  # the classes of conftest.py, which tests cannot import
OpenScreen = Callable[..., Screen]

pytestmark = pytest.mark.slow  # a page takes about a second to open, mostly for compiling 14 MB of WebAssembly


def test_new_sample_shows_what_python_gives_for_the_next_seed(mnist: Screen, python: vaekit.VAE) -> None:
    mnist.assert_shows(python.sample(1, seed=7)[0])
    mnist.page.click("#new-sample")
    assert mnist.page.input_value("#seed") == "8"
    assert mnist.text("#source") == "Sample of seed 8"
    mnist.assert_shows(python.sample(1, seed=8)[0])
    mnist.page.fill("#seed", "123456789012")
    mnist.page.press("#seed", "Enter")
    mnist.assert_shows(python.sample(1, seed=123456789012)[0])


def test_sliders_show_the_code_that_was_sampled(mnist: Screen, python: vaekit.VAE) -> None:
    shown, statistics = mnist.code(), python.manifest.statistics
    assert set(shown) == set(statistics.active)
    for dimension, value in shown.items():
        step = 6 * statistics.std[dimension] / 240
        assert value == pytest.approx(python.prior(1, seed=7)[0, dimension], abs=0.51 * step)
    order = [int(name[1:]) for name in mnist.page.eval_on_selector_all("#sliders input", "all => all.map((i) => i.id)")]
    assert order == sorted(statistics.active, key=lambda d: -statistics.kl[d])
    box = mnist.page.locator("#z4")
    low, high = (float(str(box.get_attribute(end))) for end in ("min", "max"))
    assert (low, high) == pytest.approx([statistics.mean[4] + side * 3 * statistics.std[4] for side in (-1, 1)])


def test_a_slider_changes_the_picture_as_python_would(mnist: Screen, python: vaekit.VAE) -> None:
    z = python.prior(1, seed=7)
    before = mnist.picture()
    mnist.page.focus("#z4")
    for _ in range(30):
        mnist.page.keyboard.press("ArrowRight")
    z[0, 4] = mnist.code()[4]
    assert np.abs(mnist.picture() - before).max() > 100
    mnist.assert_shows(python.decode(z)[0])
    mnist.page.click("#undo")
    mnist.assert_shows(python.sample(1, seed=7)[0])


def test_a_slider_follows_the_mouse(mnist: Screen) -> None:
    box = mnist.page.locator("#z3").bounding_box()
    assert box is not None
    before = mnist.picture()
    mnist.page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
    assert mnist.code()[3] > 2
    assert np.abs(mnist.picture() - before).max() > 100


def test_centre_all_shows_the_mean_code(mnist: Screen, python: vaekit.VAE) -> None:
    mnist.page.click("#centre-code")
    mean = np.array([python.manifest.statistics.mean], np.float32)
    mnist.assert_shows(python.decode(mean)[0])


@pytest.mark.parametrize("way", [0, 0.25, 1])
def test_the_morph_goes_along_pythons_path(mnist: Screen, python: vaekit.VAE, way: float) -> None:
    mnist.page.fill("#to", "40")
    mnist.page.press("#to", "Enter")
    mnist.page.locator("#way").fill(str(way))
    a, b = (python.prior(1, seed=seed) for seed in SEEDS)
    path = vaekit.interpolate(a, b, steps=101, path="spherical")
    mnist.assert_shows(python.decode(path[[round(100 * way)]])[0])


def test_the_strip_shows_steps_of_the_way(mnist: Screen, python: vaekit.VAE) -> None:
    a, b = (python.prior(1, seed=seed) for seed in SEEDS)
    steps = python.decode(vaekit.interpolate(a, b, steps=7, path="spherical"))
    mnist.assert_shows(np.concatenate(list(steps), axis=-1), "#strip")


def test_the_morph_plays_and_says_how_fast(mnist: Screen) -> None:
    mnist.page.click("#play")
    assert mnist.page.get_attribute("#play", "aria-pressed") == "true"
    mnist.page.locator("#rate", has_text="pictures/s").wait_for()
    rate = re.fullmatch(r"(\d+) pictures/s, [\d.]+ ms each", mnist.text("#rate"))
    assert rate is not None
    assert 1 <= int(rate[1]) <= 250
    first = mnist.picture()
    mnist.page.wait_for_timeout(700)
    second = mnist.picture()
    assert np.abs(first - second).max() > 50
    mnist.page.click("#play")
    assert mnist.text("#play") == "Play"
    still = mnist.picture()
    mnist.page.wait_for_timeout(300)
    np.testing.assert_array_equal(mnist.picture(), still)


def test_the_page_asks_for_nothing_but_its_own_files(open_screen: OpenScreen, site: Path) -> None:
    screen = open_screen(site)
    assert screen.said == []
    files = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert set(screen.asked) - {""} <= files
    assert "ort/ort-wasm-simd-threaded.wasm" in screen.asked


def test_the_policy_keeps_inline_code_and_other_hosts_out(open_screen: OpenScreen, site: Path) -> None:
    page = (site / "index.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe-inline" not in policy[1]
    assert "'unsafe-eval'" not in policy[1]
    assert re.findall(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", page) == []
    screen = open_screen(site)
    screen.page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'document.title = "taken over"';
            document.body.append(script);
        }"""
    )
    assert screen.page.title() == "mnist: latent space"
    assert any("Content Security Policy" in line for line in screen.said)
