"""Where the posterior means of a data set's items stand, coloured by label, and how they came there.

Needs: NumPy; matplotlib inside functions. Must not import: torch, onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.figures.decoded import class_name
from vaekit.figures.model import in_words
from vaekit.figures.projection import Projection, embed, principal_axes
from vaekit.figures.style import (
    BLUE,
    MARGIN,
    PALE,
    SMALL,
    class_look,
    heading,
    heading_height,
    label_class,
    new_figure,
    place,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES: Final = 30
"""Classes that are coloured; of more, nobody could tell them apart."""

NAMES_APART: Final = 0.085
"""Least distance between two names, in parts of a panel's side."""


class Epochs(NamedTuple):
    """Means of the same items at several times.

    Attributes:
        epochs: Epochs, (E,), ascending; 0 where the time is unknown, as for a bundle.
        means: (E, n, D).
        labels: (n,), or None.
    """

    epochs: NDArray[np.int64]
    means: NDArray[np.float32]
    labels: NDArray[np.int64] | None


class Places(NamedTuple):
    """Means on a plane, for some epochs.

    Attributes:
        epochs: (E,)
        places: (E, n, 2)
        axes: What the two axes are, in words.
    """

    epochs: NDArray[np.int64]
    places: NDArray[np.float64]
    axes: tuple[str, str]


def three(epochs: NDArray[np.int64]) -> list[int]:
    """Places in a list of epochs of the first, the one nearest the middle, and the last; fewer where there are fewer."""
    middle = int(np.abs(epochs - (epochs[0] + epochs[-1]) / 2).argmin())
    return sorted({0, middle, len(epochs) - 1})


def on_a_plane(kept: Epochs, projection: Projection, *, seed: int = 0) -> Places:
    """Bring means of the first, the middle and the last epoch onto a plane.

    With "pca" all are seen along the same two axes, the principal axes of the last epoch's means. t-SNE and UMAP lay each epoch
    out on its own, beginning from these places. Codes of two dimensions need no plane, and are themselves; with one dimension,
    the second coordinate is the label.

    Args:
        kept: Means of all epochs.
        projection: "pca", "tsne" or "umap".
        seed: Of t-SNE's and UMAP's random numbers.

    Raises:
        DataError: Too few items for t-SNE or UMAP.
    """
    which = three(kept.epochs)
    means = kept.means[which].astype(np.float64)
    latent = means.shape[2]
    if latent == 1:
        second = np.zeros(means.shape[1]) if kept.labels is None else kept.labels.astype(np.float64)
        # Spread within a class, so that points do not hide each other; by the item's number, the same in every epoch.
        shift = 0.7 * ((np.arange(len(second)) * 0.618034) % 1 - 0.5)
        places = np.stack([means[:, :, 0], np.broadcast_to(second + shift, means.shape[:2])], axis=2)
        return Places(kept.epochs[which], places, ("z0", "" if kept.labels is None else "label"))
    if latent == 2 and projection == "pca":
        return Places(kept.epochs[which], means, ("z0", "z1"))
    axes = principal_axes(means[-1])
    places = np.stack([axes.project(codes) for codes in means])
    if projection == "pca":
        first, second_share = (f"{100 * share:.0f}% of variance" for share in axes.shares)
        return Places(kept.epochs[which], places, (f"first axis, {first}", f"second, {second_share}"))
    laid = np.stack(
        [embed(codes, projection, start=start, seed=seed) for codes, start in zip(means, places, strict=True)]
    )
    name = "t-SNE" if projection == "tsne" else "UMAP"
    return Places(kept.epochs[which], laid, (f"{name} 1", f"{name} 2"))


