"""Draw web.png and web-phone.png: the page of the built-in model, as a headless Chromium shows it.

    make browser-tools
    .venv/bin/python docs/embedding/screenshots.py

Needs: playwright, Chromium, and the npm packages of the tests.
"""

from __future__ import annotations

import functools
import http.server
import math
import shutil
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from vaekit.embedding import embed

HERE = Path(__file__).parent
ORT_WEB = HERE.parents[1] / "tests" / "embedding" / "node_modules" / "onnxruntime-web"

# A 2: a hook from the left over the top, down to the left, and a foot. Parts of the pad's side.
TWO = [
    *((0.5 - 0.17 * math.cos(math.radians(a)), 0.34 - 0.16 * math.sin(math.radians(a))) for a in range(0, 190, 10)),
    (0.6, 0.5),
    (0.34, 0.79),
    (0.5, 0.77),
    (0.71, 0.79),
]


def draw(page: Page) -> None:
    """Draw with the mouse, and wait until the code is shown."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in TWO]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()
    page.wait_for_timeout(500)
    page.mouse.move(1, 1)


def main() -> None:
    """Embed, serve, draw, take two pictures."""
    browser_path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        site = embed("web", None, Path(scratch) / "mnist", ort_web=ORT_WEB)
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=site)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            browser = playwright.chromium.launch(executable_path=browser_path)
            for name, width, height, scale in (("web", 1200, 830, 1.5), ("web-phone", 390, 844, 2)):
                page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
                page.goto(f"http://127.0.0.1:{server.server_port}/")
                page.wait_for_selector("html[data-self-test=passed]")
                draw(page)
                page.screenshot(path=HERE / f"{name}.png")
                page.close()
            browser.close()
            server.shutdown()


if __name__ == "__main__":
    main()
