"""Target c-standalone: the decoder in one C file, with the weights inside; no ONNX Runtime, no allocation.

`c_decoder` writes the decoder itself; here it becomes a project that proves itself, with int8 weights too.

Needs: NumPy; onnx and emx-onnx-cgen inside functions. Must not import: torch, onnxruntime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vaekit.bundle import Bundle
from vaekit.embedding.c import (
    header_facts,
    model_facts,
    noise_functions,
    prior_function,
    self_test_fields,
    show_function,
)
from vaekit.embedding.c_decoder import generated, operators, written
from vaekit.embedding.compiled import Footprint, measure
from vaekit.embedding.files import (
    GOLDEN_FOLDER,
    items_of,
    template,
    value_units,
    write_golden,
    write_template,
)
from vaekit.embedding.layers import Layer, compute, quantise, read_chain
from vaekit.errors import ConfigError, ExportError
from vaekit.golden import Golden
from vaekit.runtime.verify import difference, mean_difference

SUMMARY: Final = "the decoder in one C file, weights inside; needs a C compiler and nothing else"
TRY: Final = ("make check", "make demo")

WEIGHTS: Final = ("float32", "int8")

HEADROOM: Final = 1.5
"""An int8 decoder may be off by so many times what was measured on the golden vectors."""


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
            f"weights='int8' is for decoders of dense layers, but that of {manifest.name!r} has {operators(graph)}; "
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
    write_template(
        folder, "c-standalone", "demo.c.in", SHOW=show_function(items), ARGUMENTS=template("c", "arguments.c.part")
    )
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


def _size_words(footprint: Footprint | None) -> str:
    if footprint is None:
        return "No C compiler was there when this was written; `make size` measures it on yours."
    return (
        f"With `{footprint.compiler}` and `-Os`, for {footprint.machine}: {footprint.flash:,} bytes of flash (code and "
        f"constants), {footprint.data + footprint.bss:,} bytes of static RAM, and at most {footprint.stack:,} bytes of stack "
        "in the functions of this file together. `make size` measures it with your compiler."
    )
