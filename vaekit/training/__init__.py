"""Training in PyTorch: from a data set to a checkpoint.

    config.py      TrainConfig: everything that decides what a run does
    models.py      the MLP VAE and the classic autoencoder; what any model must offer
    objective.py   the two terms of the negative ELBO, per item, from logits
    batches.py     batches from one uint8 tensor
    step.py        one optimisation step: eager or compiled, fp32 or bf16
    trainer.py     the epochs: train, measure, checkpoint, resume
    checkpoint.py  a run's folder on disk

Needs: torch, safetensors (the extra vaekit[train]). Must not import: onnx, onnxruntime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vaekit.training.config import TrainConfig

if TYPE_CHECKING:
    from vaekit.training.checkpoint import Checkpoint
    from vaekit.training.trainer import EpochMetrics, Progress, train

__all__ = ["Checkpoint", "EpochMetrics", "Progress", "TrainConfig", "train"]

_HOMES = {"Checkpoint": "checkpoint", "EpochMetrics": "trainer", "Progress": "trainer", "train": "trainer"}


def __getattr__(name: str) -> Any:
    """Import torch when a name that needs it is first used, so that the command line can read TrainConfig without it."""
    if name in _HOMES:
        return getattr(import_module(f"vaekit.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
