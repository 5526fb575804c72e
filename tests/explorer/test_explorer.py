"""`Explorer`: every action, against the model asked directly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vaekit
from vaekit.datasets import Dataset
from vaekit.errors import ConfigError
from vaekit.explorer.explorer import SEEDS, Explorer
from vaekit.explorer.landscape import measure


@pytest.fixture
def explorer(vae: vaekit.VAE, small_dataset: Dataset) -> Explorer:
    return Explorer(vae, measure(vae.encode, small_dataset.test, "small"), seed=4)


def shows(explorer: Explorer, z: np.ndarray) -> bool:
    """Whether the explorer stands at a code, and its image is that code's."""
    at = np.allclose(explorer.view.z, z, atol=1e-6)
    return at and np.allclose(explorer.item(), explorer.vae.decode(explorer.view.z[None])[0], atol=1e-6)


def test_it_begins_at_the_first_sample_of_its_seed(explorer: Explorer, vae: vaekit.VAE) -> None:
    assert shows(explorer, vae.prior(1, seed=4)[0])
    np.testing.assert_allclose(explorer.item(), vae.sample(1, seed=4)[0], atol=1e-6)


def test_the_next_seed_gives_what_sample_gives(explorer: Explorer, vae: vaekit.VAE) -> None:
    explorer.randomise()
    assert explorer.view.origin == "seed 5"
    np.testing.assert_allclose(explorer.item(), vae.sample(1, seed=5)[0], atol=1e-6)


def test_after_the_last_seed_comes_the_first(vae: vaekit.VAE) -> None:
    explorer = Explorer(vae, seed=SEEDS - 1)
    explorer.randomise()
    assert explorer.view.seed == 0


def test_a_nudge_adds_to_one_dimension(explorer: Explorer) -> None:
    before = explorer.view.z.copy()
    explorer.nudge(3, 0.5)
    assert shows(explorer, before + np.array([0, 0, 0, 0.5, 0]))


def test_walking_right_raises_the_dimension_of_most_kl(explorer: Explorer) -> None:
    before, (first, second, *_) = explorer.view.z.copy(), explorer.order
    explorer.walk(0.1, -0.5)
    before[first] += 0.1
    before[second] -= 0.5
    assert shows(explorer, before)


def test_turning_the_map_moves_nothing_and_walks_along_principal_axes(explorer: Explorer) -> None:
    before = explorer.view.z.copy()
    explorer.turn_map()
    assert shows(explorer, before)
    explorer.walk(1.0, 0.0)
    assert explorer.landscape is not None
    _, vectors = np.linalg.eigh(np.cov(explorer.landscape.means.T.astype(np.float64)))
    assert abs((explorer.view.z - before) @ vectors[:, -1]) == pytest.approx(1.0, abs=1e-5)
    explorer.turn_map()
    assert explorer.plane is not None
    assert explorer.plane.names[0] == f"z{explorer.order[0]}"


def test_without_a_map_walking_does_nothing(vae: vaekit.VAE) -> None:
    explorer = Explorer(vae)
    explorer.walk(1.0, 1.0)
    explorer.jump((1.0, 1.0))
    explorer.turn_map()
    assert explorer.history.past == ()


def test_an_encoded_item_stands_at_its_posterior_mean(explorer: Explorer, small_dataset: Dataset) -> None:
    x = small_dataset.test.pixels(slice(3, 4))
    explorer.encode(x, "item @3")
    assert shows(explorer, explorer.vae.encode(x).mean[0])


def test_reset_goes_to_the_priors_mean_and_keeps_the_pins(explorer: Explorer) -> None:
    explorer.pin("A")
    explorer.reset()
    assert shows(explorer, np.zeros(5))
    assert explorer.view.a is not None


def test_an_autoencoder_resets_to_the_mean_of_its_codes_and_draws_as_it_samples(ae_bundle: Path) -> None:
    vae = vaekit.load(ae_bundle, provider="cpu", threads=1)
    explorer = Explorer(vae, seed=1)
    np.testing.assert_allclose(explorer.item(), vae.sample(1, seed=1)[0], atol=1e-5)
    explorer.reset()
    np.testing.assert_allclose(explorer.view.z, vae.manifest.statistics.mean, rtol=1e-6)
    np.testing.assert_allclose(explorer.values, 0, atol=1e-6)


def test_the_morphs_middle_is_the_mean_of_its_points(explorer: Explorer) -> None:
    explorer.pin("A")
    a = explorer.view.z
    explorer.randomise()
    explorer.pin("B")
    b = explorer.view.z
    explorer.morph(50)
    assert shows(explorer, (a + b) / 2)
    explorer.go("A")
    assert shows(explorer, a)
    explorer.go("B")
    assert shows(explorer, b)


def test_bending_the_way_moves_a_code_that_stands_on_it(explorer: Explorer) -> None:
    explorer.pin("A")
    a = explorer.view.z
    explorer.randomise()
    explorer.pin("B")
    explorer.morph(50)
    explorer.bend()
    middle = vaekit.interpolate(a, explorer.view.b, steps=3, path="spherical")[1]  # type: ignore[arg-type]
    assert shows(explorer, middle)
    explorer.go("A")
    explorer.bend()
    assert shows(explorer, a)


def test_going_to_a_point_that_is_not_there_is_refused(explorer: Explorer) -> None:
    with pytest.raises(ConfigError, match="there is no point B yet"):
        explorer.go("B")


def test_undo_takes_back_and_redo_repeats_every_kind_of_step(explorer: Explorer, small_dataset: Dataset) -> None:
    x = small_dataset.test.pixels(slice(0, 1))
    actions: list[Callable[[], object]] = [
        lambda: explorer.nudge(0, 0.1),
        explorer.randomise,
        lambda: explorer.walk(0.1, 0),
        lambda: explorer.jump((0.5, 0.5)),
        lambda: explorer.encode(x, "x"),
        lambda: explorer.pin("A"),
        explorer.reset,
        lambda: explorer.pin("B"),
        lambda: explorer.morph(30),
        explorer.bend,
    ]
    seen = [explorer.view]
    for act in actions:
        act()
        seen.append(explorer.view)
    for expected in reversed(seen[:-1]):
        assert explorer.undo()
        assert explorer.view is expected
    assert not explorer.undo()
    for expected in seen[1:]:
        assert explorer.redo()
        assert explorer.view is expected
    assert not explorer.redo()
