"""Convolutional encoder and decoder for pictures (C, H, W) and time series (D, T), plain or with residual blocks.

    encoder  x -> [halve the sides, blocks] at each resolution -> [dense layer] -> linear to mean and log_var
    decoder  z -> [dense layer] -> linear -> [blocks, double the sides] at each resolution -> logits or means

Sides are halved until the longest is at most 7: 28 -> 14 -> 7, and 64 -> 32 -> 16 -> 8 -> 4. Halving rounds up, and doubling
cuts what is beyond the target, so every size comes back: 101 -> 51 -> 26 -> 13 -> 7 -> 13 -> 26 -> 51 -> 101.

The decoder doubles by a transposed convolution with kernel 2 and stride 2, after 3x3 convolutions at the smaller size. In ONNX
Runtime this is the fastest of the blocks that benchmarks/blocks.py measures, for its multiply-adds: 0.92 of the time of a 3x3
convolution with DepthToSpace and 0.78 of a transposed convolution with kernel 4; 0.87 of the same function written as a 1x1
convolution with DepthToSpace (1 thread, batch 32). Kernel 4 alone has 8 multiply-adds for 11, and takes 0.80 of the time.

Nothing is normalised over the batch, so that an item's code does not depend on its neighbours, nor over an item: residual
blocks begin as the identity instead, the last convolution of each at zero.

Needs: torch. Shapes: N items, D latent dimensions.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from vaekit.errors import ConfigError
from vaekit.spec import ModelSpec
from vaekit.training.models import split_heads

SMALLEST: Final = 7
"""Sides are halved while one is longer."""

WIDEST: Final = 4
"""Channels double with each halving, up to so many times the first."""


class Convolutional(nn.Module):
    """Strided convolutions with ReLU; at each resolution plain 3x3 convolutions or residual blocks.

    Args:
        spec: What the model is for: items of (C, H, W) or (D, T).
        residual: Whether the blocks are residual.
        depth: Residual blocks, or convolutions, at each resolution; of the encoder's convolutions the first is the one that
            halves. None takes `default_size`.
        width: Channels after the first halving. None takes `default_size`.
        dense: Units of a hidden layer, with ReLU, on each side of the code; None has none. It sees the whole item at once,
            which convolutions at 7x7 do not; benchmarks/README.md has what it gains. It also has most of the weights.

    Raises:
        ConfigError: Items are rows, which have no neighbourhood.

    Source: residual blocks with the activation first are He et al. 2016, arXiv:1603.05027; their last convolution at zero is
    Zhang, Dauphin & Ma 2019, arXiv:1901.09321.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        residual: bool,
        depth: int | None = None,
        width: int | None = None,
        dense: int | None = None,
    ) -> None:
        super().__init__()
        channels, *shape = spec.data.shape
        if not shape:
            raise ConfigError(
                f"arch={'resnet' if residual else 'conv'!r} is for pictures (C, H, W) and series (D, T), "
                f"but an item has shape {spec.data.shape}; take arch='mlp'."
            )
        self.spec = spec
        usual_depth, usual_width = default_size(spec.data.shape, residual=residual)
        depth, width = depth or usual_depth, width or usual_width
        sizes = resolutions(tuple(shape))
        halves = len(sizes) > 1  # the smallest items keep their size
        widths = [width * min(WIDEST, 2**level) for level in range(max(1, len(sizes) - 1))]
        code = (widths[-1], *sizes[-1])
        heads = 2 if spec.kind == "vae" else 1

        encoder: list[nn.Module] = []
        for inputs, outputs in zip([channels, *widths[:-1]], widths, strict=True):
            encoder.append(_conv(len(shape), inputs, outputs, stride=2 if halves else 1))
            encoder += _blocks(len(shape), outputs, depth, residual=True) if residual else [nn.ReLU()]
            encoder += [] if residual else _blocks(len(shape), outputs, depth - 1, residual=False)
        encoder += [nn.Flatten(), *([] if dense is None else [_dense(math.prod(code), dense), nn.ReLU()])]
        self.encoder = nn.Sequential(*encoder, nn.Linear(dense or math.prod(code), heads * spec.latent))

        decoder: list[nn.Module] = [] if dense is None else [_dense(spec.latent, dense), nn.ReLU()]
        spread = nn.Linear(spec.latent, math.prod(code)) if dense is None else _dense(dense, math.prod(code))
        decoder += [spread, nn.Unflatten(1, code)]
        decoder += [] if residual else [nn.ReLU()]
        for level in reversed(range(len(widths))):
            inputs, outputs = widths[level], widths[level - 1] if level else channels
            decoder += _blocks(len(shape), inputs, depth, residual=residual)
            decoder.append(_Double(inputs, outputs, sizes[level]) if halves else _conv(len(shape), inputs, outputs))
            decoder += [] if residual or not level else [nn.ReLU()]
        self.decoder = nn.Sequential(*decoder)
        if len(shape) == 2:
            # Channels innermost: on the CPU a step takes about 0.8 of the time.
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch forgot to declare it

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Items (N, *shape) -> mean (N, D), log_var (N, D) or None."""
        return split_heads(self.encoder(x), self.spec)

    def decode_params(self, z: Tensor) -> Tensor:
        """Codes (N, D) -> logits or means (N, *shape)."""
        params: Tensor = self.decoder(z)
        return params


def default_size(shape: tuple[int, ...], *, residual: bool) -> tuple[int, int]:
    """Choose depth and width so that a step of 128 items of 3x64x64 takes about a second on two cores.

    Depth is 1; 2 residual blocks up to two halvings, as for 28x28. Width is 32; 64 where the data has more than 32 channels;
    16 for pictures with a side above 64, whose first resolutions would take nearly all the time.

    Args:
        shape: An item's, (C, H, W) or (D, T).
        residual: Whether blocks are residual.
    """
    channels, *sides = shape
    halvings = len(resolutions(tuple(sides))) - 1
    large = len(sides) == 2 and max(sides) > 64
    return 2 if residual and halvings <= 2 else 1, 64 if channels > 32 else 16 if large else 32


def resolutions(sides: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Sides at each resolution, from the data's own to the smallest: each half of the one before, rounded up."""
    sizes = [sides]
    while max(sizes[-1]) > SMALLEST:
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    return sizes


