"""What the two JavaScript targets share: the modules in ``lib/``, and the model's folder that they read.

    lib/    noise.js  latents.js  model.js  replay.js  sha256.js
    model/  model.json  decoder.onnx  encoder.onnx  golden/

`model.json` is the part of the manifest that a host needs, with the size and SHA-256 of every other file of the folder. Its
`data` says how items look to the host: those of app-ready graphs are uint8 pixels from 0 to 255, in their own layout and shape.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from vaekit.bundle import Bundle, describe_file
from vaekit.embedding.files import items_of, template, write_golden, write_graph, write_text
from vaekit.noise import NOISE_VERSION

MODULES: Final = ("noise.js", "latents.js", "model.js", "replay.js", "sha256.js")
MODEL: Final = "model"
INDEX: Final = "model.json"


def write_modules(folder: Path) -> None:
    """Write the shared modules into ``folder/lib``."""
    for name in MODULES:
        write_text(folder / "lib" / name, template("javascript", name))


def write_model(bundle: Bundle, folder: Path, *, precision: str, provider: str, io: str = "float32") -> dict[str, Any]:
    """Write both graphs, the golden vectors and `model.json` into ``folder/model``.

    Fields of `model.json`: name, kind, precision, noise, data (shape, dtype, layout, range, and features of tables) as in the
    manifest, or of pixels; latent (size, and the aggregate posterior's statistics); files (name inside the folder -> bytes,
    sha256).

    Returns:
        The content of model.json.

    Raises:
        IntegrityError: The bundle was changed since it was opened.
        BundleError: It has no such precision.
    """
    place = folder / MODEL
    for half in ("decoder", "encoder"):
        write_graph(bundle, place / f"{half}.onnx", half=half, precision=precision, io=io)
    write_golden(bundle, place, precision=precision, provider=provider, io=io)
    manifest = bundle.manifest
    spec = manifest.spec.to_json()
    items = items_of(manifest, io)
    data = {"shape": items.shape, "dtype": items.dtype, "layout": items.layout, "range": items.takes}
    files = sorted(path for path in place.rglob("*") if path.is_file())
    index = {
        "name": manifest.name,
        "kind": spec["kind"],
        "precision": precision,
        "noise": NOISE_VERSION,
        "data": {**spec["data"], **data},
        "latent": {"size": manifest.spec.latent, "statistics": manifest.statistics.to_json()},
        "files": {path.relative_to(place).as_posix(): _stated(path) for path in files},
    }
    write_text(place / INDEX, json.dumps(index, indent=2, ensure_ascii=False) + "\n")
    return index


def _stated(path: Path) -> dict[str, Any]:
    info = describe_file(path.name, path.read_bytes())
    return {"bytes": info.bytes, "sha256": info.sha256}
