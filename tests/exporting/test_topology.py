"""Where a graph's weight is, on graphs small enough to see it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs_by_hand import graph, run
from onnx import helper

from vaekit.errors import ExportError
from vaekit.exporting.topology import drop_unused, front, heads, name_nodes, rename, shapes, sort_nodes, tail, weighted

EYE = np.eye(3, dtype=np.float32)


def two_headed() -> onnx.ModelProto:
    """Scale, hidden layer, ReLU, two last layers, an exponential on one."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["scaled"], name="scale"),
        helper.make_node("MatMul", ["scaled", "w"], ["h"], name="hidden"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w"], ["a"], name="first"),
        helper.make_node("Gemm", ["r", "w"], ["b"], name="second"),
        helper.make_node("MatMul", ["a", "b"], ["product"], name="product"),  # of two values: it has no weights
        helper.make_node("Exp", ["product"], ["y"], name="exp"),
    ]
    return graph(nodes, {"w": EYE, "two": np.float32([2.0])}, {"x": [3, 3]}, {"y": [3, 3]})


def test_the_parts_of_a_graph() -> None:
    model = two_headed()
    assert [node.name for node in weighted(model)] == ["hidden", "first", "second"]
    assert heads(model) == ["first", "second"]
    assert front(model) == ["scale"]
    assert tail(model) == ["product", "exp"]


def test_nodes_are_sorted_and_otherwise_stay_where_they_are() -> None:
    model = two_headed()
    order = [node.name for node in model.graph.node]
    sort_nodes(model)
    assert [node.name for node in model.graph.node] == order
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    sort_nodes(model)
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    np.testing.assert_allclose(run(model, x=x)[0], run(two_headed(), x=x)[0])


def test_nodes_that_wait_for_each_other_are_refused() -> None:
    model = onnx.ModelProto()
    model.graph.node.append(helper.make_node("Add", ["a", "b"], ["c"], name="one"))
    model.graph.node.append(helper.make_node("Relu", ["c"], ["b"], name="other"))
    with pytest.raises(ExportError, match="the nodes from 'one' on wait for each other; the graph has a circle"):
        sort_nodes(model)


def test_every_node_gets_a_name_of_its_own() -> None:
    model = two_headed()
    for node, name in zip(model.graph.node, ["a", "", "a", "", "a", "b", "b"], strict=True):
        node.name = name
    name_nodes(model)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert all(names)
    assert names[0] == "a"


def test_what_no_node_takes_is_dropped() -> None:
    model = two_headed()
    model.graph.initializer.append(onnx.numpy_helper.from_array(EYE, "left over"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    drop_unused(model)
    assert {tensor.name for tensor in model.graph.initializer} == {"w", "two"}
    assert [entry.domain for entry in model.opset_import] == [""]


def test_what_a_subgraph_takes_is_kept() -> None:
    def branch(name: str, value: str) -> onnx.GraphProto:
        node = helper.make_node("Identity", [value], [f"{name}_out"])
        output = helper.make_tensor_value_info(f"{name}_out", onnx.TensorProto.FLOAT, [3, 3])
        return helper.make_graph([node], name, [], [output])

    choice = helper.make_node(
        "If", ["yes"], ["y"], name="if", then_branch=branch("a", "w"), else_branch=branch("b", "x")
    )
    model = graph([choice], {"w": EYE, "yes": np.array(True)}, {"x": [3, 3]}, {"y": [3, 3]})
    drop_unused(model)
    assert {tensor.name for tensor in model.graph.initializer} == {"w", "yes"}


def test_a_value_is_renamed_where_it_is_made_and_taken() -> None:
    model = two_headed()
    rename(model, "r", "rectified")
    assert [node.name for node in model.graph.node if "rectified" in node.input] == ["first", "second"]
    assert model.graph.node[2].output[0] == "rectified"


def test_shapes_have_none_for_sizes_without_a_number() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="relu")
    model = onnx.shape_inference.infer_shapes(graph([node], {}, {"x": ["batch", 3]}, {"y": ["batch", 3]}))
    assert shapes(model) == {"x": (None, 3), "y": (None, 3)}
