"""Two rewritings that change no number of a graph, and let ONNX Runtime run nearly all of it in integers.

**A transposed convolution whose kernel is its stride** (vaekit's convolutional decoders double their sides by one with kernel 2
and stride 2) puts each place's products side by side and adds nothing up: it is a 1x1 convolution into kernel-many times the
channels, and their rearrangement. ONNX Runtime has an integer kernel for convolutions, and none for transposed ones.

ONNX's own DepthToSpace would do for the rearrangement, but ONNX Runtime computes integer convolutions with the channels
innermost, and would go from one layout to the other and back around it. Written out with the channels innermost,

    (N, C', H, W) -> (N, H, W, k, k, C) -> (N, H, k, W, k, C) -> (N, H k, W k, C) -> (N, C, H k, W k)

the outer transpositions cancel against its own, and the inner one moves whole blocks of channels. (On a decoder of 3x64x64
DepthToSpace took a quarter of the time.)

**A ReLU after such moves** is put before them, where it belongs to the convolution: in integers it then costs nothing, since it
is where the convolution's range begins.

Needs: NumPy, onnx.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from vaekit.exporting.topology import shapes, sort_nodes, users

MOVES: Final = ("Flatten", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that only move values."""


def rearrange(model: onnx.ModelProto) -> onnx.ModelProto:
    """Do both rewritings wherever they apply.

    Args:
        model: A graph with named nodes; it is not changed.

    Returns:
        The graph with shapes of inner values, computing the same.
    """
    model = onnx.shape_inference.infer_shapes(model)
    known = shapes(model)
    for node in list(model.graph.node):
        if node.op_type == "ConvTranspose":
            _as_convolution(model, node, known)
    while _relu_first(model):
        pass
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def _as_convolution(model: onnx.ModelProto, node: onnx.NodeProto, known: dict[str, tuple[int | None, ...]]) -> None:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    result = known.get(node.output[0], ())[2:]
    if any(name not in constants for name in node.input[1:]) or not result or None in result:
        return
    weight = numpy_helper.to_array(constants[node.input[1]])  # (I, C, k, …)
    inputs, channels, *kernel = weight.shape
    if not _kernel_is_stride(node, kernel):
        return
    places = [size // k for size, k in zip(result, kernel, strict=True) if size is not None]
    dims, name = len(kernel), node.name
    # Output channel (i, j, c) of the 1x1 convolution is what place (i, j) of the kernel gives channel c.
    turned = np.moveaxis(weight, (0, 1), (-1, -2)).reshape(-1, inputs, *(1 for _ in kernel))
    packed = [node.input[0], _constant(model, f"{node.input[1]}_places", turned)]
    if len(node.input) > 2:
        bias = numpy_helper.to_array(constants[node.input[2]])
        packed.append(_constant(model, f"{node.input[2]}_places", np.tile(bias, prod(kernel))))
    conv = helper.make_node("Conv", packed, [f"{name}_packed"], name=name, kernel_shape=[1] * dims)
    axes = list(range(1, dims + 1))
    apart = [size for pair in zip(axes, [axis + dims for axis in axes], strict=True) for size in pair]
    steps: list[tuple[str, Any]] = [("Transpose", [0, *(axis + 1 for axis in axes), 1])]
    if dims > 1:  # in one dimension, places that lie beside each other are already where they belong
        steps.append(("Reshape", [-1, *places, *kernel, channels]))
        steps.append(("Transpose", [0, *apart, 2 * dims + 1]))
    steps.append(("Reshape", [-1, *(p * k for p, k in zip(places, kernel, strict=True)), channels]))
    steps.append(("Transpose", [0, dims + 1, *axes]))

    made, value = [conv], conv.output[0]
    for index, (operator, argument) in enumerate(steps):
        to = node.output[0] if index == len(steps) - 1 else f"{name}_move_{index}"
        taken, attributes = [value], {}
        if operator == "Reshape":
            taken.append(_constant(model, f"{name}_shape_{index}", np.array(argument, np.int64)))
        else:
            attributes["perm"] = argument
        made.append(helper.make_node(operator, taken, [to], name=f"{name}_move_{index}", **attributes))
        value = to
    at = list(model.graph.node).index(node)
    del model.graph.node[at]
    for offset, new in enumerate(made):
        model.graph.node.insert(at + offset, new)


def _kernel_is_stride(node: onnx.NodeProto, kernel: list[int]) -> bool:
    """Whether places of the result come from one place of the input each, and none is cut off or added."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return (
        list(attributes.get("strides", [1] * len(kernel))) == kernel
        and not any(attributes.get("pads", ()))
        and not any(attributes.get("output_padding", ()))
        and all(step == 1 for step in attributes.get("dilations", ()))
        and attributes.get("group", 1) == 1
        and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
        and "output_shape" not in attributes
    )


def _relu_first(model: onnx.ModelProto) -> bool:
    """Put one ReLU before the move whose result it alone takes; whether there was one."""
    maker = {output: node for node in model.graph.node for output in node.output}
    outputs = {value.name for value in model.graph.output}
    for relu in model.graph.node:
        move = maker.get(relu.input[0]) if relu.op_type == "Relu" else None
        if move is None or move.op_type not in MOVES or relu.input[0] in outputs:
            continue
        if len(users(model, relu.input[0])) > 1:
            continue
        moved, result = relu.input[0], relu.output[0]
        relu.input[0], relu.output[0] = move.input[0], moved
        move.input[0], move.output[0] = moved, result
        sort_nodes(model)
        return True
    return False


def _constant(model: onnx.ModelProto, name: str, value: np.ndarray[Any, Any]) -> str:
    """Add a constant, and give the name that it got: one that no other value has."""
    taken = {tensor.name for tensor in model.graph.initializer}
    while name in taken:
        name += "_"
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name
