"""The proof: replay a bundle's golden vectors on this machine, and measure every deviation.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isnan
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from vaekit.bundle import Bundle
from vaekit.elbo import kl_divergence, reconstruction_loss
from vaekit.latents import Posterior, reparameterise
from vaekit.noise import noise
from vaekit.runtime.vae import VAE
from vaekit.spec import ModelSpec
from vaekit.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vaekit.golden import Golden  # a start-up reads none

BATCHES = (1, 2, 7)
"""Batch sizes at which the golden items are replayed, besides all of them at once."""

LATENT_TOLERANCE = 1e-6
"""Largest deviation of z from its golden value: two roundings of a float32 near 4."""

ROUNDING = 2.0**-21
"""Relative difference that values without bounds may have besides: four roundings of a float32."""

Pair: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64] | None]"
"""What was measured, what was expected, and the units to compare in; see `difference`."""

_STATED = {"encode mean": "encoder", "encode log_var": "encoder", "decode": "decoder", "round trip": "round_trip"}
"""What the manifest calls the tolerance of each comparison."""


class Deviation(Value):
    """One measured deviation from the golden vectors.

    Attributes:
        what: What was compared, e.g. "decode, batch 7".
        measured: Largest absolute difference; infinite where a number is NaN.
        tolerance: Largest that passes.
    """

    what: str
    measured: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether it is within the tolerance."""
        return self.measured <= self.tolerance


def verify_bundle(bundle: Bundle, session: VAE) -> list[Deviation]:
    """Replay the golden vectors through a session.

    Compared are: the noise, bit for bit; the reparameterised codes; each half of the model, and the round trip
    ``x -> posterior -> z -> x_hat``, at batches of 1, 2, 7 and all items.

    The golden vectors are those of fp32. A variant (fp16, int8) has tolerances of its own, which come from what it differed by
    when it was exported, and is compared in two more ways: by its mean differences, since a largest one of many thousand says
    little about the rest, and by the negative ELBO of the golden items, in nats.

    A session with ``io="uint8"`` is replayed with golden vectors of its own, whose `x` and `x_hat` are pixels: they may differ
    by one grey level, and by as many more as the tolerance of values makes. It is also held against the plain graphs of the
    same precision, rounded: at most one grey level, and at few pixels at all (`vaekit.runtime.appio`).

    Args:
        bundle: The bundle with the golden vectors.
        session: The model to prove; usually ``vaekit.load(bundle, provider=…)``.

    Returns:
        Every deviation; the model is proved where each has ``passed``.

    Raises:
        IntegrityError: The golden vectors were changed or do not fit the model.
    """
    golden = bundle.golden(session.io)
    n, seed = bundle.manifest.golden_items, bundle.manifest.golden_seed
    of_provider, own = tolerance_for(bundle, session), bundle.manifest.precisions[session.precision].tolerance

    deviations = [
        Deviation("noise", difference(noise(seed=seed, count=n, dim=session.spec.latent), golden.eps), 0.0),
        Deviation(
            "reparameterise",
            difference(reparameterise(golden.mean, golden.log_var, seed=seed), golden.z),
            LATENT_TOLERANCE,
        ),
    ]
    pairs: dict[str, Pair] = {}
    for batch in (*(size for size in BATCHES if size < n), n):
        pairs = _replayed(session, golden, seed=seed, batch=batch)
        for what, pair in pairs.items():
            tolerance = max(of_provider, own.get(_STATED[what], 0.0))
            deviations.append(_deviation(session, what, f"batch {batch}", difference(*pair), tolerance))
    if own:
        either = _between_levels(bundle, session, of_provider) if session.io == "uint8" else 0.0
        for what, pair in pairs.items():  # those of all items at once
            tolerance = max(of_provider, own.get(f"mean_{_STATED[what]}", 0.0))
            deviations.append(_deviation(session, what, "mean difference", mean_difference(*pair), tolerance, either))
    if session.io == "uint8":
        deviations += _beside_plain(bundle, session, golden, max(of_provider, own.get("encoder", 0.0)), of_provider)
    elif "negative_elbo" in own:
        lost = float(np.mean(session.score(golden.x, seed=seed))) - golden_negative_elbo(golden, session.spec)
        deviations.append(Deviation("negative ELBO, nats", abs(lost), own["negative_elbo"]))
    return deviations


def _deviation(session: VAE, what: str, how: str, measured: float, tolerance: float, either: float = 0.0) -> Deviation:
    """One line; where items are pixels, their deviations are in grey levels, and a part of them may be either of two."""
    if session.io == "uint8" and _STATED[what] != "encoder":
        from vaekit.runtime.appio import grey_levels, mean_levels

        data = session.spec.data
        is_mean = how.startswith("mean")
        tolerance = mean_levels(tolerance, data, either) if is_mean else grey_levels(tolerance, data)
        how += ", grey levels"
    return Deviation(f"{what}, {how}", measured, tolerance)


def _between_levels(bundle: Bundle, session: VAE, of_provider: float) -> float:
    """Part of the golden pixels that may be either of two levels."""
    from vaekit.runtime.appio import between_levels

    return between_levels(bundle.golden().x_hat, session.spec.data, of_provider)


