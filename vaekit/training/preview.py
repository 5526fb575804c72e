"""What a model in training makes of a few items: reconstructions, and samples whose codes stay the same all along.

The terminal's preview and TensorBoard's sheets show it. Nothing here can be noticed by the training: codes come from the
portable noise, and torch's generators are left as they were.

Needs: torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vaekit.latents import prior
from vaekit.spec import ModelSpec
from vaekit.training.models import DecoderGraph, EncoderGraph


@dataclass(frozen=True)
class Preview:
    """What a model gave, in the data's own units.

    Attributes:
        x: Items, (n, *shape) float32.
        x_hat: ``decode(mean(x))``, same shape.
        samples: ``decode(z)`` with z from the prior, (m, *shape); None for an autoencoder, which has no prior.
    """

    x: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    samples: NDArray[np.float32] | None


class Previewer:
    """Runs the same items and the same codes through a model each time that it is asked.

    Args:
        x: Items to reconstruct, (n, *shape) float32.
        spec: What is trained.
        samples: Codes drawn from the prior, m.
        seed: Of the portable noise they come from.
    """

    def __init__(self, x: NDArray[np.float32], spec: ModelSpec, *, samples: int, seed: int = 0) -> None:
        self._x = x
        self._spec = spec
        self._z = prior(samples, spec.latent, seed=seed) if spec.kind == "vae" else None

    def __call__(self, model: nn.Module) -> Preview:
        """Run the model.

        Args:
            model: As it would be exported, in evaluation mode; left as it was.
        """
        device = next(model.parameters()).device
        encoder, decoder = EncoderGraph(model, self._spec).to(device), DecoderGraph(model, self._spec).to(device)

        def decoded(z: torch.Tensor) -> NDArray[np.float32]:
            x_hat: NDArray[np.float32] = decoder(z).float().cpu().numpy()
            return x_hat

        # A user's module may draw random numbers; training must not notice that it was called here.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.inference_mode():
            outputs = encoder(torch.from_numpy(self._x).to(device))
            mean = outputs[0] if isinstance(outputs, tuple) else outputs
            samples = None if self._z is None else decoded(torch.from_numpy(self._z).to(device))
            return Preview(self._x, decoded(mean), samples)
