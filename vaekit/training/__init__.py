"""Training in PyTorch: from a data set to a checkpoint.

    config.py         TrainConfig: everything that decides what a run does
    config_file.py    the same as a TOML file
    models.py         the MLP; what any model must offer; the two graphs that are exported
    convolutional.py  convolutional and residual models, for images and time series
    imported.py       a user's own model, by import path
    objective.py      likelihoods, KL, the ELBO and the importance-weighted bound, per item, from the decoder's parameters
    analytic.py       the MLP's gradient in closed form
    adam.py           the optimiser
    step.py           one optimisation step: closed form, autograd or compiled; fp32 or bf16
    schedules.py      Adam's step size and the KL's weight, by step
    ema.py            the running average of the weights
    batches.py        batches from memory or from a mapped file
    trainer.py        the epochs: train, measure, checkpoint, resume
    measuring.py      the negative ELBO of the test items
    progress.py       what a run tells of itself: an epoch's numbers, and where it is
    ranks.py          several processes that train one model
    checkpoint.py     a run's folder on disk
    means.py          posterior means of a few test items, kept after each epoch
    tracking.py       TensorBoard

Needs: torch, safetensors (the extra vaekit[train]). Must not import: onnx, onnxruntime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vaekit.training.config import TrainConfig

if TYPE_CHECKING:
    from vaekit.training.checkpoint import Checkpoint
    from vaekit.training.progress import EpochMetrics, Progress
    from vaekit.training.trainer import train

__all__ = ["Checkpoint", "EpochMetrics", "Progress", "TrainConfig", "train"]

_HOMES = {"Checkpoint": "checkpoint", "EpochMetrics": "progress", "Progress": "progress", "train": "trainer"}


def __getattr__(name: str) -> Any:
    """Import torch when a name that needs it is first used, so that the command line can read TrainConfig without it."""
    if name in _HOMES:
        return getattr(import_module(f"vaekit.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
