"""The epochs of a run: train, measure on the test items, write a checkpoint; begin, resume, stop cleanly.

Everything random in epoch e comes from generators seeded by (seed, e), and a checkpoint holds weights and Adam's state;
so a resumed run gives the numbers of an uninterrupted one, bit for bit on the CPU. Several processes share each batch, and
draw the same random numbers for all of it; so their number changes the order of sums, and nothing else.
(With dynamic binarisation each draws the pixels of its own items.)

Needs: torch, safetensors.
"""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaekit.datasets import Dataset
from vaekit.errors import DataError, DivergedError, TrainingError
from vaekit.training.alone import alone_with
from vaekit.training.batches import Batches, epoch_generator
from vaekit.training.checkpoint import (
    Checkpoint,
    RunInfo,
    begin_run,
    checkpoint_folders,
    load_weights,
    write_checkpoint,
    write_metrics,
    write_options,
)
from vaekit.training.config import TrainConfig
from vaekit.training.divergence import diverged, diverged_on_test, warn_of_constant_columns
from vaekit.training.machine import asked_for, choose_device, float32_by_default, is_out_of_memory, prepare
from vaekit.training.means import MeansKeeper
from vaekit.training.measuring import TEST_BATCH, evaluating, measure
from vaekit.training.models import build_model
from vaekit.training.progress import EpochMetrics, Progress
from vaekit.training.ranks import Ranks, local_device, ranks
from vaekit.training.resuming import check_same, clear_leftovers
from vaekit.training.schedules import kl_weight_at, learning_rate_at
from vaekit.training.step import Step, noise_shape, warn_of_emulation

LOOK_EVERY = 32
"""Steps between two looks at the loss: on a GPU each look waits for the device."""


def train(
    data: Dataset,
    config: TrainConfig,
    run: str | Path,
    *,
    resume: bool = False,
    on_begin: Callable[[int], None] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_weights: Callable[[int, torch.nn.Module], None] | None = None,
) -> Checkpoint:
    """Train a model, with a checkpoint after each epoch.

    Under torchrun every process calls this; rank 0 alone writes, and calls back.

    Args:
        data: Items to train and to test on.
        config: Every option.
        run: The run's folder; it must not exist, unless `resume`.
        resume: Go on from the run's newest checkpoint; the configuration and the data must be those it began with. With the
            schedule "constant" the number of epochs may differ, if it is larger than that of the epochs done.
        on_begin: Called with the number of epochs done, when all has been checked and before the first step.
        on_epoch: Called after each epoch's checkpoint is on disk.
        on_progress: Called every few steps.
        on_weights: Called after `on_epoch` with the epoch and the model as it would be exported, in evaluation mode.

    Returns:
        The last checkpoint.

    Raises:
        OutputError: The run exists, or the disk does not take a checkpoint; the checkpoints before are intact.
        CheckpointError: Nothing to resume, another configuration or data, or the run is being trained already.
        ConfigError: The configuration does not fit the data or the machine.
        DataError: A split is empty, or its items are neither uint8 nor float32.
        DivergedError: The loss is no longer finite.
        RankError: Another process of the run was lost.
        TrainingError: The model and its batch need more memory than there is.

    The process is left with denormal numbers flushed to zero (`torch.set_flush_denormal`).
    """
    _check_data(data)
    device = local_device(choose_device(config.device))
    prepare(device)
    with float32_by_default(), ranks(device) as process:
        if process.writes:
            warn_of_emulation(config, device)
            warn_of_constant_columns(data)
        try:
            _Run(data, config, Path(run), device, process).go(resume, on_begin, on_epoch, on_progress, on_weights)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"arch={config.arch!r}, latent={config.latent}, batch_size={config.batch_size}: {asked_for(error)} on "
                f"{device}; take a smaller model, or a smaller --batch-size."
            ) from error
    return Checkpoint.latest(Path(run))


