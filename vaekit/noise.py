"""Portable noise, version 1: standard normal numbers that are the same bits on every machine and in every language.

Each number is a pure function of (seed, sample index, latent coordinate). Only 64-bit unsigned integers and the five
operations on doubles that IEEE 754 rounds correctly (+ - * / sqrt) are used, in a stated order: no `log`, `sin` or
`cos` of a maths library, whose last bits differ from one machine to the next. `exports/NOISE.md` states the same steps
for other languages, with test vectors. A change of a single bit needs a new NOISE_VERSION.

Each operation below is a NumPy call of its own, so nothing can fuse a product and a sum into one rounding. The numbers
are within 5e-16 of the exact ones, relative, before they are rounded to float32.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.

Shapes: N rows, D coordinates, P pairs of coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vaekit.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOISE_VERSION = "splitmix64-boxmuller-1"

Words: TypeAlias = "NDArray[np.uint64]"
Doubles: TypeAlias = "NDArray[np.float64]"

# Constants are arrays without axes: NumPy meets them twice as fast as Python numbers, and lets their integers wrap.
# splitmix64: Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195; these constants by Vigna, prng.di.unimi.it.
GOLDEN = np.array(0x9E3779B97F4A7C15, np.uint64)  # the odd number next to 2^64 / golden ratio
MIX_1 = np.array(0xBF58476D1CE4E5B9, np.uint64)
MIX_2 = np.array(0x94D049BB133111EB, np.uint64)
ONE, BITS_27, BITS_30, BITS_31, BITS_11 = (np.array(n, np.uint64) for n in (1, 27, 30, 31, 11))

UPPER_HALF = np.array(1 << 63, np.uint64)  # words from here on make uniform numbers

SQRT_HALF = np.array(0.7071067811865476)
LN_2 = np.array(0.6931471805599453)
TWO_PI = np.array(6.283185307179586)
UNIT_53 = np.array(2.0**-53)  # spacing of the uniforms
FRACTION_BITS = np.array(52)  # of a double; its exponent stands above them

# Each quotient is the double nearest to it. One more term would change no sum by more than 2^-56 of its value.
ATANH_SERIES = [np.array(1 / (2 * k + 1)) for k in range(11)]  # atanh(t) / t, in powers of t^2
COS_SERIES = [np.array((-1) ** k / math.factorial(2 * k)) for k in range(9)]  # cos(x), in powers of x^2
SIN_SERIES = [np.array((-1) ** k / math.factorial(2 * k + 1)) for k in range(9)]  # sin(x) / x, in powers of x^2

# After q quarter turns cos is cos, -sin, -cos, sin, and cos again; sin is sin, cos, -sin, -cos, and sin again.
SWAPPED = np.array([False, True, False, True, False])
COS_SIGN = np.array([1.0, -1.0, -1.0, 1.0, 1.0])
SIN_SIGN = np.array([1.0, 1.0, -1.0, -1.0, 1.0])

BLOCK_PAIRS = 8192  # pairs in flight: about 1 MiB of temporary arrays, so they stay in the processor's cache


def noise(*, seed: int, count: int, dim: int, start: int = 0) -> NDArray[np.float32]:
    """Draw standard normal noise: row i is a function of ``seed`` and ``start + i`` only.

    Args:
        seed: Names the stream; 0 <= seed < 2^64. NumPy integers are welcome, here and below.
        count: Number of rows N.
        dim: Number of coordinates D. A wider row begins with the numbers of a narrower one.
        start: Sample index of the first row, so that batches of one stream line up; start + count <= 2^64.

    Returns:
        Noise, shape (N, D), float32, every value within -8.6 .. 8.6.

    Raises:
        ConfigError: An argument is not an integer or out of range, or the array does not fit in memory.

    Source: Box & Muller 1958, doi:10.1214/aoms/1177706645, on splitmix64 used as a counter-based generator.
    """
    seed, count, dim, start = (
        _uint64(name, value) for name, value in (("seed", seed), ("count", count), ("dim", dim), ("start", start))
    )
    if start + count > 2**64:
        raise ConfigError(
            f"start={start} with count={count} was asked for, but the last sample index is 2^64 - 1. "
            f"Pass count={2**64 - start} or less, or start another seed."
        )
    eps = _empty(count, dim)
    if eps.size == 0:
        return eps

    first_index = np.array(start, np.uint64)
    stream_key = _mix(GOLDEN + np.array([seed], np.uint64))  # (1,)
    for rows, pairs in _blocks(count, (dim + 1) // 2):
        index_plus_1 = first_index + np.arange(rows.start + 1, rows.stop + 1, dtype=np.uint64)
        item_key = _mix(stream_key + GOLDEN * index_plus_1)  # (N,)
        word = np.arange(2 * pairs.start + 1, 2 * pairs.stop + 1, dtype=np.uint64)  # of pair p: a 2p + 1, b 2p + 2
        words = _mix(item_key[:, None] + GOLDEN * word)  # (N, 2P)
        even, odd = _box_muller(words[:, 0::2], words[:, 1::2])  # (N, P) each

        block = eps[rows, 2 * pairs.start : 2 * pairs.stop]
        block[:, 0::2] = even
        block[:, 1::2] = odd[:, : block.shape[1] // 2]  # an odd D drops the last sine
    return eps


def uniform(*, seed: int, index: NDArray[np.integer[Any]], dim: int) -> Doubles:
    """Draw uniform numbers: row i is a function of ``seed`` and ``index[i]`` only, and independent of `noise`.

    Number j of sample n is ``(w >> 11) 2^-53`` with w the word ``2^63 + j + 1`` of sample n, counted as in `noise`, whose
    own words all come before.

    Args:
        seed: Names the stream, 0 <= seed < 2^64.
        index: Sample indices, shape (N,), each from 0 to 2^64 - 1.
        dim: Number of coordinates D.

    Returns:
        Numbers from 0 to 1, 1 excluded, shape (N, D), float64.

    Raises:
        ConfigError: The seed is not an integer or out of range.
    """
    stream_key = _mix(GOLDEN + np.array([_uint64("seed", seed)], np.uint64))
    item_key = _mix(stream_key + GOLDEN * (index.astype(np.uint64) + ONE))  # (N,)
    word = np.arange(1, dim + 1, dtype=np.uint64)
    word += UPPER_HALF
    words = _mix(item_key[:, None] + GOLDEN * word)  # (N, D)
    return np.asarray((words >> BITS_11).astype(np.float64) * UNIT_53)


def _box_muller(a: Words, b: Words) -> tuple[Doubles, Doubles]:
    """Turn two random words into two independent normal numbers, ``sqrt(-2 ln u1) * (cos, sin)(2 pi u2)``."""
    u1 = ((a >> BITS_11) + ONE).astype(np.float64) * UNIT_53  # (0, 1]
    u2 = (b >> BITS_11).astype(np.float64) * UNIT_53  # [0, 1)
    radius = np.sqrt(-2.0 * _ln(u1))
    cos, sin = _cos_sin_of_turns(u2)
    return radius * cos, radius * sin


def _ln(u: Doubles) -> Doubles:
    """Natural logarithm of ``u = m * 2^e``: ``ln u = e ln 2 + 2 atanh(t)`` with ``t = (m - 1) / (m + 1)``."""
    bits = u.view(np.int64)
    e = (bits - SQRT_HALF.view(np.int64)) >> FRACTION_BITS
    m = (bits - (e << FRACTION_BITS)).view(np.float64)  # in [sqrt(1/2), sqrt(2)): u near 1 has e = 0, nothing cancels
    t = (m - 1.0) / (m + 1.0)
    ln: Doubles = e * LN_2 + 2.0 * t * _polynomial(ATANH_SERIES, t * t)
    return ln


def _cos_sin_of_turns(u: Doubles) -> tuple[Doubles, Doubles]:
    """``cos(2 pi u)`` and ``sin(2 pi u)`` for u in [0, 1)."""
    q = np.floor(4.0 * u + 0.5)  # the nearest quarter turn, 0 to 4
    x = TWO_PI * (u - 0.25 * q)  # the difference is exact, so that a result near 0 keeps its relative accuracy
    y = x * x
    cos_x, sin_x = _polynomial(COS_SERIES, y), x * _polynomial(SIN_SERIES, y)
    q = q.astype(np.intp)
    swapped = SWAPPED[q]
    return COS_SIGN[q] * np.where(swapped, sin_x, cos_x), SIN_SIGN[q] * np.where(swapped, cos_x, sin_x)


def _polynomial(c: list[Doubles], y: Doubles) -> Doubles:
    """Horner's rule, ``c[0] + y (c[1] + y (c[2] + ...))``: each product is rounded, then each sum."""
    total = c[-1]
    for coefficient in reversed(c[:-1]):
        total = coefficient + y * total
    return total


