"""What the peers run: the same weights as a bundle, as torch modules, and as NumPy arrays.

mlp     the built-in model, 784-400-(2x20) and 20-400-784
conv    vaekit's own `--arch conv` for 3x64x64, 20 latent dimensions, its weights drawn and never trained

python -m benchmarks.peers_subjects FOLDER     exports conv's bundle
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaekit.bundle import Bundle
from vaekit.runtime.bench.ways import inputs

MODELS = ("mlp", "conv")
SIDE = 64
"""Sides of conv's pictures."""


@dataclass(frozen=True)
class Job:
    """One half of one model, to be run by one peer.

    Attributes:
        model: "mlp" or "conv".
        half: "encoder" or "decoder".
        bundle: The model.
        threads: Threads of one call.
        precision: Which of the bundle's graphs; of use to vaekit alone.
    """

    model: str
    half: str
    bundle: Bundle
    threads: int
    precision: str = "fp32"

    @property
    def path(self) -> Path:
        """File of the fp32 graph."""
        return self.bundle.path / f"{self.half}.onnx"

    @property
    def ports(self) -> tuple[str, list[str]]:
        """Names of the graph's input and outputs."""
        info = self.bundle.manifest.graph(self.half, "fp32")
        return info.inputs[0].name, [port.name for port in info.outputs]

    def golden(self) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Input and outputs that every peer must reproduce."""
        golden = self.bundle.golden()
        if self.half == "decoder":
            return golden.z, [golden.x_hat]
        return golden.x, [golden.mean, golden.log_var]

    def inputs(self, batch: int) -> NDArray[np.float32]:
        """A batch to time: portable noise for a decoder, the golden items over and over for an encoder."""
        return inputs(self.bundle, self.half, batch)


def torch_module(job: Job) -> Any:
    """The half as a torch module, in evaluation mode."""
    import torch

    from vaekit.training.models import DecoderGraph, EncoderGraph

    model, spec = untrained(job.model)
    graph = (EncoderGraph if job.half == "encoder" else DecoderGraph)(model, spec)
    if job.model == "mlp":
        weights = {name: torch.from_numpy(value.copy()) for name, value in mlp_weights(job).items()}
        model.get_submodule(job.half).load_state_dict(weights)
    return graph.eval()


def untrained(name: str) -> tuple[Any, Any]:
    """One of `MODELS` as a torch module with drawn weights, and its spec."""
    from vaekit.spec import DataSpec
    from vaekit.training.config import TrainConfig
    from vaekit.training.models import build_model

    config = TrainConfig() if name == "mlp" else TrainConfig(arch="conv")
    spec = config.spec(DataSpec((1, 28, 28) if name == "mlp" else (3, SIDE, SIDE)))
    return build_model(config, spec), spec


def mlp_weights(job: Job) -> dict[str, NDArray[np.float32]]:
    """Weights of the built-in model's half from its graph: "0.weight", "0.bias", "2.weight", "2.bias"."""
    import onnx
    from onnx import numpy_helper

    prefix = f"model.{job.half}."
    initializers = onnx.load(job.path).graph.initializer
    return {
        tensor.name.removeprefix(prefix): numpy_helper.to_array(tensor)
        for tensor in initializers
        if tensor.name.startswith(prefix)
    }


def operations(job: Job) -> float:
    """Operations of the matrix products and convolutions of one item, counted by torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    count = 4
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        torch_module(job)(torch.from_numpy(job.inputs(count)))
    return float(counter.get_total_flops()) / count


def export_conv(folder: Path) -> None:
    """Write conv's bundle."""
    from vaekit.datasets import Dataset, Split
    from vaekit.exporting import ModulePair, export_bundle
    from vaekit.training.models import DecoderGraph, EncoderGraph

    model, spec = untrained("conv")
    model.eval()
    pixels = np.random.default_rng(0).integers(0, 256, size=(64, 3, SIDE, SIDE), dtype=np.uint8)
    data = Dataset("noise", "noise", "0" * 64, Split(pixels), Split(pixels))
    export_bundle(ModulePair(EncoderGraph(model, spec), DecoderGraph(model, spec), spec), folder, data=data)


if __name__ == "__main__":
    export_conv(Path(sys.argv[1]))
