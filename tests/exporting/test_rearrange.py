"""The rewritings that change no number: held against torch, ONNX's reference and each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.reference
import pytest
import torch
from graphs_by_hand import Exported, graph, operators, run
from onnx import helper

from vaekit.exporting.rearrange import rearrange

RNG = np.random.default_rng(5)


def transposed(weight: tuple[int, ...], *, bias: bool = True, **attributes: Any) -> onnx.ModelProto:
    """A graph of one transposed convolution, on places of 3 x 5 or 3."""
    channels, dims = weight[0], len(weight) - 2
    constants = {"w": RNG.normal(size=weight).astype(np.float32)}
    outputs = weight[1] * attributes.get("group", 1)
    if bias:
        constants["b"] = RNG.normal(size=outputs).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", *constants], ["y"], name="up", **attributes)
    shape = ["batch", channels, *(3, 5)[:dims]]
    return graph([node], constants, {"x": shape}, {"y": ["batch", outputs, *([None] * dims)]})


@pytest.mark.parametrize(
    ("weight", "strides"), [((4, 3, 2, 2), [2, 2]), ((4, 3, 3, 2), [3, 2]), ((2, 5, 2), [2]), ((6, 1, 4), [4])]
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_kernel_that_is_the_stride_becomes_a_convolution_with_the_same_numbers(
    weight: tuple[int, ...], strides: list[int], bias: bool
) -> None:
    model = transposed(weight, bias=bias, strides=strides, kernel_shape=list(weight[2:]))
    rewritten = rearrange(model)
    onnx.checker.check_model(rewritten, full_check=True)
    assert "ConvTranspose" not in operators(rewritten)
    assert operators(rewritten).count("Conv") == 1
    x = RNG.normal(size=(3, weight[0], *(3, 5)[: len(strides)])).astype(np.float32)
    # ONNX's reference computes the original; ONNX Runtime the rewritten one.
    expected = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
    np.testing.assert_allclose(run(rewritten, x=x)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [1, 1]},
        {"strides": [2, 1]},
        {"strides": [2, 2], "pads": [1, 1, 0, 0]},
        {"strides": [2, 2], "output_padding": [1, 1]},
        {"strides": [2, 2], "dilations": [2, 2]},
        {"strides": [2, 2], "group": 2},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "output_shape": [6, 10]},
    ],
)
def test_other_transposed_convolutions_stay(attributes: dict[str, Any]) -> None:
    model = transposed((4, 3, 2, 2), kernel_shape=[2, 2], **attributes)
    assert operators(rearrange(model)) == ["ConvTranspose"]


def test_weights_that_are_no_constants_stay() -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", strides=[2, 2], kernel_shape=[2, 2])
    shapes = {"x": ["batch", 4, 3, 5], "w": [4, 3, 2, 2]}
    assert operators(rearrange(graph([node], {}, shapes, {"y": ["batch", 3, 6, 10]}))) == ["ConvTranspose"]


def test_a_whole_decoder_gives_what_torch_gives(exported: Exported) -> None:
    z = exported.codes(9)
    rewritten = rearrange(onnx.load_from_string(exported.decoder))
    assert "ConvTranspose" in operators(onnx.load_from_string(exported.decoder))  # the control
    assert "ConvTranspose" not in operators(rewritten)
    with torch.inference_mode():
        expected = exported.pair.decoder(torch.from_numpy(z)).numpy()
    units = exported.pair.spec.data.units
    np.testing.assert_allclose((run(rewritten, z=z)[0] - expected) / units, 0, atol=2e-2 if units.ndim else 1e-5)


def test_a_relu_goes_before_the_moves_to_its_convolution(image_model: Exported) -> None:
    names = operators(rearrange(onnx.load_from_string(image_model.decoder)))
    for index, name in enumerate(names):
        if name == "Relu":
            assert names[index - 1] in ("Conv", "Gemm")


def moved_relu(*, used_twice: bool = False, is_output: bool = False) -> list[str]:
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], name="move", perm=[0, 2, 1]),
        helper.make_node("Relu", ["t"], ["r"], name="relu"),
        helper.make_node("Add", ["r", "t" if used_twice else "r"], ["y"], name="add"),
    ]
    outputs = {"y": ["batch", 3, 2]} | ({"t": ["batch", 3, 2]} if is_output else {})
    model = graph(nodes, {}, {"x": ["batch", 2, 3]}, outputs)
    rewritten = rearrange(model)
    x = RNG.normal(size=(4, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(run(rewritten, x=x)[0], run(model, x=x)[0])
    return operators(rewritten)


def test_a_relu_whose_move_others_take_too_stays_behind_it() -> None:
    assert moved_relu() == ["Relu", "Transpose", "Add"]
    assert moved_relu(used_twice=True) == ["Transpose", "Relu", "Add"]
    assert moved_relu(is_output=True) == ["Transpose", "Relu", "Add"]
