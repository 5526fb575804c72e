"""The gradient of an MLP's loss in closed form: what autograd would compute, without its bookkeeping.

For the MLP of `vaekit.training.models` every derivative is a matrix product or one pass over an array. Written out, with all
arrays allocated once, a step costs little more than its products; autograd spends half as much again on small operations.
Other models, and other devices than the CPU, take the autograd step.

    l = decoder(z),  z = mean + sigma eps,  sigma = exp(log_var / 2),  (mean, log_var) = encoder(x)
    L = mean over N items of reconstruction(x, l) + w KL,  w the KL's weight

    dL/dl       = (sigmoid(l) - x) / N                                    Bernoulli
                = (l - x) / (N scale^2)                                   Gaussian
    dL/dmean    = dL/dz + w mean / N
    dL/dlog_var = 1/2 (dL/dz sigma eps + w (sigma^2 - 1) / N)

Source: Kingma & Welling 2014, appendix B, arXiv:1312.6114, differentiated.

Needs: torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from vaekit.training.config import TrainConfig
from vaekit.training.models import MLP

ALIGNED = 16
"""Each weight begins at a multiple of so many floats: 64 bytes, one vector register of AVX-512 and one cache line."""


def is_analytic(model: nn.Module, config: TrainConfig, device: torch.device) -> bool:
    """Whether `AnalyticGradient` can stand in for autograd.

    It can for an MLP on the CPU that nobody asked to compile, trained whole on the ELBO without free bits, with a Bernoulli
    likelihood or a Gaussian one of fixed scale.
    """
    return (
        type(model) is MLP
        and all(parameter.requires_grad for parameter in model.parameters())
        and device.type == "cpu"
        and not config.compile
        and config.objective == "elbo"
        and not config.free_bits
        and config.likelihood in ("bernoulli", "gaussian")
        and not config.learns_scale
    )


class AnalyticGradient:
    """Loss and gradient of an MLP, with buffers for one batch.

    Args:
        model: The MLP. Its weights become views of one array, so that the optimiser has one tensor to update.
        config: Batch size, likelihood, and the precision of matrix products. In "bf16" activations, derivatives and
            gradients are rounded to bfloat16, as under torch's autocast; weights, losses and sums stay float32.

    Attributes:
        weights: Every weight of the model in a row, with the gradient in `grad`.
    """

    def __init__(self, model: MLP, config: TrainConfig) -> None:
        self._config = config
        self._spec = model.spec
        self._shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        self.weights = nn.Parameter(torch.zeros(sum(_padded(shape.numel()) for shape in self._shapes.values())))
        views = self.views(self.weights.detach())
        for name, parameter in model.named_parameters():
            views[name].copy_(parameter.detach())
            parameter.data = views[name]
        self._gradient = torch.zeros_like(self.weights)
        self.weights.grad = self._gradient
        # In bfloat16 weights and gradients live twice: rounded for the products, float32 for Adam.
        self._dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self._used, self._found = self.weights.detach().to(self._dtype), self._gradient.to(self._dtype)
        rows, used, found = config.batch_size, self.views(self._used), self.views(self._found)
        self._x = torch.empty(rows, model.spec.data.size)
        self._error = torch.empty(rows, model.spec.data.size)  # dL/dl
        self._encoder = _Layers("encoder", used, found, rows)
        self._decoder = _Layers("decoder", used, found, rows)

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Cut an array of the weights' layout, such as one of Adam's moments, into one view a weight, by name."""
        views, start = {}, 0
        for name, shape in self._shapes.items():
            views[name] = flat[start : start + shape.numel()].view(shape)
            start += _padded(shape.numel())
        return views

    @torch.no_grad()
    def __call__(self, items: Tensor, eps: Tensor, kl_weight: float) -> Tensor:
        """Set the gradient of every weight.

        Args:
            items: (N, *shape), uint8 pixels or (standardised) float32, N at most the batch size.
            eps: Noise, (N, D).
            kl_weight: Weight of the KL in the loss.

        Returns:
            Sums over the batch of reconstruction and KL, in nats, shape (2,).
        """
        n, scale = len(items), self._spec.scale
        x, error = self._x[:n], self._error[:n]
        if items.dtype == torch.uint8:
            torch.div(items.flatten(1), 255, out=x)
        else:
            x.copy_(items.flatten(1))
        if self._used.dtype != torch.float32:
            self._used.copy_(self.weights)

        heads = self._encoder.forward(x).float()
        if self._spec.kind == "ae":
            z, kl = heads, heads.new_zeros(())
        else:
            mean, log_var = heads.chunk(2, dim=1)
            sigma = torch.exp(0.5 * log_var)
            spread, variance = sigma * eps, sigma.square()
            z = mean + spread
            kl = 0.5 * (variance - log_var - 1 + mean.square()).sum()
        params = self._decoder.forward(z).float()

        if self._config.likelihood == "bernoulli":
            reconstruction = torch.addcmul(functional.softplus(params), x, params, value=-1).sum()
            torch.sigmoid(params, out=error)
            error -= x
        else:
            torch.sub(params, x, out=error)
            reconstruction = 0.5 / scale**2 * error.square().sum() + error.numel() * math.log(scale)
        error /= n * scale**2  # a Bernoulli's scale is 1

        to_z = self._decoder.backward(error, to_input=True).float()
        if self._spec.kind == "ae":
            to_heads = to_z
        else:
            to_mean = to_z + (kl_weight / n) * mean
            to_log_var = 0.5 * (to_z * spread + (kl_weight / n) * (variance - 1))
            to_heads = torch.cat((to_mean, to_log_var), dim=1)
        self._encoder.backward(to_heads, to_input=False)
        if self._found.dtype != torch.float32:
            self._gradient.copy_(self._found)
        return torch.stack((reconstruction, kl))


class _Layers:
    """One half's linear layers with ReLU between them: the way there, and the way back."""

    def __init__(self, half: str, used: dict[str, Tensor], found: dict[str, Tensor], rows: int) -> None:
        weights = [name for name in used if name.startswith(f"{half}.") and name.endswith(".weight")]
        biases = [name.removesuffix("weight") + "bias" for name in weights]
        self._weights, self._biases = [used[name] for name in weights], [used[name] for name in biases]
        self._to_weights, self._to_biases = [found[name] for name in weights], [found[name] for name in biases]
        self._outputs = [weight.new_empty(rows, weight.shape[0]) for weight in self._weights]
        self._to_inputs = [weight.new_empty(rows, weight.shape[1]) for weight in self._weights]
        self._inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Give the last layer's output, (N, outputs)."""
        h = x.to(self._weights[0].dtype)
        self._inputs = []
        for weight, bias, output in zip(self._weights, self._biases, self._outputs, strict=True):
            self._inputs.append(h.relu_() if self._inputs else h)
            h = torch.addmm(bias, h, weight.t(), out=output[: len(x)])
        return h

    def backward(self, to_output: Tensor, *, to_input: bool) -> Tensor:
        """Set the gradients from dL/doutput, (N, outputs); give dL/dinput, (N, inputs), where it is asked for."""
        delta = to_output.to(self._weights[0].dtype)
        for index in reversed(range(len(self._weights))):
            x = self._inputs[index]
            torch.sum(delta, 0, out=self._to_biases[index])
            torch.mm(delta.t(), x, out=self._to_weights[index])
            if index or to_input:
                delta = torch.mm(delta, self._weights[index], out=self._to_inputs[index][: len(x)])
            if index:  # through the ReLU that made x: its derivative is 1 where x > 0
                torch.ops.aten.threshold_backward.grad_input(delta, x, 0, grad_input=delta)
        return delta


def _padded(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED
