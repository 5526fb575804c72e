"""Times contenders side by side in one run: interleaved rounds, ratios within a round, median and spread.

Machines are shared and noisy. A time means little, and a ratio of two times means something only when both were taken
within the same seconds; so each round runs every contender once, in a new order, and the ratio is taken per round.
"""

from __future__ import annotations

import datetime
import json
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaekit.runtime.bench.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Spread:
    """Median, and the 10th and 90th percentile."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise some values."""
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        tenths = statistics.quantiles(values, n=10, method="inclusive")
        return cls(statistics.median(values), tenths[0], tenths[-1])

    def text(self, unit: float = 1.0, digits: int = 2) -> str:
        """Write as "median (low to high)", divided by a unit."""
        low, median, high = (f"{value / unit:.{digits}f}" for value in (self.low, self.median, self.high))
        return f"{median} ({low} to {high})"


def interleave(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run each contender once a round, in a new order each round.

    Args:
        contenders: By name, a function that does the work once and gives its seconds.
        rounds: How often.

    Returns:
        Seconds by name, in the order of the rounds.
    """
    order = random.Random(0)  # noqa: S311  (no secret)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in order.sample(list(contenders), len(contenders)):
            seconds[name].append(contenders[name]())
    return seconds


def onnx_calls(
    graph: bytes, rows: NDArray[np.float32], *, threads: int = 1, calls: int | None = None
) -> Callable[[], float]:
    """Give a function that runs a graph on a batch some times, and says how many seconds a call took.

    Args:
        graph: An ONNX model with one input.
        rows: The batch.
        threads: Threads inside one call.
        calls: How many calls are one turn; None takes as many as last about 10 ms.
    """
    import onnxruntime

    from vaekit.runtime.providers import EXACT_INTEGERS

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry(*EXACT_INTEGERS)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: rows}

    def run(times: int) -> float:
        began = time.perf_counter()
        for _ in range(times):
            session.run(None, feed)
        return (time.perf_counter() - began) / times

    run(1)  # the first call of a batch size sets up its memory
    several = calls or max(1, round(0.01 / run(1)))
    return lambda: run(several)


def ratios(seconds: Mapping[str, Sequence[float]], name: str, over: str) -> Spread:
    """Summarise ``seconds[name] / seconds[over]``, taken round by round."""
    return Spread.of([a / b for a, b in zip(seconds[name], seconds[over], strict=True)])


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    versions = {}
    for package in ("vaekit", "numpy", "torch", "onnxruntime"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    found = describe_machine()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": f"{found.processor} ({', '.join(found.vector_units)})",
        "cores": found.cores_usable,
        "load_average": found.load_before,
        "python": platform.python_version(),
        **versions,
    }


def keep(name: str, result: Mapping[str, Any]) -> None:
    """Write a result to benchmarks/results/NAME.json, with the machine it was taken on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **result}, indent=2) + "\n")
    print(f"kept in benchmarks/results/{path.name}")
