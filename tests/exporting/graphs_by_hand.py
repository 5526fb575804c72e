"""Small ONNX graphs, written node by node, and how they are run: what tests of rewritings share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx.checker
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vaekit.runtime.providers import EXACT_INTEGERS


class Exported(NamedTuple):
    """A model in torch, and both of its graphs."""

    pair: Any
    encoder: bytes
    decoder: bytes

    def items(self, count: int, seed: int = 0) -> np.ndarray:
        """Random items of its shape, in its data's range or units."""
        data = self.pair.spec.data
        values = np.random.default_rng(seed).random((count, *data.shape))
        return (values * data.units + data.offsets).astype(np.float32)

    def codes(self, count: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=(count, self.pair.spec.latent)).astype(np.float32)


def graph(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, NDArray[Any]],
    inputs: dict[str, Sequence[Any]],
    outputs: dict[str, Sequence[Any]],
) -> onnx.ModelProto:
    """A checked model of opset 18; every input and output is float32."""

    def values(ports: dict[str, Sequence[Any]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ports.items()]

    made = helper.make_graph(
        nodes,
        "graph",
        values(inputs),
        values(outputs),
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto | bytes, **feed: NDArray[Any]) -> list[Any]:
    """Run a model in ONNX Runtime on one thread."""
    return session(model).run(None, feed)


def session(model: onnx.ModelProto | bytes) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3
    settings.add_session_config_entry(*EXACT_INTEGERS)  # as vaekit opens graphs
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])


def optimised(model: bytes, path: Any) -> onnx.ModelProto:
    """What ONNX Runtime makes of a model when it loads it, before the layouts that belong to a processor."""
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    settings.optimized_model_filepath = str(path)
    settings.log_severity_level = 3
    onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    return onnx.load(path)


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]
