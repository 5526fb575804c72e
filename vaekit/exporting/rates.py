"""How fast each precision is on this machine: items a second, on one thread, side by side.

They are timed as `vaekit bench` times (`vaekit.runtime.bench.timing`), only shorter; the median over the rounds counts. It is a
measurement of this machine, and says so in the manifest: elsewhere, `vaekit bench`.

Needs: NumPy, ONNX Runtime.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.runtime.bench.machine import describe_machine
from vaekit.runtime.bench.timing import TICKS, Clock, garbage_collection_off, ready, resolution, take_turns
from vaekit.runtime.providers import import_onnxruntime
from vaekit.runtime.vae import VAE

BATCHES: Final = (1, 64, 1024)
"""Items a call: an app's, a server's, and one that only large machines fill."""

BATCH_BYTES: Final = 256 << 20
"""Largest batch of items in bytes, as float32: with all its inner values, one of large pictures would not fit into memory."""

SECONDS: Final = 0.2
"""Time that a contender gets at one batch size, unless `FEWEST` rounds take longer."""

ROUNDS: Final = 9

FEWEST: Final = 3
"""Rounds of a contender whose calls are long: of large pictures one may take many seconds."""


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
    onnxruntime = import_onnxruntime()

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
    batches = [batch for batch in BATCHES if batch * 4 * x[0].size <= BATCH_BYTES]
    with garbage_collection_off():
        for half, rows in (("encoder", x), ("decoder", z)):
            sessions = {name: getattr(vae, half).session for name, vae in contenders.items()}
            for batch in batches:
                feed = np.resize(rows, (batch, *rows.shape[1:]))
                for name, seconds in _seconds(sessions, feed, time.perf_counter).items():
                    rates[name][half][str(batch)] = batch / seconds
    return rates


def _seconds(sessions: Mapping[str, Any], rows: NDArray[np.float32], clock: Clock) -> dict[str, float]:
    """Median over the rounds of the seconds that a call of each session takes, with the rows as its input."""
    least = TICKS * resolution(clock)
    calls = [partial(session.run, None, {session.get_inputs()[0].name: rows}) for session in sessions.values()]
    timed = [ready(call, clock, least=least)[0] for call in calls]
    take_turns(timed, clock, seconds=SECONDS, rounds=ROUNDS, least_rounds=FEWEST)
    medians = [statistics.median(sum(burst) / len(burst) for burst in one.bursts) for one in timed]
    return dict(zip(sessions, medians, strict=True))
