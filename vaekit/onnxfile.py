"""An ONNX file's messages, read from its bytes: the fields of onnx.proto in protobuf's wire format.

Nothing is copied but names, so that weights cost nothing. What a graph may hold is not asked here: `vaekit.graphguard` does.

Field names and numbers: onnx/onnx.proto of ONNX 1.23. Wire format: protobuf.dev/programming-guides/encoding.

Needs: the standard library. Must not import: numpy, onnx, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NoReturn, TypeAlias

from vaekit.errors import IntegrityError

# TensorProto.DataType: the position is the number.
DTYPES: Final = (
    *("undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16"),
    *("float64", "uint32", "uint64", "complex64", "complex128", "bfloat16", "float8e4m3fn", "float8e4m3fnuz"),
    *("float8e5m2", "float8e5m2fnuz", "uint4", "int4", "float4e2m1", "float8e8m0", "uint2", "int2"),
    *("float6e2m3", "float6e3m2"),
)

Message: TypeAlias = Mapping[int, tuple[str, int]]  # field number -> name and wire type
Span: TypeAlias = tuple[int, int]  # first byte, and the one after the last

# Wire types.
VARINT: Final = 0
LEN: Final = 2
FIXED: Final[Mapping[int, int]] = {1: 8, 5: 4}  # wire type -> bytes; no field below has one

# The fields that `graphguard` asks for; all others, known to ONNX or not, are stepped over. A test holds these to onnx.proto.
# fmt: off
MODEL: Final[Message] = {
    1: ("ir_version", VARINT), 2: ("producer_name", LEN), 3: ("producer_version", LEN), 7: ("graph", LEN),
    8: ("opset_import", LEN), 20: ("training_info", LEN), 25: ("functions", LEN),
}
OPSET: Final[Message] = {1: ("domain", LEN), 2: ("version", VARINT)}
TRAINING: Final[Message] = {1: ("initialization", LEN), 2: ("algorithm", LEN)}
FUNCTION: Final[Message] = {1: ("name", LEN), 7: ("node", LEN), 10: ("domain", LEN), 11: ("attribute_proto", LEN)}
GRAPH: Final[Message] = {
    1: ("node", LEN), 5: ("initializer", LEN), 11: ("input", LEN), 12: ("output", LEN), 15: ("sparse_initializer", LEN),
}
NODE: Final[Message] = {
    1: ("input", LEN), 2: ("output", LEN), 3: ("name", LEN), 4: ("op_type", LEN), 5: ("attribute", LEN),
    7: ("domain", LEN),
}
ATTRIBUTE: Final[Message] = {
    5: ("t", LEN), 6: ("g", LEN), 10: ("tensors", LEN), 11: ("graphs", LEN), 22: ("sparse_tensor", LEN),
    23: ("sparse_tensors", LEN),
}
TENSOR: Final[Message] = {8: ("name", LEN), 13: ("external_data", LEN), 14: ("data_location", VARINT)}
SPARSE_TENSOR: Final[Message] = {1: ("values", LEN), 2: ("indices", LEN)}
VALUE: Final[Message] = {1: ("name", LEN), 2: ("type", LEN)}
TYPE: Final[Message] = {
    1: ("tensor_type", LEN), 4: ("sequence_type", LEN), 5: ("map_type", LEN), 7: ("opaque_type", LEN),
    8: ("sparse_tensor_type", LEN), 9: ("optional_type", LEN),
}
TENSOR_TYPE: Final[Message] = {1: ("elem_type", VARINT), 2: ("shape", LEN)}
SHAPE: Final[Message] = {1: ("dim", LEN)}
DIM: Final[Message] = {1: ("dim_value", VARINT), 2: ("dim_param", LEN)}
# fmt: on


class OnnxFile:
    """The bytes of an ONNX model.

    Args:
        data: The bytes.
        name: What messages call the model, such as its file's name.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name

    def fields(self, span: Span, message: Message) -> Iterator[tuple[str, int, Span]]:
        """Give each known field of a message: its name, its number if it is a varint, its bytes if it has a length."""
        at, end = span
        while at < end:
            start = at
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            if number == 0 or tag >> 32 or at - start > 5:  # a longer tag means one thing here and another elsewhere
                self.malformed(start, "a field has an impossible number")
            value, size = 0, 0
            if wire == VARINT:
                value, at = self._varint(at, end)
            elif wire == LEN:
                size, at = self._varint(at, end)
            elif wire in FIXED:
                size = FIXED[wire]
            else:  # 3 and 4 are groups, which ONNX never had; 6 and 7 do not exist
                self.malformed(start, f"a field has the wire type {wire}")
            content = (at, at + size)
            at += size
            if at > end:
                self.malformed(start, "a field ends past its message")
            if number in message:
                name, expected = message[number]
                if wire != expected:
                    self.malformed(start, f"the field {name} has the wire type {wire} instead of {expected}")
                yield name, value, content

    def text(self, span: Span) -> str:
        """Read a name."""
        try:
            return self.data[span[0] : span[1]].decode()
        except UnicodeDecodeError:
            return self.malformed(span[0], "a name is not UTF-8")

    def malformed(self, at: int, found: str) -> NoReturn:
        """Refuse the file for what was found at a byte of it."""
        raise IntegrityError(
            f"{self.name} is not a well-formed ONNX model: {found} (at byte {at}); copy or export the file again."
        ) from None

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Read an unsigned number of up to 64 bits; give it and the position after it."""
        value = 0
        for i in range(10):
            if at + i >= end:
                self.malformed(at, "a number is cut off")
            byte = self.data[at + i]
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80 and value < 1 << 64:
                return value, at + i + 1
        return self.malformed(at, "a number is longer than 64 bits")


def signed(number: int) -> int:
    """Read 64 bits as two's complement."""
    return number - (1 << 64) if number >> 63 else number
