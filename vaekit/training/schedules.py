"""What changes from step to step: Adam's step size, and the weight of the KL.

Needs: the standard library.
"""

from __future__ import annotations

import math

from vaekit.training.config import TrainConfig


def learning_rate_at(step: int, config: TrainConfig, steps: int) -> float:
    """Adam's step size at a step: linear warm-up to the peak, then constant or half a cosine to 0.

    ``peak * 1/2 (1 + cos(pi t))`` with t from 0 after the warm-up to 1 after the run's last step.

    Args:
        step: 0 for the run's first step.
        config: Peak, warm-up and schedule.
        steps: Steps of the whole run.
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    t = (step - config.warmup) / max(1, steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * t))


def kl_weight_at(step: int, config: TrainConfig) -> float:
    """Weight of the KL at a step, 0 for the run's first: ``beta * min(1, step / kl_warmup)``; beta without a warm-up.

    Source: Bowman et al. 2016, section 3.1, arXiv:1511.06349, with a straight line.
    """
    return config.beta * min(1.0, step / config.kl_warmup) if config.kl_warmup else config.beta
