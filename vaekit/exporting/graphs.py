"""A torch module as the bytes of an ONNX graph, the same bytes for the same weights.

What torch's exporter leaves inside besides the graph (source lines, local paths, Python types, shapes of inner values) is
taken out. External data is never written.

Needs: torch, onnx, onnxscript.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any, Final

import onnx
import onnxscript  # noqa: F401  torch's exporter imports it late; here, its absence is seen before the work
import torch
from torch import Tensor, nn

from vaekit.errors import ExportError, one_line

OPSET: Final = 18
"""Default operator set: ONNX 1.13 (2022), so every ONNX Runtime since 1.14 loads it, well over 18 months of releases."""

LOWEST_OPSET: Final = 18
"""torch's exporter writes no lower one."""

_PORT: Final = "vaekit.port."
"""Before the names of inputs and outputs, until the values inside that have these names are called something else."""


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
        ExportError: torch cannot export the module, its batch is not symbolic, or its graph is not of that operator set.
    """
    highest = onnx.defs.onnx_opset_version()
    if not LOWEST_OPSET <= opset <= highest:
        raise ExportError(f"opset={opset} was asked for; this installation writes {LOWEST_OPSET} to {highest}.")
    try:
        with evaluation_mode(module), quiet():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                external_data=False,
                opset_version=opset,
                input_names=[_PORT + name for name in inputs],
                output_names=[_PORT + name for name in outputs],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:  # (torch raises many unrelated types)
        raise ExportError(
            f"torch cannot export {type(module).__name__}: {_innermost(error)}. A module must be a pure function of its "
            "input, made of operators that ONNX has, without branches on the input's values."
        ) from error
    if program is None:
        raise ExportError(f"torch gave no graph for {type(module).__name__}.")
    model = program.model_proto
    _strip(model)
    _name_ports(model, [*inputs, *outputs])
    found = {entry.domain: entry.version for entry in model.opset_import}.get("")
    if found != opset:
        raise ExportError(
            f"opset={opset} was asked for, but torch exported {type(module).__name__} with opset {found}; "
            f"leave the option out to get opset {OPSET}."
        )
    return finish(model, type(module).__name__)


def finish(model: onnx.ModelProto, name: str) -> bytes:
    """Check a graph, and give its bytes without metadata: the same bytes for the same graph.

    Args:
        model: The graph; it is changed.
        name: What messages call it.

    Raises:
        ExportError: It is no valid graph, or its batch is not symbolic.
    """
    _strip(model)
    # The lowest IR version that defines this operator set: an older runtime can read it, and nothing newer is used.
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        if not axes or axes[0].dim_param != "batch":
            raise ExportError(
                f"the batch of {value.name!r} is not symbolic in the exported {name}; "
                "the module must treat the first axis of its input as the batch, of any size."
            )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported {name} is no valid ONNX graph: {_plain(error)}.") from error
    return bytes(model.SerializeToString(deterministic=True))


def _strip(model: onnx.ModelProto) -> None:
    """Take out everything that is not the graph: metadata, documentation, shapes of inner values."""
    for message in list(_messages(model)):
        for field in ("metadata_props", "doc_string", "value_info"):
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)


def _name_ports(model: onnx.ModelProto, ports: list[str]) -> None:
    """Give inputs and outputs their names; a value inside that has one already (a buffer "mean", say) makes way.

    torch would leave two values of one name.
    """
    values = [message for message in _messages(model) if isinstance(message, (onnx.ValueInfoProto, onnx.TensorProto))]
    nodes = [message for message in _messages(model) if isinstance(message, onnx.NodeProto)]
    taken = {value.name for value in values}.union(*([*node.input, *node.output] for node in nodes))
    names = {_PORT + name: name for name in ports}
    for name in taken.intersection(ports):
        other = f"{name}_inside"
        while other in taken:
            other += "_"
        names[name] = other
    for value in values:
        value.name = names.get(value.name, value.name)
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _messages(message: Any) -> Iterator[Any]:
    """A protobuf message and every message inside it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(part)


def _innermost(error: BaseException) -> str:
    """Say what went wrong at the bottom: torch wraps it in advice on how to debug torch."""
    while error.__cause__ is not None:
        error = error.__cause__
    first_paragraph = str(error).strip().partition("\n\n")[0]
    return f"{type(error).__name__}: {_plain(first_paragraph)}"


def _plain(text: object) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(text))  # torch colours its messages
    return one_line(plain, 400)


@contextlib.contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put every submodule into eval mode, and each back into its own mode afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep another package's remarks (on torchvision, on its own deprecations, on what it tried) off our user's terminal.

    They come as warnings, as prints, and from loggers of several packages with levels of their own.
    """
    silent = io.StringIO()
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
