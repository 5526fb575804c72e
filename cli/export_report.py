"""What `vaekit export` prints: fp32 against torch, and each precision beside it.

Needs: rich inside functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaekit import Manifest
    from vaekit.appio import PixelPair
    from vaekit.exporting import Report
    from vaekit.precisions import PrecisionInfo


def fp32_lines(manifest: Manifest) -> Iterator[str]:
    """How near the fp32 graphs are to the model in torch."""
    info = manifest.precisions["fp32"]
    for half, graph in (("encoder", info.encoder), ("decoder", info.decoder)):
        yield f"  {half}: {graph.file.bytes:,} bytes, largest difference from torch {info.error[half]:.1e}"
    yield (
        f"  round trip: {info.error['round_trip']:.1e} over batches of 1, 2, 7 and 256; "
        f"{len(manifest.statistics.active)} of {manifest.spec.latent} latent dimensions active"
    )


def precision_table(reports: Sequence[Report]) -> Any:
    """A column a precision, a row a number."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for report in reports:
        table.add_column(report.name, justify="right")
    fp32 = reports[0].info
    for what, cells in precision_rows([report.info for report in reports], fp32):
        table.add_row(what, *cells)
    table.add_row("gate", *("" if report is reports[0] else _verdict(report) for report in reports))
    return table


def precision_rows(infos: Sequence[PrecisionInfo], fp32: PrecisionInfo) -> Iterator[tuple[str, list[str]]]:
    """Rows of numbers, each as text; empty where a number was not measured."""
    yield "bytes", [f"{info.bytes:,}" for info in infos]
    yield "smaller than fp32", [f"{fp32.bytes / info.bytes:.2f}x" for info in infos]
    variants = [None if info is fp32 else info for info in infos]
    for what in ("encoder", "decoder", "round_trip"):
        named = what.replace("_", " ")
        yield f"largest error, {named}", [_error(None if info is None else info.error.get(what)) for info in variants]
        yield f"mean error, {named}", [_error(None if info is None else info.mean_error.get(what)) for info in variants]
    yield (
        "Delta ELBO, nats",
        ["" if info is None or info.delta_elbo is None else f"{info.delta_elbo:+.3f}" for info in variants],
    )
    for half in ("decoder", "encoder"):
        for batch in fp32.rates.get(half, ()):
            rates = [info.rates.get(half, {}).get(batch) for info in infos]
            yield f"{half}/s, batch {batch}", ["" if rate is None else f"{rate:,.0f}" for rate in rates]


def reasons(reports: Sequence[Report]) -> Iterator[str]:
    """Why a precision failed, what it keeps in float, and what the rates were taken on."""
    for report in reports:
        if report.reasons:
            yield f"{report.name} {_verdict(report)}: {'; '.join(report.reasons)}"
        for half, layers in report.info.float_nodes.items():
            yield f"{report.name} keeps the last layer of the {half} in float ({', '.join(layers)})"
        if report.info.batch_dependent:
            yield f"{report.name}: an item's numbers depend on the rest of its batch"
    measured_on = reports[0].info.measured_on if reports else {}
    if measured_on:
        yield f"rates: 1 thread of {measured_on['processor']}, ONNX Runtime {measured_on['onnxruntime']}"


def pixel_lines(manifest: Manifest) -> Iterator[str]:
    """How near each app-ready pair of graphs is to the plain one."""
    if manifest.pixels is None:
        return
    yield f"  uint8 pixels in and out, {manifest.pixels.layout}:"
    for name, pair in manifest.pixels.precisions.items():
        yield (f"    {name}: {pair.encoder.file.file}, {pair.decoder.file.file}; {pixel_differences(pair)}")


def pixel_differences(pair: PixelPair) -> str:
    """What lies between an app-ready pair of graphs and the plain one, in words."""
    apart = "" if not pair.differing else f", by {pair.levels} grey level{'s' * (pair.levels > 1)}"
    return (
        f"{pair.differing:,} of {pair.compared:,} pixel values differ from the plain graph's, rounded{apart}; "
        f"mean and log_var by {f'{pair.error:.1e}' if pair.error else '0'}"
    )


def _verdict(report: Report) -> str:
    if not report.shipped:
        return "refused"
    return "forced" if report.reasons else "passed"


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
