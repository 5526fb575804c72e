"""A small colour model whose height, width and channels all differ, and pixels for it: what tests of app-ready graphs share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vaekit.datasets import Dataset, Split
from vaekit.exporting import ModulePair
from vaekit.spec import DataSpec, Kind, ModelSpec

SHAPE = (3, 6, 10)
"""C, H, W of the colour model."""

UNIT = (0.0, 1.0)


class Rescale(nn.Module):
    """(0, 1) to a little beyond a range, so that there is something to clip."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.span = low, high - low

    def forward(self, x: Tensor) -> Tensor:
        return (x * 1.2 - 0.1) * self.span + self.low


class Halves(nn.Module):
    """h -> mean and log_var, or the mean alone."""

    def __init__(self, size: int, latent: int, kind: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(size, 16), nn.ReLU(), nn.Linear(16, 2 * latent))
        self.latent, self.kind = latent, kind

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        mean, log_var = self.body(x).split(self.latent, 1)
        return (mean, log_var) if self.kind == "vae" else mean


def colour_pair(limits: tuple[float, float] | None = UNIT, kind: Kind = "vae") -> ModulePair:
    """784 is no number of this model: 180 values, 4 latent dimensions, weights drawn and never trained."""
    unit = limits == UNIT
    spec = ModelSpec(kind, DataSpec(SHAPE, limits), 4, "bernoulli" if unit else "gaussian")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        encoder = Halves(spec.data.size, spec.latent, kind)
        decoder = nn.Sequential(
            nn.Linear(4, 16),
            nn.Tanh(),
            nn.Linear(16, spec.data.size),
            nn.Sigmoid(),
            *([] if unit else [Rescale(*(limits or UNIT))]),
            nn.Unflatten(1, SHAPE),
        )
        with torch.no_grad():  # wider than torch's own start, so that pixels take all levels
            for parameter in decoder.parameters():
                parameter.mul_(4)
    return ModulePair(encoder, decoder, spec)


def colour_data(limits: tuple[float, float] | None = UNIT, *, test: int = 300) -> Dataset:
    """Smooth random colours, a bright square among them: uint8 for [0, 1], else float32 in the range."""
    rng = np.random.default_rng(23)

    def split(count: int) -> Split:
        images = rng.integers(0, 60, (count, *SHAPE))
        for image, (channel, top, left) in zip(images, rng.integers(0, 3, (count, 3)), strict=True):
            image[channel, top : top + 4, 2 * left : 2 * left + 5] += 195
        if limits == UNIT:
            return Split(images.astype(np.uint8))
        low, high = limits or UNIT
        return Split((low + (high - low) * (images + rng.random(images.shape)) / 256).astype(np.float32))

    return Dataset("colours", "colours", "0" * 64, split(320), split(test))


def rounded(x: np.ndarray, limits: tuple[float, float] = UNIT) -> np.ndarray:
    """The rule, in Python's own numbers: float64, and `round`, which takes halves to the even neighbour."""
    low, high = limits
    levels = [round(255 * min(max((float(value) - low) / (high - low), 0.0), 1.0)) for value in x.ravel()]
    return np.array(levels, np.int64).reshape(x.shape)
