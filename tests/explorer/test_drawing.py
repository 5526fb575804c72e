"""What a change draws again: the lines that differ, after one message; and that the screen is right all the same."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pilots import NARROW, USUAL, WIDE, app_of, lines, use, wheel
from textual import events
from textual.events import Key, MouseMove
from textual.message import Message
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widget import Widget

from vaekit.cli.explorer.app import ExploreApp
from vaekit.cli.explorer.item import half_blocks

Drawings = dict[str, set[int]]
"""Lines that were drawn, by the widget's name."""


def record(app: ExploreApp) -> Drawings:
    """From now on, note which lines each widget draws."""
    drawn: Drawings = {str(widget.id): set() for widget in app.screen.children}

    def watch(widget: Widget) -> None:
        render_line, seen = widget.render_line, drawn[str(widget.id)]

        def noted(y: int) -> Strip:
            seen.add(y)
            return render_line(y)

        widget.render_line = noted  # type: ignore[method-assign]

    for widget in app.screen.children:
        watch(widget)
    return drawn


async def painted(app: ExploreApp, pilot: Pilot[None], before: int) -> None:
    """Wait until the item that a change made stands on the screen, and nothing is left to do."""
    for _ in range(1000):
        if app.item_view.drawn > before:
            await pilot.pause()
            return
        await pilot.pause(0.02)
    pytest.fail("the change was not drawn")


async def change(app: ExploreApp, pilot: Pilot[None], *keys: str) -> None:
    """Press keys of which the last one changes the item."""
    await pilot.press(*keys[:-1])
    await pilot.pause()
    before = app.item_view.drawn
    await pilot.press(keys[-1])
    await painted(app, pilot, before)


def picture(app: ExploreApp) -> list[tuple[int, ...]]:
    """Pairs of pixels of each line of half blocks, by NumPy from the decoder, as large as the screen shows it."""
    pixels = np.rint(app.explorer.vae.decode(app.explorer.view.z[None])[0].transpose(1, 2, 0) * 255).astype(np.uint8)
    scale = sum("▀" in line for line in lines(app.item_view)) * 2 // len(pixels)
    return [tuple(row) for row in half_blocks(pixels.repeat(scale, axis=0).repeat(scale, axis=1)).tolist()]


def differing(before: list[tuple[int, ...]], after: list[tuple[int, ...]], top: int) -> set[int]:
    return {top + line for line, (old, new) in enumerate(zip(before, after, strict=True)) if old != new}


def first_line(app: ExploreApp) -> int:
    return next(y for y, line in enumerate(lines(app.item_view)) if "▀" in line)


@pytest.mark.parametrize("size", [NARROW, USUAL, WIDE])
def test_a_slider_draws_its_line_two_facts_and_the_lines_of_the_item_that_differ(
    size: tuple[int, int],
) -> None:
    app = app_of(None, seed=7)

    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await change(app, pilot, "down", "down", "right")  # the third slider, not one of the map's two axes
        old, top = picture(app), first_line(app)
        drawn, laid_out = record(app), []
        app.screen.screen_layout_refresh_signal.subscribe(app, laid_out.append)
        await change(app, pilot, "right")
        seen = set(drawn["item"])  # to look at the picture draws it, too
        expected = differing(old, picture(app), top)
        assert seen == expected
        assert 0 < len(expected) < len(old)  # a digit's margin stays black
        assert drawn["sliders"] == {2}
        assert drawn["atlas"] == set()
        assert drawn["facts"] == {2, 3}  # the length, and the steps to undo
        assert not any(drawn[name] for name in ("track", "title", "status", "hints"))
        assert laid_out == []

    use(app, look, size)


