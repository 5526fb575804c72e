"""A decoder's graph as a chain of dense layers and functions of single values, if it is one.

    z -> Dense -> Pointwise -> ... -> Dense -> Pointwise -> x_hat

Such a chain is what the MLP exports, and can be written as a few lines of C. Here a graph is read into one, its weights are
quantised, and it is computed in float64, as the reference for what was written.

Needs: NumPy; onnx inside functions. Must not import: torch.

Shapes: N codes, R rows (outputs) and K inputs of a dense layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import MissingDependencyError

if TYPE_CHECKING:
    import onnx

LARGEST_INT8: Final = 127
"""Weights are -127 .. 127: symmetric, so that 0 stays 0 and no zero point is needed."""


class Dense(NamedTuple):
    """``y = scale * (weight h) + bias``.

    Attributes:
        weight: (R, K) float32, or int8.
        bias: (R,) float32.
        scale: (R,) float32 for int8 weights, None for float32.
    """

    weight: NDArray[Any]
    bias: NDArray[np.float32]
    scale: NDArray[np.float32] | None = None


class Pointwise(NamedTuple):
    """A function of each value by itself.

    Attributes:
        expression: In C, of the float `v`; ``{0}``, ``{1}`` … stand for the constants.
        apply: In NumPy, of the values (N, V) and the constants.
        constants: Numbers, or one for each value of an item, (V,) float32.
    """

    expression: str
    apply: Callable[..., NDArray[np.float64]]
    constants: tuple[NDArray[np.float32], ...] = ()


Layer: TypeAlias = Dense | Pointwise


def _sigmoid(v: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-v)))


_FUNCTIONS: Final[dict[str, Pointwise]] = {
    "Relu": Pointwise("v > 0.0f ? v : 0.0f", lambda v: np.maximum(v, 0)),
    "Sigmoid": Pointwise("1.0f / (1.0f + expf(-v))", _sigmoid),
    "Tanh": Pointwise("tanhf(v)", np.tanh),
    "LeakyRelu": Pointwise("v > 0.0f ? v : {0} * v", lambda v, alpha: np.where(v > 0, v, alpha * v)),
    "Elu": Pointwise("v > 0.0f ? v : {0} * expm1f(v)", lambda v, alpha: np.where(v > 0, v, alpha * np.expm1(v))),
    "Clip": Pointwise("v < {0} ? {0} : v > {1} ? {1} : v", np.clip),
    "Add": Pointwise("v + {0}", lambda v, c: v + c),
    "Sub": Pointwise("v - {0}", lambda v, c: v - c),
    "Mul": Pointwise("v * {0}", lambda v, c: v * c),
    "Div": Pointwise("v / {0}", lambda v, c: v / c),
}

_ALPHA: Final = {"LeakyRelu": 0.01, "Elu": 1.0}
"""Functions with an attribute alpha, and its default."""

_SAME_VALUES: Final = ("Reshape", "Flatten", "Identity", "Squeeze", "Unsqueeze")
"""Operators that leave an item's values as they are, in their order."""


class _NoChainError(Exception):
    """A graph is something else; never leaves this module."""


def read_chain(content: bytes) -> list[Layer] | None:
    """Read a decoder's graph as a chain of layers.

    Args:
        content: The ONNX model, with the batch as the first axis of its one input and one output.

    Returns:
        The layers, the first of them dense; None where the graph is no such chain.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    model = one_item(content)
    try:
        return _read(model.graph)
    except _NoChainError:
        return None


def one_item(content: bytes) -> onnx.ModelProto:
    """Load a graph, fix its batch to 1, and infer the shape of every value.

    Raises:
        MissingDependencyError: onnx is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"`vaekit embed c-standalone` reads the graph with {error.name}; install it with `pip install 'vaekit[embed]'`."
        ) from error
    model = onnx.load_from_string(content)
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    return onnx.shape_inference.infer_shapes(model)


def _read(graph: onnx.GraphProto) -> list[Layer]:
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    layers: list[Layer] = []
    at = graph.input[0].name  # the value that the chain has reached
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            continue
        others = [name for name in node.input if name != at]
        if list(node.input).count(at) != 1 or len(node.output) != 1 or any(n and n not in constants for n in others):
            raise _NoChainError
        if node.op_type in ("Gemm", "MatMul"):
            layers.append(_dense(node, at, constants))
        elif node.op_type not in _SAME_VALUES:
            layers.append(_pointwise(node, at, constants, shapes[at]))
        at = node.output[0]
    width = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    if at != graph.output[0].name or not layers or not isinstance(layers[0], Dense):
        raise _NoChainError
    for layer in layers:
        if isinstance(layer, Dense):
            if layer.weight.shape[1] != width:  # a reshape has made rows of parts of an item
                raise _NoChainError
            width = len(layer.weight)
    return _fold_biases(layers)


