"""`vaekit train`: from a data set to a run with checkpoints, with a progress bar. `train_options` has what decides the run."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vaekit.datasets.options import DataOptions
from vaekit.errors import ConfigError, command_line
from vaekit.training.config import TrainConfig

from . import train_options
from .console import console, error_console, print_json, training_extra
from .data_options import DataArgument, from_command_line, read_data, reads_data
from .options import JsonOption, QuietOption
from .terminal import TerminatedError, sigterm_raises
from .train_options import chosen_options, configured
from .train_preview import check_preview
from .train_report import TrainReport

if TYPE_CHECKING:
    from vaekit.training import Checkpoint

DEFAULT: Final = TrainConfig()
HIDDEN: Final = ",".join(map(str, DEFAULT.hidden))


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
        typer.Option(
            "--resume", metavar="RUN", help="Go on with a run, with its own options; a larger `--epochs` trains longer."
        ),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="A TOML file of options, as each run writes; others go before it."
        ),
    ] = None,
    kind: train_options.KindOption = DEFAULT.kind,
    arch: train_options.ArchOption = DEFAULT.arch,
    model: train_options.ModelOption = None,
    hidden: train_options.HiddenOption = HIDDEN,
    depth: train_options.DepthOption = None,
    width: train_options.WidthOption = None,
    dense: train_options.DenseOption = None,
    latent: train_options.LatentOption = DEFAULT.latent,
    likelihood: train_options.LikelihoodOption = DEFAULT.likelihood,
    scale: train_options.ScaleOption = None,
    objective: train_options.ObjectiveOption = DEFAULT.objective,
    importance_samples: train_options.ImportanceSamplesOption = DEFAULT.importance_samples,
    beta: train_options.BetaOption = DEFAULT.beta,
    kl_warmup: train_options.KlWarmupOption = DEFAULT.kl_warmup,
    free_bits: train_options.FreeBitsOption = DEFAULT.free_bits,
    binarize: train_options.BinarizeOption = DEFAULT.binarize,
    epochs: train_options.EpochsOption = DEFAULT.epochs,
    batch_size: train_options.BatchSizeOption = DEFAULT.batch_size,
    learning_rate: train_options.LearningRateOption = DEFAULT.learning_rate,
    schedule: train_options.ScheduleOption = DEFAULT.schedule,
    warmup: train_options.WarmupOption = DEFAULT.warmup,
    grad_clip: train_options.GradClipOption = DEFAULT.grad_clip,
    ema: train_options.EmaOption = DEFAULT.ema,
    seed: train_options.SeedOption = DEFAULT.seed,
    device: train_options.DeviceOption = DEFAULT.device,
    precision: train_options.PrecisionOption = DEFAULT.precision,
    compile_step: train_options.CompileOption = DEFAULT.compile,
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

    Stop with Ctrl-C or SIGTERM; go on with `vaekit train --resume RUN`, or longer, where the schedule is constant, with
    `--resume RUN --epochs N`. Several processes:
    `torchrun --nproc-per-node N -m vaekit train …`.
    """
    with training_extra("train"):
        from vaekit.training.checkpoint import RunInfo
        from vaekit.training.config_file import FileConfig, merged, read_config
        from vaekit.training.machine import choose_device
        from vaekit.training.ranks import is_first, local_device, ranks
        from vaekit.training.resuming import with_epochs
        from vaekit.training.trainer import train as run_training
    check_preview(preview and is_first(), console(), plain=quiet or as_json)  # of several processes one draws
    if resume is not None:
        _refuse_other_options(context)
        info = RunInfo.read(resume)
        config, source, options, folder = info.config, info.data, info.data_options, resume
        if from_command_line(context, ["epochs"]):
            config = with_epochs(resume, config, epochs)
    else:
        file = FileConfig() if config_file is None else read_config(config_file)
        chosen = {**file.train, **chosen_options(context)}
        config = configured(chosen, real_values=False)  # before the data is read, which may take long
        options = merged(DataOptions, file=file.data, given=given)
        source = data if file.source is None or from_command_line(context, ["data"]) else file.source
        folder = out or Path("runs") / _name(source)
    silent = as_json or not is_first()
    existed = os.path.lexists(folder)
    try:
        with ExitStack() as stack:
            if is_first():  # the others have nothing to put back, and must not outlive a lost connection
                stack.enter_context(sigterm_raises())
            process = stack.enter_context(ranks(local_device(choose_device(config.device))))
            # What the first process downloads and converts, the others find.
            first = process.first(lambda: read_data(source, options, quiet=quiet or silent))
            dataset = first or read_data(source, options, quiet=True)
            if resume is None and dataset.spec.range is None:
                config = configured(chosen, real_values=True)
            report = TrainReport(config, dataset, quiet=quiet or silent, silent=silent)
            if tensorboard and is_first():
                from vaekit.training.tracking import TensorBoard

                spec = config.spec(dataset.spec)
                board = stack.enter_context(TensorBoard(folder, dataset, spec, resume=resume is not None))
                report.also = board
            report.open(resume, preview=preview is not False, every=preview_every)
            stack.enter_context(report.bar())
            checkpoint = run_training(
                dataset,
                config,
                folder,
                resume=resume is not None,
                on_begin=report.begin,
                on_epoch=report.epoch,
                on_progress=report.progress,
                on_weights=report.weights if report.looks else None,
            )
    except KeyboardInterrupt as stop:
        if is_first():
            written = folder.is_dir() and (resume is not None or not existed)
            error_console().print(
                _stopped(folder, config, written=written), style="yellow", markup=False, soft_wrap=True
            )
        raise typer.Exit(128 + (signal.SIGTERM if isinstance(stop, TerminatedError) else signal.SIGINT)) from None
    if is_first():
        _ended(folder, checkpoint, report, as_json=as_json)


