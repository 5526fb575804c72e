"""A training run as one TOML file: every option, and what to train on.

    [data]
    source = "mnist"
    test_fraction = 0.1

    [train]
    kind = "vae"
    hidden = [400]

The tables' keys are the fields of `DataOptions` (and `source`) and of `TrainConfig`: a new field there needs nothing here. An
option that is None is left out. What is left out has its default, so a file may be as short as its author likes; a key that
does not exist, or a value of another type, is an error. `write_config` writes every option with its comment, the same bytes
for the same run, so that ``vaekit train --config RUN/config.toml`` trains it again.

Needs: the standard library.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vaekit.datasets.options import DataOptions
from vaekit.errors import ConfigError, one_line
from vaekit.storage import write_file
from vaekit.training.config import TrainConfig

CONFIG: Final = "config.toml"
"""The file's name in a run's folder."""

SOURCE: Final = "source"
"""The key of [data] that names what to train on; the others are how to read it."""

LIMIT: Final = 1 << 20
"""Largest file that is read, in bytes."""

Options = TypeVar("Options")


@dataclass(frozen=True)
class FileConfig:
    """What a file gives; what it leaves out is not here.

    Attributes:
        source: What to train on, as `load_dataset` takes it, or None.
        data: Fields of `DataOptions` by name.
        train: Fields of `TrainConfig` by name.
    """

    source: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


def read_config(path: str | Path) -> FileConfig:
    """Read a file, and hold every key and type; whether the values fit together, the options' own classes say.

    Raises:
        ConfigError: The file is missing, is no TOML, has a key that does not exist, or a value of another type.
    """
    source = Path(path)
    try:
        with source.open("rb") as file:
            content = file.read(LIMIT + 1)
        if len(content) > LIMIT:
            raise ConfigError(f"{source} is larger than {LIMIT:,} bytes, so it is no file of options.")
        value = tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(f"the options' file {source} cannot be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{source} is no TOML file: {one_line(error, 600)}.") from error
    for name, table in value.items():
        if name not in ("data", "train"):
            raise ConfigError(f"{source}: [{name}] is unknown; a file of options has the tables [data] and [train].")
        if not isinstance(table, dict):
            raise ConfigError(f"{source}: {name} is a value; write it as a table, [{name}].")
    types_of_data = {SOURCE: str, **_types(DataOptions)}
    data = _checked(value.get("data", {}), types_of_data, f"{source}: [data]")
    train = _checked(value.get("train", {}), _types(TrainConfig), f"{source}: [train]")
    return FileConfig(data.pop(SOURCE, None), data, train)


def write_config(path: str | Path, config: TrainConfig, source: str, data: DataOptions | None = None) -> None:
    """Write a run's options; reading them gives equal ones.

    Args:
        path: The file; one that stands there is replaced.
        config: Every training option.
        source: What to train on, as `load_dataset` takes it.
        data: How to read it.

    Raises:
        ConfigError: An option cannot be written in TOML.
        OutputError: The folder or disk does not take the file.
    """
    write_file(Path(path), config_text(config, source, data).encode())


def config_text(config: TrainConfig, source: str, data: DataOptions | None = None) -> str:
    """Give the content of the file that `write_config` writes.

    Raises:
        ConfigError: An option cannot be written in TOML.
    """
    from vaekit import __version__

    lines = [
        f"# Options of a training run, written by vaekit {__version__}. `vaekit train --config FILE` trains it again;",
        "# options given on the command line go before these, and what is left out here has its default.",
        "",
        "[data]",
        "# What to train on: the name of a data set, a file or a folder.",
        f"{SOURCE} = {_toml(source, SOURCE)}",
        *_table(data or DataOptions()),
        "",
        "[train]",
        *_table(config),
        "",
    ]
    return "\n".join(lines)


def merged(kind: type[Options], *, file: Mapping[str, Any], given: Mapping[str, Any]) -> Options:
    """Make options in which the command line goes before the file, and the file before the defaults.

    Args:
        kind: `TrainConfig` or `DataOptions`.
        file: What a file gave.
        given: What was given on the command line, and nothing that was not: a default there would hide the file's value.

    Raises:
        ConfigError: The options have no meaning together.
    """
    return kind(**{**file, **given})


def _types(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {entry.name: hints[entry.name] for entry in fields(kind)}


def _checked(table: Mapping[str, Any], types_of: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give a table's values as the options' types.

    Raises:
        ConfigError: A key is unknown, or a value has another type.
    """
    result = {}
    for key, value in table.items():
        if key not in types_of:
            raise ConfigError(f"{where} has no option {key!r}; its options are {', '.join(types_of)}.")
        found = _as(value, types_of[key])
        if found is MISSING:
            raise ConfigError(f"{where} {key} = {_shown(value)}: give {_named(types_of[key])}.")
        result[key] = found
    return result


def _as(value: Any, kind: Any) -> Any:
    """Give a value as a type; MISSING where it has another. A whole number may stand for a float, a list for a tuple."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        found = [_as(value, part) for part in arguments if part is not types.NoneType]
        return next((one for one in found if one is not MISSING), MISSING)
    if origin is Literal:
        return value if isinstance(value, str) and value in arguments else MISSING
    if origin is tuple:
        parts = [_as(one, arguments[0]) for one in value] if isinstance(value, list) else [MISSING]
        return MISSING if any(one is MISSING for one in parts) else tuple(parts)
    if kind is float:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else MISSING
    if kind is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else MISSING
    return value if isinstance(value, kind) else MISSING


def _named(kind: Any) -> str:
    """A type in words, for a message."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_named(part) for part in arguments if part is not types.NoneType)
    if origin is Literal:
        return f"one of {', '.join(json.dumps(choice) for choice in arguments)}"
    if origin is tuple:
        words = {"a whole number": "whole numbers", "a string": "strings"}
        return f"a list of {words.get(_named(arguments[0]), _named(arguments[0]))}"
    return {float: "a number", int: "a whole number", bool: "true or false", str: "a string"}.get(kind, str(kind))


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _table(options: Any) -> list[str]:
    """One line an option, under its comment."""
    lines, notes = [], _notes(type(options))
    for entry in fields(options):
        value = getattr(options, entry.name)
        if value is None:
            if entry.default is not None:
                raise ConfigError(f"{entry.name}=None cannot be written: TOML has no None, and it is not the default.")
            continue
        lines += [f"# {line}" for line in notes.get(entry.name, [])]
        lines.append(f"{entry.name} = {_toml(value, entry.name)}")
    return lines


def _notes(kind: type[Any]) -> dict[str, list[str]]:
    """What a dataclass's docstring says of each of its attributes, line by line."""
    _, _, text = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    notes: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip():
            break
        entry = re.match(r"    (\w+): (.*)", line)
        if entry:
            name = entry[1]
            notes[name] = [entry[2]]
        elif name:
            notes[name].append(line.strip())
    return notes


def _toml(value: Any, name: str) -> str:
    """Write a value.

    A JSON string is a TOML string, but for the character DEL, which TOML wants escaped.

    Raises:
        ConfigError: It cannot be written.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"{name}={value!r} cannot be written: it is no Unicode text.") from error
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)  # inf and nan are TOML's words too
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_toml(one, name) for one in value)}]"
    raise ConfigError(f"{name}={value!r} cannot be written: TOML has no such type.")