@styled
def means(
    kept: Epochs,
    *,
    name: str,
    classes: tuple[str, ...] = (),
    projection: Projection = "pca",
    seed: int = 0,
    note: str = "",
) -> Figure:
    """Draw the means of the first, the middle and the last epoch side by side.

    The first row is always along the principal axes; t-SNE or UMAP make a second row.

    Args:
        kept: Means of all epochs.
        name: The model's.
        classes: Names of the labels 0, 1, ...; empty where a label is its own name.
        projection: "pca", or "tsne" or "umap" for a second row.
        seed: Of t-SNE's and UMAP's random numbers.
        note: A sentence for the heading: why there is one panel alone.

    Raises:
        DataError: Too few items for t-SNE or UMAP.
    """
    count, latent = kept.means.shape[1:]
    known = np.unique(kept.labels) if kept.labels is not None else np.empty(0, np.int64)
    labels = kept.labels if len(known) <= MOST_CLASSES else None
    rows = [on_a_plane(kept, "pca", seed=seed)]
    if projection != "pca" and latent > 1:
        rows.append(on_a_plane(kept, projection, seed=seed))
    panels = len(rows[0].epochs)
    subtitle = (
        f"Posterior means of {count:,} test items, {name}: {_how(latent, projection, panels)} {_colours(kept, known)} {note}"
    ).strip()
    side, gap, left = (2.55 if panels > 1 else 4.4), 0.2, 0.75
    width = max(left + panels * (side + gap) - gap + MARGIN, 7.0)
    top = heading_height(width, subtitle)
    figure = new_figure(width, top + 0.25 + len(rows) * (side + 0.7))
    heading(figure, "A latent space takes shape" if panels > 1 else "The latent space", subtitle)
    for row, found in enumerate(rows):
        limits = [np.abs(found.places[..., axis]).max() * 1.05 or 1.0 for axis in (0, 1)]
        for column, (epoch, places) in enumerate(zip(found.epochs, found.places, strict=True)):
            axes = place(figure, left + column * (side + gap), top + 0.25 + row * (side + 0.7), side, side)
            if row == 0 and latent == 1:
                axes.set_xlim(-limits[0], limits[0])
                axes.set_yticks(
                    known if labels is not None else [],
                    [class_name(int(k), classes) for k in known if labels is not None],
                )
            elif row == 0:
                axes.set_xlim(-max(limits), max(limits))
                axes.set_ylim(-max(limits), max(limits))
                axes.axhline(0, color=PALE, linewidth=0.8, zorder=0)
                axes.axvline(0, color=PALE, linewidth=0.8, zorder=0)
            else:
                axes.set_xticks([])
                axes.set_yticks([])
            _points(axes, places, labels, classes, named=latent > 1 or row == 1)
            if row == 0 and epoch:
                axes.set_title(f"epoch {epoch}", pad=4)
            axes.set_xlabel(found.axes[0])
            if column == 0:
                axes.set_ylabel(found.axes[1])
            else:
                axes.set_yticklabels([])
    return figure


def _how(latent: int, projection: Projection, panels: int) -> str:
    """Say in words what the panels show."""
    if latent <= 2:
        how = "the code itself"
    else:
        how = f"{in_words(latent)}, along {'the same two axes, those of' if panels > 1 else 'the two axes of'} most variance"
        how += " in the last epoch" if panels > 1 else ""
    if projection == "pca" or latent == 1:
        return how + "."
    name = "t-SNE" if projection == "tsne" else "UMAP"
    each = ", each panel on its own" if panels > 1 else ""
    return f"{how}; below, laid out by {name}{each}: neighbours are neighbours, distances mean little."


def _colours(kept: Epochs, known: NDArray[np.int64]) -> str:
    if kept.labels is None:
        return "The data has no labels, so there is one colour."
    if len(known) > MOST_CLASSES:
        return f"One colour: {len(known)} labels are too many to tell apart."
    return "Colour and marker: the label, which the model never saw."


def _points(
    axes: Axes, places: NDArray[np.float64], labels: NDArray[np.int64] | None, classes: tuple[str, ...], *, named: bool
) -> None:
    """Draw points, and the name of each class at the median of its points, or as near to it as other names allow."""
    size = float(np.clip(9000 / max(1, len(places)), 7, 40))
    if labels is None:
        axes.scatter(places[:, 0], places[:, 1], s=size, color=BLUE, alpha=0.55, linewidth=0)
        return
    known = np.unique(labels)
    for index, label in enumerate(known):
        colour, marker = class_look(index)
        axes.scatter(
            places[labels == label, 0],
            places[labels == label, 1],
            s=size,
            color=colour,
            marker=marker,
            alpha=0.75,
            linewidth=0,
            zorder=2 + index / 100,
        )
    if named:
        medians = np.array([np.median(places[labels == label], axis=0) for label in known])
        (left, right), (bottom, high) = axes.get_xlim(), axes.get_ylim()
        span = np.array([right - left, high - bottom])
        for (x, y), label in zip(apart(medians / span, NAMES_APART) * span, known, strict=True):
            label_class(axes, x, y, class_name(int(label), classes), size=SMALL + 2)


def apart(places: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Move places that are closer than a distance away from each other, each pair by equal steps, until none is (or for long).

    Args:
        places: (K, 2).
        least: The distance.
    """
    moved = places.astype(np.float64) + 1e-9 * np.arange(places.size).reshape(
        places.shape
    )  # equal places have no direction
    for _ in range(200):
        between = moved[:, None] - moved[None]
        distance = np.linalg.norm(between, axis=2) + np.eye(len(moved)) * 2 * least
        short = np.maximum(0, least - distance)
        if not short.any():
            break
        moved += 0.25 * (between / np.maximum(distance, 1e-12)[..., None] * short[..., None]).sum(axis=1)
    return moved
