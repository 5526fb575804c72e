"""Views, pins, morphs and the history, held to what the formulas give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import vaekit
from vaekit.errors import ConfigError
from vaekit.explorer.state import MOST_STEPS, History, Scale, View, frozen, order


def view(*z: float) -> View:
    return View(frozen(np.array(z)), "test")


def test_a_vaes_slider_value_is_its_coordinate(vae: vaekit.VAE) -> None:
    z = np.array([0.5, -1, 2, 0, 3], np.float32)
    np.testing.assert_array_equal(Scale.of(vae.manifest).values(z), z)


def test_an_autoencoders_slider_value_counts_standard_deviations_of_its_training_codes(ae_bundle: Path) -> None:
    manifest = vaekit.load(ae_bundle, provider="cpu").manifest
    mean, std = (np.array(numbers) for numbers in (manifest.statistics.mean, manifest.statistics.std))
    np.testing.assert_allclose(Scale.of(manifest).values(mean + 2 * std), 2.0)


def test_a_dimension_without_spread_has_the_unit_one(ae_bundle: Path) -> None:
    manifest = vaekit.load(ae_bundle, provider="cpu").manifest
    flat = manifest.replace(statistics=manifest.statistics.replace(std=(0.0,) * 5))
    np.testing.assert_array_equal(Scale.of(flat).unit, 1.0)


def test_active_dimensions_come_by_kl_the_largest_first(vae: vaekit.VAE) -> None:
    statistics = vae.manifest.statistics.replace(kl=(0.5, 3.0, 0.0, 1.0, 2.0), active=(0, 1, 3, 4))
    assert order(vae.manifest.replace(statistics=statistics)) == (1, 4, 3, 0)


def test_an_autoencoders_dimensions_come_by_spread(ae_bundle: Path) -> None:
    manifest = vaekit.load(ae_bundle, provider="cpu").manifest
    statistics = manifest.statistics.replace(std=(1.0, 5.0, 2.0, 0.1, 3.0), active=(0, 1, 2, 4))
    assert order(manifest.replace(statistics=statistics)) == (1, 4, 2, 0)


def test_a_collapsed_model_shows_all_its_dimensions(vae: vaekit.VAE) -> None:
    statistics = vae.manifest.statistics.replace(kl=(0.0,) * 5, active=())
    assert order(vae.manifest.replace(statistics=statistics)) == (0, 1, 2, 3, 4)


def test_ten_steps_there_and_back_end_exactly_at_zero() -> None:
    scale, now = Scale(np.zeros(1), np.ones(1)), view(0.0)
    for by in [0.1] * 10 + [-0.1] * 10:
        now = now.with_value(scale, 0, float(scale.values(now.z)[0]) + by)
    assert now.z[0] == 0.0


def test_a_moved_slider_changes_its_dimension_alone() -> None:
    scale = Scale(np.array([1.0, 10.0]), np.array([2.0, 0.5]))
    moved = view(7.0, 8.0).with_value(scale, 1, 3.0)
    np.testing.assert_array_equal(moved.z, [7.0, 11.5])  # 10 + 3 * 0.5


@pytest.mark.parametrize(("t", "expected"), [(0, [0, 4]), (25, [1, 3]), (100, [4, 0]), (-5, [0, 4]), (130, [4, 0])])
def test_a_linear_morph_is_the_weighted_mean_of_its_ends(t: int, expected: list[float]) -> None:
    ends = View(frozen(np.zeros(2)), "test", a=frozen(np.array([0, 4])), b=frozen(np.array([4, 0])))
    np.testing.assert_allclose(ends.morphed(t).z, expected, atol=1e-6)


def test_a_spherical_morph_keeps_the_length() -> None:
    ends = View(frozen(np.zeros(2)), "test", a=frozen(np.array([0, 3])), b=frozen(np.array([3, 0])), path="spherical")
    assert np.linalg.norm(ends.morphed(50).z) == pytest.approx(3.0)


def test_a_morph_without_its_points_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no point A yet; pin this one with a"):
        view(0.0).morphed(10)
    with pytest.raises(ConfigError, match="there is no point B yet; pin this one with b"):
        view(0.0).pinned("A").morphed(10)


def test_undo_and_redo_walk_the_same_views_back_and_forth() -> None:
    views = [view(float(n)) for n in range(4)]
    history = History(views[0])
    for later in views[1:]:
        history = history.step(later)
    back = [history.now, history.undo().now, history.undo().undo().now, history.undo().undo().undo().now]
    assert back == views[::-1]
    assert history.undo().undo().redo().now is views[2]
    assert history.undo().undo().undo().undo().now is views[0]
    assert history.redo() is history


def test_a_new_step_forgets_what_was_undone() -> None:
    first, second, third = view(0.0), view(1.0), view(2.0)
    history = History(first).step(second).undo().step(third)
    assert history.future == ()
    assert history.undo().now is first


def test_steps_with_one_mark_are_one_step_until_the_drag_ends() -> None:
    history = History(view(0.0))
    start = history.now
    for value in (1.0, 2.0, 3.0):
        history = history.step(view(value), "drag 0")
    assert history.undo().now is start
    dragged = history.now
    history = history.settled().step(view(4.0), "drag 0")
    assert history.undo().now is dragged


def test_steps_without_a_mark_never_merge() -> None:
    history = History(view(0.0)).step(view(1.0)).step(view(2.0))
    assert len(history.past) == 2


def test_a_long_walk_keeps_its_latest_steps() -> None:
    history = History(view(0.0))
    for n in range(MOST_STEPS + 10):
        history = history.step(view(float(n + 1)))
    assert len(history.past) == MOST_STEPS
    assert history.past[0].z[0] == 10.0


def test_a_code_cannot_be_changed_behind_the_historys_back() -> None:
    with pytest.raises(ValueError, match="read-only"):
        view(1.0).z[0] = 2.0
