"""DataOptions: what has no meaning is refused in one line, and JSON gives back what was written."""

import json
import re
from dataclasses import fields

import pytest

from vaekit.datasets import DataOptions
from vaekit.errors import ConfigError

EVERY = {
    "size": 64,
    "background": "#ff8000",
    "channels": 3,
    "columns": ("speed", "torque"),
    "label": "gear",
    "window": 32,
    "stride": 8,
    "test_fraction": 0.25,
    "split_seed": 7,
    "max_skipped": 0.5,
    "without_label": ("9", "boat"),
}


def test_json_gives_back_every_option() -> None:
    assert set(EVERY) == {field.name for field in fields(DataOptions)}
    options = DataOptions(**EVERY)
    assert all(getattr(options, field.name) != field.default for field in fields(DataOptions))
    assert DataOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert DataOptions.from_json({}) == DataOptions()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size=0: give a whole number from 1 to 16,384."),
        ({"size": 20_000}, "size=20000: give a whole number from 1 to 16,384."),
        ({"size": 28.0}, "size=28.0: give a whole number"),
        ({"size": True}, "size=True: give a whole number"),
        ({"channels": 2}, "channels=2: give 1 (grey) or 3 (colour)."),
        ({"channels": True}, "channels=True: give 1 (grey) or 3 (colour)."),
        ({"background": "mauve"}, "background='mauve': give black, white, grey, gray or #rrggbb."),
        ({"background": "#fff"}, "background='#fff': give"),
        ({"background": 0}, "background=0: give"),
        ({"window": 0}, "window=0: give a whole number from 1"),
        ({"stride": 4}, "stride=4 needs a window to move; give window too."),
        ({"window": 4, "stride": 0}, "stride=0: give a whole number from 1"),
        ({"columns": "speed"}, "columns='speed': give the columns' names as a tuple of strings."),
        ({"columns": (1,)}, "columns=(1,): give the columns' names as a tuple of strings."),
        ({"columns": ("a", "b", "a")}, "columns names 'a' more than once"),
        ({"label": 3}, "label=3: give the name of one column."),
        ({"columns": ("a", "b"), "label": "a"}, "label='a' is also one of the columns"),
        ({"test_fraction": 0}, "test_fraction=0: give a number above 0 and below 1"),
        ({"test_fraction": 1.0}, "test_fraction=1.0: give a number above 0 and below 1"),
        ({"test_fraction": float("nan")}, "test_fraction=nan: give a number"),
        ({"test_fraction": "0.1"}, "test_fraction='0.1': give a number"),
        ({"split_seed": -1}, "split_seed=-1: give a whole number, 0 to"),
        ({"split_seed": 1 << 63}, "give a whole number, 0 to 9223372036854775807."),
        ({"without_label": "9"}, "without_label='9': give labels as a tuple of strings."),
        ({"without_label": (9,)}, "without_label=(9,): give labels as a tuple of strings."),
        ({"max_skipped": 1.5}, "max_skipped=1.5: give a number from 0 to 1"),
    ],
)
def test_an_option_without_a_meaning_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        DataOptions(**options)
    if not isinstance(options.get("columns"), (str, type(None))):
        return
    with pytest.raises(ConfigError):
        DataOptions.from_json(options)


def test_json_with_an_option_of_a_later_version_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the data has options that this vaekit does not know: colour, sise\."):
        DataOptions.from_json({"sise": 28, "colour": 1})


@pytest.mark.parametrize(
    ("name", "rgb"),
    [("black", (0, 0, 0)), ("white", (255, 255, 255)), ("grey", (128, 128, 128)), ("#ff8001", (255, 128, 1))],
)
def test_a_background_is_a_name_or_a_web_colour(name: str, rgb: tuple[int, int, int]) -> None:
    assert DataOptions(background=name).background_rgb == rgb


def test_what_does_not_apply_is_named_beside_what_would() -> None:
    options = DataOptions(size=8, split_seed=1, window=2)
    with pytest.raises(ConfigError, match=r"^size, window do not apply to stones \(only split_seed would\); leave out"):
        options.only("stones", "split_seed")
    options.only("stones", "split_seed", "size", "window")
