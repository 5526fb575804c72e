"""The JSON of a report: what goes in comes out, and its fields are the documented ones."""

from __future__ import annotations

import json
from typing import Any

from vaekit.runtime.bench import stored
from vaekit.runtime.bench.results import Report
from vaekit.runtime.bench.stored import from_json, to_json


def test_a_report_read_from_its_json_is_the_same_report(report: Report) -> None:
    text = json.dumps(to_json(report), allow_nan=False)
    assert from_json(json.loads(text)) == report


def test_a_report_from_before_there_were_pixels_is_of_float32(report: Report) -> None:
    def without_io(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_io(part) for name, part in value.items() if name != "io"}
        return [without_io(part) for part in value] if isinstance(value, list) else value

    old = without_io(to_json(report))
    assert "io" not in json.dumps(old).split('"')
    found = from_json(old)
    assert found.plan.io == ("float32",)
    assert {timing.cell.setting.io for timing in found.timings} == {"float32"}
    assert [disk.io for disk in found.disk] == ["float32", "float32"]
    assert [pays.io for pays in found.pays] == ["float32"]
    assert found.starts == report.starts


def test_every_field_of_the_json_is_documented(report: Report) -> None:
    documented = stored.__doc__ or ""

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(names, value.values()))
        return set().union(*map(names, value)) if isinstance(value, list) else set()

    found = names(to_json(report)) - {"numpy"}  # a package's name
    assert len(found) > 50
    assert {name for name in found if name not in documented} == set()
