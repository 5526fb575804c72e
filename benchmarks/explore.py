"""How long `vaekit explore` takes from a key to the drawn image: median and 95th percentile, in milliseconds.

    key       from the key's event to the item drawn and the screen's update composed, in textual's headless pilot
    compute   the part of it that is ours alone: the step in the history, the decoder, the image as strips

    python -m benchmarks.explore [BUNDLE]

A change waits for textual's next frame; `vaekit explore` asks for 240 a second, as this does. What a terminal takes to show
what it was sent is not in these numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TEXTUAL_FPS", "240")  # before textual is imported, which reads it then

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


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds."""
    ordered = sorted(seconds)
    return {
        "median_ms": round(1e3 * statistics.median(ordered), 3),
        "p95_ms": round(1e3 * ordered[int(0.95 * (len(ordered) - 1))], 3),
    }


def app_of(vae: vaekit.VAE, data: str | None) -> ExploreApp:
    """The application as the command makes it."""
    items = examples(vae.bundle, data)
    return ExploreApp(
        Explorer(vae, measure(vae.encode, items, data or "the bundle"), seed=7),
        bounds=bounds_of(items.pixels(slice(0, 1000))),
        pick=lambda which: pick(vae.bundle, items, which),
    )


async def measured(app: ExploreApp, size: tuple[int, int]) -> dict[str, dict[str, float]]:
    """Press keys one by one, each after the last one's image was drawn."""
    async with app.run_test(size=size) as pilot:
        await pilot.pause(0.5)
        keys = ["right", "left"] * ((CHANGES + WARM_UP) // 2)
        times = [await _until_drawn(app, lambda key=key: app.simulate_key(key)) for key in keys]
        computed = [_computed(app, sign) for sign in [0.1, -0.1] * (CHANGES // 2)]
    return {"key": summary(times[WARM_UP:]), "compute": summary(computed)}


async def _until_drawn(app: ExploreApp, change: Callable[[], Any]) -> float:
    """Seconds from an event until the compositor has asked for the item's lines and composed the update."""
    drawn = app.item_view.drawn
    began = time.perf_counter()
    change()
    while app.item_view.drawn == drawn:
        await asyncio.sleep(0)
    return time.perf_counter() - began


def _computed(app: ExploreApp, by: float) -> float:
    """Seconds of a change without textual's loop."""
    began = time.perf_counter()
    app.explorer.nudge(app.explorer.order[0], by)
    app.item_view.show_item(app.explorer.item())
    app.item_view.render_line(0)
    return time.perf_counter() - began


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
            print(f"{name:8} {what:8} median {found['median_ms']:7.2f} ms   p95 {found['p95_ms']:7.2f} ms")
    keep("explore", {"changes": CHANGES, "screens": results})


if __name__ == "__main__":
    main()
