"""The guard must refuse what a bundle may not contain, wherever it hides, and read the rest as ONNX itself does.

Expected values come from onnx: it builds the models, its descriptors give the field numbers, and its parser, asked by
reflection, is the second opinion on what a damaged model contains.
"""

from __future__ import annotations

import ast
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper
from onnx_bytes import HEAD, dtype_name, varint, wire

import vaekit.graphguard as guard
from vaekit.errors import IntegrityError, UnsafeGraphError, VaekitError
from vaekit.graphguard import MAX_DEPTH, GraphSummary, TensorInfo, inspect_graph
from vaekit.onnxfile import DTYPES

ROOT = Path(__file__).resolve().parents[1]
FLOAT = TensorProto.FLOAT


def graph(nodes: list[NodeProto], *, name: str = "g", **more: Any) -> GraphProto:
    x = helper.make_tensor_value_info("x", FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", FLOAT, ["batch", 4])
    return helper.make_graph(nodes, name, [x], [y], **more)


def model(
    nodes: list[NodeProto] | None = None, *, functions: list[onnx.FunctionProto] | None = None, **more: Any
) -> ModelProto:
    return helper.make_model(
        graph(nodes or [helper.make_node("Relu", ["x"], ["y"], name="n")], **more),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("own", 1)],
        functions=functions or [],
        producer_name="tests",
        producer_version="3",
    )


def mlp(width: int = 400, batch: str | int = "batch") -> ModelProto:
    """The decoder of the reference run: 20-400-784, six nodes and 1.3 MB of weights."""
    rng = np.random.default_rng(0)
    sizes = {"w1": (20, width), "b1": (width,), "w2": (width, 784), "b2": (784,)}
    weights = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in sizes.items()]
    nodes = [
        helper.make_node("Gemm", ["z", "w1", "b1"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["a"], name="relu"),
        helper.make_node("Gemm", ["a", "w2", "b2"], ["l"], name="second"),
        helper.make_node("Sigmoid", ["l"], ["s"], name="sigmoid"),
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([-1, 1, 28, 28]))),
        helper.make_node("Reshape", ["s", "shape"], ["x_hat"], name="reshape"),
    ]
    z = helper.make_tensor_value_info("z", FLOAT, [batch, 20])
    x_hat = helper.make_tensor_value_info("x_hat", FLOAT, [batch, 1, 28, 28])
    body = helper.make_graph(nodes, "decoder", [z], [x_hat], initializer=weights)
    return helper.make_model(body, ir_version=8, opset_imports=[helper.make_opsetid("", 18)], producer_name="pytorch")


def inspect(proto: ModelProto | bytes) -> GraphSummary:
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    return inspect_graph(data, name="encoder.onnx")


# What it reads.


def as_onnx_reads(proto: ModelProto) -> GraphSummary:
    """Summarise with onnx's own parser and helpers."""

    def info(value: onnx.ValueInfoProto) -> TensorInfo:
        kind = value.type.tensor_type
        dims = (getattr(d, d.WhichOneof("value") or "", None) for d in kind.shape.dim)
        return TensorInfo(value.name, dtype_name(kind.elem_type), tuple(None if d == "" else d for d in dims))

    g = proto.graph
    initial = {t.name for t in g.initializer} | {t.values.name for t in g.sparse_initializer}
    return GraphSummary(
        ir_version=proto.ir_version,
        opsets=tuple(sorted((o.domain, o.version) for o in proto.opset_import)),
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        inputs=tuple(info(i) for i in g.input if i.name not in initial),
        outputs=tuple(info(o) for o in g.output),
        operators=tuple(
            sorted(
                {f"{m.domain}::{m.op_type}" if m.domain else m.op_type for m in messages(proto) if type(m) is NodeProto}
            )
        ),
    )


