"""Why a loss is not finite: steps that are too large, or test items far beyond the training items.

Needs: the standard library; `checkpoint.py` needs torch.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

from vaekit.datasets import Dataset
from vaekit.datasets.tables import constant_in_training
from vaekit.errors import DivergedError
from vaekit.training.checkpoint import last_good

NAMED: Final = 5
"""Columns that a message names; of more it gives the number."""


def diverged(run: Path, epoch: int, step: int, rate: float) -> DivergedError:
    """The training items' loss broke.

    Args:
        run: The run's folder.
        epoch: In which epoch.
        step: Steps of the whole run before it.
        rate: Its learning rate.
    """
    return DivergedError(
        f"the loss is not finite at epoch {epoch}, step {step + 1}, learning rate {rate:.3g}; {last_good(run)}. "
        "Train again with a smaller --learning-rate."
    )


def diverged_on_test(run: Path, epoch: int, data: Dataset) -> DivergedError:
    """The test items' loss broke, and that of the training items did not."""
    names = constant_in_training(data)
    return DivergedError(
        f"the loss on the test items is not finite after epoch {epoch}, but that on the training items is; {last_good(run)}. "
        + (
            f"Look at {_one_value(names)}; {_advice(names, data)}."
            if names
            else "Some test items are far beyond all training items; look at them, or divide the data otherwise."
        )
    )


def warn_of_constant_columns(data: Dataset) -> None:
    """Say so where columns have one value among the training items and others among the test items."""
    names = constant_in_training(data)
    if names:
        warnings.warn(
            f"{data.name}: nothing says how to scale {_one_value(names)}; {_advice(names, data)}.",
            stacklevel=3,
        )


def _one_value(names: tuple[str, ...]) -> str:
    values = "one value among the training items and others among the test items"
    if len(names) == 1:
        return f"the column {names[0]!r}, which has {values}"
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"the columns {', '.join(map(repr, names[:NAMED]))}{more}, of which each has {values}"


def _advice(names: tuple[str, ...], data: Dataset) -> str:
    others = "name the other columns in --columns, or " if len(names) < len(data.features) else ""
    return f"{others}divide the data otherwise (--test-fraction)"
