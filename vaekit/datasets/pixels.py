"""One PNG, JPEG or WebP file to 8-bit pixels of a stated size and number of channels.

Where `vaekit.imagefile.load_image` fits one picture into a model's frame, this brings many to the frame that a model will be
trained on: cut to a square around the middle rather than set on black, and laid over a background of the user's choice.

Shapes: C channels, H rows, W columns.

Needs: NumPy; Pillow inside functions. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import DataError
from vaekit.imagefile import reason_of

if TYPE_CHECKING:
    from PIL import Image

FORMATS: Final = ("PNG", "JPEG", "WEBP")

GREY_MODES: Final = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")

ORIENTATION: Final = 0x0112
"""EXIF's tag; 5 to 8 turn the image by a quarter."""


class Probe(NamedTuple):
    """What a look at a file's bytes and image header tells.

    Attributes:
        bytes: The file's length.
        sha256: Of its content.
        size: (W, H) as the image is to be shown, or None where it cannot be read.
        grey: Whether it has no colour, also once it is laid over the background.
        reason: Why it cannot be read, or "".
    """

    bytes: int
    sha256: str
    size: tuple[int, int] | None
    grey: bool
    reason: str


def probe(path: Path, background: tuple[int, int, int]) -> Probe:
    """Hash a file and read its image header, without decoding its pixels. What is wrong with it is part of the answer."""
    content = b""
    try:
        with _opened(path) as (content, image):
            width, height = image.size
            # Of a PNG, Pillow would decode the pixels to find an orientation behind them.
            if image.format != "PNG" and image.getexif().get(ORIENTATION, 1) >= 5:
                width, height = height, width
            plain = len(set(background)) == 1 or not image.has_transparency_data
            grey = image.mode in GREY_MODES and plain
            return Probe(len(content), hashlib.sha256(content).hexdigest(), (width, height), grey, "")
    except DataError as error:
        return Probe(len(content), hashlib.sha256(content).hexdigest(), None, True, str(error))


def read_pixels(path: Path, *, size: int | None, background: tuple[int, int, int], channels: int) -> NDArray[np.uint8]:
    """Decode one image file.

    In this order: the EXIF orientation is applied; 16-bit greys are scaled, ``round(v / 257)``; palettes, CMYK and the like
    become red, green, blue; what is transparent is laid over the background; the largest square around the middle is
    scaled to `size` by a Lanczos filter; colours become grey by ITU-R 601 luma where one channel is wanted. Of an
    animation, the first frame counts.

    Args:
        path: A PNG, JPEG or WebP file.
        size: H and W in pixels, or None to keep the image's own.
        background: Red, green, blue, each 0 to 255.
        channels: 1 or 3.

    Returns:
        (C, H, W) uint8.

    Raises:
        DataError: The file cannot be read, is no image of these formats, is damaged, or has more pixels than Pillow's limit.
    """
    from PIL import Image, ImageOps

    with _opened(path) as (_, image):
        if size is not None:
            image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size
        frame = _flatten(ImageOps.exif_transpose(image), background)
        if size is not None and frame.size != (size, size):
            side = min(frame.size)
            left, top = (frame.width - side) // 2, (frame.height - side) // 2
            # Cut first: resize(box=...) would let its filter reach over the box's edge.
            square = frame.crop((left, top, left + side, top + side))
            frame = square.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
        values = np.asarray(frame.convert("L" if channels == 1 else "RGB"))
    return np.ascontiguousarray(np.atleast_3d(values).transpose(2, 0, 1))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[bytes, Image.Image]]:
    """Read a file and open it as an image; everything that goes wrong inside becomes one DataError."""
    from PIL import Image, UnidentifiedImageError

    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise DataError(f"{image.width:,} x {image.height:,} pixels, over the limit of {limit:,}")
            yield content, image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError("no PNG, JPEG or WebP image") from error
    except Exception as error:  # Pillow's decoders let nearly any exception out of a damaged file
        raise DataError(reason_of(error)) from error


def _flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Bring an image of any mode to L or RGB without transparency."""
    from PIL import Image

    if image.mode == "F":
        raise DataError("floating-point pixels, of unknown range")
    transparent: Image.Image | None = None
    if image.mode.startswith("I"):  # 16-bit greys; "I" where Pillow widens them
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise DataError("pixels beyond 16 bits")
        clear = image.info.get("transparency")
        image = Image.fromarray(np.rint(levels / 257).astype(np.uint8))  # 65535 / 255
        if isinstance(clear, int):
            transparent = Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        transparent = image.convert("RGBA").getchannel("A")
        image = image.convert("RGBA").convert("RGB") if image.mode not in ("L", "LA") else image.convert("L")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode in GREY_MODES else "RGB")
    if transparent is None:
        return image
    over = Image.new("RGB", image.size, background)
    over.paste(image.convert("RGB"), mask=transparent)
    return over
