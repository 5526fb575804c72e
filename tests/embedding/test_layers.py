"""Reading a graph as a chain of layers, quantising it, and computing it; onnx.reference is the other implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from vaekit.embedding.layers import Dense, Pointwise, compute, quantise, read_chain

RNG = np.random.default_rng(3)
Z = RNG.normal(size=(6, 4)).astype(np.float32) * 2


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def graph(*nodes: tuple[str, list[str], dict[str, Any]], shape: tuple[int, ...] = (5,), **constants: Any) -> bytes:
    """A graph of nodes one after the other: each is (operator, inputs, attributes), its output the next one's "h"."""
    made = []
    at = "z"
    for index, (operator, inputs, attributes) in enumerate(nodes):
        after = "x_hat" if index == len(nodes) - 1 else f"h{index}"
        made.append(helper.make_node(operator, [at if name == "h" else name for name in inputs], [after], **attributes))
        at = after
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    ports = [
        helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 4]),
        helper.make_tensor_value_info("x_hat", TensorProto.FLOAT, ["batch", *shape]),
    ]
    body = helper.make_graph(made, "g", ports[:1], ports[1:], weights)
    return helper.make_model(body, ir_version=8, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()


def by_reference(content: bytes, z: np.ndarray) -> np.ndarray:
    return ReferenceEvaluator(onnx.load_from_string(content)).run(None, {"z": z})[0]


GEMM = ("Gemm", ["h", "w", "b"], {"transB": 1})
W, B = numbers(5, 4), numbers(5)


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "constants"),
    [
        ("Relu", ["h"], {}, {}),
        ("Sigmoid", ["h"], {}, {}),
        ("Tanh", ["h"], {}, {}),
        ("LeakyRelu", ["h"], {}, {}),
        ("LeakyRelu", ["h"], {"alpha": 0.3}, {}),
        ("Elu", ["h"], {}, {}),
        ("Elu", ["h"], {"alpha": 0.7}, {}),
        ("Clip", ["h", "c", "d"], {}, {"c": np.float32(-0.5), "d": np.float32(0.25)}),
        ("Clip", ["h", "", "d"], {}, {"d": np.float32(0.25)}),
        ("Clip", ["h", "c"], {}, {"c": np.float32(-0.5)}),
        ("Clip", ["h"], {}, {}),
        ("Add", ["h", "c"], {}, {"c": numbers(5)}),
        ("Add", ["c", "h"], {}, {"c": numbers(1, 5)}),
        ("Sub", ["h", "c"], {}, {"c": numbers(5)}),
        ("Mul", ["c", "h"], {}, {"c": np.float32(1.5)}),
        ("Div", ["h", "c"], {}, {"c": numbers(5)}),
        ("Identity", ["h"], {}, {}),
        ("Flatten", ["h"], {"axis": 1}, {}),
    ],
)
def test_each_function_is_what_onnx_says_it_is(
    operator: str, inputs: list[str], attributes: dict[str, Any], constants: dict[str, Any]
) -> None:
    content = graph(GEMM, (operator, inputs, attributes), w=W, b=B, **constants)
    layers = read_chain(content)
    assert layers is not None
    np.testing.assert_allclose(compute(layers, Z), by_reference(content, Z), atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([("Gemm", ["h", "w", "b"], {"transB": 1})], {"w": W, "b": B}),
        ([("Gemm", ["h", "w", "b"], {})], {"w": W.T, "b": B}),
        ([("Gemm", ["h", "w", "b"], {})], {"w": W.T, "b": numbers(1)}),
        ([("Gemm", ["h", "w"], {})], {"w": W.T}),
        ([("MatMul", ["h", "w"], {})], {"w": W.T}),
        ([("MatMul", ["h", "w"], {}), ("Add", ["h", "b"], {})], {"w": W.T, "b": B}),
        ([("MatMul", ["h", "w"], {}), ("Add", ["b", "h"], {})], {"w": W.T, "b": np.float32(0.5)}),
        ([("MatMul", ["h", "w"], {}), ("Mul", ["h", "b"], {}), ("Add", ["h", "b"], {})], {"w": W.T, "b": B}),
        ([("Gemm", ["h", "w", "b"], {"transB": 1}), ("Add", ["h", "b"], {})], {"w": W, "b": B}),
    ],
)
def test_every_way_of_writing_a_dense_layer_is_read(nodes: list[Any], constants: dict[str, Any]) -> None:
    content = graph(*nodes, **constants)
    layers = read_chain(content)
    assert layers is not None
    np.testing.assert_allclose(compute(layers, Z), by_reference(content, Z), atol=1e-6)


