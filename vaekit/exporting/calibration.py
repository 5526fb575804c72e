"""Calibration: the range of every value inside a graph, seen on the data that the model was trained on.

Integers of 8 bits divide a range into 255 steps. Too narrow a range cuts values off, too wide a range makes the steps coarse;
three methods choose it from the values that were seen:

    minmax      smallest and largest
    percentile  all but the outermost 0.001 %
    entropy     the range whose histogram in 8 bits is nearest to the original's, by KL divergence

Which one loses least is not known before: it is measured, on other training items than those that the ranges come from.

The encoder is calibrated on items. The decoder is calibrated on what it will get: codes drawn from these items' posteriors, and
as many from the prior.

Needs: NumPy, onnx, ONNX Runtime.
"""

from __future__ import annotations

import tempfile
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from vaekit.datasets import Split, as_float
from vaekit.datasets.rows import spread
from vaekit.errors import ConfigError, DataError, ShapeError
from vaekit.exporting.graphs import quiet
from vaekit.exporting.topology import shapes
from vaekit.runtime.providers import import_onnxruntime
from vaekit.runtime.session import BATCH
from vaekit.runtime.vae import VAE
from vaekit.runtime.verify import in_batches
from vaekit.spec import ModelSpec

METHODS: Final = ("minmax", "percentile", "entropy")

FEWEST: Final = 32
"""Fewest items that say something about a range; as many are needed to choose the method on."""

ITEMS: Final = 512
"""Items that are usually taken: on the reference model 128 to 2,048 make no difference in the second digit."""

ITEM_BYTES: Final = 256 << 20
"""Bytes of the items that are taken, as float32, both parts together; of large ones fewer are taken."""

SEED: Final = 0
"""Seed of the codes."""

ACTIVATIONS: Final = 64 << 20
"""Bytes of inner values that are looked at in one go: the calibrators keep every value of a batch."""

PERCENTILE: Final = 99.999


class CalibrationData(NamedTuple):
    """What ranges are taken from, and what the method is chosen on.

    Attributes:
        x: Items for the encoder, (N, *shape) float32.
        z: Codes for the decoder, (2 N, D) float32: half from the items' posteriors, half from the prior.
        chosen_on: Other items, as many where there are enough, (M, *shape) float32.
    """

    x: NDArray[np.float32]
    z: NDArray[np.float32]
    chosen_on: NDArray[np.float32]


def calibration_data(vae: VAE, train: Split, count: int = ITEMS) -> CalibrationData:
    """Take items from the training part, evenly spaced, and draw the codes.

    Args:
        vae: The model in fp32.
        train: The training part of the data.
        count: Items to calibrate on; half of the part, where that is less, or as many as fit into `ITEM_BYTES`.

    Raises:
        ConfigError: Fewer than `FEWEST` were asked for.
        ShapeError: The items have another shape or range than the model takes.
        DataError: The part has too few.
    """
    if count < FEWEST:
        raise ConfigError(f"calibration_items={count}: fewer than {FEWEST} items say little about a range; give more.")
    _check(vae.spec, train)
    count = max(FEWEST, min(count, ITEM_BYTES // (2 * 4 * vae.spec.data.size)))
    # Every other one, so that both halves come from all over the data.
    items = as_float(spread(train.items, 2 * count)[:])
    x, chosen_on = np.ascontiguousarray(items[0::2]), np.ascontiguousarray(items[1::2])
    posterior = in_batches(lambda rows, start: vae.encode(rows).sample(seed=SEED, start=start), x, BATCH)
    z = np.concatenate([posterior, vae.prior(len(x), seed=SEED, start=len(x))])
    return CalibrationData(x, z, chosen_on)


def ranges(model: onnx.ModelProto, rows: NDArray[np.float32], method: str, operators: tuple[str, ...]) -> Any:
    """Measure the range of every value that a node of certain operators takes or gives.

    Args:
        model: A graph with one input and with the shapes of its inner values.
        rows: What it is run on.
        method: One of `METHODS`.
        operators: Operator types.

    Returns:
        `onnxruntime.quantization.calibrate.TensorsData`.
    """
    import_onnxruntime()
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    kinds = {
        "minmax": (CalibrationMethod.MinMax, {}),
        # Not symmetric: activations are unsigned, and after a ReLU one half of a symmetric range would be lost.
        "percentile": (CalibrationMethod.Percentile, {"symmetric": False, "percentile": PERCENTILE}),
        "entropy": (CalibrationMethod.Entropy, {}),
    }
    kind, options = kinds[method]
    step = _rows_at_once(model)
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        calibrator = create_calibrator(
            path,
            list(operators),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=kind,
            extra_options=options,
        )
        for start in range(0, len(rows), step):
            calibrator.collect_data(_OneBatch({model.graph.input[0].name: rows[start : start + step]}))
        found = calibrator.compute_data()
        # Windows removes no file that a session holds open.
        del calibrator
    return found


class _OneBatch:
    """What ONNX Runtime calls a CalibrationDataReader."""

    def __init__(self, feed: dict[str, NDArray[np.float32]]) -> None:
        self._feed: dict[str, NDArray[np.float32]] | None = feed

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Give the batch, and the next time nothing."""
        feed, self._feed = self._feed, None
        return feed


def _rows_at_once(model: onnx.ModelProto) -> int:
    values = sum(prod(size or 1 for size in shape[1:]) for shape in shapes(model).values())
    return int(max(1, min(256, ACTIVATIONS // (4 * max(1, values)))))


def _check(spec: ModelSpec, train: Split) -> None:
    found, wanted = tuple(train.items.shape[1:]), spec.data.shape
    if found != wanted:
        raise ShapeError(f"the calibration data has items of shape {found}, but the model takes {wanted}.")
    if len(train) < 2 * FEWEST:
        raise DataError(
            f"int8 takes {2 * FEWEST} training items at least, {FEWEST} to calibrate on and {FEWEST} to choose the method on, "
            f"but the data has {len(train):,}; give more, or leave int8 out."
        )
