"""One optimisation step: forward, loss, backward, Adam, average; fp32 or bf16.

There are three ways to the gradient, which differ in the order of their arithmetic alone: in closed form for an MLP on the CPU
(`vaekit.training.analytic`), by autograd, and by autograd compiled into one kernel sequence, which needs a C++ compiler and
some seconds once.

Needs: torch.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from vaekit.errors import CheckpointError
from vaekit.spec import ModelSpec
from vaekit.training.adam import Adam
from vaekit.training.analytic import AnalyticGradient, is_analytic
from vaekit.training.config import TrainConfig
from vaekit.training.ema import WeightAverage
from vaekit.training.models import MLP
from vaekit.training.objective import Terms, as_floats, as_values, negative_elbo_terms, sampled_terms, training_loss

MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps for each weight."""

AVERAGE: Final = "ema"
NOW: Final = "now"
"""Names of a weight's running average and of the weight itself, beside them."""


class Step:
    """A model with its optimiser, advanced one batch at a time.

    Args:
        model: The model; its weights are changed in place.
        config: Every option.
        spec: What the model is.
        device: Where model and batches are.
        compiled: Whether to compile the step for full batches.
        gradients_ready: Called in each step with the list of gradients before Adam uses them, to average them in place
            over the processes of a run. For a gradient in closed form that is one tensor, all weights in a row.

    Attributes:
        model: The model in training.
        config: Every option.
        spec: What the model is; a learned scale is where it started.
        compiled: Whether full batches run through the compiled step.
        analytic: Whether gradients come in closed form instead.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        spec: ModelSpec,
        device: torch.device,
        *,
        compiled: bool,
        gradients_ready: Callable[[list[Tensor]], None] | None = None,
    ) -> None:
        self.model = model
        self.compiled = compiled
        self.analytic = is_analytic(model, config, device) and not compiled
        self.config, self.spec = config, spec
        self._device = device
        self._gradients_ready = gradients_ready
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._gradient = AnalyticGradient(cast("MLP", model), config) if self.analytic else None
        self._weights = [self._gradient.weights] if self._gradient else list(self._parameters.values())
        self._adam = Adam(self._weights)
        self._average = WeightAverage(self._weights, config.ema) if config.ema else None
        self._taken = 0
        # A tensor, since a compiled step takes a number that changes for a constant, and compiles again.
        self._kl_weight = torch.tensor(config.beta, device=device)
        # dynamic=False: one graph for full batches; the short last batch of an epoch runs eagerly.
        self._full: Callable[[Tensor, Tensor, Tensor | float], tuple[Tensor, Tensor]] = (
            torch.compile(self._loss, dynamic=False) if compiled else self._loss
        )
        self._proved = not compiled

    def __call__(
        self,
        items: Tensor,
        eps: Tensor,
        learning_rate: float,
        kl_weight: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Take one step.

        Args:
            items: (N, *shape), uint8 pixels, or float32 in the data's own units.
            eps: Noise, of the shape that `noise_shape` gives.
            learning_rate: Adam's step size.
            kl_weight: Weight of the KL, as from `kl_weight_at`; None takes beta.
            generator: Where pixels are drawn from, with `binarize`; None takes torch's own.

        Returns:
            Sums over the batch of reconstruction and KL, in nats, shape (2,), on the device; of several samples their means.
        """
        if self.config.binarize == "dynamic":
            items = binarized(items, generator)
        if self.spec.data.features:
            items = as_values(items, self.spec.data)
        if self._gradient is not None:
            sums = self._gradient(items, eps, self.config.beta if kl_weight is None else kl_weight)
        else:
            sums = self._differentiate(items, eps, kl_weight)
        if self._gradients_ready is not None:
            self._gradients_ready([weight.grad for weight in self._weights if weight.grad is not None])
        if self.config.grad_clip:
            nn.utils.clip_grad_norm_(self._weights, self.config.grad_clip)
        self._adam.update(learning_rate)
        if self._gradient is None:
            self._adam.forget_gradients()
        self._taken += 1
        if self._average is not None:
            self._average.update(self._taken)
        return sums

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Have the model carry the averaged weights while the block runs; without `ema` it carries its own."""
        with contextlib.nullcontext() if self._average is None else self._average.in_place():
            yield

    def weights(self) -> dict[str, Tensor]:
        """Give the model's `state_dict` as it is measured and exported: a copy, with `ema` of the averaged weights."""
        with self.averaged():
            return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """Adam's state by "moment/weight": exp_avg, exp_avg_sq and step.

        With `ema` also the averages, "ema/weight", and the weights in training, "now/weight": `weights` gives them not.
        """
        state = {}
        for name, owner, average in self._owners():
            for moment, tensor in self._adam.state[owner].items():
                state[f"{moment}/{name}"] = tensor.clone() if moment == "step" else self._part(name, tensor)
            if average is not None:
                state[f"{AVERAGE}/{name}"] = self._part(name, average)
                state[f"{NOW}/{name}"] = self._parameters[name].detach()
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave, whichever way the gradient came there.

        Raises:
            CheckpointError: A moment or an average is missing, or has another shape.
        """
        owners = list(self._owners())
        # A weight that the loss does not depend on never took a step, and has no moments; but some weight has.
        idle = {name for name, *_ in owners if not any(f"{moment}/{name}" in state for moment in MOMENTS)}
        if self.analytic or len(idle) == len(owners):
            idle = set()
        for name, owner, average in owners:
            shape = self._parameters[name].shape
            for moment in (*(() if name in idle else MOMENTS), *(() if average is None else (AVERAGE, NOW))):
                tensor = state.get(f"{moment}/{name}")
                if tensor is None or (moment != "step" and tensor.shape != shape):
                    raise CheckpointError(f"the optimiser's state has no {moment} that fits the weight {name!r}.")
                if moment == "step":
                    self._adam.state[owner][moment] = tensor.to(self._device, copy=True)  # Adam writes to it
                    self._taken = int(tensor)
                elif moment == NOW:
                    self._parameters[name].detach().copy_(tensor)
                elif moment == AVERAGE:
                    self._part(name, cast("Tensor", average)).copy_(tensor)
                else:
                    kept = self._adam.state[owner].setdefault(moment, torch.zeros_like(owner))
                    self._part(name, kept).copy_(tensor)

    def _owners(self) -> Iterator[tuple[str, Tensor, Tensor | None]]:
        """Each weight's name, with the array that the optimiser updates for it and with that array's average."""
        averages = [None] * len(self._weights) if self._average is None else self._average.average
        for index, name in enumerate(self._parameters):
            at = 0 if self._gradient is not None else index  # in closed form one array holds all weights
            yield name, self._weights[at], averages[at]

    def _part(self, name: str, array: Tensor) -> Tensor:
        """A weight's part of an array as `_owners` gives it."""
        return array if self._gradient is None else self._gradient.views(array)[name]

    def _differentiate(self, items: Tensor, eps: Tensor, kl_weight: float | None) -> Tensor:
        """Set every weight's gradient by autograd, and give the sums of both terms."""
        weight: Tensor | float = self.config.beta
        if self.config.kl_warmup or kl_weight not in (None, weight):
            weight = self._kl_weight.fill_(weight if kl_weight is None else kl_weight)
        loss, sums = self._forward(items, eps, weight)
        loss.backward()  # type: ignore[no-untyped-call]
        return sums

    def _forward(self, items: Tensor, eps: Tensor, kl_weight: Tensor | float) -> tuple[Tensor, Tensor]:
        if len(items) != self.config.batch_size:
            return self._loss(items, eps, kl_weight)
        if self._proved:
            return self._full(items, eps, kl_weight)
        try:
            result = self._full(items, eps, kl_weight)
        except Exception as error:  # noqa: BLE001  (compilers fail in many ways, and none may end the run)
            reason = " ".join(str(error).split())[:300]
            warnings.warn(f"the step could not be compiled, so it runs uncompiled: {reason}", stacklevel=2)
            self.compiled, self._full, self._proved = False, self._loss, True
            return self._loss(items, eps, kl_weight)
        self._proved = True
        return result

    def _loss(self, items: Tensor, eps: Tensor, kl_weight: Tensor | float) -> tuple[Tensor, Tensor]:
        """Loss, and the sums of both terms, of pixels or of values that are standardised already."""
        with _products(self.config, items.device):
            loss, terms = training_loss(self.model, as_floats(items), eps, self.config, self.spec, kl_weight)
        return loss, torch.stack((terms.reconstruction.detach().sum(), terms.kl.detach().sum()))


