"""Whether `load()` picks its threads well: its default against settings by hand, and several callers against one.

    settings    a bound call at batch 1 to 8192: the default; ONNX Runtime with 1 to all threads, which spin between calls or
                sleep; one session of one thread under all workers, in slices of 16 to 512 items
    calls       batch 1 on the very same session: ONNX Runtime's `run` and IO binding, vaekit's plain and bound call
    callers     1, 2 and 8 threads of Python that decode batches of 1, 16 and 64: the default; one session with one thread; one
                with all threads, which spin

Goals: the default is within 10 % of the best setting at batch 1 and at batch 1024; a bound call takes at most 1.1 times bare IO
binding, a plain one 1.3 times bare `run`; 8 callers get at least what one gets.

    python -m benchmarks.peers_threads              about two minutes; nothing else should run meanwhile
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime

import vaekit
from benchmarks.peers_subjects import Job, export_conv
from benchmarks.sidebyside import Spread, interleave, keep, ratios
from vaekit.bundle import Bundle
from vaekit.cores import count_cores
from vaekit.runtime.scheduling import shape_of

Call: TypeAlias = Callable[[], Any]

SETTLE = 0.004
"""Seconds of calls before those that are timed: longer than the threads of the one before spin."""

TURN = 0.02
BATCHES = {"mlp": (1, 16, 64, 256, 1024, 8192), "conv": (1, 16, 64, 256)}
ROWS = (16, 32, 64, 128, 256, 512)
CALLERS = (1, 2, 8)
DEFAULT = "vaekit's default"


def session_of(job: Job, threads: int, *, spins: bool = True) -> Any:
    """An ONNX Runtime session, made by hand."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    return onnxruntime.InferenceSession(str(job.path), options, providers=["CPUExecutionProvider"])


def bound(session: Any, job: Job, x: Any, y: Any) -> Call:
    """A call with IO binding; the arrays live as long as it."""
    name, (output,) = job.ports
    binding = session.io_binding()
    binding.bind_input(name, "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.bind_output(output, "cpu", 0, np.float32, y.shape, y.ctypes.data)
    return lambda _=(x, y): session.run_with_iobinding(binding)  # type: ignore[misc]


def settings(job: Job, batch: int, cores: int, pool: ThreadPoolExecutor) -> dict[str, Call]:
    """The default and those by hand, each ready to be called."""
    x = job.inputs(batch)
    y = np.empty(shape_of(job.bundle.manifest.graph("decoder", "fp32").outputs[0], batch), np.float32)
    default = vaekit.Decoder(job.bundle, provider="cpu").bind(batch)
    default.z[...] = x
    calls: dict[str, Call] = {DEFAULT: default}
    for threads in range(1, cores + 1):
        calls[f"{threads} threads"] = bound(session_of(job, threads), job, x, y)
        if threads > 1:
            calls[f"{threads} threads, no spinning"] = bound(session_of(job, threads, spins=False), job, x, y)
    alone = session_of(job, 1)
    for rows in ROWS:
        if batch > rows:
            parts = [bound(alone, job, x[i : i + rows], y[i : i + rows]) for i in range(0, batch, rows)]
            calls[f"{cores} workers, slices of {rows}"] = lambda parts=parts: list(pool.map(lambda part: part(), parts))  # type: ignore[misc]
    return calls


def timed(call: Call) -> Callable[[], float]:
    """Make calls for a turn; gives the seconds of one."""

    def once() -> float:
        settled = time.perf_counter() + SETTLE
        count, began = 0, time.perf_counter()
        while time.perf_counter() < settled:
            call()
            count += 1
        each = (time.perf_counter() - began) / count
        count = max(1, round(TURN / each))
        began = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - began) / count

    return once


def compare(job: Job, batch: int, cores: int, seconds: float) -> dict[str, Any]:
    """Time all settings at one batch, print them."""
    with ThreadPoolExecutor(cores) as pool:
        turns = {name: timed(call) for name, call in settings(job, batch, cores, pool).items()}
        first = interleave(turns, 1)
        cost = sum(max(TURN, times[0]) + SETTLE for times in first.values())
        times = interleave(turns, max(5, min(60, round(seconds / cost))))
    hand = [name for name in times if name != DEFAULT]
    best = min(hand, key=lambda name: Spread.of(times[name]).median)
    over = ratios(times, DEFAULT, best)
    print(f"\n{job.model} decoder, batch {batch}, {len(times[best])} rounds: us a call")
    for name in sorted(times, key=lambda name: Spread.of(times[name]).median):
        print(f"  {name:28} {Spread.of(times[name]).text(1e-6, 1)}")
    print(f"  default over the best by hand ({best}): {over.text()}", flush=True)
    return {
        "seconds": {name: vars(Spread.of(of)) for name, of in times.items()},
        "best_by_hand": best,
        "default_over_best": vars(over),
    }


