"""Latent arithmetic against its formulas, in float64, and against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vaekit import Posterior, interpolate, noise, prior, reparameterise, traverse
from vaekit.errors import ConfigError, ShapeError
from vaekit.latents import Latents

RNG = np.random.default_rng(0)
MEAN, LOG_VAR = (RNG.normal(size=(50, 7)).astype(np.float32) for _ in range(2))


def test_reparameterise_with_unit_variance_shifts_standard_noise() -> None:
    mean = np.full((4, 2), 3.0, dtype=np.float32)
    z = reparameterise(mean, np.zeros_like(mean), seed=0)
    np.testing.assert_allclose(z, 3.0 + noise(seed=0, count=4, dim=2), rtol=1e-6)


def test_reparameterise_is_the_formula_in_float64_rounded_once() -> None:
    eps = noise(seed=3, count=50, dim=7).astype(np.float64)
    z = MEAN.astype(np.float64) + np.exp(LOG_VAR.astype(np.float64) / 2) * eps
    np.testing.assert_array_equal(reparameterise(MEAN, LOG_VAR, seed=3), z.astype(np.float32), strict=True)


def test_reparameterise_is_torch_s_normal_for_the_same_noise() -> None:
    torch = pytest.importorskip("torch")
    eps = torch.from_numpy(noise(seed=3, count=50, dim=7))
    normal = torch.distributions.Normal(torch.from_numpy(MEAN), (0.5 * torch.from_numpy(LOG_VAR)).exp())
    expected = normal.loc + normal.scale * eps
    np.testing.assert_allclose(reparameterise(MEAN, LOG_VAR, seed=3), expected.numpy(), atol=1e-6)


def test_log_var_is_of_the_variance_not_of_the_standard_deviation() -> None:
    log_var = np.full((100_000, 1), np.log(9.0), np.float32)
    z = reparameterise(np.zeros_like(log_var), log_var, seed=1)
    assert z.std() == pytest.approx(3.0, rel=0.02)  # 9 standard errors


def test_a_point_posterior_gives_its_mean_exactly() -> None:
    np.testing.assert_array_equal(reparameterise(MEAN, np.full_like(MEAN, -np.inf), seed=3), MEAN)


def test_batches_of_one_stream_line_up() -> None:
    whole = reparameterise(MEAN, LOG_VAR, seed=5, start=10)
    parts = [reparameterise(MEAN[i : i + 7], LOG_VAR[i : i + 7], seed=5, start=10 + i) for i in range(0, 50, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(whole, reparameterise(MEAN, LOG_VAR, seed=5))
    assert not np.array_equal(whole, reparameterise(MEAN, LOG_VAR, seed=6, start=10))


def test_lists_are_taken_too() -> None:
    np.testing.assert_array_equal(
        reparameterise([[1.0, 2.0]], [[-np.inf, -np.inf]], seed=0), np.array([[1, 2]], np.float32), strict=True
    )


@pytest.mark.parametrize(
    ("mean", "log_var"), [((4, 2), (4, 3)), ((4, 2), (1, 2)), ((4,), (4,)), ((2, 2, 2), (2, 2, 2))]
)
def test_reparameterise_refuses_shapes_that_are_no_equal_tables(
    mean: tuple[int, ...], log_var: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match=r"mean has shape .* and log_var .*; give both as \(N, D\), one row an item"):
        reparameterise(np.zeros(mean), np.zeros(log_var), seed=0)


def test_reparameterise_passes_on_what_the_noise_refuses() -> None:
    with pytest.raises(ConfigError, match="seed=-1"):
        reparameterise(MEAN, LOG_VAR, seed=-1)


def test_a_posterior_gives_standard_deviations_and_samples() -> None:
    posterior = Posterior(MEAN, LOG_VAR)
    np.testing.assert_allclose(posterior.std, np.sqrt(np.exp(LOG_VAR.astype(np.float64))), rtol=1e-6)
    assert posterior.std.dtype == np.float32
    np.testing.assert_array_equal(
        posterior.sample(seed=2, start=4), reparameterise(MEAN, LOG_VAR, seed=2, start=4), strict=True
    )
    assert (Posterior(MEAN, np.full_like(MEAN, -np.inf)).std == 0).all()


def test_the_prior_is_the_portable_noise() -> None:
    np.testing.assert_array_equal(prior(9, 4, seed=8, start=3), noise(seed=8, count=12, dim=4)[3:], strict=True)
    with pytest.raises(ConfigError, match="count=-1"):
        prior(-1, 4, seed=0)


# Paths.

A, B = RNG.normal(size=(2, 16)).astype(np.float32)


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_a_path_begins_and_ends_exactly_at_its_ends(path: str) -> None:
    z = interpolate(A, B, steps=5, path=path)  # type: ignore[arg-type]
    assert z.shape == (5, 16)
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z[0], A)
    np.testing.assert_array_equal(z[-1], B)


def test_a_linear_path_is_torch_s_lerp() -> None:
    torch = pytest.importorskip("torch")
    a, b = torch.from_numpy(A).double(), torch.from_numpy(B).double()
    expected = torch.stack([torch.lerp(a, b, t / 8) for t in range(9)])
    np.testing.assert_allclose(interpolate(A, B), expected.numpy(), atol=1e-6)


def test_a_spherical_path_keeps_the_length_and_turns_at_a_constant_rate() -> None:
    a, b = A / np.linalg.norm(A) * 4, B / np.linalg.norm(B) * 4
    z = interpolate(a, b, steps=11, path="spherical").astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 4.0, rtol=1e-6)
    angle = np.arccos(a.astype(np.float64) @ b.astype(np.float64) / 16)
    turns = np.arccos(np.clip((z[:-1] * z[1:]).sum(axis=1) / 16, -1, 1))
    np.testing.assert_allclose(turns, angle / 10, rtol=1e-4)
    linear = interpolate(a, b, steps=11)
    assert np.linalg.norm(linear[5]) < 3.9  # the control: a straight path cuts the corner


def test_a_quarter_turn_passes_through_the_diagonal() -> None:
    z = interpolate([2.0, 0.0], [0.0, 2.0], steps=3, path="spherical")
    np.testing.assert_allclose(z, [[2, 0], [np.sqrt(2), np.sqrt(2)], [0, 2]], atol=1e-6)


@pytest.mark.parametrize(
    ("a", "b"),
    [([1.0, 2.0], [2.0, 4.0]), ([1.0, 2.0], [-1.0, -2.0]), ([0.0, 0.0], [1.0, 2.0]), ([0.0, 0.0], [0.0, 0.0])],
)
def test_a_spherical_path_without_one_great_circle_is_straight(a: list[float], b: list[float]) -> None:
    expected = np.linspace(0, 1, 5)[:, None] * (np.array(b) - a) + a
    np.testing.assert_allclose(interpolate(a, b, steps=5, path="spherical"), expected, atol=1e-6)


def test_codes_of_shape_1_d_are_taken_as_d() -> None:
    np.testing.assert_array_equal(interpolate(A[None], B[None]), interpolate(A, B), strict=True)


@pytest.mark.parametrize(("a", "b"), [((3,), (4,)), ((2, 3), (2, 3)), ((), ()), ((1, 3), (3,)), ((1, 1, 3), (1, 1, 3))])
def test_ends_that_are_not_one_code_each_are_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"the ends have shapes .*; give two codes of shape \(D,\) or \(1, D\)"):
        interpolate(np.zeros(a), np.zeros(b))


@pytest.mark.parametrize("steps", [1, 0, -3, 2.0, True, None])
def test_a_path_of_fewer_than_two_steps_is_refused(steps: Any) -> None:
    with pytest.raises(ConfigError, match=f"steps={steps}: a path has at least its two ends; give 2 or more"):
        interpolate(A, B, steps=steps)


def test_an_unknown_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="path='cubic' is unknown; choose 'linear' or 'spherical'"):
        interpolate(A, B, path="cubic")  # type: ignore[arg-type]


def test_traverse_changes_one_dimension_and_no_other() -> None:
    before = A.copy()
    z: Latents = traverse(A, 3, [-2.0, 0.0, 2.0])
    assert z.shape == (3, 16)
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z[:, 3], [-2, 0, 2])
    np.testing.assert_array_equal(np.delete(z, 3, axis=1), np.tile(np.delete(A, 3), (3, 1)))
    np.testing.assert_array_equal(A, before)
    np.testing.assert_array_equal(traverse(A[None], 3, [-2.0, 0.0, 2.0]), z)


@pytest.mark.parametrize("dimension", [-1, 16, 99, True, 0.0, "z0"])
def test_a_dimension_that_is_not_there_is_refused(dimension: Any) -> None:
    with pytest.raises(ConfigError, match=f"dimension={dimension!r}, but the code has 16; give 0 to 15"):
        traverse(A, dimension, [0.0])


@pytest.mark.parametrize(
    ("z", "values"), [((2, 16), (3,)), ((16,), ()), ((16,), (3, 1)), ((), (3,)), ((1, 1, 16), (3,))]
)
def test_traverse_refuses_what_is_not_one_code_or_no_list(z: tuple[int, ...], values: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"z has shape .* and values .*; give one code \(D,\) and values \(K,\)"):
        traverse(np.zeros(z), 0, np.zeros(values))
