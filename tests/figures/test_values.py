"""The numbers behind the figures, each against a closed form or another implementation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

import vaekit
from vaekit.datasets import Dataset, Split
from vaekit.errors import ConfigError, DataError, MissingDependencyError
from vaekit.figures import Subject, bubbles, decoded, diagram, latent, means, projection
from vaekit.figures.model import Model, measure, of_bundle
from vaekit.noise import noise
from vaekit.spec import DataSpec


@pytest.fixture(scope="module")
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


@pytest.mark.parametrize("v", [0.01, 0.3, 1.0, 2.5])
def test_the_price_of_a_variance_is_the_integral_of_the_kl(v: float) -> None:
    q, p = stats.norm(scale=np.sqrt(v)), stats.norm()
    expected, _ = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -30 * np.sqrt(v), 30 * np.sqrt(v))
    assert latent.variance_penalty(v) == pytest.approx(expected, abs=1e-7)


def test_the_price_is_nothing_at_one_and_lowest_there() -> None:
    assert latent.variance_penalty(1.0) == 0
    assert (
        latent.variance_penalty(np.geomspace(1e-4, 100, 1001)).argmin()
        == np.abs(np.geomspace(1e-4, 100, 1001) - 1).argmin()
    )


def test_variances_are_the_exponential_of_the_log_variance(subject: Callable[..., Subject]) -> None:
    expected = np.exp(-1 - np.arange(3) / 3)
    np.testing.assert_allclose(latent.variances(subject("row").measured), np.broadcast_to(expected, (60, 3)), rtol=1e-6)


def test_the_normal_density_is_scipys() -> None:
    z = np.linspace(-5, 5, 41)
    np.testing.assert_allclose(latent.normal_density(z), stats.norm.pdf(z), rtol=1e-12)


def test_a_histogram_loses_what_lies_outside_and_scales_nothing_away() -> None:
    z = np.random.default_rng(0).normal(size=4000)
    edges = np.linspace(-1, 1, 21)
    inside = (np.abs(z) < 1).mean()
    assert (latent.histogram(z, edges) * 0.1).sum() == pytest.approx(inside)
    expected = np.array([((z >= a) & (z < b)).sum() for a, b in pairwise(edges)]) / (4000 * 0.1)
    np.testing.assert_allclose(latent.histogram(z, edges), expected, rtol=1e-9)


def test_bubbles_stand_where_the_encoder_puts_them(make: Callable[..., Model]) -> None:
    model = make(DataSpec((4,), None), 2)
    x = np.random.default_rng(2).normal(size=(30, 4)).astype(np.float32)
    found = bubbles.bubbles(model, Split(x, np.arange(30)), count=10)
    rows = np.linspace(0, 29, 10).astype(int)
    np.testing.assert_array_equal(found.centre, model.encode(x[rows]).mean)
    np.testing.assert_allclose(found.radius, np.broadcast_to(np.exp([-0.5, -0.75]), (10, 2)), rtol=1e-6)
    np.testing.assert_array_equal(found.labels, rows)  # type: ignore[arg-type]
    m, v = found.centre.astype(np.float64), np.exp([-1.0, -1.5])
    assert found.kl == pytest.approx((0.5 * (v - np.log(v) - 1 + m**2)).sum(axis=1).mean(), rel=1e-6)


def test_the_closer_look_is_of_one_size_around_a_bubble_in_the_middle() -> None:
    def of(centres: Any, radius: float) -> bubbles.Bubbles:
        centre = np.asarray(centres, np.float32)
        return bubbles.Bubbles(centre, np.full_like(centre, radius), None, 0.0, 0.0)

    sparse = of([[0, 0], [10, 0], [0, 10], [11, 11], [5, 4]], 0.01)
    dense = of([[0, 0], [1, 1], [-1, 1]], 0.05)
    middles, half = bubbles.closer_look([sparse, dense])
    np.testing.assert_array_equal(middles[0], [5, 4])
    assert half == pytest.approx(4 * 0.05)  # eight radii of the larger bubbles across
    _, half = bubbles.closer_look([of([[0, 0]], 1.0)])
    assert half == pytest.approx(2.2 / 2)  # never farther than the panel above


# Decoded items.


def test_samples_of_a_bundle_are_those_of_the_runtime(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    measured = measure(of_bundle(vae), small_dataset.test)
    np.testing.assert_allclose(decoded.sampled(measured, 5, seed=9), vae.sample(5, seed=9), atol=1e-6)


def test_samples_of_an_autoencoder_come_from_the_normal_of_its_codes(subject: Callable[..., Subject]) -> None:
    measured = subject("row", kind="ae").measured
    codes = measured.posterior.mean.astype(np.float64)
    z = codes.mean(axis=0) + codes.std(axis=0) * noise(seed=3, count=4, dim=3)
    expected = measured.model.decode(z.astype(np.float32))
    np.testing.assert_allclose(decoded.sampled(measured, 4, seed=3), expected, rtol=1e-6)


def test_the_best_the_median_and_the_worst_items_are_found() -> None:
    nats = np.random.default_rng(0).permutation(101).astype(float)
    chosen = decoded.by_score(nats, 3)
    assert nats[chosen.best].tolist() == [0, 1, 2]
    assert nats[chosen.median].tolist() == [49, 50, 51]  # the median is 50
    assert nats[chosen.worst].tolist() == [98, 99, 100]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_of_few_items_fewer_of_each_are_shown(count: int) -> None:
    for which in decoded.by_score(np.arange(count, dtype=float), 8):
        assert 0 < len(which) <= count
        assert set(which) <= set(range(count))


def test_a_traversal_changes_one_dimension_by_three_standard_deviations(subject: Callable[..., Subject]) -> None:
    measured = subject("row").measured
    start = measured.posterior.mean[5]
    (row,) = decoded.traversed(measured, [1], start=start, steps=3)
    column = measured.z[:, 1].astype(np.float64)
    expected = column.mean() + column.std() * np.array([-3.0, 0.0, 3.0])
    np.testing.assert_allclose(row.values, expected, rtol=1e-9)
    z = np.repeat(start[None], 3, axis=0)
    z[:, 1] = expected
    np.testing.assert_allclose(row.items, measured.model.decode(z), rtol=1e-5)


def test_ways_begin_and_end_at_the_reconstructions_of_their_ends(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    a, b = small_dataset.test.pixels(slice(0, 1)), small_dataset.test.pixels(slice(1, 2))
    for way in decoded.ways([("VAE", of_bundle(vae))], a, b, steps=5):
        np.testing.assert_allclose(way.items[:1], vae.reconstruct(a), atol=1e-5)
        np.testing.assert_allclose(way.items[-1:], vae.reconstruct(b), atol=1e-5)


def test_linear_and_spherical_ways_are_the_runtimes_morphs(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    a, b = small_dataset.test.pixels(slice(0, 1)), small_dataset.test.pixels(slice(1, 2))
    linear, spherical = decoded.ways([("VAE", of_bundle(vae))], a, b, steps=5)
    assert (linear.name, spherical.name) == ("VAE\nlinear", "VAE\nspherical")
    np.testing.assert_allclose(linear.items, vae.morph(a, b, steps=5, path="linear"), atol=1e-5)
    np.testing.assert_allclose(spherical.items, vae.morph(a, b, steps=5, path="spherical"), atol=1e-5)
    assert np.abs(linear.items - spherical.items).max() > 1e-3


def labelled(labels: list[int] | None) -> Split:
    count = 6 if labels is None else len(labels)
    x = np.arange(count, dtype=np.float32)[:, None]
    return Split(x, None if labels is None else np.array(labels))


@pytest.mark.parametrize(
    ("labels", "classes", "first", "last", "expected"),
    [
        ([1, 8, 3, 8, 3], (), None, None, (2, 1, "3", "8")),  # a lecture's 3 and 8, the first of each
        ([5, 7, 7, 9], (), None, None, (0, 3, "5", "9")),
        ([5, 5, 5], (), None, None, (0, 0, "5", "5")),
        ([1, 0, 1], ("cat", "dog"), None, None, (1, 0, "cat", "dog")),
        ([1, 0, 1], ("cat", "dog"), "dog", None, (0, 1, "dog", "cat")),
        ([1, 8, 3, 8, 3], (), None, "3", (1, 2, "8", "3")),
        ([1, 8, 3, 8, 3], (), "@4", "1", (4, 0, "item 4 (3)", "1")),
        (None, (), None, None, (0, 5, "item 0", "item 5")),
        (None, (), "@2", "@3", (2, 3, "item 2", "item 3")),
    ],
)
def test_a_morph_goes_from_a_label_or_an_item_to_another(
    labels: list[int] | None, classes: tuple[str, ...], first: str | None, last: str | None, expected: tuple[Any, ...]
) -> None:
    a, b, *names = decoded.ends(labelled(labels), classes, first, last)
    assert (a.item(), b.item(), *names) == expected


@pytest.mark.parametrize(
    ("labels", "first", "message"),
    [
        ([1, 2], "@2", "item @2 was asked for, but there are 2; give @0 to @1"),
        ([1, 2], "7", "the label '7' was asked for, but the items' labels are 1, 2"),
        ([1, 2], "cat", "the label 'cat' was asked for, but the items' labels are 1, 2"),
        (None, "3", "the label '3' was asked for, but the items have no labels; give an item, as in @17"),
    ],
)
def test_ends_that_are_not_there_are_refused(labels: list[int] | None, first: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decoded.ends(labelled(labels), (), first, None)


# The diagram.


def test_an_item_goes_through_encoder_sampler_and_decoder(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    x = small_dataset.test.pixels(slice(7, 8))
    found = diagram.forward(of_bundle(vae), x, seed=11)
    posterior = vae.encode(x)
    np.testing.assert_array_equal(found.eps, noise(seed=11, count=1, dim=5))
    expected = posterior.mean + np.exp(posterior.log_var / 2) * found.eps
    np.testing.assert_allclose(found.z, expected, atol=1e-5)
    np.testing.assert_allclose(found.x_hat, vae.decode(found.z), atol=1e-6)
    assert found.reconstruction + found.kl == pytest.approx(float(vae.score(x, seed=11)[0]), rel=1e-6)


def test_many_layers_are_shortened_in_the_middle() -> None:
    assert diagram.shortened(("a", "b", "c")) == ("a", "b", "c")
    assert diagram.shortened(tuple("abcdefg")) == ("a", "b", "…", "f", "g")


# Projections.


def test_principal_axes_are_the_eigenvectors_of_the_covariance() -> None:
    rng = np.random.default_rng(3)
    codes = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 4
    found = projection.principal_axes(codes.astype(np.float32))
    values, vectors = np.linalg.eigh(np.cov(codes.astype(np.float32).astype(np.float64).T))
    for axis, place in ((0, -1), (1, -2)):
        assert abs(found.axes[axis] @ vectors[:, place]) == pytest.approx(1, abs=1e-9)
        assert found.axes[axis][np.abs(found.axes[axis]).argmax()] > 0
        assert found.shares[axis] == pytest.approx(values[place] / values.sum(), rel=1e-9)
    places = found.project(codes.astype(np.float32))
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(places.T), np.diag(values[[-1, -2]]), atol=1e-9)


def test_codes_without_spread_or_of_one_dimension_have_a_plane_too() -> None:
    one = projection.principal_axes(np.array([[1.0], [3.0]]))
    np.testing.assert_array_equal(one.project(np.array([[1.0], [3.0]])), [[-1, 0], [1, 0]])
    still = projection.principal_axes(np.ones((4, 3)))
    np.testing.assert_array_equal(still.project(np.ones((4, 3))), np.zeros((4, 2)))
    assert still.shares.tolist() == [0, 0]


def epochs(numbers: list[int], codes: Any, labels: Any = None) -> means.Epochs:
    return means.Epochs(np.array(numbers), np.asarray(codes, np.float32), labels)


@pytest.mark.parametrize(
    ("numbers", "expected"), [([1], [1]), ([1, 2], [1, 2]), ([1, 2, 3], [1, 2, 3]), ([1, 3, 5, 7, 8], [1, 5, 8])]
)
def test_the_first_the_middle_and_the_last_epoch_are_shown(numbers: list[int], expected: list[int]) -> None:
    assert [numbers[place] for place in means.three(np.array(numbers))] == expected


def test_every_epoch_is_seen_along_the_axes_of_the_last() -> None:
    codes = np.random.default_rng(0).normal(size=(4, 50, 5)) * np.array([1, 5, 1, 3, 1])
    found = means.on_a_plane(epochs([1, 2, 3, 4], codes), "pca")
    assert found.epochs.tolist() == [1, 2, 4]
    last = projection.principal_axes(codes[3].astype(np.float32))
    for place, index in enumerate((0, 1, 3)):
        expected = (codes[index].astype(np.float32) - last.centre) @ last.axes.T
        np.testing.assert_allclose(found.places[place], expected, atol=1e-9)
    assert found.axes[0] == f"first axis, {100 * last.shares[0]:.0f}% of variance"


def test_codes_of_two_dimensions_are_themselves() -> None:
    codes = np.random.default_rng(0).normal(size=(1, 9, 2)).astype(np.float32)
    found = means.on_a_plane(epochs([3], codes), "pca")
    np.testing.assert_array_equal(found.places, codes)
    assert found.axes == ("z0", "z1")


def test_codes_of_one_dimension_stand_in_the_rows_of_their_labels() -> None:
    codes = np.random.default_rng(0).normal(size=(1, 9, 1)).astype(np.float32)
    labels = np.array([0, 1, 2] * 3)
    found = means.on_a_plane(epochs([3], codes, labels), "pca")
    np.testing.assert_array_equal(found.places[0, :, 0], codes[0, :, 0])
    np.testing.assert_array_equal(np.rint(found.places[0, :, 1]), labels)


def test_tsne_keeps_groups_together_and_gives_the_same_twice() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(3), 20)
    codes = rng.normal(size=(60, 8)) + 12 * np.eye(8)[groups]
    kept = epochs([1], codes[None])
    found = means.on_a_plane(kept, "tsne", seed=5)
    assert found.axes == ("t-SNE 1", "t-SNE 2")
    places = found.places[0]
    centres = np.array([places[groups == group].mean(axis=0) for group in range(3)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, groups)
    np.testing.assert_array_equal(means.on_a_plane(kept, "tsne", seed=5).places[0], places)


def test_umap_is_asked_for_two_dimensions_from_the_principal_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not installed for tests: it brings a compiler. This stands in for its interface.
    import sys
    import types

    asked: dict[str, Any] = {}

    class UMAP:
        def __init__(self, n_neighbors: float = 15, n_components: int = 2, *, init: Any, random_state: int) -> None:
            asked.update(neighbours=n_neighbors, components=n_components, init=init, seed=random_state)

        def fit_transform(self, codes: Any) -> Any:
            return codes[:, :2] * 2

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    projection.check_projection("umap")
    codes = np.random.default_rng(0).normal(size=(1, 9, 4)).astype(np.float32)
    found = means.on_a_plane(epochs([1], codes), "umap", seed=(1 << 32) + 6)
    np.testing.assert_allclose(found.places[0], codes[0, :, :2] * 2)
    assert (asked["neighbours"], asked["components"], asked["seed"]) == (8, 2, 6)
    assert asked["init"].shape == (9, 2)
    assert found.axes == ("UMAP 1", "UMAP 2")


def test_too_few_items_for_tsne_are_refused() -> None:
    with pytest.raises(DataError, match="tsne needs 5 items or more, but there are 4; take --projection pca"):
        means.on_a_plane(epochs([1], np.zeros((1, 4, 3))), "tsne")


def test_an_unknown_projection_and_a_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    with pytest.raises(ConfigError, match="projection='mds' is unknown; choose one of pca, tsne, umap"):
        projection.check_projection("mds")
    for name, module, package in (("tsne", "sklearn", "scikit-learn"), ("umap", "umap", "umap-learn")):
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
        with pytest.raises(MissingDependencyError, match=rf"--projection {name} needs {package}; .*vaekit\[{name}\]"):
            projection.check_projection(name)


def test_names_that_are_too_close_move_apart_and_others_stay() -> None:
    places = np.array([[0.0, 0.0], [0.01, 0.0], [0.5, 0.5], [0.0, 0.0]])
    moved = means.apart(places, 0.1)
    between = np.linalg.norm(moved[:, None] - moved[None], axis=2) + np.eye(4)
    assert between.min() > 0.09
    np.testing.assert_allclose(moved[2], [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(moved.mean(axis=0), places.mean(axis=0), atol=1e-6)  # pairs move by equal steps
