"""What a model in training shows: the exported model's numbers, and nothing that the training could notice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaekit.datasets import Dataset
from vaekit.noise import noise
from vaekit.spec import DataSpec, Feature, ModelSpec
from vaekit.training import TrainConfig, train
from vaekit.training.models import build_model
from vaekit.training.preview import Preview, Previewer

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = TrainConfig(hidden=(8,), latent=2, epochs=2, batch_size=64, device="cpu", compile=False)


def sigmoid(logits: Tensor) -> np.ndarray:
    return (1 / (1 + torch.exp(-logits.double()))).numpy()


def test_reconstructions_and_samples_are_the_decoder_s_means(small_dataset: Dataset) -> None:
    model: Any = build_model(CONFIG, CONFIG.spec(small_dataset.spec)).eval()
    x = small_dataset.test.pixels(slice(5))
    made = Previewer(x, CONFIG.spec(small_dataset.spec), samples=3, seed=4)(model)
    with torch.no_grad():
        mean, _ = model.encode(torch.from_numpy(x))
        x_hat, samples = model.decode_params(mean), model.decode_params(torch.from_numpy(noise(seed=4, count=3, dim=2)))
    np.testing.assert_array_equal(made.x, x)
    np.testing.assert_allclose(made.x_hat, sigmoid(x_hat), rtol=1e-5)
    assert made.samples is not None
    np.testing.assert_allclose(made.samples, sigmoid(samples), rtol=1e-5)


def test_real_values_come_back_in_their_own_units() -> None:
    spec = ModelSpec("vae", DataSpec((2,), None, (Feature("a", 10.0, 2.0), Feature("b", -5.0, 0.5))), 2, "gaussian")

    class Identity(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, torch.zeros_like(x)

        def decode_params(self, z: Tensor) -> Tensor:
            return z * self.weight

    x = np.array([[14.0, -6.0]], np.float32)
    made = Previewer(x, spec, samples=1)(Identity().eval())
    np.testing.assert_allclose(made.x_hat, x, rtol=1e-6)
    assert made.samples is not None
    np.testing.assert_allclose(made.samples, [10, -5] + noise(seed=0, count=1, dim=2) * [2, 0.5], rtol=1e-6)


def test_an_autoencoder_has_no_samples(small_dataset: Dataset) -> None:
    config = replace(CONFIG, kind="ae")
    model = build_model(config, config.spec(small_dataset.spec)).eval()
    made = Previewer(small_dataset.test.pixels(slice(2)), config.spec(small_dataset.spec), samples=3)(model)
    assert made.samples is None
    assert made.x_hat.shape == (2, 1, 28, 28)


class Noisy(nn.Module):
    """An encoder that draws random numbers each time that it runs."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.shape, latent = spec.data.shape, spec.latent
        self.up, self.down = nn.Linear(latent, spec.data.size), nn.Linear(spec.data.size, 2 * latent)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.flatten(1) + torch.randn(1)
        mean, log_var = self.down(x).chunk(2, dim=1)
        return mean, log_var

    def decode_params(self, z: Tensor) -> Tensor:
        return self.up(z).reshape(-1, *self.shape)


VARIANTS = [
    CONFIG,
    replace(CONFIG, ema=0.9),
    replace(CONFIG, precision="bf16"),
    replace(CONFIG, kind="ae"),
    replace(CONFIG, arch="conv", hidden=(400,), width=4, epochs=1),
    replace(CONFIG, arch="resnet", hidden=(400,), width=4, epochs=1),
]


@pytest.mark.parametrize("config", VARIANTS, ids=["mlp", "ema", "bf16", "ae", "conv", "resnet"])
def test_a_run_has_the_same_weights_with_and_without_it(
    small_dataset: Dataset, tmp_path: Path, config: TrainConfig
) -> None:
    look, made = Previewer(small_dataset.test.pixels(slice(4)), config.spec(small_dataset.spec), samples=4), []
    with_it = train(small_dataset, config, tmp_path / "with", on_weights=lambda _, model: made.append(look(model)))
    without = train(small_dataset, config, tmp_path / "without")
    assert len(made) == config.epochs
    for name in ("weights.safetensors", "optimizer.safetensors"):
        assert (with_it.folder / name).read_bytes() == (without.folder / name).read_bytes()


def test_a_module_that_draws_random_numbers_draws_the_same_ones_after_it(small_dataset: Dataset) -> None:
    spec = CONFIG.spec(small_dataset.spec)
    model = Noisy(spec).eval()
    torch.manual_seed(5)
    Previewer(small_dataset.test.pixels(slice(4)), spec, samples=2)(model)
    after = torch.rand(3)
    torch.manual_seed(5)
    torch.testing.assert_close(after, torch.rand(3), rtol=0, atol=0)


def test_the_weights_that_are_saved_are_the_ones_that_are_shown(small_dataset: Dataset, tmp_path: Path) -> None:
    # With an average that moves slowly, the weights in training are others than those in the checkpoint.
    config = replace(CONFIG, ema=0.99, learning_rate=0.01)
    spec, x, made = config.spec(small_dataset.spec), small_dataset.test.pixels(slice(4)), list[Preview]()
    look = Previewer(x, spec, samples=4)
    checkpoint = train(small_dataset, config, tmp_path / "run", on_weights=lambda _, model: made.append(look(model)))
    model: Any = checkpoint.model().eval()
    with torch.no_grad():
        x_hat = model.decode_params(model.encode(torch.from_numpy(x))[0])
    np.testing.assert_allclose(made[-1].x_hat, sigmoid(x_hat), rtol=1e-5)
