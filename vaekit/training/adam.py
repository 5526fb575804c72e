"""Adam, for all weights in one array on the CPU without what `torch.optim` does around its kernel.

    m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
    w <- w - rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + 1e-8),   beta1 = 0.9, beta2 = 0.999, t from 1

Hooks, groups and checks cost a third of a millisecond a step, between matrix products that have emptied the caches: as long as
the kernel itself takes for a small network.

Source: Kingma & Ba 2015, arXiv:1412.6980.

Needs: torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Adam(torch.optim.Adam):
    """torch's fused Adam, with its state and its numbers.

    Args:
        weights: What is trained, with its gradient in `grad`.
        learning_rate: The step size until `update` is told another.
    """

    def __init__(self, weights: Sequence[nn.Parameter], learning_rate: float) -> None:
        # Fused: one kernel for all weights. torch's default loops over them in Python on the CPU, three times slower.
        super().__init__(weights, lr=learning_rate, fused=True)
        self._alone = weights[0] if len(weights) == 1 and weights[0].device.type == "cpu" else None

    @torch.no_grad()
    def update(self, learning_rate: float) -> None:
        """Take one step."""
        weight = self._alone
        state = {} if weight is None else self.state[weight]
        if weight is None or weight.grad is None or not state:  # torch makes the state in its first step
            for group in self.param_groups:
                group["lr"] = learning_rate
            self.step()
            return
        state["step"] += 1
        beta1, beta2 = self.defaults["betas"]
        torch._fused_adam_(
            [weight],
            [weight.grad],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            lr=learning_rate,
            beta1=beta1,
            beta2=beta2,
            weight_decay=0.0,
            eps=self.defaults["eps"],
            amsgrad=False,
            maximize=False,
        )
