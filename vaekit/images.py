"""Arrays as images: pixel scaling, sheets of images, PNG files and animations.

An image batch is float32, shape (N, C, H, W), C = 1 (grey) or 3 (red, green, blue), values nominally in [0, 1] with
0 black. This file stops at the pixels: one image file is read in `vaekit.imagefile`, data sets in `vaekit.datasets`, and
terminals are drawn in `vaekit.cli`.

Shapes: N items, C channels, H rows, W columns.

Needs: NumPy; Pillow inside the functions that encode. Must not import: torch, onnx, onnxruntime, rich.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vaekit.errors import ConfigError, ShapeError
from vaekit.storage import write_file

if TYPE_CHECKING:
    from PIL import Image

Images: TypeAlias = npt.NDArray[np.float32]
Pixels: TypeAlias = npt.NDArray[np.uint8]


def to_uint8(x: npt.NDArray[np.floating[Any]]) -> Pixels:
    """Quantise to 8 bits: ``u = round(255 * clip(x, 0, 1))``, halves to the even neighbour.

    Args:
        x: Images, shape (N, C, H, W), any float dtype; values beyond [0, 1], infinities too, are clipped.

    Returns:
        Pixels, shape (N, H, W, C), uint8.

    Raises:
        ShapeError: ``x`` is not a batch of grey or colour images, is not floating point, or holds NaN.
    """
    _check_batch(x)
    if np.isnan(x).any():
        raise ShapeError("Pixels must be numbers, but the images hold NaN; check the model's output or the input data.")
    # float64 holds 255 * x exactly for float32 input, so nothing is rounded twice.
    scaled = 255.0 * np.clip(x, 0.0, 1.0).astype(np.float64)
    return np.ascontiguousarray(np.rint(scaled).astype(np.uint8).transpose(0, 2, 3, 1))


def from_uint8(u8: Pixels) -> Images:
    """Scale 8-bit pixels to the unit interval: ``x = u / 255``.

    Args:
        u8: Pixels, shape (N, H, W) for greys or (N, H, W, C), uint8.

    Returns:
        Images, shape (N, C, H, W), float32; `to_uint8` gives the same pixels back.

    Raises:
        ShapeError: ``u8`` is not uint8, or has neither of the two shapes.
    """
    if u8.dtype != np.uint8:
        raise ShapeError(f"8-bit pixels were expected, found {u8.dtype}; floats need no from_uint8.")
    pixels = u8[..., np.newaxis] if u8.ndim == 3 else u8
    if pixels.ndim != 4 or pixels.shape[-1] not in (1, 3):
        raise ShapeError(f"Pixels must have shape (N, H, W) or (N, H, W, C) with C 1 or 3, found {u8.shape}.")
    scaled: Images = np.divide(pixels.transpose(0, 3, 1, 2), np.float32(255), dtype=np.float32, order="C")
    return scaled


def grid(x: Images, columns: int, *, gap: int = 2, background: float = 1.0) -> Images:
    """Lay a batch out on one sheet, row by row: image ``i`` stands in row ``i // columns``, column ``i % columns``.

    Args:
        x: Images, shape (N, C, H, W), N at least 1.
        columns: Images in a row; a batch smaller than that makes a narrower sheet.
        gap: Pixels between neighbours; none around the sheet.
        background: Value of the gaps and of the empty places in the last row.

    Returns:
        One image, shape (C, R * H + (R - 1) * gap, K * W + (K - 1) * gap), float32, with K = min(columns, N) columns
        and R = ceil(N / K) rows.

    Raises:
        ConfigError: ``columns`` is below 1 or ``gap`` is negative.
        ShapeError: ``x`` is not a batch of at least one image.
    """
    _check_batch(x)
    if columns < 1 or gap < 0:
        raise ConfigError(f"A grid needs columns >= 1 and gap >= 0, got columns={columns} and gap={gap}.")
    count, channels, height, width = x.shape
    if count == 0:
        raise ShapeError("A grid needs at least one image, got a batch of none.")
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet_shape = (channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    sheet = np.full(sheet_shape, background, dtype=np.float32)
    for index, image in enumerate(x):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def enlarge(pixels: Pixels, scale: int) -> Pixels:
    """Draw each pixel as a square of ``scale * scale`` pixels.

    Args:
        pixels: Shape (N, H, W, C).
        scale: A whole number from 1.

    Returns:
        Shape (N, scale * H, scale * W, C).

    Raises:
        ConfigError: ``scale`` is below 1.
    """
    if scale < 1:
        raise ConfigError(f"scale={scale}: images are enlarged by a whole number; give 1 or more.")
    return pixels if scale == 1 else pixels.repeat(scale, axis=1).repeat(scale, axis=2)


def png_bytes(image: Images, *, scale: int = 1) -> bytes:
    """Encode one image as an 8-bit PNG without date or text: the same image gives the same bytes under one Pillow.

    Args:
        image: One image, shape (C, H, W), quantised by `to_uint8`.
        scale: Enlargement; see `enlarge`.

    Returns:
        The content of a PNG file.

    Raises:
        ConfigError: ``scale`` is below 1.
        ShapeError: ``image`` is not one grey or colour image, or holds NaN.
    """
    if image.ndim != 3:
        raise ShapeError(f"One image of shape (C, H, W) was expected, found {image.shape}.")
    encoded = io.BytesIO()
    _pillow(enlarge(to_uint8(image[np.newaxis]), scale)[0]).save(encoded, format="PNG")
    return encoded.getvalue()


def gif_bytes(frames: Images, *, fps: float, scale: int = 1) -> bytes:
    """Encode frames as a GIF that plays for ever, without date or text.

    Greys are exact. Of colours, each frame keeps up to 256 of its own exactly, and more are brought down to 256 by median cut,
    without dithering. Times are whole hundredths of a second, in which a frame begins nearest to its time ``i / fps``, so
    that rounding never adds up. Neighbours that are equal become one frame of their common time.

    Args:
        frames: Shape (N, C, H, W), N at least 1, quantised by `to_uint8`.
        fps: Frames a second, above 0 and up to 50: players slow down what is faster.
        scale: Enlargement; see `enlarge`.

    Returns:
        The content of a GIF file.

    Raises:
        ConfigError: ``fps`` or ``scale`` is out of range.
        ShapeError: ``frames`` is no batch of at least one grey or colour image, or holds NaN.
    """
    return _animation(frames, "GIF", tick=10, fps=fps, scale=scale)


def apng_bytes(frames: Images, *, fps: float, scale: int = 1) -> bytes:
    """Encode frames as an animated PNG that plays for ever: as `gif_bytes`, but every colour exact, times in milliseconds."""
    return _animation(frames, "PNG", tick=1, fps=fps, scale=scale)


MOST_FPS = 50
"""A GIF's shortest frame that players keep to is 0.02 s."""


