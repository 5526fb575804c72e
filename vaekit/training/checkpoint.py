"""A run's folder: what was asked, a line of metrics an epoch, and the checkpoints.

    runs/NAME/
      run.json                      configuration, data, what the model is, versions
      config.toml                   the same options, to train again by `vaekit train --config`
      metrics.jsonl                 one line an epoch
      means.npz                     posterior means of a few test items by epoch; see vaekit.training.means
      checkpoints/epoch-0010/
        weights.safetensors         the model
        optimizer.safetensors       Adam's two moments and step count for each weight
        state.json                  epoch, history, SHA-256 of the two files above

A checkpoint is written to a temporary folder and renamed, so that a killed run leaves whole ones only; the two newest are
kept. Loading never unpickles.

Needs: torch, safetensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from vaekit.bundle import MANIFEST
from vaekit.datasets import DataOptions
from vaekit.errors import CheckpointError, ConfigError, OutputError, VaekitError, command_line
from vaekit.places import RUN
from vaekit.spec import ModelSpec
from vaekit.storage import new_folder, write_file
from vaekit.training.config import TrainConfig
from vaekit.training.config_file import CONFIG, write_config
from vaekit.training.models import build_model

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"

KEPT = 2
"""Newest checkpoints that are kept: one to go on from, and the one before."""


@dataclass(frozen=True)
class RunInfo:
    """What a run was asked to do: the content of run.json.

    Attributes:
        config: Every option.
        spec: What the model is.
        data: What `vaekit.datasets.load_dataset` finds the data by.
        data_sha256: SHA-256 of the data's content.
        versions: Versions of vaekit, torch and Python that began the run.
        data_options: How the data was read.
    """

    config: TrainConfig
    spec: ModelSpec
    data: str
    data_sha256: str
    versions: Mapping[str, str]
    data_options: DataOptions = field(default_factory=DataOptions)

    def to_bytes(self) -> bytes:
        """Give the content of run.json."""
        value = {
            "config": self.config.to_json(),
            "model": self.spec.to_json(),
            "data": {"source": self.data, "sha256": self.data_sha256, "options": self.data_options.to_json()},
            "versions": dict(self.versions),
        }
        return _json(value)

    @classmethod
    def read(cls, run: Path) -> RunInfo:
        """Read run.json.

        Raises:
            CheckpointError: There is none, or it is malformed.
        """
        try:
            value = json.loads((run / RUN).read_text())
            return cls(
                config=TrainConfig.from_json(value["config"]),
                spec=ModelSpec.from_json(value["model"]),
                data=str(value["data"]["source"]),
                data_sha256=str(value["data"]["sha256"]),
                versions=dict(value["versions"]),
                data_options=DataOptions.from_json(value["data"].get("options", {})),
            )
        except (FileNotFoundError, NotADirectoryError):
            raise CheckpointError(_no_run(run)) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
            raise CheckpointError(f"{run / RUN} cannot be read: {_reason(error)}.") from error


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run at the end of an epoch.

    Attributes:
        run: The run's folder.
        info: What the run was asked to do.
        epoch: Epochs done.
        history: The metrics of each epoch so far.
        folder: Where this checkpoint's files are.
        digests: SHA-256 by file name.
    """

    run: Path
    info: RunInfo
    epoch: int
    history: tuple[Mapping[str, Any], ...]
    folder: Path
    digests: Mapping[str, str]

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.info.spec

    @classmethod
    def latest(cls, run: Path) -> Checkpoint:
        """Find the newest checkpoint of a run.

        Raises:
            CheckpointError: The run is none, has no checkpoint, or the newest one is damaged.
        """
        info = RunInfo.read(run)
        folders = checkpoint_folders(run)
        if not folders:
            raise CheckpointError(f"{run} has no checkpoint: no epoch was finished; go on with {_going_on(run)}.")
        folder = folders[-1]
        try:
            value = json.loads((folder / STATE).read_text())
            epoch, history, digests = int(value["epoch"]), tuple(value["history"]), dict(value["sha256"])
            if not 1 <= epoch == len(history) == _epoch_of(folder):
                raise ValueError(f"it is of epoch {epoch}, with {len(history)} epochs of history")
            return cls(run, info, epoch, history, folder, digests)
        except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{folder / STATE} cannot be read: {_reason(error)}; delete {folder} to use the one before."
            ) from error

    def weights(self) -> dict[str, Tensor]:
        """Read the model's weights.

        Raises:
            CheckpointError: The file is missing or was changed.
        """
        return self._tensors(WEIGHTS)

    def optimizer(self) -> dict[str, Tensor]:
        """Read the optimiser's state, by "moment/weight".

        Raises:
            CheckpointError: The file is missing or was changed.
        """
        return self._tensors(OPTIMIZER)

    def model(self) -> torch.nn.Module:
        """Build the model with its trained weights, on the CPU.

        Raises:
            CheckpointError: The file is missing, was changed, or holds another model's weights.
        """
        model = build_model(self.info.config, self.spec)
        load_weights(model, self.weights(), self.folder / WEIGHTS)
        return model

    def _tensors(self, name: str) -> dict[str, Tensor]:
        path = self.folder / name
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != self.digests.get(name):
                raise CheckpointError(f"{path} was changed; delete {self.folder} to use the checkpoint before.")
            return load_tensors(content)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{path} cannot be read: {error}; delete {self.folder} to use the one before."
            ) from error


