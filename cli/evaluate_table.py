"""What `vaekit evaluate` found, on the screen: a table, each dimension's KL, and what the numbers compare with.

Needs: rich inside functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from vaekit.runtime.evaluate import Evaluation

from .console import console, one_line, print_table
from .evaluate_report import Report, comparisons

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN_DIMENSIONS: Final = 64
"""Latent dimensions up to which each one's KL is shown without being asked for."""

BAR: Final = 12
"""Characters of the longest bar."""


def show(report: Report, *, by_dimension: bool) -> None:
    """Print the table, each dimension's KL, and what the numbers compare with."""
    screen = console()
    for line in _heading(report):
        screen.print(one_line(line), markup=False, soft_wrap=True)
    screen.print()
    print_table(_table(report), screen)
    dimensions = report.spec.latent
    if report.spec.kind == "vae" and (by_dimension or dimensions <= SHOWN_DIMENSIONS):
        screen.print("\nKL by dimension, nats an item; * is active", soft_wrap=True)
        screen.print(_dimensions(report.elbo, screen))
    elif report.spec.kind == "vae":
        screen.print(f"\nKL of each of the {dimensions} dimensions: --by-dimension", soft_wrap=True)
    screen.print("\nWhat these numbers compare with:")
    for line in comparisons(report):
        screen.print(f"- {one_line(line)}", markup=False, soft_wrap=not screen.is_terminal)


def _heading(report: Report) -> Iterator[str]:
    elbo = report.elbo
    count = f"{elbo.items:,}" if elbo.items == report.available else f"{elbo.items:,} of {report.available:,}"
    kind = "" if report.split == "all" else f"{report.split} "
    drawn = f", pixels drawn as 0 or 1 by seed {report.seed}" if report.binarized else ""
    yield (
        f"{report.model}, {report.spec.likelihood_in_words}, {report.precision} on {report.provider}: {count} {kind}items of "
        f"{report.data}{drawn}; seed {report.seed}"
    )
    if not report.same_data:
        yield "these are not the data that the model was made with"


def _table(report: Report) -> Table:
    from rich.table import Table

    elbo, nll = report.elbo, report.nll
    errors = elbo.standard_errors
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("nats an item", justify="right", no_wrap=True)
    table.add_column("s.e.", justify="right", no_wrap=True)
    table.add_column("")

    def row(name: str, value: float, error: float | None, remark: str = "") -> None:
        table.add_row(name, f"{value:.3f}", "" if error is None else f"{error:.3f}", remark)

    if report.spec.kind == "vae":
        row(
            "negative ELBO",
            elbo.negative_elbo,
            errors and errors.negative_elbo,
            _bits_in_words(report, elbo.negative_elbo),
        )
        row("  reconstruction", elbo.reconstruction, errors and errors.reconstruction)
        row("  KL", elbo.kl, errors and errors.kl)
    else:
        row("reconstruction", elbo.reconstruction, errors and errors.reconstruction, "an autoencoder: no KL, no ELBO")
    if nll is not None:
        row(f"NLL, K = {nll.samples:,}", nll.mean, nll.standard_error, _bits_in_words(report, nll.mean))
        if nll.fewer is not None:
            row(f"  K = {nll.samples // 2:,} instead", nll.fewer, nll.fewer_error, "would be added")
    table.add_row("active units", f"{len(elbo.active)} of {report.spec.latent}", "", "")
    if report.frechet is not None:
        real, other = report.frechet_between
        far = report.frechet
        table.add_row(
            "Fréchet distance",
            f"{far.samples:.3f}",
            "",
            f"no nats: {far.items:,} samples to {real} items, in its own codes",
        )
        table.add_row(
            "  its floor", f"{far.floor:.3f}", "", f"{far.floor_items:,} {other} items to {real} items; no FID"
        )
    return table


def _bits_in_words(report: Report, nats: float) -> str:
    bits = report.bits(nats)
    return "" if bits is None else f"{bits:.4f} bits per dimension"


def _dimensions(elbo: Evaluation, screen: Console) -> Any:
    """Each dimension's KL with a bar, the largest first, in as many columns as the screen has room for."""
    from rich.columns import Columns
    from rich.text import Text

    order = sorted(range(len(elbo.kl_per_dimension)), key=lambda d: -elbo.kl_per_dimension[d])
    largest = max(*elbo.kl_per_dimension, 1e-12)
    width = len(str(len(order) - 1))
    block = "█" if screen.encoding.startswith("utf") else "#"
    cells = []
    for d in order:
        kl = elbo.kl_per_dimension[d]
        bar = block * round(BAR * kl / largest)
        cells.append(Text(f"{d:>{width}}{'*' if d in elbo.active else ' '} {kl:6.3f} {bar:<{BAR}}"))
    return Columns(cells, column_first=True, padding=(0, 2))