def test_an_addition_after_a_product_without_a_bias_becomes_its_bias() -> None:
    content = graph(("MatMul", ["h", "w"], {}), ("Add", ["h", "b"], {}), w=W.T, b=B)
    (layer,) = read_chain(content) or []
    assert isinstance(layer, Dense)
    np.testing.assert_array_equal(layer.bias, B)


def test_a_constant_node_is_a_constant() -> None:
    model = onnx.load_from_string(graph(GEMM, ("Mul", ["h", "c"], {}), w=W, b=B))
    c = numpy_helper.from_array(numbers(5), "c")
    model.graph.node.insert(1, helper.make_node("Constant", [], ["c"], value=c))
    layers = read_chain(model.SerializeToString())
    assert layers is not None
    np.testing.assert_allclose(compute(layers, Z), by_reference(model.SerializeToString(), Z), atol=1e-6)


def test_a_reshape_leaves_the_values_and_their_order() -> None:
    shape = np.array([-1, 1, 5], np.int64)
    content = graph(
        GEMM, ("Reshape", ["h", "s"], {}), ("Add", ["h", "c"], {}), shape=(1, 5), w=W, b=B, s=shape, c=numbers(1, 5)
    )
    layers = read_chain(content)
    assert layers is not None
    np.testing.assert_allclose(compute(layers, Z), by_reference(content, Z)[:, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("why", "content"),
    [
        ("an operator of another kind", graph(GEMM, ("Softmax", ["h"], {"axis": 1}), w=W, b=B)),
        ("a value used twice", graph(GEMM, ("Mul", ["h", "h"], {}), w=W, b=B)),
        ("a way around a layer", graph(GEMM, ("Add", ["h", "z"], {}), w=numbers(4, 4), b=numbers(4), shape=(4,))),
        ("c - v", graph(GEMM, ("Sub", ["c", "h"], {}), w=W, b=B, c=numbers(5))),
        ("c / v", graph(GEMM, ("Div", ["c", "h"], {}), w=W, b=B, c=numbers(5))),
        ("W h as the right operand", graph(("MatMul", ["w", "h"], {}), w=numbers(1, 1), shape=(4,))),
        ("alpha", graph(("Gemm", ["h", "w", "b"], {"transB": 1, "alpha": 2.0}), w=W, b=B)),
        ("beta", graph(("Gemm", ["h", "w", "b"], {"transB": 1, "beta": 2.0}), w=W, b=B)),
        ("a transposed batch", graph(("Gemm", ["h", "w", "b"], {"transA": 1}), w=numbers(1, 5), b=B)),
        ("a bias with a batch", graph(("Gemm", ["h", "w", "b"], {"transB": 1}), w=W, b=numbers(2, 5))),
        ("a double weight", graph(("MatMul", ["h", "w"], {}), w=W.T.astype(np.float64))),
        ("a stack of weights", graph(("MatMul", ["h", "w"], {}), w=numbers(1, 4, 5), shape=(1, 5))),
        ("a double constant", graph(GEMM, ("Mul", ["h", "c"], {}), w=W, b=B, c=np.ones(5))),
        ("a constant that makes items larger", graph(GEMM, ("Mul", ["h", "c"], {}), w=W, b=B, c=numbers(3, 1), shape=(5,))),
        ("no dense layer first", graph(("Relu", ["h"], {}), GEMM, w=W, b=B)),
        ("no layer at all", graph(("Identity", ["h"], {}), shape=(4,))),
        (
            "a layer on parts of an item",
            graph(("MatMul", ["h", "w"], {}), ("Reshape", ["h", "s"], {}), ("MatMul", ["h", "v"], {}), w=numbers(4, 6),
                  s=np.array([-1, 3], np.int64), v=numbers(3, 5)),
        ),
    ],
)  # fmt: skip
def test_a_graph_that_is_no_chain_is_left_to_the_generator(why: str, content: bytes) -> None:
    assert read_chain(content) is None, why


def test_int8_moves_no_weight_by_more_than_half_a_scale() -> None:
    layers = quantise([Dense(W, B), Pointwise("v", lambda v: v)])
    dense = layers[0]
    assert isinstance(dense, Dense)
    assert dense.scale is not None
    assert dense.weight.dtype == np.int8
    assert np.abs(dense.weight.astype(int)).max(axis=1).tolist() == [127] * 5
    moved = np.abs(dense.weight * dense.scale[:, None].astype(np.float64) - W)
    assert (moved <= dense.scale[:, None] / 2 * (1 + 1e-6)).all()
    assert moved.max() > 0  # the control
    np.testing.assert_array_equal(dense.bias, B)


def test_a_row_of_zeros_stays_zeros() -> None:
    (dense,) = quantise([Dense(np.zeros((2, 3), np.float32), np.ones(2, np.float32))])
    assert isinstance(dense, Dense)
    np.testing.assert_array_equal(compute([dense], numbers(4, 3)), np.ones((4, 2)))
