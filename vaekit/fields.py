"""Fields of a JSON object, read with their types checked: what every part of a manifest is read by.

A reader raises KeyError for a field that is missing, TypeError for one of another type, ValueError for a number that is not
finite; `vaekit.manifest` turns them into one BundleError.

Needs: the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, TypeAlias

Json: TypeAlias = Mapping[str, Any]


def typed(value: Any, kind: type, name: str) -> Any:
    """Give a value back, if it is of a type; True is no whole number."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name!r} is {value!r}, which is no {kind.__name__}")
    return value


def text(value: Json, name: str) -> str:
    """Read a text."""
    return str(typed(value[name], str, name))


def whole(value: Json, name: str) -> int:
    """Read a whole number."""
    return int(typed(value[name], int, name))


def listed(value: Json, name: str) -> list[Any]:
    """Read a list."""
    return list(typed(value[name], list, name))


def texts(value: Json, name: str) -> tuple[str, ...]:
    """Read a list of texts."""
    return tuple(str(typed(item, str, name)) for item in listed(value, name))


def mapped(value: Json, name: str) -> dict[str, Any]:
    """Read an object."""
    return dict(typed(value[name], dict, name))


def numbers(value: Json, name: str) -> dict[str, float]:
    """Read an object of finite numbers."""
    return {key: number(inner, f"{name}.{key}") for key, inner in mapped(value, name).items()}


def number(value: Any, name: str) -> float:
    """Give back a finite number as it was written, whole or not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name!r} is {value!r}, which is no number")
    if not isfinite(value):  # JSON has no infinity, but Python reads 1e999 as one
        raise ValueError(f"{name!r} is {value!r}, which is not finite")
    return value
