"""Where a graph's weight is: its nodes with weights, what comes before the first of them, and what after the last.

Everything costly in a model is a product with a constant matrix. The few element-wise nodes at both ends (standardising,
a sigmoid, the cut into mean and log_var) cost next to nothing, and are where a rounding hurts most.

Needs: onnx.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import onnx

from vaekit.errors import ExportError

WEIGHTED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that multiply with weights."""


def weighted(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes that multiply with a constant, in order."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type in WEIGHTED and constants.intersection(node.input)]


def heads(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes with weights after which no other comes: the last layer, or last layers, of each output."""
    return [node.name for node in weighted(model) if not _weighted_after(model, node)]


def tail(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes after the heads."""
    heavy = {node.name for node in weighted(model)}
    return [node.name for node in model.graph.node if node.name not in heavy and not _weighted_after(model, node)]


def front(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes between the input and the first nodes with weights."""
    heavy = {node.name for node in weighted(model)}
    reached = {name for node in model.graph.node if node.name in heavy for name in node.output}
    names = []
    for node in model.graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
        elif node.name not in heavy:
            names.append(node.name)
    return names


def users(model: onnx.ModelProto, value: str) -> list[onnx.NodeProto]:
    """Nodes that take a value."""
    return [node for node in model.graph.node if value in node.input]


def rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Give a value that a node makes another name, where it is made and where it is taken."""
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Shapes of the values that shape inference knows; a symbolic size is None."""
    found = {}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            found[value.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return found


def name_nodes(model: onnx.ModelProto) -> None:
    """Give a name to every node that has none, or another's."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        name = node.name or f"{node.op_type}_{index}"
        while name in taken:
            name += "_"
        node.name = name
        taken.add(name)


def sort_nodes(model: onnx.ModelProto) -> None:
    """Put each node after those whose values it takes, as ONNX asks, and otherwise keep the order.

    Raises:
        ExportError: The graph has a circle.
    """
    waiting = list(model.graph.node)
    made = {node_output for node in waiting for node_output in node.output}
    known: set[str] = set()
    ordered: list[onnx.NodeProto] = []
    while waiting:
        ready = [node for node in waiting if not {name for name in node.input if name in made} - known]
        if not ready:
            raise ExportError(f"the nodes from {waiting[0].name!r} on wait for each other; the graph has a circle.")
        # One at a time: the first that can go, so that the order changes no more than it must.
        ordered.append(ready[0])
        known.update(ready[0].output)
        waiting.remove(ready[0])
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def drop_unused(model: onnx.ModelProto) -> None:
    """Take out constants that no node takes, and operator sets of which no node is."""
    taken = {name for node in all_nodes(model.graph) for name in node.input}
    taken.update(value.name for value in model.graph.output)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in taken]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    domains = {node.domain for node in all_nodes(model.graph)} | {""}
    for function in model.functions:
        domains.update(node.domain for node in function.node)
        domains.add(function.domain)
    opsets = [entry for entry in model.opset_import if entry.domain in domains]
    del model.opset_import[:]
    model.opset_import.extend(opsets)


def _weighted_after(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    heavy = {other.name for other in weighted(model)}
    reached = set(node.output)
    after = False
    for other in model.graph.node:  # in order, so one pass meets everything that comes after
        if reached.intersection(other.input):
            reached.update(other.output)
            after |= other.name in heavy
    return after


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes of a graph and of the graphs inside its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from all_nodes(inner)
