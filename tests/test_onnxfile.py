"""The fields are onnx.proto's, and bytes that are no messages are refused.

Expected values come from onnx's descriptors, and of the bytes from protobuf's specification.
"""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto
from onnx_bytes import HEAD, dtype_name, varint, wire

from vaekit import onnxfile
from vaekit.errors import IntegrityError
from vaekit.graphguard import GraphSummary, inspect_graph


def inspect(data: bytes) -> GraphSummary:
    """Read all that the guard reads."""
    return inspect_graph(data, name="encoder.onnx")


def test_every_dtype_is_named_in_the_order_of_onnx() -> None:
    assert [dtype_name(code) for code in range(len(onnxfile.DTYPES))] == list(onnxfile.DTYPES)


def test_the_field_tables_agree_with_the_descriptors_of_onnx() -> None:
    tables = {
        ModelProto: onnxfile.MODEL,
        onnx.OperatorSetIdProto: onnxfile.OPSET,
        onnx.TrainingInfoProto: onnxfile.TRAINING,
        onnx.FunctionProto: onnxfile.FUNCTION,
        GraphProto: onnxfile.GRAPH,
        NodeProto: onnxfile.NODE,
        AttributeProto: onnxfile.ATTRIBUTE,
        TensorProto: onnxfile.TENSOR,
        SparseTensorProto: onnxfile.SPARSE_TENSOR,
        onnx.ValueInfoProto: onnxfile.VALUE,
        onnx.TypeProto: onnxfile.TYPE,
        onnx.TypeProto.Tensor: onnxfile.TENSOR_TYPE,
        onnx.TensorShapeProto: onnxfile.SHAPE,
        onnx.TensorShapeProto.Dimension: onnxfile.DIM,
    }
    for cls, table in tables.items():
        fields = {f.number: f for f in cls.DESCRIPTOR.fields}
        for number, (name, wire_type) in table.items():
            assert fields[number].name == name
            assert wire_type == (2 if fields[number].type in (9, 11, 12) else 0), (cls, name)

    # Every way from a model to a tensor, also one that a later ONNX adds, leads through fields that the guard reads.
    by_name = {cls.DESCRIPTOR.full_name: table for cls, table in tables.items()}
    leads: dict[str, bool] = {}

    def leads_to_tensor(message: Any) -> bool:
        if message.full_name not in leads:
            leads[message.full_name] = message.full_name == "onnx.TensorProto"
            for field in message.fields:
                if field.message_type is not None and leads_to_tensor(field.message_type):
                    leads[message.full_name] = True
        return leads[message.full_name]

    seen = set()
    for cls in tables:
        for field in cls.DESCRIPTOR.fields:
            if field.message_type is not None and leads_to_tensor(field.message_type):
                assert field.number in by_name[cls.DESCRIPTOR.full_name], field.full_name
                seen.add(field.name)
    assert {"t", "sparse_tensors", "attribute_proto", "initialization", "sparse_initializer", "indices"} <= seen


def test_unknown_fields_are_stepped_over() -> None:
    extra = wire(900, 2**63) + wire(901, b"new") + varint(902 << 3 | 1) + bytes(8) + varint(903 << 3 | 5) + bytes(4)
    node = wire(4, b"Relu") + extra
    data = extra + HEAD + wire(7, extra + wire(1, node)) + extra
    assert inspect(data).operators == ("Relu",)


def test_repeated_numbers_may_be_packed_or_not() -> None:
    dims = wire(1, 2) + wire(1, b"\x01\x02") + wire(7, 5) + wire(7, b"\x05") + varint(4 << 3 | 5) + bytes(4)
    assert inspect(HEAD + wire(7, wire(5, dims + wire(8, b"w")))).inputs == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (HEAD + b"\x80", r"a number is cut off \(at byte 6\)"),
        (HEAD + b"\x08\x80\x80", "a number is cut off"),
        (HEAD + wire(7, b"\x80") + HEAD, "a number is cut off"),
        (HEAD + b"\x08" + b"\x80" * 10 + b"\x00", "a number is longer than 64 bits"),
        (HEAD + b"\x08" + b"\xff" * 9 + b"\x02", "a number is longer than 64 bits"),
        (HEAD + b"\x3a\x05\x00", "a field ends past its message"),
        (HEAD + b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a field ends past its message"),
        (HEAD + wire(7, b"\x2a\x05\x00") + wire(900, b"enough"), "a field ends past its message"),
        (HEAD + varint(900 << 3 | 1) + bytes(7), "a field ends past its message"),
        (HEAD + varint(900 << 3 | 5) + bytes(3), "a field ends past its message"),
        (HEAD + b"\x00\x00", "a field has an impossible number"),
        (HEAD + b"\xba\x80\x80\x80\x80\x00\x00", "a field has an impossible number"),  # six bytes
        (HEAD + b"\xba\x80\x80\x80\x10\x00", "a field has an impossible number"),  # 2**32 and more
        (HEAD + varint(7 << 3 | 3) + varint(7 << 3 | 4), "a field has the wire type 3"),
        (HEAD + varint(900 << 3 | 4), "a field has the wire type 4"),
        (HEAD + varint(900 << 3 | 6), "a field has the wire type 6"),
        (HEAD + varint(900 << 3 | 7), "a field has the wire type 7"),
        (HEAD + wire(7, 5), "the field graph has the wire type 0 instead of 2"),
        (HEAD + wire(7, wire(5, wire(14, b"\x01"))), "the field data_location has the wire type 2 instead of 0"),
        (HEAD + wire(7, wire(1, wire(3, b"\xff"))), "a name is not UTF-8"),
        (HEAD + wire(7, wire(5, wire(8, b"\xc3"))), "a name is not UTF-8"),
    ],
)
def test_malformed_bytes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message) as e:
        inspect(data)
    assert str(e.value).startswith("encoder.onnx is not a well-formed ONNX model: ")
