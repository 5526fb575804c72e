"""Where figures come from: a run's folder or a bundle's, with the items that it is shown.

Needs: NumPy and ONNX Runtime; torch where a run is opened or a small model trained, through `vaekit.figures.trained`, inside
functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vaekit.datasets import Dataset, Split
from vaekit.errors import ConfigError, MissingDependencyError
from vaekit.figures.means import Epochs
from vaekit.figures.model import Measured, Model, measure, of_bundle
from vaekit.figures.projection import Projection
from vaekit.places import is_run
from vaekit.runtime.vae import VAE

if TYPE_CHECKING:
    from vaekit.figures.trained import OnSmall, Run


class Trainer(Protocol):
    """Who makes the models that figures compare with: `vaekit.figures.trained.SmallModels`."""

    @property
    def in_words(self) -> str:
        """How they are made, a sentence."""
        ...

    def betas(self) -> list[tuple[str, Model]]:
        """VAEs of two latent dimensions for several weights of the KL, each with its name."""
        ...

    def autoencoder(self) -> Model:
        """A plain autoencoder."""
        ...


@dataclass(frozen=True)
class Subject:
    """What figures are drawn of, and how.

    Attributes:
        model: The model.
        test: Items to show it.
        classes: Names of the labels 0, 1, ...; empty where a label is its own name.
        history: Metrics of each epoch; empty for a bundle.
        kept: Posterior means by epoch, of a run's own data; None where there are none.
        betas: Models of two latent dimensions with their names, where the user has some.
        ae: A plain autoencoder, where the user has one.
        trainer: Who makes those that are missing; None where nobody can.
        no_trainer: Why nobody can, in words that finish "it needs …".
        seed: Of samples and noise.
        projection: Of the means.
        ends: From which item to which to morph; see `vaekit.figures.decoded.ends`.
    """

    model: Model
    test: Split
    classes: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    kept: Epochs | None = None
    betas: Sequence[tuple[str, Model]] = ()
    ae: Model | None = None
    trainer: Trainer | None = None
    no_trainer: str = "nothing was trained"
    seed: int = 0
    projection: Projection = "pca"
    ends: tuple[str | None, str | None] = (None, None)

    @cached_property
    def measured(self) -> Measured:
        """What the model makes of the items; computed when a figure first asks."""
        return measure(self.model, self.test, seed=self.seed)


def open_run(path: Path) -> Run:
    """Open a run.

    Raises:
        MissingDependencyError: torch is not installed.
        CheckpointError: The run has no checkpoint, or is damaged.
    """
    try:
        from vaekit.figures.trained import open_run as opened
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{path} is a run, and figures of one need {error.name}; install it with `pip install 'vaekit[train,cpu]'`, "
            "or give a bundle."
        ) from error
    return opened(path)


def open_model(path: Path, *, provider: str = "auto", threads: int | None = None) -> Model:
    """Open the model of a run or of a bundle.

    Raises:
        MissingDependencyError: It is a run, and torch is not installed; or ONNX Runtime is not.
        CheckpointError: The run has no checkpoint, or is damaged.
        BundleError: The bundle is missing, changed, unsafe, or of an unknown version.
    """
    return open_run(path).model if is_run(path) else of_bundle(VAE(path, provider=provider, threads=threads))


def check_ae(ae: Model, model: Model) -> Model:
    """Hold that a model is an autoencoder of the same items.

    Raises:
        ConfigError: It is not.
    """
    if ae.spec.kind != "ae":
        raise ConfigError(f"--ae {ae.name} is a {ae.spec.kind}, no plain autoencoder; train one with `--kind ae`.")
    _check_items("--ae", ae, model)
    return ae


def check_betas(betas: Sequence[Model], model: Model) -> list[tuple[str, Model]]:
    """Hold that models are VAEs of two latent dimensions and of the same items, and name each by its beta.

    Raises:
        ConfigError: One is not.
    """
    for beta in betas:
        if beta.spec.kind != "vae" or beta.spec.latent != 2:
            raise ConfigError(
                f"--betas {beta.name} is a {beta.spec.kind} of {beta.spec.latent} latent dimensions; "
                "bubbles need VAEs of 2: train them with `--latent 2 --beta …`."
            )
        _check_items("--betas", beta, model)
    return [(f"β = {model.config['beta']:g}" if "beta" in model.config else model.name, model) for model in betas]


def _check_items(option: str, other: Model, model: Model) -> None:
    if other.spec.data.shape != model.spec.data.shape:
        raise ConfigError(
            f"{option} {other.name} takes items of shape {other.spec.data.shape}, but {model.name} takes "
            f"{model.spec.data.shape}; give a model of the same data."
        )


def small_models(
    data: Dataset | None,
    model: Model,
    folder: Path,
    *,
    wanted: bool = True,
    epochs: int = 5,
    on_progress: OnSmall | None = None,
) -> tuple[Trainer | None, str]:
    """Find who can train the small models; where nobody can, say why, in words that finish "it needs …".

    Args:
        data: The items to train on; None where the bundle's own examples are all there is.
        model: The model that the figures are of.
        folder: Where their runs are kept.
        wanted: False where the user wants nothing trained.
        epochs: Epochs of each.
        on_progress: Called while one is trained.
    """
    if not wanted:
        return None, "to train small models, and --no-train was given"
    if data is None:
        return None, "data to train small models on; give --data"
    try:
        from vaekit.figures.trained import SmallModels
    except ModuleNotFoundError as error:
        return None, f"{error.name} to train small models; install it with `pip install 'vaekit[train,cpu]'`"
    return SmallModels(data, model.spec, model.config, folder, epochs=epochs, on_progress=on_progress), ""
