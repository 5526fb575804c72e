"""The epochs of a run: train, measure on the test items, write a checkpoint; begin, resume, stop cleanly.

Everything random in epoch e comes from a generator seeded by (seed, e), and a checkpoint holds weights and Adam's state;
so a resumed run gives the numbers of an uninterrupted one, bit for bit on the CPU.

Needs: torch, safetensors.
"""

from __future__ import annotations

import contextlib
import math
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaekit.cores import count_cores
from vaekit.datasets import Dataset
from vaekit.errors import CheckpointError, ConfigError, DataError, DivergedError
from vaekit.training.batches import Batches, epoch_generator
from vaekit.training.checkpoint import (
    CHECKPOINTS,
    METRICS,
    Checkpoint,
    RunInfo,
    begin_run,
    checkpoint_folders,
    last_good,
    load_weights,
    write_checkpoint,
    write_metrics,
)
from vaekit.training.config import TrainConfig
from vaekit.training.models import build_model
from vaekit.training.step import Step, batch_terms, should_compile

LOOK_EVERY = 32
"""Steps between two looks at the loss: on a GPU each look waits for the device."""

TEST_BATCH = 1000


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch's numbers: one line of metrics.jsonl. Means over items, in nats.

    Attributes:
        epoch: 1 for the first.
        train_negative_elbo: ``reconstruction + kl`` while training, so over weights that change.
        train_reconstruction: Its first term.
        train_kl: Its second.
        test_negative_elbo: On the test items after the epoch, one sample of the posterior an item, float32.
        test_reconstruction: Its first term.
        test_kl: Its second.
        learning_rate: Adam's step size at the epoch's last step.
        steps: Steps in the epoch.
        seconds: Wall time of the epoch's steps, without measuring and saving.
    """

    epoch: int
    train_negative_elbo: float
    train_reconstruction: float
    train_kl: float
    test_negative_elbo: float
    test_reconstruction: float
    test_kl: float
    learning_rate: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Where a run is, for a progress bar.

    Attributes:
        epoch: The epoch under way, 1 for the first.
        epochs: Epochs of the run.
        step: Steps done in this epoch.
        steps: Steps in each epoch.
        reconstruction: Mean so far in this epoch, in nats.
        kl: The same for the KL.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    reconstruction: float
    kl: float


def train(
    data: Dataset,
    config: TrainConfig,
    run: str | Path,
    *,
    resume: bool = False,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Checkpoint:
    """Train a model, with a checkpoint after each epoch.

    Args:
        data: Items to train and to test on.
        config: Every option.
        run: The run's folder; it must not exist, unless `resume`.
        resume: Go on from the run's newest checkpoint; the configuration and the data must be those it began with.
        on_epoch: Called after each epoch's checkpoint is on disk.
        on_progress: Called every few steps.

    Returns:
        The last checkpoint.

    Raises:
        OutputError: The run exists, or the disk does not take a checkpoint; the checkpoints before are intact.
        CheckpointError: Nothing to resume, or another configuration or data.
        ConfigError: The configuration does not fit the data or the machine.
        DataError: A split is empty, or its items are neither uint8 nor float32.
        DivergedError: The loss is no longer finite.

    The process is left with denormal numbers flushed to zero (`torch.set_flush_denormal`).
    """
    folder = Path(run)
    _check_data(data)
    device = choose_device(config.device)
    spec = config.spec(data.spec)
    info = RunInfo(config, spec, data.source, data.sha256, _versions())
    _prepare(device)
    model = build_model(config, spec).to(device)
    per_epoch = math.ceil(len(data.train) / config.batch_size)
    step = Step(model, config, device, compiled=should_compile(config, device, per_epoch * config.epochs))
    history: list[Mapping[str, Any]] = []
    if resume:
        history = _resume(folder, info, step, data)
    else:
        begin_run(folder, info)
    batches, test = Batches(data.train.items, device), Batches(data.test.items, device)
    for epoch in range(len(history) + 1, config.epochs + 1):
        metrics = _epoch(step, batches, test, config, epoch, folder, on_progress)
        history.append(asdict(metrics))
        write_checkpoint(folder, epoch, history, model.state_dict(), step.state())
        if on_epoch is not None:
            on_epoch(metrics)
    return Checkpoint.latest(folder)


def _check_data(data: Dataset) -> None:
    for part, split in (("training", data.train), ("test", data.test)):
        if len(split) == 0:
            raise DataError(f"the data {data.name!r} has no {part} items; training needs both parts.")
        if split.items.dtype not in (np.uint8, np.float32):
            raise DataError(f"the data {data.name!r} has {part} items of {split.items.dtype}; give uint8 or float32.")


def choose_device(device: str) -> torch.device:
    """Find the device: "auto" takes CUDA where torch sees one.

    Raises:
        ConfigError: CUDA was asked for, and torch sees none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device='cuda' was asked for, but torch {torch.__version__} sees no CUDA device; "
            "install a CUDA build of torch, or pass --device cpu."
        )
    return torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")