def _dense(node: onnx.NodeProto, at: str, constants: dict[str, NDArray[Any]]) -> Dense:
    from onnx import helper

    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    plain = attributes.get("alpha", 1.0) == 1 and attributes.get("beta", 1.0) == 1 and not attributes.get("transA", 0)
    if node.input[0] != at or not plain:
        raise _NoChainError
    weight = constants[node.input[1]]
    if weight.dtype != np.float32 or weight.ndim != 2:
        raise _NoChainError
    if node.op_type == "MatMul" or not attributes.get("transB", 0):
        weight = weight.T
    bias = constants[node.input[2]] if len(node.input) > 2 and node.input[2] else np.zeros(len(weight), np.float32)
    if bias.dtype != np.float32 or bias.size not in (1, len(weight)):
        raise _NoChainError
    return Dense(np.ascontiguousarray(weight), np.broadcast_to(bias.reshape(-1), len(weight)).copy())


def _pointwise(node: onnx.NodeProto, at: str, constants: dict[str, NDArray[Any]], shape: tuple[int, ...]) -> Pointwise:
    from onnx import helper

    function = _FUNCTIONS.get(node.op_type)
    if function is None:
        raise _NoChainError
    if node.op_type in _ALPHA:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        return function._replace(constants=(np.array(attributes.get("alpha", _ALPHA[node.op_type]), np.float32),))
    if node.op_type == "Clip":
        bounds = [constants[name] if name else None for name in (*node.input[1:], "", "")[:2]]
        limits = np.finfo(np.float32).min, np.finfo(np.float32).max
        given = (limit if bound is None else bound for bound, limit in zip(bounds, limits, strict=True))
        return function._replace(constants=tuple(np.array(value, np.float32).reshape(()) for value in given))
    if len(node.input) == 1:
        return function
    if node.op_type in ("Sub", "Div") and node.input[0] != at:  # c - v, c / v
        raise _NoChainError
    (constant,) = (constants[name] for name in node.input if name != at)
    if constant.dtype != np.float32 or np.broadcast_shapes(constant.shape, shape) != shape:
        raise _NoChainError
    values = np.broadcast_to(constant, shape).reshape(-1)
    return function._replace(constants=(values[0] if (values == values[0]).all() else values.copy(),))


def _fold_biases(layers: list[Layer]) -> list[Layer]:
    """Put an addition that follows a product without a bias (MatMul, Add) into it, which is exact."""
    folded: list[Layer] = []
    for layer in layers:
        last = folded[-1] if folded else None
        addition = isinstance(layer, Pointwise) and layer.apply is _FUNCTIONS["Add"].apply
        if addition and isinstance(last, Dense) and not last.bias.any():
            assert isinstance(layer, Pointwise)
            folded[-1] = last._replace(bias=np.broadcast_to(layer.constants[0], len(last.bias)).astype(np.float32))
        else:
            folded.append(layer)
    return folded


def quantise(layers: Sequence[Layer]) -> list[Layer]:
    """Round the weights of dense layers to int8, symmetric, with a scale for each row; biases stay as they are.

    ``scale[r] = max_k |w[r, k]| / 127``, ``q[r, k] = round(w[r, k] / scale[r])``, so no weight moves by more than half a scale.
    """
    rounded: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Dense):
            largest = np.abs(layer.weight).max(axis=1)
            scale = np.where(largest > 0, largest / LARGEST_INT8, 1).astype(np.float32)
            weight = np.rint(layer.weight.astype(np.float64) / scale[:, None]).clip(-LARGEST_INT8, LARGEST_INT8)
            rounded.append(Dense(weight.astype(np.int8), layer.bias, scale))
        else:
            rounded.append(layer)
    return rounded


def compute(layers: Sequence[Layer], z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply the layers in float64 and round once: (N, D) -> (N, values)."""
    h = z.astype(np.float64)
    for layer in layers:
        if isinstance(layer, Dense):
            scale = 1.0 if layer.scale is None else layer.scale.astype(np.float64)
            h = scale * (h @ layer.weight.astype(np.float64).T) + layer.bias
        else:
            h = layer.apply(h, *(constant.astype(np.float64) for constant in layer.constants))
    return h.astype(np.float32)
