"""The target node: an ES module with types, on ONNX Runtime's package for Node.js.

    index.js  index.d.ts  telemetry.js  lib/  model/  self-test.js  demo.js  package.json  package-lock.json  .npmrc  README.md

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vaekit.bundle import Bundle
from vaekit.embedding.files import (
    c_identifier,
    dependence,
    dependence_sentence,
    describe,
    items_of,
    safe_text,
    template,
    write_template,
    write_text,
)
from vaekit.embedding.javascript import write_model, write_modules

SUMMARY: Final = "an ES module with types for Node.js, on onnxruntime-node"
TRY: Final = ("npm install", "npm test")

ONNXRUNTIME_NODE: Final = "1.30.0"
"""Version of onnxruntime-node; package-lock.json holds the integrity of it and of what it needs."""

ARRAYS: Final = {"float32": "Float32Array", "uint8": "Uint8Array"}
"""What JavaScript calls an array of items."""

_AXES: Final = {"CHW": "(C, H, W)", "HWC": "(H, W, C)", "DT": "(D, T)", "D": "(D)"}


def write(bundle: Bundle, folder: Path, *, precision: str, io: str = "float32") -> None:
    """Fill a folder with the model as an ES module.

    Args:
        bundle: The model.
        folder: An empty folder.
        precision: Which of the bundle's precisions to take.
        io: "float32", or "uint8" for the app-ready graphs: pixels in and out.

    Raises:
        BundleError: The bundle was changed since, or has no such precision.
    """
    manifest = bundle.manifest
    package = "vae-" + c_identifier(manifest.name).replace("_", "-")[:100]
    write_modules(folder)
    index = write_model(bundle, folder, precision=precision, provider="cpu", io=io)
    items = items_of(manifest, io)
    for name in ("index.js", "telemetry.js", "self-test.js", "demo.js"):
        write_text(folder / name, template("node", name))
    write_text(
        folder / ".npmrc", template("node", "npmrc")
    )  # a pattern of package data passes over names with a leading dot
    write_template(
        folder,
        "node",
        "index.d.ts.in",
        ARRAY=ARRAYS[items.dtype],
        AXES=_AXES[items.layout],
        DEPENDS_SENTENCE=dependence_sentence(manifest, precision, "(seed, start + i)"),
    )
    write_template(folder, "node", "package.json.in", PACKAGE=package, VERSION=ONNXRUNTIME_NODE)
    write_template(folder, "node", "package-lock.json.in", PACKAGE=package)
    write_template(
        folder,
        "node",
        "README.md.in",
        NAME=safe_text(manifest.name),
        SUMMARY=describe(manifest),
        ARRAY=ARRAYS[items.dtype],
        ITEM=f"{items.shape_words} ({items.layout})",
        SIZE=manifest.spec.data.size,
        DEPENDS=dependence(manifest, precision, "(7, i)"),
        DEPENDS_SENTENCE=dependence_sentence(manifest, precision, "(seed, start + i)"),
        LATENT=manifest.spec.latent,
        PRECISION=precision,
        VERSION=ONNXRUNTIME_NODE,
        MEGABYTES=f"{sum(file['bytes'] for file in index['files'].values()) / 1e6:.1f}",
    )
