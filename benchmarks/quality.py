"""How good the models get, and in what time: recipes for MNIST, trained by `vaekit.training.train` and measured in torch.

    dynamic    pixels drawn anew as 0 or 1 each time; the test images are drawn once, with seed 0. Reported: the importance-
               weighted negative log-likelihood with 5,000 samples an image (Burda et al. 2016, arXiv:1509.00519)
    grey       pixels as they are, the reference loss. Reported: the negative ELBO with one sample an image

A recipe says how long it wants to train; `--minutes` gives it another time. Epochs follow from the time that some steps take
here, before the run, so that the learning rate's schedule ends when the time does. The likelihood of all 10,000 images under
a convolutional decoder takes hours on two cores: `--items` measures the first so many, and the standard error says what that
is worth.

    python -m benchmarks.quality dynamic-resnet --minutes 60 --items 1000
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.sidebyside import keep
from vaekit.datasets import Dataset, load_dataset
from vaekit.training import Checkpoint, EpochMetrics, TrainConfig, train
from vaekit.training.models import build_model
from vaekit.training.objective import as_values, negative_log_likelihood
from vaekit.training.step import Step, binarized, noise_shape
from vaekit.training.trainer import choose_device


@dataclass(frozen=True)
class Recipe:
    """What to train, how long, and what the issue asks of it.

    Attributes:
        config: Every option but the epochs.
        minutes: How long.
        goal: Nats.
    """

    config: TrainConfig
    minutes: float
    goal: float


STEPS_AN_EPOCH = 469
COSINE = TrainConfig(schedule="cosine", warmup=STEPS_AN_EPOCH, device="cpu")
DYNAMIC = replace(COSINE, binarize="dynamic", ema=0.999)

RECIPES = {
    "dynamic-mlp": Recipe(replace(DYNAMIC, learning_rate=3e-3), 20, 90.0),
    "dynamic-mlp-iwae": Recipe(replace(DYNAMIC, learning_rate=2e-3, objective="iwae", importance_samples=5), 40, 90.0),
    "dynamic-conv": Recipe(replace(DYNAMIC, arch="conv", latent=40, learning_rate=2e-3, precision="bf16"), 40, 84.6),
    "dynamic-resnet": Recipe(
        replace(DYNAMIC, arch="resnet", latent=40, learning_rate=2e-3, precision="bf16", kl_warmup=10 * STEPS_AN_EPOCH),
        90,
        84.6,
    ),
    "grey-mlp": Recipe(replace(COSINE, learning_rate=8e-3), 1, 94.0),
    "grey-conv": Recipe(
        replace(COSINE, arch="conv", latent=40, learning_rate=2e-3, precision="bf16", ema=0.999), 20, 94.0
    ),
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


def likelihood(checkpoint: Checkpoint, data: Dataset, items: int, samples: int) -> tuple[float, float]:
    """Mean of the importance-weighted negative log-likelihood over test images, in nats, and its standard error."""
    model = checkpoint.model().eval()
    pixels = torch.from_numpy(data.test.items.copy())
    x = as_values(binarized(pixels, torch.Generator().manual_seed(0))[:items], data.spec)
    generator = torch.Generator().manual_seed(1)
    found = []
    for start in range(0, items, 50):
        found.append(
            negative_log_likelihood(model, x[start : start + 50], checkpoint.spec, samples=samples, generator=generator)
        )
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
        if config.binarize == "dynamic":
            items = min(options.items, len(data.test))
            nats, error = likelihood(checkpoint, data, items, options.samples)
            result |= {"nll": nats, "nll_error": error, "items": items, "samples": options.samples}
            print(f"test NLL {nats:.2f} +- {error:.2f} nats ({options.samples:,} samples, {items:,} images)")
    verdict = "met" if nats <= recipe.goal else "missed"
    print(f"{options.recipe}: {nats:.2f} nats in {trained:.1f} minutes of training; goal {recipe.goal}, {verdict}")
    keep(f"quality-{options.recipe}", result)


if __name__ == "__main__":
    main()
