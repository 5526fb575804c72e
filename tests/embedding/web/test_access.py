"""Keyboard, touch, small screens, names for those who cannot see, colours for those who can."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit

Screen = Any  # the classes of conftest.py, which tests cannot import
OpenScreen = Callable[..., Screen]

pytestmark = pytest.mark.slow  # a page takes about a second to open, mostly for compiling 14 MB of WebAssembly


def test_all_is_within_reach_of_the_keyboard(mnist: Screen) -> None:
    reached = []
    mnist.page.locator("body").click(position={"x": 2, "y": 2})
    for _ in range(45):
        mnist.page.keyboard.press("Tab")
        reached.append(str(mnist.page.evaluate("document.activeElement.id || document.activeElement.tagName")))
    named = "seed new-sample way from play to pad clear example centre centre-code z4 z19"
    assert set(named.split()) <= set(reached)
    assert reached.index("seed") < reached.index("play") < reached.index("pad") < reached.index("z4")
    mnist.page.focus("#seed")
    mnist.page.keyboard.press("Tab")
    outline = mnist.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_keys_take_samples_play_and_draw(mnist: Screen, python: vaekit.VAE, digit_in: Callable[..., int]) -> None:
    mnist.page.focus("#new-sample")
    mnist.page.keyboard.press("Enter")
    mnist.assert_shows(python.sample(1, seed=8)[0])
    mnist.page.focus("#play")
    mnist.page.keyboard.press("Space")
    assert mnist.page.get_attribute("#play", "aria-pressed") == "true"
    mnist.page.keyboard.press("Space")
    assert mnist.page.get_attribute("#play", "aria-pressed") == "false"

    mnist.page.focus("#clear")
    mnist.page.keyboard.press("Shift+Tab")
    assert mnist.page.evaluate("document.activeElement.id") == "pad"
    assert mnist.page.is_visible("#pen")
    mnist.page.keyboard.press("ArrowDown")
    assert mnist.picture("#pad").max() == 0  # the pen is up
    mnist.page.keyboard.press("Space")
    for _ in range(12):
        mnist.page.keyboard.press("ArrowDown")
    mnist.settle()
    assert mnist.text("#source") == "Your drawing, encoded"
    made = mnist.picture()[0]
    assert digit_in(made) == 1
    mnist.page.keyboard.press("Delete")
    assert mnist.picture("#pad").max() == 0
    assert mnist.picture("#seen").max() == 0


def test_everything_that_takes_focus_has_a_name(mnist: Screen) -> None:
    session = mnist.page.context.new_cdp_session(mnist.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    properties = [({p["name"]: p["value"].get("value") for p in node.get("properties", [])}, node) for node in nodes]
    focusable = [
        node for values, node in properties if values.get("focusable") and node["role"]["value"] != "RootWebArea"
    ]
    assert len(focusable) > 30
    nameless = [node["role"]["value"] for node in focusable if not node.get("name", {}).get("value")]
    assert nameless == []
    assert mnist.page.get_attribute("html", "lang") == "en"


def test_a_phone_shows_the_page_without_sideways_scrolling(open_screen: OpenScreen, site: Path) -> None:
    screen = open_screen(
        site, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=3
    )
    page = screen.page
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#z19").scroll_into_view_if_needed()
    place = page.locator("#picture").bounding_box()  # the picture stays in sight beside the last slider
    assert place is not None
    assert 0 <= place["y"] < 300
    assert place["width"] > 100
    play = page.locator("#play").bounding_box()
    assert play is not None
    assert play["y"] < 0  # and the rest of the page is scrolled away
    assert screen.said == []


def test_a_finger_draws(open_screen: OpenScreen, site: Path, digit_in: Callable[..., int]) -> None:
    screen = open_screen(site, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = screen.page
    page.locator("#pad").scroll_into_view_if_needed()
    page.locator("#pad").evaluate("pad => scrollBy(0, pad.getBoundingClientRect().top - 400)")
    box = page.locator("#pad").bounding_box()
    assert box is not None
    scrolled = page.evaluate("scrollY")
    circle = [(0.5 + 0.2 * math.sin(a / 4), 0.5 - 0.32 * math.cos(a / 4)) for a in range(26)]
    session = page.context.new_cdp_session(page)
    points = [{"x": box["x"] + box["width"] * x, "y": box["y"] + box["height"] * y} for x, y in circle]
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points[:1]})
    for point in points[1:]:
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    made = screen.picture()[0]
    assert digit_in(made) == 0
    assert page.evaluate("scrollY") == scrolled


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG 2.2 defines it."""
    channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_colour_schemes(open_screen: OpenScreen, site: Path, scheme: str) -> None:
    screen = open_screen(site, color_scheme=scheme)
    page = screen.page
    colours = """(selector) => {
        let place = document.querySelector(selector);
        const text = getComputedStyle(place).color;
        while (getComputedStyle(place).backgroundColor === "rgba(0, 0, 0, 0)") place = place.parentElement;
        return [text, getComputedStyle(place).backgroundColor];
    }"""
    paper = luminance(page.evaluate(colours, "body")[1])
    assert (paper > 0.8) if scheme == "light" else (paper < 0.05)
    selectors = "h1|header p|.badge a|#source|.quiet|#new-sample|.sliders label|.sliders output"
    for selector in selectors.split("|"):
        text, ground = sorted(map(luminance, page.evaluate(colours, selector)), reverse=True)
        assert (text + 0.05) / (ground + 0.05) >= 4.5, selector  # WCAG's AA
