"""How good the models get, and in what time: recipes for MNIST, trained by `vaekit.training.train` and measured in torch.

    dynamic    pixels drawn anew as 0 or 1 each time; the test images are drawn once, with seed 0. Reported: the importance-
               weighted negative log-likelihood with 5,000 samples an image (Burda et al. 2016, arXiv:1509.00519)
    grey       pixels as they are, the reference loss. Reported: the negative ELBO with one sample an image

A recipe says how long it wants to train; `--minutes` gives it another time. Epochs follow from the time that some steps take
here, before the run, so that the learning rate's schedule ends when the time does. The likelihood of all 10,000 images under
a convolutional decoder takes hours on two cores: `--items` measures so many, evenly spread over the set (its first images are
easier than the rest), and the standard error says what that is worth.

Minutes are also given as processor time, which on one thread is the time that a machine without other work would take.

    python -m benchmarks.quality dynamic-resnet --minutes 60 --items 1000
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.sidebyside import keep
from vaekit.datasets import Dataset, load_dataset
from vaekit.spec import ModelSpec
from vaekit.training import Checkpoint, EpochMetrics, TrainConfig, train
from vaekit.training.batches import Batches, epoch_generator
from vaekit.training.machine import choose_device
from vaekit.training.models import build_model, trained_spec
from vaekit.training.objective import as_values, negative_log_likelihood
from vaekit.training.schedules import kl_weight_at, learning_rate_at
from vaekit.training.step import Step, binarized, noise_shape


@dataclass(frozen=True)
class Recipe:
    """What to train, how long, and what the issue asks of it.

    Attributes:
        config: Every option but the epochs.
        minutes: How long.
        goal: Nats.
        finish: What to go on with from the trained (averaged) weights, with its own epochs: the importance-weighted bound
            costs several times as much a step, and makes most of its difference at the end.
    """

    config: TrainConfig
    minutes: float
    goal: float
    finish: TrainConfig | None = None


STEPS_AN_EPOCH = 469
COSINE = TrainConfig(schedule="cosine", warmup=STEPS_AN_EPOCH, device="cpu")
DYNAMIC = replace(COSINE, binarize="dynamic", ema=0.999)

IWAE: dict[str, Any] = {"objective": "iwae", "importance_samples": 5}
CONV: dict[str, Any] = {"arch": "conv", "dense": 512, "latent": 40, "learning_rate": 6e-3, "precision": "bf16"}
DYNAMIC_CONV = replace(DYNAMIC, **CONV)

RECIPES = {
    "dynamic-mlp": Recipe(replace(DYNAMIC, learning_rate=3e-3), 20, 90.0),
    "dynamic-mlp-iwae": Recipe(replace(DYNAMIC, learning_rate=2e-3, objective="iwae", importance_samples=5), 40, 90.0),
    "dynamic-conv": Recipe(
        DYNAMIC_CONV, 40, 84.6, finish=replace(DYNAMIC_CONV, learning_rate=5e-4, warmup=0, epochs=8, **IWAE)
    ),
    "dynamic-resnet": Recipe(
        replace(DYNAMIC, arch="resnet", latent=40, learning_rate=2e-3, precision="bf16", kl_warmup=10 * STEPS_AN_EPOCH),
        90,
        84.6,
    ),
    "grey-mlp": Recipe(replace(COSINE, learning_rate=8e-3), 1, 94.0),
    "grey-conv": Recipe(replace(COSINE, ema=0.999, **CONV), 30, 94.0),
    "grey-resnet": Recipe(
        replace(COSINE, arch="resnet", latent=40, learning_rate=2e-3, precision="bf16", ema=0.999), 60, 94.0
    ),
}


def seconds_a_step(config: TrainConfig, data: Dataset, steps: int = 12) -> float:
    """Median seconds of a step on this machine, after three that warm up."""
    torch.set_flush_denormal(True)
    device = choose_device(config.device)
    spec = config.spec(data.spec)
    step = Step(build_model(config, spec).to(device), config, spec, device, compiled=False)
    items = torch.from_numpy(data.train.items[: config.batch_size]).to(device)
    seconds = []
    for _ in range(steps):
        eps = torch.randn(noise_shape(config, len(items)), device=device)
        began = time.perf_counter()
        step(items, eps, 1e-4).sum().item()
        seconds.append(time.perf_counter() - began)
    return sorted(seconds[3:])[(steps - 3) // 2]


def finished(checkpoint: Checkpoint, config: TrainConfig, data: Dataset) -> nn.Module:
    """Go on from a checkpoint's weights with another objective; gives the model with its averaged weights."""
    device = choose_device(config.device)
    spec = config.spec(data.spec)
    model = build_model(config, spec).to(device)
    model.load_state_dict(checkpoint.weights())
    step, batches = Step(model, config, spec, device, compiled=False), Batches(data.train.items, device)
    steps = math.ceil(len(batches) / config.batch_size)
    taken = 0
    for epoch in range(1, config.epochs + 1):
        # Other numbers than the first epochs had.
        generators = [epoch_generator(config.seed, epoch, device, f"finish {what}") for what in ("items", "pixels")]
        began = time.perf_counter()
        for items in batches.shuffled(config.batch_size, generators[0]):
            eps = torch.randn(noise_shape(config, len(items)), generator=generators[0], device=device)
            rate = learning_rate_at(taken, config, config.epochs * steps)
            step(items, eps, rate, kl_weight_at(taken, config), generators[1])
            taken += 1
        print(f"finish, epoch {epoch}: {time.perf_counter() - began:.1f} s", flush=True)
    model.load_state_dict(step.weights())
    return model.eval()


