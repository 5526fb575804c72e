"""What figures need torch for: a run as a model, and the small models that two of the figures are about.

The bubbles need three VAEs of two latent dimensions, the morph a plain autoencoder. They are trained for a few epochs with the
model's own options on its own data, and kept, so that the next figures find them.

Needs: torch, safetensors (the extra vaekit[train]). The one module of the figures that may import vaekit.training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from vaekit.datasets import DataOptions, Dataset
from vaekit.errors import ConfigError
from vaekit.figures.bubbles import BETAS
from vaekit.figures.means import Epochs
from vaekit.figures.model import Model, few
from vaekit.latents import Latents, Posterior
from vaekit.runtime.session import Items
from vaekit.spec import ModelSpec
from vaekit.training import Checkpoint, Progress, TrainConfig, train
from vaekit.training.checkpoint import checkpoint_folders
from vaekit.training.means import KeptMeans
from vaekit.training.models import DecoderGraph, EncoderGraph, trained_spec

MOST_TRAINED: Final = 60_000
"""Most items that a small model is trained on."""

OnSmall = Callable[[str, Progress], None]
"""Called while a small model is trained, with its name and where it is."""


@dataclass(frozen=True)
class Run:
    """A run's folder, opened.

    Attributes:
        model: The model of its newest checkpoint.
        history: The metrics of each epoch.
        kept: Posterior means of some test items by epoch; None where an older vaekit kept none.
        data: What `load_dataset` finds its data by.
        data_options: How the data was read.
        data_sha256: SHA-256 of the data's content.
    """

    model: Model
    history: tuple[Mapping[str, Any], ...]
    kept: Epochs | None
    data: str
    data_options: DataOptions
    data_sha256: str


def open_run(run: Path) -> Run:
    """Open a run at its newest checkpoint.

    Raises:
        CheckpointError: It is no run, has no checkpoint, or is damaged.
    """
    checkpoint = Checkpoint.latest(run)
    kept = KeptMeans.read(run)
    return Run(
        of_checkpoint(checkpoint),
        checkpoint.history,
        None if kept is None or len(kept.epochs) == 0 else Epochs(kept.epochs, kept.means, kept.labels),
        checkpoint.info.data,
        checkpoint.info.data_options,
        checkpoint.info.data_sha256,
    )


def of_checkpoint(checkpoint: Checkpoint, name: str | None = None) -> Model:
    """Take a checkpoint's model, run by torch on the CPU; it is called by its run's folder, unless a name is given."""
    module = checkpoint.model().eval()
    spec = trained_spec(module, checkpoint.spec)
    encoder, decoder = EncoderGraph(module, spec).eval(), DecoderGraph(module, spec).eval()

    def encode(x: Items) -> Posterior:
        with torch.inference_mode():
            found = encoder(torch.tensor(x))
        if isinstance(found, tuple):
            return Posterior(found[0].numpy(), found[1].numpy())
        return Posterior(found.numpy(), np.full(found.shape, -np.inf, np.float32))

    def decode(z: Latents) -> Items:
        with torch.inference_mode():
            return np.asarray(decoder(torch.tensor(z)).numpy())

    return Model(name or checkpoint.run.resolve().name, spec, encode, decode, checkpoint.info.config.to_json())


class SmallModels:
    """Trains the small models, or finds those that were trained before.

    Args:
        data: What to train on; of more than `MOST_TRAINED` items, so many, evenly spaced.
        spec: The model that the figures are of.
        config: The options that it was trained with, or nothing where nobody knows.
        folder: Where the small models' runs are kept.
        epochs: Epochs of each.
        on_progress: Called while one is trained.
    """

    def __init__(
        self,
        data: Dataset,
        spec: ModelSpec,
        config: Mapping[str, Any],
        folder: Path,
        *,
        epochs: int = 5,
        on_progress: OnSmall | None = None,
    ) -> None:
        self._data = replace(data, train=few(data.train, MOST_TRAINED))
        self._base = small_config(spec, config, epochs)
        self._spec = spec
        self._folder = folder
        self._on_progress = on_progress

    @property
    def in_words(self) -> str:
        """How they are trained, a sentence."""
        count = self._base.epochs
        return f"Each was trained for {count} epoch{'s' * (count != 1)} on {len(self._data.train):,} items."

    def betas(self) -> list[tuple[str, Model]]:
        """VAEs of two latent dimensions, the KL weighed by each of `BETAS`.

        Raises:
            TrainingError: One cannot be trained.
            OutputError: The disk does not take one.
        """
        return [
            (f"β = {beta:g}", self._trained(f"beta-{beta:g}", replace(self._base, latent=2, beta=beta)))
            for beta in BETAS
        ]

    def autoencoder(self) -> Model:
        """The classic autoencoder of as many dimensions as the model.

        Raises:
            TrainingError: It cannot be trained.
            OutputError: The disk does not take it.
        """
        return self._trained("ae", replace(self._base, kind="ae", latent=self._spec.latent))

    def _trained(self, name: str, config: TrainConfig) -> Model:
        what = json.dumps([config.to_json(), self._data.sha256, len(self._data.train)], sort_keys=True)
        run = self._folder / f"{name}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"
        report = self._on_progress

        def progress(at: Progress) -> None:
            if report is not None:
                report(name, at)

        done = run.is_dir() and checkpoint_folders(run) and Checkpoint.latest(run).epoch >= config.epochs
        if not done:
            train(self._data, config, run, resume=run.is_dir(), on_progress=progress)
        return of_checkpoint(Checkpoint.latest(run), name)


def small_config(spec: ModelSpec, config: Mapping[str, Any], epochs: int) -> TrainConfig:
    """Options of a small model: those of the model, with the plain ELBO for its objective, and a learning rate that falls to 0.

    Args:
        spec: The model's.
        config: The options that it was trained with; where they are none that this vaekit knows, the defaults stand in.
        epochs: How long.
    """
    try:
        base = TrainConfig.from_json(config)
    except ConfigError:
        base = TrainConfig(likelihood=spec.likelihood)
    return replace(
        base,
        kind="vae",
        beta=1.0,
        epochs=epochs,
        schedule="cosine",
        objective="elbo",
        importance_samples=1,
        free_bits=0.0,
        kl_warmup=0,
        ema=0.0,
        compile=False,
    )
