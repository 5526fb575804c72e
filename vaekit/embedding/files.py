"""What the targets share: templates and how they are filled, graphs and golden vectors as plain files, names.

Golden vectors are written so that any language reads them in a few lines: one file of raw little-endian float32 for each
array, row after row, and `golden.json`, which says how many rows, their shapes, the seed of the noise, and how far a host may
be off. Of app-ready graphs, whose items are uint8 pixels, x and x_hat are bytes:

    golden/golden.json   golden/x.f32   mean.f32   log_var.f32   eps.f32   z.f32   x_hat.f32        or x.u8, x_hat.u8

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.bundle import Bundle
from vaekit.manifest import Manifest
from vaekit.precisions import COMPARED
from vaekit.runtime.appio import between_levels, grey_levels, mean_levels
from vaekit.runtime.verify import LATENT_TOLERANCE, ROUNDING

GOLDEN_FOLDER: Final = "golden"
GOLDEN_INDEX: Final = "golden.json"
GOLDEN_ARRAYS: Final = ("x", "mean", "log_var", "eps", "z", "x_hat")
SUFFIXES: Final = MappingProxyType({"float32": "f32", "uint8": "u8"})
"""Type of an array -> how its file's name ends."""

PIXEL_LEVELS: Final = (0.0, 255.0)
"""Darkest and brightest level of a uint8 pixel."""

_FIELD = re.compile(r"@[A-Z][A-Z0-9_]*@")


class Items(NamedTuple):
    """How items look to a host.

    Attributes:
        dtype: "float32", or "uint8" for pixels.
        shape: One item, without the batch.
        layout: Names of its axes: "CHW", "DT" or "D"; of pixels "HWC" or "CHW".
        takes: Smallest and largest value that the encoder takes; None for values without bounds.
        gives: Of what the decoder gives, likewise.
    """

    dtype: str
    shape: tuple[int, ...]
    layout: str
    takes: tuple[float, float] | None
    gives: tuple[float, float] | None

    @property
    def are_pixels(self) -> bool:
        """Whether they are uint8."""
        return self.dtype == "uint8"

    @property
    def shape_words(self) -> str:
        """The shape as code has it: "1, 28, 28"."""
        return ", ".join(map(str, self.shape))


def items_of(manifest: Manifest, io: str = "float32") -> Items:
    """How the items of a bundle's plain graphs look ("float32"), or those of its app-ready ones ("uint8").

    Raises:
        BundleError: The bundle has no app-ready graphs.
        ConfigError: No such io.
    """
    data = manifest.spec.data
    port = manifest.graph("encoder", "fp32", io).inputs[0]
    if manifest.pixels is None or io == "float32":
        return Items("float32", data.shape, data.layout, data.range, manifest.spec.emits_range)
    layout = manifest.pixels.layout[1:].upper()
    return Items("uint8", tuple(map(int, port.shape[1:])), layout, PIXEL_LEVELS, PIXEL_LEVELS)


def template(target: str, name: str) -> str:
    """Read a template of a target: ``vaekit/embedding/templates/<target>/<name>``, UTF-8."""
    place = importlib.resources.files("vaekit.embedding") / "templates" / target
    return place.joinpath(*name.split("/")).read_text(encoding="utf-8")


def template_bytes(target: str, name: str) -> bytes:
    """Read a template that is no text, e.g. an icon."""
    place = importlib.resources.files("vaekit.embedding") / "templates" / target
    return place.joinpath(*name.split("/")).read_bytes()


def fill(text: str, **values: object) -> str:
    """Replace each ``@NAME@`` by ``str(values["NAME"])``.

    Args:
        text: A template.
        **values: What each name stands for. What is put in is not searched again.

    Returns:
        The filled text.

    Raises:
        ValueError: The template has a name without a value, or a value has no place in it: a mistake of ours.
    """
    names = {found[1:-1] for found in _FIELD.findall(text)}
    if names != set(values):
        missing, unused = sorted(names - set(values)), sorted(set(values) - names)
        raise ValueError(f"template: no value for {missing}, no place for {unused}")
    return _FIELD.sub(lambda found: str(values[found.group()[1:-1]]), text)