def messages(message: Any) -> Iterator[Any]:
    """Give a message and all that it holds, by reflection: no list of fields is needed."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                yield from messages(part)


def subgraph_model(inner: list[NodeProto]) -> ModelProto:
    body = helper.make_graph(inner, "then", [], [helper.make_tensor_value_info("t", FLOAT, None)])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["t"])], "else", [], body.output)
    return model([helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=other)])


def function_model(inner: list[NodeProto]) -> ModelProto:
    f = helper.make_function("own", "F", ["x"], ["t"], inner, [helper.make_opsetid("", 21)])
    return model([helper.make_node("F", ["x"], ["y"], domain="own", name="call")], functions=[f])


def loop_model(inner: list[NodeProto]) -> ModelProto:
    i, c = (helper.make_tensor_value_info(n, t, []) for n, t in (("i", TensorProto.INT64), ("c", TensorProto.BOOL)))
    body = helper.make_graph(inner, "body", [i, c], [c, helper.make_tensor_value_info("t", FLOAT, None)])
    return model([helper.make_node("Loop", ["m", "c"], ["y"], body=body)])


def training_model(inner: list[NodeProto], part: str) -> ModelProto:
    proto = model()
    getattr(proto.training_info.add(), part).CopyFrom(graph(inner))
    return proto


def listed_initializer_model() -> ModelProto:
    proto = mlp(8)
    proto.graph.input.append(helper.make_tensor_value_info("w1", FLOAT, [20, 8]))
    return proto


def sparse_model() -> ModelProto:
    sparse = sparse_tensor("s")
    proto = model(sparse_initializer=[sparse])
    proto.graph.input.append(helper.make_tensor_value_info("s", FLOAT, [4]))
    return proto


def sparse_tensor(name: str) -> SparseTensorProto:
    values = helper.make_tensor(name, FLOAT, [1], [1.0])
    return helper.make_sparse_tensor(values, helper.make_tensor("at", TensorProto.INT64, [1], [2]), [4])


def dtypes_model() -> ModelProto:
    proto = model()
    proto.graph.ClearField("input")
    for code in range(1, len(DTYPES)):
        proto.graph.input.append(helper.make_tensor_value_info(f"i{code}", code, [code, None, "n", "", 2**40]))
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        model(),
        mlp(),
        mlp(8, batch=1),
        subgraph_model([helper.make_node("Exp", ["x"], ["t"])]),
        loop_model([helper.make_node("Exp", ["x"], ["t"])]),
        function_model([helper.make_node("Exp", ["x"], ["t"])]),
        training_model([helper.make_node("Exp", ["x"], ["t"])], "algorithm"),
        model([helper.make_node("QLinearAdd", ["x"] * 8, ["y"], domain="com.microsoft")]),
        model([helper.make_node("Normalizer", ["x"], ["y"], domain="ai.onnx.ml")]),
        listed_initializer_model(),
        sparse_model(),
        dtypes_model(),
    ],
)
def test_the_summary_is_what_onnx_reads(proto: ModelProto) -> None:
    assert inspect(proto) == as_onnx_reads(proto)


def test_a_shape_split_over_two_messages_is_merged_as_onnx_merges_it() -> None:
    def kind(dim: int) -> bytes:
        return wire(2, wire(1, wire(2, wire(1, wire(1, dim))))) + wire(2, wire(1, wire(1, 1)))

    data = HEAD + wire(7, wire(11, wire(1, b"x") + kind(3) + kind(5)))
    assert inspect(data) == as_onnx_reads(onnx.load_model_from_string(data))
    assert inspect(data).inputs[0].shape == (3, 5)


def test_negative_dimensions_and_versions_are_signed() -> None:
    dim = wire(1, wire(1, 2**64 - 1))
    value = wire(1, b"x") + wire(2, wire(1, wire(1, 1) + wire(2, dim)))
    assert inspect(HEAD + wire(7, wire(11, value))).inputs[0].shape == (-1,)
    with pytest.raises(IntegrityError, match="states no IR version"):
        inspect(wire(1, 2**64 - 1) + HEAD[2:] + wire(7, b""))


def test_both_spellings_of_the_onnx_domain_are_one() -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"], domain="ai.onnx")])
    proto.opset_import[0].domain = "ai.onnx"
    summary = inspect(proto)
    assert summary.operators == ("Relu",)
    assert dict(summary.opsets)[""] == 21


# External data.


def external(name: str = "secret", *, location: bool = True, entry: bool = True) -> TensorProto:
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[4])
    if location:
        tensor.data_location = TensorProto.EXTERNAL
    if entry:
        tensor.external_data.add(key="location", value="/etc/passwd")
    if not location and not entry:
        tensor.raw_data = bytes(16)
    return tensor


def node_with(**attributes: Any) -> NodeProto:
    node = helper.make_node("Constant", [], ["k"], name="holder")
    attribute = node.attribute.add(name="value")
    for field, value in attributes.items():
        target = getattr(attribute, field)
        if isinstance(value, list):
            target.extend(value)
        else:
            target.CopyFrom(value)
    return node


def sparse(values: TensorProto | None = None, indices: TensorProto | None = None) -> SparseTensorProto:
    return SparseTensorProto(values=values, indices=indices, dims=[4])


def default_model(tensor: TensorProto) -> ModelProto:
    f = helper.make_function("own", "F", ["x"], ["t"], [], [helper.make_opsetid("", 21)])
    f.attribute_proto.add(name="a", t=tensor)
    return model(functions=[f])


PLACES: dict[str, Callable[[TensorProto], ModelProto]] = {
    "initializer": lambda t: model(initializer=[t]),
    "sparse_initializer.values": lambda t: model(sparse_initializer=[sparse(values=t)]),
    "sparse_initializer.indices": lambda t: model(sparse_initializer=[sparse(indices=t)]),
    "attribute.t": lambda t: model([node_with(t=t)]),
    "attribute.tensors": lambda t: model([node_with(tensors=[TensorProto(), t])]),
    "attribute.sparse_tensor.values": lambda t: model([node_with(sparse_tensor=sparse(values=t))]),
    "attribute.sparse_tensor.indices": lambda t: model([node_with(sparse_tensor=sparse(indices=t))]),
    "attribute.sparse_tensors": lambda t: model([node_with(sparse_tensors=[sparse(), sparse(indices=t)])]),
    "attribute.g": lambda t: model([node_with(g=graph([], initializer=[t]))]),
    "attribute.graphs": lambda t: model([node_with(graphs=[graph([]), graph([node_with(t=t)])])]),
    "if branch": lambda t: subgraph_model([node_with(t=t)]),
    "loop body": lambda t: loop_model([node_with(t=t)]),
    "three deep": lambda t: subgraph_model([node_with(g=graph([node_with(g=graph([], initializer=[t]))]))]),
    "function node": lambda t: function_model([node_with(t=t)]),
    "function subgraph": lambda t: function_model([node_with(g=graph([], initializer=[t]))]),
    "function default": default_model,
    "training initialization": lambda t: training_model([node_with(t=t)], "initialization"),
    "training algorithm": lambda t: training_model([node_with(t=t)], "algorithm"),
}


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_refused_wherever_it_hides(place: str) -> None:
    for location, entry in ((True, True), (True, False), (False, True)):
        with pytest.raises(UnsafeGraphError, match=r"the tensor 'secret' of .* keeps its data in another file") as e:
            inspect(PLACES[place](external(location=location, entry=entry)))
        assert str(e.value).startswith("encoder.onnx ")
        assert "\n" not in str(e.value)
    inspect(PLACES[place](external(location=False, entry=False)))  # the control: the same tensor with its data inside


def test_the_message_names_the_node_that_holds_the_tensor() -> None:
    with pytest.raises(UnsafeGraphError, match=r"'secret' of the node 'holder' \('Constant'\)"):
        inspect(PLACES["attribute.t"](external()))
    with pytest.raises(UnsafeGraphError, match=r"'secret' of a default of the function 'F'"):
        inspect(PLACES["function default"](external()))


def test_an_attribute_type_that_points_elsewhere_hides_nothing() -> None:
    node = node_with(t=external())
    node.attribute[0].type = AttributeProto.INT
    with pytest.raises(UnsafeGraphError, match="keeps its data in another file"):
        inspect(model([node]))


ENTRY = wire(1, b"location") + wire(2, b"/etc/passwd")


@pytest.mark.parametrize(
    "tensor",
    [
        wire(14, 1) + wire(14, 0),  # the last one holds, and says DEFAULT
        wire(14, 2**32 + 1),  # a 32-bit enum in a 64-bit number: EXTERNAL after the cut
        varint(14 << 3) + b"\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00",  # 1 in ten bytes
        b"\xf0\x80\x80\x80\x00\x01",  # the field's number in five bytes
        wire(13, b""),
    ],
)
def test_external_data_in_an_odd_encoding_is_refused(tensor: bytes) -> None:
    with pytest.raises(UnsafeGraphError, match="keeps its data in another file"):
        inspect(HEAD + wire(7, wire(5, tensor)))


def test_a_tensor_split_over_two_messages_does_not_hide_external_data() -> None:
    # onnx reads one tensor here, made of both parts.
    for parts in ((wire(8, b"w"), wire(13, ENTRY) + wire(14, 1)), (wire(13, ENTRY) + wire(14, 1), wire(14, 0))):
        attribute = b"".join(wire(5, part) for part in parts)
        data = HEAD + wire(7, wire(1, wire(5, attribute)))
        assert onnx.load_model_from_string(data).graph.node[0].attribute[0].t.external_data
        with pytest.raises(UnsafeGraphError, match="keeps its data in another file"):
            inspect(data)


def test_a_model_that_onnx_runtime_takes_for_its_own_format_is_refused() -> None:
    proto = model()
    proto.producer_name = "ORTM"  # lands at byte 4, where FlatBuffers keep their identifier
    data = proto.SerializeToString()
    onnx.checker.check_model(onnx.load_model_from_string(data))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="ORT model verification failed"):
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with pytest.raises(UnsafeGraphError, match="ONNX Runtime's own ORT format"):
        inspect(data)


# Operators.

RANDOM = [
    *[("RandomNormal", ""), ("RandomNormalLike", ""), ("RandomUniform", ""), ("RandomUniformLike", "")],
    *[("Multinomial", ""), ("Bernoulli", ""), ("Bernoulli", "ai.onnx"), ("RandomNormalV2", "own")],
    *[("BiasDropout", "com.microsoft"), ("BitmaskDropout", "com.microsoft"), ("Sampling", "com.microsoft")],
    *[("BitmaskBiasDropout", "com.microsoft"), ("RandomNormal", "com.microsoft")],
]


@pytest.mark.parametrize(("operator", "domain"), RANDOM)
@pytest.mark.parametrize("place", ["main", "if", "loop", "function", "training"])
def test_a_random_operator_is_refused_wherever_it_is(operator: str, domain: str, place: str) -> None:
    build: dict[str, Callable[[list[NodeProto]], ModelProto]] = {
        "main": model,
        "if": subgraph_model,
        "loop": loop_model,
        "function": function_model,
        "training": lambda nodes: training_model(nodes, "initialization"),
    }
    nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node(operator, ["e"], ["t"], name="eps", domain=domain)]
    with pytest.raises(UnsafeGraphError, match=rf"the node 'eps' \('.*{operator}'\) draws random numbers"):
        inspect(build[place](nodes))
    nodes[1].op_type, nodes[1].domain = "Relu", ""
    inspect(build[place](nodes))  # the control


def test_every_operator_of_onnx_runtime_with_a_random_generator_is_known() -> None:
    schemas = onnxruntime.capi.onnxruntime_pybind11_state.get_all_operator_schema()
    seeded = {s.name for s in schemas if "seed" in s.attributes} - {"MurmurHash3", "Dropout"}
    assert {"RandomNormal", "Bernoulli"} <= seeded
    assert {s for s in seeded if s not in guard.RANDOM_OPERATORS and not s.startswith(guard.RANDOM_PREFIXES)} == set()


def test_dropout_is_refused_only_with_a_training_mode_input() -> None:
    for inputs in (["x"], ["x", "ratio"], ["x", "ratio", ""], ["x", "", ""]):
        assert inspect(model([helper.make_node("Dropout", inputs, ["y"])])).operators == ("Dropout",)
    for inputs in (["x", "ratio", "mode"], ["x", "", "mode"]):
        with pytest.raises(UnsafeGraphError, match=r"the node 'y' \('Dropout'\) has a training_mode input"):
            inspect(model([helper.make_node("Dropout", inputs, ["y"])]))


@pytest.mark.parametrize("operator", ["EPContext", "ATen", "PythonOp"])
def test_an_operator_that_reaches_outside_the_graph_is_refused(operator: str) -> None:
    with pytest.raises(UnsafeGraphError, match="runs code or reads files from outside the graph"):
        inspect(model([helper.make_node(operator, ["x"], ["y"], domain="com.microsoft")]))


def test_a_custom_domain_is_refused_unless_the_model_has_its_function() -> None:
    call = helper.make_node("F", ["x"], ["y"], domain="own", name="call")
    with pytest.raises(UnsafeGraphError, match=r"the node 'call' \('own::F'\) is of the custom domain 'own'"):
        inspect(model([call]))
    inner = [helper.make_node("Exp", ["x"], ["t"])]
    assert inspect(function_model(inner)).operators == ("Exp", "own::F")
    inner[0].domain = "own"  # the domain has a function, but not this one
    with pytest.raises(UnsafeGraphError, match=r"\('own::Exp'\) is of the custom domain"):
        inspect(function_model(inner))


def test_an_imported_domain_that_no_node_uses_is_fine() -> None:
    assert ("own", 1) in inspect(model()).opsets


# Nesting.


def nested(depth: int) -> bytes:
    body = b""
    for _ in range(depth):
        body = wire(1, wire(4, b"If") + wire(5, wire(6, body)))
    return HEAD + wire(7, body)


def test_nesting_is_limited() -> None:
    assert inspect(nested(MAX_DEPTH)).operators == ("If",)
    for depth in (MAX_DEPTH + 1, 5000):
        with pytest.raises(UnsafeGraphError, match="subgraphs are nested more than 32 deep"):
            inspect(nested(depth))


def test_the_limit_on_nesting_is_that_of_protobuf() -> None:
    onnx.load_model_from_string(nested(MAX_DEPTH))
    with pytest.raises(DecodeError):
        onnx.load_model_from_string(nested(MAX_DEPTH + 2))


# Bytes that are no model.


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it states no IR version"),
        (wire(1, 0) + HEAD[2:] + wire(7, b""), "it states no IR version"),
        (wire(1, 10) + wire(7, b""), "it imports no operator set"),
        (HEAD, "it has 0 main graphs instead of one"),
        (HEAD + wire(7, b"") * 2, "it has 2 main graphs instead of one"),
        (HEAD + wire(8, wire(2, 22)) + wire(7, b""), "the domain '' has two opset versions"),
        (HEAD + wire(8, wire(1, b"ai.onnx") + wire(2, 20)) + wire(7, b""), "the domain '' has two opset versions"),
        (HEAD + wire(7, wire(12, wire(1, b"y"))), "'y' is not a tensor of a known type with a stated shape"),
    ],
)
def test_malformed_bytes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message) as e:
        inspect(data)
    assert str(e.value).startswith("encoder.onnx is not a well-formed ONNX model: ")


@pytest.mark.parametrize(
    "output",
    [
        helper.make_tensor_value_info("y", FLOAT, None),
        helper.make_tensor_value_info("y", 99, [1]),
        helper.make_tensor_value_info("y", TensorProto.UNDEFINED, [1]),
        helper.make_tensor_sequence_value_info("y", FLOAT, [1]),
        helper.make_sparse_tensor_value_info("y", FLOAT, [1]),
        helper.make_value_info("y", helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [1]))),
    ],
)
def test_an_output_must_be_a_tensor_with_a_shape(output: onnx.ValueInfoProto) -> None:
    proto = model()
    proto.graph.output[0].CopyFrom(output)
    with pytest.raises(IntegrityError, match="'y' is not a tensor of a known type with a stated shape"):
        inspect(proto)


def test_a_scalar_has_a_shape() -> None:
    proto = model()
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, []))
    assert inspect(proto).outputs == (TensorInfo("y", "float32", ()),)


def test_a_long_or_hostile_name_stays_on_one_short_line() -> None:
    name = "\x1b[31m\n" + "n" * 10_000
    with pytest.raises(UnsafeGraphError) as e:
        inspect(model([helper.make_node("Bernoulli", ["x"], ["y"], name=name)]))
    assert str(e.value).isprintable()
    assert len(str(e.value)) < 400


# Damage.


def rich_model() -> ModelProto:
    proto = subgraph_model([node_with(t=external(location=False, entry=False), tensors=[TensorProto(dims=[2])])])
    proto.graph.sparse_initializer.append(sparse_tensor("s"))
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "w"))
    proto.functions.append(function_model([helper.make_node("Exp", ["x"], ["t"])]).functions[0])
    proto.training_info.add().algorithm.CopyFrom(graph([]))
    return proto


def is_safe(proto: ModelProto) -> bool:
    """Judge with onnx's parser and reflection, sharing nothing with the guard but the list of operators."""
    for message in messages(proto):
        if isinstance(message, TensorProto) and (message.external_data or message.data_location):
            return False
        if isinstance(message, NodeProto):
            name = message.op_type
            if name in guard.RANDOM_OPERATORS or name.startswith(guard.RANDOM_PREFIXES):
                return False
    return True


