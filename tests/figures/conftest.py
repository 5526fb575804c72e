"""Models in plain NumPy, linear so that every expected value has a closed form, and subjects made of them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest

from vaekit.datasets import Split
from vaekit.figures import Subject
from vaekit.figures.means import Epochs
from vaekit.figures.model import Model
from vaekit.latents import Posterior
from vaekit.spec import DataSpec, Feature, Kind, ModelSpec

ITEMS = 60


def linear(data: DataSpec, latent: int, *, kind: Kind = "vae", seed: int = 0, **config: Any) -> Model:
    """A model with ``mean = flat(x) A``, ``log_var = -1 - d / D``, ``x_hat = z B`` squashed into the data's range."""
    rng = np.random.default_rng(seed)
    size = prod(data.shape)
    a = (rng.normal(size=(size, latent)) / np.sqrt(size)).astype(np.float32)
    b = (rng.normal(size=(latent, size)) / np.sqrt(latent)).astype(np.float32)
    spec = ModelSpec(kind, data, latent, "bernoulli" if data.range else "gaussian")

    def encode(x: np.ndarray[Any, np.dtype[np.float32]]) -> Posterior:
        mean = 3 * x.reshape(len(x), -1) @ a
        if kind == "ae":
            return Posterior(mean, np.full_like(mean, -np.inf))
        log_var = -1 - np.arange(latent, dtype=np.float32) / latent
        return Posterior(mean, np.broadcast_to(log_var, mean.shape).astype(np.float32))

    def decode(z: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        out = (z @ b).reshape(-1, *data.shape)
        out = 1 / (1 + np.exp(-out)) if data.range else out * data.units + data.offsets
        return out.astype(np.float32)

    return Model("linear", spec, encode, decode, config)


@pytest.fixture
def make() -> Callable[..., Model]:
    """``make(data, latent, kind=..., **config)``: a linear model."""
    return linear


KINDS = {
    "grey": DataSpec((1, 8, 8)),
    "colour": DataSpec((3, 8, 6)),
    "series": DataSpec((2, 20), None, (Feature("a", 5.0, 2.0), Feature("b", -100.0, 30.0))),
    "row": DataSpec((5,), None),
    "long row": DataSpec((200,), None),
    "planes": DataSpec((4, 6, 6)),
}


def items_of(data: DataSpec, count: int = ITEMS, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(seed)
    if data.range:
        return rng.random((count, *data.shape), dtype=np.float32)
    return (rng.normal(size=(count, *data.shape)) * data.units + data.offsets).astype(np.float32)


@pytest.fixture
def subject() -> Callable[..., Subject]:
    """``subject("colour", latent=2, kind="ae", labels=False, run=True)``."""

    def made(
        name: str, *, latent: int = 3, kind: Kind = "vae", labels: bool = True, run: bool = False, count: int = ITEMS
    ) -> Subject:
        data = KINDS[name]
        model = linear(data, latent, kind=kind, hidden=[7], arch="mlp", beta=1.0)
        x = items_of(data, count)
        split = Split(x, np.arange(count) % 4 if labels else None)
        if not run:
            return Subject(model, split)
        means = np.stack([scale * model.encode(x).mean for scale in (0.1, 0.4, 0.5, 1.0)])
        kept = Epochs(np.array([1, 2, 3, 4]), means, split.labels)
        history = [
            {
                "epoch": epoch,
                **{
                    f"{part}_{term}": value / epoch + shift
                    for part, shift in (("train", 1.0), ("test", 2.0))
                    for term, value in (("negative_elbo", 90.0), ("reconstruction", 80.0), ("kl", 10.0))
                },
            }
            for epoch in (1, 2, 3, 4)
        ]
        return Subject(model, split, history=tuple(history), kept=kept)

    return made