def calls(job: Job, threads: int, rounds: int) -> dict[str, Any]:
    """Time a batch-1 decode on one session in four ways, print the ratios."""
    decoder = vaekit.Decoder(job.bundle, provider="cpu", threads=threads)
    session, x, (name, outputs) = decoder.session, job.inputs(1), job.ports
    y = np.empty(shape_of(job.bundle.manifest.graph("decoder", "fp32").outputs[0], 1), np.float32)
    ours = decoder.bind(1)
    ours.z[...] = x
    ways: dict[str, Call] = {
        "run": lambda: session.run(outputs, {name: x}),
        "IO binding": bound(session, job, x, y),
        "decode": lambda: decoder.decode(x),
        "bound": ours,
    }
    turns = {way: timed(call) for way, call in ways.items()}
    interleave(turns, 2)
    times = interleave(turns, rounds)
    found = {
        "bound over IO binding": ratios(times, "bound", "IO binding"),
        "decode over run": ratios(times, "decode", "run"),
    }
    print(f"\n{job.model} decoder, batch 1, {threads} threads, one session, {rounds} rounds: us a call")
    for way, of in times.items():
        print(f"  {way:28} {Spread.of(of).text(1e-6)}")
    for what, ratio in found.items():
        print(f"  {what}: {ratio.text()}", flush=True)
    return {way: vars(Spread.of(of)) for way, of in times.items()} | {what: vars(of) for what, of in found.items()}


def rate(decode: Callable[[Any], Any], callers: int, z: Any, seconds: float = 0.2) -> float:
    """Seconds a call, over all of some callers at once."""
    counts, stop, begin = [0] * callers, threading.Event(), threading.Barrier(callers + 1)

    def work(i: int) -> None:
        begin.wait()
        while not stop.is_set():
            decode(z)
            counts[i] += 1

    workers = [threading.Thread(target=work, args=(i,)) for i in range(callers)]
    for worker in workers:
        worker.start()
    begin.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for worker in workers:
        worker.join()
    return (time.perf_counter() - began) / max(1, sum(counts))


def crowd(job: Job, batch: int, cores: int, rounds: int) -> dict[str, Any]:
    """Time 1, 2 and 8 callers, print them."""
    name, outputs = job.ports
    narrow, wide = session_of(job, 1), session_of(job, cores)
    ways: dict[str, Callable[[Any], Any]] = {
        DEFAULT: vaekit.Decoder(job.bundle, provider="cpu").decode,
        "1 thread": lambda z: narrow.run(outputs, {name: z}),
        f"{cores} threads": lambda z: wide.run(outputs, {name: z}),
    }
    z = job.inputs(batch)
    turns: dict[str, Callable[[], float]] = {
        f"{way}, {callers} callers": lambda decode=decode, callers=callers: rate(decode, callers, z)  # type: ignore[misc]
        for way, decode in ways.items()
        for callers in CALLERS
    }
    interleave(turns, 1)
    times = interleave(turns, rounds)
    print(f"\n{job.model} decoder, batch {batch}, {rounds} rounds: us a call, over all callers")
    for way in ways:
        row = "   ".join(f"{k}: {Spread.of(times[f'{way}, {k} callers']).text(1e-6, 1)}" for k in CALLERS)
        print(f"  {way:20} {row}")
    over = ratios(times, f"{DEFAULT}, 8 callers", f"{DEFAULT}, 1 callers")
    print(f"  default, 8 callers over one: {over.text()}", flush=True)
    return {"seconds": {name: vars(Spread.of(of)) for name, of in times.items()}, "eight_over_one": vars(over)}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="seconds of each batch's rounds")
    parser.add_argument("--model", choices=list(BATCHES), action="append", help="default: both")
    options = parser.parse_args()
    cores = count_cores().usable
    result: dict[str, Any] = {"cores": cores, "settings": {}, "calls": {}, "callers": {}}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for model in options.model or BATCHES:
                bundle = Bundle.open()
                if model == "conv":
                    export_conv(Path(folder) / "conv")
                    bundle = Bundle.open(Path(folder) / "conv")
                job = Job(model, "decoder", bundle, cores)
                for batch in BATCHES[model]:
                    result["settings"][f"{model} {batch}"] = compare(job, batch, cores, options.seconds)
                if model == "mlp":
                    for threads in sorted({1, cores}):
                        rounds = max(5, round(options.seconds / (4 * (TURN + SETTLE))))
                        result["calls"][f"{threads} threads"] = calls(job, threads, rounds)
                for batch in (1, 16, 64) if model == "mlp" else (1,):
                    rounds = max(3, round(options.seconds / (0.2 * 9)))
                    result["callers"][f"{model} {batch}"] = crowd(job, batch, cores, rounds)
    except KeyboardInterrupt:
        print("\ninterrupted: what was measured is kept")
    keep("peers-threads", result)


if __name__ == "__main__":
    main()
