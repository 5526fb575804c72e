"""Encoder, Decoder and VAE: a bundle's graphs as functions on NumPy arrays.

All three are safe to use from many threads at once. Which session runs a call, and on how many threads, is decided by
`vaekit.runtime.scheduling`. Pickled, each opens its bundle again where it arrives: a session cannot travel.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from vaekit.bundle import Bundle
from vaekit.elbo import kl_divergence, reconstruction_loss
from vaekit.errors import BundleError, ConfigError, ShapeError
from vaekit.graphinfo import GraphInfo
from vaekit.latents import Latents, Posterior, interpolate, prior
from vaekit.manifest import Manifest
from vaekit.places import BundleSource
from vaekit.runtime.providers import Opened, Options, open_session
from vaekit.runtime.scheduling import Scheduler, shape_of
from vaekit.spec import ModelSpec

if TYPE_CHECKING:
    from typing import Protocol

    from vaekit.runtime.bound import BoundDecoder, BoundEncoder

    AnyBound = TypeVar("AnyBound", BoundDecoder, BoundEncoder)

    class Halves(Protocol):
        """Both halves of a model: a `VAE`, or whatever computes the same."""

        @property
        def spec(self) -> ModelSpec:
            """What the model is."""
            ...

        @property
        def encode(self) -> Callable[[Items], Posterior]:
            """Items -> posterior."""
            ...

        @property
        def decode(self) -> Callable[[Latents], Items]:
            """Codes -> the decoder's means."""
            ...


BundleLike: TypeAlias = Bundle | BundleSource | None
AnyModel = TypeVar("AnyModel")
Items: TypeAlias = NDArray[np.float32]
"""Items in the data's shape, (N, ...) float32; with ``io="uint8"``, pixels in the bundle's layout, uint8."""

Given: TypeAlias = NDArray[np.float32] | NDArray[np.uint8]
"""Items as they may be given: float32, or uint8 pixels where the model was opened with ``io="uint8"``."""

BATCH = 256
"""Items a call, where a method decides: large enough to fill the cores, small enough to stay in their caches."""


