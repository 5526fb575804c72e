"""A run's numbers and pictures for TensorBoard, in RUN/tensorboard; metrics.jsonl is there without it too.

    scalars   negative_elbo/train, negative_elbo/test, ..., learning_rate: every number of `EpochMetrics`
    images    samples: from the prior, the same codes each epoch; reconstructions: rows of test items, each above what
              the model makes of it

A step is an epoch. A resumed run tells TensorBoard to forget what came after its checkpoint, so no epoch is there twice.

Needs: torch; tensorboard where it is asked for (the extra vaekit[tensorboard]).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vaekit.datasets import Dataset
from vaekit.errors import MissingDependencyError, OutputError
from vaekit.images import grid, to_uint8
from vaekit.spec import ModelSpec
from vaekit.training.checkpoint import Checkpoint, checkpoint_folders
from vaekit.training.preview import Previewer
from vaekit.training.progress import EpochMetrics

FOLDER: Final = "tensorboard"

COLUMNS: Final = 8
SAMPLES: Final = 64
RECONSTRUCTIONS: Final = 32


class TensorBoard:
    """What `train` calls back, written to a run's TensorBoard folder.

    ``train(..., on_epoch=board.epoch, on_weights=board.weights)``. The folder is made with the first epoch, since a
    run's folder must not exist before; under torchrun, by the one process that is called back.

    Args:
        run: The run's folder.
        data: Its test items are reconstructed.
        spec: What is trained.
        resume: Whether the run goes on from its newest checkpoint.
        seed: Of the samples' codes.

    Raises:
        MissingDependencyError: TensorBoard is not installed.
        CheckpointError: The run that is to be resumed is none.
    """

    def __init__(self, run: str | Path, data: Dataset, spec: ModelSpec, *, resume: bool = False, seed: int = 0) -> None:
        self._make = _summary_writer()
        self._run = Path(run)
        self._preview: Previewer | None = None
        if spec.data.is_image:
            self._preview = Previewer(data.test.pixels(slice(RECONSTRUCTIONS)), spec, samples=SAMPLES, seed=seed)
        self._done = Checkpoint.latest(self._run).epoch if resume and checkpoint_folders(self._run) else 0
        self._writer: Any = None

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def epoch(self, metrics: EpochMetrics) -> None:
        """Write an epoch's numbers.

        Raises:
            OutputError: The disk does not take them.
        """
        with self._to_disk() as writer:
            for name, value in asdict(metrics).items():
                if name != "epoch":
                    part, _, rest = name.partition("_")
                    writer.add_scalar(f"{rest}/{part}" if part in ("train", "test") else name, value, metrics.epoch)

    def weights(self, epoch: int, model: nn.Module) -> None:
        """Write an epoch's pictures; nothing where items are no images.

        Args:
            epoch: The epoch that ended.
            model: The model, in evaluation mode; left as it was.

        Raises:
            OutputError: The disk does not take them.
        """
        if self._preview is None:
            return
        made = self._preview(model)
        sheets = {"reconstructions": in_pairs_of_rows(made.x, made.x_hat, COLUMNS)}
        if made.samples is not None:
            sheets["samples"] = made.samples
        with self._to_disk() as writer:
            for name, images in sheets.items():
                writer.add_image(name, to_uint8(grid(images, COLUMNS)[None])[0], epoch, dataformats="HWC")

    def close(self) -> None:
        """End the file; another epoch would begin a new one.

        Raises:
            OutputError: The disk does not take what was waiting.
        """
        if self._writer is not None:
            with self._to_disk() as writer:
                self._writer = None
                writer.close()

    @contextlib.contextmanager
    def _to_disk(self) -> Iterator[Any]:
        """Yield the writer, made when it is first needed, and write out what it was given."""
        try:
            if self._writer is None:
                purge = {"purge_step": self._done + 1} if self._done else {}
                self._writer, self._done = self._make(log_dir=str(self._run / FOLDER), **purge), 0
            yield self._writer
            if self._writer is not None:
                self._writer.flush()
        except OSError as error:
            raise OutputError(f"{self._run / FOLDER} could not be written: {error.strerror or error}.") from error


def in_pairs_of_rows(x: NDArray[np.float32], x_hat: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """Order items for a sheet: a row of x above the row of their x_hat, then the next two rows.

    Args:
        x: Items, shape (N, *shape).
        x_hat: What belongs under them, same shape.
        columns: Items in a row; of an incomplete last row, nothing is kept unless it is the only one.

    Returns:
        Items, shape (2 N', *shape).
    """
    columns = min(columns, len(x))
    whole = len(x) // columns * columns
    rows = [np.concatenate([x[i : i + columns], x_hat[i : i + columns]]) for i in range(0, whole, columns)]
    return np.concatenate(rows)


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            "--tensorboard needs TensorBoard; install it with `pip install 'vaekit[tensorboard]'`."
        ) from error
    return SummaryWriter
