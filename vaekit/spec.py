"""What a model is: the data it speaks about, the size of its latent code, and what its decoder's numbers mean.

A `ModelSpec` is all that the two halves of a model, the exporter and the runtime have to agree on. How a model is built
(layers, widths) is the training side's business and never needed to run it.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from vaekit.errors import ConfigError
from vaekit.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["vae", "ae"]
Likelihood = Literal["bernoulli", "gaussian", "discretized-logistic"]

KINDS: Final = get_args(Kind)
LIKELIHOODS: Final = get_args(Likelihood)

SCALED: Final = ("gaussian", "discretized-logistic")
"""Likelihoods with a scale parameter."""

LAYOUTS: Final = {1: "D", 2: "DT", 3: "CHW"}
"""Names of an item's axes by their number: features; features over time; channels, height, width."""

MAX_ITEM_VALUES: Final = 1 << 28
"""Largest number of values in one item: one gibibyte of float32. More is a damaged or hostile manifest."""

POSTERIOR: Final = "diagonal-gaussian/log-variance"
"""The posterior's family: independent normals, given by their means and the natural logs of their variances."""

PRIOR: Final = "standard-normal"


class Feature(Value):
    """One column of a table, or one channel of a time series.

    Attributes:
        name: What the column is called.
        offset: Subtracted from a value to standardise it, in the value's unit: the training items' mean.
        scale: Then divided by, in the value's unit: their standard deviation.
    """

    name: str
    offset: float = 0.0
    scale: float = 1.0

    def _check(self) -> None:
        """Refuse what cannot be undone."""
        if not (isfinite(self.offset) and isfinite(self.scale) and self.scale > 0):
            raise ConfigError(
                f"the column {self.name!r} has offset {self.offset} and scale {self.scale}; both are finite, the scale above 0."
            )


