"""`vaekit export`: from a run to a bundle, verified before it exists."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import console, print_json, print_table, training_extra
from .options import JsonOption

if TYPE_CHECKING:
    from vaekit.exporting import Report

GATE = "Other precisions, and the gate they pass"
PIXELS = "App-ready graphs"


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder, made by `vaekit train`.")],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="The bundle's folder.")],
    name: Annotated[
        str | None, typer.Option("--name", help="What the model is called; without it, the folder's name.")
    ] = None,
    opset: Annotated[int, typer.Option("--opset", help="ONNX operator set.")] = 18,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="NAME[,NAME…]",
            rich_help_panel=GATE,
            help="`fp32` (always there), `fp16`, `int8`, `int8-dynamic`; `auto`: fp16 and int8, as far as they pass.",
        ),
    ] = "fp32",
    max_delta_elbo: Annotated[
        str,
        typer.Option(
            "--max-delta-elbo",
            metavar="N%|Nnats",
            rich_help_panel=GATE,
            help="Most that the negative ELBO of the test items may rise: a part of fp32's, or nats.",
        ),
    ] = "0.5%",
    min_gain: Annotated[
        float,
        typer.Option(
            "--min-gain", rich_help_panel=GATE, help="Factor by which it must be smaller, or faster on this machine."
        ),
    ] = 1.2,
    calibration_items: Annotated[
        int,
        typer.Option(
            "--calibration-items", rich_help_panel=GATE, help="Training items that int8 is calibrated on; 32 or more."
        ),
    ] = 512,
    target: Annotated[
        Literal["bundle", "triton"],
        typer.Option("--target", help="`triton`: a model repository for NVIDIA Triton, made from the bundle."),
    ] = "bundle",
    ort_format: Annotated[
        bool, typer.Option("--ort-format", help="Write each graph in ONNX Runtime's own format (.ort) too.")
    ] = False,
    io: Annotated[
        str,
        typer.Option(
            "--io",
            metavar="float32|uint8",
            rich_help_panel=PIXELS,
            help="`uint8`: beside the graphs of each precision, a pair that takes and gives raw pixels of 0 to 255.",
        ),
    ] = "float32",
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="nhwc|nchw",
            rich_help_panel=PIXELS,
            help="How these pixels lie; without it, `nhwc`, as image decoders and canvases give them.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle that is already there, and nothing else.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="As --overwrite, and ship what the gate refuses, marked as forced."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export a run's last checkpoint as two ONNX graphs in a bundle, compared with torch before the bundle exists.

    Another precision ships only if it passes the gate. One that was asked for by name and does not is left out of the bundle,
    and the exit code is 1: a script that goes on has what it asked for. With `auto` what does not pass is no failure.
    """
    with training_extra("export"):
        from vaekit.exporting import export_bundle, parse_gate
        from vaekit.training import Checkpoint

    from vaekit.storage import check_new_folder

    from .export_report import fp32_lines, pixel_lines, precision_table, reasons

    gate = parse_gate(max_delta_elbo, min_gain, force=force)
    precisions = [part.strip() for part in precision.split(",")]
    serve = _served(precisions, io) if target == "triton" else None
    # `.` has no name of its own. --force would replace it too, but ships what the gate refuses.
    check_new_folder(out if out.name else out.resolve(), overwrite=overwrite or force, option="--overwrite")
    checkpoint = Checkpoint.latest(run)
    screen = console()
    if not as_json:
        screen.print(f"exporting {run}, epoch {checkpoint.epoch}", markup=False, soft_wrap=True)
    reports: list[Report] = []
    with ExitStack() as stack:
        status = stack.enter_context(screen.status("exporting"))  # shows on a terminal alone
        # A repository is written from a bundle that was proved like any other.
        folder = out if serve is None else Path(stack.enter_context(tempfile.TemporaryDirectory())) / out.resolve().name
        if as_json or not screen.is_terminal:
            status.stop()
        bundle = export_bundle(
            checkpoint,
            folder,
            name=name,
            opset=opset,
            precisions=precisions,
            gate=gate,
            calibration_items=calibration_items,
            ort_format=ort_format,
            io=io,
            layout=layout,
            overwrite=overwrite or force,
            on_variant=reports.append,
            on_step=status.update,
        )
        if serve is not None and serve in bundle.manifest.precisions:
            from vaekit.embedding import embed

            embed("triton", bundle, out, precision=serve, overwrite=overwrite or force)
    written = serve is None or serve in bundle.manifest.precisions
    info = bundle.manifest.precisions["fp32"]
    if as_json:
        variants = {
            report.name: {"shipped": report.shipped, "reasons": list(report.reasons), **report.info.to_json()}
            for report in reports
        }
        print_json(
            {
                "bundle": str(out),
                **info.to_json(),
                **({"precisions": variants} if variants else {}),
                **({"io": {"uint8": bundle.manifest.pixels.to_json()}} if bundle.manifest.pixels else {}),
            }
        )
    else:
        for line in fp32_lines(bundle.manifest):
            screen.print(line, markup=False, soft_wrap=True)
        if reports:
            print_table(precision_table(reports), screen)
        for line in (*reasons(reports), *pixel_lines(bundle.manifest)):
            screen.print(line, markup=False, soft_wrap=True)
        if written:
            screen.print(f"wrote {out}", markup=False, soft_wrap=True)
    _fail_if_refused(reports, out, written=written)


def _served(precisions: list[str], io: str) -> str:
    """The one precision that a model repository serves.

    Raises:
        ConfigError: More than one precision, or one that may be missing in the end; or pixels, which it does not serve.
    """
    from vaekit.errors import ConfigError

    named = [name for name in precisions if name != "fp32"] or ["fp32"]
    if len(named) > 1 or named == ["auto"]:
        raise ConfigError(f"--target triton serves one precision, but --precision {','.join(precisions)}; name one.")
    if io != "float32":
        raise ConfigError(f"--target triton serves float32 items, but --io {io} was asked for; leave one of them out.")
    return named[0]


def _fail_if_refused(reports: list[Report], out: Path, *, written: bool) -> None:
    """Exit with an error where a precision that was asked for is not there.

    Raises:
        ExportError: It is not.
    """
    from vaekit.errors import ExportError

    refused = [report.name for report in reports if report.required and not report.shipped]
    if refused:
        has = f"{out} has {', '.join(report.name for report in reports if report.shipped)}"
        what = has if written else "nothing was written"
        raise ExportError(
            f"{' and '.join(refused)} did not pass the gate; {what}. Change the limits (--max-delta-elbo, "
            "--min-gain), ship it marked with --force, or take what passes with --precision auto."
        )
