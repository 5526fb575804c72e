"""Training beside other work: what a step takes when OpenMP's threads spin for longer or shorter (`vaekit.cli.openmp`).

Each turn is a process of its own, since OpenMP reads its settings once: it takes steps of the reference run for some seconds
and says what one took in the mean: alone on the machine, beside a process that keeps one core busy, and beside one for
each core. The mean, since what hurts is a step in which one thread waits for another that the system has put aside.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.sidebyside import Spread, interleave, keep, ratios
from vaekit.cli.openmp import DECIDE, SPINS
from vaekit.cores import count_cores

DEFAULT, OURS, PASSIVE = "OpenMP's default", f"{SPINS} turns (vaekit)", "passive"
SETTINGS: dict[str, dict[str, str]] = {
    DEFAULT: {},
    OURS: {"GOMP_SPINCOUNT": SPINS},
    PASSIVE: {"OMP_WAIT_POLICY": "passive"},
}

STEPS = """
import sys, time
import torch
from vaekit.datasets import load_dataset
from vaekit.training import TrainConfig
from vaekit.training.batches import Batches
from vaekit.training.machine import prepare
from vaekit.training.models import build_model
from vaekit.training.step import Step

data, config, device = load_dataset("mnist"), TrainConfig(), torch.device("cpu")
prepare(device)
spec = config.spec(data.spec)
step = Step(build_model(config, spec), config, spec, device, compiled=False)
batches, generator = Batches(data.train.items, device), torch.Generator().manual_seed(0)

def steps():
    while True:
        for items in batches.shuffled(config.batch_size, generator):
            yield step(items, torch.randn(len(items), config.latent, generator=generator), config.learning_rate)

taking = steps()
for _ in range(3):
    next(taking)
taken, began = 0, time.perf_counter()
while time.perf_counter() - began < float(sys.argv[1]):
    next(taking)
    taken += 1
print((time.perf_counter() - began) / taken)
"""


def turn(setting: dict[str, str], seconds: float) -> Callable[[], float]:
    """Give a function that trains in a new process for some seconds, and says what a step took."""
    environment = {name: value for name, value in os.environ.items() if name not in DECIDE}

    def once() -> float:
        command = [sys.executable, "-c", STEPS, str(seconds)]
        done = subprocess.run(command, env=environment | setting, stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout)

    return once


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many processes at work meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    """Measure both, print them, keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a turn trains")
    options = parser.parse_args()

    turns = {name: turn(setting, options.seconds) for name, setting in SETTINGS.items()}
    result = {}
    for count in sorted({0, 1, count_cores().usable}):
        where = f"beside {count} busy processes" if count else "alone"
        with busy(count):
            seconds = interleave(turns, options.rounds)
        print(f"{where}: a step, ms, {options.rounds} rounds, interleaved: median (10 % to 90 %)")
        for name, values in seconds.items():
            over = ratios(seconds, name, DEFAULT)
            print(f"  {name:20} {Spread.of(values).text(1e-3, 1):26} {over.text()} of the default's")
            result[f"{where}: {name}"] = {"step_seconds": vars(Spread.of(values)), "of_default": vars(over)}
    keep("contention", result)


if __name__ == "__main__":
    main()
