"""Options of every command that reads data, spelt and explained once, and the bar that shows while it is read.

A command takes them as parameters and passes them to `data_options`; `read_data` then reads.

Needs: typer; rich inside functions.
"""

from __future__ import annotations

import csv
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from vaekit.datasets.options import DataOptions
from vaekit.errors import ConfigError

from .console import error_console, one_line

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
SizeOption = Annotated[
    int | None,
    typer.Option(
        "--size",
        metavar="PIXELS",
        rich_help_panel=PANEL,
        help="Images: bring each to a square of this side; without it, all must have one size.",
    ),
]
BackgroundOption = Annotated[
    str,
    typer.Option(
        "--background",
        metavar="black|white|grey|#rrggbb",
        rich_help_panel=PANEL,
        help="Images: what transparent pixels are laid over.",
    ),
]
ChannelsOption = Annotated[
    int | None,
    typer.Option(
        "--channels",
        metavar="1|3",
        rich_help_panel=PANEL,
        help="Images: grey or colour; without it, grey if every image is.",
    ),
]
ColumnsOption = Annotated[
    str,
    typer.Option(
        "--columns",
        metavar="NAME[,NAME…]",
        rich_help_panel=PANEL,
        help="Tables: the columns to read; without it, all but the label's.",
    ),
]
LabelOption = Annotated[
    str | None,
    typer.Option("--label", metavar="NAME", rich_help_panel=PANEL, help="Tables: the column of the rows' classes."),
]
WindowOption = Annotated[
    int | None,
    typer.Option(
        "--window",
        metavar="ROWS",
        rich_help_panel=PANEL,
        help="Tables: read windows of a time series, of so many rows.",
    ),
]
StrideOption = Annotated[
    int | None,
    typer.Option(
        "--stride",
        metavar="ROWS",
        rich_help_panel=PANEL,
        help="Tables: rows from one window's start to the next; without it, the window's length.",
    ),
]
TestFractionOption = Annotated[
    float,
    typer.Option(
        "--test-fraction",
        metavar="0…1",
        rich_help_panel=PANEL,
        help="Part to test on, where the data does not come divided.",
    ),
]
SplitSeedOption = Annotated[
    int, typer.Option("--split-seed", rich_help_panel=PANEL, help="Decides which items are to test on.")
]
MaxSkippedOption = Annotated[
    float,
    typer.Option(
        "--max-skipped", metavar="0…1", rich_help_panel=PANEL, help="Images: the part of files that may be unreadable."
    ),
]


def data_options(*, columns: str = "", **options: Any) -> DataOptions:
    """Make the options from what was given on the command line.

    Args:
        columns: Names separated by commas; one that holds a comma stands in double quotes.
        options: All others, by the names of `DataOptions`.

    Raises:
        ConfigError: An option has no meaning.
    """
    names = next(csv.reader([columns]), []) if columns else []
    if not all(names):
        raise ConfigError(f"--columns {columns!r}: give names separated by commas, e.g. speed,torque.")
    return DataOptions(columns=tuple(names), **options)


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
