"""How every figure looks: colours, lines, sizes, headings, and the bytes of a finished picture.

Colours are those of Okabe & Ito, which the colour-blind tell apart. Nothing is said by colour alone: lines differ in their
dashes too, classes in their markers and in a label that stands among them. Figures are made from `matplotlib.figure.Figure`,
never through pyplot, so that no window opens and no global state is left behind.

Needs: NumPy, Pillow; matplotlib inside functions (the extra vaekit[plots]). Must not import: torch, onnx.

Source: Okabe & Ito 2008, "Color universal design".
"""

from __future__ import annotations

import contextlib
import functools
import io
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar

from vaekit.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")

Format = Literal["png", "svg"]
FORMATS: Final = ("png", "svg")

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, ORANGE, BLACK, YELLOW = "#56B4E9", "#E69F00", "#000000", "#D6C81E"  # their yellow, darker: it stands on white
WINE, ASH = "#882255", "#999999"
INK, GREY, PALE = "#1A1A1A", "#6E6E6E", "#D4D4D4"

COLOURS: Final = (BLUE, ORANGE, GREEN, VERMILLION, SKY, PURPLE, BLACK, YELLOW, WINE, ASH)
"""Of classes, in order: the eight of Okabe & Ito, then two that are as safe beside them, so that ten digits have ten."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
"""Of classes. Their number and that of the colours have no common divisor, so that 110 classes look different."""

DASHES: Final = ("-", "--", "-.", ":")

WIDTH: Final = 8.0
"""Width of most figures, inches."""

DPI: Final = 150
"""Pixels an inch: 1,200 pixels for the usual width."""

PALETTE: Final = 256
"""Colours of a PNG whose items are grey."""

MARGIN: Final = 0.3
"""Empty border, inches."""

SMALL, NORMAL, LARGE = 9.0, 10.5, 13.0
"""Sizes of text in points. The smallest is 9 pixels high in a picture at half its size."""

LINE: Final = 0.19
"""Height of a line of normal text, inches."""

CHARACTER: Final = 0.071
"""Mean width of a character of the subtitle, inches."""

SETTINGS: Final[dict[str, Any]] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so it is the same everywhere
    "font.size": NORMAL,
    "mathtext.fontset": "dejavusans",
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.labelsize": NORMAL,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": NORMAL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
    "svg.fonttype": "path",  # a viewer without the font shows the same
    "svg.hashsalt": "vaekit",  # else the names inside an SVG are random
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": SMALL,
}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Have a function draw in this style, whatever the user's own settings of matplotlib; they are back afterwards."""

    @functools.wraps(draw)
    def wrapped(*arguments: P.args, **options: P.kwargs) -> T:
        with _style():
            return draw(*arguments, **options)

    return wrapped


@contextlib.contextmanager
def _style() -> Iterator[None]:
    check_matplotlib()
    from matplotlib import style

    with style.context(["default", SETTINGS]):
        yield


def check_matplotlib() -> None:
    """Hold that matplotlib is installed.

    Raises:
        MissingDependencyError: It is not.
    """
    try:
        import matplotlib.figure  # noqa: F401  only whether it is there
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"figures need matplotlib, and {error.name} is not installed; install it with `pip install 'vaekit[plots]'`."
        ) from error


def new_figure(width: float, height: float) -> Figure:
    """Give an empty figure of some size in inches, with a canvas of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def heading_height(width: float, subtitle: str) -> float:
    """How much of a figure's top its heading takes, inches, with the space beneath it."""
    return MARGIN + 0.22 + LINE * len(_wrapped(width, subtitle)) + 0.12


def heading(figure: Figure, title: str, subtitle: str) -> None:
    """Write a title, and below it in small grey letters what a reader has to know."""
    width, height = figure.get_size_inches()
    x, y = MARGIN / width, 1 - (MARGIN - 0.06) / height
    figure.text(x, y, title, size=LARGE, weight="bold", va="top")
    text = "\n".join(_wrapped(width, subtitle))
    figure.text(x, y - 0.27 / height, text, size=SMALL, color=GREY, va="top", linespacing=1.3)


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place that is given in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))


def class_look(index: int) -> tuple[str, str]:
    """Colour and marker of a class, by its place among the classes."""
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]


def number(nats: float) -> str:
    """A number of nats that is never long: one digit behind the point, none where it is large, four in all where it is huge."""
    return f"{nats:.1f}" if abs(nats) < 10_000 else f"{nats:,.0f}" if abs(nats) < 1e7 else f"{nats:.4g}"


def label_class(axes: Axes, x: float, y: float, text: str, *, size: float = NORMAL) -> None:
    """Write a class's name among its points, black on a white edge, so that it reads over any colour."""
    from matplotlib.patheffects import withStroke

    axes.text(
        x, y, text, size=size, weight="bold", color=BLACK, ha="center", va="center", zorder=9,
        path_effects=[withStroke(linewidth=3, foreground="white")],
    )  # fmt: skip


@styled
def picture(figure: Figure, format: Format, *, colours: int | None = PALETTE) -> bytes:  # noqa: A002
    """Give a figure as the content of a file; the same figure gives the same bytes.

    Args:
        figure: What to write.
        format: "png" or "svg".
        colours: Colours of a PNG's palette, which makes it a third as large; None keeps every colour, as photographs need.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=format, metadata={"Date": None} if format == "svg" else {"Software": None})
    if format == "svg" or colours is None:
        return buffer.getvalue()
    from PIL import Image

    small = io.BytesIO()
    with Image.open(buffer) as image:
        image.convert("RGB").quantize(
            colours, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE
        ).save(small, format="PNG", optimize=True)
    return small.getvalue()


def _wrapped(width: float, subtitle: str) -> list[str]:
    return textwrap.wrap(subtitle, int((width - 2 * MARGIN) / CHARACTER))
