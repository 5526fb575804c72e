"""One image file, of whatever size and colours, as a batch that fits a model.

Many files of a data set are read in `vaekit.datasets`, to the frame that a model will be trained on.

Shapes: C channels, H rows, W columns of the model; h rows, w columns of the file.

Needs: NumPy; Pillow inside functions. Must not import: torch, onnx, onnxruntime, rich.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaekit.errors import DataError, ShapeError
from vaekit.images import Images

if TYPE_CHECKING:
    from PIL import Image

# What load_image opens. A short list on purpose: some of Pillow's other readers start programs (EPS runs Ghostscript).
READABLE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def load_image(path: str | os.PathLike[str], *, shape: tuple[int, ...]) -> Images:
    """Read an image file as a batch of one that fits a model.

    The stored EXIF rotation is applied, transparency is laid over black, colours become grey by ITU-R 601 luma
    ``0.299 R + 0.587 G + 0.114 B`` where one channel is asked for. An image of another size is scaled with its aspect
    ratio kept, ``s = min(H / h, W / w)``, by a Lanczos filter after whole-pixel averaging of large ones, and centred
    on black. Of an animation, the first frame counts.

    Args:
        path: A BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file; 16-bit greys keep their precision.
        shape: The model's (C, H, W), C = 1 or 3.

    Returns:
        Images, shape (1, C, H, W), float32, in [0, 1].

    Raises:
        DataError: The file is missing, is no image, is damaged, has too many pixels or pixels of an unknown range.
        ShapeError: ``shape`` is not the shape of a grey or colour image.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise ShapeError(f"An image can be read for shape (C, H, W) with C 1 or 3, not for {tuple(shape)}.")
    source = Path(path)
    try:
        with warnings.catch_warnings(), source.open("rb") as file:
            warnings.simplefilter("ignore")  # remarks on odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=READABLE_FORMATS) as image:
                frame = _flatten(ImageOps.exif_transpose(image), grey=shape[0] == 1)
    except UnidentifiedImageError as error:
        raise DataError(f"{source} is no image known here; give one of {', '.join(READABLE_FORMATS)}.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = Image.MAX_IMAGE_PIXELS
        raise DataError(f"{source} has more than {limit} pixels; give a smaller image.") from error
    except Exception as error:  # Pillow's decoders let nearly any exception out of a damaged file
        raise DataError(f"Cannot read the image {source}: {reason_of(error)}.") from error
    return _fit(frame, shape)


def reason_of(error: Exception) -> str:
    """What the system or one of Pillow's decoders says of a file, as one line without a full stop."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return " ".join(reason.split()).rstrip(".")


def _flatten(image: Image.Image, *, grey: bool) -> Image.Image:
    """Bring any Pillow image to mode L, RGB or F (16-bit greys), without transparency, on the scale 0 to 255."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are floating point, of unknown range; convert it to 8 or 16 bits")
    if image.mode.startswith("I"):  # "I;16" and its kin; "I" where Pillow widens, as for PGM files
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("its pixels go beyond 16 bits; convert it to 8 or 16 bits")
        scaled = levels.astype(np.float32) / np.float32(257)  # 65535 / 255
        transparent = image.info.get("transparency")
        if isinstance(transparent, int):
            scaled[levels == transparent] = 0.0
        return Image.fromarray(scaled)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image.convert("L" if grey else "RGB")


def _fit(frame: Image.Image, shape: tuple[int, ...]) -> Images:
    """Scale a flattened frame into (H, W), aspect ratio kept, and centre it on black: (1, C, H, W)."""
    from PIL import Image

    _, height, width = shape
    if frame.size != (width, height):
        if frame.width * height >= frame.height * width:  # the width is what limits
            size = (width, max(1, round(frame.height * width / frame.width)))
        else:
            size = (max(1, round(frame.width * height / frame.height)), height)
        frame = frame.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    values = np.asarray(frame, dtype=np.float32) / np.float32(255)
    top, left = (height - frame.height) // 2, (width - frame.width) // 2
    canvas = np.zeros((1, *shape), dtype=np.float32)
    # A grey frame spreads over all channels; the clip takes back what Lanczos overshoots in float.
    canvas[0, :, top : top + frame.height, left : left + frame.width] = np.clip(
        np.atleast_3d(values).transpose(2, 0, 1), 0.0, 1.0
    )
    return canvas
