"""Target c: the decoder in C11 against ONNX Runtime's C interface, with the portable noise.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from vaekit.bundle import Bundle
from vaekit.embedding.files import (
    Items,
    c_identifier,
    dependence_sentence,
    describe,
    fill,
    items_of,
    safe_text,
    template,
    tolerance_words,
    write_golden,
    write_graph,
    write_template,
    write_text,
)
from vaekit.manifest import Manifest
from vaekit.noise import NOISE_VERSION, noise

SUMMARY: Final = "the decoder in C11; needs a C compiler and ONNX Runtime"
TRY: Final = ("make check ORT_HOME=<your ONNX Runtime>", "make demo ORT_HOME=<your ONNX Runtime>")

UNFUSED: Final = (1_065_698_896, 2_473_397_643)
"""Sample indices of seed 0 where a fused multiply-add changes a float32 of the first pair: a sine and a cosine. They were found
by trying each index in turn with what gcc 12 makes of -ffp-contract=fast; clang 14 changes the same two numbers. The right
numbers are computed when a project is written."""

C_TYPES: Final = {"float32": "float", "uint8": "uint8_t"}
"""What C calls a value of an item."""

_ELEMENTS: Final = {"float32": "FLOAT", "uint8": "UINT8"}
"""The end of ONNX Runtime's name for it."""

SHADES: Final = " .:-=+*#%@"

_BOUNDED: Final = """\

static double deviation(@TYPE@ measured, @TYPE@ expected, size_t value) {
    (void)value; /* items have bounds, so that every value is compared as it is */
    return fabs((double)measured - (double)expected);
}
"""

_UNBOUNDED: Final = """\
static const double ROUNDING = @ROUNDING@; /* relative: what a float32 of that size cannot hold */
static const double UNITS[VAE_VALUES] = {
@UNITS@
};

/* In the value's own unit, and beyond what a float32 of that size can hold. */
static double deviation(float measured, float expected, size_t value) {
    const double gap = fabs((double)measured - (double)expected) - ROUNDING * fabs((double)expected);
    return (gap < 0 ? 0 : gap) / UNITS[value];
}
"""

_SHOW_IMAGE: Final = """\
enum { CHANNELS = @CHANNELS@, HEIGHT = @HEIGHT@, WIDTH = @WIDTH@ };

/* One line a row, two characters a pixel, since they are twice as high as wide; the mean of the channels. */
static void show(const @TYPE@ *x) {
    static const char shades[] = "@SHADES@";
    const int last = (int)sizeof shades - 2;
    for (int row = 0; row < HEIGHT; row++) {
        for (int column = 0; column < WIDTH; column++) {
            float mean = 0;
            for (int channel = 0; channel < CHANNELS; channel++)
                mean += @VALUE@ / CHANNELS;
            const float position = (mean - @LOW@f) / (@HIGH@f - @LOW@f) * (float)last + 0.5f;
            const int shade = position < 0 ? 0 : position > (float)last ? last : (int)position;
            printf("%c%c", shades[shade], shades[shade]);
        }
        printf("\\n");
    }
}
"""

_AT: Final = {
    "CHW": "(channel * HEIGHT + row) * WIDTH + column",
    "HWC": "(row * WIDTH + column) * CHANNELS + channel",
}
"""Where a value of an image stands, by the layout."""

_SHOW_NUMBERS: Final = """\
static void show(const float *x) {
    for (int value = 0; value < VAE_VALUES; value++) printf("%g\\n", (double)x[value]);
}
"""

_PRIOR: Final = {
    "vae": """\
void vae_prior(uint64_t seed, uint64_t index, float z[VAE_LATENT]) { vae_noise(seed, index, VAE_LATENT, z); }
""",
    "ae": """\
void vae_prior(uint64_t seed, uint64_t index, float z[VAE_LATENT]) {
    static const double mean[VAE_LATENT] = {
@MEAN@
    };
    static const double std[VAE_LATENT] = {
@STD@
    };
    vae_noise(seed, index, VAE_LATENT, z);
    for (int d = 0; d < VAE_LATENT; d++) z[d] = (float)(mean[d] + std[d] * (double)z[d]);
}
""",
}

_PRIOR_WORDS: Final = {
    "vae": "A code of the prior, z ~ N(0, I): the noise of (seed, index).",
    "ae": "A code of the normal fitted to the codes of the training data: a classic autoencoder has no prior.",
}


