"""What stands on the screen: text and colours, held to the model and to geometry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pilots import NARROW, USUAL, WIDE, app_of, facts, lines, use
from textual.pilot import Pilot
from textual.widgets import Static

import vaekit
from vaekit.cli.examples import examples, named_examples
from vaekit.cli.explorer.app import ExploreApp
from vaekit.cli.explorer.atlas import Atlas, shortened
from vaekit.cli.explorer.item import bounds_of
from vaekit.cli.explorer.sliders import REACH, signed
from vaekit.explorer.explorer import Explorer
from vaekit.explorer.landscape import measure
from vaekit.images import save_png


@pytest.mark.parametrize("size", [NARROW, USUAL, WIDE])
def test_the_image_is_the_decoders_enlarged_by_a_whole_number(size: tuple[int, int]) -> None:
    app = app_of(None)

    async def look(app: ExploreApp, _: Pilot[None]) -> None:
        pixels = np.rint(app.explorer.vae.decode(app.explorer.view.z[None])[0, 0] * 255).astype(int)
        scale = {NARROW: 1, USUAL: 2, WIDE: 2}[size]
        big = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
        view = app.item_view
        top, left = (view.size.height - 14 * scale) // 2, (view.size.width - 28 * scale) // 2
        for line in range(14 * scale):
            cells: list[tuple[int, int]] = []
            for segment in view.render_line(top + line):
                style = segment.style
                assert style is not None
                if "▀" in segment.text:
                    assert style.color is not None
                    assert style.bgcolor is not None
                    upper, lower = style.color.triplet, style.bgcolor.triplet
                    assert upper is not None
                    assert lower is not None
                    cells += [(upper.red, lower.red)] * len(segment.text)
                else:
                    cells += [(-1, -1)] * len(segment.text)
            drawn = np.array(cells[left : left + 28 * scale])
            np.testing.assert_array_equal(drawn[:, 0], big[2 * line])
            np.testing.assert_array_equal(drawn[:, 1], big[2 * line + 1])
            assert cells[:left] == [(-1, -1)] * left

    use(app, look, size)


@pytest.mark.parametrize("size", [(60, 18), NARROW, USUAL, WIDE])
def test_sliders_stand_in_the_order_of_their_kl_with_their_values(size: tuple[int, int]) -> None:
    app = app_of(None, seed=7)

    async def look(app: ExploreApp, _: Pilot[None]) -> None:
        kl = app.explorer.vae.manifest.statistics.kl
        active = app.explorer.vae.manifest.statistics.active
        expected = sorted(active, key=lambda d: -kl[d])
        shown = lines(app.sliders)
        assert len(shown) >= 3
        z = vaekit.noise(seed=7, count=1, dim=20)[0]
        for line, dimension in zip(shown, expected, strict=False):
            name, *_, value, nats = line.replace("▸", " ").split()
            assert name == f"z{dimension}"
            assert float(value) == pytest.approx(float(z[dimension]), abs=0.0051)
            assert float(nats) == pytest.approx(kl[dimension], abs=0.0051)
        assert app.sliders.border_subtitle == "19 of 20 active · value, KL in nats"
        assert not app.sliders.show_horizontal_scrollbar

    use(app, look, size)


def test_the_knob_stands_where_its_value_is(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        first, width = app.sliders.track()
        for value, column in ((-REACH, 0), (0.0, width // 2), (REACH, width - 1), (99.0, width - 1)):
            app.explorer.set_value(app.explorer.order[0], value)
            app._show()
            await pilot.pause()
            assert lines(app.sliders)[0].index("●") == first + column

    use(app, look)


def test_the_map_has_dots_where_the_means_are_in_the_colour_of_their_label(app: ExploreApp) -> None:
    async def look(app: ExploreApp, _: Pilot[None]) -> None:
        landscape, (first, second, *_rest) = app.explorer.landscape, app.explorer.order
        assert landscape is not None
        places = landscape.means[:, [first, second]].astype(float)
        low, high = places.min(axis=0), places.max(axis=0)
        low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
        width, height = app.atlas.size.width, app.atlas.size.height - 1
        part = (places - low) / (high - low)
        cells = {(int((1 - up) * height), int(right * width)) for right, up in part}
        app.atlas._signs = {}
        found = {(y, x) for y, line in enumerate(lines(app.atlas)[:-1]) for x, sign in enumerate(line) if sign != " "}
        assert found == cells
        legend = lines(app.atlas)[-1]
        assert legend.split() == ["→", f"z{first}", "↑", f"z{second}", *map(str, range(10))]
        colours = {
            segment.text.strip(): segment.style.color.name
            for segment in app.atlas.render_line(height)
            if segment.style is not None and segment.style.color is not None and segment.text.strip().isdigit()
        }
        assert len(set(colours.values())) == 10
        alone = next(  # an item that has a character for itself shows its label's colour
            index
            for index in range(len(part))
            if sum(
                (int((1 - up) * height), int(right * width))
                == (int((1 - part[index][1]) * height), int(part[index][0] * width))
                for right, up in part
            )
            == 1
        )
        y, x = int((1 - part[alone][1]) * height), int(part[alone][0] * width)
        assert landscape.labels is not None
        segment = next(iter(app.atlas.render_line(y).crop(x, x + 1)))
        assert segment.style is not None
        assert segment.style.color is not None
        assert segment.style.color.name == colours[str(landscape.labels[alone])]

    use(app, look)


NAMES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (WIDE, " ".join(NAMES)),  # 76 columns beside the axes
        ((130, 40), "T-shi trous pullo dress coat sanda shirt sneak bag ankle"),
        (NARROW, "0 1 2 3 4 5 6 7 8 9"),
    ],
)
def test_the_legend_has_the_names_of_classes_or_their_beginnings_or_numbers(
    app: ExploreApp, size: tuple[int, int], expected: str
) -> None:
    landscape = app.explorer.landscape
    assert landscape is not None
    named = app_of(app.explorer.vae.bundle.path)
    named.explorer.landscape = named.atlas._landscape = replace(landscape, classes=NAMES)

    async def look(app: ExploreApp, _: Pilot[None]) -> None:
        first, second, *_rest = app.explorer.order
        assert lines(app.atlas)[-1].strip() == f"→ z{first}  ↑ z{second}  {expected}"

    use(named, look, size)


def test_names_of_classes_come_from_the_data_set_and_a_bundle_has_none(
    tmp_path: Path, bundle_of: Callable[[str], Path]
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(6):
            save_png(tmp_path / name / f"{number}.png", np.full((3, 16, 20), 0.1 * number, np.float32))
    vae = vaekit.load(bundle_of("colour"), provider="cpu", threads=1)
    _, classes = named_examples(vae.bundle, str(tmp_path))
    assert classes == ("cat", "dog")
    items, none = named_examples(vae.bundle, None)
    assert none == ()
    landscape = measure(vae.encode, items, "pets", classes)
    assert [landscape.called(label) for label in (0, 1, 2, -1)] == ["cat", "dog", "2", "-1"]


def test_a_name_from_a_file_brings_no_escape_codes(app: ExploreApp) -> None:
    landscape = app.explorer.landscape
    assert landscape is not None
    app.atlas._landscape = replace(landscape, classes=tuple(f"\x1b[2J{letter}" for letter in "abcdefghij"))

    async def look(app: ExploreApp, _: Pilot[None]) -> None:
        assert "\x1b" not in lines(app.atlas)[-1]

    use(app, look, WIDE)


@pytest.mark.parametrize(
    ("names", "room", "expected"),
    [
        (("shirt", "coat"), 11, ["shirt", "coat"]),
        (("shirt", "coat"), 10, ["shir", "coat"]),
        (("shirt", "coat"), 8, ["shi", "coa"]),
        (("shirt", "coat"), 7, None),
        (("shirt", "shift"), 8, None),  # both would be "shi"
        (("靴靴靴", "coat"), 10, ["靴靴", "coat"]),  # two columns a character
    ],
)
def test_names_are_cut_to_the_largest_length_that_fits_or_left_out(
    names: tuple[str, ...], room: int, expected: list[str] | None
) -> None:
    assert shortened(names, room) == expected


def test_the_shown_code_and_the_pins_stand_on_the_map(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("0", "a")
        for _ in range(8):
            await pilot.press("shift+right")
        await pilot.pause()
        assert app.explorer.plane is not None
        for sign, z in (("◉", app.explorer.view.z), ("A", np.zeros(5))):
            column, line = app.atlas.cell(app.explorer.plane.place(z))
            assert lines(app.atlas)[line][column] == sign

    use(app, look)


def test_without_labels_the_map_has_one_colour_and_names_its_axes(gaussian_bundle: Path) -> None:
    app = app_of(gaussian_bundle)

    async def look(app: ExploreApp, _: Pilot[None]) -> None:
        first, second, *_rest = app.explorer.order
        assert lines(app.atlas)[-1].split() == ["→", f"z{first}", "↑", f"z{second}"]
        app.atlas._signs = {}
        styles = {
            segment.style.color.name
            for y in range(app.atlas.size.height - 1)
            for segment in app.atlas.render_line(y)
            if segment.text.strip() and segment.style is not None and segment.style.color is not None
        }
        assert len(styles) == 1

    use(app, look)


def test_without_a_map_the_reason_is_said(small_bundle: Path) -> None:
    vae = vaekit.load(small_bundle, provider="cpu", threads=1)
    app = ExploreApp(
        Explorer(vae),
        bounds=np.zeros((1, 2)),
        pick=lambda _: np.zeros((1, 1, 28, 28), np.float32),
        no_map="no items",
    )

    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        assert "no items" in lines(app.atlas)[0]
        await pilot.press("tab", "right", "m")  # nothing to walk on
        await pilot.click(Atlas, offset=(5, 5))
        assert app.explorer.history.past == ()

    use(app, look)


def test_facts_say_where_the_code_comes_from(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        await pilot.press("r")
        await pilot.pause()
        z = vaekit.noise(seed=5, count=1, dim=5)[0]
        assert "from    seed 5" in facts(app)
        assert f"length  {np.linalg.norm(z):.2f} σ (prior ≈ 2.24)" in facts(app)  # the square root of 5
        assert "1 to undo, 0 to redo" in facts(app)
        assert [line.strip() for line in lines(app.facts)] == facts(app).splitlines()

    use(app, look)


@pytest.mark.parametrize("size", [(20, 24), (80, 10)])
def test_a_screen_that_is_too_small_says_how_large_it_must_be(app: ExploreApp, size: tuple[int, int]) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        small = app.query_one("#small", Static)
        assert small.display
        assert f"needs a screen of 60 x 18 characters; this one has {size[0]} x {size[1]}" in str(small.render())
        assert small.size.width > 0
        assert not any(widget.size.area for widget in app.screen.children if widget.id != "small")
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.1)
        assert not small.display
        assert app.item_view.size.area > 0

    use(app, look, size)


def test_a_larger_window_gives_a_larger_image(app: ExploreApp) -> None:
    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        assert sum("▀" in line for line in lines(app.item_view)) == 14
        await pilot.resize_terminal(*USUAL)
        await pilot.pause(0.1)
        assert sum("▀" in line for line in lines(app.item_view)) == 28
        assert app.item_view.size.width == 56

    use(app, look, NARROW)


@pytest.mark.parametrize("size", [(60, 18), NARROW, USUAL, WIDE])
def test_every_line_is_as_wide_as_its_widget_and_nothing_stands_outside_the_screen(
    app: ExploreApp, size: tuple[int, int]
) -> None:
    async def look(app: ExploreApp, _: Pilot[None]) -> None:
        for widget in (app.item_view, app.sliders, app.atlas, app.track):
            assert widget.size.area > 0
            assert app.screen.region.contains_region(widget.region)
            for y in range(widget.size.height):
                assert widget.render_line(y).cell_length == widget.size.width, widget

    use(app, look, size)


@pytest.mark.parametrize(("name", "count"), [("one", 1), ("two", 2), ("many", 256)])
def test_any_latent_size_works(bundle_of: Callable[[str], Path], name: str, count: int) -> None:
    app = app_of(bundle_of(name))

    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        shown = len(app.explorer.order)
        assert len(app.explorer.view.z) == count
        await pilot.press(*["down"] * min(shown, 40), "right", "tab", "right", "up", "m", "up")
        await pilot.pause()
        last = min(shown - 1, 40)
        assert app.sliders.chosen == last
        visible = "\n".join(lines(app.sliders))
        assert f"▸ z{app.explorer.order[last]} " in visible  # the list has scrolled there
        assert "◉" in "\n".join(lines(app.atlas))

    use(app, look, NARROW)


def test_a_colour_image_keeps_its_colours(bundle_of: Callable[[str], Path]) -> None:
    app = app_of(bundle_of("colour"))

    async def look(app: ExploreApp, _: Pilot[None]) -> None:
        x = np.rint(app.explorer.vae.decode(app.explorer.view.z[None])[0].transpose(1, 2, 0) * 255).astype(int)
        middle = [
            segment
            for y in range(app.item_view.size.height)
            for segment in app.item_view.render_line(y)
            if "▀" in segment.text
        ]
        style = middle[0].style
        assert style is not None
        assert style.color is not None
        assert style.color.triplet == tuple(x[0, 0])

    use(app, look)


def test_a_large_image_is_made_smaller(bundle_of: Callable[[str], Path]) -> None:
    app = app_of(bundle_of("colour"))

    async def look(app: ExploreApp, _: Pilot[None]) -> None:
        big = np.repeat(np.repeat(app.explorer.item(), 16, axis=1), 16, axis=2)  # 256 x 320
        app.item_view.show_item(big)
        shown = [line for line in lines(app.item_view) if "▀" in line]
        widest = max(len(line.strip()) for line in shown)
        assert widest <= app.item_view.size.width
        assert abs(widest / (2 * len(shown)) - 320 / 256) < 0.1

    use(app, look, NARROW)


@pytest.mark.parametrize("name", ["colour", "series"])
def test_a_model_that_gives_no_numbers_does_not_end_the_walk(bundle_of: Callable[[str], Path], name: str) -> None:
    app = app_of(bundle_of(name))

    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        app.item_view.show_item(np.full_like(app.explorer.item(), np.nan))
        await pilot.pause(0.1)
        assert app.is_running
        assert any(line.strip() for line in lines(app.item_view))

    use(app, look, NARROW)


def test_a_series_is_drawn_as_lines(bundle_of: Callable[[str], Path]) -> None:
    app = app_of(bundle_of("series"))

    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        shown = lines(app.item_view)
        assert "speed" in shown[0]
        assert "torque" in "".join(shown[:2])
        assert any("⠀" < sign <= "⣿" for line in shown for sign in line)
        await pilot.press("pageup", "pageup", "pageup")
        await pilot.pause()
        assert lines(app.item_view) != shown

    use(app, look)


def test_a_row_of_a_table_is_drawn_as_bars(gaussian_bundle: Path) -> None:
    app = app_of(gaussian_bundle)

    async def look(app: ExploreApp, _: Pilot[None]) -> None:
        values = app.explorer.vae.decode(app.explorer.view.z[None])[0]
        bounds = bounds_of(examples(app.explorer.vae.bundle, None).pixels(slice(None)))
        for column, value in enumerate(values):
            name, number, *bar = lines(app.item_view)[column].split()
            assert (name, float(number)) == (f"x{column}", pytest.approx(float(value), abs=0.0051))
            level = np.clip((value - bounds[column, 0]) / (bounds[column, 1] - bounds[column, 0]), 0, 1)
            drawn = "".join(bar)
            assert drawn.count("━") / len(drawn) == pytest.approx(level, abs=1 / len(drawn))

    use(app, look)


def test_an_autoencoder_has_no_kl_and_its_own_unit(ae_bundle: Path) -> None:
    app = app_of(ae_bundle)

    async def look(app: ExploreApp, pilot: Pilot[None]) -> None:
        assert app.sliders.border_title == "latent code, in σ of the training codes"
        assert "KL" not in str(app.sliders.border_subtitle)
        await pilot.press("0")
        await pilot.pause()
        np.testing.assert_allclose(app.explorer.view.z, app.explorer.vae.manifest.statistics.mean, rtol=1e-6)
        assert lines(app.sliders)[0].split()[-1] == "0.00"

    use(app, look)


@pytest.mark.parametrize(("value", "expected"), [(1.2, "+1.20"), (-0.5, "-0.50"), (-0.001, "0.00"), (0.0, "0.00")])
def test_values_have_signs_but_zero_has_none(value: float, expected: str) -> None:
    assert signed(value) == expected
