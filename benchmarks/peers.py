"""vaekit and ONNX Runtime against their peers: the same weights, the same threads, side by side in one run.

For the reference MLP and a convolutional model of 3x64x64, both halves, batches of 1 to 8192: ONNX Runtime bare (`run`, and
with IO binding), vaekit (its plain and its bound call, and the bundle's other precisions), PyTorch (as it is, compiled, as
frozen TorchScript, in bfloat16), OpenVINO through its own API (float32 and bfloat16), NumPy. Then, for the MLP's decoder, what
it takes to get there: cold start, resident memory, installed bytes.

Each peer has a process of its own, and they take turns: every round has each of them once, in a new order, and ratios are
taken round by round. A peer must reproduce the golden outputs first. One that is not installed, is wrong, or takes more than
`LONGEST` for one call of the batch is left out, and the reason printed.

    python -m benchmarks.peers                      everything, in at most 8 minutes; nothing else should run meanwhile
    python -m benchmarks.peers --quick              a look, about a minute and a half; kept apart
    python -m benchmarks.peers --model mlp --half decoder --batches 1,1024 --peers vaekit,openvino

What is measured is kept as it comes, so Ctrl-C loses the batch at hand alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers_contenders import PEERS
from benchmarks.peers_costs import measure_costs
from benchmarks.peers_plot import plot
from benchmarks.peers_subjects import MODELS
from benchmarks.sidebyside import Spread, interleave, keep, ratios
from vaekit.bundle import builtin_bundle
from vaekit.cores import count_cores

HALVES = ("decoder", "encoder")
BATCHES = {"mlp": (1, 16, 64, 256, 1024, 8192), "conv": (1, 8, 64, 256, 1024, 8192)}
QUICK = {"mlp": (1, 1024), "conv": (1, 64)}

BASE = "vaekit, bound"
"""The peer over which every ratio is taken."""

COSTS = 75.0
"""Seconds that are left for the cold starts when no further batch is begun."""

TURN = 0.03
"""Seconds of one peer's turn, where a call is shorter."""

LONGEST = 0.5
"""Seconds that one call may take: slower ones are left out, and larger batches of the same half with them."""

AGAINST_OPENVINO = 0.6
"""Goal: a bound decode at batch 1 over OpenVINO's, the quicker of its two. What vaekit costs over bare ONNX Runtime is a matter
of a microsecond, which two processes cannot tell: `benchmarks.peers_threads` measures it in one."""


