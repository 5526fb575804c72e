"""What a run tells while it goes on: an epoch's numbers, and where in an epoch it is.

Needs: the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch's numbers: one line of metrics.jsonl. Means over items, in nats.

    Attributes:
        epoch: 1 for the first.
        train_negative_elbo: ``reconstruction + kl`` while training, so over weights that change. With the objective "iwae"
            the means over its samples: not the bound that is trained, and not bound to fall with it.
        train_reconstruction: Its first term.
        train_kl: Its second.
        test_negative_elbo: On the test items after the epoch, one sample of the posterior an item, float32.
        test_reconstruction: Its first term.
        test_kl: Its second.
        learning_rate: Adam's step size at the epoch's last step.
        steps: Steps in the epoch.
        seconds: Wall time of the epoch's steps, without measuring and saving.
        loading_seconds: The part of it that the step waited for its items.
    """

    epoch: int
    train_negative_elbo: float
    train_reconstruction: float
    train_kl: float
    test_negative_elbo: float
    test_reconstruction: float
    test_kl: float
    learning_rate: float
    steps: int
    seconds: float
    loading_seconds: float


@dataclass(frozen=True)
class Progress:
    """Where a run is, for a progress bar.

    Attributes:
        epoch: The epoch under way, 1 for the first.
        epochs: Epochs of the run.
        step: Steps done in this epoch.
        steps: Steps in each epoch.
        reconstruction: Mean so far in this epoch, in nats.
        kl: The same for the KL.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    reconstruction: float
    kl: float
