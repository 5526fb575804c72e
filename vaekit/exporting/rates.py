"""How fast each precision is on this machine: items a second, on one thread, side by side.

Contenders take turns within each round, so that what else the machine does at the moment falls on all of them; the median over
the rounds counts. It is a measurement of this machine, and says so in the manifest: elsewhere, `vaekit bench`.

Needs: NumPy, ONNX Runtime.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.runtime.bench.machine import describe_machine
from vaekit.runtime.session import VAE

BATCHES: Final = (1, 64, 1024)
"""Items a call: an app's, a server's, and one that only large machines fill."""

BATCH_BYTES: Final = 256 << 20
"""Largest batch of items in bytes, as float32: with all its inner values, one of large pictures would not fit into memory."""

ROUNDS: Final = (3, 9)
"""Fewest and most rounds."""

ENOUGH: Final = 0.004
"""Seconds that one turn takes at least: short calls are repeated, so that the clock's steps do not show."""

BUDGET: Final = 1.5
"""Seconds that a contender may take at one batch size, unless the fewest rounds take longer."""


class Machine(NamedTuple):
    """What rates were taken on.

    Attributes:
        processor: Its model, with the vector units that matter.
        cores: Cores that this process may use.
        threads: Threads of a session: 1.
        onnxruntime: Version of ONNX Runtime.
    """

    processor: str
    cores: int
    threads: int
    onnxruntime: str


def this_machine() -> Machine:
    """Look at the machine that this runs on."""
    import onnxruntime

    found = describe_machine()
    units = f" ({', '.join(found.vector_units)})" if found.vector_units else ""
    return Machine(f"{found.processor}{units}", found.cores_usable, 1, str(onnxruntime.__version__))


def measure_rates(
    contenders: Mapping[str, VAE], x: NDArray[np.float32], z: NDArray[np.float32]
) -> dict[str, dict[str, dict[str, float]]]:
    """Time both halves of some models at each of `BATCHES` whose items fit into `BATCH_BYTES`.

    Args:
        contenders: Models by name, each on one thread.
        x: Items, (N, *shape), repeated where a batch is larger.
        z: Codes, (M, D), likewise.

    Returns:
        Items a second by contender, half ("encoder", "decoder") and batch size ("1", "64", "1024").
    """
    rates: dict[str, dict[str, dict[str, float]]] = {name: {"encoder": {}, "decoder": {}} for name in contenders}
    for half, rows in (("encoder", x), ("decoder", z)):
        for batch in (batch for batch in BATCHES if batch * 4 * x[0].size <= BATCH_BYTES):
            feed = np.resize(rows, (batch, *rows.shape[1:]))
            for name, seconds in _take_turns(
                {n: getattr(vae, half).session for n, vae in contenders.items()}, feed
            ).items():
                rates[name][half][str(batch)] = batch / seconds
    return rates


def _take_turns(sessions: Mapping[str, Any], rows: NDArray[np.float32]) -> dict[str, float]:
    """Median seconds of a call of each session, which get the rows in turn."""
    feeds = {name: {session.get_inputs()[0].name: rows} for name, session in sessions.items()}
    for name, session in sessions.items():  # the first call of a batch size sets up its memory
        session.run(None, feeds[name])
    calls, rounds = {}, ROUNDS[1]
    for name, session in sessions.items():
        once = _seconds(session, feeds[name], 1)
        calls[name] = max(1, round(ENOUGH / max(once, 1e-7)))
        rounds = min(rounds, max(ROUNDS[0], int(BUDGET / (calls[name] * once))))
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            times[name].append(_seconds(session, feeds[name], calls[name]))
    return {name: statistics.median(taken) for name, taken in times.items()}


def _seconds(session: Any, feed: Mapping[str, NDArray[np.float32]], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        session.run(None, feed)
    return (time.perf_counter() - began) / calls
