"""A torch module as the bytes of an ONNX graph, the same bytes for the same weights.

What torch's exporter leaves inside besides the graph (source lines, local paths, Python types, shapes of inner values) is
taken out. External data is never written.

Needs: torch, onnx, onnxscript.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn

from vaekit.errors import ExportError

OPSET: Final = 18
"""Default operator set: ONNX 1.13 (2022), so every ONNX Runtime since 1.14 loads it, well over 18 months of releases."""

LOWEST_OPSET: Final = 18
"""torch's exporter writes no lower one."""


def to_onnx(module: nn.Module, example: Tensor, *, inputs: list[str], outputs: list[str], opset: int = OPSET) -> bytes:
    """Export a module with one input whose first axis is the batch.

    Args:
        module: A pure function of its input, in any mode; it is exported as in `eval()` and left as it was.
        example: An input with a batch of 2 or more: torch would freeze a batch of 1.
        inputs: Name of the input.
        outputs: Names of the outputs, in order.
        opset: ONNX operator set.

    Returns:
        A serialised ONNX model with symbolic batch, weights inside, and no metadata.

    Raises:
        ExportError: torch cannot export the module, or its batch is not symbolic.
    """
    highest = onnx.defs.onnx_opset_version()
    if not LOWEST_OPSET <= opset <= highest:
        raise ExportError(f"opset={opset} was asked for; this installation writes {LOWEST_OPSET} to {highest}.")
    try:
        with _evaluation_mode(module), _quiet():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                external_data=False,
                opset_version=opset,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:  # (torch raises many unrelated types)
        raise ExportError(
            f"torch cannot export {type(module).__name__}: {' '.join(str(error).split())[:800]}"
        ) from error
    if program is None:
        raise ExportError(f"torch gave no graph for {type(module).__name__}.")
    model = program.model_proto
    _strip(model)
    # The lowest IR version that defines this operator set: an older runtime can read it, and nothing newer is used.
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.shape.dim[0].dim_param != "batch":
            raise ExportError(
                f"the batch of {value.name!r} is not symbolic in the exported {type(module).__name__}; "
                "the module must treat the first axis of its input as the batch, of any size."
            )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported {type(module).__name__} is no valid ONNX graph: {error}") from error
    return bytes(model.SerializeToString(deterministic=True))


def _strip(model: onnx.ModelProto) -> None:
    """Take out everything that is not the graph: metadata, documentation, shapes of inner values."""
    messages: list[Any] = [model, *model.functions]
    for function in model.functions:
        messages += function.node
    for graph in _graphs(model.graph):
        graph.ClearField("value_info")
        messages += [graph, *graph.node, *graph.initializer, *graph.input, *graph.output]
    for message in messages:
        message.ClearField("metadata_props")
        message.ClearField("doc_string")


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _graphs(inner)


@contextlib.contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule into eval mode, and each back into its own mode afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks on torchvision and on its own deprecations away from our user's terminal."""
    logger: Any = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
