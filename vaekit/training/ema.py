"""The running average of a model's weights, which is often better than the last ones.

    average <- d average + (1 - d) weights      after step t,  d = min(decay, (1 + t) / (10 + t))

The smaller d of the first steps lets the average leave the initial weights behind.

Source: Polyak & Juditsky 1992 for averaging; the start is that of TensorFlow's ExponentialMovingAverage.

Needs: torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def decay_at(step: int, decay: float) -> float:
    """Share of the old average that is kept at a step, 1 for the first: ``min(decay, (1 + step) / (10 + step))``."""
    return min(decay, (1 + step) / (10 + step))


class WeightAverage:
    """An exponential moving average of weights, which can take their place for a while.

    Args:
        weights: The weights in training; they are followed in place.
        decay: Largest share of the old average that a step keeps, below 1.

    Attributes:
        average: The averages, in the same order.
    """

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self._weights = [weight.detach() for weight in weights]
        self._decay = decay
        self.average = [weight.clone() for weight in self._weights]

    def update(self, step: int) -> None:
        """Take in the weights after a step, 1 for the first."""
        torch._foreach_lerp_(self.average, self._weights, 1 - decay_at(step, self._decay))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages where the weights are; afterwards, and after an error, the weights are back."""
        kept = [weight.clone() for weight in self._weights]
        torch._foreach_copy_(self._weights, self.average)
        try:
            yield
        finally:
            torch._foreach_copy_(self._weights, kept)
