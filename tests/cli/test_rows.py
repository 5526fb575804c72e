"""Rows of a table on the screen: numbers below the names of their columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

import vaekit
from vaekit.cli.rows import Rows
from vaekit.datasets import Dataset, Split
from vaekit.spec import DataSpec, Feature

NAMES = ("speed", "oil pressure", "温度", "load", "hum", "wear")

Run = Callable[..., Any]


def spec(*names: str) -> DataSpec:
    return DataSpec((len(names),), None, tuple(Feature(name) for name in names))


def test_each_name_ends_where_its_numbers_end() -> None:
    items = np.array([[-11.8784, 101426, 1, 0.5, -2, 1e-7], [3, 7, -41.25, 0, 0, 0]], np.float32)
    rows = Rows(items, spec(*NAMES), ["0", "10"], 80)
    lines = [rows.header or "", rows.line("0", items[0]), rows.line("10", items[1])]
    assert lines == [
        "        speed  oil pressure    温度  load  hum   wear",
        "0:   -11.8784        101426       1   0.5   -2  1e-07",
        "10:         3             7  -41.25     0    0      0",
    ]
    assert len({cell_len(line) for line in lines}) == 1


@pytest.mark.parametrize(("width", "fits"), [(15, True), (14, False)])
def test_names_that_do_not_fit_are_left_out_and_numbers_stand_close(width: int, fits: bool) -> None:
    items = np.array([[1.5, -2]], np.float32)
    rows = Rows(items, spec("speed", "load"), ["0"], width)
    found = [rows.header, rows.line("0", items[0])]
    assert found == (["    speed  load", "0:    1.5    -2"] if fits else [None, "0: 1.5 -2"])


def test_of_many_columns_eight_are_named_and_the_rest_is_said_to_be_there() -> None:
    items = np.arange(10, dtype=np.float32)[None]
    rows = Rows(items, spec(*"abcdefghij"), ["0"], 80)
    assert rows.header == "    a  b  c  d  e  f  g  h …"
    assert rows.line("0", items[0]) == "0:  0  1  2  3  4  5  6  7 …"


def test_items_without_names_have_no_header() -> None:
    items = np.array([[1.5, -2]], np.float32)
    rows = Rows(items, DataSpec((2,), None), ["0"], 80)
    assert (rows.header, rows.line("0", items[0])) == (None, "0: 1.5 -2")


@pytest.fixture(scope="module")
def machines(gaussian_pair: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a model of rows whose columns have names."""
    from vaekit.exporting import ModulePair, export_bundle

    rows = np.random.default_rng(3).normal(size=(50, 6)).astype(np.float32)
    data = spec(*NAMES)
    items = Dataset("machines", "machines", "0" * 64, Split(rows), Split(rows), features=data.features)
    pair = ModulePair(gaussian_pair.encoder, gaussian_pair.decoder, gaussian_pair.spec.replace(data=data))
    return export_bundle(pair, tmp_path_factory.mktemp("machines") / "bundle", data=items).path


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (("sample", "-n", 3), 3),
        (("reconstruct", "-n", 2), 4),
        (("morph", "--from", "@0", "--to", "@1", "--steps", 3), 3),
        (("traverse", "--dims", "0,1", "--steps", 3), 6),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_table_has_its_columns_names_once(run: Run, machines: Path, arguments: tuple[Any, ...], lines: int) -> None:
    done = run(arguments[0], machines, *arguments[1:])
    assert (done.code, done.err) == (0, "")
    printed = done.out.splitlines()
    assert printed[0].split() == " ".join(NAMES).split()
    assert sum("oil" in line for line in printed) == 1
    numbers = [line for line in printed if ": " in line]
    assert len(numbers) == lines
    assert {cell_len(line) for line in numbers} == {cell_len(printed[0])}


def test_the_numbers_below_the_names_are_those_of_the_items(run: Run, machines: Path) -> None:
    _, *lines = run("sample", machines, "-n", 3, "--seed", 2).out.splitlines()
    shown = [[float(value) for value in line.partition(":")[2].split()] for line in lines]
    np.testing.assert_allclose(shown, vaekit.load(machines, provider="cpu").sample(3, seed=2), rtol=1e-5, atol=1e-6)
