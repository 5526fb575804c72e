"""What fp16 and int8 bring in ONNX Runtime, on one thread: bytes, items a second, nats.

    reference     the built-in model's decoder and encoder in fp32, fp16, static int8 with one scale a tensor, which is what the
                  exporter chooses for it, and with one a channel, and dynamic int8, at batch 1 to 1024
    convolutions  a decoder of 3x64x64 as `vaekit train --arch conv` has it, in fp32 and int8, at batch 1, 64 and 256; beside it
                  the decoder of the same channels made of transposed convolutions with kernel 4, in fp32

int8 is made as `vaekit export --precision int8` makes it. The reference model's loss is measured on all test items. The
convolutional decoders have weights that nobody trained: their time does not depend on them, and no loss is stated.

A way that the exporter does not go is timed as well: int8 with the transposed convolutions left as they are.

Goals: the reference decoder in int8 at most 28 % of fp32's bytes, at least 3 times its rate at batch 64 and 256, at most 0.1
nats lost; the convolutional decoder in int8 at least 2 times the rate of kernel 4 in fp32 at batch 64.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

import vaekit
from benchmarks.sidebyside import Spread, interleave, keep, onnx_calls, ratios
from vaekit.bundle import builtin_bundle
from vaekit.datasets import Dataset, load_dataset
from vaekit.exporting.calibration import ITEMS, CalibrationData, calibration_data, ranges
from vaekit.exporting.candidates import Halves, open_variant
from vaekit.exporting.float16 import to_float16
from vaekit.exporting.graphs import to_onnx
from vaekit.exporting.quantize import INTEGER, float_layers, prepare, to_int8, to_int8_dynamic
from vaekit.exporting.topology import name_nodes
from vaekit.runtime.evaluate import evaluate
from vaekit.spec import DataSpec, ModelSpec
from vaekit.training.convolutional import Convolutional
from vaekit.training.models import DecoderGraph

REFERENCE_BATCHES = (1, 64, 256, 1024)
CONVOLUTION_BATCHES = (1, 64, 256)
CHANNELS = (128, 128, 64, 32, 3)
"""Of the decoder of kernel 4 from 4x4 to 64x64: those that `--arch conv` takes for pictures of that size."""
LATENT = 64


class KernelFour(nn.Module):
    """z (N, D) -> (N, 3, 64, 64) by transposed convolutions with kernel 4 and stride 2, as DCGAN has them."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(LATENT, CHANNELS[0] * 16), nn.Unflatten(1, (CHANNELS[0], 4, 4)), nn.ReLU()]
        for inputs, outputs in pairwise(CHANNELS):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1], nn.Sigmoid())

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Give the probabilities."""
        x_hat: torch.Tensor = self.layers(z)
        return x_hat


def side_by_side(
    graphs: Mapping[str, bytes],
    rows: NDArray[np.float32],
    batches: tuple[int, ...],
    first: str,
    rounds: int,
) -> dict[str, Any]:
    """Let graphs take turns at each batch size, print, and give what is kept: rates, and ratios to the first's."""
    result: dict[str, Any] = {}
    for batch in batches:
        seconds = interleave({name: onnx_calls(graph, rows[:batch]) for name, graph in graphs.items()}, rounds)
        print(f"\nbatch {batch}: items/s, times the rate of {first!r}")
        for name, times in seconds.items():
            rate = Spread.of([batch / taken for taken in times])
            faster = ratios(seconds, first, name)
            print(f"{name:44} {rate.text(digits=0):32} {faster.text()}")
            result[f"batch {batch}, {name}"] = {"items_per_second": vars(rate), "times_the_first": vars(faster)}
    return result


