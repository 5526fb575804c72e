"""A web server, a headless Chromium, and the page of `vaekit embed web` as an object that tests talk to.

`make browser-tools` installs the browser and the npm packages; playwright comes with vaekit[dev].
"""

from __future__ import annotations

import base64
import functools
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

import vaekit
from vaekit.embedding import embed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ORT_WEB = Path(__file__).parents[1] / "node_modules" / "onnxruntime-web"
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")

Array = NDArray[Any]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """What `python -m http.server` does."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class Screen:
    """An open page.

    Attributes:
        page: Playwright's page.
        said: What its console said.
        asked: Addresses that it asked for, those of its own folder relative to it.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.asked.append(request.url.removeprefix(url)))

    def settle(self) -> None:
        """Let what was asked for reach the canvas: the page works in one thread, one task after the other."""
        frames = "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 20)))"
        self.page.evaluate(f"() => new Promise((done) => {frames})")

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def picture(self, canvas: str = "#picture") -> Array:
        """A canvas as an array (3, H, W), 0 to 255."""
        self.settle()
        found = self.page.eval_on_selector(
            canvas,
            "c => ({ size: [c.height, c.width],"
            " rgba: Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data) })",
        )
        return np.array(found["rgba"]).reshape(*found["size"], 4)[..., :3].transpose(2, 0, 1)

    def assert_shows(self, item: Array, canvas: str = "#picture") -> None:
        """A canvas shows an item (C, H, W) in [0, 1], within one of 255 levels."""
        expected = np.broadcast_to(np.rint(255 * np.clip(item, 0, 1)), (3, *item.shape[1:]))
        assert np.abs(self.picture(canvas) - expected).max() <= 1

    def code(self) -> dict[int, float]:
        """What the sliders say, by dimension."""
        values = self.page.eval_on_selector_all("#sliders input", "all => all.map((i) => [i.id, i.valueAsNumber])")
        return {int(name[1:]): value for name, value in values}

    def draw(self, strokes: list[list[tuple[float, float]]], *, scale: float = 1.0, shift: float = 0.0) -> None:
        """Draw on the pad with the mouse; points are parts of its sides."""
        self.page.locator("#pad").scroll_into_view_if_needed()
        box = self.page.locator("#pad").bounding_box()
        assert box is not None
        for stroke in strokes:
            points = [(0.5 + scale * (x - 0.5) + shift, 0.5 + scale * (y - 0.5)) for x, y in stroke]
            first, *others = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in points]
            self.page.mouse.move(*first)
            self.page.mouse.down()
            for point in others:
                self.page.mouse.move(*point, steps=4)
            self.page.mouse.up()

    def floats_of(self, expression: str) -> Array:
        """Float32 numbers that a module's lines return in the page; `at(path)` is the address of a file."""
        source = f"""async () => {{
            const at = (path) => new URL(path, location.href).href;
            const floats = await (async () => {{ {expression} }})();
            let text = "";
            for (const byte of new Uint8Array(floats.buffer)) text += String.fromCharCode(byte);
            return btoa(text);
        }}"""
        return np.frombuffer(base64.b64decode(self.page.evaluate(source)), "<f4")


OpenScreen = Callable[..., Screen]


@pytest.fixture(scope="session")
def ort_web(unavailable: Callable[[str], NoReturn]) -> Path:
    if not ORT_WEB.is_dir():
        unavailable("the npm packages of the tests are missing; run `make browser-tools`")
    return ORT_WEB


@pytest.fixture(scope="package")
def browser(unavailable: Callable[[str], NoReturn]) -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        unavailable("no Chromium is on PATH; run `make browser-tools`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path)
        yield chromium
        chromium.close()


@pytest.fixture
def open_screen(browser: Browser) -> Iterator[OpenScreen]:
    """Return ``open_screen(folder, before="", **options) -> Screen``, once the self-test has ended.

    `before` is JavaScript that runs first; the options are those of a context of the browser.
    """
    with ExitStack() as closing:

        def start(folder: Path, *, before: str = "", **options: Any) -> Screen:
            url = closing.enter_context(serve(folder))
            context = closing.enter_context(
                browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
            )
            context.set_default_timeout(60_000)
            page = context.new_page()
            screen = Screen(page, url)
            if before:
                page.add_init_script(before)
            page.goto(url)
            page.wait_for_selector("html[data-self-test=passed], html[data-self-test=failed]")
            return screen

        yield start


@pytest.fixture(scope="session")
def site(ort_web: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model as a static folder. Shared by all tests: copy it to change anything."""
    return embed("web", None, tmp_path_factory.mktemp("web") / "mnist", ort_web=ort_web)


@pytest.fixture
def mnist(open_screen: OpenScreen, site: Path) -> Iterator[Screen]:
    """The built-in model's page; whatever a test does with it, the console stays empty and nobody else is asked."""
    screen = open_screen(site)
    yield screen
    assert screen.said == []
    assert all("://" not in url for url in screen.asked), "a request went to another host"


@pytest.fixture(scope="session")
def python() -> vaekit.VAE:
    """The built-in model in Python."""
    return vaekit.load(provider="cpu", threads=1)


@pytest.fixture(scope="session")
def digit_in(python: vaekit.VAE) -> Callable[[Array], int]:
    """Return ``digit_in(image) -> int``: the digit whose mean among the golden items, which are MNIST's, is most alike."""
    golden = python.bundle.golden()
    assert golden.labels is not None
    means = [golden.x[golden.labels == digit].mean(axis=0) for digit in range(10)]

    def most_alike(image: Array) -> int:
        return int(np.argmax([np.corrcoef(image.ravel(), mean.ravel())[0, 1] for mean in means]))

    return most_alike
