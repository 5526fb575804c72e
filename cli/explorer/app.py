"""The application: its widgets, its keys, and what each of them does.

Each change makes a new view in the `Explorer`; `_show` then decodes it and gives it to all widgets, which draw what differs.
All stand on the screen itself, without containers between: a container would pass on every message, and textual composes each
of its lines with every change.

Needs: NumPy, rich, textual.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Static

from vaekit.errors import VaekitError
from vaekit.explorer.explorer import Explorer
from vaekit.explorer.state import MORPH_STEPS, Pin

from ..console import one_line
from .atlas import Atlas
from .dialogs import Ask, Help
from .item import Bounds, ItemView
from .keys import EVERYWHERE
from .layout import Place, arrange, too_small
from .notes import Notes
from .sliders import Sliders
from .track import Track
from .words import facts, heading, hints

YOUNG: Final = 50_000
"""New objects after which Python looks for garbage. A change leaves about 1,000 behind, since textual's strips refer to
themselves; with the usual 700, one change in six or so would wait 4 ms or more for that."""

FRAME: Final = 0.05
"""Seconds between two images of a morph that plays: 20 a second."""

PLAY_STEP: Final = 2
"""Hundredths of the way between them."""

Pick = Callable[[str], NDArray[np.float32]]


class Ground(Screen[None]):
    """What stands under all widgets."""

    BLANK = True  # nothing of its own: no lines to keep and compose


class ExploreApp(App[None]):
    """Walk through a latent space.

    Args:
        explorer: The model and where the walk is.
        bounds: Smallest and largest value of each place on an item's first axis, (D, 2).
        pick: Finds an item by label, index or file, (1, *data shape).
        folder: Where saves go.
        no_map: Why there is no map, where there is none.
    """

    ENABLE_COMMAND_PALETTE = False
    TITLE = "vaekit explore"
    CSS = """
    #title, #item, #facts, #sliders, #atlas, #track, #status, #hints { position: absolute; }
    #title, #status, #hints { padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    #title { background: $panel; }
    #status, #hints { color: $text-muted; }
    #item, #sliders, #atlas {
        border: round $foreground 25%; border-title-color: $text-muted; border-subtitle-color: $text-muted;
    }
    #sliders:focus, #atlas:focus { border: round $accent; border-title-color: $text; }
    #facts, #track { padding: 0 1; }
    #small { display: none; width: 1fr; height: 1fr; content-align: center middle; text-align: center; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding(key.keys, key.action, key.text, show=False) for key in EVERYWHERE]

    def __init__(
        self, explorer: Explorer, *, bounds: Bounds, pick: Pick, folder: Path = Path("explored"), no_map: str = ""
    ) -> None:
        super().__init__()
        self.explorer = explorer
        self._pick = pick
        self._folder = folder
        self._timer: Timer | None = None
        self._texts: dict[str, Text] = {}
        # Kept, since a query looks at the uppermost screen alone, and a morph goes on under the list of keys.
        self._statics = {name: Static(id=name) for name in ("title", "status", "hints")}
        self._small = Static(id="small")
        self._forward = True
        self._thresholds: tuple[int, int, int] | None = None
        vae = explorer.vae
        self.item_view = ItemView(vae.spec.data, bounds)
        self.facts = Notes(id="facts")
        self.sliders = Sliders(explorer.order, vae.manifest.statistics.kl, self._slide, explorer.settle)
        self.atlas = Atlas(explorer.landscape, no_map, self._walk, self._jump, explorer.settle)
        self.track = Track(self._go_along, explorer.settle)

    def get_default_screen(self) -> Screen[None]:
        """The screen that the widgets stand on."""
        return Ground(id="_default")

    def compose(self) -> ComposeResult:
        """Item and facts on the left, sliders and map on the right, the way from A to B below."""
        yield self._small
        yield from self._whole()

    def _whole(self) -> Iterator[Widget]:
        """All that a screen shows which is large enough."""
        said = self._statics
        yield said["title"]
        yield from (self.item_view, self.facts, self.sliders, self.atlas, self.track)
        yield from (said["status"], said["hints"])

    def on_mount(self) -> None:
        """Say what is what, and show the first view."""
        spec = self.explorer.vae.spec
        self.item_view.border_title = "decoded"
        self._write("title", heading(self.explorer.vae))
        unit = "the prior's σ" if spec.kind == "vae" else "σ of the training codes"
        self.sliders.border_title = f"latent code, in {unit}"
        active = f"{len(self.explorer.order)} of {spec.latent} active"
        self.sliders.border_subtitle = f"{active} · value, KL in nats" if spec.kind == "vae" else active
        landscape = self.explorer.landscape
        self.atlas.border_title = "no map" if landscape is None else f"posterior means of {one_line(landscape.of)}"
        self.sliders.focus()
        self._show()

    def on_ready(self) -> None:
        """Look for garbage less often, and not among the 80,000 objects that are there from the start."""
        self._thresholds = gc.get_threshold()
        gc.set_threshold(YOUNG, *self._thresholds[1:])
        gc.freeze()

    def on_unmount(self) -> None:
        """Nothing plays on after the end, and garbage is looked for as before."""
        self._stop()
        if self._thresholds is not None:
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def on_resize(self, event: events.Resize) -> None:
        """Put each widget in its place."""
        width, height = event.size  # the application's own size follows later
        places = arrange(width, height, self.explorer.vae.spec.data, len(self.explorer.order))
        self._small.display = not places
        for widget in self._whole():
            widget.display = bool(places)
        if not places:
            self._small.update(too_small(width, height))
            return
        for widget in self._whole():
            _place(widget, places[str(widget.id)])
        self._write("hints", hints(width - 2))

    def _show(self, said: str = "") -> None:
        """Decode the view, and show it everywhere."""
        explorer, view = self.explorer, self.explorer.view
        self.item_view.show_item(explorer.item())
        self.sliders.show_values(explorer.values)
        if explorer.plane is not None and explorer.landscape is not None:
            self.atlas.show_plane(explorer.plane)
            self.atlas.show_codes(view.z, (("A", view.a), ("B", view.b)))
        self.track.show_view(view, playing=self._timer is not None)
        self.facts.say(facts(self.explorer))
        self._say(said)

    def _say(self, said: object, style: str = "") -> None:
        text = Text(one_line(said), style=style, no_wrap=True, overflow="ellipsis")
        self._write("status", text)

    def _write(self, where: str, text: Text) -> None:
        """Change a text without a new layout; one that stands there already costs nothing."""
        if self._texts.get(where) != text:
            self._texts[where] = text
            self._statics[where].update(text, layout=False)

    def _refused(self, error: VaekitError) -> None:
        self._say(error, "bold red")

    def _slide(self, dimension: int, value: float, mark: str | None) -> None:
        self._stop()
        self.explorer.set_value(dimension, value, mark)
        self._show()

    def _walk(self, right: float, up: float) -> None:
        self._stop()
        self.explorer.walk(right, up)
        self._show()

    def _jump(self, place: tuple[float, float]) -> None:
        self._stop()
        self.explorer.jump(place, "drag map")
        self._show()

    def _go_along(self, t: int, mark: str | None) -> None:
        self._try(lambda: self.explorer.morph(t, mark))

    def action_randomise(self) -> None:
        """Draw the next seed."""
        self._try(self.explorer.randomise)

    def action_reset(self) -> None:
        """Put all dimensions at 0."""
        self._try(self.explorer.reset)

    def action_pin(self, which: Pin) -> None:
        """Hold this point as A or B."""
        self._try(lambda: self.explorer.pin(which), f"point {which} is pinned")

    def action_go(self, which: Pin) -> None:
        """Go to A or B."""
        self._try(lambda: self.explorer.go(which))

    def action_bend(self) -> None:
        """Change the way's shape."""
        self._try(self.explorer.bend)
        self._show(f"the way from A to B is {self.explorer.view.path}")

    def action_turn_map(self) -> None:
        """Change the map's axes."""
        self._try(self.explorer.turn_map)

    def action_undo(self) -> None:
        """Undo a step."""
        self._stop()
        self._show("" if self.explorer.undo() else "there is nothing to undo")

    def action_redo(self) -> None:
        """Redo a step."""
        self._stop()
        self._show("" if self.explorer.redo() else "there is nothing to redo")

    def action_save(self) -> None:
        """Write what is shown."""
        try:
            folder = self.explorer.save(self._folder)
        except VaekitError as error:
            self._refused(error)
            return
        names = ", ".join(sorted(path.name for path in folder.iterdir()))
        self._show(f"saved {folder}: {names}")

    def action_encode(self) -> None:
        """Ask for an item, and go to its posterior mean."""
        self._stop()
        self.push_screen(Ask("An item: a label (name or number), an index (@17), or an image file."), self._encode)

    def _encode(self, which: str | None) -> None:
        if which is not None:
            self._try(lambda: self.explorer.encode(self._pick(which), f"item {which}, encoded"))

    def action_play(self) -> None:
        """Play the way from A to B, or stop."""
        if self._timer is not None:
            self._stop()
            self._show()
            return
        try:
            self.explorer.settle()
            self.explorer.morph(self.explorer.view.t or 0, "play")
        except VaekitError as error:
            self._refused(error)
            return
        self._forward = True
        self._timer = self.set_interval(FRAME, self.advance)
        self._show()

    def advance(self) -> None:
        """One image further on the way; at its ends, turn round."""
        t = self.explorer.view.t or 0
        if t >= MORPH_STEPS:
            self._forward = False
        elif t <= 0:
            self._forward = True
        self.explorer.morph(t + (PLAY_STEP if self._forward else -PLAY_STEP), "play")
        self._show()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
            self.explorer.settle()

    def action_turn_theme(self) -> None:
        """Change between dark and light; the image's colours stay."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_help(self) -> None:
        """List the keys."""
        self.push_screen(Help())

    def _try(self, change: Callable[[], None], said: str = "") -> None:
        """Make a change and show it, or say in one line why there is none."""
        self._stop()
        try:
            change()
        except VaekitError as error:
            self._refused(error)
            return
        self._show(said)


def _place(widget: Widget, place: Place) -> None:
    styles = widget.styles
    styles.offset, styles.width, styles.height = (place.x, place.y), place.width, place.height
