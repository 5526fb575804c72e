"""One optimisation step: forward, both loss terms, backward, Adam; fp32 or bf16.

There are three ways to the gradient, which differ in the order of their arithmetic alone: in closed form for an MLP on the CPU
(`vaekit.training.analytic`), by autograd, and by autograd compiled into one kernel sequence, which needs a C++ compiler and
some seconds once.

Needs: torch.
"""

from __future__ import annotations

import contextlib
import shutil
import sysconfig
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from vaekit.errors import CheckpointError
from vaekit.training.analytic import AnalyticGradient, is_analytic
from vaekit.training.config import TrainConfig
from vaekit.training.models import MLP
from vaekit.training.objective import Terms, negative_elbo_terms

COMPILE_PAYS_AFTER: Final = 20_000
"""Steps from which a compiled step repays the seconds that compiling costs; measured by benchmarks/training.py."""


class Step:
    """A model with its optimiser, advanced one batch at a time.

    Attributes:
        model: The model in training.
        compiled: Whether full batches run through the compiled step.
        analytic: Whether gradients come in closed form instead.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, device: torch.device, *, compiled: bool) -> None:
        self.model = model
        self.compiled = compiled
        self.analytic = is_analytic(model, config, device) and not compiled
        self._config = config
        self._device = device
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._gradient = AnalyticGradient(cast(MLP, model), config) if self.analytic else None
        weights = [self._gradient.weights] if self._gradient else list(self._parameters.values())
        # Fused: one kernel for all weights. torch's default loops over them in Python on the CPU, three times slower.
        self._adam = torch.optim.Adam(weights, lr=config.learning_rate, fused=True)
        # dynamic=False: one graph for full batches; the short last batch of an epoch runs eagerly.
        self._full: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = (
            torch.compile(self._loss, dynamic=False) if compiled else self._loss
        )
        self._proved = not compiled

    def __call__(self, items: Tensor, eps: Tensor, learning_rate: float) -> Tensor:
        """Take one step.

        Args:
            items: (N, *shape), uint8 pixels or float32.
            eps: Noise, (N, D).
            learning_rate: Adam's step size.

        Returns:
            Sums over the batch of reconstruction and KL, in nats, shape (2,), on the device.
        """
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        if self._gradient is not None:
            sums = self._gradient(items, eps)
            self._adam.step()
            return sums
        loss, sums = self._forward(items, eps)
        loss.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return sums

    def state(self) -> dict[str, Tensor]:
        """Adam's state by "moment/weight": exp_avg, exp_avg_sq and step."""
        if self._gradient is None:
            return {
                f"{moment}/{name}": tensor
                for name, parameter in self._parameters.items()
                for moment, tensor in self._adam.state[parameter].items()
            }
        state = {}
        for moment, tensor in self._adam.state[self._gradient.weights].items():
            for name in self._parameters:
                state[f"{moment}/{name}"] = tensor.clone() if moment == "step" else self._gradient.views(tensor)[name]
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave.

        Raises:
            CheckpointError: A moment is missing or has another shape.
        """
        for name, parameter in self._parameters.items():
            for moment in ("step", "exp_avg", "exp_avg_sq"):
                tensor = state.get(f"{moment}/{name}")
                if tensor is None or (moment != "step" and tensor.shape != parameter.shape):
                    raise CheckpointError(f"the optimiser's state has no {moment} that fits the weight {name!r}.")
                if self._gradient is None:
                    self._adam.state[parameter][moment] = tensor.to(self._device, copy=True)  # Adam writes to it
                elif moment == "step":
                    self._adam.state[self._gradient.weights][moment] = tensor.clone()
                else:
                    flat = self._adam.state[self._gradient.weights].setdefault(moment, torch.zeros_like(self._gradient.weights))
                    self._gradient.views(flat)[name].copy_(tensor)

    def _forward(self, items: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        if len(items) != self._config.batch_size:
            return self._loss(items, eps)
        if self._proved:
            return self._full(items, eps)
        try:
            result = self._full(items, eps)
        except Exception as error:  # noqa: BLE001  (compilers fail in many ways, and none may end the run)
            reason = " ".join(str(error).split())[:300]
            warnings.warn(f"the step could not be compiled, so it runs uncompiled: {reason}", stacklevel=2)
            self.compiled, self._full, self._proved = False, self._loss, True
            return self._loss(items, eps)
        self._proved = True
        return result

    def _loss(self, items: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (mean over the batch of ``reconstruction + beta * kl``), and the sums of both terms."""
        terms = batch_terms(self.model, items, eps, self._config)
        loss = (terms.reconstruction + self._config.beta * terms.kl).mean()
        return loss, torch.stack((terms.reconstruction.detach().sum(), terms.kl.detach().sum()))


def batch_terms(model: Any, items: Tensor, eps: Tensor, config: TrainConfig) -> Terms:
    """Both terms of the negative ELBO of a batch, (N,) each, with the matrix products in the configured precision."""
    x = items.float() / 255 if items.dtype == torch.uint8 else items
    products: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if config.precision == "bf16":
        products = torch.autocast(items.device.type, dtype=torch.bfloat16)
    with products:
        return negative_elbo_terms(model, x, eps, config.likelihood)


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile finds what it needs: on the CPU a C++ compiler and Python's headers."""
    if device.type != "cpu":
        return True
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return headers.exists() and any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def should_compile(config: TrainConfig, device: torch.device, steps: int) -> bool:
    """Decide between the compiled and the eager step: as configured, else where it is possible and pays."""
    if config.compile is not None:
        return config.compile
    return steps >= COMPILE_PAYS_AFTER and can_compile(device)
