"""The gradient of an MLP's loss in closed form: what autograd would compute, without its bookkeeping.

For the MLP of `vaekit.training.models` every derivative is a matrix product or one pass over an array. Written out, with all
arrays allocated once, a step takes 0.7 of the time of autograd, which spends the rest on small operations.
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
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vaekit.spec import ModelSpec
from vaekit.training.config import TrainConfig
from vaekit.training.models import MLP

ALIGNED = 16
"""Each weight begins at a multiple of so many floats: 64 bytes, one vector register of AVX-512 and one cache line."""

FACTORS = 64
"""Probabilities in one product, each at least 1/2: the product is at least 2^-64, and a float32 goes down to 2^-126."""


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
    """Loss and gradient of an MLP.

    Args:
        model: The MLP. Its weights become views of one array, so that the optimiser has one tensor to update.
        config: Likelihood, and the precision of matrix products. In "bf16" activations, derivatives and gradients are
            rounded to bfloat16, as under torch's autocast; weights, losses and sums stay float32.

    Attributes:
        weights: Every weight of the model in a row, with the gradient in `grad`.
    """

    def __init__(self, model: MLP, config: TrainConfig) -> None:
        self._config = config
        self._spec = model.spec
        self._shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        self.weights = nn.Parameter(torch.zeros(sum(_padded(shape.numel()) for shape in self._shapes.values())))
        self._kept = self.weights.detach()
        views = self.views(self._kept)
        for name, parameter in model.named_parameters():
            views[name].copy_(parameter.detach())
            parameter.data = views[name]
        self._gradient = torch.zeros_like(self._kept)
        self.weights.grad = self._gradient
        # In bfloat16 weights and gradients live twice: rounded for the products, float32 for Adam.
        self._rounded = config.precision == "bf16"
        self._used = self._kept.bfloat16() if self._rounded else self._kept
        self._found = self._gradient.bfloat16() if self._rounded else self._gradient
        self._passes: dict[int, _Pass] = {}

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Cut an array of the weights' layout, such as one of Adam's moments, into one view a weight, by name."""
        views, start = {}, 0
        for name, shape in self._shapes.items():
            views[name] = flat[start : start + shape.numel()].view(shape)
            start += _padded(shape.numel())
        return views

    def __call__(self, items: Tensor, eps: Tensor, kl_weight: float) -> Tensor:
        """Set the gradient of every weight.

        Args:
            items: (N, *shape), uint8 pixels or (standardised) float32. For each N there are buffers, so let there be few.
            eps: Noise, (N, D).
            kl_weight: Weight of the KL in the loss.

        Returns:
            Sums over the batch of reconstruction and KL, in nats, shape (2,).
        """
        n, scale = len(items), self._spec.scale
        at = self._passes.get(n)
        if at is None:
            at = self._passes[n] = _Pass(n, self._spec, self.views(self._used), self.views(self._found))
        x, error = at.x, at.error
        x.copy_(items.flatten(1))
        if items.dtype == torch.uint8:
            x /= 255
        if self._rounded:
            self._used.copy_(self._kept)

        at.encoder.forward()
        if self._spec.kind == "ae":
            at.z.copy_(at.heads)
            kl = at.z.new_zeros(())
        else:
            mean, log_var = at.mean, at.log_var
            variance = torch.exp(log_var)
            spread = variance.sqrt().mul_(eps)
            torch.add(mean, spread, out=at.z)
            kl = 0.5 * torch.addcmul(variance - log_var - 1, mean, mean).sum()
        at.decoder.forward()

        if self._config.likelihood == "bernoulli":
            torch.sigmoid(at.params, out=error)
            reconstruction = at.cross_entropy()
            error -= x
        else:
            torch.sub(at.params, x, out=error)
            reconstruction = 0.5 / scale**2 * error.square().sum() + error.numel() * math.log(scale)
        error /= n * scale**2  # a Bernoulli's scale is 1

        at.decoder.backward()
        if self._spec.kind == "ae":
            at.to_heads.copy_(at.to_z)
        else:
            share = kl_weight / n
            torch.add(at.to_z, mean, alpha=share, out=at.to_mean)
            torch.addcmul(variance.sub_(1).mul_(0.5 * share), at.to_z, spread, value=0.5, out=at.to_log_var)
        at.encoder.backward()
        if self._rounded:
            self._gradient.copy_(self._found)
        return torch.stack((reconstruction, kl))


