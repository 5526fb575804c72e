"""What an ONNX graph may contain, checked on its bytes before anything loads them.

The guard walks every message that can hold a tensor, a node or a graph (`onnxfile` reads them), and refuses data kept in
other files, random operators and operators that only some builds of ONNX Runtime have. Where a parser has a choice (a
field given twice, an enum with extra bits), the guard refuses what the strictest and the most lenient reading refuse.

It stops there: types and shapes inside the graph, attribute values, weights and metadata are not looked at, and a graph
that passes can still be one that ONNX Runtime rejects.

Needs: the standard library. Must not import: numpy, onnx, onnxruntime.
"""

from __future__ import annotations

from typing import Final, NoReturn

from vaekit import onnxfile
from vaekit.errors import UnsafeGraphError
from vaekit.onnxfile import OnnxFile, Span, signed
from vaekit.value import Value

# Subgraphs inside subgraphs. Protobuf's parsers stop at 100 nested messages, and a level takes three: graph, node, attribute.
MAX_DEPTH: Final = 32

ONNX_DOMAINS: Final = frozenset({"", "ai.onnx"})  # two spellings of one domain
DOMAINS: Final = ONNX_DOMAINS | {"ai.onnx.ml", "com.microsoft"}

RANDOM_PREFIXES: Final = ("RandomNormal", "RandomUniform")  # also ...Like
RANDOM_OPERATORS: Final = frozenset(
    {"Bernoulli", "BiasDropout", "BitmaskBiasDropout", "BitmaskDropout", "Multinomial", "Sampling"}
)
# EPContext reads a compiled model from a path; ATen and PythonOp call into PyTorch. All three are com.microsoft's.
OUTSIDE_OPERATORS: Final = frozenset({"ATen", "EPContext", "PythonOp"})


