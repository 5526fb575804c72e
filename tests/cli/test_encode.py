"""`vaekit encode`: what it writes against the library, what it says, what it refuses, how it stops."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
import vaekit.cli
from vaekit.datasets import Dataset, Split
from vaekit.spec import DataSpec, Feature

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed (the extra [tables])"
)


Run = Callable[..., Any]


@pytest.fixture
def screen_columns() -> int:
    return 40


@pytest.fixture
def run(run: Run) -> Run:
    """Return ``run(*arguments)`` of `vaekit encode`."""
    return functools.partial(run, "encode")


@pytest.fixture(scope="module")
def encoder(small_bundle: Path) -> vaekit.Encoder:
    return vaekit.Encoder(small_bundle, provider="cpu", threads=1)


@pytest.mark.parametrize("split", [None, "all", "train", "test"])
def test_encode_writes_the_posterior_of_the_items_that_were_asked_for(
    run: Run,
    encoder: vaekit.Encoder,
    small_bundle: Path,
    small_data_folder: Path,
    small_dataset: Dataset,
    tmp_path: Path,
    split: str | None,
) -> None:
    out = tmp_path / "codes.npz"
    chosen = [] if split is None else ["--split", split]
    done = run(small_bundle, "--data", small_data_folder, "--out", out, *chosen)
    parts = {"train": [small_dataset.train], "test": [small_dataset.test]}
    items = np.concatenate([part.items for part in parts.get(split or "", [small_dataset.train, small_dataset.test])])
    posterior = encoder.encode(items / np.float32(255))
    with np.load(out) as found:
        assert list(found) == ["mean", "log_var"]
        np.testing.assert_allclose(found["mean"], posterior.mean, atol=1e-6)
        np.testing.assert_allclose(found["log_var"], posterior.log_var, atol=1e-6)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"wrote {out}: mean {len(items)} x 5, log_var {len(items)} x 5; ")
    assert done.out.count("\n") == 1


@pytest.mark.parametrize(("options", "seed"), [((), 0), (("--seed", 7), 7)])
def test_encode_with_sample_draws_codes_of_the_portable_noise(
    run: Run, encoder: vaekit.Encoder, small_bundle: Path, small_dataset: Dataset, small_data_folder: Path,
    tmp_path: Path, options: tuple[object, ...], seed: int,
) -> None:  # fmt: skip
    arguments = (small_bundle, "--data", small_data_folder, "--split", "test", "--sample", *options)
    assert run(*arguments, "--out", tmp_path / "z.npz").code == 0
    assert run(*arguments, "--out", tmp_path / "z.npy").code == 0
    z = encoder.encode(small_dataset.test.pixels(slice(None))).sample(seed=seed)
    with np.load(tmp_path / "z.npz") as found:
        assert list(found) == ["mean", "log_var", "z"]
        np.testing.assert_allclose(found["z"], z, atol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), z, atol=1e-5)


def test_encode_takes_a_file_of_raw_items(
    run: Run, encoder: vaekit.Encoder, small_bundle: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    np.save(tmp_path / "photos.npy", small_dataset.test.items)
    out = tmp_path / "codes.npy"
    assert run(small_bundle, "--data", tmp_path / "photos.npy", "--out", out).code == 0
    wanted = encoder.encode(small_dataset.test.pixels(slice(None))).mean
    found = np.load(out)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found[np.lexsort(found.T)], wanted[np.lexsort(wanted.T)], atol=1e-6)


def test_encode_json_says_what_was_written(
    run: Run, small_bundle: Path, small_data_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "codes.npz"
    done = run(small_bundle, "--data", small_data_folder, "--split", "train", "--out", out, "--json")
    result = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert result["arrays"] == {"mean": [320, 5], "log_var": [320, 5]}
    assert (result["out"], result["items"], result["bytes"]) == (str(out), 320, out.stat().st_size)
    assert result["items_per_second"] == pytest.approx(320 / result["seconds"])


def test_encode_batch_size_and_threads_reach_the_model(
    run: Run, small_bundle: Path, small_data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    encode = vaekit.Encoder.encode

    def spy(self: vaekit.Encoder, x: np.ndarray) -> object:
        seen.append((len(x), self.threads))
        return encode(self, x)

    monkeypatch.setattr(vaekit.Encoder, "encode", spy)
    options = ["--batch-size", 200, "--threads", 1, "--split", "test", "--provider", "cpu"]
    assert run(small_bundle, "--data", small_data_folder, *options, "--out", tmp_path / "c.npy").code == 0
    assert seen == [(200, 1), (100, 1)]


REFUSED = [
    ((), "c.csv", "the ending '.csv' is unknown; choose one of .npy, .npz, .parquet"),
    ((), "no/c.npy", "there is no folder"),
    ((), "there.npy", "exists already; choose another path, or pass --force to replace it"),
    (("--seed", 3), "c.npy", "--seed 3 belongs to --sample, which was not given"),
    (("--workers", 2), "c.npy", "--workers 2 belongs to --engine ray"),
    (("--engine", "ray", "--threads", 2), "c.npy", "--threads 2 belongs to --engine local"),
    (
        ("--engine", "ray", "--provider", "cuda"),
        "c.npy",
        "--provider cuda was asked for, but --engine ray runs on the CPU",
    ),
]


@pytest.mark.parametrize(("options", "name", "message"), REFUSED)
def test_what_has_no_meaning_is_one_line_and_no_file(
    run: Run, small_bundle: Path, small_data_folder: Path, tmp_path: Path, options: tuple[object, ...], name: str,
    message: str,
) -> None:  # fmt: skip
    (tmp_path / "there.npy").write_bytes(b"mine")
    done = run(small_bundle, "--data", small_data_folder, *options, "--out", tmp_path / name)
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.npy"]
    assert (tmp_path / "there.npy").read_bytes() == b"mine"


def test_a_refusal_comes_before_the_data_is_read(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    done = run(small_bundle, "--data", "/no/such/data", "--out", tmp_path / "c.csv")
    assert "the ending '.csv' is unknown" in done.err


def test_data_of_another_shape_is_refused(
    run: Run, gaussian_bundle: Path, small_data_folder: Path, tmp_path: Path
) -> None:
    done = run(gaussian_bundle, "--data", small_data_folder, "--out", tmp_path / "c.npy")
    assert done.code == 1
    assert "the items have shape (1, 28, 28), but the model takes (6,)" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def machines(gaussian_pair: Any, tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """A bundle of a model whose six inputs have names, a table of them with one column more, and its rows."""
    from vaekit.exporting import ModulePair, export_bundle

    names = ("speed", "torque", "heat", "load", "hum", "wear")
    rows = np.random.default_rng(3).normal(size=(50, 6)).round(3).astype(np.float32)
    lines = [",".join(("id", *names)), *(",".join(map(str, (i, *row))) for i, row in enumerate(rows.tolist()))]
    (tmp_path / "machines.csv").write_text("\n".join(lines))
    features = tuple(Feature(name, 0.0, 1.0) for name in names)
    spec = gaussian_pair.spec.replace(data=DataSpec((6,), None, features))
    items = Dataset("machines", "machines", "0" * 64, Split(rows), Split(rows), features=features)
    bundle = export_bundle(
        ModulePair(gaussian_pair.encoder, gaussian_pair.decoder, spec), tmp_path / "bundle", data=items
    )
    return bundle.path, tmp_path / "machines.csv", rows


@needs_pyarrow
def test_columns_of_a_table_are_those_that_the_model_names(
    run: Run, machines: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    bundle, table, rows = machines
    out = tmp_path / "codes.npy"
    done = run(bundle, "--data", table, "--out", out, "--columns", "speed,torque,heat,load,hum,wear")
    assert (done.code, done.err) == (0, "")
    alone = (
        tmp_path / "alone.npy"
    )  # without the option they are the model's, and the table's column more does not matter
    assert run(bundle, "--data", table, "--out", alone).code == 0
    np.testing.assert_array_equal(np.load(alone), np.load(out))
    wanted, found = vaekit.Encoder(bundle, provider="cpu").encode(rows).mean, np.load(out)
    np.testing.assert_allclose(found[np.lexsort(found.T)], wanted[np.lexsort(wanted.T)], atol=1e-5)
    for columns in ("torque,speed,heat,load,hum,wear", "id,torque,heat,load,hum,wear"):
        done = run(bundle, "--data", table, "--out", tmp_path / "no.npy", "--columns", columns)
        assert done.code == 1
        assert (
            f"machines has the columns {columns.replace(',', ', ')}, but the model takes speed, torque, heat"
            in done.err
        )
        assert not (tmp_path / "no.npy").exists()


@needs_pyarrow
@pytest.mark.parametrize("command", ["encode", "score", "evaluate", "figures"])
def test_a_label_that_the_model_took_as_an_input_is_refused(
    run: Run, machines: tuple[Path, Path, np.ndarray], tmp_path: Path, command: str
) -> None:
    bundle, table, _ = machines
    arguments = {
        "encode": (bundle, "--data", table, "--out", tmp_path / "c.npy"),
        "score": (bundle, table),
        "evaluate": (bundle, table),
        "figures": (bundle, "--data", table, "--out", tmp_path / "figures"),
    }[command]
    done = run.func(command, *arguments, "--label", "wear")  # type: ignore[attr-defined]
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "error: --label wear: the model was trained with the column 'wear' as an input; leave --label out, or train one "
        f"without it: `vaekit train {table} --label wear`.\n"
    )


def test_force_replaces_a_file(run: Run, small_bundle: Path, small_data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "c.npy").write_bytes(b"old")
    assert run(small_bundle, "--data", small_data_folder, "--out", tmp_path / "c.npy", "--force").code == 0
    assert np.load(tmp_path / "c.npy").shape == (620, 5)


def test_ray_that_is_not_installed_names_the_extra(
    run: Run, small_bundle: Path, small_data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run(small_bundle, "--data", small_data_folder, "--engine", "ray", "--out", tmp_path / "c.npy")
    assert done.code == 1
    assert "--engine ray needs ray; install it with `pip install 'vaekit[ray]'`, or pass --engine local." in done.err


def in_a_terminal(*arguments: object) -> str:
    """What `vaekit encode` writes to a terminal."""
    here, there = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-m", "vaekit", "encode", *map(str, arguments)]
    with subprocess.Popen(command, stdout=there, stderr=there, env=environment) as process:
        os.close(there)
        seen = b""
        while select.select([here], [], [], 60)[0]:
            try:
                seen += os.read(here, 4096)
            except OSError:  # the other end is closed
                break
        assert process.wait() == 0, seen.decode()
    os.close(here)
    return seen.decode()


@pytest.mark.parametrize("quiet", [False, True])
def test_a_bar_with_rate_and_time_left_is_drawn_on_a_terminal_unless_quiet(
    small_bundle: Path, small_data_folder: Path, tmp_path: Path, quiet: bool
) -> None:
    options = ["--data", small_data_folder, "--batch-size", 1, "--out", tmp_path / "c.npy", *(["-q"] if quiet else [])]
    seen = in_a_terminal(small_bundle, *options)
    assert ("620/620" in seen) is not quiet
    assert ("items/s" in seen.replace("items/s\r\n", "")) is not quiet  # the last line has the rate in any case
    assert f"wrote {tmp_path / 'c.npy'}" in seen.replace("\r\n", "")


SLOWLY = """
import sys, time
import vaekit, vaekit.cli
encode = vaekit.Encoder.encode
def slowly(self, x):
    print("working", flush=True)
    time.sleep(0.5)
    return encode(self, x)
vaekit.Encoder.encode = slowly
vaekit.cli.main(sys.argv[1:])
"""


def test_ctrl_c_leaves_the_old_file_and_says_so(small_bundle: Path, small_data_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "codes.npz"
    out.write_bytes(b"mine")
    arguments = ["encode", small_bundle, "--data", small_data_folder, "--batch-size", "8", "--out", out, "--force"]
    command = [sys.executable, "-c", SLOWLY, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        assert process.stdout.readline() == "working\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, f"stopped; {out} was not written\n")
    assert list(tmp_path.iterdir()) == [out]
    assert out.read_bytes() == b"mine"