def reference(rounds: int) -> dict[str, Any]:
    """The built-in model: bytes and loss of each precision, rates of both halves."""
    vae, data = vaekit.load(provider="cpu", threads=1), load_dataset("mnist")
    folder = builtin_bundle()
    fp32 = Halves(*((folder / f"{half}.onnx").read_bytes() for half in ("encoder", "decoder")))
    calibrated = calibration_data(vae, data.train, ITEMS)
    precisions = {
        "fp32": fp32,
        "fp16": Halves(*map(to_float16, fp32)),
        "int8": integers(fp32, calibrated, per_channel=False),
        "int8, a scale a channel": integers(fp32, calibrated, per_channel=True),
        "int8-dynamic": Halves(*map(to_int8_dynamic, fp32)),
    }
    result: dict[str, Any] = {"loss": losses(vae, precisions, data)}
    for half in ("decoder", "encoder"):
        print(f"\nreference {half}")
        graphs = {name: getattr(halves, half) for name, halves in precisions.items()}
        for name, graph in graphs.items():
            part = len(graph) / len(graphs["fp32"])
            print(f"{name:44} {len(graph):,} bytes, {part:.1%} of fp32's")
            result[f"{half}, {name}"] = {"bytes": len(graph), "part_of_fp32": part}
        rows = vae.prior(1024) if half == "decoder" else data.test.pixels(slice(1024))
        result[half] = side_by_side(graphs, rows, REFERENCE_BATCHES, "fp32", rounds)
    return result


def integers(fp32: Halves, data: CalibrationData, *, per_channel: bool) -> Halves:
    """Both halves in int8, calibrated by the smallest and largest value, which the exporter chooses for this model."""
    return Halves(
        *(
            to_int8(prepared, ranges(prepared, rows, "minmax", INTEGER), per_channel=per_channel)
            for prepared, rows in ((prepare(fp32.encoder), data.x), (prepare(fp32.decoder), data.z))
        )
    )


def losses(vae: vaekit.VAE, precisions: Mapping[str, Halves], data: Dataset) -> dict[str, Any]:
    """Negative ELBO in nats on the test items: of each precision, and of its decoder behind fp32's encoder."""
    baseline = evaluate(vae, data.test.items).negative_elbo
    print(f"negative ELBO of fp32 on {len(data.test):,} test items: {baseline:.3f} nats")
    found: dict[str, Any] = {"fp32": baseline}
    for name, halves in precisions.items():
        if name == "fp32":
            continue
        precision = name.partition(",")[0]
        both = evaluate(open_variant(vae, precision, halves), data.test.items).negative_elbo - baseline
        mixed = open_variant(vae, precision, halves._replace(encoder=precisions["fp32"].encoder))
        decoder = evaluate(mixed, data.test.items).negative_elbo - baseline
        print(f"{name:44} {both:+.4f} nats, {decoder:+.4f} with its decoder alone")
        found[name] = {"delta_elbo": both, "delta_elbo_of_the_decoder": decoder}
    return found


def convolutions(rounds: int) -> dict[str, Any]:
    """A decoder of 3x64x64: bytes and rates."""
    torch.manual_seed(0)
    spec = ModelSpec("vae", DataSpec((3, 64, 64)), LATENT, "bernoulli")
    model = Convolutional(spec, residual=False)
    with torch.no_grad():
        for parameter in model.parameters():  # training gives biases; at zero the exporter leaves them out
            if parameter.ndim == 1:
                parameter.normal_(std=0.1)
    example, z = torch.zeros(2, LATENT), np.random.default_rng(0).normal(size=(256, LATENT)).astype(np.float32)
    conv, four = (
        to_onnx(module, example, inputs=["z"], outputs=["x_hat"])
        for module in (DecoderGraph(model, spec), KernelFour())
    )
    prepared = prepare(conv)
    seen = ranges(prepared, z, "minmax", INTEGER)
    graphs = {
        "kernel 4, fp32": four,
        "conv, fp32": conv,
        "conv, fp16": to_float16(conv),
        "conv, int8": to_int8(prepared, seen),
        "conv, int8, last layer in float": to_int8(prepared, seen, keep_float=float_layers(prepared)),
        "conv, int8, transposed convolutions in float": as_it_is(conv, z),
    }
    print("\nconvolutional decoder of 3x64x64")
    result: dict[str, Any] = {}
    for name, graph in graphs.items():
        print(f"{name:44} {len(graph):,} bytes")
        result[name] = {"bytes": len(graph)}
    return result | side_by_side(graphs, z, CONVOLUTION_BATCHES, "kernel 4, fp32", rounds)


def as_it_is(graph: bytes, z: NDArray[np.float32]) -> bytes:
    """int8 without rearrangement: ONNX Runtime has no transposed convolution of integers."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    name_nodes(model)
    return to_int8(model, ranges(model, z, "minmax", INTEGER))


def main() -> None:
    """Measure both models, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    keep("precisions", {"reference": reference(rounds), "convolutional_decoder": convolutions(rounds)})


if __name__ == "__main__":
    main()