def batch_terms(model: Any, items: Tensor, eps: Tensor, config: TrainConfig, spec: ModelSpec) -> Terms:
    """Both terms of the negative ELBO of a batch, with the matrix products in the configured precision.

    Args:
        model: The model.
        items: (N, *shape), uint8 pixels, or float32 in the data's own units.
        eps: Noise: (N, D) measures the ELBO; (k, N, D) gives means over k samples, with the KL as it is sampled.
        config: The precision.
        spec: What the model is.

    Returns:
        Nats, (N,) each.
    """
    with _products(config, items.device):
        x = as_values(items, spec.data)
        if eps.ndim == 2:
            return negative_elbo_terms(model, x, eps, spec)
        samples = sampled_terms(model, x, eps, spec)
        return Terms(samples.reconstruction.mean(0), samples.kl.mean(0))


def noise_shape(config: TrainConfig, n: int) -> tuple[int, ...]:
    """Shape of the noise for a step of n items: (n, D), or (k, n, D) for the objective "iwae" with k samples."""
    if config.objective == "iwae":
        return config.importance_samples, n, config.latent
    return n, config.latent


def binarized(items: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw each pixel as 0 or 1, with its value for the probability of a 1.

    Args:
        items: uint8 pixels k, of probability k / 255, or floats in [0, 1].
        generator: Source of the draws, on the items' device.

    Returns:
        Zeros and ones, float32, in the items' shape.

    Source: Salakhutdinov & Murray 2008, for MNIST.
    """
    if items.dtype == torch.uint8:
        # One of 0 to 254, each as likely: k of these 255 are smaller than k.
        return (torch.empty_like(items).random_(0, 255, generator=generator) < items).float()
    return (torch.rand(items.shape, generator=generator, device=items.device) < items).float()


def emulates_bf16() -> bool:
    """Whether torch says that this processor computes bfloat16 products in software: a step may take fifty times as long."""
    native = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return native is not None and not native()


def warn_of_emulation(config: TrainConfig, device: torch.device) -> None:
    """Say so where bfloat16 was asked for and the processor has no units for it."""
    if config.precision == "bf16" and device.type == "cpu" and emulates_bf16():
        warnings.warn(
            "precision='bf16' is emulated on this processor, which has no units for it, and takes many times as long "
            "as fp32; train with --precision fp32.",
            stacklevel=3,
        )


def _products(config: TrainConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Have matrix products and convolutions computed in the configured precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if config.precision == "bf16" else contextlib.nullcontext()
