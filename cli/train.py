"""`vaekit train`: from a data set to a run with checkpoints, with a progress bar."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.errors import ConfigError
from vaekit.training.config import Device, Precision, Schedule, TrainConfig

from .console import console, error_console, print_json, training_extra
from .options import JsonOption, QuietOption

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from vaekit.training import EpochMetrics, Progress

DEFAULT = TrainConfig()


def train(
    context: typer.Context,
    data: Annotated[str, typer.Argument(metavar="DATA", help="`mnist`, or a folder of IDX files.")] = "mnist",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", help="The run's folder; without it, `runs/` and the data's name."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run that was stopped, with its own options."),
    ] = None,
    kind: Annotated[
        str, typer.Option("--kind", metavar="vae|ae", help="`ae` is the classic autoencoder.")
    ] = DEFAULT.kind,
    likelihood: Annotated[
        str, typer.Option("--likelihood", metavar="bernoulli|gaussian", help="Cross-entropy, or squared error.")
    ] = DEFAULT.likelihood,
    hidden: Annotated[
        str, typer.Option("--hidden", metavar="W[,W…]", help="Widths of the encoder's hidden layers.")
    ] = "400",
    latent: Annotated[int, typer.Option("--latent", help="Latent dimensions.")] = DEFAULT.latent,
    beta: Annotated[float, typer.Option("--beta", help="Weight of the KL in the loss; 1 is the ELBO.")] = DEFAULT.beta,
    epochs: Annotated[int, typer.Option("--epochs", help="Passes over the training items.")] = DEFAULT.epochs,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Items a step.")] = DEFAULT.batch_size,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="Adam's step size.")] = DEFAULT.learning_rate,
    schedule: Annotated[
        Schedule, typer.Option("--schedule", help="`cosine` lets the learning rate fall to 0 over the run.")
    ] = DEFAULT.schedule,
    warmup: Annotated[int, typer.Option("--warmup", help="Steps over which the learning rate rises.")] = DEFAULT.warmup,
    seed: Annotated[int, typer.Option("--seed", help="Decides weights, order and noise.")] = DEFAULT.seed,
    device: Annotated[Device, typer.Option("--device", help="Where to train.")] = DEFAULT.device,
    precision: Annotated[
        Precision, typer.Option("--precision", help="`bf16`: matrix products in bfloat16.")
    ] = DEFAULT.precision,
    compile_step: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the step; without it, where it pays.")
    ] = DEFAULT.compile,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a variational autoencoder (or a classic one), with a checkpoint after each epoch.

    Stop with Ctrl-C; go on with `vaekit train --resume RUN`.
    """
    with training_extra("train"):
        from vaekit.datasets import load_dataset
        from vaekit.training.checkpoint import RunInfo
        from vaekit.training.trainer import train as run_training
    if resume is not None:
        _refuse_other_options(context)
        info = RunInfo.read(resume)
        config, source, folder = info.config, info.data, resume
    else:
        config = TrainConfig(
            kind=kind,  # type: ignore[arg-type]  # TrainConfig checks it, with a better message
            likelihood=likelihood,  # type: ignore[arg-type]
            hidden=_widths(hidden),
            latent=latent,
            beta=beta,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            schedule=schedule,
            warmup=warmup,
            seed=seed,
            device=device,
            precision=precision,
            compile=compile_step,
        )
        source, folder = data, out or Path("runs") / Path(data).resolve().name
    dataset = load_dataset(source)
    report = _Report(config, quiet=quiet or as_json, silent=as_json)
    report.begin(dataset.name, len(dataset.train), len(dataset.test))
    try:
        with report.bar():
            checkpoint = run_training(
                dataset,
                config,
                folder,
                resume=resume is not None,
                on_epoch=report.epoch,
                on_progress=report.progress,
            )
    except KeyboardInterrupt:
        command = shlex.join(["vaekit", "train", "--resume", str(folder)])
        error_console().print(f"stopped; go on with `{command}`", style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        print_json({"run": str(folder), "epoch": checkpoint.epoch, **checkpoint.history[-1]})
    else:
        console().print(f"wrote {folder}, epoch {checkpoint.epoch}", markup=False, soft_wrap=True)


class _Report:
    """The progress bar, or plain lines where there is no terminal."""

    def __init__(self, config: TrainConfig, *, quiet: bool, silent: bool) -> None:
        self._config = config
        self._console = console()
        self._silent = silent
        self._bar: Bar | None = None
        self._task: Any = None
        self._wanted = not quiet and self._console.is_terminal

    def begin(self, name: str, train_items: int, test_items: int) -> None:
        config = self._config
        self._print(
            f"{name}: {train_items:,} training items, {test_items:,} test items; {config.kind}, "
            f"hidden {','.join(map(str, config.hidden))}, latent {config.latent}, {config.likelihood}, beta {config.beta:g}; "
            f"Adam {config.learning_rate:g} {config.schedule}, batch {config.batch_size}, {config.precision}, "
            f"seed {config.seed}"
        )

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Show a bar with epoch, rate, time left and the loss while the block runs."""
        if not self._wanted:
            yield
            return
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[rate]} steps/s"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[loss]}"),
        )
        with Bar(*columns, console=self._console, transient=True, speed_estimate_period=10) as self._bar:
            self._task = self._bar.add_task(
                "train", total=None, epoch=1, epochs=self._config.epochs, rate="-", loss="starting"
            )
            yield

    def progress(self, at: Progress) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        task = self._bar.tasks[0]
        if task.total is None:  # a resumed run begins with the epochs that are done
            self._bar.reset(self._task, total=at.epochs * at.steps, completed=(at.epoch - 1) * at.steps)
        self._bar.update(
            self._task,
            completed=(at.epoch - 1) * at.steps + at.step,
            epoch=at.epoch,
            rate="-" if task.speed is None else f"{task.speed:.0f}",
            loss=f"-ELBO {at.reconstruction + at.kl:.2f} = {at.reconstruction:.2f} + {at.kl:.2f}",
        )

    def epoch(self, metrics: EpochMetrics) -> None:
        """Print an epoch's line."""
        m = metrics
        self._print(
            f"epoch {m.epoch}/{self._config.epochs}  train -ELBO {m.train_negative_elbo:.2f}  "
            f"test -ELBO {m.test_negative_elbo:.2f} = {m.test_reconstruction:.2f} reconstruction + {m.test_kl:.2f} KL  "
            f"{m.steps / m.seconds:.0f} steps/s  {m.seconds:.1f} s"
        )

    def _print(self, line: str) -> None:
        if not self._silent:
            (self._bar.console if self._bar is not None else self._console).print(line, markup=False, soft_wrap=True)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError:
        raise ConfigError(f"--hidden {text!r}: give widths separated by commas, e.g. 400 or 512,256.") from None


def _refuse_other_options(context: typer.Context) -> None:
    """A resumed run has its own options; another one given beside --resume would be ignored, so it is an error."""
    free = {"resume", "quiet", "as_json"}
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in free
        and getattr(context.get_parameter_source(parameter.name or ""), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise ConfigError(f"--resume goes on with the run's own options, so leave out {', '.join(given)}.")
