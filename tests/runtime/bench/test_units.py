"""Times and rates as people read them."""

from __future__ import annotations

import pytest

from vaekit.runtime.bench.units import rate, seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.234e-6, "1.23 us"),
        (12.34e-6, "12.3 us"),
        (123.4e-6, "123 us"),
        (999.9e-6, "1.00 ms"),
        (0.0123, "12.3 ms"),
        (0.99999, "1.00 s"),
        (61.0, "61.0 s"),
    ],
)
def test_a_time_has_three_digits_and_its_unit(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(7.0, "7.00"), (999.4, "999"), (999.9, "1.00k"), (301_400, "301k"), (1.02e6, "1.02M"), (3e9, "3.00G")],
)
def test_a_rate_has_three_digits_and_its_factor(value: float, text: str) -> None:
    assert rate(value) == text
