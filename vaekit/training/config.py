"""`TrainConfig`: everything that decides what a training run does, checked when it is made.

Needs: the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Final, Literal, get_args

from vaekit.errors import ConfigError
from vaekit.spec import KINDS, LIKELIHOODS, DataSpec, Kind, Likelihood, ModelSpec

Schedule = Literal["constant", "cosine"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16"]

SCHEDULES: Final = get_args(Schedule)
DEVICES: Final = get_args(Device)
PRECISIONS: Final = get_args(Precision)

MAX_SEED: Final = (1 << 63) - 1
"""torch takes seeds of 63 bits."""


@dataclass(frozen=True)
class TrainConfig:
    """What to train, and how.

    Attributes:
        kind: "vae", or "ae" for the classic autoencoder (z = mean, no KL).
        likelihood: "bernoulli" or "gaussian"; see `ModelSpec`.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
        latent: Latent dimensions, d.
        beta: Weight of the KL in the loss, ``reconstruction + beta * KL``.
        epochs: Passes over the training items.
        batch_size: Items a step; the last batch of an epoch may be smaller.
        learning_rate: Adam's step size, at its peak.
        schedule: "constant", or "cosine": from the peak to 0 along half a cosine over all steps of the run.
        warmup: Steps over which the learning rate rises linearly to its peak.
        seed: Decides the initial weights, the order of items and the noise.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        precision: "fp32", or "bf16": matrix products in bfloat16, everything else in float32.
        compile: Whether to compile the step; None compiles where a compiler is found and the run is long enough to pay.
    """

    kind: Kind = "vae"
    likelihood: Likelihood = "bernoulli"
    hidden: tuple[int, ...] = (400,)
    latent: int = 20
    beta: float = 1.0
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    warmup: int = 0
    seed: int = 0
    device: Device = "auto"
    precision: Precision = "fp32"
    compile: bool | None = None

    def __post_init__(self) -> None:
        """Refuse options without a meaning, each with one line."""
        for name, choices in (
            ("kind", KINDS),
            ("likelihood", LIKELIHOODS),
            ("schedule", SCHEDULES),
            ("device", DEVICES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(choices)}.")
        for name, least in (("latent", 1), ("epochs", 1), ("batch_size", 1), ("warmup", 0), ("seed", 0)):
            if not _whole(getattr(self, name)) or getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)}: give a whole number, {least} or more.")
        object.__setattr__(self, "hidden", tuple(self.hidden))  # a list would not equal what run.json gives back
        if not self.hidden or any(not _whole(width) or width < 1 for width in self.hidden):
            raise ConfigError(
                f"hidden={self.hidden}: give the width of each hidden layer, 1 or more, e.g. 400 or 512,256."
            )
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigError(f"learning_rate={self.learning_rate}: give a positive number, e.g. 0.001.")
        if not (isfinite(self.beta) and self.beta >= 0):
            raise ConfigError(f"beta={self.beta}: give 0 or more; 1 is the ELBO.")
        if self.seed > MAX_SEED:
            raise ConfigError(f"seed={self.seed}: give 0 to {MAX_SEED}.")

    def spec(self, data: DataSpec) -> ModelSpec:
        """What the trained model will be, for items of a shape."""
        return ModelSpec(kind=self.kind, data=data, latent=self.latent, likelihood=self.likelihood)

    def to_json(self) -> dict[str, Any]:
        """Give the options as JSON's types."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainConfig:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: An option is unknown or malformed.
        """
        unknown = set(value) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(
                f"the configuration has options that this vaekit does not know: {', '.join(sorted(unknown))}."
            )
        try:
            return cls(**{**value, "hidden": tuple(value["hidden"])})
        except (KeyError, TypeError) as error:
            raise ConfigError(f"the configuration is incomplete or malformed: {error}.") from error


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
