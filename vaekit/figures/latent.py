"""The latent space against its prior: what each variance costs, and how the codes of a data set are spread.

Needs: NumPy; matplotlib inside functions. Must not import: torch, onnx.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vaekit.figures.model import Measured, in_words
from vaekit.figures.style import (
    BLUE,
    GREY,
    INK,
    MARGIN,
    SKY,
    SMALL,
    VERMILLION,
    WIDTH,
    heading,
    heading_height,
    new_figure,
    place,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS: Final = 24
"""Latent dimensions that have a row or a panel of their own."""

BINS: Final = 61


def variance_penalty(variance: ArrayLike) -> NDArray[np.float64]:
    """The variance's part of the KL from N(m, v) to N(0, 1): ``1/2 (v - ln v - 1)``, nats; 0 at v = 1 and nowhere less.

    The mean's part is ``m^2 / 2``.

    Source: Kingma & Welling 2014, appendix B, arXiv:1312.6114.
    """
    v = np.asarray(variance, np.float64)
    return np.asarray(0.5 * (v - np.log(v) - 1))


def variances(measured: Measured) -> NDArray[np.float64]:
    """Variances of all posteriors, ``exp(log_var)``, (N, D)."""
    return np.exp(measured.posterior.log_var.astype(np.float64))


@styled
def kl(measured: Measured) -> Figure:
    """Draw what a posterior's variance costs, with the model's own variances on the curve and, below, those of each dimension.

    Args:
        measured: A VAE's.
    """
    model = measured.model
    v = variances(measured)
    # The median of the variances, of equal effect on both sides of 1 in the logarithm; the bars hold 9 of 10 items.
    low, middle, high = np.quantile(v, (0.05, 0.5, 0.95), axis=0)
    dimensions = measured.order[:MOST_ROWS]
    rows = len(dimensions)
    subtitle = (
        f"What a posterior's variance v costs: ½ (v − ln v − 1) nats a dimension. Dots: the dimensions of {model.name}, each "
        f"at the median of its variances over {len(v):,} test items. Below: the same by dimension; a bar holds 9 of 10 items."
        + (
            f" The {rows} of {model.spec.latent} dimensions with the most KL have a row."
            if rows < model.spec.latent
            else ""
        )
    )
    top = heading_height(WIDTH, subtitle)
    curve_height, row_height = 2.6, 0.19
    rows_height = max(0.5, rows * row_height + 0.1)
    figure = new_figure(WIDTH, top + curve_height + 0.25 + rows_height + 0.75)
    heading(figure, "The KL's price for a variance", subtitle)
    wide, left = WIDTH - MARGIN - 1.1, 0.95
    axes = place(figure, left, top, wide, curve_height)
    smallest = min(float(low.min()), 0.05) / 1.6
    largest = max(float(high.max()), 4.0) * 1.3
    grid = np.geomspace(smallest, largest, 400)
    axes.plot(grid, variance_penalty(grid), color=INK, zorder=3)
    axes.axvline(1, color=GREY, linestyle=":", linewidth=1)
    axes.scatter(
        middle, variance_penalty(middle), s=44, color=BLUE, edgecolor="white", linewidth=0.8, zorder=5, gid="dimensions"
    )
    axes.annotate(
        "v = 1: as the prior,\nno penalty", xy=(1, 0.02), xytext=(1, 0.45 * variance_penalty(smallest)), ha="center",
        size=SMALL, arrowprops={"arrowstyle": "->", "color": GREY}, bbox={"facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip
    axes.text(
        0.01,
        0.04,
        "← smaller: each item has a place of its own",
        transform=axes.transAxes,
        size=SMALL,
        color=GREY,
        va="bottom",
    )
    axes.set_ylabel("½ (v − ln v − 1), nats")
    _log_axis(axes, smallest, largest, labelled=False)
    highest = float(variance_penalty(smallest))
    axes.set_ylim(-0.03 * highest, 1.05 * highest)

    lower = place(figure, left, top + curve_height + 0.25, wide, rows_height)
    y = np.arange(rows)
    # Bars from the 5% to the 95% quantile; a dot is hollow where the dimension carries nothing.
    lower.hlines(y, low[dimensions], high[dimensions], color=SKY, linewidth=5, zorder=2)
    active = np.isin(dimensions, measured.active)
    lower.scatter(
        middle[dimensions], y, s=30, zorder=4, facecolor=[BLUE if on else "white" for on in active], edgecolor=BLUE
    )
    lower.axvline(1, color=GREY, linestyle=":", linewidth=1)
    lower.set_ylim(rows - 0.4, -0.6)
    lower.set_yticks(y, [f"z{dimension}" for dimension in dimensions], size=SMALL - (1 if rows > 12 else 0))
    lower.tick_params(axis="y", length=0)
    lower.spines["left"].set_visible(False)
    lower.set_xlabel("variance v of the posterior (hollow dot: inactive dimension)")
    _log_axis(lower, smallest, largest, labelled=True)
    return figure


def _log_axis(axes: Axes, low: float, high: float, *, labelled: bool) -> None:
    """Set a logarithmic x axis with plain numbers: 0.01, 0.1, 1, 10."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    decades = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    while len(decades) > 8:
        decades = decades[::2]
    axes.xaxis.set_major_locator(FixedLocator(decades))
    axes.xaxis.set_minor_locator(NullLocator())
    if labelled:
        axes.set_xticks(decades, [f"{decade:g}" for decade in decades])
    else:
        axes.xaxis.set_major_formatter(NullFormatter())