def test_a_drag_draws_what_a_key_draws(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        first, _ = app.sliders.track()
        await pilot.mouse_down("#sliders", offset=(1 + first + 3, 1 + 3))
        await pilot.hover("#sliders", offset=(1 + first + 4, 1 + 3))
        await pilot.pause()
        old, top, drawn, before = picture(app), first_line(app), record(app), app.item_view.drawn
        await pilot.hover("#sliders", offset=(1 + first + 5, 1 + 3))
        await painted(app, pilot, before)
        seen = set(drawn["item"])
        assert seen == differing(old, picture(app), top) != set()
        assert drawn["sliders"] - {3} == set()
        assert drawn["atlas"] == set()
        assert drawn["facts"] == {2}  # one step, however long the drag
        assert app.screen.get_selected_text() is None  # no text elsewhere is marked

    use(app, look)


def test_a_step_on_the_map_draws_its_signs_lines_and_one_slider(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await change(app, pilot, "0", "tab", "up")
        old, old_line = app.atlas.cell(app.explorer.plane.place(app.explorer.view.z)), lines(app.atlas)  # type: ignore[union-attr]
        drawn = record(app)
        await change(app, pilot, "pageup")
        new = app.atlas.cell(app.explorer.plane.place(app.explorer.view.z))  # type: ignore[union-attr]
        assert old != new
        assert drawn["atlas"] == {old[1], new[1]}
        assert drawn["sliders"] == {1}  # the dimension that the map has upwards
        assert drawn["track"] == set()
        assert lines(app.atlas)[old[1]] != old_line[old[1]]

    use(app, look)


def test_a_morph_draws_the_way_but_the_next_seed_does_not(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await change(app, pilot, "a", "r", "b", "tab", "tab", "right")
        drawn = record(app)
        await change(app, pilot, "right")
        assert drawn["track"] == {0}
        assert drawn["sliders"] == set(range(5))
        await change(app, pilot, "r")  # t is given up
        drawn["track"].clear()
        await change(app, pilot, "r")
        assert drawn["track"] == set()
        assert not any(drawn[name] for name in ("title", "status", "hints"))

    use(app, look)


@pytest.mark.parametrize("kind", ["key", "mouse"])
def test_a_change_is_one_message_to_one_widget(app: ExploreApp, kind: str) -> None:
    seen: list[Message] = []

    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        first, _ = app.sliders.track()
        if kind == "mouse":
            await pilot.mouse_down("#sliders", offset=(1 + first + 3, 1 + 3))
            await pilot.pause()
        seen.clear()
        before = app.item_view.drawn
        if kind == "key":
            await pilot.press("right")
        else:
            await pilot.hover("#sliders", offset=(1 + first + 6, 1 + 3))
        await painted(app, pilot, before)
        # The application runs what a key does; a move is the list's, and goes no further. Nothing else tells of the change.
        assert sum(isinstance(message, Key) for message in seen) == (kind == "key")
        assert sum(isinstance(message, MouseMove) for message in seen) == (kind == "mouse")
        assert not [message for message in seen if type(message).__module__.startswith("vaekit")]

    use(app, look, hook=seen.append)


def on_screen(app: ExploreApp) -> list[list[tuple[str, str]]]:
    """Every character on the screen with its style, as textual's compositor has them."""
    composed = app.screen._compositor.render_strips()
    return [[(sign, str(segment.style)) for segment in strip for sign in segment.text] for strip in composed]


@pytest.mark.parametrize("size", [(60, 18), USUAL])
def test_what_is_kept_is_what_would_be_drawn_anew(app: ExploreApp, size: tuple[int, int]) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        steps: list[str | tuple[int, int]] = [
            *("right", "down", "pageup", "r", "a", "0", "b", "space", "space", "tab", "right", "up", "shift+left", "m"),
            *(
                "t",
                "left",
                "tab",
                "end",
                "left",
                "u",
                "u",
                "ctrl+r",
                "tab",
                "down",
                "down",
                "left",
                "home",
                "question_mark",
            ),
            *("escape", (90, 30), "right", (62, 19), "r", (130, 44), "l", "B", "A"),
        ]
        for step in steps:
            if isinstance(step, str):
                await pilot.press(step)
            else:
                await pilot.resize_terminal(*step)
            await pilot.pause()
            app.screen._on_timer_update()  # what is left to draw
            kept = on_screen(app)
            for widget in app.screen.children:
                widget.refresh()
            assert on_screen(app) == kept, step
            for widget in (app.item_view, app.facts, app.sliders, app.atlas, app.track):
                assert widget.look() == widget.rich_style, step
                for part in widget.COMPONENT_CLASSES - Widget.COMPONENT_CLASSES:
                    assert widget.look(part) == widget.get_component_rich_style(part), (step, part)

    use(app, look, size)


@pytest.mark.parametrize("name", ["series", "many"])
def test_lines_that_scroll_and_curves_are_kept_right_too(bundle_of: Callable[[str], Path], name: str) -> None:
    app = app_of(bundle_of(name))

    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        for key in (*["down"] * 14, "right", "up", "left", "t", "pageup", "r", *["up"] * 14, "right"):
            await pilot.press(key)
            await pilot.pause()
            app.screen._on_timer_update()
            kept = on_screen(app)
            for widget in app.screen.children:
                widget.refresh()
            assert on_screen(app) == kept, key

    use(app, look, NARROW)


def test_a_change_out_of_sight_draws_no_slider(bundle_of: Callable[[str], Path]) -> None:
    app = app_of(bundle_of("many"))

    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press(*["down"] * 40)
        await pilot.pause()
        app.screen._on_timer_update()
        assert app.sliders.scroll_offset.y > 1
        drawn, before = record(app), app.item_view.drawn
        app.explorer.nudge(app.explorer.order[0], 0.1)
        app._show()
        await painted(app, pilot, before)
        assert drawn["sliders"] == set()

    use(app, look, NARROW)


def test_the_same_item_again_draws_nothing(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        drawn = record(app)
        app._show()
        await pilot.pause(0.1)
        app.screen._on_timer_update()
        assert not any(drawn.values())

    use(app, look)


def test_garbage_is_looked_for_as_before_when_the_walk_ends(app: ExploreApp) -> None:
    before = gc.get_threshold()

    async def look(_app: ExploreApp, _pilot: Pilot[None]) -> None:
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > 0

    use(app, look)
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_the_wheel_over_a_track_draws_one_slider(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        first, _ = app.sliders.track()
        await wheel(app.sliders, events.MouseScrollUp, first + 4, 2)
        await pilot.pause()
        app.screen._on_timer_update()
        drawn, before = record(app), app.item_view.drawn
        await wheel(app.sliders, events.MouseScrollUp, first + 4, 2)
        await painted(app, pilot, before)
        assert drawn["sliders"] == {2}

    use(app, look)
