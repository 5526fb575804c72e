"""Going on with a run: by which options and data, for how many epochs, and without what a killed run left half written.

Needs: the standard library; `checkpoint.py` needs torch.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

from vaekit.errors import CheckpointError, command_line
from vaekit.training.checkpoint import CHECKPOINTS, METRICS, Checkpoint, RunInfo, checkpoint_folders
from vaekit.training.config import TrainConfig
from vaekit.training.config_file import CONFIG
from vaekit.training.means import MEANS


def trained_epochs(run: Path) -> int:
    """How many epochs a run has behind it.

    Raises:
        CheckpointError: The newest checkpoint is damaged.
    """
    return Checkpoint.latest(run).epoch if checkpoint_folders(run) else 0


def with_epochs(run: Path, config: TrainConfig, epochs: int) -> TrainConfig:
    """Give a run's options for another number of epochs than it was begun for.

    The numbers are those of a run that was begun for so many: nothing before the last epoch depends on their number, unless
    the learning rate does.

    Args:
        run: The run's folder.
        config: Its options.
        epochs: All epochs that it is to have, those that are done among them.

    Raises:
        CheckpointError: It has so many already, or the learning rate depends on their number.
    """
    done = trained_epochs(run)
    if epochs <= done:
        raise CheckpointError(
            f"{run} has {done} epoch{'s' * (done != 1)} already, and --epochs {epochs} counts them too; give more than {done}."
        )
    if epochs != config.epochs and config.schedule != "constant":
        anew = command_line("vaekit", "train", "--config", run / CONFIG, "--epochs", epochs, "--out", "OTHER")
        raise CheckpointError(
            f"--schedule {config.schedule} makes the learning rate depend on the number of epochs, {config.epochs} in {run}, "
            f"so it cannot have {epochs}; begin another run with {anew}."
        )
    return replace(config, epochs=epochs)


def check_same(run: Path, begun: RunInfo, info: RunInfo) -> None:
    """Hold that a run goes on with what it was begun with, but for the number of epochs.

    Raises:
        CheckpointError: Options, data, or how the data is read differ.
    """
    config = begun.config
    if config.epochs != info.config.epochs:
        config = with_epochs(run, config, info.config.epochs)
    if config != info.config or begun.spec != info.spec:
        changed = [name for name, value in vars(config).items() if value != getattr(info.config, name)]
        raise CheckpointError(
            f"{run} was begun with other options ({', '.join(changed) or 'model'}); resume it with its own."
        )
    if begun.data_sha256 != info.data_sha256:
        raise CheckpointError(f"{run} was begun with other data (SHA-256 {begun.data_sha256}, now {info.data_sha256}).")
    if begun.data_options != info.data_options:
        raise CheckpointError(f"{run} was begun with the data read in another way; resume it with its own options.")


def clear_leftovers(run: Path) -> None:
    """Delete what a killed run left half written."""
    for leftover in (*run.glob(f"{CHECKPOINTS}/.*"), *run.glob(f".{METRICS}.*"), *run.glob(f".{MEANS}.*")):
        with contextlib.suppress(OSError):  # a folder that takes no writes says so when the metrics are written
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
