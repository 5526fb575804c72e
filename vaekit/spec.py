"""What a model is: the data it speaks about, the size of its latent code, and what its decoder's numbers mean.

A `ModelSpec` is all that the two halves of a model, the exporter and the runtime have to agree on. How a model is built
(layers, widths) is the training side's business and never needed to run it.

Needs: the standard library. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any, Final, Literal, get_args

from vaekit.errors import ConfigError

Kind = Literal["vae", "ae"]
Likelihood = Literal["bernoulli", "gaussian"]

KINDS: Final = get_args(Kind)
LIKELIHOODS: Final = get_args(Likelihood)

LAYOUTS: Final = {1: "D", 2: "DT", 3: "CHW"}
"""Names of an item's axes by their number: features; features over time; channels, height, width."""

MAX_ITEM_VALUES: Final = 1 << 28
"""Largest number of values in one item: one gibibyte of float32. More is a damaged or hostile manifest."""

POSTERIOR: Final = "diagonal-gaussian/log-variance"
"""The posterior's family: independent normals, given by their means and the natural logs of their variances."""

PRIOR: Final = "standard-normal"


@dataclass(frozen=True)
class DataSpec:
    """The arrays that a model takes and gives, one item at a time, as float32.

    Attributes:
        shape: One item without the batch: (C, H, W), (D, T) or (D,).
        range: Smallest and largest value, or None for real values without bounds.
    """

    shape: tuple[int, ...]
    range: tuple[float, float] | None = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Refuse what no array can have."""
        if len(self.shape) not in LAYOUTS or any(size < 1 for size in self.shape):
            raise ConfigError(f"shape={self.shape}: an item is (D,), (D, T) or (C, H, W), each size at least 1.")
        if prod(self.shape) > MAX_ITEM_VALUES:
            raise ConfigError(f"shape={self.shape}: an item may hold at most {MAX_ITEM_VALUES:,} values.")
        if self.range is not None and not (isfinite(self.range[0]) and self.range[0] < self.range[1] < float("inf")):
            raise ConfigError(f"range={self.range}: give a finite minimum below a finite maximum, or None.")

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
        return len(self.shape) == 3 and self.shape[0] in (1, 3)


@dataclass(frozen=True)
class ModelSpec:
    """All that encoder, decoder, exporter and runtime agree on.

    Attributes:
        kind: "vae" (posterior, prior and KL) or "ae" (the classic autoencoder: z = mean, no KL).
        data: The items.
        latent: Number of latent dimensions, d.
        likelihood: "bernoulli": the decoder emits each value's probability of being one, in [0, 1];
            "gaussian": it emits the mean of a normal with unit variance, without bounds.
    """

    kind: Kind
    data: DataSpec
    latent: int
    likelihood: Likelihood

    def __post_init__(self) -> None:
        """Refuse combinations without a meaning."""
        if self.kind not in KINDS:
            raise ConfigError(f"kind={self.kind!r} is unknown; choose one of {', '.join(KINDS)}.")
        if self.likelihood not in LIKELIHOODS:
            raise ConfigError(f"likelihood={self.likelihood!r} is unknown; choose one of {', '.join(LIKELIHOODS)}.")
        if self.latent < 1:
            raise ConfigError(f"latent={self.latent}: a latent code needs at least one dimension.")
        if self.likelihood == "bernoulli" and self.data.range != (0.0, 1.0):
            raise ConfigError(
                f"likelihood='bernoulli' needs data in [0, 1], but the range is {self.data.range}; "
                "scale the data, or use likelihood='gaussian'."
            )

    @property
    def encoder_outputs(self) -> tuple[str, ...]:
        """Names of the encoder's outputs, in order."""
        return ("mean", "log_var") if self.kind == "vae" else ("mean",)

    @property
    def emits_range(self) -> tuple[float, float] | None:
        """Bounds of what the decoder emits, or None."""
        return (0.0, 1.0) if self.likelihood == "bernoulli" else None

    def to_json(self) -> dict[str, Any]:
        """Give the spec as JSON's types, in the manifest's words."""
        return {
            "kind": self.kind,
            "data": {
                "shape": list(self.data.shape),
                "dtype": "float32",
                "layout": self.data.layout,
                "range": None if self.data.range is None else list(self.data.range),
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
            spec = cls(
                kind=value["kind"],
                data=DataSpec(
                    shape=tuple(_whole(size) for size in value["data"]["shape"]),
                    range=None if limits is None else (float(limits[0]), float(limits[1])),
                ),
                latent=_whole(value["latent"]["shape"][0]),
                likelihood=value["likelihood"]["name"],
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
