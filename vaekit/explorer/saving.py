"""What a save leaves on the disk: a folder with the item, its code, and a program that decodes it again.

    mnist-001/
      image.png   the decoded image, one pixel a value (item.npy for items that are no images)
      code.json   z, where it came from, and which bundle it belongs to
      decode.py   a program that gives the item, with vaekit alone

A folder is written whole or not at all, and never over another.

Needs: NumPy; Pillow inside functions. Must not import: torch, onnx.
"""

from __future__ import annotations

import io
import json
import re
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vaekit.explorer.state import Code, View
from vaekit.images import png_bytes
from vaekit.runtime.vae import VAE
from vaekit.spec import DataSpec
from vaekit.storage import new_folder

NUMBERS_A_LINE: Final = 6


def save(folder: Path, vae: VAE, view: View, item: NDArray[np.float32]) -> Path:
    """Write a view into a new folder NAME-001, NAME-002, … inside another, which is made where it is missing.

    Args:
        folder: Where the new folder will stand.
        vae: The model.
        view: What is saved.
        item: The decoded item, (*data shape).

    Returns:
        The new folder.

    Raises:
        OutputError: The folder or the disk does not take it.
    """
    name = re.sub(r"[^\w.-]+", "-", vae.manifest.name).strip(".-") or "model"
    target = next(path for n in count(1) if not (path := folder / f"{name}-{n:03d}").exists())
    data = vae.spec.data
    with new_folder(target) as inside:
        if data.is_image:
            (inside / "image.png").write_bytes(png_bytes(in_unit_interval(item, data)))
        else:
            buffer = io.BytesIO()
            np.save(buffer, item)
            (inside / "item.npy").write_bytes(buffer.getvalue())
        described = json.dumps(describe(vae, view), indent=2, allow_nan=False, ensure_ascii=False)
        (inside / "code.json").write_text(described + "\n", encoding="utf-8")
        (inside / "decode.py").write_text(snippet(vae, view.z), encoding="utf-8")
    return target


def in_unit_interval(item: NDArray[np.float32], data: DataSpec) -> NDArray[np.float32]:
    """Values of an image on the scale 0 to 1: ``(x - low) / (high - low)`` where the data has a range."""
    if data.range in (None, (0.0, 1.0)):
        return item
    low, high = data.range or (0.0, 1.0)
    return np.asarray((item - low) / (high - low), np.float32)


def describe(vae: VAE, view: View) -> dict[str, Any]:
    """The code, where it came from, and its bundle's name and SHA-256 of manifest.json, as JSON's types."""
    pins = {name: pin for name, pin in (("A", view.a), ("B", view.b)) if pin is not None}
    return {
        "bundle": {"name": vae.manifest.name, "sha256": vae.bundle.digest, "precision": vae.precision},
        "z": numbers(view.z),
        "origin": view.origin,
        "pins": {name: numbers(pin) for name, pin in pins.items()},
        "morph": None if view.t is None else {"t": view.t / 100, "path": view.path},
    }


def numbers(z: Code) -> list[float]:
    """A code's values as the shortest decimals that float32 reads back exactly."""
    return [float(str(value)) for value in z]


def snippet(vae: VAE, z: Code) -> str:
    """A program that decodes one code with `vaekit.Decoder`, after it has checked that the bundle is the same.

    The built-in model needs no path; any other bundle is named by its absolute path.
    """
    place = vae.bundle.place
    built_in = place.origin is None
    where = "" if built_in else repr(str(Path(str(place)).absolute()))
    texts = [str(value) for value in numbers(z)]
    lines = [", ".join(texts[at : at + NUMBERS_A_LINE]) for at in range(0, len(texts), NUMBERS_A_LINE)]
    rows = "".join(f"        {line},\n" for line in lines)
    precision = "" if vae.precision == "fp32" else f", precision={vae.precision!r}"
    shape = ", ".join(map(str, vae.spec.data.shape))
    return f'''"""Decodes one code of the model {vae.manifest.name!r}; written by `vaekit explore`."""

import numpy as np

import vaekit

z = np.array(
    [
{rows}    ],
    dtype=np.float32,
)

bundle = vaekit.Bundle.open({where})
if bundle.digest != "{vae.bundle.digest}":
    raise SystemExit("this bundle is not the one that the code belongs to")
x_hat = vaekit.Decoder(bundle{precision}).decode(z[None])  # (1, {shape}) float32
print(x_hat.shape, x_hat.min(), x_hat.max())
'''
