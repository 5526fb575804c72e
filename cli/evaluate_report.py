"""What `vaekit evaluate` found: as a record, as JSON, and in words what each number compares with.

`evaluate_table` shows it.

Needs: NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from vaekit.elbo import ACTIVE_VARIANCE, bits_per_dimension
from vaekit.runtime.evaluate import Evaluation
from vaekit.runtime.frechet import Frechet
from vaekit.runtime.likelihood import NegativeLogLikelihood
from vaekit.spec import ModelSpec


class Report(NamedTuple):
    """Everything that was measured, and on what.

    Attributes:
        model: The model's name.
        spec: What it is.
        precision: Of the graphs that were measured.
        provider: Execution provider that ran them.
        data: The data set's name.
        data_sha256: SHA-256 of its content.
        same_data: Whether the model was made with this data.
        split: Which items: "train", "test", "all".
        available: How many items these are; fewer may have been measured.
        binarized: Whether pixels were drawn as 0 or 1.
        seed: Seed of the codes, and of those pixels.
        elbo: The ELBO and its parts.
        nll: The likelihood, where it was asked for.
        frechet: The Fréchet distance, where there were items enough.
        frechet_between: Splits that the samples were compared with, and that the floor was taken from.
    """

    model: str
    spec: ModelSpec
    precision: str
    provider: str
    data: str
    data_sha256: str
    same_data: bool
    split: str
    available: int
    binarized: bool
    seed: int
    elbo: Evaluation
    nll: NegativeLogLikelihood | None
    frechet: Frechet | None
    frechet_between: tuple[str, str]

    def bits(self, nats: float) -> float | None:
        """Bits per dimension, where every value is one of those that have a probability."""
        if not self.elbo.discrete or self.spec.kind == "ae":
            return None
        return bits_per_dimension(nats, self.spec.data.size)


def as_values(report: Report) -> dict[str, Any]:
    """Everything as JSON's types; null is what has no meaning for this model or was not asked for."""
    elbo, nll, distance, is_vae = report.elbo, report.nll, report.frechet, report.spec.kind == "vae"
    errors = elbo.standard_errors
    return {
        "model": {
            "name": report.model,
            "kind": report.spec.kind,
            "likelihood": report.spec.likelihood,
            "scale": report.spec.scale,
            "precision": report.precision,
            "provider": report.provider,
        },
        "data": {
            "name": report.data,
            "sha256": report.data_sha256,
            "of_the_model": report.same_data,
            "split": report.split,
            "items": elbo.items,
            "available": report.available,
            "binarized": report.binarized,
            "discrete": elbo.discrete,
        },
        "seed": report.seed,
        "negative_elbo": _mean(elbo.negative_elbo, errors and errors.negative_elbo) if is_vae else None,
        "reconstruction": _mean(elbo.reconstruction, errors and errors.reconstruction),
        "kl": _mean(elbo.kl, errors and errors.kl) if is_vae else None,
        "kl_per_dimension": [_finite(kl) for kl in elbo.kl_per_dimension] if is_vae else None,
        "active": list(elbo.active),
        "nll": nll
        and {
            **_mean(nll.mean, nll.standard_error),
            "samples": nll.samples,
            "fewer_samples_add": _finite(nll.fewer),
            "fewer_samples_add_error": _finite(nll.fewer_error),
        },
        "bits_per_dimension": {
            "negative_elbo": _finite(report.bits(elbo.negative_elbo)),
            "nll": _finite(report.bits(nll.mean) if nll else None),
        },
        "nats_of_the_constant": _finite(_constant(report.spec)),
        "frechet": distance
        and {
            "squared_distance": _finite(distance.samples),
            "floor": _finite(distance.floor),
            "samples": distance.items,
            "items": f"{distance.items} {report.frechet_between[0]}",
            "floor_items": f"{distance.floor_items} {report.frechet_between[1]}",
        },
        "comparisons": list(comparisons(report)),
    }


def comparisons(report: Report) -> Iterator[str]:
    """What each number can be compared with and what not, a line each."""
    if report.spec.kind == "ae":
        yield (
            "An autoencoder has no prior and its posterior is a point: no KL, no ELBO, no likelihood. Its reconstruction "
            "compares with other autoencoders of the same likelihood on the same data, not with a VAE's ELBO."
        )
    else:
        yield (
            "The negative ELBO is reconstruction + KL with weight 1, whatever beta the model was trained with, from one code "
            "an item. s.e. holds both the choice of items and that draw: another --seed moves it by about that or less."
        )
    yield _of_likelihood(report)
    if report.nll is not None:
        yield (
            f"NLL is an upper bound in expectation that falls with K: compare it at the same K, {report.nll.samples:,}, or "
            "where doubling K no longer changes it."
        )
    yield (
        f"Active units are dimensions whose posterior mean has a variance above {ACTIVE_VARIANCE:g} over the items (Burda "
        "et al. 2016): a count that compares between models at the same threshold."
    )
    if report.frechet is not None:
        real, other = report.frechet_between
        yield (
            "The Fréchet distance is squared, and taken in this model's own codes (the encoder's means): no FID, which looks "
            "through another network. A model judges itself, so it does not compare between models; compare it with its floor, "
            f"the same distance between {other} and {real} items. Samples are the decoder's means"
            f"{', drawn as 0 or 1' if report.binarized else ''}."
        )


def _of_likelihood(report: Report) -> str:
    spec = report.spec
    if spec.likelihood == "gaussian":
        whole = _constant(spec)
        units = " in the data's units" if spec.data.features else ""
        return (
            f"Gaussian nats are of the density of {'standardised ' if spec.data.features else ''}values, without the constant: "
            f"add {whole:.2f} for -log of the density{units}. They may be negative, give no bits, and compare with Gaussian "
            "models of the same data alone."
        )
    if spec.likelihood == "discretized-logistic":
        if not report.elbo.discrete:
            return (
                "The items are not 8-bit levels, so the logistic's nats are no log-probabilities of them: no bits per "
                "dimension, and nothing to compare with but the same model's on the same items."
            )
        return (
            "8-bit levels: nats are log-probabilities, and bits per dimension compare with any model of the same images at "
            "the same size."
        )
    if not report.elbo.discrete:
        return (
            "Grey pixels: Bernoulli nats are a cross-entropy here and no log-probability. They compare with Bernoulli models "
            "on the same grey pixels; not with published NLLs of MNIST, which are of pixels drawn as 0 or 1 (--binarized)."
        )
    if report.binarized:
        return (
            f"Pixels were drawn as 0 or 1 once, by seed {report.seed}: nats are log-probabilities, and compare with Bernoulli "
            "models of binarised pixels. Published figures are of other draws of the same pixels (dynamic binarisation: within "
            "about s.e.), or of one fixed set of draws (static), which is another data set."
        )
    return "Every value is 0 or 1: nats are log-probabilities, and compare with any model of the same zeros and ones."


def _constant(spec: ModelSpec) -> float | None:
    """Nats that a Gaussian's leave out: ``V/2 log 2 pi``, and the logs of the units that standardising divides by."""
    if spec.likelihood != "gaussian":
        return None
    units = float(np.log(np.broadcast_to(spec.data.units, spec.data.shape)).sum())
    return 0.5 * spec.data.size * math.log(2 * math.pi) + units


def _mean(value: float, error: float | None) -> dict[str, float | None]:
    return {"mean": _finite(value), "standard_error": _finite(error)}


def _finite(value: float | None) -> float | None:
    """A number as JSON has them; null for NaN and infinities, which a broken model gives."""
    return value if value is not None and math.isfinite(value) else None
