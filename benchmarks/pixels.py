"""App-ready graphs against the float32 graphs with the lines that an app would write by hand around them.

    by hand      encode(transpose(u) / 255)         transpose(cast(rint(clip(255 * decode(z), 0, 255))))    NumPy, float32
    app-ready    encode(u)                          decode(z)                                               io="uint8"
    float32      encode(x)                          decode(z)                                               no pixels at all

    python -m benchmarks.pixels BUNDLE

on a bundle of `vaekit export RUN --out BUNDLE --precision fp16,int8 --io uint8`: every precision that it has, one thread,
batches of 1, 64 and 1024. Contenders are interleaved, and ratios taken within a round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vaekit
from benchmarks.sidebyside import Spread, interleave, keep, ratios

BATCHES = (1, 64, 1024)
TURN = 0.01
"""Seconds of one turn, about."""


def by_hand(x_hat: NDArray[np.float32], layout: str) -> NDArray[np.uint8]:
    """What an app writes behind the decoder, in as few passes as NumPy allows."""
    levels = np.rint(np.clip(x_hat * np.float32(255), 0, 255)).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1)) if layout == "nhwc" else levels


def values(u: NDArray[np.uint8], layout: str) -> NDArray[np.float32]:
    """What an app writes before the encoder."""
    turned = np.ascontiguousarray(u.transpose(0, 3, 1, 2)) if layout == "nhwc" else u
    return np.divide(turned, np.float32(255), dtype=np.float32)


def repeated(work: Callable[[], Any]) -> Callable[[], float]:
    """Give a function that does the work for about `TURN`, and says how many seconds one took."""

    def run(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - began) / times

    run(2)
    several = max(1, round(TURN / run(1)))
    return lambda: run(several)


def contenders(bundle: vaekit.Bundle, precision: str, batch: int) -> dict[str, dict[str, Callable[[], float]]]:
    """Both halves, each in its three ways."""
    options: dict[str, Any] = {"provider": "cpu", "precision": precision, "threads": 1}
    plain, ready = vaekit.load(bundle, **options), vaekit.load(bundle, io="uint8", **options)
    assert bundle.manifest.pixels is not None
    layout = bundle.manifest.pixels.layout
    z = plain.prior(batch, seed=0)
    u: NDArray[np.uint8] = ready.decode(z)  # type: ignore[assignment]  # pixels
    x = values(u, layout)
    return {
        "encoder": {
            "by hand": repeated(lambda: plain.encode(values(u, layout))),
            "app-ready": repeated(lambda: ready.encode(u)),
            "float32": repeated(lambda: plain.encode(x)),
        },
        "decoder": {
            "by hand": repeated(lambda: by_hand(plain.decode(z), layout)),
            "app-ready": repeated(lambda: ready.decode(z)),
            "float32": repeated(lambda: plain.decode(z)),
        },
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    bundle = vaekit.Bundle.open(arguments.bundle)
    if bundle.manifest.pixels is None:
        raise SystemExit(f"{arguments.bundle} has no app-ready graphs; export it with --io uint8")
    if bundle.manifest.spec.data.range != (0.0, 1.0):
        raise SystemExit(f"{arguments.bundle} is not of values in [0, 1], which the lines by hand are written for")
    found: dict[str, Any] = {}
    for precision in bundle.manifest.pixels.precisions:
        for batch in BATCHES:
            for half, ways in contenders(bundle, precision, batch).items():
                seconds = interleave(ways, arguments.rounds)
                saved, over = ratios(seconds, "by hand", "app-ready"), ratios(seconds, "app-ready", "float32")
                found.setdefault(precision, {}).setdefault(half, {})[str(batch)] = {
                    "seconds": {way: vars(Spread.of(taken)) for way, taken in seconds.items()},
                    "by_hand_over_app_ready": vars(saved),
                    "app_ready_over_float32": vars(over),
                }
                times = ", ".join(f"{way} {Spread.of(taken).text(1e-6, 1)} us" for way, taken in seconds.items())
                print(f"{precision} {half}, batch {batch}: {times}")
                print(
                    f"    by hand takes {saved.text()} times as long; app-ready {over.text()} times the float32 graph"
                )
    keep("pixels", {"model": bundle.manifest.name, "rounds": arguments.rounds, "precisions": found})


if __name__ == "__main__":
    main()
