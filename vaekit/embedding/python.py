"""Target python: one file that runs the model with NumPy and ONNX Runtime, not even vaekit.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vaekit.bundle import Bundle
from vaekit.embedding.files import (
    dependence,
    dependence_sentence,
    describe,
    fill,
    items_of,
    safe_text,
    tolerance_words,
    write_golden,
    write_graph,
    write_template,
)
from vaekit.manifest import HALVES, Manifest
from vaekit.noise import NOISE_VERSION

SUMMARY: Final = "one Python file; needs NumPy and ONNX Runtime"
TRY: Final = ("python vae_model.py --self-test", "python vae_model.py --sample 2 --seed 7")

_ENCODE: Final = {
    "vae": (
        "The posterior q(z|x) of each item: its mean, and the natural log of its *variance*.",
        """\
        mean, log_var = self._encoder.run(["mean", "log_var"], {"x": x})
        return mean, log_var""",
    ),
    "ae": (
        "The code of each item, and minus infinity for its log-variance: this model is a classic autoencoder.",
        """\
        mean = self._encoder.run(["mean"], {"x": x})[0]
        return mean, np.full_like(mean, -np.inf)""",
    ),
}

_RANGE_CHECK: Final = """\
        if RANGE is not None and x.size and not (RANGE[0] <= x.min() and x.max() <= RANGE[1]):
            raise ValueError(f"x has values from {x.min():g} to {x.max():g}; the model takes {RANGE[0]:g} to {RANGE[1]:g}")
"""

_RANGE_WORDS: Final = {
    "float32": "smallest and largest value of an item; None: real values without bounds",
    "uint8": "darkest and brightest level of a pixel",
}

_PRIOR: Final = {
    "vae": '''\
    """Draw codes from the prior, ``z ~ N(0, I)``, (count, LATENT) float32."""
    return noise(seed, count, LATENT, start)''',
    "ae": '''\
    """Draw codes, (count, LATENT) float32, from the normal fitted to the codes of the training data.

    A classic autoencoder has no prior; this is the nearest thing to one.
    """
    mean = np.array(@MEAN@)
    std = np.array(@STD@)
    return (mean + std * noise(seed, count, LATENT, start)).astype(np.float32)''',
}


def write(bundle: Bundle, folder: Path, *, precision: str, io: str = "float32") -> None:
    """Write vae_model.py, both graphs, the golden vectors and a README.

    Args:
        bundle: The model.
        folder: An empty folder.
        precision: Which of the bundle's precisions to take.
        io: "float32", or "uint8" for the app-ready graphs: pixels in and out.

    Raises:
        BundleError: The bundle was changed since it was opened, or a graph is unsafe.
    """
    manifest = bundle.manifest
    spec = manifest.spec
    items = items_of(manifest, io)
    for half in HALVES:
        write_graph(bundle, folder / f"{half}.onnx", half=half, precision=precision, io=io)
    index = write_golden(bundle, folder, precision=precision, io=io)
    encode_doc, encode_body = _ENCODE[spec.kind]
    name = safe_text(manifest.name)
    write_template(
        folder,
        "python",
        "vae_model.py.in",
        TITLE=f"{describe(manifest)} In one file.",
        NAME=name,
        SHAPE=repr(items.shape),
        SHAPE_WORDS=items.shape_words,
        LAYOUT=items.layout,
        DTYPE=items.dtype,
        LATENT=spec.latent,
        RANGE=repr(items.takes),
        RANGE_WHAT=_RANGE_WORDS[items.dtype],
        RANGE_WORDS="" if items.takes is None else f" within {items.takes[0]:g} .. {items.takes[1]:g}",
        RANGE_CHECK="" if items.are_pixels else _RANGE_CHECK,
        CHANNEL_AXIS=max(0, items.layout.find("C")),
        MEAN_WORDS="decoder's mean, rounded to pixels," if items.are_pixels else "decoder's mean",
        ENCODE_DOC=encode_doc,
        ENCODE_BODY=encode_body,
        PRIOR=_prior(manifest),
        DEPENDS=dependence(manifest, precision, "(seed, i)"),
        DEPENDS_SENTENCE=dependence_sentence(manifest, precision, "(seed, start + i)"),
        NOISE=NOISE_VERSION,
    )
    write_template(
        folder,
        "python",
        "README.md.in",
        NAME=name,
        SUMMARY=describe(manifest),
        SHAPE_WORDS=items.shape_words,
        DTYPE=items.dtype,
        DEPENDS=dependence(manifest, precision, "(7, i)"),
        LATENT=spec.latent,
        PRECISION=precision,
        ITEMS=manifest.golden_items,
        TOLERANCE=tolerance_words(index),
    )


def _prior(manifest: Manifest) -> str:
    text = _PRIOR[manifest.spec.kind]
    if manifest.spec.kind == "vae":
        return text
    statistics = manifest.statistics
    return fill(text, MEAN=repr(list(statistics.mean)), STD=repr(list(statistics.std)))