def load_weights(model: torch.nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a model of the same shape.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise CheckpointError(f"{path} holds another model's weights: {' '.join(str(error).split())}") from error


def checkpoint_folders(run: Path) -> list[Path]:
    """A run's checkpoints, oldest first."""
    found = (run / CHECKPOINTS).glob("epoch-*")
    # By number: as text, epoch-10000 comes before epoch-9999.
    return sorted((folder for folder in found if folder.name[6:].isdecimal()), key=_epoch_of)


def _epoch_of(folder: Path) -> int:
    """The epoch that a checkpoint's folder is named by."""
    return int(folder.name.removeprefix("epoch-"))


def last_good(run: Path) -> str:
    """Say for a message which checkpoint a stopped run still has."""
    kept = checkpoint_folders(run)
    return f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"


def begin_run(run: Path, info: RunInfo) -> None:
    """Make a run's folder, with run.json and config.toml in it.

    Raises:
        OutputError: There is something at that path already, or it cannot be written.
    """
    if os.path.lexists(run):
        if (run / RUN).is_file() and not checkpoint_folders(run):
            raise OutputError(
                f"{run} exists already, a run that stopped before its first checkpoint; choose another --out, or delete it."
            )
        raise OutputError(f"{run} exists already; choose another --out, or go on with it by {_going_on(run)}.")
    with new_folder(run) as folder:
        write_options(folder, info)


def write_options(run: Path, info: RunInfo) -> None:
    """Write config.toml, then run.json: the run is what run.json says.

    Raises:
        OutputError: The disk is full or read-only.
    """
    write_config(run / CONFIG, info.config, info.data, info.data_options)
    write_file(run / RUN, info.to_bytes())


def write_checkpoint(
    run: Path,
    epoch: int,
    history: list[Mapping[str, Any]],
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor],
) -> Path:
    """Write a checkpoint whole, then the metrics, then delete checkpoints that are no longer kept.

    Raises:
        OutputError: The disk is full or read-only; the checkpoints before are untouched.
    """
    folder = run / CHECKPOINTS / f"epoch-{epoch:04d}"
    try:
        with new_folder(folder, overwrite=True) as temporary:
            digests = {}
            for name, tensors in ((WEIGHTS, weights), (OPTIMIZER, optimizer)):
                content = save_tensors({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
                digests[name] = hashlib.sha256(content).hexdigest()
                (temporary / name).write_bytes(content)
            (temporary / STATE).write_bytes(_json({"epoch": epoch, "history": history, "sha256": digests}))
        write_metrics(run, history)
    except OutputError as error:
        raise OutputError(
            f"epoch {epoch} could not be saved: {error} Free some space and resume; {last_good(run)}."
        ) from error
    for old in checkpoint_folders(run)[:-KEPT]:
        with contextlib.suppress(OSError):
            shutil.rmtree(old)
    return folder


def write_metrics(run: Path, history: list[Mapping[str, Any]]) -> None:
    """Write metrics.jsonl: a line an epoch, exactly the epochs of the newest checkpoint.

    Raises:
        OutputError: The disk is full or read-only.
    """
    write_file(run / METRICS, "".join(json.dumps(line) + "\n" for line in history).encode())


def _going_on(run: Path) -> str:
    return command_line("vaekit", "train", "--resume", run)


def _no_run(path: Path) -> str:
    """Say what stands there instead of a run."""
    if os.path.lexists(path / MANIFEST):
        return f"{path} is a bundle, not a run; name the folder of the run that it was exported from."
    if os.path.lexists(path):
        return f"{path} holds no {RUN}, so it is no run; start one in a new folder with `vaekit train --out FOLDER`."
    return f"there is no run at {path}; start one with {command_line('vaekit', 'train', '--out', path)}."


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _json(value: object) -> bytes:
    try:
        return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise VaekitError(f"a number that is not finite cannot be saved: {error}.") from error
