"""Target c-standalone: the decoder in one C file, with the weights inside; no ONNX Runtime, no allocation.

A decoder that is a chain of dense layers (`layers`) is written here, with float32 or int8 weights: on such graphs this is
several times quicker than a general generator's code, and needs less RAM (benchmarks/README.md has the ratio). Any other
goes through emx-onnx-cgen.

Needs: NumPy; onnx and emx-onnx-cgen inside functions. Must not import: torch, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.bundle import Bundle, Golden
from vaekit.embedding.c import (
    header_facts,
    model_facts,
    noise_functions,
    prior_function,
    self_test_fields,
    show_function,
)
from vaekit.embedding.compiled import Footprint, measure
from vaekit.embedding.files import (
    GOLDEN_FOLDER,
    fill,
    items_of,
    template,
    value_units,
    write_golden,
    write_template,
)
from vaekit.embedding.layers import Dense, Layer, compute, one_item, quantise, read_chain
from vaekit.errors import ConfigError, ExportError, MissingDependencyError, one_line
from vaekit.runtime.verify import difference, mean_difference

SUMMARY: Final = "the decoder in one C file, weights inside; needs a C compiler and nothing else"
TRY: Final = ("make check", "make demo")

WEIGHTS: Final = ("float32", "int8")

LANES: Final = 8
"""Rows that the C code sums side by side."""

HEADROOM: Final = 1.5
"""An int8 decoder may be off by so many times what was measured on the golden vectors."""


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


def write(bundle: Bundle, folder: Path, *, precision: str, weights: str = "float32") -> None:
    """Write vae_decoder.h and .c, a demo, the self-test, a Makefile and a README.

    Args:
        bundle: The model.
        folder: The project's folder.
        precision: Which of the bundle's graphs.
        weights: "float32", or "int8": symmetric with a scale for each row, sums in float. Its error is measured on the
            golden vectors and stated in the README.

    Raises:
        ConfigError: Other weights.
        BundleError: The bundle was changed since it was opened, or a graph is unsafe.
        ExportError: The graph has an operator that cannot be written as C, or not with int8 weights.
        MissingDependencyError: onnx or the generator is not installed.
    """
    if weights not in WEIGHTS:
        raise ConfigError(f"weights={weights!r} is unknown; choose one of {', '.join(WEIGHTS)}.")
    manifest = bundle.manifest
    graph = bundle.graph("decoder", precision)
    layers = read_chain(graph)
    if layers is None and weights == "int8":
        raise ExportError(
            f"weights='int8' is for decoders of dense layers, but that of {manifest.name!r} has {_operators(graph)}; "
            "take weights='float32'."
        )
    if layers is not None and weights == "int8":
        layers = quantise(layers)
    decoder = generated(graph, manifest.name, precision) if layers is None else written(layers)

    index = write_golden(bundle, folder, precision=precision, names=("eps", "z", "x_hat"))
    proof = _write_proof(bundle, folder, index, layers if weights == "int8" else None)
    items = items_of(manifest)
    facts = model_facts(manifest, items)
    write_template(
        folder,
        "c-standalone",
        "vae_decoder.h.in",
        **header_facts(facts),
    )
    write_template(
        folder,
        "c-standalone",
        "vae_decoder.c.in",
        SUMMARY=facts["SUMMARY"],
        WEIGHTS_WORDS=decoder.words + (" They are at the end of this file." if decoder.numbers else ""),
        DECODE=decoder.code,
        PRIOR=prior_function(manifest),
        NOISE=noise_functions("vae_noise"),
        NUMBERS=decoder.numbers,
    )
    write_template(folder, "c-standalone", "demo.c.in", SHOW=show_function(items))
    write_template(folder, "c-standalone", "Makefile.in")
    write_template(
        folder,
        "c-standalone",
        "README.md.in",
        NAME=facts["NAME"],
        SUMMARY=facts["SUMMARY"],
        WEIGHTS_WORDS=decoder.words,
        SIZE=_size_words(measure(folder / "vae_decoder.c")),
        PROOF=proof,
    )


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
            f"the decoder of {name!r} has {_operators(graph)}, which emx-onnx-cgen turns into C; "
            "install it with `pip install 'vaekit[embed]'`."
        ) from error
    options = CompilerOptions(model_name="vae_graph", large_temp_threshold_bytes=0, large_weight_threshold=0)
    try:
        code = Compiler(options).compile(model)
    except (CodegenError, ShapeInferenceError, UnsupportedOpError, KeyError, ValueError) as error:
        raise ExportError(
            f"the decoder of {name!r} has {_operators(graph)}, which emx-onnx-cgen cannot write as C "
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


def _write_proof(bundle: Bundle, folder: Path, index: dict[str, Any], quantised: list[Layer] | None) -> str:
    """Write self_test.c, and say in words what it asks for."""
    manifest, golden = bundle.manifest, bundle.golden()
    limit = index["tolerances"]["decoder"]
    mean_limit = index["tolerances"].get("mean_decoder", limit)
    words = f"`make check` replays {manifest.golden_items} golden vectors: the noise bit for bit, `x_hat` within {limit:.0e} "
    if quantised is None:
        checks = [("x_hat", "decode", limit, mean_limit)]
        words += "of what the model gave in torch."
    else:
        expected = compute(quantised, golden.z)
        (folder / GOLDEN_FOLDER / "x_hat_int8.f32").write_bytes(expected.astype("<f4").tobytes())
        measured = deviation(bundle, golden, expected)
        mean = mean_difference(expected, golden.x_hat.reshape(expected.shape))
        allowed, allowed_mean = (float(f"{HEADROOM * off + limit:.2g}") for off in (measured, mean))
        checks = [
            ("x_hat_int8", "decode, from the int8 weights in float64", limit, limit),
            ("x_hat", "decode, from float32 weights", allowed, allowed_mean),
        ]
        words += (
            f"of what the int8 weights give in float64, and within {allowed:.2g} ({allowed_mean:.1g} in the "
            "mean) of what the float32 model gave in torch. "
            f"Measured on them, int8 is off by {measured:.2g} at most and {mean:.1g} in the mean; the "
            f"tolerances are {HEADROOM:g} times that."
        )
    fields = self_test_fields(manifest, index)
    del fields["TOLERANCE"], fields["MEAN_TOLERANCE"]
    lines = [
        f'    failures += compare("{what}", folder, "{name}.f32", z, {at_most!r}, {mean_at_most!r});'
        for name, what, at_most, mean_at_most in checks
    ]
    write_template(folder, "c-standalone", "self_test.c.in", **fields, CHECKS="\n".join(lines))
    return words


def deviation(bundle: Bundle, golden: Golden, x_hat: NDArray[np.float32]) -> float:
    """Largest deviation from the golden x_hat, as a self-test measures it; x_hat is (N, values)."""
    units = value_units(bundle.manifest)
    return difference(x_hat, golden.x_hat.reshape(len(x_hat), -1), units=units)


def _operators(graph: bytes) -> str:
    return ", ".join(sorted({node.op_type for node in one_item(graph).graph.node}))


def _size_words(footprint: Footprint | None) -> str:
    if footprint is None:
        return "No C compiler was there when this was written; `make size` measures it on yours."
    return (
        f"With `{footprint.compiler}` and `-Os`, for {footprint.machine}: {footprint.flash:,} bytes of flash (code and "
        f"constants), {footprint.data + footprint.bss:,} bytes of static RAM, and at most {footprint.stack:,} bytes of stack "
        "in the functions of this file together. `make size` measures it with your compiler."
    )