class _Pass:
    """Arrays for a batch of n items on its way there and back; what `_Layers` computes shows in them."""

    def __init__(self, n: int, spec: ModelSpec, used: dict[str, Tensor], found: dict[str, Tensor]) -> None:
        size, latent, dtype = spec.data.size, spec.latent, next(iter(used.values())).dtype
        room = _by_feature if dtype == torch.float32 else _by_item
        self.x, self.z = room(n, size), room(n, latent)
        self.error = room(n, size)  # dL/dl
        self.to_heads = room(n, latent if spec.kind == "ae" else 2 * latent)
        self.to_mean, self.to_log_var = self.to_heads[:, :latent], self.to_heads[:, latent:]
        self.encoder = _Layers("encoder", used, found, self.x, self.to_heads, room, to_input=False)
        self.decoder = _Layers("decoder", used, found, self.z, self.error, room, to_input=True)
        self.heads, self.params, self.to_z = self.encoder.output, self.decoder.output, self.decoder.to_input
        self.mean, self.log_var = self.heads[:, :latent], self.heads[:, latent:]
        self._flat = _in_a_row(self.x), _in_a_row(self.params)
        products = self.params.numel() // FACTORS
        whole, rest = self._flat[1].tensor_split((products * FACTORS,))
        self._factors = [part for part in (whole.view(FACTORS, products), rest.view(-1, 1)) if part.numel()]

    def cross_entropy(self) -> Tensor:
        """Sum of softplus(l) - x l over the batch, with a logarithm for every `FACTORS` pixels instead of one for each.

            softplus(l) = max(l, 0) - log(max(p, 1 - p)),  p = sigmoid(l)

        Expects l in `params`, which is overwritten, and p in `error`.
        """
        x, params = self._flat
        total = -torch.dot(x, params)
        total += self.params.clamp_min_(0).sum()
        torch.sub(1, self.error, out=self.params)
        torch.maximum(self.error, self.params, out=self.params)
        for factors in self._factors:
            total -= factors.prod(0).log_().sum()
        return total


class _Layers:
    """One half's linear layers with ReLU between them: the way there, and the way back.

    Args:
        half: "encoder" or "decoder".
        used: Weights, by name.
        found: Where their gradients go.
        x: Where the half's input will be, (N, inputs), float32.
        delta: Where dL/doutput will be, (N, outputs), float32.
        room: Makes arrays of a shape, in the order of `x` and `delta`.
        to_input: Whether dL/dinput is asked for.

    Attributes:
        output: The last layer's output, (N, outputs), float32; the caller may write to it.
        to_input: dL/dinput, (N, inputs), float32.
    """

    def __init__(
        self,
        half: str,
        used: dict[str, Tensor],
        found: dict[str, Tensor],
        x: Tensor,
        delta: Tensor,
        room: Callable[[int, int], Tensor],
        *,
        to_input: bool,
    ) -> None:
        suffix = ".weight"
        names = [name.removesuffix(suffix) for name in used if name.startswith(f"{half}.") and name.endswith(suffix)]
        weights, last = [used[name + suffix] for name in names], len(names) - 1
        self._x, self._first = x, _like(x, weights[0])
        self._delta, self._final = delta, _like(delta, weights[0])
        outputs = [room(len(x), weight.shape[0]).to(weight.dtype) for weight in weights]
        to_inputs = [room(len(x), weight.shape[1]).to(weight.dtype) for weight in weights]
        self._output, self._to_input = outputs[-1], to_inputs[0]
        self.output, self.to_input = _like(self._output, x), _like(self._to_input, x)
        inputs, deltas = [self._first, *outputs[:-1]], [*to_inputs[1:], self._final]
        self._there = [
            (used[f"{name}.bias"], inputs[i], weights[i].t(), outputs[i], i < last) for i, name in enumerate(names)
        ]
        self._back = [
            (
                deltas[i].t(),
                found[name + suffix],
                found[f"{name}.bias"],
                deltas[i],
                weights[i],
                to_inputs[i],
                inputs[i],
                i,
            )
            for i, name in reversed(list(enumerate(names)))
        ]
        self._needs_input = to_input

    def forward(self) -> None:
        """Compute `output`."""
        if self._first is not self._x:
            self._first.copy_(self._x)
        for bias, x, weight, output, inside in self._there:
            torch.addmm(bias, x, weight, out=output)
            if inside:
                output.relu_()
        if self.output is not self._output:
            self.output.copy_(self._output)

    def backward(self) -> None:
        """Set the gradients, and compute `to_input` where it is asked for."""
        if self._final is not self._delta:
            self._final.copy_(self._delta)
        for transposed, to_weight, to_bias, delta, weight, to_input, x, inside in self._back:
            torch.mm(transposed, x, out=to_weight)
            torch.sum(delta, 0, out=to_bias)
            if inside or self._needs_input:
                torch.mm(delta, weight, out=to_input)
            if inside:  # through the ReLU that made x: its derivative is 1 where x > 0
                _through_relu(to_input, x, 0, grad_input=to_input)
        if self._needs_input and self.to_input is not self._to_input:
            self.to_input.copy_(self._to_input)


_through_relu = torch.ops.aten.threshold_backward.grad_input


def _by_item(n: int, size: int) -> Tensor:
    """Room for (n, size), an item's values beside each other."""
    return torch.empty(n, size)


def _by_feature(n: int, size: int) -> Tensor:
    """Room for (n, size), a feature's values beside each other: float32 products of few rows then take a fourth less."""
    return torch.empty(size, n).t()


def _in_a_row(array: Tensor) -> Tensor:
    """The values of an array as they lie."""
    return (array if array.is_contiguous() else array.t()).view(-1)


def _like(array: Tensor, example: Tensor) -> Tensor:
    """The array itself where it has the example's precision, else room for it in that."""
    return array if array.dtype == example.dtype else torch.empty_like(array, dtype=example.dtype)


def _padded(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED
