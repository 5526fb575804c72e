"""Which block doubles a picture's sides fastest in ONNX Runtime: the choice of vaekit.training.convolutional.

Each contender is a decoder's way from (128, 4, 4) to (3, 64, 64) through 128, 64 and 32 channels, in float32, one batch a turn:

    conv + ConvTranspose 2      3x3 convolution, ReLU, transposed convolution with kernel 2 and stride 2
    conv + 1x1 + DepthToSpace   the same function: 1x1 convolution into four times the channels, then their rearrangement
    3x3 + DepthToSpace          one 3x3 convolution into four times the channels, then their rearrangement
    ConvTranspose 4             transposed convolution with kernel 4 and stride 2, as DCGAN has it

Their multiply-adds differ, so the time is also given for each multiply-add. Two batch sizes: 1, an app's, and 32.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.sidebyside import Spread, interleave, keep, onnx_calls, ratios
from vaekit.exporting.graphs import to_onnx

CHANNELS = (128, 128, 64, 32, 3)
SIDE = 4
BATCHES = (1, 32)


def _depth_to_space(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, 4 * outputs, kernel, padding=kernel // 2), nn.PixelShuffle(2)]


def _conv(channels: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]


BLOCKS: dict[str, Callable[[int, int], list[nn.Module]]] = {
    "3x3 + DepthToSpace": lambda a, b: _depth_to_space(a, b, 3),
    "conv + 1x1 + DepthToSpace": lambda a, b: [*_conv(a), *_depth_to_space(a, b, 1)],
    "conv + ConvTranspose 2": lambda a, b: [*_conv(a), nn.ConvTranspose2d(a, b, 2, stride=2)],
    "ConvTranspose 4": lambda a, b: [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1)],
}


class Decoder(nn.Module):
    """One block for each doubling, ReLU between them."""

    def __init__(self, block: Callable[[int, int], list[nn.Module]]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(CHANNELS):
            layers += [*block(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 128, 4, 4) -> (N, 3, 64, 64)."""
        y: torch.Tensor = self.layers(x)
        return y


def multiply_adds(decoder: Decoder) -> int:
    """Multiply-adds of one item: a weight of a convolution is used once at each place of its smaller side."""
    total, side = 0, SIDE
    for layer in decoder.layers:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            total += layer.weight.numel() * side * side
        if isinstance(layer, nn.PixelShuffle | nn.ConvTranspose2d):
            side *= 2
    return total


def main() -> None:
    """Let them take turns, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    decoders = {name: Decoder(block) for name, block in BLOCKS.items()}
    example = torch.zeros(2, CHANNELS[0], SIDE, SIDE)
    graphs = {name: to_onnx(decoder, example, inputs=["h"], outputs=["y"]) for name, decoder in decoders.items()}
    work = {name: multiply_adds(decoder) for name, decoder in decoders.items()}
    result: dict[str, Any] = {"multiply_adds": work}
    first = next(iter(BLOCKS))
    for threads in (1, 2):
        for batch in BATCHES:
            calls = max(1, 64 // batch)
            rows = np.random.default_rng(0).normal(size=(batch, CHANNELS[0], SIDE, SIDE)).astype(np.float32)
            turns = {name: onnx_calls(graph, rows, threads=threads, calls=calls) for name, graph in graphs.items()}
            seconds = interleave(turns, rounds)
            print(
                f"\n{threads} thread{'s' * (threads > 1)}, batch {batch}: "
                f"ms a batch, of {first!r}, the same for each multiply-add"
            )
            for name, times in seconds.items():
                ratio = ratios(seconds, name, first)
                each = ratio.median * work[first] / work[name]
                print(f"{name:28} {Spread.of(times).text(1e-3):24} {ratio.text():24} {each:.2f}")
                result[f"{threads} threads, batch {batch}, {name}"] = {
                    "seconds": vars(Spread.of(times)),
                    "over_first": vars(ratio),
                    "over_first_each_multiply_add": each,
                }
    keep("blocks", result)


if __name__ == "__main__":
    main()
