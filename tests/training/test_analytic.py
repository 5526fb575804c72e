"""The MLP's gradient in closed form, against autograd on an objective written with torch.distributions."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from vaekit.spec import DataSpec
from vaekit.training.analytic import ALIGNED, AnalyticGradient, is_analytic
from vaekit.training.config import TrainConfig
from vaekit.training.models import MLP, build_model

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SHAPE, BATCH, LATENT = (1, 9, 7), 12, 3


def make(**options: Any) -> tuple[MLP, AnalyticGradient, TrainConfig]:
    config = TrainConfig(**{"hidden": (24,), "latent": LATENT, "batch_size": BATCH, **options})
    model = build_model(config, config.spec(DataSpec(SHAPE)))
    assert isinstance(model, MLP)
    return model, AnalyticGradient(model, config), config


def draw(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(0, 256, (size, *SHAPE), generator=generator, dtype=torch.uint8)
    return items, torch.randn(size, LATENT, generator=generator)


def by_autograd(model: MLP, config: TrainConfig, items: Tensor, eps: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Sums of both terms, and every gradient in a row, in the model's precision."""
    dtype = next(model.parameters()).dtype
    x, eps = items.to(dtype) / 255, eps.to(dtype)
    mean, log_var = model.encode(x)
    if log_var is None:
        z, kl = mean, mean.new_zeros(len(x))
    else:
        posterior = Normal(mean, (log_var / 2).exp())
        z, kl = posterior.loc + posterior.scale * eps, kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    params = model.decode_params(z)
    if config.likelihood == "gaussian":
        normal = Normal(params, float(config.scale or 1.0))
        constant = 0.5 * torch.log(2 * torch.tensor(torch.pi, dtype=dtype))
        reconstruction = (-normal.log_prob(x) - constant).flatten(1).sum(1)
    else:
        losses = nn.functional.binary_cross_entropy_with_logits(params, x, reduction="none")
        reconstruction = losses.flatten(1).sum(1)
    gradients = torch.autograd.grad((reconstruction + weight * kl).mean(), list(model.parameters()))
    sums = torch.stack((reconstruction.sum(), kl.sum())).detach()
    return sums, torch.cat([gradient.flatten() for gradient in gradients])


def in_a_row(model: MLP, gradient: AnalyticGradient) -> Tensor:
    assert gradient.weights.grad is not None
    views = gradient.views(gradient.weights.grad)
    return torch.cat([views[name].flatten() for name, _ in model.named_parameters()])


@pytest.mark.parametrize("hidden", [(24,), (20, 11), (16, 9, 13)], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "ae"},
        {"likelihood": "gaussian"},
        {"likelihood": "gaussian", "kind": "ae"},
        {"likelihood": "gaussian", "scale": 0.3},
    ],
    ids=str,
)
@pytest.mark.parametrize(("size", "weight"), [(BATCH, 1.0), (5, 1.0), (1, 0.0), (7, 4.0)])
def test_the_closed_form_is_autograds_gradient(
    hidden: tuple[int, ...], options: dict[str, Any], size: int, weight: float
) -> None:
    model, gradient, config = make(hidden=hidden, **options)
    exact = build_model(config, model.spec).double()
    assert isinstance(exact, MLP)
    gradient(*draw(BATCH, seed=1), 1.0)  # what another batch left in the buffers must not show
    items, eps = draw(size)
    sums = gradient(items, eps, weight)
    expected_sums, expected = by_autograd(exact, config, items, eps, weight)
    torch.testing.assert_close(sums.double(), expected_sums, rtol=1e-6, atol=1e-5)
    found = in_a_row(model, gradient).double()
    assert float((found - expected).norm() / expected.norm()) < 1e-6
    # float32's own rounding is as large: autograd is no nearer to float64.
    _, rounded = by_autograd(model, config, items, eps, weight)
    torch.testing.assert_close(found, rounded.double(), rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("logit", [0.0, 1e-6, 3.0, -17.0, 40.0, -200.0, 3e4])
@pytest.mark.parametrize("size", [BATCH, 1])
def test_the_likelihood_holds_where_many_probabilities_are_halves_or_certain(logit: float, size: int) -> None:
    model, gradient, config = make()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
        list(model.decoder.parameters())[-1].fill_(logit)
    items, eps = draw(size)
    expected, _ = by_autograd(model.double(), config, items, eps, 1.0)
    torch.testing.assert_close(gradient(items, eps, 1.0)[0].double(), expected[0], rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"kind": "ae"}, {"likelihood": "gaussian"}], ids=str)
