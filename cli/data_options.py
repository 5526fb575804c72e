"""Options of every command that reads data, spelt and explained once, and the bar that shows while it is read.

A command that is decorated with `reads_data` has them all; `read_data` then reads.

Needs: typer; rich inside functions.
"""

from __future__ import annotations

import csv
import functools
import inspect
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vaekit.datasets.options import DataOptions
from vaekit.errors import ConfigError, command_line

from .console import error_console, one_line
from .options import LABEL_RULE

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from vaekit.datasets import Dataset, LoadProgress

DEFAULT: Final = DataOptions()
PANEL: Final = "Reading the data"

DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="`mnist`, `fashion-mnist`, a folder of images or IDX files, or a .npy, .npz, .csv, .tsv or .parquet file.",
    ),
]
OPTIONS: Final[dict[str, Any]] = {
    "size": Annotated[
        int | None,
        typer.Option(
            "--size",
            metavar="PIXELS",
            rich_help_panel=PANEL,
            help="Images: bring each to a square of this side; without it, all must have one size.",
        ),
    ],
    "background": Annotated[
        str,
        typer.Option(
            "--background",
            metavar="black|white|grey|#rrggbb",
            rich_help_panel=PANEL,
            help="Images: what transparent pixels are laid over.",
        ),
    ],
    "channels": Annotated[
        int | None,
        typer.Option(
            "--channels",
            metavar="1|3",
            rich_help_panel=PANEL,
            help="Images: grey or colour; without it, grey if every image is.",
        ),
    ],
    "columns": Annotated[
        str,
        typer.Option(
            "--columns",
            metavar="NAME[,NAME…]",
            rich_help_panel=PANEL,
            help="Tables: the columns to read; without it, all but the label's.",
        ),
    ],
    "label": Annotated[
        str | None,
        typer.Option("--label", metavar="NAME", rich_help_panel=PANEL, help="Tables: the column of the rows' classes."),
    ],
    "window": Annotated[
        int | None,
        typer.Option(
            "--window",
            metavar="ROWS",
            rich_help_panel=PANEL,
            help="Tables: read windows of a time series, of so many rows.",
        ),
    ],
    "stride": Annotated[
        int | None,
        typer.Option(
            "--stride",
            metavar="ROWS",
            rich_help_panel=PANEL,
            help="Tables: rows from one window's start to the next; without it, the window's length.",
        ),
    ],
    "test_fraction": Annotated[
        float,
        typer.Option(
            "--test-fraction",
            metavar="0…1",
            rich_help_panel=PANEL,
            help="Part to test on, where the data does not come divided.",
        ),
    ],
    "split_seed": Annotated[
        int, typer.Option("--split-seed", rich_help_panel=PANEL, help="Decides which items are to test on.")
    ],
    "max_skipped": Annotated[
        float,
        typer.Option(
            "--max-skipped",
            metavar="0…1",
            rich_help_panel=PANEL,
            help="Images: the part of files that may be unreadable.",
        ),
    ],
    "without_label": Annotated[
        list[str],
        typer.Option(
            "--without-label",
            metavar="LABEL",
            rich_help_panel=PANEL,
            help=f"Leave out the items of this label ({LABEL_RULE}); may be repeated.",
        ),
    ],
}
"""The options by their names in `DataOptions`."""


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options above, behind its own; it takes those that were given as one parameter, `given`.

    They are fields of `DataOptions` by name, and only those that stand on the command line: a file of options may hold others,
    and a default must not hide them.
    """
    signature = inspect.signature(command, eval_str=True)
    own = {name: parameter for name, parameter in signature.parameters.items() if name != "given"}
    added = {"context": typer.Context, **OPTIONS}

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        given = from_command_line(arguments["context"], OPTIONS)
        if "columns" in given:
            given["columns"] = column_names(given["columns"])
        command(**{name: arguments[name] for name in own}, given=given)

    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=kind,
            default=inspect.Parameter.empty if name == "context" else _default(name),
        )
        for name, kind in added.items()
        if name not in own
    ]
    typer_reads: Any = wrapped
    typer_reads.__signature__ = inspect.Signature(
        [*(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own.values()), *parameters]
    )
    return wrapped


def from_command_line(context: typer.Context, names: Iterable[str]) -> dict[str, Any]:
    """Those of some parameters that stand on the command line, with their values."""
    return {
        name: context.params[name]
        for name in names
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def _default(name: str) -> Any:
    if name in ("columns", "without_label"):  # as the command line has them: text, and a list
        return "" if name == "columns" else []
    return getattr(DEFAULT, name)


def column_names(columns: str) -> tuple[str, ...]:
    """Split names at commas; one that holds a comma stands in double quotes.

    Raises:
        ConfigError: A name is empty.
    """
    names = next(csv.reader([columns]), []) if columns else []
    if not all(names):
        raise ConfigError(f"--columns {columns!r}: give names separated by commas, e.g. speed,torque.")
    return tuple(names)


def for_model(options: DataOptions, given: dict[str, Any], source: str) -> DataOptions:
    """How a model reads data, with what stands on the command line.

    Args:
        options: What the model's bundle or run says.
        given: What `reads_data` gave.
        source: The data, for the message.

    Raises:
        ConfigError: The options have no meaning together, or the label was an input of the model.
    """
    label = given.get("label")
    if label in options.columns and "columns" not in given:
        again = command_line("vaekit", "train", source, "--label", label)
        raise ConfigError(
            f"--label {label}: the model was trained with the column {label!r} as an input; leave --label out, or train one "
            f"without it: {again}."
        )
    return replace(options, **given)


def read_data(source: str, options: DataOptions, *, quiet: bool = False) -> Dataset:
    """Read a data set; while files are downloaded or converted, show a bar, or a plain line where there is no terminal.

    Both go to standard error, so that a result on standard output stays alone.
    """
    from vaekit.datasets import load_dataset

    with ExitStack() as stack:
        report = None if quiet else _Report(stack)
        return load_dataset(source, options, on_progress=report)


class _Report:
    """A bar with rate and time left for each step of the reading."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._console = error_console()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""

    def __call__(self, at: LoadProgress) -> None:
        """Move the bar; begin a new one for a new step."""
        if at.what != self._what:
            self._what = at.what
            self._begin(at)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=at.total, completed=at.done)

    def _begin(self, at: LoadProgress) -> None:
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        if not self._console.is_terminal:
            count = "" if at.total is None else f", {at.total:,} {at.unit}"
            self._console.print(one_line(f"{at.what}{count}"), markup=False, soft_wrap=True)
            return
        if self._bar is not None:
            self._bar.stop()
        amount = DownloadColumn() if at.unit == "bytes" else MofNCompleteColumn()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            amount,
            TimeRemainingColumn(compact=True),
        )
        self._bar = self._stack.enter_context(Bar(*columns, console=self._console, transient=True))
        self._task = self._bar.add_task(one_line(at.what), total=at.total)
