"""`Value`: what a frozen dataclass promises, and that no dataclass is made at start-up."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest

from vaekit.errors import ConfigError
from vaekit.spec import DataSpec, Feature, ModelSpec
from vaekit.value import Value, is_whole


class Point(Value):
    """A value of this module, so that pickle finds it."""

    x: float
    y: float = 2.0

    def _check(self) -> None:
        if self.x < 0:
            raise ConfigError(f"x={self.x} is negative.")


class Other(Value):
    """Another class with the same fields."""

    x: float
    y: float = 2.0


def test_fields_come_by_place_by_name_and_by_default() -> None:
    assert (Point(1.0).x, Point(1.0).y) == (1.0, 2.0)
    assert Point(1.0, 3.0) == Point(y=3.0, x=1.0)
    assert list(vars(Point(y=3.0, x=1.0))) == ["x", "y"], "in the fields' order, whatever the caller's"


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        ((), {}, "needs x"),
        ((1, 2, 3), {}, "takes 2 values, but got 3"),
        ((1,), {"x": 1}, "x is given twice"),
        ((1,), {"z": 1}, "z is given twice or is no field"),
    ],
)
def test_other_arguments_are_refused(values: tuple[int, ...], named: dict[str, int], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Point(*values, **named)


def test_it_checks_itself_also_when_it_is_replaced() -> None:
    with pytest.raises(ConfigError, match="negative"):
        Point(-1.0)
    with pytest.raises(ConfigError, match="negative"):
        Point(1.0).replace(x=-1.0)
    assert Point(1.0).replace(x=3.0) == Point(3.0)
    with pytest.raises(TypeError, match="no field"):
        Point(1.0).replace(z=0)


def test_it_never_changes() -> None:
    point = Point(1.0)
    with pytest.raises(AttributeError, match=r"replace\(x=\.\.\.\)"):
        point.x = 2.0  # type: ignore[misc]
    with pytest.raises(AttributeError, match="stays"):
        del point.x
    assert point == Point(1.0)


def test_values_are_equal_where_class_and_fields_are() -> None:
    assert Point(1.0) == Point(1.0) != Point(2.0)
    assert Point(1.0) != Other(1.0)
    assert Point(1.0) != (1.0, 2.0)
    assert len({Point(1.0), Point(1.0), Point(2.0), Other(1.0)}) == 3


def test_its_signature_is_its_fields() -> None:
    assert str(inspect.signature(Point)) == "(x: 'float', y: 'float' = 2.0) -> None"


def test_it_shows_and_pickles_itself() -> None:
    assert repr(Point(1.0)) == "Point(x=1.0, y=2.0)"
    spec = ModelSpec("vae", DataSpec((2,), None, (Feature("a"), Feature("b", 1.0, 2.0))), 3, "gaussian", 0.5)
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_a_start_makes_no_dataclass() -> None:
    code = (
        "import numpy, sys; had = set(sys.modules); import vaekit; assert 'dataclasses' not in set(sys.modules) - had"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("value", "whole"),
    [(3, True), (np.uint8(3), True), (-(2**70), True), (True, False), (3.0, False), ("3", False), (None, False)],
)
def test_a_whole_number_is_pythons_or_numpys_and_no_truth_value(value: object, whole: bool) -> None:
    assert is_whole(value) is whole
