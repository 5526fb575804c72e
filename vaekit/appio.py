"""uint8 pixels in and out: what a bundle states about its app-ready graphs, and the two formulas that they have inside.

A camera, a canvas and an image decoder give pixels u of 0 to 255; a model takes values x of the data's range [low, high].

    in     x = low + (high - low) * u / 255
    out    u = rint(255 * clip((x - low) / (high - low), 0, 1))        halves to the even neighbour

The app-ready graphs have these inside, and the layout that pixels come in. They stand beside the plain graphs, which stay what
they are. This module has the formulas in NumPy, which the graphs are held against. It is imported only where a bundle has such
graphs.

Shapes: N items, C channels, H rows, W columns.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit import fields
from vaekit.errors import BundleError, ConfigError, IntegrityError
from vaekit.fields import Json
from vaekit.graphinfo import FileInfo, GraphInfo
from vaekit.spec import DataSpec

LAYOUTS: Final = ("nhwc", "nchw")
"""How pixels may lie: channels innermost, as image decoders, canvases and cameras give them, or channel after channel."""

LEVELS: Final = 1
"""Most grey levels between an app-ready graph's pixel and the plain graph's value, rounded: where that stands between two."""


class PixelPair(NamedTuple):
    """Both app-ready graphs of one precision, and how near they are to its plain ones.

    Attributes:
        encoder: Pixels -> mean, log_var.
        decoder: z -> pixels.
        error: Largest absolute difference of mean and log_var from the plain encoder's, on test items.
        compared: Pixel values that were compared with the plain decoder's, rounded.
        levels: Largest difference among them, in grey levels.
        differing: How many differ at all.
    """

    encoder: GraphInfo
    decoder: GraphInfo
    error: float = 0.0
    compared: int = 0
    levels: int = 0
    differing: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types."""
        return {**self._asdict(), "encoder": self.encoder.to_json(), "decoder": self.decoder.to_json()}

    @classmethod
    def from_json(cls, value: Json) -> PixelPair:
        """Read the fields."""
        return cls(
            GraphInfo.from_json(fields.mapped(value, "encoder")),
            GraphInfo.from_json(fields.mapped(value, "decoder")),
            fields.number(value["error"], "error"),
            *(fields.whole(value, name) for name in ("compared", "levels", "differing")),
        )


class PixelIO(NamedTuple):
    """The app-ready graphs of a bundle.

    Attributes:
        layout: "nhwc" or "nchw".
        golden: Golden vectors with pixels for `x` and `x_hat`; as many items as the plain ones have, of the same seed.
        precisions: The graphs by precision.
    """

    layout: str
    golden: FileInfo
    precisions: Mapping[str, PixelPair]

    def files(self) -> Iterator[FileInfo]:
        """Every file; all of them are among the manifest's extra files too."""
        for pair in self.precisions.values():
            yield from pair.encoder.files()
            yield from pair.decoder.files()
        yield self.golden

    def graph(self, half: str, precision: str) -> GraphInfo:
        """The graph of one half in one precision.

        Raises:
            BundleError: There is none in this precision.
        """
        if precision not in self.precisions:
            raise BundleError(
                f"io='uint8' was asked for in precision={precision!r}, but the bundle has such graphs in "
                f"{', '.join(self.precisions)} alone; choose one of these, or export it again with --io uint8."
            )
        pair = self.precisions[precision]
        return pair.encoder if half == "encoder" else pair.decoder

    def check(self, plain: Iterable[str], extra_files: Iterable[FileInfo]) -> None:
        """Hold it to the rest of the manifest: it stands beside plain graphs, in files that older readers hash too.

        Raises:
            BundleError: There is none of fp32, or one of a precision that has no plain graphs.
            IntegrityError: A file is not among the extra files, or stated differently there.
        """
        plain = list(plain)
        if "fp32" not in self.precisions or not set(self.precisions) <= set(plain):
            raise BundleError(
                f"the manifest states uint8 graphs of {', '.join(self.precisions) or 'no precision'}, but they must be of "
                f"fp32 and others of {', '.join(plain)}; export the model again."
            )
        if not set(self.files()) <= set(extra_files):
            raise IntegrityError(
                "the manifest's uint8 files are not all among its extra_files; export the model again."
            )

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types."""
        return {
            "layout": self.layout,
            "golden": self.golden.to_json(),
            "precisions": {name: pair.to_json() for name, pair in self.precisions.items()},
        }

    @classmethod
    def from_json(cls, value: Json) -> PixelIO:
        """Read the fields."""
        pairs = fields.mapped(value, "precisions")
        return cls(
            known_layout(fields.text(value, "layout")),
            FileInfo.from_json(fields.mapped(value, "golden")),
            {name: PixelPair.from_json(fields.typed(pair, dict, name)) for name, pair in pairs.items()},
        )


def known_layout(layout: str) -> str:
    """Give a layout back.

    Raises:
        ConfigError: It is none of `LAYOUTS`.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout={layout!r} is unknown; choose one of {', '.join(LAYOUTS)}.")
    return layout


