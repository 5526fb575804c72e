"""The TOML file of a run: read back by tomllib, equal options, strict keys and types, who goes before whom."""

from __future__ import annotations

import random
import re
import sys
import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pytest

from vaekit.datasets.options import DataOptions
from vaekit.errors import ConfigError, OutputError
from vaekit.training import TrainConfig, config_file
from vaekit.training.config_file import FileConfig, config_text, merged, read_config, write_config

FILLED = TrainConfig(
    likelihood="gaussian",
    hidden=(512, 256),
    latent=7,
    beta=4.0,
    epochs=3,
    learning_rate=1e-05,
    schedule="cosine",
    warmup=100,
    seed=(1 << 63) - 1,
    compile=False,
)
DATA = DataOptions(
    columns=("a b", 'quo"te', "back\\slash", "tab\t", "é…"), label="y", window=64, stride=8, test_fraction=0.25
)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# Writing and reading again.


@pytest.mark.parametrize("config", [TrainConfig(), FILLED, TrainConfig(kind="ae", compile=True)])
@pytest.mark.parametrize("data", [DataOptions(), DATA])
def test_what_was_written_reads_as_equal_options(tmp_path: Path, config: TrainConfig, data: DataOptions) -> None:
    path = tmp_path / "config.toml"
    write_config(path, config, "/data/my photos", data)
    found = read_config(path)
    assert found.source == "/data/my photos"
    assert merged(TrainConfig, file=found.train, given={}) == config
    assert merged(DataOptions, file=found.data, given={}) == data


def test_every_option_that_is_not_none_is_in_the_file(tmp_path: Path) -> None:
    write_config(tmp_path / "c.toml", FILLED, "mnist", DATA)
    tables = tomllib.loads((tmp_path / "c.toml").read_text())
    assert set(tables["train"]) == {f.name for f in fields(FILLED) if getattr(FILLED, f.name) is not None}
    assert set(tables["data"]) == {"source"} | {f.name for f in fields(DATA) if getattr(DATA, f.name) is not None}
    assert tables["train"]["compile"] is False
    assert "size" not in tables["data"]


def test_each_option_stands_under_what_its_class_says_of_it() -> None:
    lines = config_text(TrainConfig(), "mnist").splitlines()
    for option in ("kind", "latent", "learning_rate", "test_fraction"):
        (at,) = (index for index, line in enumerate(lines) if line.startswith(f"{option} = "))
        assert lines[at - 1].startswith("# "), option
    assert "# Latent dimensions, d." in lines
    assert "# Adam's step size, at its peak." in lines


def test_the_same_options_give_the_same_bytes(tmp_path: Path) -> None:
    write_config(tmp_path / "a.toml", FILLED, "mnist", DATA)
    write_config(tmp_path / "b.toml", TrainConfig(**vars(FILLED)), "mnist", DataOptions(**vars(DATA)))
    assert (tmp_path / "a.toml").read_bytes() == (tmp_path / "b.toml").read_bytes()


def test_any_text_and_any_number_survive_toml(tmp_path: Path) -> None:
    rng = random.Random(5)
    alphabet = [chr(code) for code in (*range(0x80), 0x80, 0xA0, 0x2028, 0xFFFF, 0x1F600)]
    for _ in range(50):
        source = "".join(rng.choices(alphabet, k=30))
        rate = rng.choice(
            [rng.random(), 10.0 ** -rng.randint(1, 300), sys.float_info.min, float(rng.randint(1, 10**9))]
        )
        write_config(tmp_path / "c.toml", TrainConfig(learning_rate=rate), source)
        found = read_config(tmp_path / "c.toml")
        assert (found.source, found.train["learning_rate"]) == (source, rate)


def test_a_field_that_is_new_needs_nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Wider(TrainConfig):
        colour: Literal["red", "blue"] = "red"
        lengths: tuple[float, ...] = ()
        limit: float | Literal["none"] | None = None

    Wider.__annotations__.update(
        colour=Literal["red", "blue"], lengths=tuple[float, ...], limit=float | Literal["none"] | None
    )
    monkeypatch.setattr(config_file, "TrainConfig", Wider)
    for limit in (None, 2.0, "none"):
        config = Wider(colour="blue", lengths=(1.0, 0.5), limit=limit)  # type: ignore[arg-type]
        write_config(tmp_path / "c.toml", config, "mnist")
        assert merged(Wider, file=read_config(tmp_path / "c.toml").train, given={}) == config
    with pytest.raises(ConfigError, match=re.escape('limit = "all": give a number or one of "none".')):
        read_config(written(tmp_path / "d.toml", '[train]\nlimit = "all"\n'))


# Reading strictly.