class _Residual(nn.Module):
    """``h + conv(ReLU(conv(ReLU(h))))``, with 3x3 convolutions (a series: of 3)."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv(dims, channels, channels), _conv(dims, channels, channels)
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor) -> Tensor:
        """(N, channels, *sides) -> the same shape."""
        inner: Tensor = self.second(functional.relu(self.first(functional.relu(h))))
        return h + inner


class _Double(nn.Module):
    """Transposed convolution with kernel 2 and stride 2, cut to the sides that were halved."""

    def __init__(self, inputs: int, outputs: int, sides: tuple[int, ...]) -> None:
        super().__init__()
        kind = nn.ConvTranspose1d if len(sides) == 1 else nn.ConvTranspose2d
        self.conv = kind(inputs, outputs, 2, stride=2)
        nn.init.normal_(self.conv.weight, std=math.sqrt(2 / inputs))  # each value comes from one place's channels
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        self.sides = sides

    def forward(self, h: Tensor) -> Tensor:
        """(N, inputs, *half) -> (N, outputs, *sides)."""
        y: Tensor = self.conv(h)
        for axis, side in enumerate(self.sides, start=2):
            y = y.narrow(axis, 0, side) if y.shape[axis] != side else y
        return y


def _conv(dims: int, inputs: int, outputs: int, stride: int = 1) -> nn.Conv1d | nn.Conv2d:
    """Kernel 3, sides kept or halved (rounded up), He's initial weights: they keep the variance through a ReLU."""
    conv = (nn.Conv1d if dims == 1 else nn.Conv2d)(inputs, outputs, 3, stride=stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _dense(inputs: int, outputs: int) -> nn.Linear:
    """Every value with every unit, He's initial weights."""
    linear = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    nn.init.zeros_(linear.bias)
    return linear


def _blocks(dims: int, channels: int, depth: int, *, residual: bool) -> list[nn.Module]:
    """So many blocks, with a ReLU after the last."""
    if residual:
        return [*(_Residual(dims, channels) for _ in range(depth)), nn.ReLU()]
    return [layer for _ in range(depth) for layer in (_conv(dims, channels, channels), nn.ReLU())]
