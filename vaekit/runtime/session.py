"""Encoder and Decoder: a bundle's graphs as functions on NumPy arrays.

Both are safe to use from many threads at once. Which session runs a call, and on how many threads, is decided by
`vaekit.runtime.scheduling`. Pickled, each opens its bundle again where it arrives: a session cannot travel.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from vaekit.bundle import Bundle
from vaekit.errors import BundleError, ShapeError
from vaekit.graphinfo import GraphInfo
from vaekit.latents import Latents, Posterior
from vaekit.manifest import Manifest
from vaekit.places import BundleSource
from vaekit.runtime.providers import Opened, Options, open_session
from vaekit.runtime.scheduling import Scheduler, shape_of
from vaekit.spec import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vaekit.runtime.bound import BoundDecoder, BoundEncoder

    AnyBound = TypeVar("AnyBound", BoundDecoder, BoundEncoder)


BundleLike: TypeAlias = Bundle | BundleSource | None
AnyModel = TypeVar("AnyModel")
Items: TypeAlias = "NDArray[np.float32]"
"""Items in the data's shape, (N, ...) float32; with ``io="uint8"``, pixels in the bundle's layout, uint8."""

Given: TypeAlias = "NDArray[np.float32] | NDArray[np.uint8]"
"""Items as they may be given: float32, or uint8 pixels where the model was opened with ``io="uint8"``."""

BATCH = 256
"""Items a call, where a method decides: large enough to fill the cores, small enough to stay in their caches."""


class _Half:
    """One graph with the session that runs it."""

    half: str

    def __init__(
        self,
        bundle: BundleLike = None,
        *,
        provider: str = "auto",
        precision: str = "fp32",
        threads: int | None = None,
        tf32: bool = False,
        format: str = "onnx",  # noqa: A002
        io: str = "float32",
    ) -> None:
        options = Options(provider, threads, tf32)
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(bundle, keep=[(self.half, precision, format, io)])
        self._info = info = bundle.manifest.graph(self.half, precision, io)
        self._bundle = bundle
        self._arguments: dict[str, Any] = {
            "provider": provider,
            "precision": precision,
            "threads": threads,
            "tf32": tf32,
            "format": format,
            "io": io,
        }
        self.manifest: Manifest = bundle.manifest
        self.precision = precision
        self.format = format
        self.io = io
        self._code_shape = (bundle.manifest.spec.latent,)
        content = bundle.graph(self.half, precision, format, io)
        self._opened: Opened = open_session(content, options, name=info.stored(format).file)
        if format == "ort":
            _check_ports(self._opened.session, info)
        whole = bundle.manifest.precisions[precision].batch_dependent
        self._scheduler = Scheduler(self._opened, content, options, info, whole=whole)
        self._run = self._scheduler.run

    @property
    def spec(self) -> ModelSpec:
        """What the model is: data, latent size, likelihood, kind."""
        return self.manifest.spec

    @property
    def provider(self) -> str:
        """Short name of the execution provider in use: "cpu", "cuda", …."""
        return self._opened.provider

    @property
    def threads(self) -> int:
        """Threads that one call may use."""
        return self._opened.threads

    @property
    def session(self) -> Any:
        """The `onnxruntime.InferenceSession` underneath, the one with all threads."""
        return self._opened.session

    def _bind(
        self, kind: type[AnyBound], batch: int, check: Callable[[NDArray[Any]], None] | None, device: bool
    ) -> AnyBound:
        return kind(self._scheduler, self._opened, self._info, batch, check=check, device=device)

    def __reduce__(self) -> tuple[Callable[..., _Half], tuple[Any, ...]]:
        return open_again, (type(self), self._bundle, self._arguments)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.manifest.name!r}, provider={self.provider!r}, precision={self.precision!r})"
        )


class Encoder(_Half):
    """The encoder graph alone: ``x -> q(z|x)``. Its arguments are those of `load`."""

    half = "encoder"

    def encode(self, x: Given) -> Posterior:
        """Give the posterior of each item.

        Args:
            x: Items, shape (N, *data shape), float32, within the data's range; with ``io="uint8"`` pixels, in their layout.

        Returns:
            The posterior, with mean and log_var of shape (N, D); an autoencoder's log_var is minus infinity.

        Raises:
            ShapeError: Another shape or dtype, a NaN or infinity, or a value out of range.
        """
        self._check(x)
        if len(x) == 0:
            empty = np.empty((0, self.spec.latent), np.float32)
            return Posterior(empty, empty)
        results = self._run(x)
        if self.spec.kind == "ae":
            return Posterior(results[0], np.full_like(results[0], -np.inf))
        return Posterior(results[0], results[1])

    __call__ = encode

    def bind(self, batch: int, *, check: bool = False, device: bool = False) -> BoundEncoder:
        """Prepare a call for batches of one size that allocates nothing; see `vaekit.runtime.bound`.

        Args:
            batch: Items a call, N.
            check: Whether each call looks for a NaN, an infinity, or a value out of range in its input.
            device: Whether mean and log_var stay in the memory of the device, for CUDA.

        Returns:
            The call: fill its ``x``, (N, *data shape), call it, read the posterior, the same arrays each time.

        Raises:
            ConfigError: The batch is below 1 or does not fit into the memory, or `device` has no meaning here.
        """
        from vaekit.runtime.bound import BoundEncoder

        return self._bind(BoundEncoder, batch, self._check if check else None, device)

    def _check(self, x: Given) -> None:
        if self.io == "uint8":
            from vaekit.runtime.appio import check_pixels

            check_pixels(x, self.manifest)
            return
        data = self.spec.data
        _check(x, data.shape, "x")
        if data.range is not None and len(x) and (x.min() < data.range[0] or x.max() > data.range[1]):
            raise ShapeError(
                f"x has values from {x.min():g} to {x.max():g}, but the model takes {data.range[0]:g} to "
                f"{data.range[1]:g}; scale the items first (8-bit pixels: x / 255)."
            )


class Decoder(_Half):
    """The decoder graph alone: ``z -> x_hat``. Its arguments are those of `load`; this is what an app embeds."""

    half = "decoder"

    def decode(self, z: Latents) -> Items:
        """Give the decoder's mean for each code: probabilities for a Bernoulli model, values for a Gaussian one.

        Args:
            z: Latent codes, shape (N, D), float32.

        Returns:
            Items, shape (N, *data shape), float32; with ``io="uint8"`` pixels, in their layout.

        Raises:
            ShapeError: Another shape or dtype, or a NaN or infinity.
        """
        _check(z, self._code_shape, "z")
        return self._run(z)[0] if len(z) else self._empty(0)

    __call__ = decode

    def bind(self, batch: int, *, check: bool = False, device: bool = False) -> BoundDecoder:
        """Prepare a call for batches of one size that allocates nothing; see `vaekit.runtime.bound`.

        Args:
            batch: Codes a call, N.
            check: Whether each call looks for a NaN or an infinity in its input.
            device: Whether the items stay in the memory of the device, for CUDA.

        Returns:
            The call: fill its ``z``, (N, D), call it, read the items, the same array each time.

        Raises:
            ConfigError: The batch is below 1 or does not fit into the memory, or `device` has no meaning here.
        """
        from vaekit.runtime.bound import BoundDecoder

        return self._bind(BoundDecoder, batch, self._check if check else None, device)

    def _check(self, z: Latents) -> None:
        _check(z, self._code_shape, "z")

    def _empty(self, count: int) -> Items:
        """Room for so many items."""
        return np.empty(shape_of(self._info.outputs[0], count), self._info.outputs[0].dtype)


def open_again(kind: Callable[..., AnyModel], bundle: Bundle, arguments: Mapping[str, Any]) -> AnyModel:
    """What a pickle calls where it arrives, once the bundle was opened and checked anew."""
    return kind(bundle, **arguments)


_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}


def _check_ports(session: Any, info: GraphInfo) -> None:
    """Hold a session to the manifest: its graph came in a format that the guard does not read."""
    for stated, found in ((info.inputs, session.get_inputs()), (info.outputs, session.get_outputs())):
        wanted = [(port.name, port.shape, port.dtype) for port in stated]
        names = [(port.name, tuple(port.shape), _DTYPES.get(port.type, port.type)) for port in found]
        if names != wanted:
            raise BundleError(
                f"{info.stored('ort').file} is not the graph that the manifest describes: it has {names}, not {wanted}."
            )


def _check(array: NDArray[Any], shape: tuple[int, ...], name: str) -> None:
    """Refuse what the graph cannot take. Called once a batch-1 decode, so it must stay under a few microseconds."""
    # What fits passes here, with as few look-ups as can be. A sum of squares is finite only where every value is, and one pass
    # over them; it overflows for huge finite values, which the slower check below then accepts.
    if (
        type(array) is _ndarray
        and array.dtype is _FLOAT32
        and array.shape[1:] == shape
        and isfinite(_vdot(array, array))
    ):
        return
    if not isinstance(array, np.ndarray):
        raise ShapeError(f"{name} is a {type(array).__name__}; give a NumPy array, float32 of shape {_named(shape)}.")
    if array.shape[1:] != shape or array.ndim != len(shape) + 1:
        raise ShapeError(f"{name} has shape {array.shape}, but the model takes {_named(shape)}, N items at a time.")
    if array.dtype != np.float32:
        raise ShapeError(
            f"{name} has dtype {array.dtype}, but the model takes float32; convert with .astype(np.float32)."
        )
    if not np.isfinite(array).all():
        raise ShapeError(f"{name} holds a NaN or an infinity; the model takes finite numbers.")


_ndarray, _vdot, _FLOAT32 = np.ndarray, np.vdot, np.dtype(np.float32)


def _named(shape: tuple[int, ...]) -> str:
    return f"(N, {', '.join(map(str, shape))})"
