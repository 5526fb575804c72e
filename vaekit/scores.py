"""What a manifest states about the scores of normal items, and the threshold that follows from a quantile.

An item's score is its negative ELBO with the code at the posterior's mean, z = mean, which makes it a function of the item:

    score(x) = -log p(x | z = mean) + KL(q(z | x) || p(z))        in nats; for an autoencoder without the KL

The scores that a manifest keeps are those of test items. A model fits the items that it was trained on better than others of
their kind: a threshold taken from those would find too many others unusual.

Needs: the standard library. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from vaekit import fields
from vaekit.errors import BundleError, ConfigError, DataError
from vaekit.fields import Json
from vaekit.value import Value

QUANTILES: Final = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Those that a manifest keeps, as far as the number of items supports them."""

USUAL_QUANTILE: Final = 0.99
"""What a threshold is where nobody asks for another: one normal item in a hundred is above it."""

AT_THE_MEAN: Final = "mean"
"""The one rule for codes: z = mean."""

DIGITS: Final = 6
"""Significant digits that are written: about what float32 graphs agree on between machines."""


SMALLER: Final = "choose a smaller quantile"


class ScoreStatistics(Value):
    """Scores of normal items.

    Attributes:
        items: Number of test items that they were measured on.
        mean: Their mean in nats.
        std: Their standard deviation.
        quantiles: Thresholds in nats by quantile, ascending; see `rank`.
    """

    items: int
    mean: float
    std: float
    quantiles: Mapping[float, float]

    def threshold(self, quantile: float, *, of: str = "the bundle") -> float:
        """Give the threshold of a quantile.

        Args:
            quantile: Part of normal items that are not above it.
            of: Whose scores these are, for the message.

        Raises:
            ConfigError: The quantile is not between 0 and 1.
            DataError: It is not among those that are kept.
        """
        kept = ", ".join(f"{q:g}" for q in self.quantiles)
        rank(quantile, self.items, of=of, instead=f"choose one of {kept}" if kept else SMALLER)
        if quantile not in self.quantiles:
            raise DataError(
                f"{of} keeps the quantiles {kept} of normal scores, but {quantile:g} was asked for; choose one of these, or "
                "give normal data to take another from."
            )
        return self.quantiles[quantile]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types, numbers with `DIGITS` significant digits, quantiles rounded up."""
        return {
            "codes": AT_THE_MEAN,
            "items": self.items,
            "mean": rounded(self.mean),
            "std": rounded(self.std),
            "quantiles": {f"{quantile:g}": rounded_up(nats) for quantile, nats in self.quantiles.items()},
        }

    @classmethod
    def from_json(cls, value: Json) -> ScoreStatistics | None:
        """Read the fields; None where the codes follow a rule that this code does not know, whose scores would not compare."""
        if fields.text(value, "codes") != AT_THE_MEAN:
            return None
        found = {float(quantile): nats for quantile, nats in fields.numbers(value, "quantiles").items()}
        items, std = fields.whole(value, "items"), fields.number(value["std"], "std")
        quantiles = dict(sorted(found.items()))
        rising = list(quantiles.values())
        if items < 1 or std < 0 or any(not 0 < q < 1 for q in quantiles) or rising != sorted(rising):
            raise BundleError(
                f"the manifest's scores are of {items} items, with a deviation of {std:g} and quantiles {quantiles}, which "
                "is impossible; export the model again."
            )
        return cls(items, fields.number(value["mean"], "mean"), std, quantiles)


def rank(quantile: float, items: int, *, of: str = "the data", instead: str = SMALLER) -> int:
    """Say which of the ascending scores of n normal items is the threshold of quantile q: number ``ceil((n + 1) q)``, from 1.

    A further normal item is then above it with probability at most 1 - q, whatever the scores' distribution: among n + 1
    exchangeable items, the last one's place is any of n + 1 with equal chance.

    Args:
        quantile: q.
        items: n.
        of: Whose items, for the message.
        instead: What to do where there are too few, for the message.

    Raises:
        ConfigError: The quantile is not between 0 and 1.
        DataError: There are too few items: the threshold would lie above the largest of their scores, nobody knows where.

    Source: Vovk, Gammerman & Shafer 2005, Algorithmic Learning in a Random World, section 2.2 (inductive conformal predictors).
    """
    if not 0 < quantile < 1:
        raise ConfigError(f"quantile={quantile:g}: give a number above 0 and below 1, e.g. 0.99.")
    found, needed = _rank_and_least(quantile, items)
    if found > items:
        raise DataError(
            f"the {quantile:g} quantile was asked for, but {of} has {items:,} normal items, and it takes {needed:,} or more; "
            f"{instead}."
        )
    return found


def supported(items: int) -> tuple[float, ...]:
    """Those of `QUANTILES` that so many items support."""
    return tuple(q for q in QUANTILES if _rank_and_least(q, items)[0] <= items)


def _rank_and_least(quantile: float, items: int) -> tuple[int, int]:
    """``ceil((n + 1) q)``, and the smallest n for which that is at most n: ``ceil(q / (1 - q))``."""
    from fractions import Fraction  # here, since opening a bundle does not need it

    q = Fraction(repr(float(quantile)))  # 0.99 as it is written, not its nearest binary fraction
    return math.ceil((items + 1) * q), math.ceil(q / (1 - q))


def rounded(value: float) -> float:
    """A number with `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def rounded_up(value: float) -> float:
    """The next number with `DIGITS` significant digits that is not smaller: a threshold's own item must not be above it."""
    from decimal import Context, Decimal  # here, since opening a bundle does not need it

    nearest = f"{value:.{DIGITS}g}"
    return float(nearest) if float(nearest) >= value else float(Context(prec=DIGITS).next_plus(Decimal(nearest)))
