"""A graph in ONNX Runtime's own format (.ort), for its small builds, which read no ONNX.

The graph is optimised on the way, as far as the result holds on every machine: the level "extended" joins nodes (in int8, into
the integer operators themselves), and stops before the layouts that belong to this processor. An int8 graph that is written
where products of 8 bits are added in 16, which can overflow, gets uint8 weights, whose products are exact there and everywhere;
one written elsewhere keeps int8 weights, and `vaekit verify` shows on such a processor what that costs.

The format belongs to ONNX Runtime: https://onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html

Needs: ONNX Runtime.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from vaekit.errors import ExportError, one_line
from vaekit.graphguard import is_ort
from vaekit.runtime.providers import EXACT_INTEGERS, import_onnxruntime


def to_ort(model: bytes, *, name: str) -> bytes:
    """Convert an ONNX graph.

    Args:
        model: The graph, checked.
        name: What messages call it.

    Returns:
        The graph in ORT format; of the same graph other bytes each time, since ONNX Runtime writes a table in random order.

    Raises:
        ExportError: ONNX Runtime cannot write it.
    """
    onnxruntime = import_onnxruntime()

    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.ort"
        settings = onnxruntime.SessionOptions()
        settings.optimized_model_filepath = str(written)
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        settings.add_session_config_entry("session.save_model_format", "ORT")
        settings.add_session_config_entry(*EXACT_INTEGERS)  # a session that reads the result changes no weights
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        try:
            onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
            content = written.read_bytes()
        except Exception as error:  # ONNX Runtime's errors have no common class but this
            raise ExportError(f"{name} cannot be written in ORT format: {one_line(error)}.") from error
    if not is_ort(content):
        raise ExportError(f"ONNX Runtime did not write {name} in ORT format; leave --ort-format out.")
    return content
