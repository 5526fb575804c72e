"""Options of `vaekit train` that decide what a run does, spelt and explained once, and the `TrainConfig` that they make.

Needs: typer.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Final

import typer

from vaekit.errors import ConfigError
from vaekit.training.config import Device, Precision, Schedule, TrainConfig

from .data_options import from_command_line

MODEL: Final = "The model"
OBJECTIVE: Final = "The objective"
OPTIMISER: Final = "The optimiser"

KindOption = Annotated[
    str, typer.Option("--kind", metavar="vae|ae", rich_help_panel=MODEL, help="`ae` is the classic autoencoder.")
]
ArchOption = Annotated[
    str,
    typer.Option("--arch", metavar="auto|mlp|conv|resnet", rich_help_panel=MODEL, help="The network; `auto` is `mlp`."),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="PACKAGE.MODULE:CLASS", rich_help_panel=MODEL, help="A network of your own instead."
    ),
]
HiddenOption = Annotated[
    str,
    typer.Option(
        "--hidden", metavar="W[,W…]", rich_help_panel=MODEL, help="`mlp`: widths of the encoder's hidden layers."
    ),
]
DepthOption = Annotated[
    int | None,
    typer.Option(
        "--depth",
        rich_help_panel=MODEL,
        help="`conv`, `resnet`: layers or blocks at each resolution; else by the shape.",
    ),
]
WidthOption = Annotated[
    int | None,
    typer.Option(
        "--width", rich_help_panel=MODEL, help="`conv`, `resnet`: channels after the first halving; else by the shape."
    ),
]
DenseOption = Annotated[
    int | None,
    typer.Option(
        "--dense",
        rich_help_panel=MODEL,
        help="`conv`, `resnet`: units of a hidden layer beside the code; none without it.",
    ),
]
LatentOption = Annotated[int, typer.Option("--latent", rich_help_panel=MODEL, help="Latent dimensions.")]
LikelihoodOption = Annotated[
    str,
    typer.Option(
        "--likelihood",
        metavar="bernoulli|gaussian|discretized-logistic",
        rich_help_panel=OBJECTIVE,
        help="Cross-entropy, squared error, or 8-bit levels (gives bits per dimension). Without it `bernoulli`, or "
        "for values beyond 0 to 1, or with --scale, `gaussian`.",
    ),
]
ScaleOption = Annotated[
    str | None,
    typer.Option(
        "--scale",
        metavar="NUMBER|learned",
        rich_help_panel=OBJECTIVE,
        help="`gaussian`: the standard deviation; `discretized-logistic`: the logistic's scale.",
    ),
]
ObjectiveOption = Annotated[
    str,
    typer.Option(
        "--objective", metavar="elbo|iwae", rich_help_panel=OBJECTIVE, help="`iwae`: the importance-weighted bound."
    ),
]
ImportanceSamplesOption = Annotated[
    int,
    typer.Option("--importance-samples", metavar="K", rich_help_panel=OBJECTIVE, help="`iwae`: samples an item."),
]
BetaOption = Annotated[
    float,
    typer.Option("--beta", rich_help_panel=OBJECTIVE, help="Weight of the KL in the loss; 1 is the ELBO."),
]
KlWarmupOption = Annotated[
    int,
    typer.Option(
        "--kl-warmup", metavar="STEPS", rich_help_panel=OBJECTIVE, help="Steps over which that weight rises from 0."
    ),
]
FreeBitsOption = Annotated[
    float,
    typer.Option(
        "--free-bits",
        metavar="NATS",
        rich_help_panel=OBJECTIVE,
        help="KL that each latent dimension has for nothing.",
    ),
]
BinarizeOption = Annotated[
    str,
    typer.Option(
        "--binarize",
        metavar="none|dynamic",
        rich_help_panel=OBJECTIVE,
        help="`dynamic`: draw each pixel as 0 or 1, anew each time.",
    ),
]
EpochsOption = Annotated[
    int, typer.Option("--epochs", rich_help_panel=OPTIMISER, help="Passes over the training items.")
]
BatchSizeOption = Annotated[
    int, typer.Option("--batch-size", rich_help_panel=OPTIMISER, help="Items a step, of all processes together.")
]
LearningRateOption = Annotated[
    float, typer.Option("--learning-rate", rich_help_panel=OPTIMISER, help="Adam's step size.")
]
ScheduleOption = Annotated[
    Schedule,
    typer.Option(
        "--schedule", rich_help_panel=OPTIMISER, help="`cosine` lets the learning rate fall to 0 over the run."
    ),
]
WarmupOption = Annotated[
    int, typer.Option("--warmup", rich_help_panel=OPTIMISER, help="Steps over which the learning rate rises.")
]
GradClipOption = Annotated[
    float,
    typer.Option("--grad-clip", metavar="NORM", rich_help_panel=OPTIMISER, help="Longest gradient; 0 clips none."),
]
EmaOption = Annotated[
    float,
    typer.Option(
        "--ema",
        metavar="DECAY",
        rich_help_panel=OPTIMISER,
        help="Export a running average of the weights, e.g. 0.999.",
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", rich_help_panel=OPTIMISER, help="Decides weights, order and noise.")]
DeviceOption = Annotated[Device, typer.Option("--device", rich_help_panel=OPTIMISER, help="Where to train.")]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", rich_help_panel=OPTIMISER, help="`bf16`: matrix products in bfloat16.")
]
CompileOption = Annotated[
    bool | None,
    typer.Option("--compile/--no-compile", rich_help_panel=OPTIMISER, help="Compile the step; needs a C++ compiler."),
]


def chosen_options(context: typer.Context) -> dict[str, Any]:
    """Those of the model's and the trainer's options that stand on the command line, as `TrainConfig` takes them."""
    names = {field.name for field in fields(TrainConfig)} - {"compile"} | {"compile_step"}
    chosen = from_command_line(context, names & set(context.params))
    if "compile_step" in chosen:
        chosen["compile"] = chosen.pop("compile_step")
    if "hidden" in chosen:
        chosen["hidden"] = _widths(chosen["hidden"])
    if "scale" in chosen:
        chosen["scale"] = _scale(chosen["scale"])
    return chosen


def configured(chosen: dict[str, Any], *, real_values: bool) -> TrainConfig:
    """Make the configuration; for real values, where no likelihood was chosen, a Gaussian one with a learned scale.

    Raises:
        ConfigError: The options have no meaning together.
    """
    if "likelihood" not in chosen and (real_values or "scale" in chosen):
        chosen = {"scale": "learned", **chosen, "likelihood": "gaussian"}
    return TrainConfig(**chosen)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError:
        raise ConfigError(f"--hidden {text!r}: give widths separated by commas, e.g. 400 or 512,256.") from None


def _scale(text: str) -> float | str:
    try:
        return text if text == "learned" else float(text)
    except ValueError:
        raise ConfigError(f"--scale {text!r}: give a positive number, or `learned`.") from None