def likelihood(model: nn.Module, spec: ModelSpec, data: Dataset, items: int, samples: int) -> tuple[float, float]:
    """Mean of the importance-weighted negative log-likelihood over test images, in nats, and its standard error."""
    pixels = torch.from_numpy(data.test.items.copy())
    rows = torch.arange(items) * len(pixels) // items
    x = as_values(binarized(pixels, torch.Generator().manual_seed(0))[rows], data.spec)
    generator = torch.Generator().manual_seed(1)
    found = []
    for start in range(0, items, 50):
        found.append(negative_log_likelihood(model, x[start : start + 50], spec, samples=samples, generator=generator))
        done = torch.cat(found)
        print(f"\r{len(done):,} of {items:,} images: {done.mean():.2f} nats", end="", flush=True)
    print()
    return float(done.mean()), float(done.std()) / math.sqrt(len(done))


def main() -> None:
    """Train by one recipe, measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=list(RECIPES))
    parser.add_argument("--minutes", type=float, help="training time; the recipe's own without it")
    parser.add_argument("--epochs", type=int, help="so many epochs, in whatever time they take")
    parser.add_argument("--items", type=int, default=10_000, help="test images for the likelihood")
    parser.add_argument("--samples", type=int, default=5000, help="samples of the posterior an image")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="keep the run in this folder")
    options = parser.parse_args()

    recipe, data = RECIPES[options.recipe], load_dataset("mnist")
    config = replace(recipe.config, seed=options.seed)
    steps = math.ceil(len(data.train) / config.batch_size)
    minutes = options.minutes or recipe.minutes
    epochs = options.epochs or max(1, round(60 * minutes / (steps * seconds_a_step(config, data))))
    config = replace(config, epochs=epochs)
    print(f"{options.recipe}: {epochs} epochs, goal {recipe.goal} nats", flush=True)
    lines: list[EpochMetrics] = []

    def on_epoch(metrics: EpochMetrics) -> None:
        lines.append(metrics)
        print(
            f"epoch {metrics.epoch}: {metrics.seconds:.1f} s, train -ELBO {metrics.train_negative_elbo:.2f}, "
            f"test -ELBO {metrics.test_negative_elbo:.2f} = {metrics.test_reconstruction:.2f} + {metrics.test_kl:.2f}",
            flush=True,
        )

    processor = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = train(data, config, options.run or Path(folder) / "run", on_epoch=on_epoch)
        trained = sum(line.seconds for line in lines) / 60
        result = {
            "config": config.to_json(),
            "goal": recipe.goal,
            "training_minutes": trained,
            "test_negative_elbo": lines[-1].test_negative_elbo,
        }
        nats = lines[-1].test_negative_elbo
        model = checkpoint.model().eval()
        if recipe.finish is not None:
            began = time.perf_counter()
            finish = replace(recipe.finish, seed=options.seed)
            model = finished(checkpoint, finish, data)
            minutes = (time.perf_counter() - began) / 60
            trained += minutes
            result |= {"finish": finish.to_json(), "finish_minutes": minutes, "training_minutes": trained}
        result["processor_minutes"] = (time.process_time() - processor) / 60
        if config.binarize == "dynamic":
            items = min(options.items, len(data.test))
            nats, error = likelihood(model, trained_spec(model, checkpoint.spec), data, items, options.samples)
            result |= {"nll": nats, "nll_error": error, "items": items, "samples": options.samples}
            print(f"test NLL {nats:.2f} +- {error:.2f} nats ({options.samples:,} samples, {items:,} images)")
    verdict = "met" if nats <= recipe.goal else "missed"
    print(
        f"{options.recipe}: {nats:.2f} nats in {trained:.1f} minutes of training "
        f"({result['processor_minutes']:.1f} of processor time); goal {recipe.goal}, {verdict}"
    )
    keep(f"quality-{options.recipe}", result)


if __name__ == "__main__":
    main()