def _mix(x: Words) -> Words:
    """Scramble each word, one to one and in place: splitmix64's finaliser."""
    x ^= x >> BITS_30
    x *= MIX_1
    x ^= x >> BITS_27
    x *= MIX_2
    x ^= x >> BITS_31
    return x


def _blocks(rows: int, pairs: int) -> Iterator[tuple[slice, slice]]:
    """Cut a table of rows x pairs into blocks of at most BLOCK_PAIRS cells."""
    wide = min(pairs, BLOCK_PAIRS)
    high = BLOCK_PAIRS // wide
    for row in range(0, rows, high):
        for pair in range(0, pairs, wide):
            yield slice(row, min(row + high, rows)), slice(pair, min(pair + wide, pairs))


def _uint64(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ConfigError(f"{name} must be an integer, found {value!r} ({type(value).__name__}). Pass {name}=7, say.")
    number = int(value)
    if not 0 <= number < 2**64:
        raise ConfigError(
            f"{name}={number} was asked for, which is outside 0 .. 2^64 - 1. Pass an integer in that range."
        )
    return number


def _empty(count: int, dim: int) -> NDArray[np.float32]:
    try:
        return np.empty((count, dim), np.float32)
    except (MemoryError, OverflowError, ValueError) as error:
        raise ConfigError(
            f"count={count} rows of dim={dim} were asked for, {count * dim * 4 / 2**30:,.0f} GiB, more than there is. "
            "Draw fewer rows at a time; start= goes on where the last batch ended."
        ) from error
