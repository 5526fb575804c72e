"""The gate: a variant ships only if it is still the model, and worth having.

Held against fp32 on test items, up to `ITEMS` of them:

    whole     no NaN and no infinity, on the test items and on `PRIOR_ITEMS` samples of the prior
    as good   its negative ELBO is above fp32's by at most the limit, 0.5 % of fp32's unless told otherwise
    worth it  its two files are smaller, or one of its halves is faster at one of the measured batch sizes, by a factor of 1.2

Needs: NumPy, ONNX Runtime.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import as_float
from vaekit.datasets.mapped import Reader
from vaekit.datasets.rows import Items
from vaekit.errors import ConfigError
from vaekit.precisions import COMPARED, PrecisionInfo
from vaekit.runtime.evaluate import Evaluation, evaluate
from vaekit.runtime.session import BATCH
from vaekit.runtime.vae import VAE
from vaekit.runtime.verify import difference, encode_in_batches, in_batches, mean_difference

ITEMS: Final = 10_000
"""Most test items that a variant is measured on."""

PRIOR_ITEMS: Final = 4_096

SEED: Final = 0
"""Seed of the posterior's samples and of the prior's."""

OTHER_BATCHES: Final = (1, 7, 64)
"""Where an item depends on its batch, its error is measured at these sizes too."""


class Gate(NamedTuple):
    """What a variant must hold.

    Attributes:
        max_delta_elbo: What it may lose: a fraction of the size of fp32's negative ELBO, or nats.
        unit: "fraction" or "nats".
        min_gain: Factor by which it must be smaller or faster than fp32; 1 lets it be larger and slower.
        force: Whether a variant that fails ships all the same, marked.
    """

    max_delta_elbo: float = 0.005
    unit: Literal["fraction", "nats"] = "fraction"
    min_gain: float = 1.2
    force: bool = False

    def nats(self, negative_elbo: float) -> float:
        """The limit in nats for a model of that negative ELBO."""
        return self.max_delta_elbo * (abs(negative_elbo) if self.unit == "fraction" else 1.0)


def parse_gate(max_delta_elbo: str, min_gain: float, *, force: bool = False) -> Gate:
    """Read the gate's limits as a person writes them.

    Args:
        max_delta_elbo: "0.5%" of fp32's negative ELBO, or "0.4nats".
        min_gain: The factor, at least 1.
        force: Whether a variant that fails ships all the same.

    Raises:
        ConfigError: The limit has no unit, or one of the two makes no sense.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%|nats?)\s*", max_delta_elbo)
    if found is None:
        raise ConfigError(
            f"--max-delta-elbo {max_delta_elbo}: give a part of fp32's negative ELBO, as 0.5%, or nats, as 0.4nats."
        )
    if not (isfinite(min_gain) and min_gain >= 1):
        raise ConfigError(f"--min-gain {min_gain:g}: give a factor of 1 or more; 1 asks for no gain.")
    value = float(found[1])
    return Gate(value / 100, "fraction", min_gain, force) if found[2] == "%" else Gate(value, "nats", min_gain, force)


class Measured(NamedTuple):
    """How a variant differs from fp32.

    Attributes:
        broken: Where it gives a NaN or an infinity, in words; then nothing else was measured.
        error: Largest absolute differences by `COMPARED`; of items without bounds in standardised units.
        mean_error: Mean absolute differences.
        evaluation: Its own evaluation on the items.
        delta_elbo: Its negative ELBO minus fp32's, in nats.
    """

    broken: tuple[str, ...] = ()
    error: Mapping[str, float] = {}
    mean_error: Mapping[str, float] = {}
    evaluation: Evaluation | None = None
    delta_elbo: float = float("inf")


def measure(fp32: VAE, variant: VAE, items: Items, baseline: Evaluation, *, batch_dependent: bool = False) -> Measured:
    """Compare a variant with fp32.

    Args:
        fp32: The model.
        variant: The variant.
        items: Test items.
        baseline: fp32's evaluation on them.
        batch_dependent: Whether an item's numbers depend on its batch: then other batch sizes are compared too.
    """
    broken = _broken(variant, items)
    if broken:
        return Measured(broken)
    compared = _Compared(fp32, variant)
    reader = Reader(items)
    for start in range(0, len(items), BATCH):
        compared.add(as_float(reader[start : start + BATCH]), start, BATCH)
    reader.release()
    for batch in OTHER_BATCHES if batch_dependent else ():
        compared.add(as_float(items[:BATCH]), 0, batch)
    evaluation = evaluate(variant, items, seed=SEED)
    return Measured(
        error=compared.largest,
        mean_error=compared.means(),
        evaluation=evaluation,
        delta_elbo=evaluation.negative_elbo - baseline.negative_elbo,
    )