def _beside_plain(
    bundle: Bundle, session: VAE, golden: Golden, of_encoder: float, of_provider: float
) -> Iterator[Deviation]:
    """Hold app-ready graphs against the plain ones of the same precision, on the same provider."""
    from vaekit.runtime.appio import compare, grey_levels, mean_levels

    data = session.spec.data
    plain = VAE(bundle, **{**session.decoder._arguments, "io": "float32"})
    found = compare(session, plain, golden.x, golden.z, tolerance=of_provider)  # type: ignore[arg-type]  # its items are pixels
    yield Deviation("encode, from the plain graphs", found.error, of_encoder)
    yield Deviation("decode, from the plain graphs, grey levels", found.levels, grey_levels(of_provider, data))
    differing = (found.differing - found.undecided) / max(1, found.values)
    yield Deviation("decode, share of pixels that differ", differing, mean_levels(of_provider, data))


def replay(session: VAE, golden: Golden, *, seed: int, batch: int) -> dict[str, float]:
    """Run golden vectors through a session, a batch at a time.

    Args:
        session: The model.
        golden: The vectors; all but `eps` and `labels` are used.
        seed: Seed of their noise.
        batch: Items a call.

    Returns:
        Largest difference of "encode mean", "encode log_var" (not for an autoencoder, which has none), "decode"
        and "round trip", ``x -> posterior -> z -> x_hat``. It is absolute, and for items without bounds in standardised units
        and beyond what a float32 of that size can hold; see `difference`.
    """
    return {what: difference(*pair) for what, pair in _replayed(session, golden, seed=seed, batch=batch).items()}


def golden_negative_elbo(golden: Golden, spec: ModelSpec) -> float:
    """Negative ELBO of the golden items by the golden vectors alone, in nats an item."""
    lost = reconstruction_loss(golden.x, golden.x_hat, spec.likelihood, scale=spec.scale, units=spec.data.units)
    kl = kl_divergence(golden.mean, golden.log_var).sum(axis=1) if spec.kind == "vae" else 0.0
    return float(np.mean(lost + kl))


def tolerance_for(bundle: Bundle, session: VAE) -> float:
    """The manifest's tolerance for the provider that a session really runs on."""
    key = f"{session.provider}-tf32" if session.tf32 and session.provider == "cuda" else session.provider
    tolerances = bundle.manifest.tolerances
    return tolerances.get(key, tolerances["other"])


def in_batches(
    run: Callable[[NDArray[np.float32], int], NDArray[np.float32]], rows: NDArray[np.float32], batch: int
) -> NDArray[np.float32]:
    """Apply a function to slices of `batch` rows, with the index of each slice's first row, and join the results."""
    return np.concatenate([run(rows[start : start + batch], start) for start in range(0, len(rows), batch)])


def encode_in_batches(vae: VAE, x: NDArray[np.float32], batch: int) -> Posterior:
    """Encode items a batch at a time, each once, and join the posteriors."""
    found = [vae.encode(x[start : start + batch]) for start in range(0, len(x), batch)]
    return Posterior(*(np.concatenate(rows) for rows in zip(*found, strict=True)))


def difference(
    measured: NDArray[np.float32], expected: NDArray[np.float32], units: NDArray[np.float64] | None = None
) -> float:
    """Largest absolute difference; infinite where either holds a NaN, 0 where both hold the same infinity.

    With units the difference of each value is ``max(0, |a - b| - ROUNDING |b|) / unit``: two float32 near 100,000 can't
    agree to 0.00001, whatever computes them.
    """
    return _summarised(measured, expected, units, lambda gap: gap.max(initial=0.0))


def mean_difference(
    measured: NDArray[np.float32], expected: NDArray[np.float32], units: NDArray[np.float64] | None = None
) -> float:
    """Mean of what `difference` takes the largest of."""
    return _summarised(measured, expected, units, lambda gap: gap.mean() if gap.size else 0.0)


def _summarised(
    measured: NDArray[np.float32],
    expected: NDArray[np.float32],
    units: NDArray[np.float64] | None,
    summary: Callable[[NDArray[np.float64]], float],
) -> float:
    if measured.shape != expected.shape:
        return float("inf")
    equal = measured == expected
    with np.errstate(invalid="ignore"):
        gap = np.where(equal, 0.0, np.abs(measured.astype(np.float64) - expected.astype(np.float64)))
        if units is not None:
            gap = np.maximum(0.0, gap - ROUNDING * np.abs(expected.astype(np.float64))) / units
    found = float(summary(gap))
    return float("inf") if isnan(found) else found


def _replayed(session: VAE, golden: Golden, *, seed: int, batch: int) -> dict[str, Pair]:
    """What a session gives for golden vectors, beside what it should give, and the units to compare in."""
    data = session.spec.data
    units = None if data.range is not None else data.units
    posterior = encode_in_batches(session, golden.x, batch)
    pairs: dict[str, Pair] = {"encode mean": (posterior.mean, golden.mean, None)}
    if session.spec.kind == "vae":
        pairs["encode log_var"] = (posterior.log_var, golden.log_var, None)
    for what, z in (("decode", golden.z), ("round trip", posterior.sample(seed=seed))):
        pairs[what] = (in_batches(lambda rows, _: session.decode(rows), z, batch), golden.x_hat, units)
    return pairs
