"""One peer in a process of its own: reads jobs as lines of JSON, answers each with one.

    {"prepare": [model, bundle, half, batch]}  -> {"seconds": of one call, "deviation": from the golden outputs}
                                                  or {"skip": reason}
    {"time": seconds}                          -> {"seconds": of one call, the mean over about so long}
    {"peak": true}                             -> {"fp32": operations a second of a large product, "bf16": …}
    {"operations": [model, bundle, half]}      -> {"operations": of one item}

A process each, so that peers do not share threads, allocators or settings, and one that crashes ends alone.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from benchmarks.peers_contenders import PEERS, CannotRun, Prepare, as_arrays, deviation
from benchmarks.peers_subjects import Job, operations
from vaekit.bundle import Bundle

SETTLE = 0.003
"""Seconds of calls before those that are timed: caches come back, and threads of the peer before have stopped to spin."""


class Worker:
    """A peer, its open jobs, and the call that is being timed."""

    def __init__(self, peer: str, threads: int) -> None:
        self.peer, self.threads = peer, threads
        self.opened: dict[tuple[str, str], tuple[Job, Prepare, float]] = {}
        self.call: Callable[[], Any] = lambda: None
        self.each = 0.0

    def prepare(self, model: str, bundle: str, half: str, batch: int) -> dict[str, Any]:
        """Open the job where it is new, hold it against the golden outputs, and make ready for a batch."""
        peer = PEERS[self.peer]
        try:
            if (model, half) not in self.opened:
                opened = Bundle.open(bundle)
                if peer.precision not in opened.manifest.precisions:
                    raise CannotRun(f"the bundle has no {peer.precision} graphs")
                job = Job(model, half, opened, self.threads, peer.precision)
                prepare = peer.open(job)
                x, expected = job.golden()
                self.opened[model, half] = (job, prepare, deviation(as_arrays(prepare(x)()), expected))
            job, prepare, off = self.opened[model, half]
            if not off <= peer.tolerance:
                raise CannotRun(f"it is no peer: its outputs are {off:.2g} off the golden ones")
            self.call = prepare(job.inputs(batch))
        except ImportError as error:
            return {"skip": f"not installed ({error.name or error})"}
        except CannotRun as reason:
            return {"skip": str(reason)}
        except Exception as error:  # noqa: BLE001  whatever a peer raises is why it is skipped
            return {"skip": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        self.call()
        began = time.perf_counter()
        self.call()
        self.each = time.perf_counter() - began
        return {"seconds": self.each, "deviation": off}

    def time(self, seconds: float) -> dict[str, float]:
        """Time calls for about so long, after some that are not timed."""
        call, clock = self.call, time.perf_counter
        settled = clock() + min(SETTLE, seconds)
        while self.each < SETTLE and clock() < settled:
            call()
        count = max(1, round(seconds / max(self.each, 1e-7)))
        began = clock()
        for _ in range(count):
            call()
        self.each = (clock() - began) / count
        return {"seconds": self.each}

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what one line asks."""
        if "prepare" in order:
            return self.prepare(*order["prepare"])
        if "time" in order:
            return self.time(order["time"])
        try:
            if "peak" in order:
                import torch

                from benchmarks.training import peak
                from vaekit.training.step import emulates_bf16

                torch.set_num_threads(self.threads)
                precisions = ["fp32"] if emulates_bf16() else ["fp32", "bf16"]  # emulated, a product takes minutes
                return {precision: peak(precision) for precision in precisions}
            model, bundle, half = order["operations"]
            return {"operations": operations(Job(model, half, Bundle.open(bundle), self.threads))}
        except ImportError as error:
            return {"skip": f"not installed ({error.name})"}


def main() -> None:
    """Answer until standard input ends."""
    warnings.simplefilter("ignore")
    worker = Worker(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
