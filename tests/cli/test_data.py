"""`vaekit data`: what it prints of each kind of data, for people and as JSON."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vaekit.cli.data_options import column_names
from vaekit.datasets import DataOptions
from vaekit.errors import ConfigError

Run = Callable[..., Any]


@pytest.fixture
def run(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return ``run(*arguments)`` of `vaekit data`, with a cache folder of its own."""
    monkeypatch.delenv("VAEKIT_DATA", raising=False)
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))
    return functools.partial(run, "data")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Ten 8 x 8 images of class "dark" and ten of "light", one of another size and one that is none."""
    for name, value in (("dark", 0), ("light", 255)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for place in range(10):
            Image.new("L", (8, 8), value).save(tmp_path / "images" / name / f"{place}.png")
    Image.new("L", (16, 9), 255).save(tmp_path / "images" / "light" / "large.png")
    (tmp_path / "images" / "light" / "broken [x].png").write_bytes(b"")
    return tmp_path / "images"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = ["speed,torque", *(f"{place},{place % 2 * 1000}" for place in range(40))]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "table.csv"


def stated(out: str) -> dict[str, str]:
    """The lines of the first table, name and text."""
    return {line[:10].strip(): line[10:].strip() for line in out.split("\n\n", maxsplit=1)[0].splitlines()}


def test_a_folder_of_images_is_described_and_drawn(run: Run, images: Path) -> None:
    done = run(images, "--size", 8)
    assert done.code == 0, done.err
    lines = stated(done.out)
    assert lines["kind"] == "folder of images"
    assert lines["items"] == "19 to train on, 2 to test on"
    assert lines["shape"] == "CHW 1 x 8 x 8"
    assert lines["range"] == "0 to 1, from 8-bit pixels"
    assert lines["labels"] == "dark (10), light (11)"
    assert lines["skipped"] == "1 files"
    assert "light/broken [x].png: no PNG, JPEG or WebP image" in done.out
    picture = done.out.split("\n\n", 1)[1]
    assert "@@@@@@@@" in picture, "a light image in the ramp's brightest character"
    assert {"dark", "light"} <= set(picture.split())
    assert done.err == "reading images, 22 files\nconverting images, 22 files\n"


def test_quiet_tells_no_progress(run: Run, images: Path) -> None:
    done = run(images, "--size", 8, "--quiet")
    assert (done.code, done.err) == (0, "")


def test_json_says_everything_and_nothing_else(run: Run, images: Path) -> None:
    done = run(images, "--size", 8, "--split-seed", 3, "--json")
    found = json.loads(done.out)
    assert found["options"] == DataOptions(size=8, split_seed=3).to_json()
    assert (found["train_items"], found["test_items"], found["shape"], found["range"]) == (19, 2, [1, 8, 8], [0, 1])
    assert found["labels"] == [{"label": 0, "name": "dark", "items": 10}, {"label": 1, "name": "light", "items": 11}]
    assert found["skipped"] == [{"path": "light/broken [x].png", "reason": "no PNG, JPEG or WebP image"}]
    assert (found["stored_as"], found["layout"], found["source"]) == ("uint8", "CHW", str(images))


def test_the_rows_of_a_table_are_listed_with_their_features(run: Run, table: Path) -> None:
    done = run(table, "--columns", "torque,speed")
    lines = stated(done.out)
    assert lines["kind"] == "CSV table, one item a row"
    assert lines["shape"] == "D 2"
    assert lines["range"] == "real values, 0 to 1000"
    assert lines["labels"] == "none"
    features, examples = done.out.split("\n\n")[1:]
    assert [line.split()[0] for line in features.splitlines()] == ["feature", "torque", "speed"]
    assert examples.splitlines()[0].split() == ["row", "torque", "speed"]
    assert len(examples.splitlines()) == 6


def test_windows_show_the_first_steps_of_the_first(run: Run, table: Path) -> None:
    done = run(table, "--window", 4, "--stride", 2, "--test-fraction", 0.25)
    lines = stated(done.out)
    assert lines["kind"] == "CSV table, windows of 4 rows, one every 2"
    assert lines["items"] == "14 to train on, 4 to test on"
    assert lines["shape"] == "DT 2 x 4"
    shown = [line.split() for line in done.out.split("\n\n")[2].splitlines()]
    assert shown == [["step", "speed", "torque"], *([str(n), str(n), str(n % 2 * 1000)] for n in range(4))]
    found = json.loads(run(table, "--window", 4, "--json").out)
    # Of 0, 1, ..., 35: mean 17.5, variance (36^2 - 1) / 12. Of 0, 1000, 0, ...: mean and deviation 500.
    assert found["features"][0] == {"name": "speed", "offset": 17.5, "scale": pytest.approx((1295 / 12) ** 0.5)}
    assert found["features"][1] == {"name": "torque", "offset": 500.0, "scale": 500.0}


def test_a_constant_column_deviates_by_nothing_though_it_is_divided_by_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("fixed,moves\n" + "".join(f"3.5,{n % 2 * 2}\n" for n in range(40)))
    done = run(tmp_path / "x.csv", "--test-fraction", 0.5)
    found = [line.split() for line in done.out.splitlines() if line.split()[:1] in (["fixed"], ["moves"])]
    assert found[0] == ["fixed", "3.5", "0"]
    assert found[1][2] != "0"
    features = json.loads(run(tmp_path / "x.csv", "--json").out)["features"]
    assert features[0] == {"name": "fixed", "offset": 3.5, "scale": 1.0}


def test_arrays_of_other_channel_counts_are_described_without_a_picture(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((9, 5, 4, 4), np.uint8))
    done = run(tmp_path / "x.npy")
    assert done.out.endswith("\nno picture: 5 channels are neither grey nor colour\n")


def test_wide_rows_are_cut_and_the_rest_is_counted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(",".join(f"c{n}" for n in range(30)) + "\n" + (",".join(["1"] * 30) + "\n") * 4)
    out = run(tmp_path / "x.csv").out
    assert "20 more; --json lists all" in out
    assert out.endswith("24 more columns\n")
    assert max(map(len, out.partition("\n\n")[2].splitlines())) <= 80


def test_mnist_is_described(run: Run) -> None:
    lines = stated(run().out)
    assert lines["items"] == "60,000 to train on, 10,000 to test on"
    assert lines["labels"].startswith("0 (6,903), 1 (7,877), ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no data set 'nowhere'; give a known name"),
        (["mnist", "--size", "3"], "size does not apply to the data set 'mnist'"),
        (["mnist", "--columns", "a,,b"], "--columns 'a,,b': give names separated by commas, e.g. speed,torque."),
        (["mnist", "--channels", "2"], "channels=2: give 1 (grey) or 3 (colour)."),
        (["mnist", "--stride", "2"], "stride=2 needs a window to move; give window too."),
    ],
)
def test_what_goes_wrong_is_one_line(run: Run, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {message}")
    assert done.err.count("\n") == 1


def test_a_path_with_odd_characters_stays_on_its_line(run: Run, tmp_path: Path) -> None:
    name = "new\nline \x1b[31m[red] Zoë"
    (tmp_path / name).mkdir()
    for place in range(3):
        Image.new("RGB", (4, 4)).save(tmp_path / name / f"{place}.png")
    done = run(tmp_path / name)
    assert done.code == 0, done.err
    assert stated(done.out)["name"] == "new line  [31m[red] Zoë"
    assert "\x1b" not in done.out
    assert json.loads(run(tmp_path / name, "--json").out)["name"] == name


def test_column_names_with_commas_stand_in_quotes() -> None:
    assert column_names('"a, b",c') == ("a, b", "c")
    assert column_names("") == ()
    with pytest.raises(ConfigError, match="--columns"):
        column_names(",")
