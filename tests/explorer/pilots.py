"""`vaekit explore` in textual's headless pilot: what tests of its screen, keys and mouse share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from textual import events
from textual.message import Message
from textual.pilot import Pilot
from textual.widget import Widget

import vaekit
from vaekit.cli.examples import examples, pick
from vaekit.cli.explorer.app import ExploreApp
from vaekit.cli.explorer.item import bounds_of
from vaekit.explorer.explorer import Explorer
from vaekit.explorer.landscape import measure

Use = Callable[[ExploreApp, Pilot[None]], Awaitable[None]]
WIDE, USUAL, NARROW = (160, 50), (120, 40), (80, 24)


def app_of(
    bundle: Path | None, data: str | None = None, *, folder: Path = Path("explored"), seed: int = 4
) -> ExploreApp:
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    items = examples(vae.bundle, data)
    return ExploreApp(
        Explorer(vae, measure(vae.encode, items, data or "the bundle"), seed=seed),
        bounds=bounds_of(items.pixels(slice(0, 1000))),
        pick=lambda which: pick(vae.bundle, items, which),
        folder=folder,
    )


def use(
    app: ExploreApp, steps: Use, size: tuple[int, int] = USUAL, hook: Callable[[Message], None] | None = None
) -> None:
    """Run an application on a screen that nobody sees; a hook is called with each message that a widget takes."""

    async def session() -> None:
        async with app.run_test(size=size, message_hook=hook) as pilot:
            await pilot.pause()
            await steps(app, pilot)

    with ThreadPoolExecutor(1) as thread:  # playwright's tests leave this one with a running loop
        thread.submit(asyncio.run, session()).result()


def press(app: ExploreApp, *keys: str, size: tuple[int, int] = USUAL) -> ExploreApp:
    """Press keys, and give the application as they leave it."""

    async def steps(_: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press(*keys)
        await pilot.pause()

    use(app, steps, size)
    return app


def lines(widget: Widget) -> list[str]:
    """What stands in a widget, without its border."""
    return [widget.render_line(y).text for y in range(widget.size.height)]


def facts(app: ExploreApp) -> str:
    return "\n".join(map(str, app.facts.lines))


def status(app: ExploreApp) -> str:
    return str(app._texts["status"])


async def wheel(widget: Widget, kind: type[events.MouseEvent], x: int, y: int) -> None:
    """Turn the wheel over a place of a widget's content."""
    at = widget.content_region.offset
    inside = at - widget.region.offset
    widget.post_message(
        kind(
            widget, x=x + inside.x, y=y + inside.y, delta_x=0, delta_y=0, button=0, shift=False, meta=False, ctrl=False,
            screen_x=x + at.x, screen_y=y + at.y,
        )
    )  # fmt: skip
