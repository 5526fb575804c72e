"""The command line, installed as `vaekit.cli`: one file a command, each thin: parse, call, print.

Heavy packages (torch, onnx, onnxruntime) are imported inside a command's function, so that `vaekit --help` is quick and
`vaekit sample` works where no torch is. Nothing imports this package but the entry points.

Needs: typer, rich.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from vaekit.errors import VaekitError

from .bench import bench
from .console import error_console, one_line
from .data import data
from .decode import decode
from .doctor import doctor
from .embed import embed
from .encode import encode
from .evaluate import evaluate
from .explore import explore
from .export import export
from .figures import figures
from .inspect import inspect
from .morph import morph
from .openmp import spin_briefly
from .pack import pack, unpack
from .reconstruct import reconstruct
from .sample import sample
from .score import score
from .train import train
from .traverse import traverse
from .verify import verify

app = typer.Typer(
    name="vaekit",
    help="Train a variational autoencoder, export it as two ONNX graphs, run it the same everywhere, and prove it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
MAKING = (train, export, verify, evaluate, bench, inspect)
USING = (
    sample,
    reconstruct,
    morph,
    traverse,
    score,
    explore,
    figures,
    encode,
    decode,
    pack,
    unpack,
    embed,
    data,
    doctor,
)
for command in (*MAKING, *USING):  # the order of `vaekit --help`
    app.command()(command)


def _version(value: bool) -> None:
    if value:
        from vaekit import __version__

        typer.echo(f"vaekit {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: a VaekitError becomes one red line and exit code 1, a warning one yellow line."""
    warnings.showwarning = _show_warning
    spin_briefly(os.environ)
    for unknown in ("COLUMNS", "LINES"):
        if os.environ.get(unknown) == "0":  # a screen of no size, which rich takes at its word, and prints nothing
            del os.environ[unknown]
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that an ASCII pipe cannot take is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(args=arguments)
    except VaekitError as error:
        _fail(error)
    except MemoryError as error:  # NumPy's says how much was asked for
        _fail(f"there is not enough memory{f': {error}' if str(error) else ''}; ask for fewer items at once.")
    except RuntimeError as error:  # torch says so too where there is not enough memory
        machine = sys.modules.get("vaekit.training.machine")
        if machine is None or not machine.is_out_of_memory(error):
            raise
        _fail(f"{machine.asked_for(error)}; use a machine with more, or a smaller model.")
    except OSError as error:  # the file system's own: a folder that may not be entered, a name that is too long
        _fail(f"{error.filename or 'the standard output, or another open file'}: {error.strerror or error}.")


def _fail(reason: object) -> None:
    error_console().print(f"error: {one_line(reason)}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if not issubclass(category, DeprecationWarning):
        line = f"warning: {one_line(message)}"
        error_console().print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