def test_a_short_file_gives_what_it_holds_and_nothing_else(tmp_path: Path) -> None:
    path = written(tmp_path / "c.toml", "[train]\nlatent = 2\nhidden = [64, 32]\nbeta = 2\n")
    assert read_config(path) == FileConfig(None, {}, {"latent": 2, "hidden": (64, 32), "beta": 2.0})
    assert isinstance(read_config(path).train["beta"], float)
    assert read_config(written(tmp_path / "e.toml", "")) == FileConfig()


WRONG = [
    ("[train]\nlatnet = 2\n", r"\[train\] has no option 'latnet'; its options are kind, .*latent.*, compile"),
    ("[data]\nsorce = 'x'\n", r"\[data\] has no option 'sorce'; its options are source, size, background"),
    ("[model]\nx = 1\n", r"\[model\] is unknown; a file of options has the tables \[data\] and \[train\]"),
    ("latent = 2\n", r"\[latent\] is unknown; a file of options has the tables \[data\] and \[train\]"),
    ("train = 2\n", r"train is a value; write it as a table, \[train\]"),
    ("[[train]]\nlatent = 2\n", r"train is a value; write it as a table"),
    ("[train]\nlatent = 2.0\n", r"\[train\] latent = 2.0: give a whole number"),
    ("[train]\nlatent = true\n", r"\[train\] latent = true: give a whole number"),
    ("[train]\nlatent = '2'\n", r'\[train\] latent = "2": give a whole number'),
    ("[train]\nbeta = true\n", r"\[train\] beta = true: give a number"),
    ("[train]\nhidden = 400\n", r"\[train\] hidden = 400: give a list of whole numbers"),
    ("[train]\nhidden = [400, 1.5]\n", r"\[train\] hidden = \[400, 1.5\]: give a list of whole numbers"),
    ("[train]\nkind = 'gan'\n", r'\[train\] kind = "gan": give one of "vae", "ae"'),
    ("[train]\ncompile = 1\n", r"\[train\] compile = 1: give true or false"),
    ("[train]\nseed = 1979-05-27\n", r'\[train\] seed = "1979-05-27": give a whole number'),
    ("[data]\nsource = 3\n", r"\[data\] source = 3: give a string"),
    ("[data]\ncolumns = ['a', 1]\n", r'\[data\] columns = \["a", 1\]: give a list of strings'),
    ("[train\n", r"is no TOML file: .*"),
    ("[train]\nlatent = 1\nlatent = 2\n", r"is no TOML file: .*"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[text.replace("\n", " ").strip() for text, _ in WRONG])
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path / "c.toml", text)
    with pytest.raises(ConfigError, match=message) as refusal:
        read_config(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe[train]")
    with pytest.raises(ConfigError, match=r"c.toml is no TOML file"):
        read_config(tmp_path / "c.toml")
    with pytest.raises(ConfigError, match=r"the options' file .*none.toml cannot be read: No such file"):
        read_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        read_config(tmp_path)
    (tmp_path / "big.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigError, match=r"is larger than 1,048,576 bytes"):
        read_config(tmp_path / "big.toml")
    (tmp_path / "deep.toml").write_text("[train]\nhidden = " + "[" * 5000)
    with pytest.raises(ConfigError, match=r"deep.toml is no TOML file"):
        read_config(tmp_path / "deep.toml")


def test_what_toml_cannot_hold_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source='\\udcff' cannot be written: it is no Unicode text"):
        write_config(tmp_path / "c.toml", TrainConfig(), "\udcff")

    @dataclass(frozen=True)
    class Odd(TrainConfig):
        limit: int | None = 5

    with pytest.raises(ConfigError, match=r"limit=None cannot be written: TOML has no None, and it is not the default"):
        write_config(tmp_path / "c.toml", Odd(limit=None), "mnist")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="could not be written"):
        write_config(tmp_path / "no" / "c.toml", TrainConfig(), "mnist")


# The command line over the file over the defaults.


@pytest.mark.parametrize(
    ("file", "given", "latent"),
    [({}, {}, TrainConfig().latent), ({"latent": 5}, {}, 5), ({}, {"latent": 6}, 6), ({"latent": 5}, {"latent": 6}, 6)],
)
def test_the_command_line_goes_before_the_file_and_the_file_before_the_defaults(
    file: dict[str, Any], given: dict[str, Any], latent: int
) -> None:
    config = merged(TrainConfig, file={"epochs": 3, **file}, given=given)
    assert (config.latent, config.epochs, config.batch_size) == (latent, 3, TrainConfig().batch_size)


def test_options_that_do_not_fit_together_are_refused_when_merged() -> None:
    with pytest.raises(ConfigError, match="stride=2 needs a window"):
        merged(DataOptions, file={"stride": 2}, given={})
    with pytest.raises(ConfigError, match="epochs=0"):
        merged(TrainConfig, file={"epochs": 0}, given={})


def test_every_field_has_a_default_so_that_a_file_may_leave_it_out() -> None:
    for kind in (TrainConfig, DataOptions):
        assert all(f.default is not MISSING or f.default_factory is not MISSING for f in fields(kind))
