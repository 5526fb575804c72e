"""Training speed: `vaekit train` against the classic loop, at the same batch, network, steps and loss.

Each contender trains in a process of its own, an epoch at a time, on command; the parent has them take turns, so that every
round times the same epoch of all of them within the same minute. The compiled ones begin with an empty compiler cache:
their first epoch holds the compile time, which is reported apart and as the epochs after which it has paid.

An epoch's seconds are those of its steps: gather, forward, backward, optimiser, and in vaekit the progress reports; for
no contender the measuring on test items.

Two more are not held against the classic loop: a convolutional model on a part of the items, and the machine itself, a large
matrix product in both precisions. What a contender computes (multiplications and additions of its matrix products and
convolutions, counted by torch) over what the machine computed in the same round is its fraction of the peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.sidebyside import Spread, keep, ratios

if TYPE_CHECKING:
    from vaekit.spec import DataSpec
    from vaekit.training import TrainConfig

CONTENDERS = {
    "classic": None,
    "fp32": {"precision": "fp32", "compile": False},
    "fp32, autograd": {"precision": "fp32", "compile": False},
    "fp32, compiled": {"precision": "fp32", "compile": True},
    "bf16": {"precision": "bf16", "compile": False},
    "bf16, autograd": {"precision": "bf16", "compile": False},
    "bf16, compiled": {"precision": "bf16", "compile": True},
}
CONV = {
    "conv fp32": {"arch": "conv", "precision": "fp32", "compile": False},
    "conv bf16": {"arch": "conv", "precision": "bf16", "compile": False},
}
ALL = [*CONTENDERS, *CONV, "machine"]
CONV_ITEMS = 6400
"""Items of a conv contender's epoch: 50 steps, where the others have 469."""

PEAK_SIDE = 2048
"""Side of the square matrices whose product is taken for the machine's peak."""

GOALS = {"fp32": 1 / 3, "fp32, compiled": 1 / 3, "bf16": 1 / 4, "bf16, compiled": 1 / 4}


def contend(name: str, epochs: int, precisions: list[str]) -> None:
    """Be one contender: for each line on standard input train an epoch, and print its numbers as a line of JSON."""
    from vaekit.datasets import load_dataset

    if name == "machine":
        for _ in range(epochs):
            _wait()
            _tell(**{precision: peak(precision) for precision in precisions})
        _wait()
        return
    data = load_dataset("mnist")
    options = {**CONTENDERS, **CONV}[name]
    if name in CONV:
        part = replace(data.train, items=data.train.items[:CONV_ITEMS], labels=None)
        data = replace(data, train=part)
    if options is None:
        from benchmarks.classic import ClassicLoop

        loop = ClassicLoop(data.train.items, data.train.labels, seed=0)  # type: ignore[arg-type]
        for _ in range(epochs):
            _wait()
            began = time.perf_counter()
            loss = loop.epoch()
            seconds = time.perf_counter() - began
            _tell(seconds=seconds, train=loss, test=loop.test(data.test.items))  # type: ignore[arg-type]
        _wait()  # until all are done: what a process frees at its end would fall into another's last epoch
        return

    from vaekit.training import EpochMetrics, TrainConfig, step, train

    if "autograd" in name:  # what any other model would take
        step.is_analytic = lambda *_: False

    def on_epoch(metrics: EpochMetrics) -> None:
        _tell(
            seconds=metrics.seconds,
            train=metrics.train_negative_elbo,
            test=metrics.test_negative_elbo,
            loading=metrics.loading_seconds,
            operations=operations,
        )
        _wait()

    operations = len(data.train) * _operations(TrainConfig(**options), data.spec)
    with tempfile.TemporaryDirectory() as folder:
        _wait()
        train(data, TrainConfig(epochs=epochs, **options), Path(folder) / "run", on_epoch=on_epoch)