def write(bundle: Bundle, folder: Path, *, precision: str, io: str = "float32") -> None:
    """Write vae_decoder.h and .c, the graph, a demo, the self-test, a Makefile, a CMakeLists.txt and a README.

    Args:
        bundle: The model.
        folder: An empty folder.
        precision: Which of the bundle's precisions to take.
        io: "float32", or "uint8" for the app-ready decoder, which gives pixels.

    Raises:
        BundleError: The bundle was changed since it was opened, or a graph is unsafe.
    """
    manifest = bundle.manifest
    items = items_of(manifest, io)
    write_graph(bundle, folder / "decoder.onnx", half="decoder", precision=precision, io=io)
    index = write_golden(bundle, folder, precision=precision, io=io, names=("eps", "z", "x_hat"))
    facts = model_facts(manifest, items)
    c_type, element = C_TYPES[items.dtype], _ELEMENTS[items.dtype]
    write_template(
        folder,
        "c",
        "vae_decoder.h.in",
        **header_facts(facts),
        TYPE=c_type,
        DEPENDS_SENTENCE=dependence_sentence(manifest, precision, "(seed, i)"),
    )
    write_template(
        folder,
        "c",
        "vae_decoder.c.in",
        SUMMARY=facts["SUMMARY"],
        SHAPE_WORDS=facts["SHAPE_WORDS"],
        TYPE=c_type,
        ELEMENT=element,
        PRIOR=prior_function(manifest),
        NOISE=noise_functions("vae_noise"),
    )
    what = "decode, grey levels" if items.are_pixels else "decode"
    fields = self_test_fields(manifest, index)
    x_hat = index["arrays"]["x_hat"]["file"]
    write_template(folder, "c", "self_test.c.in", **fields, TYPE=c_type, WHAT=what, X_HAT=x_hat)
    write_template(
        folder, "c", "demo.c.in", SHOW=show_function(items), ARGUMENTS=template("c", "arguments.c.part"), TYPE=c_type
    )
    write_template(folder, "c", "Makefile.in")
    write_template(folder, "c", "valgrind.supp")
    write_template(folder, "c", "CMakeLists.txt.in", IDENTIFIER=c_identifier(manifest.name))
    write_text(folder / "ort" / "onnxruntime_c_api.h", template("c", "ort/onnxruntime_c_api.h"))
    write_template(
        folder,
        "c",
        "README.md.in",
        NAME=facts["NAME"],
        SUMMARY=facts["SUMMARY"],
        PRECISION=precision,
        ITEMS=manifest.golden_items,
        TYPE=c_type,
        TOLERANCE=tolerance_words(index),
    )


def model_facts(manifest: Manifest, items: Items) -> dict[str, object]:
    """What templates in C say of a model, and of how its items look."""
    spec = manifest.spec
    bounds = items.gives
    return {
        "NAME": safe_text(manifest.name),
        "SUMMARY": describe(manifest),
        "LATENT": spec.latent,
        "VALUES": spec.data.size,
        "SHAPE_WORDS": items.shape_words,
        "LAYOUT": items.layout,
        "RANGE_WORDS": (", rounded to pixels" if items.are_pixels else "")
        + ("" if bounds is None else f", within {bounds[0]:g} .. {bounds[1]:g}"),
        "PRIOR_WORDS": _PRIOR_WORDS[spec.kind],
    }


def header_facts(facts: dict[str, object]) -> dict[str, object]:
    """Those that the header `vae_decoder.h` says, of `model_facts`: all but the model's name."""
    return {what: value for what, value in facts.items() if what != "NAME"}


def noise_functions(name: str) -> str:
    """The portable noise, as a function of that name and its helpers."""
    return fill(template("c", "portable_noise.c.part"), VERSION=NOISE_VERSION, FUNCTION=name)


def prior_function(manifest: Manifest) -> str:
    """`vae_prior`: the noise itself, or for a classic autoencoder the normal fitted to its codes."""
    text = _PRIOR[manifest.spec.kind]
    if manifest.spec.kind == "vae":
        return text
    statistics = manifest.statistics
    return fill(text, MEAN=c_numbers(statistics.mean, indent=8), STD=c_numbers(statistics.std, indent=8))


def show_function(items: Items) -> str:
    """`show`: an image in shades, anything else as numbers."""
    if not (len(items.shape) == 3 and items.takes):
        return _SHOW_NUMBERS
    channels, height, width = (items.shape[items.layout.index(axis)] for axis in "CHW")
    low, high = items.takes
    at = _AT[items.layout]
    return fill(
        _SHOW_IMAGE,
        TYPE=C_TYPES[items.dtype],
        CHANNELS=channels,
        HEIGHT=height,
        WIDTH=width,
        SHADES=SHADES,
        VALUE=f"(float)x[{at}]" if items.are_pixels else f"x[{at}]",
        LOW=low,
        HIGH=high,
    )


def self_test_fields(manifest: Manifest, index: dict[str, Any]) -> dict[str, object]:
    """What the template of a self-test in C needs."""
    return {
        "NAME": safe_text(manifest.name),
        "ITEMS": manifest.golden_items,
        "SEED": manifest.golden_seed,
        "TOLERANCE": repr(index["tolerances"]["decoder"]),
        "MEAN_TOLERANCE": repr(index["tolerances"].get("mean_decoder", index["tolerances"]["decoder"])),
        "GOLDEN": template("c", "golden.c.part"),
        "UNFUSED": fill(template("c", "fused.c.part"), ROWS="\n".join(map(_unfused_row, UNFUSED))),
        "DEVIATION": fill(_BOUNDED, TYPE=C_TYPES[index["arrays"]["x_hat"]["dtype"]])
        if index["units"] is None
        else fill(_UNBOUNDED, ROUNDING=repr(index["rounding"]), UNITS=c_numbers(index["units"], indent=4)),
    }


def _unfused_row(index: int) -> str:
    """The first pair of seed 0 at an index, as bits, for an initialiser."""
    even, odd = noise(seed=0, count=1, dim=2, start=index)[0].view(np.uint32)
    return f"    {{UINT64_C({index}), {{0x{even:08X}u, 0x{odd:08X}u}}}},"


def c_numbers(values: Iterable[float], *, indent: int) -> str:
    """Doubles for an initialiser, a few a line, each with all its digits."""
    words = [repr(float(value)) for value in values]
    lines = [", ".join(words[i : i + 5]) for i in range(0, len(words), 5)]
    return "\n".join(" " * indent + line + "," for line in lines)