def _ended(run: Path, checkpoint: Checkpoint, report: TrainReport, *, as_json: bool) -> None:
    """Say what was trained."""
    if as_json:
        print_json({"run": str(run), "epoch": checkpoint.epoch, **checkpoint.history[-1]})
    elif report.done == checkpoint.epoch:
        longer = "; `--epochs N` trains longer" if checkpoint.info.config.schedule == "constant" else ""
        line = f"nothing was left to do: {run} has all its epochs, {checkpoint.epoch}{longer}"
        console().print(line, markup=False, soft_wrap=True)
    else:
        console().print(f"wrote {run}, epoch {checkpoint.epoch}", markup=False, soft_wrap=True)


def _name(source: str) -> str:
    """What `vaekit data` calls the data set: a file without its ending, or a folder."""
    path = Path(source).resolve()
    return path.stem if path.is_file() else path.name


def _stopped(run: Path, config: TrainConfig, *, written: bool) -> str:
    """What there is of a run that was stopped, and the command that goes on with it."""
    from vaekit.training.checkpoint import RunInfo
    from vaekit.training.resuming import trained_epochs

    if not written:
        return "stopped; nothing was written"
    asked = [] if RunInfo.read(run).config == config else ["--epochs", str(config.epochs)]  # not written down yet
    command = command_line("vaekit", "train", "--resume", run, *asked)
    if trained_epochs(run):
        return f"stopped; go on with {command}"
    return f"stopped before the first checkpoint; {command} starts again"


def _refuse_other_options(context: typer.Context) -> None:
    """A resumed run has its own options but for --epochs; another one would be ignored, so it is an error."""
    free = {"resume", "epochs", "tensorboard", "preview", "preview_every", "quiet", "as_json"}
    refused = from_command_line(context, set(context.params) - free)
    given = [parameter.opts[0] for parameter in context.command.params if parameter.name in refused]
    if given:
        raise ConfigError(f"--resume goes on with the run's own options, so leave out {', '.join(given)}.")
