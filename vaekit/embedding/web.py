"""The target web: one static folder with a page that runs the model in the browser, without a build step or a network.

    index.html  style.css  app.js  icon.svg  page/  lib/  model/  ort/  README.md

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
    safe_text,
    template,
    write_template,
    write_text,
)
from vaekit.embedding.javascript import write_model, write_modules
from vaekit.embedding.ortweb import PACKAGE, ort_web_files
from vaekit.errors import ExportError

SUMMARY: Final = "one static folder: a page on onnxruntime-web, without a build step or a network"
TRY: Final = ("python -m http.server 8000", "# then open localhost:8000 in a browser")

PAGES: Final = (
    "style.css",
    "app.js",
    "icon.svg",
    "page/host.js",
    "page/ink.js",
    "page/morph.js",
    "page/pad.js",
    "page/picture.js",
    "page/proof.js",
    "page/rate.js",
    "page/sliders.js",
)

SEEDS: Final = (9, 40)
"""Ends of the morph that the page begins with."""


def write(bundle: Bundle, folder: Path, *, precision: str, ort_web: Path | None = None) -> None:
    """Fill a folder with the page.

    Args:
        bundle: The model.
        folder: An empty folder.
        precision: Which of the bundle's precisions to take.
        ort_web: The npm package onnxruntime-web, unpacked; without it, npm fetches the package.

    Raises:
        ExportError: The items are images of neither one channel nor three.
        MissingDependencyError: onnxruntime-web is neither in that folder nor to be had from npm.
        BundleError: The bundle was changed since, or has no such precision.
    """
    manifest = bundle.manifest
    data = manifest.spec.data
    if data.layout == "CHW" and data.shape[0] not in (1, 3):
        raise ExportError(
            f"the page draws images of 1 or 3 channels, but the items of {manifest.name} have {data.shape[0]}; "
            "use the target node."
        )
    ort = ort_web_files(ort_web)
    write_modules(folder)
    index = write_model(bundle, folder, precision=precision, provider="cpu")
    for name in PAGES:
        write_text(folder / name, template("web", name))
    (folder / "ort").mkdir()
    for name, content in ort.items():  # as .js, since not every web server knows that .mjs is JavaScript
        (folder / "ort" / name.replace(".mjs", ".js")).write_bytes(content)
    write_text(folder / "ort" / "LICENSE.txt", template("web", "ort-license.txt"))
    kind = {"vae": "A variational autoencoder", "ae": "A classic autoencoder"}[manifest.spec.kind]
    name, summary = safe_text(manifest.name), describe(manifest)
    write_template(folder, "web", "index.html.in", NAME=name, SUMMARY=summary, KIND=kind, FROM=SEEDS[0], TO=SEEDS[1])
    write_template(
        folder,
        "web",
        "README.md.in",
        NAME=name,
        SUMMARY=summary,
        PRECISION=precision,
        DEPENDS=dependence(manifest, precision, "(7, i)"),
        DEPENDS_SENTENCE=dependence_sentence(manifest, precision, "(seed, start + i)"),
        PACKAGE=PACKAGE,
        MEGABYTES=f"{sum(file['bytes'] for file in index['files'].values()) / 1e6:.1f}",
    )
