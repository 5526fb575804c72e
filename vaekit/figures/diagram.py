"""The encoder, the sampler and the decoder, with a real item on its way through them.

Needs: NumPy; matplotlib inside functions. Must not import: torch, onnx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.figures.items import Board, Look, frame
from vaekit.figures.model import Model
from vaekit.figures.style import BLUE, GREEN, GREY, INK, MARGIN, NORMAL, ORANGE, SMALL, VERMILLION, number, styled
from vaekit.latents import Latents
from vaekit.noise import noise
from vaekit.runtime.session import Items
from vaekit.runtime.vae import negative_elbo_terms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Pass(NamedTuple):
    """One item on its way through a model.

    Attributes:
        x: The item, (1, *shape).
        mean: Its posterior's mean, (1, D).
        log_var: Its posterior's log-variance, (1, D); minus infinity for an autoencoder.
        eps: Noise, (1, D); zeros for an autoencoder.
        z: ``mean + exp(log_var / 2) * eps``, (1, D).
        x_hat: The decoder's means for z, (1, *shape).
        reconstruction: Reconstruction loss, nats.
        kl: KL from the posterior to the prior, nats; 0 for an autoencoder.
    """

    x: Items
    mean: Latents
    log_var: Latents
    eps: Latents
    z: Latents
    x_hat: Items
    reconstruction: float
    kl: float


def forward(model: Model, x: Items, *, seed: int = 0) -> Pass:
    """Send one item, (1, *shape), through a model, with the portable noise of a seed."""
    terms = negative_elbo_terms(model, x, seed=seed, start=0)
    mean, log_var = terms.posterior
    eps = noise(seed=seed, count=1, dim=model.spec.latent) if model.is_vae else np.zeros_like(mean)
    return Pass(x, mean, log_var, eps, terms.z, terms.x_hat, float(terms.reconstruction[0]), float(terms.kl.sum()))


WIDE: Final = 10.4
TALL: Final = 3.95
"""The figure's width, and the height of the drawing below the heading, inches."""

ITEM: Final = 1.15
STRIP: Final = 0.42
BOX: Final = 1.2
"""Widths, inches: of an item, of a vector's strip of bars, of encoder and decoder."""


@styled
def diagram(model: Model, x: Items, *, seed: int = 0) -> Figure:
    """Draw a model with one item on its way through it.

    Args:
        model: The model.
        x: The item, (1, *shape).
        seed: Seed of the noise.

    Returns:
        The figure: the item, the encoder and its layers, mean and log_var as bars, the sampler, z, the decoder, x_hat, with the
        shape of each and both terms of the negative ELBO.
    """
    found = forward(model, x, seed=seed)
    spec = model.spec
    look = Look(spec.data, x)
    where = (
        f"The noise stands outside both graphs (here the portable noise of seed {seed}), so each graph is a pure function."
        if model.is_vae
        else "An autoencoder's code is a point: no variance, no noise, no KL."
    )
    subtitle = (
        f"A test item on its way through {model.name}. Bars are this item's own values, one a latent dimension. {where}"
    )
    board = Board(WIDE, TALL, "Encoder, sampler, decoder" if model.is_vae else "Encoder and decoder", subtitle)
    middle = board.top + 1.6
    width, height = look.size(ITEM)
    if height > 2.2:
        width, height = width * 2.2 / height, 2.2
    into, out = MARGIN + (ITEM - width) / 2, WIDE - MARGIN - (ITEM + width) / 2
    _item(board, look, found.x[0], into, middle, (width, height), "x")
    _item(board, look, found.x_hat[0], out, middle, (width, height), "x_hat")
    first, last = MARGIN + ITEM + 0.4, WIDE - MARGIN - ITEM - 0.4  # left edge of the encoder, right edge of the decoder
    encoder, decoder = model.layers()
    _half(board, first, middle, "encoder", "q(z | x)" if model.is_vae else "", encoder, narrows=True)
    _half(board, last - BOX, middle, "decoder", "p(x | z)" if model.is_vae else "", decoder, narrows=False)
    _arrow(board.axes, into + width + 0.05, middle, first - 0.04, middle)
    _arrow(board.axes, last + 0.04, middle, out - 0.05, middle)
    if model.is_vae:
        _code(board, found, first + BOX, last - BOX, middle)
    else:
        centre = (first + last - STRIP) / 2
        _strip(board, found.z[0], centre, middle, "z = mean", BLUE, 2.0)
        _arrow(board.axes, first + BOX + 0.04, middle, centre - 0.06, middle)
        _arrow(board.axes, centre + STRIP + 0.06, middle, last - BOX - 0.04, middle)
    lost, kl, total = map(number, (found.reconstruction, found.kl, found.reconstruction + found.kl))
    sum_of = (
        f"negative ELBO  =  reconstruction + KL  =  {lost} + {kl}  =  {total} nats"
        if model.is_vae
        else f"reconstruction loss  =  {total} nats"
    )
    board.text(WIDE / 2, board.height - MARGIN - 0.02, sum_of, size=NORMAL)
    return board.figure


