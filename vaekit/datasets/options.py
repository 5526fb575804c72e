"""`DataOptions`: how a data set is read, checked when it is made.

Needs: the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, Final

from vaekit.errors import ConfigError

NAMED_COLOURS: Final = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "gray": (128, 128, 128)}

MAX_SIDE: Final = 1 << 14
"""Largest image side in pixels; a colour image of that side has 805 million values."""

MAX_SEED: Final = (1 << 63) - 1


@dataclass(frozen=True)
class DataOptions:
    """How to read a data set. An option that does not apply to the data's kind is an error, never ignored.

    Attributes:
        size: Image folders: height and width in pixels that every image is brought to; None keeps the one size they have.
        background: Image folders: what transparent pixels are laid over: "black", "white", "grey" or "#rrggbb".
        channels: Image folders: 1 (grey) or 3 (red, green, blue); None is grey if every image is grey, else colour.
        columns: Tables: names of the columns to read, in this order; empty is all but the label column.
        label: Tables: the column that names each row's class; None is without labels.
        window: Tables: rows a time-series window; None makes each row an item.
        stride: Tables: rows from one window's start to the next; None is the window's length, so that none overlap.
        test_fraction: Part of the items that becomes the test split where the data has none, above 0 and below 1.
        split_seed: Decides which items these are.
        max_skipped: Image folders: the largest part of files that may be unreadable, 0 to 1.
        without_label: Labels, each by its class's name, else by its number, whose items are left out of both splits.
    """

    size: int | None = None
    background: str = "black"
    channels: int | None = None
    columns: tuple[str, ...] = ()
    label: str | None = None
    window: int | None = None
    stride: int | None = None
    test_fraction: float = 0.1
    split_seed: int = 0
    max_skipped: float = 0.1
    without_label: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse options without a meaning, each with one line."""
        for name, most in (("size", MAX_SIDE), ("window", MAX_SEED), ("stride", MAX_SEED)):
            value = getattr(self, name)
            if value is not None and not (_whole(value) and 1 <= value <= most):
                raise ConfigError(f"{name}={value!r}: give a whole number from 1 to {most:,}.")
        if self.channels not in (None, 1, 3) or isinstance(self.channels, bool):
            raise ConfigError(f"channels={self.channels!r}: give 1 (grey) or 3 (colour).")
        if self.stride is not None and self.window is None:
            raise ConfigError(f"stride={self.stride} needs a window to move; give window too.")
        if self.background not in NAMED_COLOURS and not re.fullmatch("#[0-9a-fA-F]{6}", str(self.background)):
            raise ConfigError(f"background={self.background!r}: give {', '.join(NAMED_COLOURS)} or #rrggbb.")
        self._check_columns()
        if not _number(self.test_fraction) or not 0 < self.test_fraction < 1:
            raise ConfigError(f"test_fraction={self.test_fraction!r}: give a number above 0 and below 1, e.g. 0.1.")
        if not _whole(self.split_seed) or not 0 <= self.split_seed <= MAX_SEED:
            raise ConfigError(f"split_seed={self.split_seed!r}: give a whole number, 0 to {MAX_SEED}.")
        if not _number(self.max_skipped) or not 0 <= self.max_skipped <= 1:
            raise ConfigError(f"max_skipped={self.max_skipped!r}: give a number from 0 to 1, e.g. 0.1.")
        if _text(self.without_label) or not all(_text(name) and name for name in self.without_label):
            raise ConfigError(f"without_label={self.without_label!r}: give labels as a tuple of strings.")
        object.__setattr__(self, "without_label", tuple(self.without_label))

    def _check_columns(self) -> None:
        if _text(self.columns) or not all(_text(name) for name in self.columns):
            raise ConfigError(f"columns={self.columns!r}: give the columns' names as a tuple of strings.")
        object.__setattr__(self, "columns", tuple(self.columns))  # a list would not equal what JSON gives back
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise ConfigError(f"columns names {', '.join(map(repr, twice))} more than once; give each column once.")
        if self.label is not None and not _text(self.label):
            raise ConfigError(f"label={self.label!r}: give the name of one column.")
        if self.label in self.columns:
            raise ConfigError(
                f"label={self.label!r} is also one of the columns; a label is no input, leave it out of one."
            )

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        """The background's red, green and blue, each 0 to 255."""
        if self.background in NAMED_COLOURS:
            return NAMED_COLOURS[self.background]
        red, green, blue = bytes.fromhex(self.background[1:])
        return red, green, blue

    def only(self, kind: str, *names: str) -> None:
        """Hold that no option differs from its default but those that apply to a kind of data.

        Args:
            kind: The kind in words, for the message: "a folder of images".
            names: The options that apply to it.

        Raises:
            ConfigError: Another option was given.
        """
        others = [
            field.name
            for field in fields(self)
            if field.name not in names and getattr(self, field.name) != field.default
        ]
        if others:
            what = f"{others[0]} does" if len(others) == 1 else f"{', '.join(others)} do"
            applies = f"only {', '.join(names)} would" if names else "no option would"
            raise ConfigError(f"{what} not apply to {kind} ({applies}); leave out what does not.")

    def to_json(self) -> dict[str, Any]:
        """Give the options as JSON's types."""
        return {**vars(self), "columns": list(self.columns), "without_label": list(self.without_label)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DataOptions:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: An option is unknown or malformed.
        """
        unknown = set(value) - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigError(f"the data has options that this vaekit does not know: {', '.join(sorted(unknown))}.")
        lists = {name: value.get(name, ()) for name in ("columns", "without_label")}
        for name, found in lists.items():
            if isinstance(found, str) or not isinstance(found, (list, tuple)):
                raise ConfigError(f"{name}={found!r}: give a list of names.")
        return cls(**{**value, **{name: tuple(found) for name, found in lists.items()}})


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
