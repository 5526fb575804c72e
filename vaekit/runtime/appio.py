"""Models opened with ``io="uint8"``: what they refuse, and the proof that they give the plain graphs' pixels.

Imported only where somebody asks for it.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.appio import LEVELS, from_pixels, pixel_shape, to_pixels
from vaekit.errors import ShapeError
from vaekit.latents import Latents
from vaekit.manifest import Manifest
from vaekit.spec import DataSpec

if TYPE_CHECKING:
    from vaekit.runtime.vae import VAE

DIFFERING: Final = 0.01
"""Largest share of pixels that may differ from the plain graphs': those whose value stands so near between two grey levels
that a rounding decides. One in 10,000 does; without the rounding, or with another, a tenth and more would."""


class Compared(NamedTuple):
    """App-ready graphs beside the plain ones.

    Attributes:
        error: Largest absolute difference of mean and log_var.
        values: Pixel values that were compared.
        levels: Largest difference among them, in grey levels.
        differing: How many differ at all.
        undecided: How many of these stand so near between two levels that the last digits decide. Of few values they are
            many at once, as of a decoder whose sigmoid has int8's 256 outputs.
    """

    error: float
    values: int
    levels: int
    differing: int
    undecided: int = 0


def check_pixels(u: NDArray[Any], manifest: Manifest) -> None:
    """Refuse what is no batch of pixels in the bundle's layout.

    Raises:
        ShapeError: Another dtype or shape.
    """
    assert manifest.pixels is not None
    data, layout = manifest.spec.data, manifest.pixels.layout
    shape = pixel_shape(data, layout)
    wanted = f"(N, {', '.join(map(str, shape))}) ({layout})"
    if not isinstance(u, np.ndarray):
        raise ShapeError(f"x is a {type(u).__name__}; with io='uint8' give a NumPy array, uint8 of shape {wanted}.")
    if u.dtype != np.uint8:
        raise ShapeError(
            f"x has dtype {u.dtype}, but with io='uint8' the model takes raw uint8 pixels of 0 to 255; give them as they come, "
            "or load the model without io."
        )
    if u.shape[1:] != shape:
        raise ShapeError(
            f"x has shape {u.shape}, but the model takes {wanted}, N items at a time{_hint(u, data, layout)}."
        )


def _hint(u: NDArray[np.uint8], data: DataSpec, layout: str) -> str:
    """What would make the pixels fit, where that is plain to see."""
    other, axes = ("nchw", "0, 2, 3, 1") if layout == "nhwc" else ("nhwc", "0, 3, 1, 2")
    if u.shape[1:] == pixel_shape(data, other):
        return f"; these are {other}: u.transpose({axes}) turns them"
    if data.shape[0] == 1 and u.ndim > 2 and u.shape[1:] == data.shape[1:]:
        return f"; u[{'..., None' if layout == 'nhwc' else ':, None'}] gives them their one channel"
    if u.shape == pixel_shape(data, layout):
        return "; u[None] makes a batch of one"
    return ""


def compare(pixels: VAE, plain: VAE, u: NDArray[np.uint8], z: Latents, *, tolerance: float = 0.0) -> Compared:
    """Run app-ready graphs and the plain graphs of the same precision on the same pixels and codes.

    Args:
        pixels: The model, opened with ``io="uint8"``.
        plain: The same without.
        u: Pixels in the bundle's layout, (N, ...) uint8.
        z: Codes, (M, D) float32.
        tolerance: Of values: so near to the middle between two levels, either level is right.
    """
    assert pixels.manifest.pixels is not None
    data, layout = pixels.spec.data, pixels.manifest.pixels.layout
    found, wanted = pixels.encode(u), plain.encode(from_pixels(u, data, layout))
    sides = [(found.mean, wanted.mean)] + ([(found.log_var, wanted.log_var)] if pixels.spec.kind == "vae" else [])
    error = max(float(np.abs(a.astype(np.float64) - b).max(initial=0.0)) for a, b in sides)
    values = plain.decode(z)
    gap = np.abs(pixels.decode(z).astype(np.int16) - to_pixels(values, data, layout))
    between = _between(values, data, tolerance)
    undecided = gap[between.transpose(0, 2, 3, 1) if layout == "nhwc" else between]
    return Compared(
        error, gap.size, int(gap.max(initial=0)), int(np.count_nonzero(gap)), int(np.count_nonzero(undecided))
    )


def _between(values: NDArray[np.float32], data: DataSpec, tolerance: float) -> NDArray[np.bool_]:
    """Where values (N, C, H, W) stand within the tolerance of the middle between two levels."""
    assert data.range is not None
    levels = share(1.0, data) * (values.astype(np.float64) - data.range[0])
    return np.asarray(np.abs(levels - np.floor(levels) - 0.5) <= share(tolerance, data))


def between_levels(x_hat: NDArray[np.float32], data: DataSpec, tolerance: float) -> float:
    """Part of values (N, C, H, W) within the tolerance of the middle between two levels: each may become either, one off."""
    return float(_between(x_hat, data, tolerance).mean())


def grey_levels(tolerance: float, data: DataSpec) -> float:
    """What a tolerance of values is in grey levels, once both sides are rounded: so many whole ones, and one at the edge."""
    return LEVELS + int(share(tolerance, data))


def mean_levels(tolerance: float, data: DataSpec, either: float = 0.0) -> float:
    """What a tolerance of values is in the mean difference of pixels, in grey levels: ``0.01 + s t + m``, s t being `share`.

    Of pixels that are one level off at most it is the part that may differ.

    Args:
        tolerance: Of values, t.
        data: What an item is.
        either: Part of the pixels that may be either of two levels, m; see `between_levels`.
    """
    return DIFFERING + share(tolerance, data) + either


def share(tolerance: float, data: DataSpec) -> float:
    """What a tolerance of values is in grey levels, unrounded; below 1 it is the share of pixels that it can move by one."""
    assert data.range is not None
    return 255.0 * tolerance / (data.range[1] - data.range[0])
