"""What stands above the bar of `vaekit train`: test items and their reconstructions, samples, and the loss curve.

`arrange` fits them into the lines and characters there are. The curve goes beside the pictures, or under them where it is too
narrow for that; on a small console the samples are left out, then the reconstructions, then the curve.

Needs: NumPy, rich; torch where a model is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.text import Text

from vaekit.errors import ConfigError
from vaekit.spec import DataSpec, ModelSpec

from .curve import BLOCKS, SMALLEST, Curve, Loss, loss_name
from .graphics import Screen
from .in_place import Line
from .lines import Lines, limits
from .pictures import Picture

if TYPE_CHECKING:
    from vaekit.datasets import Dataset
    from vaekit.training.preview import Preview

MOST: Final = 8
"""Items and samples beside each other."""

SHRUNK: Final = 10
"""Characters that an image is at least wide, unless it has fewer pixels."""

SERIES: Final = 24
"""Characters of a time series; a table's row has one a value, and not more than this."""

GAP: Final = 2
RESERVED: Final = 4
"""Lines that are not the preview's: the bar, an epoch's line, which may wrap, and one to spare."""

CURVE: Final = (24, 48)
"""Fewest and most characters of a curve beside the pictures."""
CURVE_BELOW, CURVE_BESIDE, CURVE_ALONE = 5, 10, 8
"""Lines of the curve."""


def check_preview(wanted: bool | None, console: Console, *, plain: bool) -> None:
    """Refuse a preview that was asked for and cannot be drawn.

    Args:
        wanted: What --preview says, or None.
        console: Where it would be drawn.
        plain: Whether --quiet or --json ask for plain output.

    Raises:
        ConfigError: There is none.
    """
    if not wanted:
        return
    if plain:
        raise ConfigError("--preview draws what --quiet and --json leave out; choose one of them.")
    if not draws(console):
        raise ConfigError(
            "--preview draws in a terminal with colours, and standard output is none; leave it out, or use --tensorboard."
        )


def draws(console: Console) -> bool:
    """Whether a console shows what moves: a terminal that takes escape codes, and no NO_COLOR."""
    return console.is_interactive and not console.no_color


class Pane:
    """Keeps the newest pictures, and lays them out with the curve.

    Args:
        console: Where they will be drawn.
        data: Its test items are reconstructed, evenly spaced ones.
        spec: What is trained.
        every: Epochs from one picture to the next; the first and the last epoch have one in any case.
        epochs: Epochs of the run.
    """

    def __init__(self, console: Console, data: Dataset, spec: ModelSpec, *, every: int = 1, epochs: int) -> None:
        from vaekit.datasets.rows import evenly
        from vaekit.training.preview import Previewer

        self._console = console
        self._data = spec.data
        self._loss = loss_name(spec.kind)
        self._every, self._epochs = every, epochs
        self._made: Preview | None = None
        self._runs: Previewer | None = None
        if spec.data.is_image or not spec.data.is_chw:
            x = data.test.pixels(evenly(len(data.test), MOST))
            self._runs = Previewer(x, spec, samples=MOST)

    def weights(self, epoch: int, model: Any) -> None:
        """Run the model, unless this epoch has no picture."""
        due = self._made is None or epoch % self._every == 0 or epoch == self._epochs
        if self._runs is not None and due:
            self._made = self._runs(model)

    def lines(self, losses: Sequence[Loss]) -> list[Line]:
        """Lay out pictures and curve for the console as it is now."""
        width, height = self._console.size
        return arrange(self._console, losses, self._made, self._data, width, height - RESERVED, name=self._loss)


def arrange(
    console: Console,
    losses: Sequence[Loss],
    made: Preview | None,
    data: DataSpec,
    width: int,
    height: int,
    *,
    name: str = "-ELBO",
) -> list[Line]:
    """Fit pictures and curve into ``width`` characters and ``height`` lines; no lines where nothing fits."""
    rows = [] if made is None else [(made, True), (made, False)] if made.samples is not None else [(made, False)]
    for preview, samples in rows:
        room = width - CURVE[0] - GAP
        found = _pictures(console, preview, data, samples, room, height, fewest=3)
        if found is not None:
            curve = Curve(losses, height=min(CURVE_BESIDE, len(found.lines)), name=name)
            beside = min(CURVE[1], width - found.width - GAP)
            return _beside(found, _rendered(console, curve, beside))
        found = _pictures(console, preview, data, samples, width, height - CURVE_BELOW, fewest=2)
        if found is not None:
            curve = Curve(losses, height=CURVE_BELOW, name=name)
            return [*found.lines, *_rendered(console, curve, min(width, 2 * CURVE[1]))]
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return []
    return _rendered(console, Curve(losses, height=min(CURVE_ALONE, height), name=name), min(width, 2 * CURVE[1]))


