"""Clicks, drags and the wheel."""

from __future__ import annotations

import numpy as np
import pytest
from pilots import use, wheel
from textual import events
from textual.pilot import Pilot

from vaekit.cli.explorer.app import ExploreApp
from vaekit.cli.explorer.sliders import REACH


def test_a_click_on_a_track_sets_its_value(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        first, width = app.sliders.track()
        await pilot.click(
            "#sliders", offset=(1 + first + width - 1, 1 + 2)
        )  # the end of the third track, inside the border
        await pilot.pause()
        assert app.sliders.chosen == 2
        assert app.explorer.view.z[app.explorer.order[2]] == pytest.approx(REACH)

    use(app, look)


def test_a_click_on_a_name_chooses_and_moves_nothing(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.click("#sliders", offset=(3, 1 + 3))
        await pilot.pause()
        assert app.sliders.chosen == 3
        assert app.explorer.history.past == ()

    use(app, look)


def test_a_drag_is_one_step_even_beyond_the_list(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        first, width = app.sliders.track()
        start = app.explorer.view
        await pilot.mouse_down("#sliders", offset=(1 + first, 1))
        for x in (5, 9, 14):
            await pilot.hover("#sliders", offset=(1 + first + x, 2))
        await pilot.hover("#item", offset=(2, 2))  # far left of the track
        await pilot.hover("#sliders", offset=(1 + first + width // 2, 5))
        await pilot.mouse_up("#sliders", offset=(1 + first + width // 2, 5))
        await pilot.pause()
        assert app.explorer.view.z[app.explorer.order[0]] == pytest.approx(0.0, abs=1e-6)
        assert app.explorer.history.past == (start,)
        await pilot.click("#sliders", offset=(1 + first, 1))
        await pilot.pause()
        assert len(app.explorer.history.past) == 2  # the next drag is a step of its own

    use(app, look)


def test_the_wheel_over_a_track_changes_by_a_tenth(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        first, _ = app.sliders.track()
        z = app.explorer.view.z.copy()
        for kind, times in ((events.MouseScrollUp, 3), (events.MouseScrollDown, 1)):
            for _ in range(times):
                await wheel(app.sliders, kind, first + 4, 1)
                await pilot.pause()
        z[app.explorer.order[1]] += 0.2
        np.testing.assert_allclose(app.explorer.view.z, z, atol=1e-6)
        assert len(app.explorer.history.past) == 1

    use(app, look)


def test_a_click_on_the_map_jumps_there(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.click("#atlas", offset=(1 + 9, 1 + 4))
        await pilot.pause()
        assert app.explorer.plane is not None
        place = app.explorer.plane.place(app.explorer.view.z)
        assert app.atlas.cell(place) == (9, 4)
        start = app.explorer.history.past[0].z
        rest = list(app.explorer.order[2:])
        np.testing.assert_array_equal(app.explorer.view.z[rest], start[rest])
        await pilot.mouse_down("#atlas", offset=(1 + 9, 1 + 4))
        await pilot.hover("#atlas", offset=(1 + 20, 1 + 6))
        await pilot.mouse_up("#atlas", offset=(1 + 20, 1 + 6))
        await pilot.pause()
        assert app.atlas.cell(app.explorer.plane.place(app.explorer.view.z)) == (20, 6)
        assert len(app.explorer.history.past) == 2

    use(app, look)


def test_a_drag_on_the_way_goes_along_it(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("a", "r", "b")
        first, width = app.track.track()
        left = app.track.content_region.x - app.track.region.x
        await pilot.mouse_down("#track", offset=(left + first, 0))
        await pilot.hover("#track", offset=(left + first + width - 1, 0))
        await pilot.mouse_up("#track", offset=(left + first + width - 1, 0))
        await pilot.pause()
        assert app.explorer.view.t == 100
        assert len(app.explorer.history.past) == 4
        await wheel(app.track, events.MouseScrollDown, 5, 0)
        await pilot.pause()
        assert app.explorer.view.t == 95

    use(app, look)
