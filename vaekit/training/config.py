"""`TrainConfig`: everything that decides what a training run does, checked when it is made.

Needs: the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Final, Literal, get_args

from vaekit.errors import ConfigError
from vaekit.spec import KINDS, LIKELIHOODS, SCALED, DataSpec, Kind, Likelihood, ModelSpec

Arch = Literal["auto", "mlp", "conv", "resnet"]
Objective = Literal["elbo", "iwae"]
Binarize = Literal["none", "dynamic"]
Schedule = Literal["constant", "cosine"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16"]

ARCHS: Final = get_args(Arch)
OBJECTIVES: Final = get_args(Objective)
BINARIZE: Final = get_args(Binarize)
SCHEDULES: Final = get_args(Schedule)
DEVICES: Final = get_args(Device)
PRECISIONS: Final = get_args(Precision)

MAX_SEED: Final = (1 << 63) - 1
"""torch takes seeds of 63 bits."""

MOST: Final = (1 << 31) - 1
"""Largest count of anything else, epochs or widths: beyond it torch fails where it makes the array."""

LEARNED: Final = "learned"

HIDDEN: Final = (400,)
"""The reference MLP's hidden layer."""

STARTING_SCALE: Final[Mapping[Likelihood, float]] = {"bernoulli": 1.0, "gaussian": 1.0, "discretized-logistic": 0.1}
"""Where a learned scale starts. 0.1 is the scale s of a logistic distribution whose standard deviation, pi s / sqrt 3, is 0.18:
the size of an untrained model's errors on pixels in [0, 1]."""

FIRST_OPTIONS: Final = (
    *("kind", "likelihood", "hidden", "latent", "beta", "epochs", "batch_size", "learning_rate", "schedule", "warmup"),
    *("seed", "device", "precision", "compile"),
)
"""What every saved configuration has; the other options came later, and a file without them means their defaults."""


