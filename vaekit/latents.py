"""Latent-space arithmetic, done outside the ONNX graphs.

The encoder graph ends at the posterior's parameters and the decoder graph starts at a latent code. Everything between
them lives here. Shapes: N items, D latent dimensions, all arrays (N, D) float32 unless a docstring says otherwise.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from vaekit.errors import ConfigError, ShapeError
from vaekit.noise import noise
from vaekit.value import is_whole

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Latents: TypeAlias = "NDArray[np.float32]"
"""Rows of latent codes or of posterior parameters, (N, D) float32."""


class Posterior(NamedTuple):
    """The approximate posterior q(z|x) of N items: independent normals in D dimensions.

    Attributes:
        mean: Means, (N, D) float32.
        log_var: Natural logs of the *variances*, (N, D) float32; minus infinity for a classic autoencoder, whose
            posterior is the single point ``mean``.
    """

    mean: Latents
    log_var: Latents

    @property
    def std(self) -> Latents:
        """Standard deviations, ``exp(log_var / 2)``, (N, D) float32."""
        return np.exp(self.log_var / 2).astype(np.float32)

    def sample(self, *, seed: int, start: int = 0) -> Latents:
        """Draw one latent code per item; see `reparameterise`."""
        return reparameterise(self.mean, self.log_var, seed=seed, start=start)


def reparameterise(mean: ArrayLike, log_var: ArrayLike, *, seed: int, start: int = 0) -> Latents:
    """Draw one latent code per row: ``z = mean + exp(log_var / 2) * eps``.

    Computed in float64 and rounded once, so that the last bit does not depend on a machine's float32 exponential.

    Args:
        mean: Posterior mean, shape (N, D).
        log_var: Natural log of the posterior *variance* (not the standard deviation), shape (N, D).
        seed: Seed of the portable noise; the same seed gives the same codes on every machine.
        start: Sample index of the first row, so that batches of one stream line up.

    Returns:
        Latent codes, shape (N, D), float32.

    Raises:
        ShapeError: ``mean`` and ``log_var`` differ in shape, or are no tables of rows.
        ConfigError: ``seed`` or ``start`` is outside what the noise takes.

    Source: Kingma & Welling 2014, section 2.4, arXiv:1312.6114.
    """
    mean, log_var = np.asarray(mean), np.asarray(log_var)
    if mean.ndim != 2 or mean.shape != log_var.shape:
        raise ShapeError(
            f"mean has shape {mean.shape} and log_var {log_var.shape}; give both as (N, D), one row an item."
        )
    eps = noise(seed=seed, count=mean.shape[0], dim=mean.shape[1], start=start)
    z = mean + np.exp(log_var.astype(np.float64) / 2) * eps
    return z.astype(np.float32)


def prior(count: int, dim: int, *, seed: int, start: int = 0) -> Latents:
    """Draw codes from the prior, ``z ~ N(0, I)``.

    Args:
        count: Number of codes, N.
        dim: Latent dimensions, D.
        seed: Seed of the portable noise.
        start: Sample index of the first row; row i depends on (seed, start + i) alone.

    Returns:
        Latent codes, shape (N, D), float32.

    Raises:
        ConfigError: An argument is outside what the noise takes.
    """
    return noise(seed=seed, count=count, dim=dim, start=start)


def interpolate(
    a: ArrayLike, b: ArrayLike, *, steps: int = 9, path: Literal["linear", "spherical"] = "linear"
) -> Latents:
    """Walk from one latent code to another, both ends included.

    With ``t`` from 0 to 1 in equal steps:

    - linear: ``z(t) = (1 - t) a + t b``
    - spherical: ``z(t) = (sin((1 - t) w) a + sin(t w) b) / sin(w)``, where ``w`` is the angle between a and b. It keeps
      the length that samples of the prior have in many dimensions; for (anti)parallel codes it is the linear path.

    Args:
        a: First code, shape (D,) or (1, D).
        b: Last code, same shape.
        steps: Number of codes, at least 2.
        path: "linear" or "spherical".

    Returns:
        Codes along the path, shape (steps, D), float32.

    Raises:
        ShapeError: The ends differ in shape, or are not one code each.
        ConfigError: Fewer than two steps, or an unknown path.

    Source: Shoemake 1985, "Animating rotation with quaternion curves", for the spherical path.
    """
    first, last = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != last.shape or first.ndim not in (1, 2) or (first.ndim == 2 and first.shape[0] != 1):
        raise ShapeError(
            f"the ends have shapes {first.shape} and {last.shape}; give two codes of shape (D,) or (1, D)."
        )
    if not is_whole(steps) or steps < 2:
        raise ConfigError(f"steps={steps!r}: a path has at least its two ends; give 2 or more.")
    first, last = first.reshape(-1), last.reshape(-1)
    t = np.linspace(0.0, 1.0, steps)[:, None]  # (steps, 1)
    if path == "linear":
        z = (1 - t) * first + t * last
    elif path == "spherical":
        lengths = np.linalg.norm(first) * np.linalg.norm(last)
        cosine = np.clip(first @ last / lengths, -1.0, 1.0) if lengths > 0 else 1.0
        w = np.arccos(cosine)
        if np.sin(w) < 1e-6:  # parallel, opposite or zero: no single great circle joins them
            z = (1 - t) * first + t * last
        else:
            z = (np.sin((1 - t) * w) * first + np.sin(t * w) * last) / np.sin(w)
    else:
        raise ConfigError(f"path={path!r} is unknown; choose 'linear' or 'spherical'.")
    z[0], z[-1] = first, last  # exactly, whatever the rounding in between
    return z.astype(np.float32)


def traverse(z: ArrayLike, dimension: int, values: ArrayLike) -> Latents:
    """Copies of one code, each with another value in one dimension.

    Args:
        z: The code, shape (D,) or (1, D).
        dimension: Which of the D dimensions changes, from 0.
        values: Its values, shape (K,).

    Returns:
        Codes, shape (K, D), float32.

    Raises:
        ShapeError: ``z`` is not one code, or ``values`` no list of numbers.
        ConfigError: There is no such dimension.
    """
    code, steps = np.asarray(z, np.float32), np.asarray(values, np.float32)
    if code.ndim not in (1, 2) or (code.ndim == 2 and code.shape[0] != 1) or steps.ndim != 1:
        raise ShapeError(f"z has shape {code.shape} and values {steps.shape}; give one code (D,) and values (K,).")
    code = code.reshape(-1)
    if not is_whole(dimension) or not 0 <= dimension < code.size:
        raise ConfigError(f"dimension={dimension!r}, but the code has {code.size}; give 0 to {code.size - 1}.")
    codes = np.repeat(code[None], steps.size, axis=0)
    codes[:, dimension] = steps
    return codes
