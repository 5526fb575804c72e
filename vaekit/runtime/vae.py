"""VAE: both halves of a bundle as one model; `load`, and the terms of the negative ELBO.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vaekit.bundle import Bundle
from vaekit.elbo import kl_divergence, reconstruction_loss
from vaekit.errors import ConfigError, ShapeError
from vaekit.latents import Latents, Posterior, interpolate, prior
from vaekit.manifest import Manifest
from vaekit.runtime.session import BATCH, BundleLike, Decoder, Encoder, Given, Items, open_again
from vaekit.spec import ModelSpec
from vaekit.value import Value, is_whole

if TYPE_CHECKING:
    from typing import Protocol

    from numpy.typing import NDArray

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
        ConfigError: An option has no meaning, such as ``threads=0``, or `path` is nothing that a bundle is opened from.
        ProviderError: The provider is not there or does not load.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    return VAE(path, provider=provider, precision=precision, threads=threads, tf32=tf32, format=format, io=io)


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
        return open_again, (type(self), self.bundle, self.decoder._arguments)

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
            ShapeError: The items do not fit the model, or its arithmetic overflows for one.
            ConfigError: The seed is no whole number of 0 to 2^64 - 1.
        """
        return self.decode(_finite_codes(self.encode(x), x, seed=seed))

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
            ShapeError: The ends do not fit the model, or its arithmetic overflows for one, or they are not one item each.
            ConfigError: Fewer than two steps, or an unknown path.
        """
        item = self.spec.data.shape
        a, b = (x[None] if getattr(x, "ndim", 0) == len(item) else x for x in (a, b))
        first, last = (_finite_codes(self.encode(x), x, name=name) for name, x in (("a", a), ("b", b)))
        if len(first) != 1 or len(last) != 1:
            raise ShapeError(f"morph takes two single items, but got {len(first)} and {len(last)}.")
        return self.decode(interpolate(first, last, steps=steps, path=path))

    def score(self, x: Items, *, seed: int | None = None, start: int = 0) -> NDArray[np.float64]:
        """Say how unusual each item is: its negative ELBO, ``-log p(x | z) + KL``, as one batch.

        With z at the posterior's mean this is the score of `vaekit score` and of the bundle's threshold
        (``manifest.scores.threshold(0.99)``): no noise, so it depends on the item alone, but for the last bits, which ONNX
        Runtime may give otherwise in another batch. An autoencoder's is the reconstruction loss alone.

        Args:
            x: Items, shape (N, *data shape), float32.
            seed: None takes z at the posterior's mean; a seed draws z from the posterior, one code an item.
            start: Sample index of the first item, with a seed, so that batches of one data set line up.

        Returns:
            Nats, shape (N,), float64. Infinite where values are so far from all that the model knows that its arithmetic
            overflows.

        Raises:
            ShapeError: The items do not fit the model.
            ConfigError: The model was opened with ``io="uint8"``: rounded to grey levels, the means give another number. Or the
                seed is no whole number of 0 to 2^64 - 1.
        """
        _needs_means(self)
        posterior = self.encode(x)
        with np.errstate(over="ignore", invalid="ignore"):
            z = _codes(posterior, seed, start)
            finite = np.asarray(np.isfinite(z).all(axis=1))
            terms = _terms(self, x, posterior, np.where(finite[:, None], z, np.float32(0)))
            nats = terms.reconstruction + terms.kl.sum(axis=1)
        return np.where(finite & np.isfinite(nats), nats, np.inf)


class Terms(Value):
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
        ShapeError: The items do not fit the model, or its arithmetic overflows for one.
    """
    _needs_means(model)
    posterior = model.encode(x)
    return _terms(model, x, posterior, _finite_codes(posterior, x, seed=seed, start=start))


def _needs_means(model: Halves) -> None:
    if getattr(model, "io", "float32") != "float32":
        raise ConfigError(
            "the ELBO needs the decoder's means, which io='uint8' has rounded to grey levels; load the model without io, "
            "and give it float32 items."
        )


def _terms(model: Halves, x: Items, posterior: Posterior, z: Latents) -> Terms:
    """Both terms of the negative ELBO, of these codes."""
    spec = model.spec
    x_hat = model.decode(z)
    reconstruction = reconstruction_loss(x, x_hat, spec.likelihood, scale=spec.scale, units=spec.data.units)
    is_vae = spec.kind == "vae"
    kl = kl_divergence(posterior.mean, posterior.log_var) if is_vae else np.zeros(posterior.mean.shape)
    return Terms(posterior, z, x_hat, reconstruction, kl)


def _codes(posterior: Posterior, seed: int | None, start: int = 0) -> Latents:
    """The means, or with a seed a sample of each posterior."""
    return posterior.mean if seed is None else posterior.sample(seed=seed, start=start)


def _finite_codes(
    posterior: Posterior, x: Given, *, seed: int | None = None, start: int = 0, name: str = "x"
) -> Latents:
    """Codes that the decoder takes.

    Raises:
        ShapeError: A code is not finite; it names the items that were given, which are why.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        z = _codes(posterior, seed, start)
    if not np.isfinite(z).all():
        item = int(np.argmin(np.isfinite(z).all(axis=1)))
        raise ShapeError(
            f"item {item} of {name} has values from {x[item].min():g} to {x[item].max():g}, so far from the training data that "
            "the encoder's arithmetic overflows; give values in the units of the training data, or leave the item out."
        )
    return z


def _batches(count: int, batch_size: int) -> Iterator[slice]:
    if not is_whole(batch_size) or batch_size < 1:
        raise ConfigError(f"batch_size={batch_size!r}: give 1 or more.")
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))
