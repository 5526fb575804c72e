"""Both terms of the negative ELBO on the test items, with the same noise at each epoch.

Needs: torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import torch

from vaekit.spec import ModelSpec
from vaekit.training.batches import Batches, epoch_generator
from vaekit.training.config import TrainConfig
from vaekit.training.ranks import Ranks
from vaekit.training.step import batch_terms, binarized, noise_shape

TEST_BATCH = 1000


def measure(
    model: torch.nn.Module, batches: Batches, config: TrainConfig, spec: ModelSpec, process: Ranks
) -> tuple[float, float]:
    """Mean reconstruction and KL over all items, in nats: one sample of the posterior an item, float32, fixed noise.

    Each process measures every `process.size`-th batch.
    """
    plain = replace(config, precision="fp32", objective="elbo", importance_samples=1)
    generator = epoch_generator(config.seed, 0, batches.device)
    pixels = epoch_generator(config.seed, 0, batches.device, "pixels") if config.binarize != "none" else None
    sums = torch.zeros(2, dtype=torch.float64, device=batches.device)
    with evaluating(model), torch.inference_mode():
        for index, items in enumerate(batches.ordered(TEST_BATCH)):
            eps = torch.randn(noise_shape(plain, len(items)), generator=generator, device=batches.device)
            x = items if pixels is None else binarized(items, pixels)
            if index % process.size == process.rank:
                terms = batch_terms(model, x, eps, plain, spec)
                sums += torch.stack((terms.reconstruction.double().sum(), terms.kl.double().sum()))
    process.add([sums])
    reconstruction, kl = (sums / len(batches)).tolist()
    return reconstruction, kl


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode while the block runs."""
    model.eval()
    try:
        yield
    finally:
        model.train()