def main() -> None:
    """Let them take turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--without-bf16", action="store_true", help="leave bf16 out, which takes minutes an epoch where it is emulated"
    )
    parser.add_argument("--contender", choices=ALL, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        contend(options.contender, options.epochs, ["fp32"] if options.without_bf16 else ["fp32", "bf16"])
        return
    names = [name for name in ALL if not (options.without_bf16 and "bf16" in name)]
    numbers: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as cache:
        given = ["--epochs", str(options.epochs), *(["--without-bf16"] if options.without_bf16 else [])]
        processes = {name: _start(name, given, Path(cache) / name.replace(", ", "-")) for name in names}
        for epoch in range(options.epochs):
            order = names if epoch % 2 == 0 else names[::-1]
            for name in order:
                numbers[name].append(_turn(processes[name]))
            last = {name: numbers[name][-1] for name in names if name in CONTENDERS}
            line = "   ".join(f"{name} {at['seconds']:.2f} s {at['train']:.2f}" for name, at in last.items())
            print(f"epoch {epoch + 1}: {line}", flush=True)
        for process in processes.values():
            process.communicate("go\n")
    _report(numbers)


def _report(numbers: dict[str, list[dict[str, float]]]) -> None:
    # The first epoch warms up, and for the compiled ones holds the compile time.
    machine = numbers.pop("machine")
    seconds = {name: [epoch["seconds"] for epoch in epochs[1:]] for name, epochs in numbers.items()}
    result: dict[str, Any] = {}
    print(
        f"\n{'':16}  epoch, s: median (10 % to 90 %)   of classic: median (10 % to 90 %)   goal   test -ELBO   "
        "largest gap to classic"
    )
    contenders = [name for name in CONTENDERS if name in numbers]
    for name in contenders:
        epochs = numbers[name]
        ratio = ratios(seconds, name, "classic")
        gaps = [abs(ours["train"] - theirs["train"]) for ours, theirs in zip(epochs, numbers["classic"], strict=True)]
        goal = f"{GOALS[name]:.2f}" if name in GOALS else "-"
        print(
            f"{name:16}  {Spread.of(seconds[name]).text():32}  {ratio.text(digits=3):36}  {goal:5}  "
            f"{epochs[-1]['test']:10.2f}   {max(gaps):.2f} nats"
        )
        result[name] = {
            "epoch_seconds": vars(Spread.of(seconds[name])),
            "over_classic": vars(ratio),
            "first_epoch_seconds": epochs[0]["seconds"],
            "train_negative_elbo": [epoch["train"] for epoch in epochs],
            "test_negative_elbo": [epoch["test"] for epoch in epochs],
        }
    precisions = [name for name in ("fp32", "bf16") if name in numbers]
    for name in precisions:
        closed = ratios(seconds, name, f"{name}, autograd")
        print(f"{name}: the gradient in closed form takes {closed.text()} of autograd's time")
        result[name]["over_autograd"] = vars(closed)
        compiled = f"{name}, compiled"
        eager_epoch, compiled_epoch = Spread.of(seconds[name]).median, Spread.of(seconds[compiled]).median
        cost = numbers[compiled][0]["seconds"] - compiled_epoch
        gain = eager_epoch - compiled_epoch
        after = f"pays after {cost / gain:.0f} epochs" if gain > 0 else "never pays"
        print(f"{name}: compiling costs {cost:.1f} s once with an empty cache, saves {gain:.2f} s an epoch, {after}")
        result[compiled]["compile_seconds"] = cost
    print(f"\n{'':16}  items/s   GFLOP/s   of the machine's peak: median (10 % to 90 %)   waiting for items")
    for name in [name for name in numbers if name != "classic"]:
        epochs = numbers[name][1:]
        rates = [epoch["operations"] / epoch["seconds"] for epoch in epochs]
        peaks = [at["bf16" if "bf16" in name else "fp32"] for at in machine[1:]]
        fraction = Spread.of([rate / peak for rate, peak in zip(rates, peaks, strict=True)])
        loading = Spread.of([epoch["loading"] / epoch["seconds"] for epoch in epochs])
        items = (CONV_ITEMS if name in CONV else 60_000) / Spread.of(seconds[name]).median
        print(
            f"{name:16}  {items:7,.0f}   {Spread.of(rates).median / 1e9:7.0f}   {fraction.text():44}   "
            f"{100 * loading.median:.1f} %"
        )
        result.setdefault(name, {"epoch_seconds": vars(Spread.of(seconds[name]))})
        result[name] |= {"of_peak": vars(fraction), "waiting_for_items": vars(loading), "items_per_second": items}
    peak = {name: vars(Spread.of([at[name] for at in machine[1:]])) for name in precisions}
    print(", ".join(f"peak {name} {at['median'] / 1e9:.0f} GFLOP/s" for name, at in peak.items()))
    keep(
        "training" if "bf16" in precisions else "training-fp32",
        {"contenders": result, "peak_operations_per_second": peak},
    )


def peak(precision: str) -> float:
    """Operations a second of a large square matrix product: the best of some tries, after a warm-up."""
    import torch

    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    a, b = (torch.rand(PEAK_SIDE, PEAK_SIDE).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return float(2 * PEAK_SIDE**3 / best)


def _operations(config: TrainConfig, data: DataSpec) -> float:
    """Operations of the matrix products and convolutions of a step, forwards and backwards, an item."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from vaekit.training.models import build_model
    from vaekit.training.step import batch_terms

    count, spec = 8, config.spec(data)
    model = build_model(config, spec)
    with FlopCounterMode(display=False) as counter:
        terms = batch_terms(model, torch.rand(count, *data.shape), torch.randn(count, config.latent), config, spec)
        (terms.reconstruction + terms.kl).sum().backward()
    return float(counter.get_total_flops()) / count


def _start(name: str, options: list[str], cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.training", "--contender", name, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(cache)},
    )


def _turn(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a contender ended early; its error is above")
    return dict(json.loads(line))


def _wait() -> None:
    if not sys.stdin.readline():
        sys.exit(1)


def _tell(**numbers: float) -> None:
    print(json.dumps(numbers), flush=True)


if __name__ == "__main__":
    main()