def damaged(data: bytes, seed: int) -> bytes:
    rng = random.Random(seed)
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :]


def test_a_model_cut_at_any_byte_is_refused_or_summarised() -> None:
    data = rich_model().SerializeToString()
    inspect(data)
    refused = 0
    for end in range(len(data)):
        try:
            inspect(data[:end])
        except VaekitError:
            refused += 1
    assert refused > len(data) * 0.9


@pytest.mark.parametrize("base", [rich_model(), *(build(external()) for build in PLACES.values())])
def test_a_damaged_model_never_passes_where_onnx_sees_danger(base: ModelProto) -> None:
    data = base.SerializeToString()
    count = 2000 if is_safe(base) else 250
    passed = agreed = 0
    for seed in range(count):
        broken = damaged(data, seed)
        try:
            summary = inspect(broken)
        except VaekitError:
            continue
        passed += 1
        try:
            proto = onnx.load_model_from_string(broken)
        except DecodeError:
            continue
        assert is_safe(proto), seed
        assert summary.ir_version == proto.ir_version
        assert [i.name for i in summary.outputs] == [o.name for o in proto.graph.output]
        agreed += 1
    assert not is_safe(base) or agreed > count / 10
    assert passed < count


# Cost and needs.


def test_weights_are_stepped_over_and_not_copied() -> None:
    data = mlp().SerializeToString()
    assert len(data) > 1_290_000
    inspect(data)
    tracemalloc.start()
    try:
        inspect(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000


def test_a_model_of_a_megabyte_takes_about_a_millisecond() -> None:
    data = mlp().SerializeToString()

    def once() -> float:
        start = time.perf_counter()
        inspect(data)
        return time.perf_counter() - start

    assert min(once() for _ in range(20)) < 0.005  # 0.12 ms at rest; the limit leaves room for a busy machine


def test_many_nodes_cost_in_proportion_also_under_long_names() -> None:
    # 20,000 nodes inside a node whose name is 1 MB: copying the name for each would move 20 GB.
    inner = wire(1, wire(4, b"Relu")) * 20_000
    outer = wire(1, wire(3, b"n" * 1_000_000) + wire(4, b"If") + wire(5, wire(6, inner)))
    start = time.perf_counter()
    assert inspect(HEAD + wire(7, outer)).operators == ("If", "Relu")
    assert time.perf_counter() - start < 3


def test_the_guard_needs_the_standard_library_alone() -> None:
    def imported(module: str) -> set[str]:
        tree = ast.parse((ROOT / "vaekit" / module).read_text(encoding="utf-8"))
        found = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        found |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        return {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}

    assert imported("graphguard.py") == {"vaekit", "vaekit.errors", "vaekit.onnxfile", "vaekit.value"}
    assert imported("onnxfile.py") == {"vaekit.errors"}
    assert imported("value.py") == set()
    assert "numpy" in imported("noise.py")  # the control