class DataSpec(Value):
    """The arrays that a model takes and gives, one item at a time, as float32.

    Attributes:
        shape: One item without the batch: (C, H, W), (D, T) or (D,).
        range: Smallest and largest value, or None for real values without bounds.
        features: For tables and time series, what stands at each place of the item's first axis. Graphs take and give values
            in their own units: the standardisation is inside them, and stated here.
    """

    shape: tuple[int, ...]
    range: tuple[float, float] | None = (0.0, 1.0)
    features: tuple[Feature, ...] = ()

    def _check(self) -> None:
        """Refuse what no array can have."""
        if len(self.shape) not in LAYOUTS or any(size < 1 for size in self.shape):
            raise ConfigError(f"shape={self.shape}: an item is (D,), (D, T) or (C, H, W), each size at least 1.")
        if prod(self.shape) > MAX_ITEM_VALUES:
            raise ConfigError(f"shape={self.shape}: an item may hold at most {MAX_ITEM_VALUES:,} values.")
        if self.range is not None and not (isfinite(self.range[0]) and self.range[0] < self.range[1] < float("inf")):
            raise ConfigError(f"range={self.range}: give a finite minimum below a finite maximum, or None.")
        if self.features and (self.is_chw or len(self.features) != self.shape[0] or self.range is not None):
            raise ConfigError(
                f"{len(self.features)} features for items of shape {self.shape} and range {self.range}: "
                "features belong to (D,) or (D, T) without a range, one for each of D."
            )

    @property
    def is_chw(self) -> bool:
        """Whether an item has channels, height and width."""
        return len(self.shape) == 3

    @property
    def units(self) -> NDArray[np.float64]:
        """What standardising divides by, in a shape that multiplies one item: (D,), (D, 1), or () without features."""
        return self._column([feature.scale for feature in self.features], 1.0)

    @property
    def offsets(self) -> NDArray[np.float64]:
        """What standardising subtracts, shaped as `units`."""
        return self._column([feature.offset for feature in self.features], 0.0)

    def _column(self, values: list[float], default: float) -> NDArray[np.float64]:
        if not values:
            return np.asarray(default)
        return np.asarray(values).reshape(-1, *(1 for _ in self.shape[1:]))

    @property
    def layout(self) -> str:
        """Names of the axes: "CHW", "DT" or "D"."""
        return LAYOUTS[len(self.shape)]

    @property
    def size(self) -> int:
        """Number of values in one item."""
        return prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether an item is a grey (C = 1) or colour (C = 3) image."""
        return self.is_chw and self.shape[0] in (1, 3)


class ModelSpec(Value):
    """All that encoder, decoder, exporter and runtime agree on.

    Attributes:
        kind: "vae" (posterior, prior and KL) or "ae" (the classic autoencoder: z = mean, no KL).
        data: The items.
        latent: Number of latent dimensions, d.
        likelihood: "bernoulli": the decoder emits each value's probability of being one, in [0, 1];
            "gaussian": it emits the mean of a normal, in the data's units, without bounds;
            "discretized-logistic": it emits the mean, in [0, 1], of a logistic distribution over 256 levels.
        scale: The Gaussian's standard deviation, in standardised units, or the logistic's scale s; one number for all values.
    """

    kind: Kind
    data: DataSpec
    latent: int
    likelihood: Likelihood
    scale: float = 1.0

    def _check(self) -> None:
        """Refuse combinations without a meaning."""
        if self.kind not in KINDS:
            raise ConfigError(f"kind={self.kind!r} is unknown; choose one of {', '.join(KINDS)}.")
        if self.likelihood not in LIKELIHOODS:
            raise ConfigError(f"likelihood={self.likelihood!r} is unknown; choose one of {', '.join(LIKELIHOODS)}.")
        if self.latent < 1:
            raise ConfigError(f"latent={self.latent}: a latent code needs at least one dimension.")
        if self.likelihood != "gaussian" and self.data.range != (0.0, 1.0):
            found = "these are values without bounds" if self.data.range is None else f"the range is {self.data.range}"
            raise ConfigError(
                f"likelihood={self.likelihood!r} needs data in [0, 1], but {found}; "
                "scale the data, or use likelihood='gaussian'."
            )
        if not (isfinite(self.scale) and self.scale > 0) or (self.likelihood not in SCALED and self.scale != 1):
            raise ConfigError(
                f"scale={self.scale}: give a positive number, and 1 for the likelihood {self.likelihood!r}."
            )

    @property
    def encoder_outputs(self) -> tuple[str, ...]:
        """Names of the encoder's outputs, in order."""
        return ("mean", "log_var") if self.kind == "vae" else ("mean",)

    @property
    def emits_range(self) -> tuple[float, float] | None:
        """Bounds of what the decoder emits, or None."""
        return None if self.likelihood == "gaussian" else (0.0, 1.0)

    @property
    def likelihood_in_words(self) -> str:
        """The likelihood, with its scale if it has one: "gaussian likelihood of scale 0.12"."""
        return f"{self.likelihood} likelihood" + (f" of scale {self.scale:.4g}" if self.likelihood in SCALED else "")

    def to_json(self) -> dict[str, Any]:
        """Give the spec as JSON's types, in the manifest's words."""
        return {
            "kind": self.kind,
            "data": {
                "shape": list(self.data.shape),
                "dtype": "float32",
                "layout": self.data.layout,
                "range": None if self.data.range is None else list(self.data.range),
                **({"features": [vars(feature) for feature in self.data.features]} if self.data.features else {}),
            },
            "latent": {"shape": [self.latent], "prior": PRIOR if self.kind == "vae" else None},
            "posterior": {
                "family": POSTERIOR if self.kind == "vae" else "point",
                "outputs": list(self.encoder_outputs),
            },
            "likelihood": {
                "name": self.likelihood,
                "decoder_emits": "mean",
                "range": None if self.emits_range is None else list(self.emits_range),
                **({"scale": self.scale} if self.likelihood in SCALED else {}),
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelSpec:
        """Read what `to_json` wrote, and refuse anything that this version would not write the same way.

        Raises:
            ConfigError: A field is missing, unknown to this version, or contradicts another.
        """
        try:
            limits = value["data"]["range"]
            if value["likelihood"]["name"] == "gaussian":  # older descriptions state no scale, which was always 1
                value = {**value, "likelihood": {"scale": 1.0, **value["likelihood"]}}
            spec = cls(
                kind=value["kind"],
                data=DataSpec(
                    shape=tuple(_whole(size) for size in value["data"]["shape"]),
                    range=None if limits is None else (float(limits[0]), float(limits[1])),
                    features=tuple(
                        Feature(str(feature["name"]), float(feature["offset"]), float(feature["scale"]))
                        for feature in value["data"].get("features", ())
                    ),
                ),
                latent=_whole(value["latent"]["shape"][0]),
                likelihood=value["likelihood"]["name"],
                scale=float(value["likelihood"].get("scale", 1.0)),
            )
            # Writing it again must give every field that was read: a dtype, layout, family or order of outputs that this
            # version does not know can't slip through.
            for section, expected in spec.to_json().items():
                fields = expected.items() if isinstance(expected, dict) else ()
                for name, wanted in fields:
                    found = value[section][name]
                    if found != wanted:
                        raise ConfigError(f"{section}.{name} is {found!r}, but this model's must be {wanted!r}.")
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"the model's description is incomplete or malformed: {error!r}.") from error
        return spec


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value
