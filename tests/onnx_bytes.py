"""ONNX files written by hand, for bytes that onnx does not write, and onnx's own names."""

from __future__ import annotations

from onnx import TensorProto


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def wire(number: int, payload: bytes | int) -> bytes:
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


HEAD = wire(1, 10) + wire(8, wire(2, 21))  # IR version, operator set


def dtype_name(code: int) -> str:
    """Name an element type as onnx does, except where NumPy has a plainer word."""
    name = TensorProto.DataType.Name(code).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
