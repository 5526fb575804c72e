"""Convolutional models: every size comes back, the layers are what the page says, and ONNX Runtime gives torch's numbers."""

import re
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from vaekit.errors import ConfigError
from vaekit.exporting.graphs import to_onnx
from vaekit.spec import DataSpec, Kind
from vaekit.training.config import TrainConfig
from vaekit.training.convolutional import Convolutional, default_size, resolutions
from vaekit.training.models import DecoderGraph, EncoderGraph, Model, build_model

pytestmark = pytest.mark.usefixtures("one_thread")


def build(shape: tuple[int, ...], arch: str = "conv", kind: Kind = "vae", **options: Any) -> Convolutional:
    options = {"depth": 1, "width": 4, "latent": 3, **options}
    config = TrainConfig(arch=arch, kind=kind, likelihood="gaussian", **options)  # type: ignore[arg-type]
    model = build_model(config, config.spec(DataSpec(shape, None)))
    assert isinstance(model, Convolutional)
    return model


def shaken(model: Convolutional) -> Convolutional:
    """Other weights everywhere: residual blocks begin at zero, where an error would not show."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.1)
    return model


SIZES = [1, 2, 7, 8, 15, 28, 32, 33, 64, 101]


@pytest.mark.parametrize("arch", ["conv", "resnet"])
@pytest.mark.parametrize(
    "shape",
    [
        *((1, size, size) for size in SIZES),
        (3, 64, 48),
        (2, 1, 100),
        (5, 9, 6),
        *((3, size) for size in SIZES),
        (50, 20),
    ],
    ids=str,
)
def test_every_size_comes_back(shape: tuple[int, ...], arch: str) -> None:
    model = build(shape, arch)
    mean, log_var = model.encode(torch.rand(2, *shape))
    assert log_var is not None
    assert mean.shape == log_var.shape == (2, 3)
    assert model.decode_params(mean).shape == (2, *shape)
    assert isinstance(model, Model)


@pytest.mark.parametrize(("arch", "depth"), [("conv", 1), ("conv", 3), ("resnet", 1), ("resnet", 3)])
def test_an_autoencoder_gives_a_point_and_depth_adds_layers(arch: str, depth: int) -> None:
    model = build((1, 28, 28), arch, "ae", depth=depth)
    mean, log_var = model.encode(torch.rand(2, 1, 28, 28))
    assert mean.shape == (2, 3)
    assert log_var is None
    layers = sum(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in model.modules())
    # Two halvings and two doublings; at both resolutions, twice (there and back) so many blocks.
    assert layers == {"conv": 2 + 2 + 2 * (depth - 1) + 2 * depth, "resnet": 2 + 2 + 2 * 2 * 2 * depth}[arch]


@pytest.mark.parametrize("arch", ["conv", "resnet"])
def test_a_dense_layer_lets_every_code_move_every_pixel_and_see_it(arch: str) -> None:
    plain, dense = build((1, 28, 28), arch), build((1, 28, 28), arch, dense=5)
    shapes = [module.weight.shape for module in dense.modules() if isinstance(module, nn.Linear)]
    values = plain.encoder[-1].in_features  # type: ignore[union-attr]
    assert shapes == [(5, values), (2 * 3, 5), (5, 3), (values, 5)]
    rank = torch.linalg.matrix_rank
    x = torch.rand(40, 1, 28, 28)
    # Before the encoder's last layer stand five ReLUs, so that means cannot span more than five dimensions.
    assert rank(dense.encoder[:-1](x)) <= 5 < rank(plain.encoder[:-1](x))
    z = torch.ones(1, 3, requires_grad=True)
    dense.decode_params(z).sum().backward()
    assert z.grad is not None
    assert bool(z.grad.abs().min() > 0)


def test_sides_are_halved_and_rounded_up_until_the_longest_is_at_most_seven() -> None:
    assert resolutions((101,)) == [(101,), (51,), (26,), (13,), (7,)]
    assert resolutions((28, 28)) == [(28, 28), (14, 14), (7, 7)]
    assert resolutions((64, 3)) == [(64, 3), (32, 2), (16, 1), (8, 1), (4, 1)]
    assert resolutions((7, 7)) == [(7, 7)]


def test_width_doubles_with_each_halving_up_to_four_times() -> None:
    model = build((3, 128, 128), width=4)
    halving = [layer.out_channels for layer in model.encoder if isinstance(layer, nn.Conv2d)]
    assert halving == [4, 8, 16, 16, 16]


@pytest.mark.parametrize(
    ("shape", "plain", "residual"),
    [
        ((1, 28, 28), (1, 32), (2, 32)),
        ((3, 64, 64), (1, 32), (1, 32)),
        ((3, 101, 70), (1, 16), (1, 16)),
        ((64, 8, 8), (1, 64), (2, 64)),
        ((6, 256), (1, 32), (1, 32)),
    ],
)
def test_depth_and_width_come_from_the_datas_shape_unless_given(
    shape: tuple[int, ...], plain: tuple[int, int], residual: tuple[int, int]
) -> None:
    assert default_size(shape, residual=False) == plain
    assert default_size(shape, residual=True) == residual
    for arch, (depth, width) in (("conv", plain), ("resnet", residual)):
        chosen = build(shape, arch, depth=None, width=None).state_dict()
        given = build(shape, arch, depth=depth, width=width).state_dict()
        assert {name: tensor.shape for name, tensor in chosen.items()} == {n: t.shape for n, t in given.items()}


@pytest.mark.parametrize("arch", ["conv", "resnet"])
def test_rows_have_no_neighbourhood_to_convolve(arch: str) -> None:
    message = (
        f"arch='{arch}' is for pictures (C, H, W) and series (D, T), but an item has shape (12,); take arch='mlp'."
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        build((12,), arch)


def test_residual_blocks_begin_as_the_identity_and_can_become_more() -> None:
    model = build((1, 14, 14), "resnet", depth=2)
    x = torch.rand(2, 1, 14, 14)
    before = model.encode(x)[0]
    blocks = [block for name, block in model.named_modules() if type(block).__name__ == "_Residual"]
    assert len(blocks) == 4  # two there, two back, at one resolution
    h = torch.randn(2, 4, 7, 7)
    assert all(torch.equal(block(h), h) for block in blocks)
    (before.square().sum()).backward()
    moved = blocks[0].second.weight.grad  # type: ignore[union-attr]
    assert isinstance(moved, Tensor)
    assert bool(moved.any())


@pytest.mark.parametrize("arch", ["conv", "resnet"])
def test_an_items_code_does_not_depend_on_its_neighbours(arch: str) -> None:
    model, x = shaken(build((2, 20, 12), arch)).double(), torch.rand(6, 2, 20, 12, dtype=torch.float64)
    whole = model.encode(x)[0]
    torch.testing.assert_close(torch.cat([model.encode(x[i : i + 1])[0] for i in range(6)]), whole)


@pytest.mark.parametrize("arch", ["conv", "resnet"])
@pytest.mark.parametrize("size", [28, 64])
def test_signals_neither_vanish_nor_explode_in_untrained_models(arch: str, size: int) -> None:
    model = build((1, size, size), arch, depth=None, width=16, latent=16)
    mean, log_var = model.encode(torch.rand(16, 1, size, size, generator=torch.Generator().manual_seed(0)))
    params = model.decode_params(torch.randn(64, 16, generator=torch.Generator().manual_seed(0)))
    for values in (mean, log_var, params):
        assert values is not None
        assert 0.02 < float(values.std().detach()) < 3


@pytest.mark.parametrize(
    ("shape", "arch"),
    [((1, 28, 28), "conv"), ((3, 33, 20), "resnet"), ((2, 101), "resnet"), ((3, 5, 5), "conv"), ((4, 30), "conv")],
    ids=str,
)
def test_onnx_runtime_gives_torchs_numbers_at_every_batch(shape: tuple[int, ...], arch: str) -> None:
    model = shaken(build(shape, arch)).eval()
    graphs: list[tuple[nn.Module, tuple[int, ...], str, list[str]]] = [
        (EncoderGraph(model, model.spec), shape, "x", ["mean", "log_var"]),
        (DecoderGraph(model, model.spec), (3,), "z", ["x_hat"]),
    ]
    for graph, item, name, outputs in graphs:
        content = to_onnx(graph, torch.zeros(2, *item), inputs=[name], outputs=outputs)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        for batch in (1, 2, 7):
            value = torch.randn(batch, *item, generator=torch.Generator().manual_seed(batch))
            with torch.inference_mode():
                expected = graph(value)
            expected = expected if isinstance(expected, tuple) else (expected,)
            for ours, theirs in zip(session.run(None, {name: value.numpy()}), expected, strict=True):
                assert float(theirs.std()) > 0.01
                torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=0, atol=1e-5)
