"""Training curves: the negative ELBO and its two terms over the epochs.

Needs: NumPy; matplotlib inside functions. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vaekit.figures.style import (
    BLUE,
    MARGIN,
    NORMAL,
    SMALL,
    VERMILLION,
    WIDTH,
    heading,
    heading_height,
    new_figure,
    number,
    place,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {"train": (BLUE, "--", "s"), "test": (VERMILLION, "-", "o")}
"""Colour, dashes and marker of each split."""

MARKED = 20
"""Epochs up to which each has a marker."""


def curve(history: Sequence[Mapping[str, Any]], split: str, term: str) -> NDArray[np.float64]:
    """One number of each epoch, nats, (E,).

    Args:
        history: The lines of metrics.jsonl.
        split: "train" or "test".
        term: "negative_elbo", "reconstruction" or "kl".
    """
    return np.array([float(line[f"{split}_{term}"]) for line in history])


@styled
def training(history: Sequence[Mapping[str, Any]], *, name: str, is_vae: bool = True, beta: float = 1.0) -> Figure:
    """Draw the negative ELBO of training and test items over the epochs, and beside it its two terms.

    Args:
        history: The lines of metrics.jsonl, at least one.
        name: The run's.
        is_vae: An autoencoder has the reconstruction alone.
        beta: Weight of the KL in the loss, for the heading.
    """
    epochs = [int(line["epoch"]) for line in history]
    last = history[-1]
    objective = (
        f" The loss was reconstruction + {beta:g} · KL; shown are the terms unweighted." if is_vae and beta != 1 else ""
    )
    total, lost, kl = (number(float(last[f"test_{term}"])) for term in ("negative_elbo", "reconstruction", "kl"))
    end = f"After epoch {epochs[-1]} on test items: "
    end += (
        f"{total} = {lost} reconstruction + {kl} KL nats.{objective}"
        if is_vae
        else f"{lost} nats. An autoencoder has no KL."
    )
    subtitle = (
        f"{name}, means over items. Training items are measured while the weights change, test items after it. {end}"
    )
    terms = (
        [("negative_elbo", "negative ELBO, nats"), ("reconstruction", "reconstruction, nats"), ("kl", "KL, nats")]
        if is_vae
        else [("reconstruction", "reconstruction, nats")]
    )
    top = heading_height(WIDTH, subtitle)
    figure = new_figure(WIDTH, top + 3.5)
    heading(figure, "Training", subtitle)
    wide = WIDTH - MARGIN - 0.75
    for index, (term, label) in enumerate(terms):
        if index == 0:
            axes = place(figure, 0.75, top + 0.1, wide * 0.56 if is_vae else wide, 2.75)
        else:
            axes = place(figure, 0.75 + wide * 0.56 + 0.75, top + 0.1 + (index - 1) * 1.5, wide * 0.44 - 0.75, 1.25)
        _curves(axes, history, epochs, term, lead=index == 0)
        axes.set_ylabel(label, size=NORMAL if index == 0 else SMALL)
        if index != 1 or len(terms) == 1:
            axes.set_xlabel("epoch")
        else:
            axes.set_xticklabels([])
    return figure


def _curves(axes: Axes, history: Sequence[Mapping[str, Any]], epochs: list[int], term: str, *, lead: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    values = {split: curve(history, split, term) for split in LOOKS}
    for split, (colour, dashes, marker) in LOOKS.items():
        axes.plot(
            epochs, values[split], color=colour, linestyle=dashes, marker=marker if len(epochs) <= MARKED else "",
            markersize=4.5, label=split, gid=f"{split} {term}",
        )  # fmt: skip
    everything = np.concatenate(list(values.values()))
    finite = everything[np.isfinite(everything)]
    # A first epoch far above the rest would flatten all else.
    if len(epochs) > 2 and len(finite):
        later = np.concatenate([line[1:] for line in values.values()])
        low, high = float(np.nanmin(everything)), float(np.nanmax(later))
        first = float(np.nanmax(everything))
        if first - low > 6 * max(high - low, 1e-9):
            axes.set_ylim(low - 0.08 * (high - low), high + 0.35 * (high - low))
            axes.text(
                0.02, 0.98, f"↑ {number(first)} in epoch {epochs[0]}", transform=axes.transAxes, va="top", size=SMALL
            )
    axes.set_xlim(epochs[0] - 0.3, epochs[-1] + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=min(10, len(epochs) + 1), min_n_ticks=1))
    if lead:
        axes.legend(loc="best")