@dataclass(frozen=True)
class TrainConfig:
    """What to train, and how.

    Attributes:
        kind: "vae", or "ae" for the classic autoencoder (z = mean, no KL).
        arch: "mlp", "conv" (strided convolutions; images and time series), "resnet" (the same with residual blocks);
            "auto" is "mlp", whatever the data.
        model: A module of your own instead, as "package.module:Class"; see `vaekit.training.imported`.
        hidden: "mlp": widths of the encoder's hidden layers; the decoder has them in reverse.
        depth: "conv": convolutions at each resolution; "resnet": residual blocks at each. None decides by the data's shape;
            see `vaekit.training.convolutional.default_size`.
        width: "conv", "resnet": channels after the first halving of the sides; each further one doubles them, up to four times.
            None decides by the data's shape.
        dense: "conv", "resnet": units of a hidden layer between the convolutions and the code, in each half; None has no such
            layer.
        latent: Latent dimensions, d.
        likelihood: "bernoulli", "gaussian" or "discretized-logistic"; see `vaekit.ModelSpec`.
        scale: "gaussian": the standard deviation, in standardised units; "discretized-logistic": the logistic's scale s.
            A number is fixed; "learned" is one trained number for all values. None is 1 for "gaussian" and "learned" for
            "discretized-logistic".
        objective: "elbo", or "iwae", the importance-weighted bound.
        importance_samples: Samples k of the posterior in "iwae".
        beta: Weight of the KL in the loss, ``reconstruction + beta * KL``.
        kl_warmup: Steps over which the KL's weight rises linearly from 0 to beta.
        free_bits: Nats of KL that each latent dimension has for nothing, as a mean over the batch (of several processes, over
            each one's items); 0 is the ELBO.
        binarize: "dynamic" draws each pixel anew, as a Bernoulli with the pixel's value for its probability, each time that an
            item is seen; "none" trains on the values themselves.
        epochs: Passes over the training items.
        batch_size: Items a step; the last batch of an epoch may be smaller.
        learning_rate: Adam's step size, at its peak.
        schedule: "constant", or "cosine": from the peak to 0 along half a cosine over all steps of the run.
        warmup: Steps over which the learning rate rises linearly to its peak.
        grad_clip: Largest norm of the gradient of all weights; a longer one is shortened to it. 0 leaves it as it is.
        ema: Decay of the running average of the weights that is measured and exported, e.g. 0.999; 0 takes the last weights.
        seed: Decides the initial weights, the order of items and the noise.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        precision: "fp32", or "bf16": matrix products in bfloat16, everything else in float32.
        compile: True compiles the step, which takes a C++ compiler and some 20 seconds once; where it fails, the step runs
            uncompiled. None and False do not: beside the gradient in closed form it has been measured to gain nothing.
    """

    kind: Kind = "vae"
    likelihood: Likelihood = "bernoulli"
    hidden: tuple[int, ...] = HIDDEN
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
    arch: Arch = "auto"
    model: str | None = None
    depth: int | None = None
    width: int | None = None
    dense: int | None = None
    scale: float | Literal["learned"] | None = None
    objective: Objective = "elbo"
    importance_samples: int = 1
    kl_warmup: int = 0
    free_bits: float = 0.0
    binarize: Binarize = "none"
    grad_clip: float = 0.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        """Refuse options without a meaning, each with one line."""
        self._take_numpy_numbers()
        for name, choices in (
            ("kind", KINDS),
            ("likelihood", LIKELIHOODS),
            ("schedule", SCHEDULES),
            ("device", DEVICES),
            ("precision", PRECISIONS),
            ("arch", ARCHS),
            ("objective", OBJECTIVES),
            ("binarize", BINARIZE),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name}={getattr(self, name)!r} is unknown; choose one of {', '.join(choices)}.")
        if self.compile not in (None, True, False):
            raise ConfigError(f"compile={self.compile!r}: give True, False or None.")
        self._check_counts()
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigError(f"learning_rate={self.learning_rate}: give a positive number, e.g. 0.001.")
        if not (isfinite(self.beta) and self.beta >= 0):
            raise ConfigError(f"beta={self.beta}: give 0 or more; 1 is the ELBO.")
        if not (isfinite(self.free_bits) and self.free_bits >= 0):
            raise ConfigError(
                f"free_bits={self.free_bits}: give nats for each latent dimension, e.g. 0.1, or 0 for the ELBO."
            )
        if not (isfinite(self.grad_clip) and self.grad_clip >= 0):
            raise ConfigError(
                f"grad_clip={self.grad_clip}: give the gradient's largest norm, or 0 to leave it as it is."
            )
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema={self.ema}: give a decay below 1, e.g. 0.999, or 0 for no average.")
        if self.seed > MAX_SEED:
            raise ConfigError(f"seed={self.seed}: give 0 to {MAX_SEED}.")
        self._check_scale()
        self._check_model()
        self._check_objective()

    def _take_numpy_numbers(self) -> None:
        """Make numbers of NumPy's those of Python, which JSON and TOML know."""
        for field in fields(self):
            value = getattr(self, field.name)
            if hasattr(value, "item"):
                object.__setattr__(self, field.name, value.item())

    def _check_counts(self) -> None:
        for name, least in (
            *(("latent", 1), ("epochs", 1), ("batch_size", 1), ("warmup", 0), ("seed", 0)),
            *(("depth", 1), ("width", 1), ("dense", 1), ("importance_samples", 1), ("kl_warmup", 0)),
        ):
            value = getattr(self, name)
            if value is None and name in ("depth", "width", "dense"):
                continue
            if not _whole(value) or value < least:
                raise ConfigError(f"{name}={value!r}: give a whole number, {least} or more.")
            if value > MOST and name != "seed":
                raise ConfigError(f"{name}={value}: give at most {MOST:,}.")
        widths = (width.item() if hasattr(width, "item") else width for width in self.hidden)
        object.__setattr__(self, "hidden", tuple(widths))  # a list would not equal what run.json gives back
        if not self.hidden or any(not _whole(width) or not 1 <= width <= MOST for width in self.hidden):
            raise ConfigError(
                f"hidden={self.hidden}: give the width of each hidden layer, 1 to {MOST:,}, e.g. 400 or 512,256."
            )

    def _check_scale(self) -> None:
        scale = self.scale
        if scale is None or (scale == LEARNED and self.likelihood in SCALED):
            return
        if self.likelihood not in SCALED:
            raise ConfigError(f"scale={scale!r}: the likelihood {self.likelihood!r} has no scale; leave it out.")
        if isinstance(scale, (str, bool)) or not (isfinite(scale) and scale > 0):
            raise ConfigError(f"scale={scale!r}: give a positive number, or 'learned'.")
        object.__setattr__(self, "scale", float(scale))

    def _check_model(self) -> None:
        if self.model is not None:
            module, _, name = str(self.model).partition(":")
            if not all(part.isidentifier() for part in (*module.split("."), name)):
                raise ConfigError(f"model={self.model!r}: give an import path such as mypackage.mymodule:MyVAE.")
            if self.arch != "auto":
                raise ConfigError(f"model={self.model!r} and arch={self.arch!r}: give one of the two.")
        is_mlp = self.model is None and self.arch in ("auto", "mlp")
        what = f"model={self.model!r}" if self.model is not None else f"arch={self.arch!r}"
        if not is_mlp and self.hidden != HIDDEN:
            instead = "" if self.model is not None else "; give depth, width and dense"
            raise ConfigError(f"hidden={self.hidden}: {what} has no hidden layers of given widths{instead}.")
        for option in ("depth", "width", "dense"):
            if getattr(self, option) is not None and self.arch not in ("conv", "resnet"):
                instead = "; give hidden" if is_mlp else ""
                raise ConfigError(f"{option}={getattr(self, option)}: {what} has none{instead}.")

    def _check_objective(self) -> None:
        if self.kind == "ae":
            for name, off in (("objective", "elbo"), ("free_bits", 0), ("kl_warmup", 0), ("beta", 1)):
                if getattr(self, name) != off:
                    raise ConfigError(
                        f"{name}={getattr(self, name)!r}: kind='ae' has no KL; leave it out, or take kind='vae'."
                    )
        if self.objective == "elbo" and self.importance_samples != 1:
            raise ConfigError(
                f"importance_samples={self.importance_samples}: objective='elbo' takes one; choose objective='iwae'."
            )
        if self.objective == "iwae" and self.free_bits:
            raise ConfigError(f"free_bits={self.free_bits}: objective='iwae' has no KL by dimension; leave it out.")
        if self.objective == "iwae" and self.beta != 1:
            raise ConfigError(f"beta={self.beta}: objective='iwae' is a bound at beta=1 alone; leave it out.")
        if self.binarize != "none" and self.likelihood != "bernoulli":
            raise ConfigError(f"binarize={self.binarize!r} gives zeros and ones, which need likelihood='bernoulli'.")

    @property
    def learns_scale(self) -> bool:
        """Whether the likelihood's scale is trained."""
        return self.scale == LEARNED or (self.scale is None and self.likelihood == "discretized-logistic")

    def spec(self, data: DataSpec) -> ModelSpec:
        """What the model will be, for items of a shape; a learned scale is where it starts."""
        scale = self.scale if isinstance(self.scale, float) else STARTING_SCALE[self.likelihood]
        return ModelSpec(kind=self.kind, data=data, latent=self.latent, likelihood=self.likelihood, scale=scale)

    def to_json(self) -> dict[str, Any]:
        """Give the options as JSON's types."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainConfig:
        """Read what `to_json` wrote, in this version or in an older one.

        Raises:
            ConfigError: An option is unknown, missing or malformed.
        """
        unknown = set(value) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(
                f"the configuration has options that this vaekit does not know: {', '.join(sorted(unknown))}."
            )
        missing = [name for name in FIRST_OPTIONS if name not in value]
        if missing:
            raise ConfigError(f"the configuration is incomplete or malformed: {', '.join(missing)} missing.")
        try:
            return cls(**{**value, "hidden": tuple(value["hidden"])})
        except TypeError as error:
            raise ConfigError(f"the configuration is incomplete or malformed: {error}.") from error


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
