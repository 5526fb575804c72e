"""The Fréchet distance: its formula against SciPy and closed forms, and what it says of models whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

import vaekit
from vaekit.datasets import Dataset, Split
from vaekit.datasets.binarized import Binarized
from vaekit.errors import ConfigError, DataError, ShapeError
from vaekit.noise import uniform
from vaekit.runtime.frechet import DRAWN, Fit, Normal, frechet, squared_frechet_distance
from vaekit.spec import DataSpec, ModelSpec

RNG = np.random.default_rng(5)


def load(folder: Path) -> vaekit.VAE:
    return vaekit.load(folder, provider="cpu", threads=1)


def by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    """The formula as it is written, of rows: the root of the product, which is not symmetric, by Schur's method."""
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(s1 @ s2).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s1 + s2 - 2 * root))


def fitted(rows: np.ndarray) -> Normal:
    fit = Fit(rows.shape[1])
    for start in range(0, len(rows), 37):
        fit.add(rows[start : start + 37])
    return fit.normal()


@pytest.mark.parametrize("dimensions", [2, 5, 40])
def test_the_distance_is_that_of_scipy_s_matrix_root(dimensions: int) -> None:
    mix = RNG.normal(size=(2, dimensions, dimensions))
    a, b = RNG.normal(size=(200, dimensions)) @ mix[0], 2 + RNG.normal(size=(300, dimensions)) @ mix[1]
    assert squared_frechet_distance(fitted(a), fitted(b)) == pytest.approx(by_scipy(a, b), rel=1e-8)


def test_independent_dimensions_add_up_differences_of_means_and_of_standard_deviations() -> None:
    # Of one-dimensional normals the squared distance is (m1 - m2)^2 + (s1 - s2)^2.
    a = Normal(10, np.array([1.0, 2.0]), np.diag([4.0, 9.0]))
    b = Normal(10, np.array([0.0, 5.0]), np.diag([1.0, 25.0]))
    assert squared_frechet_distance(a, b) == pytest.approx(1 + 9 + 1 + 4)


def test_a_rotation_of_both_changes_nothing_and_order_neither() -> None:
    a, b = (fitted(RNG.normal(size=(90, 4)) @ RNG.normal(size=(4, 4))) for _ in range(2))
    turn = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    turned = [Normal(n.items, turn @ n.mean, turn @ n.covariance @ turn.T) for n in (a, b)]
    distance = squared_frechet_distance(a, b)
    assert squared_frechet_distance(*turned) == pytest.approx(distance)
    assert squared_frechet_distance(b, a) == pytest.approx(distance)


def test_a_normal_is_at_no_distance_from_itself_also_where_dimensions_do_not_vary() -> None:
    rows = RNG.normal(size=(3, 6)) @ RNG.normal(size=(6, 6))  # three rows: a covariance of rank 2
    found = squared_frechet_distance(fitted(rows), fitted(rows))
    assert 0 <= found < 1e-6
    still = Normal(5, np.zeros(2), np.zeros((2, 2)))
    assert squared_frechet_distance(still, Normal(5, np.array([3.0, 4.0]), np.eye(2))) == pytest.approx(25 + 2)


def test_a_fit_in_batches_is_numpy_s_mean_and_covariance_also_far_from_zero() -> None:
    rows = (1e4 + RNG.normal(size=(1000, 3)) @ RNG.normal(size=(3, 3))).astype(np.float32)
    found = fitted(rows)
    assert found.items == 1000
    np.testing.assert_allclose(found.mean, rows.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(rows.astype(np.float64), rowvar=False), rtol=1e-9)


def test_two_sets_of_the_same_normal_are_as_far_apart_as_the_header_says() -> None:
    n, d = 500, 12
    found = [
        squared_frechet_distance(fitted(RNG.normal(size=(n, d))), fitted(RNG.normal(size=(n, d)))) for _ in range(40)
    ]
    assert np.mean(found) == pytest.approx(d * (d + 5) / (2 * n), rel=0.1)


def by_hand(vae: vaekit.VAE, items: np.ndarray, other: np.ndarray, z: np.ndarray) -> tuple[float, float]:
    codes, floor = vae.encode(items).mean, vae.encode(other).mean
    return by_scipy(vae.encode(vae.decode(z)).mean, codes), by_scipy(floor, codes)


@pytest.mark.parametrize(
    ("bundle", "data"),
    [("small_bundle", "small_dataset"), ("gaussian_bundle", "real_dataset"), ("ae_bundle", "small_dataset")],
)
def test_samples_and_other_items_are_measured_by_their_posterior_means(
    request: pytest.FixtureRequest, bundle: str, data: str
) -> None:
    dataset, vae = request.getfixturevalue(data), load(request.getfixturevalue(bundle))
    x, other = dataset.test.pixels(slice(None)), dataset.train.pixels(slice(None))
    eps = vaekit.noise(seed=6, count=300, dim=vae.spec.latent)
    statistics = vae.manifest.statistics
    z = (
        eps
        if vae.spec.kind == "vae"
        else (np.array(statistics.mean) + np.array(statistics.std) * eps).astype(np.float32)
    )
    wanted = by_hand(vae, x, other, z)
    found = frechet(vae, dataset.test.items, dataset.train.items, seed=6, batch_size=77)
    assert (found.samples, found.floor) == pytest.approx(wanted, rel=1e-3)
    assert (found.items, found.floor_items) == (300, 320)