class _Pictures(NamedTuple):
    """Lines that are all as wide as they say."""

    lines: list[Line]
    width: int


def _pictures(
    console: Console, made: Preview, data: DataSpec, samples: bool, room: int, height: int, *, fewest: int
) -> _Pictures | None:
    """Draw rows of items and reconstructions, and of samples, as large as there is room; None where they do not fit."""
    rows = 3 if samples else 2
    if data.is_image:
        drawn = _images(made, samples, room, (height - (rows - 2)) // rows, fewest)
    elif data.is_chw or room < min(SERIES, data.size):
        return None
    elif len(data.shape) == 2:
        drawn = _series(made, data, samples, room)
    else:
        drawn = _values(made, samples, room)
    if drawn is None:
        return None
    above, below, width = drawn
    lines = _rendered(console, above, width)
    if below is not None:
        caption = Text("^ test items, reconstructions; v samples", "dim", no_wrap=True)
        caption.truncate(width)
        lines += _rendered(console, caption, width) + _rendered(console, below, width)
    return _Pictures(lines, width) if len(lines) <= height else None


Drawn = tuple[RenderableType, RenderableType | None, int]
"""Items with their reconstructions, samples, and their width."""


def _images(made: Preview, samples: bool, room: int, lines: int, fewest: int) -> Drawn | None:
    """The widest images of which at least some stand in a row, each at most so many lines high."""
    count, _, high, wide = made.x.shape
    for width in range(wide, min(wide, SHRUNK) - 1, -1):
        columns = min(count, (room + GAP) // (width + GAP))
        if -(-max(1, round(high * width / wide)) // 2) <= lines and columns >= min(count, fewest):
            break
    else:
        return None
    screen = Screen("blocks")
    above = Picture(_finite(made.x[:columns]), under=_finite(made.x_hat[:columns]), columns=columns, screen=screen)
    below = None
    if samples and made.samples is not None:
        below = Picture(_finite(made.samples[:columns]), columns=columns, screen=screen)
    return above, below, columns * (width + GAP) - GAP


def _series(made: Preview, data: DataSpec, samples: bool, room: int) -> Drawn:
    """Lines on the scale of the test items, so that epochs can be compared."""
    count = min(len(made.x), max(1, (room + GAP) // (SERIES + GAP)), 4)
    width = min(room, count * (2 * SERIES + GAP) - GAP)
    scale, screen = limits(made.x), Screen("blocks")
    above = Lines(made.x[:count], data, screen=screen, under=_finite(made.x_hat[:count]), columns=count, scale=scale)
    below = None
    if samples and made.samples is not None:
        below = Lines(_finite(made.samples[:count]), data, screen=screen, columns=count, scale=scale, legend=False)
    return above, below, width


def _values(made: Preview, samples: bool, room: int) -> Drawn:
    """A table's rows: a block a column, from the smallest to the largest value that the test items have there."""
    low, high = made.x.min(axis=0), made.x.max(axis=0)
    shown = min(made.x.shape[1], SERIES)
    count = min(len(made.x), (room + GAP) // (shown + GAP))

    def row(items: NDArray[np.float32], style: str) -> Text:
        part = np.clip((_finite(items[:count]) - low) / np.where(high > low, high - low, 1), 0, 1)[:, :shown]
        levels = np.rint(part * (len(BLOCKS) - 1)).astype(int)
        words = ["".join(BLOCKS[level] for level in item) for item in levels.tolist()]
        return Text((" " * GAP).join(words), style, no_wrap=True)

    above = Text("\n").join([row(made.x, "cyan"), row(made.x_hat, "yellow")])
    below = row(made.samples, "yellow") if samples and made.samples is not None else None
    return above, below, count * (shown + GAP) - GAP


def _finite(items: NDArray[np.float32]) -> NDArray[np.float32]:
    """Keep what a model that goes astray gives from ending the run that draws it."""
    return np.nan_to_num(items)


def _rendered(console: Console, renderable: RenderableType, width: int) -> list[Line]:
    """Lines of characters, each padded to a width."""
    return console.render_lines(renderable, console.options.update(width=width, height=None), new_lines=False)


def _beside(left: _Pictures, right: list[Line]) -> list[Line]:
    """Put lines to the right of pictures, which are the longer ones."""
    gap = Segment(" " * GAP)
    return [[*line, gap, *right[row]] if row < len(right) else line for row, line in enumerate(left.lines)]
