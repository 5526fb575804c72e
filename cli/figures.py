"""`vaekit figures`: what a lecture on variational autoencoders draws on the board, from one model."""

from __future__ import annotations

import contextlib
import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vaekit.errors import ConfigError, DataError, OutputError

from .console import console, error_console, print_json
from .data_options import for_model, from_command_line, read_data, reads_data
from .encode import check_columns
from .options import (
    LABEL_RULE,
    ForceOption,
    JsonOption,
    PrecisionOption,
    ProviderOption,
    QuietOption,
    SeedOption,
    ThreadsOption,
    listed,
)
from .streaming import stoppable

if TYPE_CHECKING:
    from vaekit.datasets import Dataset
    from vaekit.figures import Subject
    from vaekit.figures.model import Model
    from vaekit.figures.trained import Run
    from vaekit.training import Progress

MODELS: Final = "models"
"""Folder in OUT where small models are kept."""


@reads_data
def figures(
    context: typer.Context,
    given: dict[str, Any],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the pictures, NAME.png and NAME.svg.")],
    model: Annotated[
        Path | None,
        typer.Argument(metavar="RUN|BUNDLE", help="A run's folder or a bundle; without it, the built-in MNIST model."),
    ] = None,
    only: Annotated[str, typer.Option("--only", metavar="NAME[,NAME…]", help="These figures; without it, all.")] = "",
    formats: Annotated[str, typer.Option("--format", metavar="png|svg|png,svg", help="What to write.")] = "png,svg",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME|PATH",
            help="Items to show, its test items; without it, the run's own data, or the bundle's examples.",
        ),
    ] = None,
    ae: Annotated[
        Path | None,
        typer.Option(
            "--ae", metavar="RUN|BUNDLE", help="A plain autoencoder to morph through; without it, one is trained."
        ),
    ] = None,
    betas: Annotated[
        str,
        typer.Option(
            "--betas",
            metavar="RUN|BUNDLE[,…]",
            help="VAEs of 2 latent dimensions for the bubbles; without it, three are trained, of beta 0, 1 and 4.",
        ),
    ] = "",
    small_epochs: Annotated[
        int, typer.Option("--small-epochs", min=1, help="Epochs of each small model that is trained.")
    ] = 5,
    models: Annotated[
        Path | None,
        typer.Option(
            "--models", metavar="DIR", help="Where small models are kept, and found again; without it, OUT/models."
        ),
    ] = None,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Whether small models may be trained.")] = True,
    projection: Annotated[
        str,
        typer.Option("--projection", metavar="pca|tsne|umap", help="A second row for the means, below that of pca."),
    ] = "pca",
    first: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="LABEL|@INDEX",
            help=f"Where the morph begins, at a label ({LABEL_RULE}) or an index; without it, at a 3.",
        ),
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="LABEL|@INDEX", help="Where it ends; without it, at an 8.")
    ] = None,
    seed: SeedOption = 0,
    precision: PrecisionOption = "fp32",
    provider: ProviderOption = "auto",
    threads: ThreadsOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw figures of a model: diagram, posterior, kl, samples, morph, means, training, reconstructions, traversals, aggregate.

    One that does not apply is left out, and a line says why. `posterior` and `morph` compare with small models, which are
    trained once, for a few epochs, with the model's own options on its own data.
    """
    from vaekit.figures import NotDrawn, check_names, draw, picture
    from vaekit.figures.projection import check_projection
    from vaekit.figures.style import PALETTE, check_matplotlib
    from vaekit.storage import write_file

    names, endings = check_names(listed(only)), _formats(formats)
    check_projection(projection)
    _check_used(context, model, [path for path in (ae, *map(Path, listed(betas))) if path is not None])
    check_matplotlib()
    _check_out(out, [out / f"{name}.{ending}" for name in names for ending in endings], force=force)
    silent = quiet or as_json
    written: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    with stoppable(None), ExitStack() as stack:
        report = _Report(stack, silent=silent)
        subject, dataset = _open(
            model, data, given, precision=precision, provider=provider, threads=threads, silent=silent
        )
        subject = replace(subject, seed=seed, projection=projection, ends=(first, last))  # type: ignore[arg-type]  # checked
        subject = _compared(
            subject, ae, listed(betas), dataset, models or out / MODELS, train, small_epochs, report, provider, threads
        )
        shape = subject.model.spec.data.shape
        colours = None if len(shape) == 3 and shape[0] == 3 else PALETTE
        for name, outcome in draw(subject, names):
            report.pause()
            if isinstance(outcome, NotDrawn):
                skipped.append({"figure": name, "reason": outcome.reason})
                _say(f"skipped {name}: {outcome.reason}", wanted=not as_json)
                continue
            for ending in endings:
                path = out / f"{name}.{ending}"
                content = picture(outcome, ending, colours=colours)  # type: ignore[arg-type]  # checked
                write_file(path, content, overwrite=force)
                written.append({"figure": name, "file": str(path), "bytes": len(content)})
                _say(f"wrote {path}", wanted=not as_json)
    if not written:
        with contextlib.suppress(OSError):  # there are other files in it
            out.rmdir()
        raise ConfigError(
            "no figure was drawn: " + "; ".join(f"{each['figure']}: {each['reason']}" for each in skipped) + "."
        )
    if as_json:
        print_json({"model": subject.model.name, "items": len(subject.test), "written": written, "skipped": skipped})


def _check_used(context: typer.Context, model: Path | None, others: list[Path]) -> None:
    """Refuse options of running a bundle where no bundle is run: torch runs a run.

    Raises:
        ConfigError: One stands on the command line.
    """
    from vaekit.places import is_run

    if model is None or not is_run(model):
        return
    of_any = () if not all(map(is_run, others)) else ("provider", "threads")
    for name in from_command_line(context, ("precision", *of_any)):
        raise ConfigError(
            f"--{name} says how a bundle is run, but {model} is a run, which torch runs; leave it out, or give a bundle."
        )


def _open(
    model: Path | None,
    data: str | None,
    given: dict[str, Any],
    *,
    precision: str,
    provider: str,
    threads: int | None,
    silent: bool,
) -> tuple[Subject, Dataset | None]:
    """Open the model and the items that it is shown.

    Raises:
        DataError: The run's data is no longer what it was trained on, or the data does not fit the model.
    """
    from vaekit.datasets import Split, options_for
    from vaekit.figures import Subject
    from vaekit.figures.model import of_bundle
    from vaekit.figures.sources import open_run
    from vaekit.places import is_run
    from vaekit.runtime.vae import VAE

    run: Run | None = None
    if model is not None and is_run(model):
        run = open_run(model)
        opened = run.model
    else:
        vae = VAE(model, precision=precision, provider=provider, threads=threads)
        opened = of_bundle(vae)
        if data is None:
            if given:
                raise ConfigError(f"--{next(iter(given)).replace('_', '-')} says how to read data; give --data too.")
            golden = vae.bundle.golden()
            _say(
                f"drawn from the bundle's own {len(golden.x)} examples; --data gives more",
                wanted=not silent,
                remark=True,
            )
            return Subject(opened, Split(golden.x, golden.labels)), None
    if data is not None or run is None:
        source, options = str(data), options_for(str(data), opened.spec.data)
    else:
        source, options = run.data, run.data_options
    dataset = read_data(source, for_model(options, given, source), quiet=silent)
    if run is not None and data is None and dataset.sha256 != run.data_sha256:
        raise DataError(f"{source!r} is no longer what {model} was trained on; name the data with --data.")
    check_columns(dataset, opened.spec.data)
    subject = Subject(opened, dataset.test, dataset.classes, seed=0)
    if run is not None:
        own = dataset.sha256 == run.data_sha256
        subject = replace(subject, history=run.history, kept=run.kept if own else None)
    return subject, dataset


def _compared(
    subject: Subject,
    ae: Path | None,
    betas: tuple[str, ...],
    dataset: Dataset | None,
    folder: Path,
    train: bool,
    epochs: int,
    report: _Report,
    provider: str,
    threads: int | None,
) -> Subject:
    """Add the models that figures compare with: the user's, or who trains them."""
    from vaekit.figures.sources import check_ae, check_betas, open_model, small_models

    def opened(path: Path) -> Model:
        return open_model(path, provider=provider, threads=threads)

    trainer, why = small_models(
        dataset, subject.model, folder, wanted=train, epochs=epochs, on_progress=report.progress
    )
    return replace(
        subject,
        ae=None if ae is None else check_ae(opened(ae), subject.model),
        betas=check_betas([opened(Path(path)) for path in betas], subject.model),
        trainer=trainer,
        no_trainer=why,
    )