def pixel_shape(data: DataSpec, layout: str) -> tuple[int, ...]:
    """Shape of one item's pixels: (H, W, C) or (C, H, W).

    Raises:
        ConfigError: Items are no images, or have no bounds between which grey levels could be.
    """
    if not data.is_image:
        raise ConfigError(
            f"io='uint8' is for grey or colour images, but an item is {data.layout} {' x '.join(map(str, data.shape))}; "
            "leave it out."
        )
    if data.range is None:
        raise ConfigError(
            "io='uint8' needs values between two bounds, which 0 and 255 stand for, but these have none; leave it out."
        )
    channels, *sides = data.shape
    return (*sides, channels) if layout == "nhwc" else data.shape


def from_pixels(u: NDArray[np.uint8], data: DataSpec, layout: str) -> NDArray[np.float32]:
    """Give the values that pixels stand for: ``x = low + (high - low) * u / 255``, in float32, as the graphs do.

    Args:
        u: Pixels, (N, H, W, C) or (N, C, H, W), uint8.
        data: Shape and range.
        layout: "nhwc" or "nchw".

    Returns:
        Items, (N, C, H, W), float32, within the range: for [0, 1] what the readers of data sets give, bit for bit.
    """
    return scaled(np.ascontiguousarray(u.transpose(0, 3, 1, 2) if layout == "nhwc" else u), data)


def to_pixels(x: NDArray[np.float32], data: DataSpec, layout: str) -> NDArray[np.uint8]:
    """Round values to pixels: ``u = rint(255 * clip((x - low) / (high - low), 0, 1))``, halves to the even neighbour.

    Args:
        x: Items, (N, C, H, W), float32.
        data: Shape and range.
        layout: "nhwc" or "nchw".

    Returns:
        Pixels, (N, H, W, C) or (N, C, H, W), uint8; for [0, 1] those of `vaekit.images.to_uint8`.

    Raises:
        ShapeError: A value is NaN.
    """
    from vaekit.images import to_uint8  # here, since a start-up reads what is stated, and rounds nothing

    low, high = (float(bound) for bound in bounds(data))
    pixels = to_uint8((x.astype(np.float64) - low) / (high - low))
    return pixels if layout == "nhwc" else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def scaled(u: NDArray[np.uint8], data: DataSpec) -> NDArray[np.float32]:
    """Give the values that levels of any shape stand for, computed in float32 in the order in which the graphs do."""
    x: NDArray[np.float32] = np.divide(u, np.float32(255), dtype=np.float32)
    if not is_unit(data):
        low, high = bounds(data)
        x = np.clip(x * (high - low) + low, low, high)  # rounding may lead a step beyond the bounds
    return x


def is_unit(data: DataSpec) -> bool:
    """Whether the range is [0, 1], where u / 255 is all that there is to do."""
    return data.range == (0.0, 1.0)


def bounds(data: DataSpec) -> tuple[np.float32, np.float32]:
    """What 0 and 255 stand for, in float32."""
    assert data.range is not None
    return np.float32(data.range[0]), np.float32(data.range[1])
