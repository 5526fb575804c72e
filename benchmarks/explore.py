"""How long `vaekit explore` takes from a key or a move of the mouse to what it sends to the terminal, in milliseconds.

    slider    a step of 0.1 by key: ten to the right, ten to the left, then the next dimension
    drag      a slider by mouse, a column a move
    map       a step of 0.1 on the map by key, in a circle
    morph     a step of 0.05 between two pins by key: all sliders and most pixels change
    seed      another seed: all sliders and most pixels change
    compute   the part of a slider's step that is ours alone: the history, the decoder, the image as strips

    python -m benchmarks.explore [BUNDLE]

A time ends when the escape codes of the update are made, in a driver that throws them away: what a terminal takes to show them
is not in these numbers. Beside the wall time stands the processor time of this process, which other work on the machine
disturbs less. A change waits for textual's next frame; `vaekit explore` asks for 240 a second, as this does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import cycle, islice

os.environ.setdefault("TEXTUAL_FPS", "240")  # before textual is imported, which reads it then

from textual import events
from textual.drivers.headless_driver import HeadlessDriver

import vaekit
from benchmarks.sidebyside import keep
from vaekit.cli.examples import examples, pick
from vaekit.cli.explorer.app import ExploreApp
from vaekit.cli.explorer.item import bounds_of
from vaekit.explorer.explorer import Explorer
from vaekit.explorer.landscape import measure

SIZES = ((80, 24), (120, 40), (160, 50))
CHANGES = 300
WARM_UP = 20
PATIENCE = 10.0
"""Seconds after which a change that draws no image ends the run."""

Spent = tuple[float, float]
"""Wall and processor seconds of a change."""


class Terminal(HeadlessDriver):
    """Forgets what it is sent; unlike for textual's headless driver, the escape codes are made."""

    is_headless = False


def summary(spent: Sequence[Spent]) -> dict[str, float]:
    """Medians and 95th percentiles in milliseconds."""
    found = {}
    for kind, seconds in zip(("", "cpu_"), zip(*spent, strict=True), strict=True):
        ordered = sorted(seconds)
        found[f"{kind}median_ms"] = round(1e3 * statistics.median(ordered), 3)
        found[f"{kind}p95_ms"] = round(1e3 * ordered[int(0.95 * (len(ordered) - 1))], 3)
    return found


def app_of(vae: vaekit.VAE, data: str | None) -> ExploreApp:
    """The application as the command makes it, but for its terminal."""
    items = examples(vae.bundle, data)
    app = ExploreApp(
        Explorer(vae, measure(vae.encode, items, data or "the bundle"), seed=7),
        bounds=bounds_of(items.pixels(slice(0, 1000))),
        pick=lambda which: pick(vae.bundle, items, which),
    )
    app.driver_class = Terminal
    return app


async def measured(app: ExploreApp, size: tuple[int, int]) -> dict[str, dict[str, float]]:
    """Make changes one by one, each after the last one's image was sent."""
    found = {}

    async def timed(changes: Iterable[Callable[[], object]]) -> dict[str, float]:
        return summary([await _until_sent(app, change) for change in islice(changes, WARM_UP + CHANGES)][WARM_UP:])

    async with app.run_test(headless=False, size=size) as pilot:
        await pilot.pause(0.5)
        found["slider"] = await timed(_slide(app))
        app.sliders.choose(0)
        await pilot.pause()
        left, line = app.sliders.content_region.offset
        first = left + app.sliders.track()[0]
        _mouse(app, events.MouseDown, first, line)
        await pilot.pause()
        columns = [*range(2, 12), *range(12, 2, -1)]
        found["drag"] = await timed(partial(_mouse, app, events.MouseMove, first + x, line) for x in cycle(columns))
        _mouse(app, events.MouseUp, first, line)
        await pilot.press("tab")
        found["map"] = await timed(partial(app.simulate_key, key) for key in cycle(("right", "up", "left", "down")))
        await pilot.press("a", "r", "b", "tab", "home")
        found["morph"] = await timed(partial(app.simulate_key, key) for key in cycle(["right"] * 20 + ["left"] * 20))
        found["seed"] = await timed(partial(app.simulate_key, key) for key in cycle("r"))
        found["compute"] = summary([_computed(app, by) for by in [0.1, -0.1] * (CHANGES // 2)])
    return found


def _slide(app: ExploreApp) -> Iterable[Callable[[], object]]:
    for line in cycle(range(len(app.explorer.order))):
        app.sliders.choose(line)
        yield from (partial(app.simulate_key, key) for key in ["right"] * 10 + ["left"] * 10)


def _mouse(app: ExploreApp, kind: type[events.MouseEvent], x: int, y: int) -> None:
    """What a driver makes of the mouse."""
    app.post_message(
        kind(
            None, x=x, y=y, delta_x=1, delta_y=0, button=1, shift=False, meta=False, ctrl=False, screen_x=x, screen_y=y
        )
    )  # fmt: skip


async def _until_sent(app: ExploreApp, change: Callable[[], object]) -> Spent:
    """From an event until the update that has the new image was composed and sent."""
    drawn, began, cpu = app.item_view.drawn, time.perf_counter(), time.process_time()
    change()
    while app.item_view.drawn == drawn:
        await asyncio.sleep(0)
        if time.perf_counter() - began > PATIENCE:
            raise SystemExit(
                f"no image was drawn within {PATIENCE:.0f} s; give a model whose images change with its code."
            )
    spent = time.perf_counter() - began, time.process_time() - cpu
    await asyncio.sleep(1 / 240)  # the next change has a frame of its own
    return spent


def _computed(app: ExploreApp, by: float) -> Spent:
    """A change without textual's loop."""
    began, cpu = time.perf_counter(), time.process_time()
    app.explorer.nudge(app.explorer.order[0], by)
    app.item_view.show_item(app.explorer.item())
    return time.perf_counter() - began, time.process_time() - cpu


def main() -> None:
    """Measure on three screens, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--data", help="items of the map; without it, the bundle's examples")
    options = parser.parse_args()
    vae = vaekit.load(options.bundle, provider="cpu", threads=1)
    results = {}
    for size in SIZES:
        name = f"{size[0]}x{size[1]}"
        results[name] = asyncio.run(measured(app_of(vae, options.data), size))
        for what, found in results[name].items():
            wall, cpu = (
                f"median {found[f'{kind}median_ms']:6.2f}   p95 {found[f'{kind}p95_ms']:6.2f}" for kind in ("", "cpu_")
            )
            print(f"{name:8} {what:8} wall: {wall}   processor: {cpu} ms")
    keep("explore", {"changes": CHANGES, "screens": results})


if __name__ == "__main__":
    main()
