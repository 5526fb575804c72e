"""Which ONNX Runtime loads which graphs, by the versions of their operators and of their format.

Needs: the standard library. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from typing import Final

HIGHEST: Final = {
    14: (18, 8),
    15: (19, 8),
    16: (19, 9),
    17: (20, 9),
    18: (21, 10),
    21: (22, 10),
    23: (23, 11),
    24: (25, 13),
    25: (26, 13),
    32: (28, 14),
}
"""Highest ONNX opset and IR version by ONNX Runtime's 1.x; a version that is not listed has the row above it.

Source: onnxruntime.ai/docs/reference/compatibility.html up to 1.20; from there on measured: a graph of one Relu was loaded
with each opset and IR version by the last patch release of every 1.x from 1.21 to 1.32.
"""


def oldest_onnxruntime(opset: int, ir_version: int) -> str | None:
    """Give the oldest ONNX Runtime that loads a graph, e.g. "1.14", or None where it is newer than `HIGHEST` knows."""
    for minor, (highest_opset, highest_ir) in HIGHEST.items():
        if opset <= highest_opset and ir_version <= highest_ir:
            return f"1.{minor}"
    return None
