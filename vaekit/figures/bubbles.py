"""Posteriors as bubbles in two dimensions: how the weight of the KL decides between a crowd of points and one cloud.

Needs: NumPy; matplotlib inside functions. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import Split
from vaekit.figures.decoded import class_name
from vaekit.figures.items import frame
from vaekit.figures.means import MOST_CLASSES, NAMES_APART, apart
from vaekit.figures.model import Model, few, measure
from vaekit.figures.style import (
    BLUE,
    INK,
    LARGE,
    MARGIN,
    SMALL,
    class_look,
    heading,
    heading_height,
    label_class,
    new_figure,
    number,
    place,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BETAS: Final = (0.0, 1.0, 4.0)

MOST_BUBBLES: Final = 240

ACROSS: Final = 8.0
"""Side of the closer look, in median radii of the model with the largest bubbles."""


class Bubbles(NamedTuple):
    """Posteriors of items in two dimensions.

    Attributes:
        centre: Posterior means, (n, 2).
        radius: Standard deviations, (n, 2).
        labels: (n,), or None.
        reconstruction: Mean reconstruction loss of the items, nats.
        kl: Their mean KL, nats.
    """

    centre: NDArray[np.float32]
    radius: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    reconstruction: float
    kl: float


def bubbles(model: Model, split: Split, *, count: int = MOST_BUBBLES, seed: int = 0) -> Bubbles:
    """Encode some items, evenly spaced.

    Args:
        model: A VAE of two latent dimensions.
        split: Items to choose from.
        count: Items at most.
        seed: Of the codes at which the reconstruction is measured.
    """
    found = measure(model, few(split, count), seed=seed)
    return Bubbles(
        found.posterior.mean,
        found.posterior.std,
        found.split.labels,
        float(found.reconstruction.mean()),
        float(found.kl.sum(axis=1).mean()),
    )


def closer_look(found: Sequence[Bubbles]) -> tuple[list[NDArray[np.float64]], float]:
    """Find windows of one size, each where a model's bubbles are: around the one next to the median of its centres.

    Args:
        found: Bubbles of several models.

    Returns:
        The windows' centres, each (2,), and half their side.
    """
    half = min(
        ACROSS / 2 * max(float(np.median(each.radius)) for each in found),
        min(_reach(each) for each in found) / 2,  # closer than the panels above
    )
    middles = []
    for each in found:
        centres = each.centre.astype(np.float64)
        middles.append(centres[np.square(centres - np.median(centres, axis=0)).sum(axis=1).argmin()])
    return middles, half


@styled
def posterior(
    models: Sequence[tuple[str, Model]], split: Split, *, classes: tuple[str, ...] = (), note: str = "", seed: int = 0
) -> Figure:
    """Draw posteriors as bubbles for several models of two latent dimensions.

    Above, all of a model's bubbles, at a scale of its own, with the prior's circles for a ruler; below, a closer look, the same
    size in each panel.

    Args:
        models: Each with what it is called, as in "β = 1".
        split: Items to encode.
        classes: Names of the labels.
        note: How the models were made, a sentence for the heading.
        seed: Of the codes at which the reconstruction is measured.
    """
    found = [bubbles(model, split, seed=seed) for _, model in models]
    labels = found[0].labels
    coloured = labels is not None and len(np.unique(labels)) <= MOST_CLASSES
    subtitle = (
        f"Each bubble is a test item's posterior in two latent dimensions: centre = mean, radius = standard deviation; "
        f"{len(found[0].centre)} items{', named by their label' if coloured else ''}. Dashed: the prior's radii 1 and 2. "
        f"Below, a closer look at the frames, of one size. Reconstruction pushes bubbles apart and shrinks them; the "
        f"KL, weighed by β, pulls them to the centre and to radius 1. {note}"
    ).strip()
    side, gap, left = 2.5, 0.42, 0.68
    width = max(left + len(found) * (side + gap) - gap + MARGIN, 6.0)
    top = heading_height(width, subtitle)
    lower = top + 0.68 + side + 0.36
    figure = new_figure(width, lower + side + 0.65)
    heading(figure, "Posterior bubbles", subtitle)
    middles, half = closer_look(found)
    for index, ((name, _), each, middle) in enumerate(zip(models, found, middles, strict=True)):
        x = left + index * (side + gap)
        axes = place(figure, x, top + 0.68, side, side)
        axes.text(0, 1.175, name, transform=axes.transAxes, size=LARGE, weight="bold", va="bottom")
        numbers = f"reconstruction {number(each.reconstruction)} nats\n"
        numbers += f"KL {number(each.kl)} nats, median radius {np.median(each.radius):.2g}"
        axes.text(0, 1.03, numbers, transform=axes.transAxes, size=SMALL, va="bottom", linespacing=1.25)
        _draw(axes, each, np.zeros(2), _reach(each), coloured, classes)
        frame(axes, middle[0] - half, middle[1] - half, 2 * half, 2 * half, edgecolor=INK, linewidth=1.2, zorder=8)
        close = place(figure, x, lower, side, side)
        _draw(close, each, middle, half, coloured, None)
        close.set_xlabel("z0")
        if index == 0:
            axes.set_ylabel("z1")
            close.set_ylabel("z1")
    return figure


def _reach(found: Bubbles) -> float:
    """Half the side of a square around the origin that holds all bubbles and the prior's circles."""
    return max(2.2, 1.03 * float((np.abs(found.centre) + found.radius).max()))


def _draw(
    axes: Axes,
    found: Bubbles,
    middle: NDArray[np.float64],
    half: float,
    coloured: bool,
    classes: tuple[str, ...] | None,
) -> None:
    """Draw bubbles into a square window, and the prior's circles."""
    from matplotlib.collections import EllipseCollection
    from matplotlib.patches import Circle
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    labels = found.labels if coloured else None
    known = np.unique(labels) if labels is not None else np.zeros(1, np.int64)
    for index, label in enumerate(known):
        which = labels == label if labels is not None else np.ones(len(found.centre), bool)
        colour, marker = class_look(index) if labels is not None else (BLUE, "o")
        axes.add_collection(
            EllipseCollection(
                2 * found.radius[which, 0], 2 * found.radius[which, 1], np.zeros(int(which.sum())), units="xy",
                offsets=found.centre[which], offset_transform=axes.transData, facecolor=(colour, 0.18), edgecolor=(colour, 0.9),
                linewidth=0.7, gid="bubbles",
            )
        )  # fmt: skip
        axes.scatter(
            found.centre[which, 0], found.centre[which, 1], s=5, color=colour, marker=marker, linewidth=0, zorder=3
        )
    for radius in (1, 2):
        axes.add_patch(
            Circle((0, 0), radius, fill=False, edgecolor=INK, linestyle=(0, (4, 3)), linewidth=1.1, zorder=5)
        )
    axes.spines[["top", "right"]].set_visible(True)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if labels is not None and classes is not None:
        medians = np.array([np.median(found.centre[labels == label], axis=0) for label in known], np.float64)
        for (x, y), label in zip(apart(medians / (2 * half), NAMES_APART) * 2 * half, known, strict=True):
            label_class(axes, x, y, class_name(int(label), classes))