def write_template(folder: Path, target: str, name: str, **values: object) -> Path:
    """Fill a template and write it under its own name, less a last ``.in``; folders on the way are made."""
    return write_text(folder / name.removesuffix(".in"), fill(template(target, name), **values))


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 with Unix line ends; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def write_graph(bundle: Bundle, path: Path, *, half: str, precision: str, io: str = "float32") -> Path:
    """Write one graph's checked bytes.

    Raises:
        BundleError: The bundle was changed since, or has no such precision or io.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bundle.graph(half, precision, io=io))
    return path


def write_golden(
    bundle: Bundle,
    folder: Path,
    *,
    precision: str = "fp32",
    provider: str = "cpu",
    io: str = "float32",
    names: tuple[str, ...] = GOLDEN_ARRAYS,
) -> dict[str, Any]:
    """Write the golden vectors into ``folder/golden``; see the module's header.

    Args:
        bundle: Where they come from.
        folder: The project's folder.
        precision: Of the graphs that will replay them.
        provider: The kind of machine that will replay them, in the manifest's words.
        io: "float32", or "uint8" for the golden pixels of the app-ready graphs.
        names: The arrays that are needed, of `GOLDEN_ARRAYS`.

    Fields of `golden.json`:
        items: Rows, N.
        seed: Seed of the noise as text, since it may be any of 0 .. 2^64 - 1, more than a JSON reader's doubles hold.
        tolerances: How far the host may be off, by comparison; see `tolerances`.
        latent_tolerance: Largest absolute deviation of z = mean + exp(log_var / 2) eps.
        rounding, units: null where items have bounds, and the deviation is |a - b|. Otherwise the deviation of value v of an
            item is max(0, |a - b| - rounding |b|) / units[v], with one unit for each value of an item.
        arrays: Name -> {file, dtype, shape}; log_var is missing for a classic autoencoder, whose z is mean.

    Returns:
        The content of golden.json.

    Raises:
        IntegrityError: The golden vectors were changed or do not fit the model.
    """
    golden, manifest = bundle.golden(io), bundle.manifest
    plain = None if io == "float32" else bundle.golden().x_hat
    place = folder / GOLDEN_FOLDER
    place.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    for name in names:
        if name == "log_var" and manifest.spec.kind == "ae":
            continue
        rows: NDArray[Any] = getattr(golden, name)
        file = f"{name}.{SUFFIXES[rows.dtype.name]}"
        (place / file).write_bytes(np.ascontiguousarray(rows, rows.dtype.newbyteorder("<")).tobytes())
        arrays[name] = {"file": file, "dtype": rows.dtype.name, "shape": list(rows.shape)}
    unit = value_units(manifest)
    index = {
        "items": manifest.golden_items,
        "seed": str(manifest.golden_seed),
        "tolerances": tolerances(manifest, precision=precision, provider=provider, io=io, plain=plain),
        "latent_tolerance": LATENT_TOLERANCE,
        "rounding": None if unit is None else ROUNDING,
        "units": None if unit is None else unit.tolist(),
        "arrays": arrays,
    }
    write_text(place / GOLDEN_INDEX, json.dumps(index, indent=2) + "\n")
    return index


def tolerances(
    manifest: Manifest,
    *,
    precision: str = "fp32",
    provider: str = "cpu",
    io: str = "float32",
    plain: NDArray[np.float32] | None = None,
) -> dict[str, float]:
    """How far a host may be from the golden vectors, by comparison.

    For fp32 each is the manifest's tolerance of the provider. The golden vectors are the float32 model's, so another precision
    has the tolerances that the manifest states of it, where they are larger; one of which none are stated may also be off by
    what was measured of it when it was exported, and half as much again for other items.

    Pixels are compared in grey levels, as exports/README.md says: with s = 255 / (high - low), a tolerance t of values allows
    1 + floor(s t) levels, and 0.01 + s t + m in the mean, m being the part of the plain golden `x_hat` (`plain`) within the
    provider's tolerance of the middle between two levels, which may become either. The mean is asked for in every precision
    that states what t is of it, for fp32 the provider's: it finds a decoder that cuts off where it should round, which is never
    off by more than one level.

    Returns:
        Of the largest differences: "encoder" (mean and log_var), "decoder" (x_hat of given codes) and "round_trip"; and, where
        the manifest states them, of the mean differences: "mean_encoder", "mean_decoder", "mean_round_trip".
    """
    limit = manifest.tolerances.get(provider, manifest.tolerances["other"])
    info = manifest.precisions[precision]
    own = {} if precision == "fp32" else info.tolerance
    either = 0.0 if plain is None else between_levels(plain, manifest.spec.data, limit)
    found = {}
    for what in COMPARED:
        usual = limit if own or precision == "fp32" else limit + 1.5 * info.error[what]
        found[what] = max(usual, own.get(what, 0.0))
        if f"mean_{what}" in own:
            found[f"mean_{what}"] = max(limit, own[f"mean_{what}"])
        if io == "uint8" and what != "encoder":
            data = manifest.spec.data
            if precision == "fp32":
                found[f"mean_{what}"] = limit
            found[what] = grey_levels(found[what], data)
            if f"mean_{what}" in found:
                found[f"mean_{what}"] = mean_levels(found[f"mean_{what}"], data, either)
    return found


def tolerance_words(index: dict[str, Any]) -> str:
    """How far x_hat may be off, for a README, from what `write_golden` gave."""
    allowed = index["tolerances"]["decoder"]
    if index["arrays"]["x_hat"]["dtype"] == "float32":
        return f"{allowed:.2g}"
    mean = index["tolerances"].get("mean_decoder")
    levels = f"{allowed:g} grey level{'s' if allowed > 1 else ''}"
    return levels if mean is None else f"{levels} ({mean:.2g} in the mean)"


def value_units(manifest: Manifest) -> NDArray[np.float64] | None:
    """The unit in which each value of an item is compared, shape (values,); None where items have bounds."""
    data = manifest.spec.data
    if data.range is not None:
        return None
    return np.ascontiguousarray(np.broadcast_to(data.units, data.shape).reshape(-1))


def c_identifier(name: str) -> str:
    """Turn a model's name into an identifier of C (and most languages): letters, digits, underscores, lower case.

    ``"MNIST 28x28"`` -> ``"mnist_28x28"``; a name that would begin with a digit gets ``model_`` in front. It may still be a
    word of the language, so put something of your own after it.
    """
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "model"
    return f"model_{word}" if word[0].isdigit() else word


def safe_text(text: str) -> str:
    """Make a name from elsewhere safe inside a comment or a string of any language: plain characters, at most 100."""
    return re.sub(r"[^A-Za-z0-9 ._+()-]", "_", text)[:100]


def dependence(manifest: Manifest, precision: str, on: str) -> str:
    """Say what item i of a stream depends on, as a clause: "item i depends on (seed, i) alone".

    In a precision whose items depend on their batch (`PrecisionInfo.batch_dependent`) that is so of the item's noise.
    """
    whose = "the noise of item i" if manifest.precisions[precision].batch_dependent else "item i"
    return f"{whose} depends on {on} alone"


def dependence_sentence(manifest: Manifest, precision: str, on: str) -> str:
    """The same as a sentence, with what it means for a batch."""
    clause = dependence(manifest, precision, on)
    batch_dependent = manifest.precisions[precision].batch_dependent
    batch = (
        "; its values change a little with the other items of the call" if batch_dependent else ", never on the batch"
    )
    return clause[0].upper() + clause[1:] + batch + "."


def describe(manifest: Manifest) -> str:
    """Say what a model is in one sentence, safe inside a comment of any language."""
    spec = manifest.spec
    kind = "variational autoencoder" if spec.kind == "vae" else "classic autoencoder"
    shape = " x ".join(map(str, spec.data.shape))
    return (
        f"{safe_text(manifest.name)}: a {kind}, items of {shape} ({spec.data.layout}), {spec.latent} latent dimensions."
    )
