"""`vaekit train`: from a data set to a run with checkpoints, with a progress bar."""

from __future__ import annotations

import shlex
import signal
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from vaekit.datasets.options import DataOptions
from vaekit.errors import ConfigError
from vaekit.training.config import Device, Precision, Schedule, TrainConfig

from .console import console, error_console, print_json, training_extra
from .data_options import (
    DataArgument,
    from_command_line,
    read_data,
    reads_data,
)
from .options import JsonOption, QuietOption
from .terminal import TerminatedError, sigterm_raises
from .train_preview import check_preview
from .train_report import TrainReport

DEFAULT = TrainConfig()
MODEL, OBJECTIVE, OPTIMISER = "The model", "The objective", "The optimiser"


@reads_data
def train(
    context: typer.Context,
    given: dict[str, Any],
    data: DataArgument = "mnist",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="The run's folder; without it, `runs/` and the data's name."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run that was stopped, with its own options."),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="A TOML file of options, as each run writes; others go before it."
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option("--kind", metavar="vae|ae", rich_help_panel=MODEL, help="`ae` is the classic autoencoder.")
    ] = DEFAULT.kind,
    arch: Annotated[
        str,
        typer.Option(
            "--arch", metavar="auto|mlp|conv|resnet", rich_help_panel=MODEL, help="The network; `auto` is `mlp`."
        ),
    ] = DEFAULT.arch,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="PACKAGE.MODULE:CLASS", rich_help_panel=MODEL, help="A network of your own instead."
        ),
    ] = None,
    hidden: Annotated[
        str,
        typer.Option(
            "--hidden", metavar="W[,W…]", rich_help_panel=MODEL, help="`mlp`: widths of the encoder's hidden layers."
        ),
    ] = ",".join(map(str, DEFAULT.hidden)),
    depth: Annotated[
        int | None,
        typer.Option("--depth", rich_help_panel=MODEL, help="`conv`, `resnet`: layers or blocks at each resolution."),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option("--width", rich_help_panel=MODEL, help="`conv`, `resnet`: channels at the highest resolution."),
    ] = None,
    dense: Annotated[
        int | None,
        typer.Option(
            "--dense",
            rich_help_panel=MODEL,
            help="`conv`, `resnet`: units of a hidden layer beside the code; none without it.",
        ),
    ] = None,
    latent: Annotated[int, typer.Option("--latent", rich_help_panel=MODEL, help="Latent dimensions.")] = DEFAULT.latent,
    likelihood: Annotated[
        str,
        typer.Option(
            "--likelihood",
            metavar="bernoulli|gaussian|discretized-logistic",
            rich_help_panel=OBJECTIVE,
            help="Cross-entropy, squared error, or 8-bit levels (gives bits per dimension). Without it `bernoulli`, or "
            "for values beyond 0 to 1, or with --scale, `gaussian`.",
        ),
    ] = DEFAULT.likelihood,
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            metavar="NUMBER|learned",
            rich_help_panel=OBJECTIVE,
            help="`gaussian`: the standard deviation; `discretized-logistic`: the logistic's scale.",
        ),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            "--objective", metavar="elbo|iwae", rich_help_panel=OBJECTIVE, help="`iwae`: the importance-weighted bound."
        ),
    ] = DEFAULT.objective,
    importance_samples: Annotated[
        int,
        typer.Option("--importance-samples", metavar="K", rich_help_panel=OBJECTIVE, help="`iwae`: samples an item."),
    ] = DEFAULT.importance_samples,
    beta: Annotated[
        float,
        typer.Option("--beta", rich_help_panel=OBJECTIVE, help="Weight of the KL in the loss; 1 is the ELBO."),
    ] = DEFAULT.beta,
    kl_warmup: Annotated[
        int,
        typer.Option(
            "--kl-warmup", metavar="STEPS", rich_help_panel=OBJECTIVE, help="Steps over which that weight rises from 0."
        ),
    ] = DEFAULT.kl_warmup,
    free_bits: Annotated[
        float,
        typer.Option(
            "--free-bits",
            metavar="NATS",
            rich_help_panel=OBJECTIVE,
            help="KL that each latent dimension has for nothing.",
        ),
    ] = DEFAULT.free_bits,
    binarize: Annotated[
        str,
        typer.Option(
            "--binarize",
            metavar="none|dynamic",
            rich_help_panel=OBJECTIVE,
            help="`dynamic`: draw each pixel as 0 or 1, anew each time.",
        ),
    ] = DEFAULT.binarize,
    epochs: Annotated[
        int, typer.Option("--epochs", rich_help_panel=OPTIMISER, help="Passes over the training items.")
    ] = DEFAULT.epochs,
    batch_size: Annotated[
        int, typer.Option("--batch-size", rich_help_panel=OPTIMISER, help="Items a step, of all processes together.")
    ] = DEFAULT.batch_size,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", rich_help_panel=OPTIMISER, help="Adam's step size.")
    ] = DEFAULT.learning_rate,
    schedule: Annotated[
        Schedule,
        typer.Option(
            "--schedule", rich_help_panel=OPTIMISER, help="`cosine` lets the learning rate fall to 0 over the run."
        ),
    ] = DEFAULT.schedule,
    warmup: Annotated[
        int, typer.Option("--warmup", rich_help_panel=OPTIMISER, help="Steps over which the learning rate rises.")
    ] = DEFAULT.warmup,
    grad_clip: Annotated[
        float,
        typer.Option("--grad-clip", metavar="NORM", rich_help_panel=OPTIMISER, help="Longest gradient; 0 clips none."),
    ] = DEFAULT.grad_clip,
    ema: Annotated[
        float,
        typer.Option(
            "--ema",
            metavar="DECAY",
            rich_help_panel=OPTIMISER,
            help="Export a running average of the weights, e.g. 0.999.",
        ),
    ] = DEFAULT.ema,
    seed: Annotated[
        int, typer.Option("--seed", rich_help_panel=OPTIMISER, help="Decides weights, order and noise.")
    ] = DEFAULT.seed,
    device: Annotated[
        Device, typer.Option("--device", rich_help_panel=OPTIMISER, help="Where to train.")
    ] = DEFAULT.device,
    precision: Annotated[
        Precision, typer.Option("--precision", rich_help_panel=OPTIMISER, help="`bf16`: matrix products in bfloat16.")
    ] = DEFAULT.precision,
    compile_step: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile", rich_help_panel=OPTIMISER, help="Compile the step; needs a C++ compiler."
        ),
    ] = DEFAULT.compile,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write numbers and pictures for TensorBoard into the run's folder.")
    ] = False,
    preview: Annotated[
        bool | None,
        typer.Option(
            "--preview/--no-preview",
            help="Draw reconstructions, samples and the loss curve above the bar; without either, in a terminal with colours.",
        ),
    ] = None,
    preview_every: Annotated[
        int, typer.Option("--preview-every", metavar="EPOCHS", min=1, help="Epochs from one drawing to the next.")
    ] = 1,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a variational autoencoder (or a classic one), with a checkpoint after each epoch.

    Stop with Ctrl-C or SIGTERM; go on with `vaekit train --resume RUN`. Several processes:
    `torchrun --nproc-per-node N -m vaekit train …`.
    """
    with training_extra("train"):
        from vaekit.training.checkpoint import RunInfo
        from vaekit.training.config_file import FileConfig, merged, read_config
        from vaekit.training.ranks import is_first, local_device, ranks
        from vaekit.training.trainer import choose_device
        from vaekit.training.trainer import train as run_training
    check_preview(preview and is_first(), console(), plain=quiet or as_json)  # of several processes one draws
    if resume is not None:
        _refuse_other_options(context)
        info = RunInfo.read(resume)
        config, source, options, folder = info.config, info.data, info.data_options, resume
    else:
        file = FileConfig() if config_file is None else read_config(config_file)
        chosen = {**file.train, **_chosen(context)}
        config = _config(chosen, real_values=False)  # before the data is read, which may take long
        options = merged(DataOptions, file=file.data, given=given)
        source = data if file.source is None or from_command_line(context, ["data"]) else file.source
        folder = out or Path("runs") / Path(source).resolve().name
    silent = as_json or not is_first()
    try:
        with ExitStack() as stack:
            if is_first():  # the others have nothing to put back, and must not outlive a lost connection
                stack.enter_context(sigterm_raises())
            process = stack.enter_context(ranks(local_device(choose_device(config.device))))
            # What the first process downloads and converts, the others find.
            first = process.first(lambda: read_data(source, options, quiet=quiet or silent))
            dataset = first or read_data(source, options, quiet=True)
            if resume is None and dataset.spec.range is None:
                config = _config(chosen, real_values=True)
            report = TrainReport(config, dataset.spec, quiet=quiet or silent, silent=silent)
            report.begin(dataset)
            if tensorboard and is_first():
                from vaekit.training.tracking import TensorBoard

                spec = config.spec(dataset.spec)
                board = stack.enter_context(TensorBoard(folder, dataset, spec, resume=resume is not None))
                report.also = board
            report.open(dataset, resume, preview=preview is not False, every=preview_every)
            stack.enter_context(report.bar())
            checkpoint = run_training(
                dataset,
                config,
                folder,
                resume=resume is not None,
                on_epoch=report.epoch,
                on_progress=report.progress,
                on_weights=report.weights if report.looks else None,
            )
    except KeyboardInterrupt as stop:
        if is_first():
            command = shlex.join(["vaekit", "train", "--resume", str(folder)])
            line = f"stopped; go on with `{command}`" if folder.is_dir() else "stopped; nothing was written"
            error_console().print(line, style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(128 + (signal.SIGTERM if isinstance(stop, TerminatedError) else signal.SIGINT)) from None
    if not is_first():
        return
    if as_json:
        print_json({"run": str(folder), "epoch": checkpoint.epoch, **checkpoint.history[-1]})
    else:
        console().print(f"wrote {folder}, epoch {checkpoint.epoch}", markup=False, soft_wrap=True)


def _chosen(context: typer.Context) -> dict[str, Any]:
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


def _config(chosen: dict[str, Any], *, real_values: bool) -> TrainConfig:
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


def _refuse_other_options(context: typer.Context) -> None:
    """A resumed run has its own options; another one given beside --resume would be ignored, so it is an error."""
    free = {"resume", "tensorboard", "preview", "preview_every", "quiet", "as_json"}
    refused = from_command_line(context, set(context.params) - free)
    given = [parameter.opts[0] for parameter in context.command.params if parameter.name in refused]
    if given:
        raise ConfigError(f"--resume goes on with the run's own options, so leave out {', '.join(given)}.")