class Process:
    """A peer's process, asked line by line."""

    def __init__(self, peer: str, threads: int) -> None:
        number = str(threads)
        environment = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), number)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers_worker", peer, number],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C is this process's business
        )

    def ask(self, **order: Any) -> dict[str, Any]:
        """Send an order, wait for its answer; a process that ended answers that it did."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return dict(json.loads(line)) if line else {"skip": f"its process ended ({self.process.poll()})"}

    def turn(self, seconds: float) -> float:
        """Have it run for about so long; gives the seconds of one call."""
        return float(self.ask(time=seconds)["seconds"])


def main() -> None:
    """Let them take turns, print, keep, plot."""
    options = _options()
    name = "peers-quick" if options.quick else "peers"
    result: dict[str, Any] = {"threads": options.threads, "complete": False, "groups": {}, "skipped": {}, "costs": {}}
    began = time.monotonic()
    options.end = began + 60 * options.minutes - (COSTS if options.costs else 0)
    try:
        with tempfile.TemporaryDirectory() as folder, _processes(options.peers, options.threads) as processes:
            bundles = _bundles(options, Path(folder), result)
            for model in bundles:
                for half in options.half:
                    _half(processes, model, bundles[model], half, options, result)
        if options.costs:
            result["costs"] = measure_costs(1 + options.starts, options.threads)
        result["complete"] = True
    except KeyboardInterrupt:
        print("\ninterrupted: what was measured is kept")
    _report_goals(result)
    result["minutes"] = round((time.monotonic() - began) / 60, 1)
    keep(name, result)
    plot(result, name)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two batches a half, few rounds")
    parser.add_argument("--seconds", type=float, help="seconds of each batch's rounds (default 9, quick 2)")
    parser.add_argument("--minutes", type=float, default=8.0, help="batches that have not begun by then are left out")
    parser.add_argument("--peers", help=f"parts of names, separated by commas; of {', '.join(PEERS)}")
    parser.add_argument("--model", choices=MODELS, action="append", help="default: both")
    parser.add_argument("--half", choices=HALVES, action="append", help="default: both")
    parser.add_argument("--batches", help="separated by commas; default 1 to 8192")
    parser.add_argument("--bundle", type=Path, default=builtin_bundle(), help="another export of the reference network")
    parser.add_argument("--threads", type=int, default=count_cores().usable)
    parser.add_argument("--no-costs", dest="costs", action="store_false", help="leave out cold start, memory and size")
    options = parser.parse_args()
    options.seconds = options.seconds or (2.0 if options.quick else 9.0)
    options.starts = 2 if options.quick else 8
    parts = [part.strip().lower() for part in (options.peers or "").split(",")]
    options.peers = [name for name in PEERS if name == BASE or any(part in name.lower() for part in parts)]
    options.model, options.half = options.model or list(MODELS), options.half or list(HALVES)
    try:
        options.batches = [int(batch) for batch in options.batches.split(",")] if options.batches else None
    except ValueError:
        parser.error(f"--batches {options.batches}: give whole numbers separated by commas")
    if min([options.threads, *(options.batches or [1])]) < 1 or options.seconds <= 0:
        parser.error("threads and batches are 1 or more, seconds more than 0")
    return options


@contextmanager
def _processes(peers: list[str], threads: int) -> Iterator[dict[str, Process]]:
    processes = {peer: Process(peer, threads) for peer in peers}
    try:
        yield processes
    finally:
        for process in processes.values():
            process.process.kill()
            process.process.communicate()


def _bundles(options: argparse.Namespace, folder: Path, result: dict[str, Any]) -> dict[str, Path]:
    """The models' bundles; conv's is exported here, by a process of its own."""
    bundles = {}
    for model in options.model:
        bundles[model] = options.bundle if model == "mlp" else folder / "conv"
        if model == "conv":
            command = [sys.executable, "-m", "benchmarks.peers_subjects", str(bundles[model])]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                result["skipped"]["conv"] = reason = done.stderr.strip().rpartition("\n")[2]
                print(f"conv is left out, since it cannot be exported: {reason}")
                del bundles[model]
    return bundles


def _half(
    processes: dict[str, Process],
    model: str,
    bundle: Path,
    half: str,
    options: argparse.Namespace,
    result: dict[str, Any],
) -> None:
    """All batches of one half, from the smallest."""
    base = processes[BASE]
    counted = base.ask(operations=[model, str(bundle), half]).get("operations")
    usual = (QUICK if options.quick else BATCHES)[model]
    each = 0.0  # seconds an item of the quickest peer
    for batch in options.batches or usual:
        if time.monotonic() > options.end:
            print(f"\n{model} {half}, batch {batch}: left out, the {options.minutes:g} minutes are over")
            continue
        if each * batch > LONGEST:
            print(
                f"\n{model} {half}, batch {batch}: left out, one call of the quickest peer takes {each * batch:.1f} s"
            )
            continue
        ready = {}
        for peer, process in processes.items():
            if peer in result["skipped"]:
                continue
            answer = process.ask(prepare=[model, str(bundle), half, batch])
            if "skip" in answer:
                _leave_out(peer, answer["skip"], model, result)
            elif answer["seconds"] > LONGEST:
                print(f"  {peer} is left out at batch {batch}: one call takes {answer['seconds']:.1f} s")
            else:
                ready[peer] = answer
        if BASE not in ready:
            continue
        turns: dict[str, Callable[[], float]] = {
            peer: lambda process=processes[peer]: process.turn(TURN)  # type: ignore[misc]
            for peer in ready
        }
        cost = sum(max(TURN, answer["seconds"]) for answer in ready.values())
        interleave(turns, 1)  # warm up
        seconds = interleave(turns, max(5, min(60, round(options.seconds / cost))))
        peak = base.ask(peak=True)
        group = _group(seconds, ready, batch, counted, peak)
        each = min(of["seconds"]["median"] for of in group.values()) / batch
        result["groups"][f"{model} {half} {batch}"] = group
        _print(f"{model} {half}, batch {batch}", group, peak)


def _leave_out(peer: str, reason: str, model: str, result: dict[str, Any]) -> None:
    """Say once why a peer is missing; one that is not installed is not asked again."""
    if reason.startswith("not installed") or "process ended" in reason:
        result["skipped"][peer] = reason
        print(f"{peer} is left out: {reason}")
    elif result["skipped"].setdefault(f"{peer}, {model}", reason) is reason:
        print(f"{peer} is left out for {model}: {reason}")


def _group(
    seconds: dict[str, list[float]],
    ready: dict[str, Any],
    batch: int,
    operations: float | None,
    peak: dict[str, Any],
) -> dict[str, Any]:
    group = {}
    for peer, times in seconds.items():
        spread = Spread.of(times)
        highest = peak.get(PEERS[peer].computes or "")
        fraction = operations * batch / spread.median / highest if operations and highest else None
        group[peer] = {
            "seconds": vars(spread),
            "over_vaekit_bound": vars(ratios(seconds, peer, BASE)),
            "items_per_second": batch / spread.median,
            "of_peak": fraction,
            "deviation": ready[peer]["deviation"],
            "rounds": len(times),
        }
    return group


def _print(title: str, group: dict[str, Any], peak: dict[str, Any]) -> None:
    rounds = next(iter(group.values()))["rounds"]
    peaks = ", ".join(f"{name} {value / 1e9:.0f}" for name, value in peak.items() if name != "skip")
    print(f"\n{title}: {rounds} rounds" + (f"; peak of this machine, GFLOP/s: {peaks}" if peaks else ""))
    print(f"{'':26}{'us a call: median (10 % to 90 %)':36}{'of vaekit, bound':24}{'items/s':>11}{'of peak':>9}")
    for peer, of in sorted(group.items(), key=lambda pair: pair[1]["seconds"]["median"]):
        spread, ratio = Spread(**of["seconds"]), Spread(**of["over_vaekit_bound"])
        fraction = "-" if of["of_peak"] is None else f"{of['of_peak']:.2f}"
        print(f"{peer:26}{spread.text(1e-6, 1):36}{ratio.text():24}{of['items_per_second']:>11,.0f}{fraction:>9}")
    sys.stdout.flush()


def _report_goals(result: dict[str, Any]) -> None:
    """Print each goal of which both sides were measured, and keep it."""
    goals: dict[str, Any] = {}
    group = result["groups"].get("mlp decoder 1", {})
    theirs = [of["over_vaekit_bound"]["median"] for peer, of in group.items() if peer.startswith("OpenVINO")]
    if theirs:
        ratio = 1 / min(theirs)
        goals["bound decode at batch 1 over OpenVINO"] = {
            "ratio": ratio,
            "goal": AGAINST_OPENVINO,
            "met": ratio <= AGAINST_OPENVINO,
        }
    group = result["groups"].get("mlp decoder 1024", {})
    if "vaekit int8, bound" in group:
        medians = {peer: of["seconds"]["median"] for peer, of in group.items() if not peer.startswith("vaekit")}
        if medians:
            quickest = min(medians, key=medians.__getitem__)
            ratio = group["vaekit int8, bound"]["seconds"]["median"] / medians[quickest]
            goals[f"int8 at batch 1024 over the quickest peer, {quickest}"] = {
                "ratio": ratio,
                "goal": 1.0,
                "met": ratio <= 1,
            }
    result["goals"] = goals
    for text, found in goals.items():
        print(f"goal: {text}: {found['ratio']:.2f}, at most {found['goal']}: {'met' if found['met'] else 'missed'}")


if __name__ == "__main__":
    main()
