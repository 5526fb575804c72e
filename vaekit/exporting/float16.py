"""fp16: a graph whose weights and inner values are float16, with float32 inputs and outputs.

Half of fp32's bytes. On a processor that computes in half precision it is also faster; others (most x86) widen the weights
again when the model is loaded. The nodes at both ends stay in float32: data in their own units may lie beyond float16's
65,504, and a probability near 1 has only 11 bits there.

The conversion is ONNX Runtime's own (onnxruntime.transformers.float16). It narrows the graph's inputs first and widens them
again for a node that stays in float32; that detour through float16 is taken out.

Needs: onnx, ONNX Runtime.
"""

from __future__ import annotations

import onnx

from vaekit.errors import ExportError, one_line
from vaekit.exporting.graphs import finish, quiet
from vaekit.exporting.topology import drop_unused, front, name_nodes, rename, sort_nodes, tail, users
from vaekit.runtime.providers import import_onnxruntime


def to_float16(model: bytes) -> bytes:
    """Write a graph in float16.

    Args:
        model: The graph in float32.

    Returns:
        The graph with the same inputs and outputs, no weight twice.

    Raises:
        ExportError: The result is no valid graph.
    """
    import_onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph = onnx.load_from_string(model)
    name_nodes(graph)
    ends = sorted({*front(graph), *tail(graph)})
    try:
        with quiet():
            half = convert_float_to_float16(graph, keep_io_types=True, node_block_list=ends)
    except Exception as error:  # the converter raises what its checks run into
        raise ExportError(f"the graph cannot be written in float16: {one_line(error)}.") from error
    name_nodes(half)
    sort_nodes(half)
    _take_out_detours(half)
    drop_unused(half)
    return finish(half, "float16 graph")


def _take_out_detours(model: onnx.ModelProto) -> None:
    """Where float32 is narrowed to float16 and widened again, use the first float32, which has lost nothing."""
    maker = {output: node for node in model.graph.node for output in node.output}
    inputs, outputs = ({value.name for value in side} for side in (model.graph.input, model.graph.output))
    for widening in list(model.graph.node):
        narrowing = maker.get(widening.input[0]) if _casts(widening, onnx.TensorProto.FLOAT) else None
        if narrowing is None or not _casts(narrowing, onnx.TensorProto.FLOAT16):
            continue
        whole, copy = narrowing.input[0], widening.output[0]
        if copy in outputs and whole in inputs | outputs:
            continue  # two names that must both stay
        if copy in outputs:  # the output keeps its name, so the value that goes there takes it
            rename(model, whole, copy)
        else:
            rename(model, copy, whole)
        model.graph.node.remove(widening)
        if not users(model, narrowing.output[0]):
            model.graph.node.remove(narrowing)


def _casts(node: onnx.NodeProto, to: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == to