def normal_density(z: ArrayLike) -> NDArray[np.float64]:
    """Density of N(0, 1)."""
    return np.asarray(np.exp(-0.5 * np.square(np.asarray(z, np.float64))) / math.sqrt(2 * math.pi))


def histogram(z: NDArray[Any], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density of values in bins: counts over (number of all values x width); what lies outside is missing, not scaled away.

    Args:
        z: Values, of any shape.
        edges: Edges of the bins, (K + 1,).

    Returns:
        (K,)
    """
    counts, _ = np.histogram(z, edges)
    return np.asarray(counts / (max(1, np.size(z)) * np.diff(edges)))


@styled
def aggregate(measured: Measured) -> Figure:
    """Draw the aggregate posterior against N(0, I): all dimensions pooled, and each alone.

    The aggregate posterior is the distribution of codes that are drawn from the posteriors of a data set's items; samples of
    the prior decode to what items look like only where the two agree.
    """
    model, z = measured.model, measured.z.astype(np.float64)
    latent = model.spec.latent
    dimensions = measured.order[:MOST_ROWS] if latent > 1 else measured.order[:0]
    reach = max(4.0, math.ceil(np.quantile(np.abs(z), 0.999)))
    edges = np.linspace(-reach, reach, BINS)
    what = "a code drawn from each item's posterior" if model.is_vae else "the code of each item"
    spread = f"mean {z.mean():.2f}, standard deviation {z.std():.2f}"
    subtitle = (
        f"Bars: {what}, {len(z):,} test items, {model.name}. Line: N(0, 1)"
        + (", from which samples are drawn. " if model.is_vae else ", which nothing asked an autoencoder to keep to. ")
        + f"{f'Pooled over all {in_words(latent)}: ' if latent > 1 else ''}{spread}."
    )
    if latent > 1:
        order = "KL" if model.is_vae else "spread"
        shown = f", {len(dimensions)} of {latent}" if len(dimensions) < latent else ""
        subtitle += f" Small panels: the dimensions by {order}{shown}, with mean ± standard deviation."
    top = heading_height(WIDTH, subtitle)
    # As many as leave the fewest empty places in the last row.
    columns = max(1, len(dimensions))
    if columns > 6:
        columns = min(range(6, 3, -1), key=lambda count: -len(dimensions) % count)
    rows = -(-len(dimensions) // columns)
    pooled_height, panel = 1.9, 0.72
    figure = new_figure(WIDTH, top + pooled_height + 0.65 + rows * (panel + 0.3) + 0.35 * (rows > 0))
    heading(figure, "The aggregate posterior against the prior", subtitle)
    left, wide = 0.75, WIDTH - 0.75 - MARGIN
    main = place(figure, left, top, wide, pooled_height)
    _against_normal(main, z, edges)
    main.set_ylabel("density")
    main.set_xlabel(f"z, all {in_words(latent)} pooled" if latent > 1 else "z0")
    gap = 0.12
    width = (wide - (columns - 1) * gap) / columns
    for index, dimension in enumerate(dimensions):
        row, column = divmod(index, columns)
        y = top + pooled_height + 0.8 + row * (panel + 0.3)
        axes = place(figure, left + column * (width + gap), y, width, panel)
        codes = z[:, dimension]
        _against_normal(axes, codes, edges[::2])
        title = f"z{dimension}  {codes.mean():+.2f} ± {codes.std():.2f}".replace("-", "−")
        axes.set_title(title, size=SMALL - 1, pad=2)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        last = index + columns >= len(dimensions)
        axes.set_xticks(
            [-reach / 2, 0, reach / 2],
            [f"{t:.3g}".replace("-", "−") for t in (-reach / 2, 0, reach / 2)] if last else [],
        )
        axes.tick_params(axis="x", labelsize=SMALL - 1)
    return figure


def _against_normal(axes: Axes, z: NDArray[Any], edges: NDArray[np.float64]) -> None:
    density = histogram(z, edges)
    axes.stairs(density, edges, fill=True, color=SKY, edgecolor=BLUE, linewidth=0.6)
    grid = np.linspace(edges[0], edges[-1], 201)
    axes.plot(grid, normal_density(grid), color=VERMILLION, linestyle="--", linewidth=1.6)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, 1.08 * max(float(density.max()), 0.42))
