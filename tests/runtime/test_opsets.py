"""The table of opsets against ONNX Runtime's documentation, and against the one that is installed."""

from __future__ import annotations

import onnxruntime
import pytest
from onnx import TensorProto, helper

from vaekit.runtime.opsets import HIGHEST, oldest_onnxruntime
from vaekit.runtime.providers import CPU


@pytest.mark.parametrize(
    ("opset", "ir_version", "oldest"),
    [
        (13, 7, "1.14"),
        (18, 8, "1.14"),
        (19, 8, "1.15"),
        (18, 9, "1.16"),
        (20, 9, "1.17"),
        (21, 10, "1.18"),
        (99, 8, None),
    ],
)
def test_the_oldest_onnx_runtime_is_what_its_documentation_says(
    opset: int, ir_version: int, oldest: str | None
) -> None:
    # onnxruntime.ai/docs/reference/compatibility.html; the table starts at 1.14, though older ones load the first.
    assert oldest_onnxruntime(opset, ir_version) == oldest


def test_the_table_agrees_with_the_installed_onnx_runtime() -> None:
    minor = int(onnxruntime.__version__.split(".")[1])
    if minor > max(HIGHEST):
        pytest.skip(f"ONNX Runtime 1.{minor} is newer than the table")
    opset, ir_version = HIGHEST[max(row for row in HIGHEST if row <= minor)]
    assert _loads(opset, 8)
    assert not _loads(opset + 1, 8)
    assert _loads(18, ir_version)
    assert not _loads(18, ir_version + 1)


def _loads(opset: int, ir_version: int) -> bool:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), providers=[CPU])
    except Exception:  # noqa: BLE001  ONNX Runtime's exceptions have no common type
        return False
    return True
