"""Every key, against the model asked directly."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pilots import app_of, facts, lines, press, status, use
from textual.pilot import Pilot
from textual.widgets import Input, Static

import vaekit
from vaekit.cli.examples import examples
from vaekit.cli.explorer.app import ExploreApp
from vaekit.cli.explorer.dialogs import Ask, Help
from vaekit.cli.explorer.keys import EVERYWHERE, HERE


def test_arrows_choose_a_dimension_and_change_it_by_a_tenth(app: ExploreApp) -> None:
    press(app, "down", "right", "right", "down", "left", "up", "up", "up")
    z = vaekit.noise(seed=4, count=1, dim=5)[0]
    _, second, third, *_ = app.explorer.order
    z[second] += 0.2
    z[third] -= 0.1
    np.testing.assert_allclose(app.explorer.view.z, z, atol=1e-6)
    assert app.sliders.chosen == 0


@pytest.mark.parametrize(
    ("key", "change"), [("pageup", 0.5), ("shift+right", 0.5), ("pagedown", -0.5), ("shift+left", -0.5)]
)
def test_pages_and_shift_change_by_a_half(app: ExploreApp, key: str, change: float) -> None:
    press(app, key)
    z = vaekit.noise(seed=4, count=1, dim=5)[0]
    assert app.explorer.view.z[app.explorer.order[0]] == pytest.approx(z[app.explorer.order[0]] + change, abs=1e-6)


def test_home_puts_the_dimension_at_zero(app: ExploreApp) -> None:
    press(app, "home")
    assert app.explorer.view.z[app.explorer.order[0]] == 0.0
    assert np.count_nonzero(app.explorer.view.z) == 4


def test_the_image_follows_every_change(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        for key in ("right", "r", "0", "tab", "up"):
            await pilot.press(key)
            await pilot.pause()
            shown = app.item_view._item
            np.testing.assert_allclose(shown, app.explorer.vae.decode(app.explorer.view.z[None])[0], atol=1e-6)

    use(app, look)


@pytest.mark.parametrize(
    ("key", "step"),
    [
        ("right", (0.1, 0)),
        ("left", (-0.1, 0)),
        ("up", (0, 0.1)),
        ("down", (0, -0.1)),
        ("shift+right", (0.5, 0)),
        ("shift+left", (-0.5, 0)),
        ("pageup", (0, 0.5)),
        ("shift+down", (0, -0.5)),
    ],
)
def test_on_the_map_arrows_walk(app: ExploreApp, key: str, step: tuple[float, float]) -> None:
    press(app, "tab", key)
    z = vaekit.noise(seed=4, count=1, dim=5)[0]
    first, second, *_ = app.explorer.order
    z[first] += step[0]
    z[second] += step[1]
    np.testing.assert_allclose(app.explorer.view.z, z, atol=1e-6)


def test_r_draws_the_seeds_of_vaekit_sample(app: ExploreApp) -> None:
    press(app, "r", "r")
    np.testing.assert_allclose(app.explorer.item(), app.explorer.vae.sample(1, seed=6)[0], atol=1e-6)


def test_pins_and_the_way_between_them(app: ExploreApp) -> None:
    press(app, "a", "r", "b", "tab", "tab", "home", "right", "right")  # focus is on the way; t = 0.10
    a, b = (vaekit.noise(seed=seed, count=1, dim=5)[0] for seed in (4, 5))
    np.testing.assert_allclose(app.explorer.view.z, 0.9 * a + 0.1 * b, atol=1e-6)
    press(app_again := app_of(app.explorer.vae.bundle.path), "a", "r", "b", "A")
    np.testing.assert_array_equal(app_again.explorer.view.z, a)
    press(app_third := app_of(app.explorer.vae.bundle.path), "a", "r", "b", "tab", "tab", "end", "shift+left", "left")
    np.testing.assert_allclose(app_third.explorer.view.z, 0.3 * a + 0.7 * b, atol=1e-6)


def test_the_way_shows_its_knob_and_t(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        assert "a pins point A" in lines(app.track)[0]
        await pilot.press("b")
        await pilot.pause()
        assert "B is pinned; a pins the other point" in lines(app.track)[0]
        await pilot.press("r", "a", "tab", "tab", "end")
        await pilot.pause()
        line = lines(app.track)[0]
        assert "t 1.00  linear" in line
        first, width = app.track.track()
        assert line[first + width - 1] == "●"
        await pilot.press("l")
        await pilot.pause()
        assert "t 1.00  spherical" in lines(app.track)[0]

    use(app, look)


def test_capital_b_goes_to_b(app: ExploreApp) -> None:
    press(app, "b", "r", "B")
    np.testing.assert_array_equal(app.explorer.view.z, vaekit.noise(seed=4, count=1, dim=5)[0])


@pytest.mark.parametrize("keys", [("A",), ("space",), ("tab", "tab", "right")])
def test_what_needs_pins_says_so(app: ExploreApp, keys: tuple[str, ...]) -> None:
    press(app, *keys)
    assert status(app) == "there is no point A yet; pin this one with a."


def test_space_plays_there_and_back_and_stops_as_one_step(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("a", "r", "b", "space")
        before = len(app.explorer.history.past)
        assert app._timer is not None
        app._timer.pause()  # the test moves it, not the clock
        seen = []
        for _ in range(150):
            app.advance()
            seen.append(app.explorer.view.t or 0)
        assert set(np.abs(np.diff(seen))) == {2}
        assert max(seen) == 100
        assert min(seen[seen.index(100) :]) == 0  # there and back
        await pilot.pause()
        assert "playing" in lines(app.track)[0]
        await pilot.press("space")
        await pilot.pause()
        assert app._timer is None
        assert "playing" not in lines(app.track)[0]
        assert len(app.explorer.history.past) == before

    use(app, look)


def test_playing_moves_by_itself(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("a", "r", "b", "space")
        for _ in range(200):
            await pilot.pause(0.05)
            if (app.explorer.view.t or 0) >= 4:
                return
        pytest.fail("the morph does not play")

    use(app, look)


def test_a_morph_plays_on_under_the_list_of_keys(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("a", "r", "b", "space", "question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Help)
        app.advance()
        await pilot.resize_terminal(100, 30)
        await pilot.press("escape")
        await pilot.pause()
        assert "playing" in lines(app.track)[0]

    use(app, look)


@pytest.mark.parametrize("key", ["right", "r", "0", "u"])
def test_any_change_stops_the_playing(app: ExploreApp, key: str) -> None:
    press(app, "a", "r", "b", "space", key)
    assert app._timer is None


def test_undo_and_redo(app: ExploreApp) -> None:
    start = vaekit.noise(seed=4, count=1, dim=5)[0]
    press(app, "right", "r", "u", "u")
    np.testing.assert_array_equal(app.explorer.view.z, start)
    press(again := app_of(app.explorer.vae.bundle.path), "r", "u", "ctrl+r")
    np.testing.assert_array_equal(again.explorer.view.z, vaekit.noise(seed=5, count=1, dim=5)[0])


@pytest.mark.parametrize(("key", "said"), [("u", "nothing to undo"), ("ctrl+r", "nothing to redo")])
def test_at_the_history_ends_it_says_so(app: ExploreApp, key: str, said: str) -> None:
    press(app, key)
    assert said in status(app)


def test_m_turns_the_map_to_principal_axes_and_back(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("m")
        await pilot.pause()
        assert "axis 1 (" in lines(app.atlas)[-1]
        await pilot.press("m")
        await pilot.pause()
        assert "axis" not in lines(app.atlas)[-1]

    use(app, look)


def test_e_encodes_an_item(app: ExploreApp, small_data_folder: Path) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("e")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        await pilot.press("at", "1", "7", "enter")
        await pilot.pause()
        x = examples(app.explorer.vae.bundle, str(small_data_folder)).pixels(slice(17, 18))
        np.testing.assert_allclose(app.explorer.view.z, app.explorer.vae.encode(x).mean[0], atol=1e-6)
        assert "item @17, encoded" in facts(app)

    use(app, look)


def test_e_encodes_a_file(app: ExploreApp, tmp_path: Path) -> None:
    from vaekit.imagefile import load_image
    from vaekit.images import save_png

    path = tmp_path / "digit.png"
    save_png(path, app.explorer.vae.sample(1, seed=9)[0])

    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("e")
        await pilot.pause()
        app.screen.query_one(Input).value = str(path)
        await pilot.press("enter")
        await pilot.pause()
        mean = app.explorer.vae.encode(load_image(path, shape=(1, 28, 28))).mean[0]
        np.testing.assert_allclose(app.explorer.view.z, mean, atol=1e-6)

    use(app, look)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("@999", "item @999 was asked for, but there are 300"),
        ("77", "label 77 was asked for"),
        ("gone.png", "no image file"),
    ],
)
def test_an_item_that_is_not_there_is_said_and_nothing_moves(app: ExploreApp, typed: str, said: str) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("e")
        await pilot.pause()
        app.screen.query_one(Input).value = typed
        await pilot.press("enter")
        await pilot.pause()
        assert said in status(app)
        assert app.explorer.history.past == ()

    use(app, look)


def test_escape_closes_the_question(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        for keys in (("e", "3", "escape"), ("e", "enter")):
            await pilot.press(*keys)
            await pilot.pause()
            assert not isinstance(app.screen, Ask)
            assert app.explorer.history.past == ()

    use(app, look)


def test_s_saves_and_says_where(app: ExploreApp, tmp_path: Path) -> None:
    press(app, "r", "s", "s")
    name = app.explorer.vae.manifest.name
    saved = json.loads((tmp_path / "explored" / f"{name}-002" / "code.json").read_text())
    np.testing.assert_array_equal(np.float32(saved["z"]), vaekit.noise(seed=5, count=1, dim=5)[0])
    assert status(app) == f"saved {tmp_path / 'explored' / name}-002: code.json, decode.py, image.png"


def test_a_save_that_fails_is_said(small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    app = press(app_of(small_bundle, folder=tmp_path / "file"), "s")
    assert "could not be made" in status(app)


def test_t_turns_the_theme_and_not_the_image(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        def pixels() -> list[str]:
            view = app.item_view
            return [
                f"{segment.style.color}{segment.style.bgcolor}"
                for y in range(view.size.height)
                for segment in view.render_line(y)
                if "▀" in segment.text and segment.style is not None
            ]

        dark, ground = pixels(), app.screen.styles.background
        await pilot.press("t")
        await pilot.pause()
        assert not app.current_theme.dark
        assert pixels() == dark
        assert app.screen.styles.background != ground
        await pilot.press("t")
        assert app.current_theme.dark

    use(app, look)


def test_the_help_lists_every_key(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Help)
        box = app.screen.query_one(Static)
        shown = "\n".join(lines(box))
        for key in (*HERE, *EVERYWHERE):
            assert re.search(rf"^{re.escape(key.shown)} +{re.escape(key.text[:30])}", shown, re.MULTILINE), key
        await pilot.press("q")
        await pilot.pause()
        assert not isinstance(app.screen, Help)
        assert app.is_running

    use(app, look)


def test_every_key_of_the_table_does_something_and_the_docs_have_it() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "explore.md").read_text()
    for key in EVERYWHERE:
        action = key.action.partition("(")[0].removeprefix("app.")
        assert hasattr(ExploreApp, f"action_{action}"), key
        assert f"| {key.shown} |" in docs, key


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
def test_q_and_ctrl_c_quit(app: ExploreApp, key: str) -> None:
    press(app, key)
    assert app.return_code == 0


def test_tab_goes_round_the_three(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        seen = []
        for _ in range(4):
            seen.append(app.focused.id if app.focused else None)
            await pilot.press("tab")
        assert seen == ["sliders", "atlas", "track", "sliders"]

    use(app, look)