def _code(board: Board, found: Pass, left: float, right: float, middle: float) -> None:
    """Draw what stands between encoder and decoder, from the one's right edge to the other's left: both heads, sampler, z."""
    heads, code = left + 0.44, right - 0.42 - STRIP
    up, down = middle - 0.86, middle + 0.86
    _strip(board, found.mean[0], heads, up, "mean", BLUE, 1.1)
    _strip(board, found.log_var[0], heads, down, "log_var", ORANGE, 1.1)
    _strip(board, found.z[0], code, middle, "z", VERMILLION, 1.6)
    begin, end = heads + STRIP + 0.31, code - 0.3  # the sampler's frame
    centre = (begin + end) / 2
    frame(board.axes, begin, middle - 1.45, end - begin, 2.9, edgecolor=GREY, linestyle=(0, (4, 3)), linewidth=1.0)
    board.text(centre, middle - 1.22, "sampler", size=SMALL + 3, weight="bold")
    board.axes.text(
        centre, middle - 0.32, "z = mean +\nexp(log_var / 2) · eps", ha="center", va="center", size=SMALL + 0.5,
        family="DejaVu Sans Mono", linespacing=1.5, zorder=7,
    )  # fmt: skip
    _strip(board, found.eps[0], centre - STRIP / 2, middle + 0.72, "eps ~ N(0, I)", GREEN, 0.85)
    for y in (up, down):
        _arrow(board.axes, left + 0.04, middle + 0.25 * np.sign(y - middle), heads - 0.07, y)
        _arrow(board.axes, heads + STRIP + 0.07, y, begin - 0.03, middle + 0.25 * np.sign(y - middle))
    _arrow(board.axes, end + 0.03, middle, code - 0.06, middle)
    _arrow(board.axes, code + STRIP + 0.06, middle, right - 0.04, middle)


def _item(
    board: Board,
    look: Look,
    item: NDArray[np.float32],
    left: float,
    middle: float,
    size: tuple[float, float],
    name: str,
) -> None:
    top = middle - size[1] / 2
    board.item(look, item, left, top, size)
    frame(board.axes, left, top, *size, edgecolor=INK, zorder=5)
    board.text(left + size[0] / 2, top - 0.15, name, size=SMALL + 3, family="DejaVu Sans Mono")
    board.text(left + size[0] / 2, top + size[1] + 0.15, " × ".join(map(str, look.data.shape)))


def _half(
    board: Board, left: float, middle: float, name: str, law: str, layers: tuple[str, ...], *, narrows: bool
) -> None:
    """Draw a network as a trapezium that narrows to the code or widens from it, with its layers in it."""
    from matplotlib.patches import Polygon

    wide, slim = 1.3, 0.75
    a, b = (wide, slim) if narrows else (slim, wide)
    corners = [(left, middle - a), (left + BOX, middle - b), (left + BOX, middle + b), (left, middle + a)]
    board.axes.add_patch(Polygon(corners, closed=True, facecolor="#EEF3F7", edgecolor=INK, linewidth=1.2))
    x = left + BOX / 2
    board.text(x, middle - wide - 0.13, name, size=SMALL + 3, weight="bold")
    board.text(x, middle + wide + 0.14, law, size=SMALL + 1)
    lines = [text for layer in shortened(layers) for text in (layer, "↓")][:-1]
    step = min(0.25, 1.5 / max(1, len(lines)))
    for index, text in enumerate(lines):
        y = middle + (index - (len(lines) - 1) / 2) * step
        board.text(x, y, text, color=GREY if text == "↓" else INK, size=SMALL if text == "↓" else SMALL + 1)


def shortened(layers: tuple[str, ...], most: int = 5) -> tuple[str, ...]:
    """Leave out the middle of many layers, so that their names do not run into each other."""
    return layers if len(layers) <= most else (*layers[: most // 2], "…", *layers[-(most // 2) :])


def _strip(
    board: Board, values: NDArray[np.float32], left: float, middle: float, name: str, colour: str, height: float
) -> None:
    """Draw a vector as bars to both sides of a zero line, the first dimension on top; its size stands below."""
    top, centre = middle - height / 2, left + STRIP / 2
    frame(board.axes, left, top, STRIP, height, edgecolor=INK, linewidth=1.0, fill=True, facecolor="white", zorder=4)
    most = float(np.abs(values).max()) or 1.0
    step = height / len(values)
    board.axes.barh(
        top + step * (np.arange(len(values)) + 0.5), 0.46 * STRIP * values / most, left=centre, color=colour, zorder=5,
        height=step * (0.75 if len(values) <= 64 else 1.0), gid=name,
    )  # fmt: skip
    board.axes.plot([centre, centre], [top, top + height], color=INK, linewidth=0.6, zorder=6)
    board.text(centre, top - 0.13, name, size=SMALL + 1, family="DejaVu Sans Mono")
    board.text(centre, top + height + 0.13, f"({len(values)})")
    board.hold()


def _arrow(axes: Axes, x0: float, y0: float, x1: float, y1: float) -> None:
    look: dict[str, Any] = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=(x1, y1), xytext=(x0, y0), arrowprops=look, zorder=6)