def load(
    path: BundleLike = None,
    *,
    provider: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    tf32: bool = False,
    format: str = "onnx",  # noqa: A002
    io: str = "float32",
) -> VAE:
    """Open a bundle, check every file in it, and make it ready to run.

    Args:
        path: The bundle's folder; a `.vaekit` file, its bytes, or a file object that gives them; None loads the built-in
            MNIST model.
        provider: "auto", "cpu", "cuda" or another of ONNX Runtime's providers; only "auto" may fall back to the CPU.
        precision: One of the bundle's precisions.
        threads: Threads that one call may use; None takes every core that this process may use. On the CPU a call of few items
            runs on all of them, and they spin between calls: on a machine with other work to do, ``threads=1`` is quicker and
            leaves it the cores. Large batches are cut into slices, one thread each. Callers that come at once, from several
            threads of the program, get a thread each. Numbers depend on none of this; see `vaekit.runtime.scheduling`.
        tf32: Let CUDA use TF32, which is faster and differs near 1e-3.
        format: "onnx", or "ort": ONNX Runtime's own format, where the bundle has it. Its content is held to its hash and its
            inputs and outputs; whether there is a random operator in it, nobody but its maker knows.
        io: "float32", or "uint8" for the app-ready graphs, where the bundle has them: items are then raw pixels of 0 to 255, in
            the layout that the manifest states, wherever they go in or come out.

    Returns:
        The model.

    Raises:
        BundleError: The bundle is missing, changed, unsafe, or of an unknown version.
        ProviderError: The provider is not there or does not load.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    return VAE(path, provider=provider, precision=precision, threads=threads, tf32=tf32, format=format, io=io)


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
        return _open_again, (type(self), self._bundle, self._arguments)

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


class VAE:
    """Both halves of a model, and what one does with them.

    Attributes:
        bundle: The checked bundle that it came from.
        encoder: The encoder graph.
        decoder: The decoder graph.
    """

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
        if not isinstance(bundle, Bundle):
            bundle = Bundle.open(bundle, keep=[(half, precision, format, io) for half in ("encoder", "decoder")])
        self.bundle = bundle
        self.tf32 = tf32
        arguments: dict[str, Any] = {"provider": provider, "precision": precision, "threads": threads}
        arguments |= {"tf32": tf32, "format": format, "io": io}
        self.encoder = Encoder(bundle, **arguments)
        self.decoder = Decoder(bundle, **arguments)

    def __reduce__(self) -> tuple[Callable[..., VAE], tuple[Any, ...]]:
        return _open_again, (type(self), self.bundle, self.decoder._arguments)

    def __repr__(self) -> str:
        return f"VAE({self.manifest.name!r}, provider={self.provider!r}, precision={self.precision!r})"

    @property
    def manifest(self) -> Manifest:
        """What the bundle states about itself."""
        return self.bundle.manifest

    @property
    def spec(self) -> ModelSpec:
        """What the model is: data, latent size, likelihood, kind."""
        return self.manifest.spec

    @property
    def provider(self) -> str:
        """Short name of the execution provider in use."""
        return self.decoder.provider

    @property
    def precision(self) -> str:
        """The graphs' precision."""
        return self.decoder.precision

    @property
    def io(self) -> str:
        """What items are: "float32" values, or "uint8" pixels."""
        return self.decoder.io

    def encode(self, x: Given) -> Posterior:
        """Give the posterior of each item; see `Encoder.encode`."""
        return self.encoder.encode(x)

    def decode(self, z: Latents) -> Items:
        """Give the decoder's mean for each code; see `Decoder.decode`."""
        return self.decoder.decode(z)

    def prior(self, count: int, *, seed: int = 0, start: int = 0) -> Latents:
        """Draw codes to generate from.

        A VAE's prior is N(0, I). A classic autoencoder has no prior; its codes come from the diagonal normal that was
        fitted to the codes of its training data (the manifest's latent statistics).

        Args:
            count: Number of codes, N.
            seed: Seed of the portable noise.
            start: Sample index of the first code.

        Returns:
            Codes, shape (N, D), float32.

        Raises:
            ConfigError: An argument is outside what the noise takes.
        """
        z = prior(count, self.spec.latent, seed=seed, start=start)
        if self.spec.kind == "ae":
            statistics = self.manifest.statistics
            z = (np.asarray(statistics.mean) + np.asarray(statistics.std) * z).astype(np.float32)
        return z

    def sample(self, count: int, *, seed: int = 0, start: int = 0, batch_size: int = BATCH) -> Items:
        """Generate items: draw codes, decode them.

        Item i depends on (seed, start + i) alone, never on the batch.

        Args:
            count: Number of items, N.
            seed: Seed of the portable noise.
            start: Sample index of the first item.
            batch_size: Codes a call of the decoder.

        Returns:
            The decoder's means, shape (N, *data shape), float32.

        Raises:
            ConfigError: An argument is outside what the noise takes, or the batch size is below 1.
        """
        z = self.prior(count, seed=seed, start=start)
        x = self.decoder._empty(count)
        for rows in _batches(count, batch_size):
            x[rows] = self.decode(z[rows])
        return x

    def reconstruct(self, x: Given, *, seed: int | None = None) -> Items:
        """Encode and decode items.

        Args:
            x: Items, shape (N, *data shape), float32.
            seed: None decodes the posterior's mean; a seed decodes a sample of the posterior.

        Returns:
            The decoder's means, same shape.

        Raises:
            ShapeError: The items do not fit the model.
        """
        posterior = self.encode(x)
        return self.decode(posterior.mean if seed is None else posterior.sample(seed=seed))

    def morph(self, a: Given, b: Given, *, steps: int = 9, path: Literal["linear", "spherical"] = "linear") -> Items:
        """Turn one item into another along a path between their posterior means.

        Args:
            a: First item, shape (*data shape) or (1, *data shape), float32.
            b: Last item, same.
            steps: Number of items along the way, the reconstructions of both ends included.
            path: "linear" or "spherical"; see `vaekit.interpolate`.

        Returns:
            The decoder's means, shape (steps, *data shape), float32.

        Raises:
            ShapeError: The ends do not fit the model, or are not one item each.
            ConfigError: Fewer than two steps, or an unknown path.
        """
        item = self.spec.data.shape
        first, last = (self.encode(x[None] if getattr(x, "ndim", 0) == len(item) else x).mean for x in (a, b))
        if len(first) != 1 or len(last) != 1:
            raise ShapeError(f"morph takes two single items, but got {len(first)} and {len(last)}.")
        return self.decode(interpolate(first, last, steps=steps, path=path))

    def score(self, x: Items, *, seed: int = 0, start: int = 0) -> NDArray[np.float64]:
        """Say how unusual each item is: its negative ELBO, with one sample of the posterior.

        ``reconstruction + KL``; for an autoencoder the reconstruction alone.

        Args:
            x: Items, shape (N, *data shape), float32.
            seed: Seed of the posterior's samples.
            start: Sample index of the first item, so that batches of one data set line up.

        Returns:
            Nats, shape (N,), float64.

        Raises:
            ShapeError: The items do not fit the model.
            ConfigError: The model was opened with ``io="uint8"``: rounded to grey levels, the means give another number.
        """
        terms = negative_elbo_terms(self, x, seed=seed, start=start)
        return np.asarray(terms.reconstruction + terms.kl.sum(axis=1))


def _open_again(kind: Callable[..., AnyModel], bundle: Bundle, arguments: Mapping[str, Any]) -> AnyModel:
    """What a pickle calls where it arrives, once the bundle was opened and checked anew."""
    return kind(bundle, **arguments)


class Terms(NamedTuple):
    """What a model makes of some items, with one code an item.

    Attributes:
        posterior: Their posteriors, (N, D).
        z: A code drawn from each, (N, D).
        x_hat: The decoder's means for these codes, (N, *data shape).
        reconstruction: Reconstruction loss, nats, (N,).
        kl: KL from the posterior to the prior, nats, (N, D); 0 for an autoencoder, whose objective has none.
    """

    posterior: Posterior
    z: Latents
    x_hat: Items
    reconstruction: NDArray[np.float64]
    kl: NDArray[np.float64]


def negative_elbo_terms(model: Halves, x: Items, *, seed: int, start: int) -> Terms:
    """Encode, draw one code an item, decode, and measure both terms of the negative ELBO.

    Args:
        model: The model.
        x: Items, shape (N, *data shape), float32.
        seed: Seed of the posterior's samples.
        start: Sample index of the first item.

    Raises:
        ShapeError: The items do not fit the model.
    """
    spec = model.spec
    if getattr(model, "io", "float32") != "float32":
        raise ConfigError(
            "the ELBO needs the decoder's means, which io='uint8' has rounded to grey levels; load the model without io, "
            "and give it float32 items."
        )
    posterior = model.encode(x)
    z = posterior.sample(seed=seed, start=start)
    x_hat = model.decode(z)
    reconstruction = reconstruction_loss(x, x_hat, spec.likelihood, scale=spec.scale, units=spec.data.units)
    is_vae = spec.kind == "vae"
    kl = kl_divergence(posterior.mean, posterior.log_var) if is_vae else np.zeros(posterior.mean.shape)
    return Terms(posterior, z, x_hat, reconstruction, kl)


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


def _batches(count: int, batch_size: int) -> Iterator[slice]:
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: give 1 or more.")
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))
