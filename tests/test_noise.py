"""The noise must be the same bits everywhere, close to the exact normal numbers, and random enough.

Expected values come from elsewhere: the readers in C and JavaScript (tests/portable), exact decimal arithmetic, the
published output of splitmix64, and statistics with a stated limit. Each statistic also rejects a generator that is
broken on purpose.
"""

from __future__ import annotations

import importlib
import math
import re
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from vaekit.embedding.c import noise_functions
from vaekit.embedding.files import template, write_text
from vaekit.errors import ConfigError
from vaekit.noise import NOISE_VERSION, noise

# The package has a function of this name too, so that `import vaekit.noise as …` would give the function.
noise_module = importlib.import_module("vaekit.noise")

ROOT = Path(__file__).resolve().parents[1]
PORTABLE = ROOT / "tests" / "portable"
PAGE = (ROOT / "exports" / "NOISE.md").read_text(encoding="utf-8")
LAST = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15

# A sound generator exceeds so many standard deviations once in 150,000 statistics. Seeds are fixed: no test flickers.
Z_LIMIT = 4.5

Reader = Callable[..., bytes]
Array = NDArray[Any]


# --- The same bits everywhere ---------------------------------------------------------------------------------------


def reader_from(command: list[str]) -> Reader:
    def read(*seed_count_dim_start: int, options: tuple[str, ...] = ()) -> bytes:
        arguments = [*options, *(str(number) for number in seed_count_dim_start)]
        return subprocess.run([*command, *arguments], check=True, capture_output=True).stdout

    return read


