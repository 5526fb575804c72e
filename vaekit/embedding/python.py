"""Target python: one file that runs the model with NumPy and ONNX Runtime, not even vaekit.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vaekit.bundle import Bundle
from vaekit.embedding.files import describe, fill, safe_text, write_golden, write_graph, write_template
from vaekit.manifest import Manifest
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


def write(bundle: Bundle, folder: Path, *, precision: str) -> None:
    """Write vae_model.py, both graphs, the golden vectors and a README.

    Raises:
        BundleError: The bundle was changed since it was opened, or a graph is unsafe.
    """
    manifest = bundle.manifest
    spec = manifest.spec
    shape_words = ", ".join(map(str, spec.data.shape))
    for half in ("encoder", "decoder"):
        write_graph(bundle, folder / f"{half}.onnx", half=half, precision=precision)
    index = write_golden(bundle, folder, precision=precision)
    encode_doc, encode_body = _ENCODE[spec.kind]
    name = safe_text(manifest.name)
    write_template(
        folder,
        "python",
        "vae_model.py.in",
        TITLE=f"{describe(manifest)} In one file.",
        NAME=name,
        SHAPE=repr(spec.data.shape),
        SHAPE_WORDS=shape_words,
        LAYOUT=spec.data.layout,
        LATENT=spec.latent,
        RANGE=repr(spec.data.range),
        RANGE_WORDS="" if spec.data.range is None else f" within {spec.data.range[0]:g} .. {spec.data.range[1]:g}",
        ENCODE_DOC=encode_doc,
        ENCODE_BODY=encode_body,
        PRIOR=_prior(manifest),
        NOISE=NOISE_VERSION,
    )
    write_template(
        folder,
        "python",
        "README.md.in",
        NAME=name,
        SUMMARY=describe(manifest),
        SHAPE_WORDS=shape_words,
        LATENT=spec.latent,
        PRECISION=precision,
        ITEMS=manifest.golden_items,
        TOLERANCE=f"{index['tolerances']['decoder']:.2g}",
    )


def _prior(manifest: Manifest) -> str:
    text = _PRIOR[manifest.spec.kind]
    if manifest.spec.kind == "vae":
        return text
    statistics = manifest.statistics
    return fill(text, MEAN=repr(list(statistics.mean)), STD=repr(list(statistics.std)))