class TensorInfo(Value):
    """One input or output of the main graph; a dimension is a number, a symbol such as ``"batch"``, or unknown."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class GraphSummary(Value):
    """What a model says about itself.

    Attributes:
        ir_version: Version of the file format.
        opsets: Pairs of domain and version, sorted; the domain ``""`` is ONNX itself.
        producer: Name and version of the program that wrote the model, as far as stated.
        inputs: Inputs that the caller must give, so without those that are initializers.
        outputs: Outputs of the main graph.
        operators: Operator types in use anywhere, sorted; ``"domain::Op"`` outside ONNX's own domain.
    """

    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    producer: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: tuple[str, ...]


def inspect_graph(model: bytes, *, name: str) -> GraphSummary:
    """Check an ONNX model and summarise it; nothing is loaded, and weights are stepped over.

    Args:
        model: The model's bytes, those that will be loaded.
        name: What messages call the model, such as its file's name.

    Raises:
        IntegrityError: The bytes are not a well-formed ONNX model, or an input or output is not a tensor with a shape.
        UnsafeGraphError: The graph keeps data in other files, draws random numbers, uses an operator that a plain ONNX
            Runtime lacks, or nests too deep.
    """
    return _Guard(OnnxFile(model, name)).model()


def is_ort(model: bytes) -> bool:
    """Whether ONNX Runtime takes bytes for its own format: by this mark alone, whatever else they are.

    Source: onnxruntime/core/session/inference_session.cc, Load.
    """
    return model[4:8] == b"ORTM"


class _Guard:
    """One walk over one model: the file, and what was met so far."""

    def __init__(self, file: OnnxFile) -> None:
        self.file = file
        self.operators: set[str] = set()
        self.functions: set[tuple[str, str]] = set()  # domain and name of those that the model defines
        self.calls: dict[tuple[str, str], str] = {}  # domain and name of those that it calls -> a node that does

    # One method a message.

    def model(self) -> GraphSummary:
        if is_ort(self.file.data):
            self._unsafe("it reads as ONNX Runtime's own ORT format, which cannot be checked; ship an ONNX model")
        end = len(self.file.data)
        ir_version, producer, opsets, graphs = 0, dict[str, str](), dict[str, int](), list[Span]()
        for field, number, span in self.file.fields((0, end), onnxfile.MODEL):
            match field:
                case "ir_version":
                    ir_version = signed(number)
                case "producer_name" | "producer_version":
                    producer[field] = self.file.text(span)
                case "opset_import":
                    self._opset(span, opsets)
                case "graph":
                    graphs.append(span)
                case "functions":
                    self._function(span)
                case "training_info":
                    for _, _, graph in self.file.fields(span, onnxfile.TRAINING):
                        self._graph(graph, 0)
        if ir_version < 1:
            self.file.malformed(end, "it states no IR version")
        if not opsets:
            self.file.malformed(end, "it imports no operator set")
        if len(graphs) != 1:
            self.file.malformed(end, f"it has {len(graphs)} main graphs instead of one")
        inputs, outputs, initializers = self._graph(graphs[0], 0)
        self._check_calls()
        return GraphSummary(
            ir_version=ir_version,
            opsets=tuple(sorted(opsets.items())),
            producer=" ".join(filter(None, (producer.get("producer_name"), producer.get("producer_version")))),
            inputs=tuple(info for info in map(self._value, inputs) if info.name not in initializers),
            outputs=tuple(map(self._value, outputs)),
            operators=tuple(sorted(self.operators)),
        )

    def _check_calls(self) -> None:
        for (domain, operator), node in self.calls.items():
            if (domain, operator) not in self.functions:
                self._unsafe(
                    f"{node} is of the custom domain {_show(domain)}; export it with operators of ai.onnx, ai.onnx.ml or "
                    "com.microsoft, or with its function inside the model"
                )

    def _opset(self, span: Span, opsets: dict[str, int]) -> None:
        domain, version = "", 0
        for field, number, content in self.file.fields(span, onnxfile.OPSET):
            if field == "domain":
                domain = _canonical(self.file.text(content))
            else:
                version = signed(number)
        if opsets.setdefault(domain, version) != version:
            self.file.malformed(span[0], f"the domain {_show(domain)} has two opset versions")

    def _function(self, span: Span) -> None:
        name = domain = ""
        for field, _, content in self.file.fields(span, onnxfile.FUNCTION):
            match field:
                case "name":
                    name = self.file.text(content)
                case "domain":
                    domain = _canonical(self.file.text(content))
                case "node":
                    self._node(content, 0)
                case "attribute_proto":
                    self._attribute(content, f"a default of the function {_show(name)}", 0)
        self.functions.add((domain, name))

    def _graph(self, span: Span, depth: int) -> tuple[list[Span], list[Span], set[str]]:
        """Check a graph, and give its inputs, its outputs and the names of its initializers."""
        if depth > MAX_DEPTH:
            self._unsafe(f"subgraphs are nested more than {MAX_DEPTH} deep; export a flatter graph")
        inputs, outputs, initializers = list[Span](), list[Span](), set[str]()
        for field, _, content in self.file.fields(span, onnxfile.GRAPH):
            match field:
                case "node":
                    self._node(content, depth)
                case "initializer":
                    initializers.add(self._tensor(content, "the graph"))
                case "sparse_initializer":
                    initializers.add(self._sparse_tensor(content, "the graph"))
                case "input":
                    inputs.append(content)
                case "output":
                    outputs.append(content)
        return inputs, outputs, initializers

    def _node(self, span: Span, depth: int) -> None:
        name = operator = domain = ""
        inputs, outputs, attributes = list[str](), list[str](), list[Span]()
        for field, _, content in self.file.fields(span, onnxfile.NODE):
            match field:
                case "input":
                    inputs.append(self.file.text(content))
                case "output":
                    outputs.append(self.file.text(content))
                case "name":
                    name = self.file.text(content)
                case "op_type":
                    operator = self.file.text(content)
                case "domain":
                    domain = _canonical(self.file.text(content))
                case "attribute":
                    attributes.append(content)
        called = f"{domain}::{operator}" if domain else operator
        node = f"the node {_show(name or ''.join(outputs[:1]))} ({_show(called)})"
        if operator in RANDOM_OPERATORS or operator.startswith(RANDOM_PREFIXES):
            self._unsafe(f"{node} draws random numbers; draw them outside the graph (vaekit.noise) and pass them in")
        # Dropout(data, ratio, training_mode). In opsets 7 to 11 it never drops; ONNX Runtime has none older.
        if operator == "Dropout" and "".join(inputs[2:3]):
            self._unsafe(f"{node} has a training_mode input, so it may draw random numbers; export in eval mode")
        if operator in OUTSIDE_OPERATORS:
            self._unsafe(f"{node} runs code or reads files from outside the graph; export with plain operators")
        self.operators.add(called)
        if domain not in DOMAINS:
            self.calls.setdefault((domain, operator), node)
        for attribute in attributes:
            self._attribute(attribute, node, depth)

    def _attribute(self, span: Span, owner: str, depth: int) -> None:
        # AttributeProto.type says which of these counts; all are checked, whatever it says.
        for field, _, content in self.file.fields(span, onnxfile.ATTRIBUTE):
            match field:
                case "t" | "tensors":
                    self._tensor(content, owner)
                case "sparse_tensor" | "sparse_tensors":
                    self._sparse_tensor(content, owner)
                case "g" | "graphs":
                    self._graph(content, depth + 1)

    def _tensor(self, span: Span, owner: str) -> str:
        """Check where a tensor's data is, and give its name."""
        name, external = "", False
        for field, number, content in self.file.fields(span, onnxfile.TENSOR):
            match field:
                case "name":
                    name = self.file.text(content)
                case "external_data":
                    external = True
                case "data_location":
                    external |= number != 0  # 0 is DEFAULT, 1 is EXTERNAL; parsers cut the rest to 32 bits
        if external:
            self._unsafe(
                f"the tensor {_show(name)} of {owner} keeps its data in another file (external data); "
                "export again with the data inside (external_data=False)"
            )
        return name

    def _sparse_tensor(self, span: Span, owner: str) -> str:
        """Check both tensors of a sparse tensor, and give its name, which is that of its values."""
        name = ""
        for field, _, content in self.file.fields(span, onnxfile.SPARSE_TENSOR):
            if field == "values":
                name = self._tensor(content, owner)
            elif field == "indices":
                self._tensor(content, owner)
        return name

    def _value(self, span: Span) -> TensorInfo:
        # A message that is given twice is merged, as parsers do: the last number holds, lists are joined.
        name, elem_type, dims, is_tensor = "", 0, list[Span](), True
        stated = False
        for field, _, content in self.file.fields(span, onnxfile.VALUE):
            if field == "name":
                name = self.file.text(content)
                continue
            for kind, _, tensor in self.file.fields(content, onnxfile.TYPE):
                is_tensor &= kind == "tensor_type"
                for part, number, shape in self.file.fields(tensor, onnxfile.TENSOR_TYPE) if is_tensor else ():
                    if part == "elem_type":
                        elem_type = number
                    else:
                        stated = True
                        dims += [dim for _, _, dim in self.file.fields(shape, onnxfile.SHAPE)]
        if not (is_tensor and stated and 0 < elem_type < len(onnxfile.DTYPES)):
            self.file.malformed(span[0], f"{_show(name)} is not a tensor of a known type with a stated shape")
        return TensorInfo(name=name, dtype=onnxfile.DTYPES[elem_type], shape=tuple(map(self._dim, dims)))

    def _dim(self, span: Span) -> int | str | None:
        dim: int | str | None = None
        for field, number, content in self.file.fields(span, onnxfile.DIM):
            if field == "dim_value":
                dim = signed(number)
            elif field == "dim_param":
                dim = self.file.text(content) or None
        return dim

    def _unsafe(self, found: str) -> NoReturn:
        raise UnsafeGraphError(f"{self.file.name} may not be in a bundle: {found}.")


def _canonical(domain: str) -> str:
    return "" if domain in ONNX_DOMAINS else domain


def _show(text: str) -> str:
    """Quote a name for a message: on one line, without control characters, and not longer than it helps."""
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
