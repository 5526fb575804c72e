"""The MLP models: shapes, sizes, and initial weights."""

from itertools import pairwise

import pytest
import torch

from vaekit.spec import DataSpec, Feature, Kind
from vaekit.training.config import TrainConfig
from vaekit.training.models import MLP, DecoderGraph, EncoderGraph, Model, build_model, trained_spec


def build(kind: Kind = "vae", hidden: tuple[int, ...] = (400,), latent: int = 20, seed: int = 0, **data: object) -> MLP:
    shape = data.get("shape", (1, 28, 28))
    config = TrainConfig(kind=kind, hidden=hidden, latent=latent, seed=seed)
    return build_model(config, config.spec(DataSpec(shape)))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 4, 5), (7, 2), (6,)])
@pytest.mark.parametrize("hidden", [(8,), (16, 4), (5, 6, 7)])
def test_a_vae_gives_mean_log_variance_and_parameters_in_the_datas_shape(
    shape: tuple[int, ...], hidden: tuple[int, ...]
) -> None:
    model = build("vae", hidden, latent=3, shape=shape)
    mean, log_var = model.encode(torch.rand(5, *shape))
    assert log_var is not None
    assert mean.shape == log_var.shape == (5, 3)
    assert model.decode_params(mean).shape == (5, *shape)
    assert isinstance(model, Model)


@pytest.mark.parametrize("hidden", [(8,), (16, 4)])
def test_an_autoencoder_gives_a_point(hidden: tuple[int, ...]) -> None:
    model = build("ae", hidden, latent=3)
    mean, log_var = model.encode(torch.rand(5, 1, 28, 28))
    assert mean.shape == (5, 3)
    assert log_var is None


@pytest.mark.parametrize(
    ("kind", "hidden", "latent", "published"),
    # 652,824 is what pytorch/examples' VAE has: 784-400, 400-20 twice, 20-400, 400-784, each with a bias.
    [("vae", (400,), 20, 652_824), ("ae", (400,), 20, None), ("vae", (512, 256), 10, None), ("ae", (30, 20), 2, None)],
)
def test_the_number_of_weights_is_that_of_fully_connected_layers(
    kind: Kind, hidden: tuple[int, ...], latent: int, published: int | None
) -> None:
    heads = 2 * latent if kind == "vae" else latent
    widths = ([784, *hidden, heads], [latent, *hidden[::-1], 784])
    expected = sum(a * b + b for half in widths for a, b in pairwise(half))
    found = sum(parameter.numel() for parameter in build(kind, hidden, latent).parameters())
    assert found == expected
    assert published is None or found == published


def test_the_encoder_is_linear_relu_linear() -> None:
    model = build("vae", (16,), latent=2).double()
    x = torch.rand(4, 1, 28, 28, dtype=torch.float64)
    first, second = (layer for layer in model.encoder if isinstance(layer, torch.nn.Linear))
    heads = (x.reshape(4, 784) @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias
    mean, log_var = model.encode(x)
    torch.testing.assert_close(mean, heads[:, :2])
    torch.testing.assert_close(log_var, heads[:, 2:])


def test_initial_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = build(seed=5).state_dict()
    torch.manual_seed(2)
    second, other = build(seed=5).state_dict(), build(seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_building_a_model_leaves_torchs_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    build(seed=99)
    assert torch.equal(torch.rand(4), expected)


def test_the_encoder_graph_gives_what_encode_gives() -> None:
    x = torch.rand(3, 1, 28, 28)
    vae, ae = build("vae", (8,), 2), build("ae", (8,), 2)
    mean, log_var = EncoderGraph(vae, vae.spec)(x)
    assert torch.equal(mean, vae.encode(x)[0])
    assert torch.equal(log_var, vae.encode(x)[1])
    assert torch.equal(EncoderGraph(ae, ae.spec)(x), ae.encode(x)[0])


def test_the_decoder_graph_gives_probabilities_or_plain_means() -> None:
    model = build("vae", (8,), 2)
    z = 3 * torch.randn(64, 2)
    params = model.decode_params(z)
    for likelihood in ("bernoulli", "discretized-logistic"):
        probabilities = DecoderGraph(model, model.spec.replace(likelihood=likelihood))(z)  # type: ignore[arg-type]
        torch.testing.assert_close(probabilities, 1 / (1 + torch.exp(-params)))
    assert torch.equal(DecoderGraph(model, model.spec.replace(likelihood="gaussian"))(z), params)


@pytest.mark.parametrize("shape", [(3,), (3, 4)])
def test_graphs_of_a_table_take_and_give_its_own_units(shape: tuple[int, ...]) -> None:
    features = (Feature("pascal", 101_325.0, 850.0), Feature("kelvin", 288.0, 9.0), Feature("wind", -1.0, 0.25))
    config = TrainConfig(likelihood="gaussian", hidden=(8,), latent=2)
    spec = config.spec(DataSpec(shape, None, features))
    model = build_model(config, spec)
    column = (-1, *(1 for _ in shape[1:]))
    offset = torch.tensor([101_325.0, 288.0, -1.0]).view(column)
    unit = torch.tensor([850.0, 9.0, 0.25]).view(column)
    x_std, z = torch.randn(5, *shape), torch.randn(5, 2)
    mean, _ = EncoderGraph(model, spec)(offset + unit * x_std)
    torch.testing.assert_close(mean, model.encode(x_std)[0], rtol=0, atol=1e-4)  # type: ignore[operator]
    expected = offset + unit * model.decode_params(z)  # type: ignore[operator]
    torch.testing.assert_close(DecoderGraph(model, spec)(z), expected)


def test_a_learned_scale_is_one_weight_of_the_model_and_goes_into_its_spec() -> None:
    config = TrainConfig(likelihood="gaussian", scale="learned", hidden=(8,), latent=2)
    spec = config.spec(DataSpec((4,), None))
    model = build_model(config, spec)
    assert dict(model.named_parameters())["log_scale"].shape == ()
    assert trained_spec(model, spec) == spec
    with torch.no_grad():
        model.log_scale.fill_(-2.0)  # type: ignore[operator, union-attr]
    assert trained_spec(model, spec).scale == pytest.approx(0.1353352832)  # exp(-2)
    fixed = TrainConfig(likelihood="gaussian", scale=3.0, hidden=(8,), latent=2)
    plain = build_model(fixed, fixed.spec(spec.data))
    assert "log_scale" not in plain.state_dict()
    assert trained_spec(plain, fixed.spec(spec.data)).scale == 3.0


@pytest.mark.parametrize("arch", ["auto", "mlp"])
def test_auto_is_the_mlp_of_the_same_weights(arch: str) -> None:
    config = TrainConfig(arch=arch)  # type: ignore[arg-type]
    model, reference = build_model(config, config.spec(DataSpec((1, 28, 28)))), build()
    assert type(model) is MLP
    assert all(torch.equal(tensor, reference.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_anything_with_the_two_methods_is_a_model_and_nothing_else_is() -> None:
    class Own:
        def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            return x, None

        def decode_params(self, z: torch.Tensor) -> torch.Tensor:
            return z

    assert isinstance(Own(), Model)
    assert not isinstance(torch.nn.Linear(1, 1), Model)
