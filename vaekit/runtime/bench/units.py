"""Times and rates as people read them.

Needs: the standard library.
"""

from __future__ import annotations


def seconds(value: float) -> str:
    """Write a time with three digits and its unit: "10.2 us", "1.3 ms", "2.51 s"."""
    for limit, factor, unit in ((1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if value < limit * 0.9995:
            return f"{_three(value * factor)} {unit}"
    return f"{_three(value)} s"


def rate(value: float) -> str:
    """Write a number with three digits: "512", "12.3k", "1.02M"."""
    for limit, factor, unit in ((1e3, 1.0, ""), (1e6, 1e-3, "k"), (1e9, 1e-6, "M")):
        if value < limit * 0.9995:
            return f"{_three(value * factor)}{unit}"
    return f"{_three(value * 1e-9)}G"


def _three(value: float) -> str:
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}"