def linear_bundle(folder: Path, l: np.ndarray, scale: float, data: Dataset) -> vaekit.VAE:  # noqa: E741
    """Probabilistic PCA along the axes, ``x = l z + scale * noise``, with its exact posterior."""
    from vaekit.exporting import ModulePair, export_bundle

    gain = torch.from_numpy(l / (l**2 + scale**2)).float()

    class Encoder(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return x * gain, 0 * x + torch.log(torch.from_numpy(scale**2 / (l**2 + scale**2)).float())

    class Decoder(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z * torch.from_numpy(l).float()

    spec = ModelSpec("vae", DataSpec((len(l),), None), len(l), "gaussian", scale)
    return load(export_bundle(ModulePair(Encoder(), Decoder(), spec), folder, data=data).path)


def test_a_linear_model_is_as_far_from_its_own_data_as_theory_says(tmp_path: Path) -> None:
    # With r = l^2 / (l^2 + s^2), posterior means of real items have variance r, those of decoded means r^2.
    l, scale, n = np.array([2.0, 1.0, 0.5]), 0.5, 20_000  # noqa: E741
    rows = [(RNG.normal(size=(n, 3)) * l + scale * RNG.normal(size=(n, 3))).astype(np.float32) for _ in range(2)]
    vae = linear_bundle(tmp_path / "linear", l, scale, Dataset("x", "x", "0" * 64, Split(rows[0]), Split(rows[1])))
    r = l**2 / (l**2 + scale**2)
    found = frechet(vae, rows[1], rows[0])
    assert found.samples == pytest.approx(np.square(r - np.sqrt(r)).sum(), abs=0.01)
    assert found.floor < 0.003
    moved = frechet(vae, rows[1] + np.float32(3), rows[0] + np.float32(3))
    gain = l / (l**2 + scale**2)
    assert moved.samples == pytest.approx(found.samples + np.square(3 * gain).sum(), rel=0.05)
    assert moved.floor == pytest.approx(found.floor, abs=1e-4)


@pytest.fixture
def bounded_bundle(small_pair: Any, small_dataset: Dataset, tmp_path: Path) -> vaekit.VAE:
    """A Gaussian model of pixels in [0, 1] whose means leave that range."""
    from vaekit.exporting import ModulePair, export_bundle

    spec = ModelSpec("vae", DataSpec((1, 28, 28)), 5, "gaussian")
    decoder = nn.Sequential(nn.Linear(5, 784), nn.Unflatten(1, (1, 28, 28)))
    pair = ModulePair(small_pair.encoder, decoder, spec)
    return load(export_bundle(pair, tmp_path / "bounded", data=small_dataset).path)


def test_samples_outside_the_data_s_range_are_brought_into_it(
    bounded_bundle: vaekit.VAE, small_dataset: Dataset
) -> None:
    vae, items = bounded_bundle, small_dataset.test.pixels(slice(None))
    x = vae.sample(300, seed=1)
    assert x.min() < 0
    wanted = by_scipy(vae.encode(np.clip(x, 0, 1)).mean, vae.encode(items).mean)
    assert frechet(vae, items, items, seed=1).samples == pytest.approx(wanted, rel=1e-3)


def test_samples_are_drawn_as_0_or_1_where_the_items_are(small_bundle: Path, small_dataset: Dataset) -> None:
    vae = load(small_bundle)
    items = Binarized(small_dataset.test.items, seed=2)
    u = uniform(seed=2, index=DRAWN + np.arange(300), dim=784).reshape(-1, 1, 28, 28)
    drawn = (u < vae.sample(300, seed=2)).astype(np.float32)
    wanted = by_scipy(vae.encode(drawn).mean, vae.encode(items[:]).mean)
    found = frechet(vae, items, items, seed=2, binarized=True, batch_size=100)
    assert found.samples == pytest.approx(wanted, rel=1e-3)
    assert found.floor == pytest.approx(0, abs=1e-6)
    assert found.samples != pytest.approx(frechet(vae, items, items, seed=2).samples, rel=0.01)


def test_progress_counts_both_sets_and_the_samples(gaussian_bundle: Path, real_dataset: Dataset) -> None:
    seen: list[tuple[int, int]] = []
    frechet(
        load(gaussian_bundle), real_dataset.test.items, real_dataset.train.items[:100], batch_size=200,
        on_progress=lambda *at: seen.append(at),
    )  # fmt: skip
    assert seen == [(done, 700) for done in (200, 300, 400, 600, 700)]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda vae, x: frechet(vae, x[:1], x), DataError, "a normal distribution was to be fitted to 1 items"),
        (lambda vae, x: frechet(vae, x, x[:0]), DataError, "a normal distribution was to be fitted to 0 items"),
        (lambda vae, x: frechet(vae, x[:0], x), DataError, "there is nothing to evaluate"),
        (lambda vae, x: frechet(vae, x, x, batch_size=0), ConfigError, "batch_size=0: give 1 or more"),
        (
            lambda vae, x: frechet(vae, x, x, binarized=True),
            ConfigError,
            "pixels of 0 or 1 were asked for, but the model's likelihood is gaussian",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(
    gaussian_bundle: Path, real_dataset: Dataset, call: Callable[..., Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(load(gaussian_bundle), real_dataset.test.items)


def test_normals_of_other_dimensions_are_refused() -> None:
    with pytest.raises(ShapeError, match="the distance of normals in 2 and 3 dimensions is not defined"):
        squared_frechet_distance(*(Normal(5, np.zeros(d), np.eye(d)) for d in (2, 3)))