def _animation(frames: Images, kind: str, *, tick: int, fps: float, scale: int) -> bytes:
    """Encode frames; ``tick`` is the format's unit of time in milliseconds."""
    if not 0 < fps <= MOST_FPS:
        raise ConfigError(f"fps={fps:g}: give a number of frames a second above 0 and up to {MOST_FPS}.")
    pixels = enlarge(to_uint8(frames), scale)
    if len(pixels) == 0:
        raise ShapeError("An animation needs at least one frame, got a batch of none.")
    begins = np.rint(np.arange(len(pixels) + 1) * (1000 / tick / fps)).astype(int)
    first, *others = [indexed(frame) if kind == "GIF" else _pillow(frame) for frame in pixels]
    encoded = io.BytesIO()
    times = (np.diff(begins) * tick).tolist()
    first.save(encoded, format=kind, save_all=True, append_images=others, duration=times, loop=0)
    return encoded.getvalue()


def indexed(pixels: Pixels) -> Image.Image:
    """Give one image (H, W, C) as at most 256 colours: greys and up to 256 colours exactly, more by median cut."""
    from PIL import Image

    image = _pillow(pixels)
    if pixels.shape[-1] == 1:
        return image
    return image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def _pillow(pixels: Pixels) -> Image.Image:
    """One image (H, W, C), grey or colour."""
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def save_png(path: str | os.PathLike[str], image: Images, *, overwrite: bool = False) -> None:
    """Write one image as an 8-bit PNG, whole or not at all.

    Args:
        path: The file to write; its folder must exist.
        image: One image, shape (C, H, W), quantised by `to_uint8`.
        overwrite: Replace a file that is already there.

    Raises:
        OutputError: The target exists and ``overwrite`` is false, is a folder, or cannot be written.
        ShapeError: ``image`` is not one grey or colour image, or holds NaN.
    """
    write_file(Path(path), png_bytes(image), overwrite=overwrite)


def _check_batch(x: npt.NDArray[Any]) -> None:
    if x.ndim != 4 or x.shape[1] not in (1, 3) or min(x.shape[1:]) < 1:
        raise ShapeError(f"Images must have shape (N, C, H, W) with C 1 or 3, found {x.shape}.")
    if not np.issubdtype(x.dtype, np.floating):
        raise ShapeError(f"Images must be floats in [0, 1], found {x.dtype}; from_uint8 converts 8-bit pixels.")
