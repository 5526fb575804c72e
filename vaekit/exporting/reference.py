"""The model in torch, which every number of a bundle is held against.

Golden vectors are torch's numbers; the exported graphs are compared with them at several batch sizes.

Needs: torch, ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vaekit.errors import ExportError, VerificationError
from vaekit.exporting.graphs import evaluation_mode
from vaekit.golden import Golden
from vaekit.latents import reparameterise
from vaekit.noise import noise
from vaekit.runtime.vae import VAE
from vaekit.runtime.verify import replay
from vaekit.spec import ModelSpec

TOLERANCES: Final = {"cpu": 1e-5, "cuda": 1e-4, "cuda-tf32": 5e-3, "other": 1e-3}
"""Largest absolute deviation by provider. TF32 keeps 10 mantissa bits; other providers may compute in half precision."""

BATCHES: Final = (1, 2, 7, 256)
"""Batch sizes at which torch and ONNX Runtime are compared."""

COMPARED: Final = 256
"""Test items that are compared at each batch size."""

GOLDEN_SEED: Final = 0


@dataclass(frozen=True)
class ModulePair:
    """Any model as two modules, each a pure function of its input.

    Attributes:
        encoder: x (N, *shape) -> (mean, log_var), each (N, D); for kind "ae", mean alone.
        decoder: z (N, D) -> x_hat (N, *shape), the likelihood's mean: probabilities, not logits.
        spec: What the model is.
    """

    encoder: nn.Module
    decoder: nn.Module
    spec: ModelSpec


def compare(pair: ModulePair, vae: VAE, x: NDArray[np.float32]) -> dict[str, float]:
    """Largest absolute differences between the modules in torch and a bundle's graphs, over `BATCHES`.

    Args:
        pair: The model in torch.
        vae: The model in ONNX Runtime.
        x: Real items, shape (N, *shape).

    Returns:
        "encoder" (mean and log_var), "decoder" (x_hat from torch's z), "round_trip" (x -> z -> x_hat, each on its own).

    Raises:
        VerificationError: One is above the CPU's tolerance.
    """
    golden = golden_vectors(pair, x)
    error = {"encoder": 0.0, "decoder": 0.0, "round_trip": 0.0}
    for batch in BATCHES:
        found = replay(vae, golden, seed=GOLDEN_SEED, batch=batch)
        measured = {
            "encoder": max(value for what, value in found.items() if what.startswith("encode")),
            "decoder": found["decode"],
            "round_trip": found["round trip"],
        }
        for what, value in measured.items():
            if not value <= TOLERANCES["cpu"]:
                raise VerificationError(
                    f"the exported {what.replace('_', ' ')} differs from torch by {value:.2g} at batch {batch}; the limit is "
                    f"{TOLERANCES['cpu']:g}. Nothing was written. Is a layer random, or does it depend on the batch?"
                )
            error[what] = max(error[what], value)
    return error


def golden_vectors(pair: ModulePair, x: NDArray[np.float32], labels: NDArray[np.int64] | None = None) -> Golden:
    """Golden vectors of some items, from the model in torch."""
    mean, log_var = _encode(pair, x)
    with np.errstate(over="ignore"):
        z = reparameterise(mean, log_var, seed=GOLDEN_SEED)
    if not np.isfinite(z).all():
        raise ExportError(f"the encoder gives a log_var of up to {log_var.max():.4g}, whose exp is beyond float32.")
    return Golden(
        x=x,
        mean=mean,
        log_var=log_var,
        eps=noise(seed=GOLDEN_SEED, count=len(x), dim=pair.spec.latent),
        z=z,
        x_hat=_decode(pair, z),
        labels=labels,
    )


def _encode(pair: ModulePair, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    code = (len(x), pair.spec.latent)
    outputs = _apply("encoder", pair.encoder, x, [code] * len(pair.spec.encoder_outputs))
    mean = outputs[0]
    for name, output in zip(pair.spec.encoder_outputs, outputs, strict=True):
        if not np.isfinite(output).all():
            raise ExportError(f"the encoder gives a {name} that is not finite for some of the test items.")
    return mean, outputs[1] if len(outputs) > 1 else np.full_like(mean, -np.inf)


def _decode(pair: ModulePair, z: NDArray[np.float32]) -> NDArray[np.float32]:
    (x_hat,) = _apply("decoder", pair.decoder, z, [(len(z), *pair.spec.data.shape)])
    bounds = pair.spec.emits_range
    if bounds is not None and len(z) and not (x_hat.min() >= bounds[0] and x_hat.max() <= bounds[1]):
        raise ExportError(
            f"the decoder gives values from {x_hat.min():.4g} to {x_hat.max():.4g}, but the mean of a {pair.spec.likelihood} "
            f"likelihood lies in [{bounds[0]:g}, {bounds[1]:g}]; does it give logits? End it with a sigmoid."
        )
    return x_hat


def _apply(
    half: str, module: nn.Module, value: NDArray[np.float32], shapes: list[tuple[int, ...]]
) -> list[NDArray[np.float32]]:
    """Run a module in eval mode on the CPU, and give its outputs, which must be float32 of these shapes."""
    with evaluation_mode(module), torch.inference_mode():
        result = module(torch.tensor(value))  # a copy: a module may write to its input, and arrays may be read-only
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    found = [tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__ for output in outputs]
    if found != shapes or any(output.dtype != torch.float32 for output in outputs):
        raise ExportError(
            f"the {half} gives {_named(found)}, but the model's spec asks for {_named(shapes)} in float32; "
            "correct the spec or the module."
        )
    return [output.numpy() for output in outputs]


def _named(outputs: Sequence[tuple[int, ...] | str]) -> str:
    return f"{len(outputs)} output{'s' * (len(outputs) != 1)} {' and '.join(map(str, outputs))}"
