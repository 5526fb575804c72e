"""What figures are drawn of: a model as two functions, and what it makes of a data set's items.

A `Model` comes from a bundle through ONNX Runtime (`of_bundle`) or from a run through torch (`vaekit.figures.trained`); the
figures do not see which. Shapes: N items, D latent dimensions.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import Split
from vaekit.datasets.mapped import Reader
from vaekit.datasets.rows import evenly, spread
from vaekit.elbo import active_dimensions
from vaekit.errors import DataError
from vaekit.latents import Latents, Posterior
from vaekit.runtime.session import BATCH, Items
from vaekit.runtime.vae import VAE, negative_elbo_terms
from vaekit.spec import ModelSpec

MOST_ITEMS: Final = 10_000
"""Most items that a figure's numbers are taken over."""


@dataclass(frozen=True)
class Model:
    """Both halves of a model, as functions on NumPy arrays.

    Attributes:
        name: What it is called.
        spec: What it is.
        encode: Items (N, *shape) -> `Posterior`.
        decode: Codes (N, D) -> the decoder's means (N, *shape).
        config: The options that it was trained with, by their names in `TrainConfig`; empty where nobody knows.
    """

    name: str
    spec: ModelSpec
    encode: Callable[[Items], Posterior]
    decode: Callable[[Latents], Items]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_vae(self) -> bool:
        """Whether it has a posterior with a variance, and so a KL."""
        return self.spec.kind == "vae"

    def reconstruct(self, x: Items) -> Items:
        """Decode the posterior's means of some items."""
        return self.decode(self.encode(x).mean)

    def layers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Encoder and decoder in words, from the configuration: widths of an MLP, else the kind of layers; empty if unknown."""
        spec, config = self.spec, self.config
        if config.get("model"):
            return (str(config["model"]).rpartition(":")[2],), ()
        arch = config.get("arch")
        if arch in ("conv", "resnet"):
            words = "convolutions" if arch == "conv" else "residual blocks"
            return (words,), (words,)
        hidden = config.get("hidden")
        if not isinstance(hidden, (list, tuple)):
            return (), ()
        widths = [f"{width:,}" for width in hidden]
        values = f"{spec.data.size:,}"
        code = f"2 × {spec.latent}" if self.is_vae else str(spec.latent)
        return (values, *widths, code), (str(spec.latent), *reversed(widths), values)


def of_bundle(vae: VAE) -> Model:
    """Take a bundle's model, run by ONNX Runtime."""
    config = vae.manifest.made_by.get("config")
    return Model(
        vae.manifest.name, vae.spec, vae.encode, vae.decode, dict(config) if isinstance(config, Mapping) else {}
    )


@dataclass(frozen=True)
class Measured:
    """What a model makes of items of a data set.

    Attributes:
        model: The model.
        split: The items: at most `MOST_ITEMS`, evenly spaced, with their labels.
        posterior: Their posteriors, (N, D).
        z: A code drawn from each, (N, D).
        reconstruction: Reconstruction loss of these codes, nats, (N,).
        kl: KL from the posterior to the prior, nats, (N, D); zeros for an autoencoder.
    """

    model: Model
    split: Split
    posterior: Posterior
    z: Latents
    reconstruction: NDArray[np.float64]
    kl: NDArray[np.float64]

    @cached_property
    def negative_elbo(self) -> NDArray[np.float64]:
        """``reconstruction + KL`` of each item, nats, (N,)."""
        return np.asarray(self.reconstruction + self.kl.sum(axis=1))

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Latent dimensions from the largest KL to the smallest, (D,); of an autoencoder, by the variance of their codes."""
        weight = self.kl.mean(axis=0) if self.model.is_vae else self.posterior.mean.astype(np.float64).var(axis=0)
        return np.argsort(-weight, kind="stable")

    @cached_property
    def active(self) -> tuple[int, ...]:
        """Dimensions that carry information, in the order above; see `vaekit.elbo.active_dimensions`."""
        active = set(active_dimensions(self.posterior.mean.astype(np.float64).var(axis=0)))
        return tuple(int(dimension) for dimension in self.order if int(dimension) in active)

    def usual(self, rows: NDArray[np.int64]) -> int:
        """Of some items the one of median negative ELBO: a typical one to show."""
        return int(rows[np.argsort(self.negative_elbo[rows], kind="stable")[len(rows) // 2]])


def measure(model: Model, split: Split, *, seed: int = 0) -> Measured:
    """Encode items, draw a code of each posterior, decode it, and take the two terms of the negative ELBO.

    Args:
        model: The model.
        split: Items of its shape.
        seed: Seed of the posterior's samples.

    Raises:
        DataError: There are no items, or they are of another shape.
        ShapeError: Their values do not fit the model.
    """
    spec = model.spec
    if len(split) == 0:
        raise DataError("there is nothing to draw: the data set has no items.")
    if tuple(split.items.shape[1:]) != spec.data.shape:
        raise DataError(
            f"the data has items of shape {tuple(split.items.shape[1:])}, but the model takes {spec.data.shape}."
        )
    chosen = few(split, MOST_ITEMS)
    count = len(chosen)
    mean, log_var, z = (np.empty((count, spec.latent), np.float32) for _ in range(3))
    lost, kl = np.empty(count), np.empty((count, spec.latent))
    reader = Split(Reader(chosen.items))  # type: ignore[arg-type]  # a reader has what a split needs
    for start in range(0, count, BATCH):
        rows = slice(start, min(count, start + BATCH))
        x = reader.pixels(rows)
        terms = negative_elbo_terms(model, x, seed=seed, start=start)
        mean[rows], log_var[rows] = terms.posterior
        z[rows], lost[rows], kl[rows] = terms.z, terms.reconstruction, terms.kl
    return Measured(model, chosen, Posterior(mean, log_var), z, lost, kl)


def in_words(latent: int) -> str:
    """Say how many latent dimensions: "1 dimension"."""
    return f"{latent} dimension{'s' * (latent != 1)}"


def few(split: Split, count: int) -> Split:
    """At most so many items of a split, evenly spaced, with their labels."""
    if len(split) <= count:
        return split
    labels = None if split.labels is None else split.labels[evenly(len(split), count)]
    return Split(spread(split.items, count), labels)