def lost_too_much(measured: Measured, gate: Gate, baseline: Evaluation) -> tuple[str, ...]:
    """Why a variant is no longer the model, in words; empty where it is."""
    if measured.broken:
        return measured.broken
    limit = gate.nats(baseline.negative_elbo)
    if measured.delta_elbo <= limit:
        return ()
    return (f"it loses {measured.delta_elbo:.3g} nats of the ELBO; the limit is {limit:.3g}",)


def not_worth_it(info: PrecisionInfo, fp32: PrecisionInfo, gate: Gate) -> tuple[str, ...]:
    """Why a variant is not worth having, in words; empty where it is. Both must have their `rates`."""
    smaller = fp32.bytes / info.bytes
    faster, half, batch = max(
        (rate / fp32.rates[half][batch], half, batch)
        for half, rates in info.rates.items()
        for batch, rate in rates.items()
    )
    if max(smaller, faster) >= gate.min_gain or gate.min_gain <= 1:
        return ()
    return (
        f"it is {smaller:.2f} times smaller and at best {faster:.2f} times faster ({half}, batch {batch}); "
        f"one must be {gate.min_gain:g}",
    )


class _Compared:
    """Differences that come in batches."""

    def __init__(self, fp32: VAE, variant: VAE) -> None:
        self._fp32, self._variant = fp32, variant
        data = fp32.spec.data
        self._units = None if data.range is not None else data.units
        self.largest = dict.fromkeys(COMPARED, 0.0)
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, x: NDArray[np.float32], start: int, batch: int) -> None:
        """Compare some items, of which the first has the index `start`, in batches of a size."""
        vae, wanted = self._variant, self._fp32.encode(x)
        z = wanted.sample(seed=SEED, start=start)
        x_hat = self._fp32.decode(z)
        decoded = in_batches(lambda rows, _: vae.decode(rows), z, batch)
        found = encode_in_batches(vae, x, batch)
        there_and_back = in_batches(lambda rows, _: vae.decode(rows), found.sample(seed=SEED, start=start), batch)
        self._note("encoder", "mean", found.mean, wanted.mean)
        if vae.spec.kind == "vae":
            self._note("encoder", "log_var", found.log_var, wanted.log_var)
        self._note("decoder", "x_hat", decoded, x_hat, self._units)
        self._note("round_trip", "x_hat", there_and_back, x_hat, self._units)

    def means(self) -> dict[str, float]:
        """Mean differences; of the encoder that of the worse output."""
        found = dict.fromkeys(COMPARED, 0.0)
        for name, (total, count) in self._sums.items():
            what = name.partition(" ")[0]
            found[what] = max(found[what], total / count)
        return found

    def _note(
        self,
        what: str,
        output: str,
        found: NDArray[np.float32],
        wanted: NDArray[np.float32],
        units: NDArray[np.float64] | None = None,
    ) -> None:
        self.largest[what] = max(self.largest[what], difference(found, wanted, units=units))
        total, count = self._sums.get(f"{what} {output}", (0.0, 0))
        each = mean_difference(found, wanted, units=units)
        self._sums[f"{what} {output}"] = total + each * len(found), count + len(found)


def _broken(variant: VAE, items: Items) -> tuple[str, ...]:
    """Where a variant gives no finite numbers, in words."""
    found = []
    prior = variant.prior(PRIOR_ITEMS, seed=SEED)
    if not all(np.isfinite(variant.decode(prior[i : i + BATCH])).all() for i in range(0, PRIOR_ITEMS, BATCH)):
        found.append("it gives a NaN or an infinity on samples of the prior")
    reader = Reader(items)
    for start in range(0, len(items), BATCH):
        posterior = variant.encode(as_float(reader[start : start + BATCH]))
        z = posterior.sample(seed=SEED, start=start)
        widths = posterior.log_var if variant.spec.kind == "vae" else posterior.mean
        if not (np.isfinite(widths).all() and np.isfinite(z).all() and np.isfinite(variant.decode(z)).all()):
            found.append("it gives a NaN or an infinity on test items")
            break
    reader.release()
    return tuple(found)
