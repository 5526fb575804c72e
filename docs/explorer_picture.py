"""Draws docs/pictures/explore.svg: the screen of `vaekit explore`, as textual itself writes it.

Run it as `python docs/explorer_picture.py`, in the development environment.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import vaekit
from vaekit.cli.examples import examples, pick
from vaekit.cli.explorer.app import ExploreApp
from vaekit.cli.explorer.item import bounds_of
from vaekit.explorer.explorer import Explorer
from vaekit.explorer.landscape import measure

TARGET = Path(__file__).parent / "pictures" / "explore.svg"
SIZE = (120, 40)


async def draw() -> None:
    """A 3, an 8, and two fifths of the way between them, over the test set's map."""
    vae = vaekit.load(provider="cpu", threads=1)
    items = examples(vae.bundle, "mnist")
    app = ExploreApp(
        Explorer(vae, measure(vae.encode, items, "mnist")),
        bounds=bounds_of(items.pixels(slice(0, 1000))),
        pick=lambda which: pick(vae.bundle, items, which),
    )
    async with app.run_test(size=SIZE) as pilot:
        for item, pin in (("3", "a"), ("8", "b")):
            await pilot.press("e", item, "enter", pin)
        app.track.focus()
        await pilot.press("home", *["right"] * 8)  # 0.05 each
        await pilot.pause(0.5)
        TARGET.parent.mkdir(exist_ok=True)
        picture = app.export_screenshot(title="vaekit explore")
        # Without the fonts that textual would have a browser fetch: a page's picture loads nothing.
        TARGET.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(draw())
    print(f"wrote {TARGET.name}")