class _Run:
    """One call of `train`: what stays the same from epoch to epoch."""

    def __init__(self, data: Dataset, config: TrainConfig, folder: Path, device: torch.device, process: Ranks) -> None:
        spec = config.spec(data.spec)
        self.data = data
        self.config = config
        self.folder = folder
        self.device = device
        self.process = process
        self.info = RunInfo(config, spec, data.source, data.sha256, _versions(), data.options)
        self.per_epoch = math.ceil(len(data.train) / config.batch_size)
        self.step = Step(
            build_model(config, spec).to(device),
            config,
            spec,
            device,
            compiled=config.compile is True,
            gradients_ready=self._share if process.size > 1 else None,
        )
        self.weight = 1.0
        """This process's part of the batch's items."""
        self.batches, self.test = Batches(data.train.items, device), Batches(data.test.items, device)
        self.means = MeansKeeper(data, spec, folder) if process.writes else None

    def go(
        self,
        resume: bool,
        on_begin: Callable[[int], None] | None,
        on_epoch: Callable[[EpochMetrics], None] | None,
        on_progress: Callable[[Progress], None] | None,
        on_weights: Callable[[int, torch.nn.Module], None] | None,
    ) -> None:
        """Train from the first epoch, or from the one after the newest checkpoint."""
        if not self.process.writes:
            on_begin = on_epoch = on_progress = on_weights = None
        if resume:
            RunInfo.read(self.folder)  # says so where there is no run to hold
        else:
            self.process.first(lambda: begin_run(self.folder, self.info))
        with contextlib.ExitStack() as held:
            self.process.first(lambda: held.enter_context(alone_with(self.folder)))
            history = self._resume() if resume else []
            if on_begin is not None:
                on_begin(len(history))
            for epoch in range(len(history) + 1, self.config.epochs + 1):
                metrics = self._epoch(epoch, on_progress)
                history.append(asdict(metrics))
                self.process.agree(self.step.model.parameters())
                self.process.first(lambda: self._save(history))
                if on_epoch is not None:
                    on_epoch(metrics)
                if on_weights is not None:
                    with self.step.averaged(), evaluating(self.step.model):
                        on_weights(epoch, self.step.model)

    def _epoch(self, epoch: int, on_progress: Callable[[Progress], None] | None) -> EpochMetrics:
        config, device, process = self.config, self.device, self.process
        generator = epoch_generator(config.seed, epoch, device)
        # Not the same numbers in every process: each draws for items of its own.
        pixels = (
            epoch_generator(config.seed, epoch, device, f"pixels {process.rank}") if config.binarize != "none" else None
        )
        before = (epoch - 1) * self.per_epoch
        total = torch.zeros(2, dtype=torch.float64, device=device)
        fresh: list[torch.Tensor] = []  # of the steps since the last look
        rate, done, loading = 0.0, 0, 0.0
        self.step.model.train()
        began = time.perf_counter()
        waiting = self.batches.shuffled(config.batch_size, generator, process)
        for index in range(self.per_epoch):
            asked = time.perf_counter()
            items = next(waiting)
            loading += time.perf_counter() - asked
            count = min(config.batch_size, len(self.batches) - done)
            # Drawn for the whole batch, so that every number of processes has the same.
            eps = torch.randn(noise_shape(config, count), generator=generator, device=device)
            if process.size > 1:
                eps, self.weight = eps[..., process.rows(count), :], process.share(count)
            rate = learning_rate_at(before + index, config, config.epochs * self.per_epoch)
            found = self.step(items, eps, rate, kl_weight_at(before + index, config), pixels)
            fresh.append(found if self.weight else torch.zeros_like(found))
            done += count
            if (index + 1) % LOOK_EVERY == 0 or index + 1 == self.per_epoch:
                sums = torch.stack(fresh).double()
                process.add([sums])
                if not bool(sums.isfinite().all()):
                    first = before + index + 1 - len(fresh)
                    raise self._diverged(epoch, first + int((~sums.isfinite()).any(dim=1).nonzero()[0]))
                total += sums.sum(0)
                fresh.clear()
                if on_progress is not None:
                    reconstruction, kl = (total / done).tolist()
                    on_progress(Progress(epoch, config.epochs, index + 1, self.per_epoch, reconstruction, kl))
        seconds = time.perf_counter() - began
        reconstruction, kl = (total / done).tolist()
        test_reconstruction, test_kl = self._measure(self.test)
        if not math.isfinite(test_reconstruction + test_kl):
            # Either the last step broke the weights, which no step's loss has seen, or it is the test items.
            if math.isfinite(sum(self._measure(Batches(self.data.train.items[:TEST_BATCH], device)))):
                raise diverged_on_test(self.folder, epoch, self.data)
            raise self._diverged(epoch, before + self.per_epoch - 1)
        return EpochMetrics(
            epoch=epoch,
            train_negative_elbo=reconstruction + kl,
            train_reconstruction=reconstruction,
            train_kl=kl,
            test_negative_elbo=test_reconstruction + test_kl,
            test_reconstruction=test_reconstruction,
            test_kl=test_kl,
            learning_rate=rate,
            steps=self.per_epoch,
            seconds=seconds,
            loading_seconds=loading,
        )

    def _measure(self, batches: Batches) -> tuple[float, float]:
        with self.step.averaged():
            return measure(self.step.model, batches, self.config, self.info.spec, self.process)

    def _share(self, gradients: list[torch.Tensor]) -> None:
        """From the mean over this process's items to the mean over the whole batch's."""
        for gradient in gradients:
            gradient.mul_(self.weight)
        self.process.add(gradients)

    def _save(self, history: list[Mapping[str, Any]]) -> None:
        if self.means is not None:
            with self.step.averaged(), evaluating(self.step.model):
                self.means.epoch(len(history), self.step.model)
        write_checkpoint(self.folder, len(history), history, self.step.weights(), self.step.state())

    def _resume(self) -> list[Mapping[str, Any]]:
        """Load a run's newest checkpoint into the step, and give its history; write down a new number of epochs."""
        folder, info = self.folder, self.info
        begun = RunInfo.read(folder)
        check_same(folder, begun, info)
        self.process.first(lambda: clear_leftovers(folder))
        history: list[Mapping[str, Any]] = []
        if checkpoint_folders(folder):
            checkpoint = Checkpoint.latest(folder)
            load_weights(self.step.model, checkpoint.weights(), checkpoint.folder)
            self.step.load_state(checkpoint.optimizer())
            history = list(checkpoint.history)
            if self.means is not None:
                self.means.resume(checkpoint.epoch)
        longer = replace(begun, config=info.config)

        def write() -> None:
            if history:
                write_metrics(folder, history)
            if longer != begun:
                write_options(folder, longer)

        self.process.first(write)
        return history

    def _diverged(self, epoch: int, step: int) -> DivergedError:
        rate = learning_rate_at(step, self.config, self.config.epochs * self.per_epoch)
        return diverged(self.folder, epoch, step, rate)


def _check_data(data: Dataset) -> None:
    for part, split in (("training", data.train), ("test", data.test)):
        if len(split) == 0:
            raise DataError(f"the data {data.name!r} has no {part} items; training needs both parts.")
        if split.items.dtype not in (np.uint8, np.float32):
            raise DataError(f"the data {data.name!r} has {part} items of {split.items.dtype}; give uint8 or float32.")


def _versions() -> dict[str, str]:
    from vaekit import __version__

    return {"vaekit": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
