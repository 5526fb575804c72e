"""Sheets of items that a model has decoded: samples, reconstructions, traversals, and ways from one item to another.

Needs: NumPy; matplotlib inside functions. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import Split
from vaekit.datasets.dataset import item_number
from vaekit.errors import DataError
from vaekit.figures.items import Look, frame, sheet
from vaekit.figures.model import Measured, Model, few, in_words
from vaekit.figures.style import VERMILLION, number, styled
from vaekit.latents import Latents, interpolate, prior, traverse
from vaekit.runtime.session import Items

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS: Final = 20
"""Latent dimensions that are traversed at most."""

STEPS: Final = 9
"""Codes of a traversal or of a way between two items."""

EIGHTHS: Final = ("t = 0", "⅛", "¼", "⅜", "½", "⅝", "¾", "⅞", "t = 1")
"""Names of a morph's steps."""

REACH: Final = 3.0
"""How far a traversal goes to each side, in standard deviations of the aggregate posterior."""


def sampled(measured: Measured, count: int, *, seed: int) -> Items:
    """Decode codes drawn from N(0, I); an autoencoder's come from the normal that fits its codes in each dimension.

    Returns:
        Items, (count, *shape).
    """
    model = measured.model
    z = prior(count, model.spec.latent, seed=seed)
    if not model.is_vae:
        codes = measured.posterior.mean.astype(np.float64)
        z = (codes.mean(axis=0) + codes.std(axis=0) * z).astype(np.float32)
    return model.decode(z)


@styled
def samples(measured: Measured, *, seed: int = 0, columns: int = 8, rows: int = 8) -> Figure:
    """Draw items that never were: decoded from codes that are drawn at random."""
    model = measured.model
    x = sampled(measured, columns * rows, seed=seed)
    look = Look(model.spec.data, _some(measured))
    source = (
        "z ~ N(0, I)"
        if model.is_vae
        else "An autoencoder has no prior: z is drawn from the normal that fits its codes in each dimension"
    )
    subtitle = (
        f"{columns * rows} items from {model.name}: {source}, the portable noise of seed {seed}, then the decoder. "
        f"{look.in_words}"
    )
    cells = [x[row * columns : (row + 1) * columns] for row in range(rows)]
    return sheet(look, cells, title="Random samples", subtitle=subtitle, cell=0.9, gap=0.06).figure


class Chosen(NamedTuple):
    """Items by how well a model explains them: numbers of items, each (n,).

    Attributes:
        best: Those with the lowest negative ELBO, the lowest first.
        median: Those in the middle of the order, ascending.
        worst: Those with the highest, the highest last.
    """

    best: NDArray[np.int64]
    median: NDArray[np.int64]
    worst: NDArray[np.int64]


