"""int8: a graph whose products are of 8-bit integers, by ONNX Runtime's quantiser.

**Static** (`int8`): weights are int8, one scale a channel or one a tensor; activations are uint8, one scale a value, which
calibration fixed. The graph is written with QuantizeLinear and DequantizeLinear around float operators, all of them standard
ONNX; ONNX Runtime joins each such group into one integer operator when it loads the graph. Three things decide whether it does:

- Nothing is quantised that need not be: the nodes before the first weight and after the last stay in float.
- The last layer of a fully connected half gives float: ONNX Runtime's integer product has a float output, so its sums are used
  as they are, and the sigmoid, or the cut into mean and log_var, loses nothing. On the reference decoder that costs 0.02 nats;
  one more rounding of the logits makes it 0.08, of the sigmoid's result 4. A convolution has no such output: it is rounded.
- What stands between two integer operators is integer too; see `vaekit.exporting.rearrange`.

**Dynamic** (`int8-dynamic`): activations get their scale from the values of the batch at hand. It needs no calibration, and an
item's numbers depend on its neighbours in the batch.

Uint8 with int8 is the fast pair on x86. On processors without VNNI two products are added in 16 bits, which can overflow,
unless a session asks for exact ones, as vaekit's do (`session.x64quantprecision`, in `vaekit.runtime.providers`).

With one scale a channel the weights are finer. With one a tensor ONNX Runtime's fully connected product (QGemm) is quicker: it
goes through the scales and zero points of all channels in every call. And where a host does not ask for exact sums, they
overflow seldom, since most weights are far from 127. `vaekit.exporting.candidates` measures which to take.

Needs: onnx, ONNX Runtime.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import onnx

from vaekit.errors import ExportError, one_line
from vaekit.exporting.graphs import finish, quiet
from vaekit.exporting.rearrange import MOVES, rearrange
from vaekit.exporting.topology import drop_unused, front, heads, name_nodes, rename, sort_nodes, tail, users, weighted
from vaekit.runtime.providers import import_onnxruntime

INTEGER: Final = ("Add", "Clip", "Concat", "Conv", "Gemm", "LeakyRelu", "MatMul", "MaxPool", "Relu", *MOVES)
"""Operators that ONNX Runtime's CPU provider has for integers."""

_FLOAT_OUTPUT: Final = ("Gemm", "MatMul")
"""Integer products that can give float."""


def prepare(model: bytes) -> onnx.ModelProto:
    """Bring a float graph into the form that is calibrated and quantised: fused, rearranged, with shapes.

    Args:
        model: The graph in float32.

    Returns:
        A graph that computes the same, with a name for each node.

    Raises:
        ExportError: ONNX Runtime cannot read the graph.
    """
    onnxruntime = import_onnxruntime()

    with tempfile.TemporaryDirectory() as folder:
        fused = Path(folder) / "fused.onnx"
        settings = onnxruntime.SessionOptions()
        # Basic: what holds on every machine, such as a normalisation that becomes part of the convolution before it.
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        settings.optimized_model_filepath = str(fused)
        settings.log_severity_level = 3
        try:
            onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
            graph = onnx.load(fused)
        except Exception as error:  # ONNX Runtime's errors have no common class but this
            raise ExportError(f"the graph cannot be prepared for int8: {one_line(error)}.") from error
    name_nodes(graph)
    rearranged = rearrange(graph)
    drop_unused(rearranged)
    return rearranged


def float_layers(prepared: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the last layers, which may be kept in float; empty where nothing would be left in integers."""
    last = heads(prepared)
    return tuple(last) if len(last) < len(weighted(prepared)) else ()


def to_int8(
    prepared: onnx.ModelProto, ranges: Any, *, keep_float: tuple[str, ...] = (), per_channel: bool = True
) -> bytes:
    """Quantise a graph statically.

    Args:
        prepared: What `prepare` gave; it is not changed.
        ranges: What `vaekit.exporting.calibration.ranges` measured of it, for the operators of `INTEGER`.
        keep_float: Nodes with weights that stay in float.
        per_channel: Whether weights have one scale an output channel, max |w| / 127 of each; or one a tensor.

    Returns:
        The graph with the same float32 inputs and outputs.

    Raises:
        ExportError: The quantiser failed.
    """
    import_onnxruntime()
    from onnxruntime.quantization import QDQQuantizer, QuantType

    graph = onnx.ModelProto()
    graph.CopyFrom(prepared)
    opens = [name for name in heads(graph) if name not in keep_float]
    excluded = {*front(graph), *tail(graph), *keep_float, *_adds_of_constants(graph)}
    excluded -= _moved_as_integers(graph, opens)
    try:
        with quiet():
            quantizer = QDQQuantizer(
                graph,
                per_channel,
                False,  # all 8 bits
                QuantType.QInt8,
                QuantType.QUInt8,
                ranges,
                [],
                sorted(excluded),
                list(INTEGER),
                {},
            )
            quantizer.quantize_model()
        quantised: onnx.ModelProto = quantizer.model.model
    except Exception as error:
        raise ExportError(f"the graph cannot be quantised: {one_line(error)}.") from error
    for node in [node for node in quantised.graph.node if node.name in opens and node.op_type in _FLOAT_OUTPUT]:
        _leave_float(quantised, node.output[0])
    return _finished(quantised)


def to_int8_dynamic(model: bytes) -> bytes:
    """Quantise a graph dynamically.

    Args:
        model: The graph in float32, without convolutions; see `convolutions`.

    Returns:
        The graph with the same float32 inputs and outputs.

    Raises:
        ExportError: The quantiser failed.
    """
    import_onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "dynamic.onnx"
        try:
            with quiet():
                quantize_dynamic(
                    onnx.load_from_string(model), str(result), per_channel=True, weight_type=QuantType.QInt8
                )
            return _finished(onnx.load(result))
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(f"the graph cannot be quantised: {one_line(error)}.") from error


def convolutions(model: bytes) -> int:
    """Count a graph's convolutions."""
    return sum(node.op_type in ("Conv", "ConvTranspose") for node in onnx.load_from_string(model).graph.node)


def _adds_of_constants(model: onnx.ModelProto) -> set[str]:
    """Additions of a constant, a bias say: the quantiser would round it as coarsely as an activation."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return {node.name for node in model.graph.node if node.op_type == "Add" and constants.intersection(node.input)}


def _moved_as_integers(model: onnx.ModelProto, opens: list[str]) -> set[str]:
    """Moves right after a last convolution: its result is rounded anyway, and bytes move faster than floats."""
    outputs = {value.name for value in model.graph.output}
    ends = [node.output[0] for node in model.graph.node if node.name in opens and node.op_type == "Conv"]
    moves: set[str] = set()
    while ends:
        after = users(model, ends.pop())
        if len(after) == 1 and after[0].op_type in MOVES and after[0].output[0] not in outputs:
            moves.add(after[0].name)
            ends.append(after[0].output[0])
    return moves


def _leave_float(model: onnx.ModelProto, value: str) -> None:
    """Take out the rounding of a value, so that those who take it get it as it is."""
    outputs = {output.name for output in model.graph.output}
    for rounding in [node for node in users(model, value) if node.op_type == "QuantizeLinear"]:
        for back in users(model, rounding.output[0]):
            model.graph.node.remove(back)
            if back.output[0] in outputs:
                rename(model, value, back.output[0])
            else:
                rename(model, back.output[0], value)
        model.graph.node.remove(rounding)


def _finished(model: onnx.ModelProto) -> bytes:
    name_nodes(model)
    sort_nodes(model)
    drop_unused(model)
    return finish(model, "int8 graph")