class _Report:
    """Shows the training of small models: a bar on a terminal, a line for each model elsewhere."""

    def __init__(self, stack: ExitStack, *, silent: bool) -> None:
        self._console = error_console()
        self._silent = silent
        self._name = ""
        self._bar: Any = None
        stack.callback(self.pause)

    def progress(self, name: str, at: Progress) -> None:
        """Say how far a model is."""
        if self._silent:
            return
        if name != self._name:
            self.pause()
            self._name = name
            epochs = f"{at.epochs} epoch{'s' * (at.epochs != 1)}"
            if self._console.is_terminal:
                from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
                from rich.progress import Progress as Bar

                columns = (
                    TextColumn("{task.description}"),
                    BarColumn(bar_width=None),
                    TimeRemainingColumn(compact=True),
                )
                self._bar = Bar(*columns, console=self._console, transient=True)
                self._bar.start()
                self._bar.add_task(f"training {name}, {epochs}", total=at.epochs * at.steps)
            else:
                self._console.print(f"training {name}, {epochs}", markup=False, soft_wrap=True)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=(at.epoch - 1) * at.steps + at.step)

    def pause(self) -> None:
        """Take the bar away, so that lines may be printed."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _check_out(out: Path, files: list[Path], *, force: bool) -> None:
    """Make the folder, and refuse files that may not be replaced, before the work is done.

    Raises:
        OutputError: It cannot be made or written, or a file is there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--out {out}: the folder cannot be made: {error.strerror or error}.") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise OutputError(f"--out {out}: the folder cannot be written; choose another.")
    there = [path for path in files if os.path.lexists(path)]
    if there and not force:
        raise OutputError(f"{there[0]} exists already; choose another --out, or pass --force to replace it.")


def _formats(text: str) -> tuple[str, ...]:
    from vaekit.figures import FORMATS

    chosen = listed(text)
    unknown = [name for name in chosen if name not in FORMATS]
    if unknown or not chosen:
        raise ConfigError(f"--format {text!r}: choose from {', '.join(FORMATS)}.")
    return tuple(name for name in FORMATS if name in chosen)


def _say(line: str, *, wanted: bool, remark: bool = False) -> None:
    if wanted:
        (error_console() if remark else console()).print(line, markup=False, soft_wrap=True)