def learning_rate_at(step: int, config: TrainConfig, steps: int) -> float:
    """Adam's step size at a step: linear warm-up to the peak, then constant or half a cosine to 0.

    ``peak * 1/2 (1 + cos(pi t))`` with t from 0 after the warm-up to 1 after the run's last step.

    Args:
        step: 0 for the run's first step.
        config: Peak, warm-up and schedule.
        steps: Steps of the whole run.
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    t = (step - config.warmup) / max(1, steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * t))


def measure(model: torch.nn.Module, batches: Batches, config: TrainConfig) -> tuple[float, float]:
    """Mean reconstruction and KL over all items, in nats: one sample of the posterior an item, float32, fixed noise."""
    exact = replace(config, precision="fp32")
    generator = epoch_generator(config.seed, 0, batches.device)
    sums = torch.zeros(2, dtype=torch.float64, device=batches.device)
    model.eval()
    with torch.inference_mode():
        for items in batches.ordered(TEST_BATCH):
            eps = torch.randn(len(items), config.latent, generator=generator, device=batches.device)
            terms = batch_terms(model, items, eps, exact)
            sums += torch.stack((terms.reconstruction.double().sum(), terms.kl.double().sum()))
    model.train()
    reconstruction, kl = (sums / len(batches)).tolist()
    return reconstruction, kl


def _epoch(
    step: Step,
    batches: Batches,
    test: Batches,
    config: TrainConfig,
    epoch: int,
    run: Path,
    on_progress: Callable[[Progress], None] | None,
) -> EpochMetrics:
    device = batches.device
    generator = epoch_generator(config.seed, epoch, device)
    per_epoch = math.ceil(len(batches) / config.batch_size)
    before = (epoch - 1) * per_epoch
    sums = torch.zeros(per_epoch, 2, dtype=torch.float64, device=device)
    rate, looked, done, began = 0.0, 0, 0, time.perf_counter()
    step.model.train()
    for index, items in enumerate(batches.shuffled(config.batch_size, generator)):
        eps = torch.randn(len(items), config.latent, generator=generator, device=device)
        rate = learning_rate_at(before + index, config, config.epochs * per_epoch)
        sums[index] = step(items, eps, rate)
        done += len(items)
        if (index + 1) % LOOK_EVERY == 0 or index + 1 == per_epoch:
            seen = sums[looked : index + 1].cpu()
            if not bool(seen.isfinite().all()):
                bad = looked + int((~seen.isfinite()).any(dim=1).nonzero()[0])
                raise _diverged(
                    epoch, before + bad, learning_rate_at(before + bad, config, config.epochs * per_epoch), run
                )
            looked = index + 1
            if on_progress is not None:
                reconstruction, kl = (sums.sum(0) / done).tolist()
                on_progress(Progress(epoch, config.epochs, index + 1, per_epoch, reconstruction, kl))
    seconds = time.perf_counter() - began
    reconstruction, kl = (sums.sum(0) / done).tolist()
    test_reconstruction, test_kl = measure(step.model, test, config)
    if not math.isfinite(test_reconstruction + test_kl):
        raise _diverged(epoch, before + per_epoch - 1, rate, run)
    return EpochMetrics(
        epoch=epoch,
        train_negative_elbo=reconstruction + kl,
        train_reconstruction=reconstruction,
        train_kl=kl,
        test_negative_elbo=test_reconstruction + test_kl,
        test_reconstruction=test_reconstruction,
        test_kl=test_kl,
        learning_rate=rate,
        steps=per_epoch,
        seconds=seconds,
    )


def _resume(run: Path, info: RunInfo, step: Step, data: Dataset) -> list[Mapping[str, Any]]:
    """Load a run's newest checkpoint into the step, and give its history; clear what a killed run left half written."""
    begun = RunInfo.read(run)
    if begun.config != info.config or begun.spec != info.spec:
        changed = [name for name, value in vars(begun.config).items() if value != getattr(info.config, name)]
        raise CheckpointError(
            f"{run} was begun with other options ({', '.join(changed) or 'model'}); resume it with its own."
        )
    if begun.data_sha256 != data.sha256:
        raise CheckpointError(f"{run} was begun with other data (SHA-256 {begun.data_sha256}, now {data.sha256}).")
    for leftover in (*run.glob(f"{CHECKPOINTS}/.*"), *run.glob(f".{METRICS}.*")):
        with contextlib.suppress(OSError):  # a folder that takes no writes says so when the metrics are written
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    if not checkpoint_folders(run):
        return []
    checkpoint = Checkpoint.latest(run)
    load_weights(step.model, checkpoint.weights(), checkpoint.folder)
    step.load_state(checkpoint.optimizer())
    write_metrics(run, list(checkpoint.history))
    return list(checkpoint.history)


def _diverged(epoch: int, step: int, rate: float, run: Path) -> DivergedError:
    return DivergedError(
        f"the loss is not finite at epoch {epoch}, step {step + 1}, learning rate {rate:.3g}; {last_good(run)}. "
        "Train again with a smaller --learning-rate."
    )


def _prepare(device: torch.device) -> None:
    # Adam's moments decay into denormal numbers, which the processor computes with in microcode: half the speed.
    torch.set_flush_denormal(True)
    if device.type == "cpu":
        # Never more than torch was told, by OMP_NUM_THREADS or by the program around this.
        torch.set_num_threads(min(torch.get_num_threads(), count_cores().usable))


def _versions() -> dict[str, str]:
    from vaekit import __version__

    return {"vaekit": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
