"""The map: places and moves on it, by plain geometry."""

from __future__ import annotations

import numpy as np
import pytest

import vaekit
from vaekit.datasets import Dataset, Split
from vaekit.errors import DataError
from vaekit.explorer import landscape
from vaekit.explorer.landscape import Landscape, measure
from vaekit.explorer.state import Scale

SCALE = Scale(np.array([1.0, 0.0, -2.0]), np.array([2.0, 1.0, 0.5]))


def some(count: int, latent: int) -> Landscape:
    means = np.random.default_rng(1).normal(size=(count, latent)) * np.arange(1, latent + 1)
    return Landscape(means.astype(np.float32), None, "test")


def test_on_the_map_of_most_kl_a_place_is_the_sliders_two_values() -> None:
    plane = some(9, 3).plane("kl", SCALE, (2, 0, 1))
    z = np.array([5.0, 7.0, -1.0])
    np.testing.assert_allclose(plane.place(z), [(-1 + 2) / 0.5, (5 - 1) / 2])
    assert plane.names == ("z2", "z0")


@pytest.mark.parametrize("kind", ["kl", "pca"])
def test_moving_in_the_plane_moves_the_place_so_far_and_leaves_the_rest(kind: str) -> None:
    plane = some(50, 3).plane(kind, SCALE, (2, 0, 1))
    z = np.array([0.3, -0.7, 1.1])
    moved = plane.moved(z, (0.5, -0.25))
    np.testing.assert_allclose(plane.place(moved) - plane.place(z), [0.5, -0.25])
    normal = np.cross(*plane.axes)  # what the plane does not see
    assert (moved - z) @ normal == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("kind", ["kl", "pca"])
def test_a_jump_ends_at_its_place_and_keeps_the_coordinate_outside(kind: str) -> None:
    plane = some(50, 3).plane(kind, SCALE, (2, 0, 1))
    z = np.array([0.3, -0.7, 1.1])
    there = plane.at(z, (1.5, -2.0))
    np.testing.assert_allclose(plane.place(there), [1.5, -2.0])
    normal = np.cross(*plane.axes)
    assert there @ normal == pytest.approx(z @ normal)


def test_principal_axes_are_those_of_the_covariance() -> None:
    found = some(400, 3)
    plane = found.plane("pca", SCALE, (0, 1, 2))
    _, vectors = np.linalg.eigh(np.cov(found.means.T.astype(np.float64)))  # ascending eigenvalues
    assert abs(plane.axes[0] @ vectors[:, -1]) == pytest.approx(1.0)
    assert abs(plane.axes[1] @ vectors[:, -2]) == pytest.approx(1.0)


def test_a_code_of_one_dimension_is_drawn_along_a_line_and_spread_upwards() -> None:
    one = some(30, 1)
    plane = one.plane("kl", Scale(np.zeros(1), np.ones(1)), (0,))
    places = one.places(plane)
    assert plane.flat
    np.testing.assert_allclose(places[:, 0], one.means[:, 0])
    assert len(np.unique(places[:, 1])) == 30
    np.testing.assert_array_equal(plane.moved(np.array([0.5]), (0.0, 9.0)), [0.5])


def test_one_active_dimension_is_drawn_against_another() -> None:
    assert some(9, 3).plane("kl", SCALE, (2,)).names == ("z2", "z0")


def test_the_means_are_the_encoders(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    found = measure(vae.encode, small_dataset.test, "small")  # 300 items: more than a batch
    np.testing.assert_allclose(found.means, vae.encode(small_dataset.test.pixels(slice(None))).mean, atol=1e-5)
    np.testing.assert_array_equal(found.labels, small_dataset.test.labels)
    assert found.of == "300 items of small"


def test_of_many_items_evenly_spaced_ones_keep_their_labels(
    vae: vaekit.VAE, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landscape, "MOST_ITEMS", 7)
    found = measure(vae.encode, small_dataset.test, "small")
    everything = vae.encode(small_dataset.test.pixels(slice(None))).mean
    rows = [int(np.abs(everything - mean).sum(axis=1).argmin()) for mean in found.means]
    assert len(set(rows)) == 7
    assert rows == sorted(rows)
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels, small_dataset.test.labels[rows])  # type: ignore[index]


def test_two_items_make_no_map(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    with pytest.raises(DataError, match="a map needs 3 items or more, but toys has 2"):
        measure(vae.encode, Split(small_dataset.test.items[:2]), "toys")