def test_in_bf16_the_gradient_is_close_and_not_the_same(options: dict[str, Any]) -> None:
    model, gradient, config = make(precision="bf16", hidden=(24, 16), **options)
    items, eps = draw(BATCH)
    sums = gradient(items, eps, 1.0)
    expected_sums, expected = by_autograd(model, config, items, eps, 1.0)
    torch.testing.assert_close(sums, expected_sums, rtol=1e-2, atol=0.5)
    error = float((in_a_row(model, gradient) - expected).norm() / expected.norm())
    assert 1e-5 < error < 2e-2  # bfloat16 keeps 8 bits
    assert sums.dtype == gradient.weights.dtype == torch.float32


def test_float_items_count_as_their_pixels_do() -> None:
    model, gradient, _ = make()
    items, eps = draw(BATCH)
    sums = gradient(items, eps, 1.0)
    expected = in_a_row(model, gradient).clone()
    torch.testing.assert_close(gradient(items.float() / 255, eps, 1.0), sums)
    torch.testing.assert_close(in_a_row(model, gradient), expected)


def test_the_models_weights_are_views_of_one_aligned_array_with_the_same_numbers() -> None:
    config = TrainConfig(hidden=(24,), latent=LATENT)
    spec = config.spec(DataSpec(SHAPE))
    model, plain = build_model(config, spec), build_model(config, spec)
    assert isinstance(model, MLP)
    gradient = AnalyticGradient(model, config)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, dict(plain.named_parameters())[name])
        assert parameter.untyped_storage().data_ptr() == gradient.weights.untyped_storage().data_ptr()
        assert parameter.storage_offset() % ALIGNED == 0
    with torch.no_grad():
        gradient.weights.fill_(2.0)
    assert all(bool((parameter == 2).all()) for parameter in model.parameters())


REFERENCE = TrainConfig(hidden=(24,), latent=LATENT)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "ae"},
        {"beta": 4.0},
        {"kl_warmup": 100},
        {"likelihood": "gaussian", "scale": 0.5},
        {"binarize": "dynamic"},
        {"ema": 0.999},
        {"grad_clip": 1.0},
        {"precision": "bf16"},
        {"hidden": (8, 8, 8)},
        {"compile": False},
    ],
    ids=str,
)
def test_it_stands_in_where_it_computes_what_is_asked(options: dict[str, Any]) -> None:
    config = replace(REFERENCE, **options)
    assert is_analytic(build_model(config, config.spec(DataSpec(SHAPE))), config, CPU)


@pytest.mark.parametrize(
    "options",
    [
        {"compile": True},
        {"free_bits": 0.1},
        {"objective": "iwae"},
        {"objective": "iwae", "importance_samples": 5},
        {"likelihood": "gaussian", "scale": "learned"},
        {"likelihood": "discretized-logistic"},
        {"likelihood": "discretized-logistic", "scale": 0.1},
        {"arch": "conv", "hidden": (400,)},
        {"arch": "resnet", "hidden": (400,)},
    ],
    ids=str,
)
def test_it_leaves_the_rest_to_autograd(options: dict[str, Any]) -> None:
    config = replace(REFERENCE, **options)
    assert not is_analytic(build_model(config, config.spec(DataSpec(SHAPE))), config, CPU)


def test_it_leaves_other_devices_modules_and_frozen_weights_to_autograd() -> None:
    model = build_model(REFERENCE, REFERENCE.spec(DataSpec(SHAPE)))

    class Own(MLP):
        pass

    assert not is_analytic(model, REFERENCE, torch.device("cuda"))
    assert not is_analytic(Own(REFERENCE.spec(DataSpec(SHAPE)), (24,)), REFERENCE, CPU)
    next(model.parameters()).requires_grad_(False)
    assert not is_analytic(model, REFERENCE, CPU)
