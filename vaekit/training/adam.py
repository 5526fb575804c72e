"""Adam: torch's fused kernel, without what `torch.optim.Optimizer` does around it.

    m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
    w <- w - rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + 1e-8),   beta1 = 0.9, beta2 = 0.999, t from 1

An Optimizer imports torch's compiler when it is made, two seconds on a slow machine. Its hooks, groups and checks cost a third
of a millisecond a step, between matrix products that have emptied the caches: as long as the kernel takes for a small network.

Source: Kingma & Ba 2015, arXiv:1412.6980.

Needs: torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

OPTIONS: Final[dict[str, Any]] = {
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "amsgrad": False,
    "maximize": False,
}
"""torch's defaults."""


class Adam:
    """torch's fused Adam, with its state and its numbers.

    Args:
        weights: What is trained, on one device, each with its gradient in `grad`. One without a gradient stays as it is.

    Attributes:
        state: "step", "exp_avg" (m) and "exp_avg_sq" (v) of each weight that took a step, named as torch names them.
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self._weights = list(weights)
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def update(self, learning_rate: float) -> None:
        """Take one step."""
        weights = [weight for weight in self._weights if weight.grad is not None]
        state = [self.state[weight] or self._begin(weight) for weight in weights]
        gradients = [weight.grad for weight in weights]
        means, squares = [one["exp_avg"] for one in state], [one["exp_avg_sq"] for one in state]
        steps = [one["step"] for one in state]
        if len(weights) == 1 and weights[0].device.type == "cpu":  # torch's function would group them first
            steps[0] += 1
            torch._fused_adam_(weights, gradients, means, squares, [], steps, lr=learning_rate, **OPTIONS)  # type: ignore[arg-type]
        elif weights:
            # Fused: one kernel for all weights. torch's default loops over them in Python on the CPU, three times slower.
            adam(weights, gradients, means, squares, [], steps, fused=True, lr=learning_rate, **OPTIONS)  # type: ignore[arg-type]

    def forget_gradients(self) -> None:
        """Let every gradient go, so that the next backward pass begins with none."""
        for weight in self._weights:
            weight.grad = None

    def _begin(self, weight: Tensor) -> dict[str, Tensor]:
        """A weight's state before its first step."""
        step = torch.zeros((), dtype=torch.float32, device=weight.device)
        self.state[weight] = {"step": step, "exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
        return self.state[weight]
