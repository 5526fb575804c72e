"""The models, and what a model is: an MLP variational autoencoder or, from the same layers, the classic autoencoder.

What a model must offer is `Model`: two methods. Everything else here works for any module that has them. Convolutional models
are in `vaekit.training.convolutional`, a user's own come in through `vaekit.training.imported`.

Needs: torch. Shapes: N items, D latent dimensions.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from vaekit.spec import ModelSpec
from vaekit.training.config import TrainConfig
from vaekit.training.machine import float32_by_default


@runtime_checkable
class Model(Protocol):
    """What the trainer and the exporter ask of a module."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Items (N, *shape) -> posterior mean (N, D) and log-variance (N, D); None for a point (an autoencoder)."""
        ...

    def decode_params(self, z: Tensor) -> Tensor:
        """Codes (N, D) -> the likelihood's natural parameter (N, *shape).

        Bernoulli: logits. Gaussian: means, standardised where the data has features. Discretised logistic: logits of the means.
        """
        ...


class MLP(nn.Module):
    """Fully connected encoder and decoder with ReLU between the layers.

        encoder  x -> flatten -> [linear, ReLU] per hidden width -> linear to mean and log_var (an autoencoder: mean)
        decoder  z -> [linear, ReLU] per hidden width, reversed -> linear to the data's shape

    With one hidden layer of 400 and 20 latent dimensions on 784 pixels this is of the kind of Kingma & Welling's MNIST
    experiment, which had 500 units and tanh.

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
        return split_heads(self.encoder(x.flatten(1)), self.spec)

    def decode_params(self, z: Tensor) -> Tensor:
        """Codes (N, D) -> logits or means (N, *shape)."""
        params: Tensor = self.decoder(z)
        return params.reshape(-1, *self.spec.data.shape)


class EncoderGraph(nn.Module):
    """A model's encoder as the module that is exported: ``x -> mean, log_var`` (an autoencoder: ``mean``).

    It takes x in the data's own units, and standardises: ``(x - offsets) / units``.
    """

    offsets: Tensor
    units: Tensor

    def __init__(self, model: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.model: Any = model
        self.standardises = bool(spec.data.features)
        _keep_units(self, spec)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        """Give the posterior's parameters."""
        if self.standardises:
            x = (x - self.offsets) / self.units
        mean, log_var = self.model.encode(x)
        return mean if log_var is None else (mean, log_var)


class DecoderGraph(nn.Module):
    """A model's decoder as the module that is exported: ``z -> x_hat``, the likelihood's mean in the data's own units.

    Probabilities for a Bernoulli likelihood, means in [0, 1] for a discretised logistic one, for a Gaussian one
    ``offsets + units * mean``.
    """

    offsets: Tensor
    units: Tensor

    def __init__(self, model: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.model: Any = model
        self.standardises = bool(spec.data.features)
        self.squashes = spec.likelihood != "gaussian"
        _keep_units(self, spec)

    def forward(self, z: Tensor) -> Tensor:
        """Give the mean."""
        params: Tensor = self.model.decode_params(z)
        if self.squashes:
            return torch.sigmoid(params)
        return params * self.units + self.offsets if self.standardises else params


def build_model(config: TrainConfig, spec: ModelSpec) -> nn.Module:
    """Make the model that a configuration asks for, with initial weights that depend on its seed alone.

    Args:
        config: Architecture, or import path of a class.
        spec: What the model is for.

    Returns:
        A module with the methods of `Model`, on the CPU; with a parameter `log_scale` where the likelihood's scale is learned.

    Raises:
        ConfigError: The architecture does not fit the data's shape, or the class is not what it must be.
    """
    with torch.random.fork_rng(devices=[]), float32_by_default():
        torch.default_generator.manual_seed(config.seed)  # torch.manual_seed would seed every GPU as well
        model = _architecture(config, spec)
        if config.learns_scale:
            model.register_parameter("log_scale", nn.Parameter(torch.tensor(math.log(spec.scale))))
        return model


def trained_spec(model: nn.Module, spec: ModelSpec) -> ModelSpec:
    """Give a spec with the scale that the model has learned; without one, the spec as it is."""
    log_scale = getattr(model, "log_scale", None)
    return spec if log_scale is None else spec.replace(scale=math.exp(log_scale.item()))


def split_heads(heads: Tensor, spec: ModelSpec) -> tuple[Tensor, Tensor | None]:
    """Cut an encoder's last layer, (N, 2 D), into mean and log_var; an autoencoder's (N, D) is the mean alone."""
    if spec.kind == "ae":
        return heads, None
    mean, log_var = heads.chunk(2, dim=1)
    return mean, log_var


def _architecture(config: TrainConfig, spec: ModelSpec) -> nn.Module:
    if config.model is not None:
        from vaekit.training.imported import import_model

        return import_model(config.model, spec)
    if config.arch in ("conv", "resnet"):
        from vaekit.training.convolutional import Convolutional

        size = {"depth": config.depth, "width": config.width, "dense": config.dense}
        return Convolutional(spec, residual=config.arch == "resnet", **size)
    return MLP(spec, config.hidden)


def _keep_units(graph: nn.Module, spec: ModelSpec) -> None:
    for name, values in (("offsets", spec.data.offsets), ("units", spec.data.units)):
        graph.register_buffer(name, torch.from_numpy(values).float(), persistent=False)


def _layers(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])  # no ReLU after the last