def by_score(nats: NDArray[np.float64], count: int) -> Chosen:
    """Choose the best, the median and the worst items by their negative ELBO; of few items, fewer of each.

    Args:
        nats: Negative ELBO, (N,).
        count: Items of each kind.
    """
    order = np.argsort(nats, kind="stable")
    count = max(1, min(count, len(order) // 3))
    middle = max(0, (len(order) - count) // 2)
    return Chosen(order[:count], order[middle : middle + count], order[len(order) - count :])


@styled
def reconstructions(measured: Measured, *, count: int = 8) -> Figure:
    """Draw the items that the model explains best, as usual, and worst, each above its reconstruction and its nats."""
    model = measured.model
    chosen = by_score(measured.negative_elbo, count)
    rows: list[NDArray[np.float32]] = []
    names: list[str] = []
    captions: list[list[str]] = []
    for name, which in zip(("best", "median", "worst"), chosen, strict=True):
        x = measured.split.pixels(which)
        rows += [x, model.reconstruct(x)]
        names += [f"{name}: x", "x_hat"]
        captions += [[], [number(nats) for nats in measured.negative_elbo[which]]]
    look = Look(model.spec.data, np.concatenate(rows))
    what = "negative ELBO" if model.is_vae else "reconstruction loss"
    nats = measured.negative_elbo
    subtitle = (
        f"Of {len(nats):,} test items, those that {model.name} gives the lowest, the median and the highest {what}: the number "
        f"below each, in nats. Mean {number(nats.mean())}, median {number(float(np.median(nats)))}. {look.in_words}"
    )
    board = sheet(
        look, rows, title="Reconstructions, from best to worst", subtitle=subtitle, names=names, captions=captions,
        cell=0.8, gaps=[0, 0, 0.16, 0, 0.16, 0],
    )  # fmt: skip
    return board.figure


class Traversal(NamedTuple):
    """One latent dimension, walked through.

    Attributes:
        dimension: Which, from 0.
        values: Its values, (K,).
        items: What the decoder makes of them, (K, *shape).
    """

    dimension: int
    values: NDArray[np.float64]
    items: Items


def traversed(measured: Measured, dimensions: Sequence[int], *, start: Latents, steps: int = STEPS) -> list[Traversal]:
    """Walk through dimensions of a code, each alone, while the others stay.

    Args:
        measured: The model, and the codes that say how far to go: `REACH` standard deviations of the dimension's codes (the
            aggregate posterior's) to both sides of their mean.
        dimensions: Which dimensions.
        start: The code, (D,).
        steps: Values in each.
    """
    z = measured.z.astype(np.float64)
    found = []
    for dimension in dimensions:
        codes = z[:, dimension]
        values = codes.mean() + codes.std() * np.linspace(-REACH, REACH, steps)
        found.append(Traversal(dimension, values, measured.model.decode(traverse(start, dimension, values))))
    return found


@styled
def traversals(measured: Measured) -> Figure:
    """Draw what each active dimension does to one item, the most informative dimension first."""
    model = measured.model
    dimensions = (measured.active or tuple(map(int, measured.order[:1])))[:MOST_ROWS]
    start = measured.posterior.mean[0]
    found = traversed(measured, dimensions, start=start)
    look = Look(model.spec.data, np.concatenate([row.items for row in found]))
    kl = measured.kl.mean(axis=0)
    if model.is_vae:
        names = [f"z{row.dimension}\n{kl[row.dimension]:.2f} nats" for row in found]
    else:
        names = [f"z{row.dimension}\nσ {measured.z[:, row.dimension].std():.2g}" for row in found]
    shown = f"the first {len(found)} of " if len(found) < len(measured.active) else ""
    order = "KL, the number beside it" if model.is_vae else "the standard deviation of their codes"
    subtitle = (
        f"Each row changes one dimension of one test item's code, from −{REACH:g} to {REACH:g} standard deviations σ of the "
        f"aggregate posterior; all else stays. Shown: {shown}{len(measured.active)} active of {in_words(model.spec.latent)}, "
        f"by {order}. "
        f"{look.in_words}"
    )
    columns = [f"{step:+.3g} σ".replace("-", "−") if step else "mean" for step in np.linspace(-REACH, REACH, STEPS)]
    return sheet(
        look, [row.items for row in found], title="Traversals of the active dimensions", subtitle=subtitle, names=names,
        columns=columns, cell=0.7 if look.kind == "image" else 0.8, gap=0.045,
    ).figure  # fmt: skip


def ends(split: Split, classes: tuple[str, ...], first: str | None, last: str | None) -> tuple[Items, Items, str, str]:
    """Find the two items between which to morph.

    Args:
        split: Items to find them in; of a label's, the first is taken, as `vaekit morph` does.
        classes: Names of the labels 0, 1, ...; empty where a label is its own name.
        first: A label, by name or number, or "@17" for an item; None is the label 3, where 3 and 8 are labels, else the first
            label, or item 0 where there are none.
        last: The other end; None is the label 8 or another than the first one's, or the last item.

    Returns:
        Both items, (1, *shape), and what to call them.

    Raises:
        DataError: There is no such label or item.
    """
    if split.labels is None:
        chosen = [first or "@0", last or f"@{len(split) - 1}"]
    else:
        known = [class_name(int(label), classes) for label in np.unique(split.labels)]
        usual = ["3", "8"] if {"3", "8"} <= set(known) else [known[0], known[-1]]
        begin = first or next(name for name in usual if name != last or len(known) == 1)
        chosen = [begin, last or next((name for name in reversed(usual) if name != begin), known[-1])]
    (a, from_), (b, to) = (_end(split, classes, which) for which in chosen)
    return a, b, from_, to


def class_name(label: int, classes: tuple[str, ...]) -> str:
    """What a label is called."""
    return classes[label] if 0 <= label < len(classes) else str(label)


def _end(split: Split, classes: tuple[str, ...], which: str) -> tuple[Items, str]:
    """An item by label or number, and what to call it."""
    row = item_number(split, which)
    if row is not None:
        name = f"item {row}" if split.labels is None else f"item {row} ({class_name(int(split.labels[row]), classes)})"
        return split.pixels(np.array([row])), name
    labels = split.labels
    if labels is None:
        raise DataError(f"the label {which!r} was asked for, but the items have no labels; give an item, as in @17.")
    label = classes.index(which) if which in classes else int(which) if which.isdecimal() else -1
    found = np.flatnonzero(labels == label)
    if len(found) == 0:
        known = ", ".join(class_name(int(value), classes) for value in np.unique(labels)[:20])
        raise DataError(f"the label {which!r} was asked for, but the items' labels are {known}.")
    return split.pixels(found[:1]), class_name(label, classes)


class Way(NamedTuple):
    """A way through a model's latent space.

    Attributes:
        name: Model and path: "VAE, linear".
        z: Codes, (K, D); the ends are the items' posterior means.
        items: What the decoder makes of them, (K, *shape).
    """

    name: str
    z: Latents
    items: Items


def ways(models: Sequence[tuple[str, Model]], a: Items, b: Items, *, steps: int = STEPS) -> list[Way]:
    """Go from one item to another through each model, on a line and on an arc.

    Args:
        models: Models of the same data, each with what to call it.
        a: First item, (1, *shape).
        b: Last item.
        steps: Codes along a way, both ends included.
    """
    found = []
    for name, model in models:
        first, last = model.encode(a).mean, model.encode(b).mean
        for path in ("linear", "spherical"):
            z = interpolate(first, last, steps=steps, path=path)
            found.append(Way(f"{name}\n{path}", z, model.decode(z)))
    return found


@styled
def morph(model: Model, a: Items, b: Items, names: tuple[str, str], *, ae: Model | None = None) -> Figure:
    """Draw the ways from one item to another, through the model and beside it through a plain autoencoder.

    Args:
        model: The model.
        a: First item, (1, *shape).
        b: Last item.
        names: What to call them.
        ae: An autoencoder of the same data.
    """
    models = [("VAE" if model.is_vae else "AE", model)]
    if ae is not None:
        models.append(("AE", ae))
    found = ways(models, a, b)
    rows = [np.concatenate([a, way.items, b]) for way in found]
    look = Look(model.spec.data, np.concatenate(rows))
    beside = f" Below, the same through a plain autoencoder of {in_words(ae.spec.latent)}." if ae else ""
    subtitle = (
        f"Test items at both ends, framed; between them what {model.name} decodes from codes between their means: on the "
        f"line, or on the arc that keeps their length.{beside} {look.in_words}"
    )
    columns = ["x", *EIGHTHS, "x"]
    gap = 0.05
    board = sheet(
        look, rows, title=f"A morph from {names[0]} to {names[1]}", subtitle=subtitle, columns=columns, width=9.0,
        names=[way.name for way in found], gap=gap, gaps=[0.2 * (row == 2) for row in range(len(rows))],
    )  # fmt: skip
    for first, *_, last in board.cells:
        for cell in (first, last):
            frame(board.axes, *cell, edgecolor=VERMILLION, linewidth=2.0, zorder=6)
    return board.figure


def _some(measured: Measured) -> NDArray[np.float32]:
    """Real items to take a scale from."""
    return few(measured.split, 256).pixels(slice(None))
