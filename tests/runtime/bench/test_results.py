"""What a record says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vaekit.runtime.bench.results import LEVELS, Cell, Report, Setting, Spread

SETTING = Setting("decoder", "int8", "cpu", 2)


def test_quantiles_and_rates_are_found_by_name(timing: Callable[..., Any]) -> None:
    one = timing([1e-3, 2e-3, 4e-3], batch=8)
    assert (one.quantile(0.0), one.quantile(0.5), one.quantile(1.0)) == (1e-3, 2e-3, 4e-3)
    assert one.rate == Spread(2000.0, 4000.0, 8000.0)
    assert {0.5, 0.95, 0.99} <= set(LEVELS)


def test_a_timing_is_found_by_its_cell(report: Report) -> None:
    cell = Cell(SETTING, "bound", 64)
    assert report.timing(cell) is report.timings[1]
    assert report.timing(cell._replace(batch=65)) is None


@pytest.mark.parametrize(("load", "busy"), [(0.1, False), (0.5, False), (0.6, True), (None, False)])
def test_a_machine_is_busy_where_others_have_more_than_a_quarter_of_its_usable_cores(
    report: Report, load: float | None, busy: bool
) -> None:
    assert report.machine._replace(load_before=load).busy is busy


def test_a_cells_text_names_all_of_it() -> None:
    assert Cell(SETTING, "bound", 4096).text == "decoder int8 cpu, 2 threads, bound, batch 4,096"
    assert SETTING._replace(threads=1).text == "decoder int8 cpu, 1 thread"
    assert SETTING._replace(io="uint8").text == "decoder int8.uint8 cpu, 2 threads"
