"""Models that tests of the exporter share: small convolutional ones, in torch and as ONNX."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from vaekit.datasets import Dataset, Split
from vaekit.spec import DataSpec, Feature, ModelSpec

sys.path.append(str(Path(__file__).parent))  # tests are no package; those here share a module

from graphs_by_hand import Exported

SPECS = {
    "image": ModelSpec("vae", DataSpec((1, 16, 16)), 4, "bernoulli"),
    "odd": ModelSpec("vae", DataSpec((3, 13, 22)), 4, "bernoulli"),  # sides that halving rounds up
    "series": ModelSpec(
        "vae", DataSpec((2, 21), None, (Feature("a", 1e5, 3.0), Feature("b", -7.0, 0.01))), 4, "gaussian"
    ),
    "residual": ModelSpec("vae", DataSpec((1, 16, 16)), 4, "bernoulli"),
}


@pytest.fixture(scope="session", params=list(SPECS))
def exported(request: pytest.FixtureRequest) -> Exported:
    return make(request.param)


@pytest.fixture(scope="session")
def image_model() -> Exported:
    return make("image")


@pytest.fixture(scope="session")
def series_model() -> Exported:
    return make("series")


_MADE: dict[str, Exported] = {}


def make(name: str) -> Exported:
    """vaekit's convolutional model, with biases, which training would have given it."""
    import torch

    from vaekit.exporting import ModulePair
    from vaekit.exporting.graphs import to_onnx
    from vaekit.training.convolutional import Convolutional
    from vaekit.training.models import DecoderGraph, EncoderGraph

    if name in _MADE:
        return _MADE[name]
    spec = SPECS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = Convolutional(spec, residual=name == "residual", depth=1, width=8)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1 or not parameter.any():
                    parameter.normal_(std=0.1)
    pair = ModulePair(EncoderGraph(model, spec).eval(), DecoderGraph(model, spec).eval(), spec)
    x = torch.rand(2, *spec.data.shape)
    encoder = to_onnx(pair.encoder, x, inputs=["x"], outputs=["mean", "log_var"])
    decoder = to_onnx(pair.decoder, torch.zeros(2, spec.latent), inputs=["z"], outputs=["x_hat"])
    _MADE[name] = Exported(pair, encoder, decoder)
    return _MADE[name]


@pytest.fixture(scope="session")
def image_data() -> Dataset:
    """Small pictures for `image_model`: a bright square somewhere, in uint8."""
    rng = np.random.default_rng(11)

    def split(count: int) -> Split:
        images = rng.integers(0, 40, size=(count, 1, 16, 16))
        for image, (top, left) in zip(images, rng.integers(0, 10, size=(count, 2)), strict=True):
            image[0, top : top + 6, left : left + 6] += 200
        return Split(images.astype(np.uint8))

    return Dataset("squares", "squares", "0" * 64, split(160), split(120))
