"""The models: an MLP variational autoencoder and, from the same layers, the classic autoencoder.

What a model must offer is `Model`: two methods. Everything else here works for any module that has them.

Needs: torch. Shapes: N items, D latent dimensions.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vaekit.spec import Likelihood, ModelSpec
from vaekit.training.config import TrainConfig


@runtime_checkable
class Model(Protocol):
    """What the trainer and the exporter ask of a module."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Items (N, *shape) -> posterior mean (N, D) and log-variance (N, D); None for a point (an autoencoder)."""
        ...

    def decode_params(self, z: Tensor) -> Tensor:
        """Codes (N, D) -> the likelihood's natural parameter (N, *shape): Bernoulli logits, or Gaussian means."""
        ...


class MLP(nn.Module):
    """Fully connected encoder and decoder with ReLU between the layers.

        encoder  x -> flatten -> [linear, ReLU] per hidden width -> linear to mean and log_var (an autoencoder: mean)
        decoder  z -> [linear, ReLU] per hidden width, reversed -> linear to the data's shape

    With one hidden layer of 400 and 20 latent dimensions on 784 pixels this is the network of Kingma & Welling's MNIST
    experiment in its ReLU form.

    Source: Kingma & Welling 2014, appendix C, arXiv:1312.6114.
    """

    def __init__(self, spec: ModelSpec, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.spec = spec
        heads = 2 if spec.kind == "vae" else 1
        self.encoder = _layers([spec.data.size, *hidden, heads * spec.latent])
        self.decoder = _layers([spec.latent, *reversed(hidden), spec.data.size])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Items (N, *shape) -> mean (N, D), log_var (N, D) or None."""
        heads = self.encoder(x.flatten(1))
        if self.spec.kind == "ae":
            return heads, None
        mean, log_var = heads.chunk(2, dim=1)
        return mean, log_var

    def decode_params(self, z: Tensor) -> Tensor:
        """Codes (N, D) -> logits or means (N, *shape)."""
        params: Tensor = self.decoder(z)
        return params.reshape(-1, *self.spec.data.shape)


class EncoderGraph(nn.Module):
    """A model's encoder as the module that is exported: ``x -> mean, log_var`` (an autoencoder: ``mean``)."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        """Give the posterior's parameters."""
        mean, log_var = self.model.encode(x)
        return mean if log_var is None else (mean, log_var)


class DecoderGraph(nn.Module):
    """A model's decoder as the module that is exported: ``z -> x_hat``, the likelihood's mean."""

    def __init__(self, model: Model, likelihood: Likelihood) -> None:
        super().__init__()
        self.model = model
        self.likelihood = likelihood

    def forward(self, z: Tensor) -> Tensor:
        """Give probabilities for a Bernoulli likelihood, values for a Gaussian one."""
        params = self.model.decode_params(z)
        return torch.sigmoid(params) if self.likelihood == "bernoulli" else params


def build_model(config: TrainConfig, spec: ModelSpec) -> MLP:
    """Make the model that a configuration asks for, with initial weights that depend on its seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed would seed every GPU as well
        return MLP(spec, config.hidden)


def _layers(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])  # no ReLU after the last
