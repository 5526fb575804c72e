"""The JSON of a report: what goes in comes out, and its fields are the documented ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from vaekit.runtime.bench import results
from vaekit.runtime.bench.results import (
    LEVELS,
    Cell,
    Disk,
    Machine,
    Pays,
    Plan,
    Recommendation,
    Report,
    Setting,
    Spread,
    Start,
)

SETTING = Setting("decoder", "int8", "cpu", 2)


@pytest.fixture
def report(timing: Callable[..., Any]) -> Report:
    machine = Machine("a processor", ("avx2",), (), 2, 8, 1 << 34, "a system", 0.1, None, {"numpy": "2.4"})
    return Report(
        bundle="small",
        bundle_bytes=1234,
        complete=False,
        machine=machine,
        plan=Plan(("decoder",), ("fp32", "int8"), ("cpu",), (1, 2), (1, 64), 0.5, 10, 3, ("float32", "uint8")),
        resolution=4e-8,
        skipped=("cuda: not here",),
        baseline=Start(None, 0.3, (0.1, 0.11), {"import": 0.05}, 20_000_000, None, None),
        starts=(Start(SETTING, 0.5, (0.2,), {"import": 0.1, "load": 0.05, "first_item": 0.01}, None, 5, 1.25),),
        disk=(Disk("decoder", "int8", 300), Disk("decoder", "int8", 310, "uint8")),
        timings=(
            timing([1e-5, 2e-5], io="uint8"),
            timing([2e-3] * 3, batch=64, precision="int8", threads=2, way="bound"),
        ),
        pays=(Pays("decoder", "fp32", "cpu, 2 threads", "1 thread", "never", None, 0.9, "text", "uint8"),),
        settings=(
            Recommendation("decoder", "latency", Cell(SETTING, "bound", 1), True, "text"),
            Recommendation("decoder", "throughput", None, False, "none"),
        ),
    )


def test_a_report_read_from_its_json_is_the_same_report(report: Report) -> None:
    text = json.dumps(report.to_json(), allow_nan=False)
    assert Report.from_json(json.loads(text)) == report


def test_a_report_from_before_there_were_pixels_is_of_float32(report: Report) -> None:
    def without_io(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_io(part) for name, part in value.items() if name != "io"}
        return [without_io(part) for part in value] if isinstance(value, list) else value

    old = without_io(report.to_json())
    assert "io" not in json.dumps(old).split('"')
    found = Report.from_json(old)
    assert found.plan.io == ("float32",)
    assert {timing.cell.setting.io for timing in found.timings} == {"float32"}
    assert [disk.io for disk in found.disk] == ["float32", "float32"]
    assert [pays.io for pays in found.pays] == ["float32"]
    assert found.starts == report.starts


def test_every_field_of_the_json_is_documented(report: Report) -> None:
    documented = results.__doc__ or ""

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(names, value.values()))
        return set().union(*map(names, value)) if isinstance(value, list) else set()

    found = names(report.to_json()) - {"numpy"}  # a package's name
    assert len(found) > 50
    assert {name for name in found if name not in documented} == set()


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
