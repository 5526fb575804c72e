"""A decoder's graph as C: `vae_decode`, its helpers and its weights.

A chain of dense layers (`layers`) is written here, with float32 or int8 weights: on such graphs this is several times quicker
than a general generator's code, and needs less RAM (benchmarks/README.md has the ratio). Any other goes through emx-onnx-cgen.

Shapes: R rows of a layer's weights, K inputs.

Needs: NumPy; onnx and emx-onnx-cgen inside functions. Must not import: torch, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.embedding.files import fill, template
from vaekit.embedding.layers import Dense, Layer, one_item
from vaekit.errors import ExportError, MissingDependencyError, one_line

LANES: Final = 8
"""Rows that the C code sums side by side."""


class Decoder(NamedTuple):
    """What a way of writing the decoder gives.

    Attributes:
        code: `vae_decode` and its helpers, in C.
        numbers: The weights, in C, if they stand apart.
        words: How the weights are stored, in one sentence.
    """

    code: str
    numbers: str
    words: str


def written(layers: Sequence[Layer]) -> Decoder:
    """Write a chain of layers as C."""
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    quantised = dense[0].scale is not None
    kind = "int8" if quantised else "float32"
    widths = [len(layer.weight) for layer in dense]
    inner = [
        max(widths[:-1][parity::2], default=0) for parity in (0, 1)
    ]  # layers 1, 3, … share one array, 2, 4, … the other
    buffers = ", ".join(f"{name}[{size}]" for name, size in zip("ab", inner, strict=True) if size)

    declarations: list[str] = []
    definitions: list[str] = []
    steps: list[str] = [f"    float {buffers};"] if buffers else []
    source, number = "z", 0
    for layer in layers:
        if isinstance(layer, Dense):
            number += 1
            target = "x_hat" if number == len(dense) else "ab"[(number - 1) % 2]
            arrays = [("WEIGHT", "int8_t" if quantised else "float", interleaved(layer.weight))]
            arrays += [] if layer.scale is None else [("SCALE", "float", layer.scale)]
            arrays += [("BIAS", "float", layer.bias)]
            for name, c_type, values in arrays:
                _declare(f"{name}_{number}", c_type, values, declarations, definitions)
            rows, inputs = layer.weight.shape
            names = ", ".join(f"{name}_{number}" for name, _, _ in arrays)
            steps.append(f"    dense({names}, {source}, {inputs}, {target}, {rows});")
            source, width = target, rows
        else:
            constants = []
            for constant in layer.constants:
                if constant.ndim:
                    name = f"CONSTANT_{len(definitions)}"
                    _declare(name, "float", constant, declarations, definitions)
                    constants.append(f"{name}[i]")
                else:
                    constants.append(c_float(constant))
            steps += [
                f"    for (int i = 0; i < {width}; i++) {{",
                f"        const float v = {source}[i];",
                f"        {source}[i] = {layer.expression.format(*constants)};",
                "    }",
            ]
    stored = sum(layer.weight.size for layer in dense)
    words = (
        f"{stored:,} weights as int8, with a float32 scale for each row and sums in float32."
        if quantised
        else f"{stored:,} weights as float32."
    )
    code = "\n".join(
        [
            *declarations,
            "",
            fill(template("c-standalone", "lanes.c.part"), LANES=LANES),
            template("c-standalone", f"dense_{kind}.c.part"),
            "void vae_decode(const float z[VAE_LATENT], float x_hat[VAE_VALUES]) {",
            *steps,
            "}",
            "",
        ]
    )
    return Decoder(code, "\n".join(definitions), words)


def generated(graph: bytes, name: str, precision: str = "fp32") -> Decoder:
    """Write any graph as C with emx-onnx-cgen: every inner value in an array of its own on the stack.

    Raises:
        ExportError: The graph has an operator that the generator does not know.
        MissingDependencyError: The generator is not installed.
    """
    model = one_item(graph)
    try:
        from emx_onnx_cgen.compiler import Compiler, CompilerOptions
        from emx_onnx_cgen.errors import CodegenError, ShapeInferenceError, UnsupportedOpError
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the decoder of {name!r} has {operators(graph)}, which emx-onnx-cgen turns into C; "
            "install it with `pip install 'vaekit[embed]'`."
        ) from error
    options = CompilerOptions(model_name="vae_graph", large_temp_threshold_bytes=0, large_weight_threshold=0)
    try:
        code = Compiler(options).compile(model)
    except (CodegenError, ShapeInferenceError, UnsupportedOpError, KeyError, ValueError) as error:
        raise ExportError(
            f"the decoder of {name!r} has {operators(graph)}, which emx-onnx-cgen cannot write as C "
            f"({one_line(error, 160)}); take the target c."
        ) from error
    shape = "".join(f"[{dim.dim_value}]" for dim in model.graph.output[0].type.tensor_type.shape.dim[1:])
    code = fill(template("c-standalone", "generated.c.part"), CODE=code, SHAPE=shape)
    weights = (
        "float32" if precision == "fp32" else f"the graph of {precision} has them, widened on the stack by each call"
    )
    return Decoder(code, "", f"Weights as {weights}; the decoder's code comes from emx-onnx-cgen (Apache-2.0).")


def interleaved(weight: NDArray[Any]) -> NDArray[Any]:
    """(R, K) -> [block of LANES rows][k][lane], flat, the last block filled up with zeros."""
    rows, inputs = weight.shape
    padded = np.zeros((-(-rows // LANES) * LANES, inputs), weight.dtype)
    padded[:rows] = weight
    return padded.reshape(-1, LANES, inputs).transpose(0, 2, 1).reshape(-1)


def c_float(value: Any) -> str:
    """A float literal of C with the nine digits that bring back every float32."""
    text = f"{float(value):.9g}"
    return f"{text}f" if any(mark in text for mark in ".e") else f"{text}.0f"


def operators(graph: bytes) -> str:
    """Name the operators of a graph, for messages."""
    return ", ".join(sorted({node.op_type for node in one_item(graph).graph.node}))


def _declare(name: str, c_type: str, values: NDArray[Any], declarations: list[str], definitions: list[str]) -> None:
    """Announce an array where the code begins, and define it where the file ends."""
    words = (
        [str(value) for value in values.tolist()]
        if c_type == "int8_t"
        else [c_float(value) for value in values.tolist()]
    )
    per_line = 32 if c_type == "int8_t" else 10
    lines = [", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]
    head = f"static const {c_type} {name}[{len(words)}]"
    declarations.append(f"{head};")
    definitions.append(f"{head} = {{\n    " + ",\n    ".join(lines) + "};")