@pytest.fixture(scope="module", params=["C", "JavaScript"])
def other_language(
    request: pytest.FixtureRequest, need: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Reader:
    folder = tmp_path_factory.mktemp("portable")
    if request.param == "JavaScript":
        write_text(folder / "noise.js", template("javascript", "noise.js"))
        (folder / "package.json").write_text('{"type": "module"}')
        shutil.copy(PORTABLE / "noise.mjs", folder)
        return reader_from([need("node"), str(folder / "noise.mjs")])
    (folder / "portable_noise.c").write_text(noise_functions("vae_noise"))
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", f"-I{folder}"]
    subprocess.run([need("gcc"), *flags, "-o", str(folder / "noise"), str(PORTABLE / "noise.c"), "-lm"], check=True)
    return reader_from([str(folder / "noise")])


@pytest.mark.parametrize(("seed", "start"), [(0, 0), (7, 2**32 - 9), (LAST, 2**64 - 5003)])
def test_another_language_gives_the_same_bits_on_more_than_100_000_values(
    other_language: Reader, seed: int, start: int
) -> None:
    eps = noise(seed=seed, count=5003, dim=21, start=start)
    assert eps.size > 100_000
    assert eps.astype("<f4").tobytes() == other_language(seed, 5003, 21, start)


@pytest.mark.parametrize("seed", [0, 7, LAST])
def test_another_language_gives_the_same_doubles_before_they_are_rounded(
    other_language: Reader, words_of: Callable[..., Array], seed: int
) -> None:
    # A fused multiply-add changes the last bits of many doubles, but hardly one float32 in 10^8.
    words = words_of(seed=seed, count=5001, dim=20)
    doubles = np.stack(noise_module._box_muller(words[:, 0::2], words[:, 1::2]), axis=-1)
    assert doubles.astype("<f8").tobytes() == other_language(seed, 5001, 20, 0, options=("--double",))


def test_another_language_gives_the_bits_printed_on_the_page(other_language: Reader) -> None:
    rows = page_noise()
    arguments = [(seed, 1, coordinate + 1, index) for seed, index, coordinate, _ in rows]
    values = np.frombuffer(other_language(*sum(arguments, ())), "<u4")
    last_of_each_row = np.cumsum([dim for _, _, dim, _ in arguments]) - 1
    assert values[last_of_each_row].tolist() == [bits for *_, bits in rows]


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_language_is_a_skip_at_home_and_a_failure_in_ci(
    monkeypatch: pytest.MonkeyPatch, need: Callable[[str], str], ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no-such-tool is not on PATH"):
        need("no-such-tool")


# --- The page -------------------------------------------------------------------------------------------------------


def page_table(title: str) -> Iterator[list[str]]:
    """Rows of the table below a heading of the page, without its header and its rule."""
    section = PAGE.split(f"### {title}\n")[1].split("\n### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip(" `") for cell in line.strip("|").split("|")]


def page_noise() -> list[tuple[int, int, int, int]]:
    rows = page_table("The noise")
    return [(int(seed), int(index), int(d), int(bits, 16)) for seed, index, d, bits, *_ in rows]


def test_the_page_carries_the_name_of_the_algorithm() -> None:
    assert f"`{NOISE_VERSION}`" in PAGE


def test_mix_gives_the_published_output_of_splitmix64() -> None:
    # State 1234567, as on rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    states = np.array([(1234567 + GOLDEN * k) % 2**64 for k in (1, 2, 3, 4)], np.uint64)
    assert noise_module._mix(states).tolist() == published
    assert all(str(word) in PAGE for word in published[:3])


def test_words_on_the_page_are_those_of_the_code_and_of_python_integers(words_of: Callable[..., Array]) -> None:
    rows = list(page_table("The words"))
    assert len(rows) >= 6
    for seed, index, s, r, a, b in rows:
        stream_key, item_key, first, second = exact_words(int(seed), int(index), pair=0)
        assert [stream_key, item_key, first, second] == [int(word, 16) for word in (s, r, a, b)]
        assert words_of(seed=int(seed), count=1, dim=2, start=int(index)).tolist() == [[first, second]]


def test_pairs_on_the_page_are_those_of_the_code_and_of_exact_arithmetic() -> None:
    rows = list(page_table("One pair from two words"))
    assert len(rows) >= 12
    for a, b, even, odd, _ in rows:
        pair = noise_module._box_muller(np.array([int(a, 16)], np.uint64), np.array([int(b, 16)], np.uint64))
        for number, bits, exact in zip(pair, (even, odd), exact_pair(int(a, 16), int(b, 16)), strict=True):
            assert int(number.view(np.uint64)[0]) == int(bits, 16)
            assert abs(Decimal(float(number[0])) - exact) <= Decimal("5e-16") * abs(exact)


def test_noise_on_the_page_is_that_of_the_code_and_of_exact_arithmetic() -> None:
    rows = page_noise()
    assert len(rows) >= 60
    for seed, index, coordinate, bits in rows:
        row = noise(seed=seed, count=1, dim=coordinate + 1, start=index)
        assert int(row.view(np.uint32)[0, coordinate]) == bits
        *_, a, b = exact_words(seed, index, pair=coordinate // 2)
        exact, found = exact_pair(a, b)[coordinate % 2], row[0, coordinate]
        # The nearest float32, but where the exact number lies so close to the middle of two that the double's error decides.
        half_a_step = Decimal(float(np.spacing(abs(found)))) / 2
        assert abs(Decimal(float(found)) - exact) <= half_a_step + Decimal("5e-16") * abs(exact)


def test_constants_on_the_page_are_the_doubles_nearest_to_what_they_stand_for() -> None:
    with localcontext(prec=60):
        exact = {"SQRT_HALF": Decimal("0.5").sqrt(), "LN_2": Decimal(2).ln(), "TWO_PI": 2 * PI}
    for name, value in exact.items():
        decimal, bits = re.findall(rf"\| {name} \| (\S+) \| `(\w+)` \|", PAGE)[0]
        assert float(decimal) == float(value) == float(getattr(noise_module, name))
        assert np.float64(decimal).view(np.uint64) == int(bits, 16)


def test_coefficients_on_the_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| 1/\d+ \| `(\w+)` \|(?: \S+ \| `(\w+)` \| \S+ \| `(\w+)` \|)?", PAGE, re.MULTILINE)
    series = (noise_module.ATANH_SERIES, noise_module.COS_SERIES, noise_module.SIN_SERIES)
    for column, coefficients in enumerate(series, start=1):
        printed = [int(row[column], 16) for row in rows if row[column]]
        assert [int(c.view(np.uint64)) for c in coefficients] == printed


# --- Accuracy -------------------------------------------------------------------------------------------------------

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


def exact_words(seed: int, index: int, *, pair: int) -> tuple[int, int, int, int]:
    """Stream key, item key and the two words of a pair, in Python's integers."""

    def mix(x: int) -> int:
        x %= 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    s = mix(seed + GOLDEN)
    r = mix(s + GOLDEN * (index + 1))
    return s, r, mix(r + GOLDEN * (2 * pair + 1)), mix(r + GOLDEN * (2 * pair + 2))


def exact_pair(a: int, b: int) -> tuple[Decimal, Decimal]:
    """Box-Muller with 40 good digits: the library's own logarithm, and a Taylor series without any reduction."""
    with localcontext(prec=50):
        u1, angle = Decimal((a >> 11) + 1) / 2**53, 2 * PI * Decimal(b >> 11) / 2**53
        if (b >> 11) % 2**51 == 0:  # whole quarter turns: the series would leave 1e-50 where the value is 0
            cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][(b >> 11) // 2**51]
            return (-2 * u1.ln()).sqrt() * cos, (-2 * u1.ln()).sqrt() * sin
        sums, term = [Decimal(0), Decimal(0)], Decimal(1)
        for k in range(70):  # (2 pi)^70 / 70! < 1e-43
            sums[k % 2] += -term if k % 4 >= 2 else term
            term = term * angle / (k + 1)
        radius = (-2 * u1.ln()).sqrt()
        return radius * sums[0], radius * sums[1]


def hard_and_ordinary_words() -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    ordinary = rng.integers(0, 2**53, 1500, dtype=np.uint64).tolist()
    powers = [2**k for k in range(53)]
    eighths = [k * 2**50 + near for k in range(1, 8) for near in (-1, 0, 1)]
    hard = [0, *powers, *eighths, 0x16A09E667F3BCC, 0x16A09E667F3BCD, *(2**53 - 1 - k for k in (0, *powers))]
    hard = [k for k in hard if 0 <= k < 2**53]
    firsts, seconds = ordinary + hard + rng.permutation(hard).tolist(), ordinary + hard + hard
    return [(a << 11, b << 11) for a, b in zip(firsts, seconds, strict=True)]


def test_numbers_agree_with_exact_arithmetic_to_5e_16_also_near_zero_and_in_the_tails() -> None:
    words = hard_and_ordinary_words()
    a, b = (np.array(column, np.uint64) for column in zip(*words, strict=True))
    pairs = np.stack(noise_module._box_muller(a, b), axis=1)
    for pair, (a_word, b_word) in zip(pairs.tolist(), words, strict=True):
        for number, exact in zip(pair, exact_pair(a_word, b_word), strict=True):
            assert abs(Decimal(number) - exact) <= Decimal("5e-16") * abs(exact)


def test_numbers_agree_with_the_maths_library_on_200_000_pairs(words_of: Callable[..., Array]) -> None:
    words = words_of(seed=3, count=20_000, dim=20)
    a, b = words[:, 0::2], words[:, 1::2]
    u1, u2 = ((a >> 11) + 1) * 2.0**-53, (b >> 11) * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(u1)), 2 * np.pi * u2
    even, odd = noise_module._box_muller(a, b)
    assert np.max(np.abs(even - radius * np.cos(angle)) / radius) < 3e-15  # the angle itself is rounded, near 2 pi
    assert np.max(np.abs(odd - radius * np.sin(angle)) / radius) < 3e-15


def test_largest_and_smallest_radius_are_those_of_the_formula() -> None:
    words = np.array([0, LAST - 2**11, LAST], np.uint64)  # u1 = 2^-53, 1 - 2^-53, 1
    radius, _ = noise_module._box_muller(words, np.zeros(3, np.uint64))
    np.testing.assert_allclose(
        radius, [math.sqrt(106 * math.log(2)), math.sqrt(-2 * math.log1p(-(2.0**-53))), 0], 5e-16
    )


# --- One number, one place ------------------------------------------------------------------------------------------


def test_noise_is_a_c_contiguous_float32_array_of_rows() -> None:
    eps = noise(seed=0, count=4, dim=3)
    assert (eps.shape, eps.dtype, eps.flags.c_contiguous, eps.flags.writeable) == ((4, 3), np.float32, True, True)


@pytest.mark.parametrize("dim", [1, 2, 20, 21])
def test_every_batching_gives_the_same_bits(dim: int) -> None:
    start = 2**64 - 2000
    whole = noise(seed=7, count=2000, dim=dim, start=start)
    for size in (1, 7, 999, 1024):
        firsts = np.random.default_rng(size).permutation(range(0, 2000, size))[:200]  # in any order
        for first in firsts.tolist():
            part = noise(seed=7, count=min(size, 2000 - first), dim=dim, start=start + first)
            assert part.tobytes() == whole[first : first + size].tobytes()


@pytest.mark.parametrize("block_pairs", [1, 3, 8, 64])
def test_the_size_of_the_blocks_changes_no_bit(monkeypatch: pytest.MonkeyPatch, block_pairs: int) -> None:
    whole = noise(seed=7, count=50, dim=9)
    monkeypatch.setattr(noise_module, "BLOCK_PAIRS", block_pairs)
    assert noise(seed=7, count=50, dim=9).tobytes() == whole.tobytes()


def test_a_wider_row_begins_with_the_numbers_of_a_narrower_one() -> None:
    wide = noise(seed=7, count=3, dim=20_001)
    for dim in (1, 2, 19, 20, 20_000):
        np.testing.assert_array_equal(noise(seed=7, count=3, dim=dim), wide[:, :dim])


def test_numpy_integers_mean_the_same_as_python_integers() -> None:
    eps = noise(seed=np.uint64(LAST), count=np.int8(3), dim=np.int32(5), start=np.uint64(2**64 - 3))  # type: ignore[arg-type]
    np.testing.assert_array_equal(eps, noise(seed=LAST, count=3, dim=5, start=2**64 - 3))


@pytest.mark.parametrize(("count", "dim"), [(0, 5), (5, 0), (0, 0), (2**40, 0), (0, 2**40)])
def test_an_empty_array_keeps_its_shape(count: int, dim: int) -> None:
    assert noise(seed=0, count=count, dim=dim).shape == (count, dim)


@pytest.mark.parametrize(("count", "dim"), [(100_000, 10), (1, 1_000_000)])
def test_a_million_values_need_little_memory_beyond_the_result(count: int, dim: int) -> None:
    tracemalloc.start()
    eps = noise(seed=0, count=count, dim=dim)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - eps.nbytes < 2 * 2**20


# --- Errors ---------------------------------------------------------------------------------------------------------

ARGUMENTS = {"seed": 0, "count": 1, "dim": 2, "start": 0}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("value", [1.0, "1", None, True, np.bool_(True), np.float32(1), np.array([1])], ids=repr)
def test_an_argument_that_is_no_integer_is_refused(name: str, value: Any) -> None:
    message = rf"{name} must be an integer, found {re.escape(repr(value))} \({type(value).__name__}\). Pass {name}=7"
    with pytest.raises(ConfigError, match=message):
        noise(**(ARGUMENTS | {name: value}))


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("value", [-1, np.int64(-1), 2**64, 10**30])
def test_an_argument_out_of_range_is_refused(name: str, value: int) -> None:
    message = rf"{name}={value} was asked for, which is outside 0 \.\. 2\^64 - 1\. Pass an integer in that range"
    with pytest.raises(ConfigError, match=message):
        noise(**(ARGUMENTS | {name: value}))


def test_rows_past_the_last_index_are_refused() -> None:
    assert noise(seed=0, count=2, dim=2, start=2**64 - 2).shape == (2, 2)
    with pytest.raises(ConfigError, match=r"count=3 .* the last sample index is 2\^64 - 1\. Pass count=2 or less"):
        noise(seed=0, count=3, dim=2, start=2**64 - 2)


@pytest.mark.parametrize(("count", "dim"), [(2**40, 2**15), (2**62, 2**62), (1, LAST), (LAST, 1)])
def test_an_array_that_fits_in_no_memory_is_refused(count: int, dim: int) -> None:
    with pytest.raises(ConfigError, match=rf"count={count} rows of dim={dim} .* GiB, .* Draw fewer rows at a time"):
        noise(seed=0, count=count, dim=dim)


# --- Randomness: every statistic is in standard deviations, except those that say p-value ----------------------------


@pytest.fixture
def words_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Array]:
    """The words (a, b, a, b, ...) from which ``noise`` makes its rows, shape (N, 2P)."""

    def draw(**arguments: int) -> Array:
        seen: list[Array] = []
        original = noise_module._box_muller

        def spy(a: Array, b: Array) -> tuple[Array, Array]:
            seen.append(np.stack([a, b], axis=-1).reshape(len(a), -1))
            return original(a, b)

        with monkeypatch.context() as patch:
            patch.setattr(noise_module, "_box_muller", spy)
            noise(**arguments)
        return np.concatenate(seen)

    return draw


@pytest.fixture
def unmixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the generator: without the finaliser the words are a plain arithmetic progression."""
    monkeypatch.setattr(noise_module, "_mix", lambda x: x)


def moment_scores(x: Array) -> Array:
    """Mean, variance, skewness and kurtosis of normal numbers have standard errors sqrt(1, 2, 6, 24) / sqrt(n)."""
    x = x.astype(np.float64).ravel()
    found = np.array([np.mean(x), np.mean(x**2) - 1, stats.skew(x), stats.kurtosis(x)])
    return found / np.sqrt(np.array([1, 2, 6, 24]) / x.size)


def correlation_scores(x: Array, y: Array) -> Array:
    """Correlation of two samples, of their squares, and of one with the other's square; standard error 1 / sqrt(n)."""
    x, y = x.astype(np.float64).ravel(), y.astype(np.float64).ravel()
    pairs = [(x, y), (x**2, y**2), (x, y**2), (x**2, y)]
    return np.array([np.corrcoef(u, v)[0, 1] for u, v in pairs]) * math.sqrt(x.size)


def chi_square_p_value(cells: Array, number: int) -> float:
    """Two-sided: cells that are filled too evenly are as suspect as cells that are filled unevenly."""
    p = float(stats.chisquare(np.bincount(cells.ravel(), minlength=number)).pvalue)
    return 2 * min(p, 1 - p)


def bit_scores(words: Array) -> Array:
    """How far each of the 64 bits is from being set half of the time."""
    shares = [np.mean((words >> np.uint64(bit)) & np.uint64(1)) for bit in range(64)]
    return (np.array(shares) - 0.5) * 2 * math.sqrt(words.size)


def bad_sum_of_uniforms(count: int, terms: int) -> Array:
    """The old recipe: a scaled sum of uniforms has the mean and the variance of a normal number, and no tails."""
    rng = np.random.default_rng(0)
    total = sum(rng.random(count) - 0.5 for _ in range(terms))
    return np.asarray(total) * math.sqrt(12 / terms)


@pytest.mark.parametrize("seed", [0, 1, 7, 2**32, LAST])
def test_mean_variance_skewness_and_kurtosis_are_those_of_a_normal_distribution(seed: int) -> None:
    assert np.max(np.abs(moment_scores(noise(seed=seed, count=50_000, dim=20)))) < Z_LIMIT


def test_moments_reject_a_sum_of_twelve_uniforms() -> None:
    assert np.max(np.abs(moment_scores(bad_sum_of_uniforms(1_000_000, terms=12)))) > 2 * Z_LIMIT


def test_every_coordinate_has_the_moments_of_a_normal_distribution() -> None:
    eps = noise(seed=11, count=50_000, dim=21)
    assert np.max(np.abs([moment_scores(column) for column in eps.T])) < Z_LIMIT


def test_kolmogorov_and_smirnov_accept_the_distribution_for_25_seeds() -> None:
    p_values = [stats.kstest(noise(seed=s, count=10_000, dim=20).ravel(), "norm").pvalue for s in range(25)]
    assert min(p_values) > 1e-4
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3  # neither too far from the normal distribution, nor too near


def test_kolmogorov_and_smirnov_reject_a_sum_of_four_uniforms() -> None:
    assert stats.kstest(bad_sum_of_uniforms(200_000, terms=4), "norm").pvalue < 1e-4


def test_tails_hold_as_many_numbers_as_the_normal_distribution() -> None:
    eps = np.abs(noise(seed=5, count=200_000, dim=20))
    for limit in (2.0, 3.0, 4.0, 4.5):
        expected = eps.size * 2 * stats.norm.sf(limit)
        assert abs(np.count_nonzero(eps > limit) - expected) < Z_LIMIT * math.sqrt(expected)
    assert np.count_nonzero(np.abs(bad_sum_of_uniforms(1_000_000, terms=12)) > 4) < 0.5 * 1e6 * 2 * stats.norm.sf(4)


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1, 2**64 - 2])
@pytest.mark.parametrize("step", [1, 2, 256, GOLDEN])
def test_neighbouring_seeds_are_uncorrelated(seed: int, step: int) -> None:
    neighbour = (seed + step) % 2**64
    x, y = (noise(seed=s, count=10_000, dim=20) for s in (seed, neighbour))
    assert np.max(np.abs(correlation_scores(x, y))) < Z_LIMIT


@pytest.mark.parametrize("step", [1, 2, 3, 10, 256, 4096])
def test_neighbouring_indices_are_uncorrelated(step: int) -> None:
    eps = noise(seed=7, count=30_000, dim=20)
    assert np.max(np.abs(correlation_scores(eps[:-step], eps[step:]))) < Z_LIMIT


def test_any_two_of_twenty_coordinates_are_uncorrelated() -> None:
    eps = noise(seed=7, count=30_000, dim=20)
    scores = [correlation_scores(eps[:, i], eps[:, j]) for i in range(20) for j in range(i)]
    assert np.max(np.abs(scores)) < 5.0  # 760 statistics: the limit is exceeded once in 2,300 such tests


def test_the_first_rows_of_successive_seeds_are_a_sound_sample_too() -> None:
    eps = np.concatenate([noise(seed=seed, count=1, dim=20) for seed in range(5000)])
    assert np.max(np.abs(moment_scores(eps))) < Z_LIMIT
    assert np.max(np.abs(correlation_scores(eps[:-1], eps[1:]))) < Z_LIMIT
    assert stats.kstest(eps.ravel(), "norm").pvalue > 1e-4


@pytest.mark.usefixtures("unmixed")
def test_correlations_reject_a_generator_without_its_finaliser() -> None:
    eps = noise(seed=7, count=10_000, dim=20)
    assert np.max(np.abs(correlation_scores(eps[:-1], eps[1:]))) > 2 * Z_LIMIT
    assert np.max(np.abs(correlation_scores(eps[:, 0], eps[:, 2]))) > 2 * Z_LIMIT
    assert np.max(np.abs(correlation_scores(eps, noise(seed=8, count=10_000, dim=20)))) > 2 * Z_LIMIT


def test_correlations_reject_numbers_that_share_only_their_size() -> None:
    x, y = noise(seed=7, count=2, dim=100_000)
    scores = correlation_scores(x, np.abs(x) * np.sign(y))
    assert abs(scores[0]) < Z_LIMIT  # uncorrelated
    assert scores[1] > 2 * Z_LIMIT  # but not independent: the squares are the same


def test_every_bit_and_every_byte_of_the_words_is_uniform(words_of: Callable[..., Array]) -> None:
    words = words_of(seed=7, count=20_000, dim=20)
    assert np.max(np.abs(bit_scores(words))) < Z_LIMIT
    for byte in range(8):
        cells = (words >> np.uint64(8 * byte)) & np.uint64(255)
        assert chi_square_p_value(cells.astype(np.int64), 256) > 1e-4


def test_words_of_neighbouring_indices_and_coordinates_differ_in_half_of_their_bits(
    words_of: Callable[..., Array],
) -> None:
    words = words_of(seed=7, count=20_000, dim=20)
    assert np.max(np.abs(bit_scores(words[1:] ^ words[:-1]))) < Z_LIMIT
    assert np.max(np.abs(bit_scores(words[:, 1:] ^ words[:, :-1]))) < Z_LIMIT


def flip_score(words_of: Callable[..., Array], argument: str) -> float:
    """The worst of 64 x 64 scores: does bit j of a word flip half of the time when bit i of an argument flips?"""
    worst = 0.0
    for bit in range(64):
        flips = [
            words_of(**(ARGUMENTS | {"dim": 40, argument: k}))
            ^ words_of(**(ARGUMENTS | {"dim": 40, argument: k ^ 2**bit}))
            for k in (0, 0x0123456789ABCDEF, 2**63 + 12345)
        ]
        worst = max(worst, float(np.max(np.abs(bit_scores(np.stack(flips))))))
    return worst


FLIP_LIMIT = 5.5  # standard deviations, as 4,096 statistics have a larger maximum than one


@pytest.mark.parametrize("argument", ["seed", "start"])
def test_each_bit_of_the_seed_and_of_the_index_flips_half_of_the_bits_of_the_words(
    words_of: Callable[..., Array], argument: str
) -> None:
    assert flip_score(words_of, argument) < FLIP_LIMIT


@pytest.mark.usefixtures("unmixed")
def test_bit_and_byte_tests_reject_a_generator_without_its_finaliser(words_of: Callable[..., Array]) -> None:
    words = words_of(seed=7, count=20_000, dim=20)
    assert chi_square_p_value((words & np.uint64(255)).astype(np.int64), 256) < 1e-4  # it is too even
    assert np.max(np.abs(bit_scores(words[1:] ^ words[:-1]))) > 2 * Z_LIMIT
    assert flip_score(words_of, "seed") > 1.5 * FLIP_LIMIT
    assert flip_score(words_of, "start") > 1.5 * FLIP_LIMIT


def test_bit_scores_reject_a_bit_that_is_set_in_51_of_100_words(words_of: Callable[..., Array]) -> None:
    words = words_of(seed=7, count=20_000, dim=20)
    words[::50] |= np.uint64(2**20)
    assert np.argmax(np.abs(bit_scores(words))) == 20
    assert bit_scores(words)[20] > Z_LIMIT


def plane_cells(even: Array, odd: Array) -> Array:
    """Map a pair of normal numbers to 64 x 64 cells of equal probability: by its angle and by its radius."""
    even, odd = even.astype(np.float64), odd.astype(np.float64)
    angle = np.arctan2(odd, even) / (2 * np.pi) + 0.5
    radius = np.exp(-(even**2 + odd**2) / 2)
    cells = np.minimum(np.floor(64 * angle), 63) * 64 + np.minimum(np.floor(64 * radius), 63)
    return cells.astype(np.int64)


@pytest.mark.parametrize(("i", "j"), [(0, 1), (0, 2), (1, 2), (3, 18)])
def test_two_coordinates_fill_the_plane_evenly(i: int, j: int) -> None:
    eps = noise(seed=7, count=400_000, dim=19)
    assert chi_square_p_value(plane_cells(eps[:, i], eps[:, j]), 4096) > 1e-4


@pytest.mark.usefixtures("unmixed")
def test_the_plane_rejects_a_generator_without_its_finaliser() -> None:
    eps = noise(seed=7, count=400_000, dim=2)
    assert chi_square_p_value(plane_cells(eps[:, 0], eps[:, 1]), 4096) < 1e-4
