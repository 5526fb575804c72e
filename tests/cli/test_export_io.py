"""`vaekit export --io uint8` and the commands that show and prove what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.bundle import Bundle

Run = Callable[..., Any]


@pytest.fixture
def screen_columns() -> int:
    return 130


@pytest.fixture(scope="module")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vaekit.training import TrainConfig, train

    folder = tmp_path_factory.mktemp("table")
    rows = np.random.default_rng(0).normal(size=(60, 3))
    lines = [",".join(f"{value:.4f}" for value in row) for row in rows]
    (folder / "rows.csv").write_text("\n".join(["a,b,c", *lines]) + "\n")
    config = TrainConfig(hidden=(8,), latent=2, epochs=1, device="cpu", compile=False, likelihood="gaussian")
    return train(vaekit.datasets.load_dataset(folder / "rows.csv"), config, folder / "run").run


@pytest.fixture(scope="module")
def exported(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with fp32 and fp16, both with pixels too, made by the library."""
    from vaekit.exporting import Gate, export_bundle
    from vaekit.training import Checkpoint

    out = tmp_path_factory.mktemp("exports") / "small"
    gate = Gate(0.05, min_gain=1.0)
    return export_bundle(Checkpoint.latest(small_run), out, precisions=("fp16",), gate=gate, io="uint8").path


def test_the_report_states_what_the_manifest_states(run: Run, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    done = run("export", small_run, "--out", out, "--io", "uint8")
    assert (done.code, done.err) == (0, "")
    pixels = Bundle.open(out).manifest.pixels
    assert pixels is not None
    pair = pixels.precisions["fp32"]
    lines = done.out.splitlines()
    assert "  uint8 pixels in and out, nhwc:" in lines
    by = "" if not pair.differing else f", by {pair.levels} grey level"
    assert (
        f"    fp32: encoder.uint8.onnx, decoder.uint8.onnx; {pair.differing:,} of {pair.compared:,} pixel values differ from "
        f"the plain graph's, rounded{by}; mean and log_var by 0"
    ) in lines
    assert lines[-1] == f"wrote {out}"
    assert "\x1b" not in done.out


def test_the_layout_is_the_one_that_was_asked_for(run: Run, small_run: Path, tmp_path: Path) -> None:
    for layout, shape in (("nchw", (1, 28, 28)), ("nhwc", (28, 28, 1))):
        out = tmp_path / layout
        done = run("export", small_run, "--out", out, "--io", "uint8", "--layout", layout, "--json")
        assert done.code == 0
        stated = json.loads(done.out)["io"]["uint8"]
        assert stated["layout"] == layout
        assert stated["precisions"]["fp32"]["decoder"]["outputs"][0]["shape"] == ["batch", *shape]
        vae = vaekit.load(out, provider="cpu", threads=1, io="uint8")
        assert vae.sample(2).shape == (2, *shape)


def test_an_export_without_pixels_says_nothing_of_them(run: Run, small_run: Path, tmp_path: Path) -> None:
    done = run("export", small_run, "--out", tmp_path / "a", "--json")
    assert "io" not in json.loads(done.out)
    assert "uint8" not in run("export", small_run, "--out", tmp_path / "b").out
    assert not list(tmp_path.glob("*/*uint8*"))
    assert "uint8" not in run("inspect", tmp_path / "a").out
    assert "uint8" not in run("verify", tmp_path / "a", "--provider", "cpu").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--io", "rgb"], "io='rgb' is unknown; choose one of float32, uint8."),
        (["--io", "uint8", "--layout", "hwc"], "layout='hwc' is unknown; choose one of nhwc, nchw."),
        (
            ["--layout", "nhwc"],
            "layout='nhwc' says how uint8 pixels lie, but io is 'float32'; add io='uint8' (--io uint8)",
        ),
        (["--target", "triton", "--io", "uint8"], "--target triton serves float32 items, but --io uint8 was asked for"),
    ],
)
def test_what_has_no_meaning_is_one_red_line(
    run: Run, small_run: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run("export", small_run, "--out", tmp_path / "bundle", *arguments)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_table_has_no_pixels(run: Run, table_run: Path, tmp_path: Path) -> None:
    done = run("export", table_run, "--out", tmp_path / "bundle", "--io", "uint8")
    assert done.code == 1
    assert done.err == "error: io='uint8' is for grey or colour images, but an item is D 3; leave it out.\n"
    assert list(tmp_path.iterdir()) == []


def test_verify_replays_every_pair_with_its_own_golden_pixels(
    run: Run, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("verify", exported, "--provider", "cpu", "--threads", "1", "--json")
    assert done.code == 0
    lines = {line["what"]: line for line in json.loads(done.out)["deviations"]}
    assert len(lines) == len(json.loads(done.out)["deviations"])
    for whose in ("uint8", "fp16 uint8"):
        assert lines[f"{whose}: decode, batch 7, grey levels"]["measured"] <= 1
        assert lines[f"{whose}: encode mean, batch 64"]["passed"]
        assert lines[f"{whose}: decode, from the plain graphs, grey levels"]["tolerance"] == 1
        assert 0.01 <= lines[f"{whose}: decode, share of pixels that differ"]["tolerance"] < 0.02
        assert f"{whose}: noise" not in lines
    assert "decode, batch 7" in lines
    only = run("verify", exported, "--provider", "cpu", "--precision", "fp16", "--json")
    what = [line["what"] for line in json.loads(only.out)["deviations"]]
    assert {line.partition(":")[0] for line in what[2:]} == {"fp16", "fp16 uint8"}
    monkeypatch.setenv("COLUMNS", "40")
    shown = run("verify", exported, "--provider", "cpu").out.splitlines()
    assert "all" in shown[-1]
    assert all(line.split()[-1] == "ok" for line in shown[1:-1])  # on a pipe a line each, however long its name
    assert "precision='int8' is not in the bundle" in run("verify", exported, "--precision", "int8").err


def test_verify_fails_where_an_app_ready_graph_gives_other_pixels(run: Run, exported: Path, tmp_path: Path) -> None:
    import hashlib
    import shutil

    import onnx
    from onnx import helper

    folder = Path(shutil.copytree(exported, tmp_path / "bundle"))
    model = onnx.load(folder / "decoder.uint8.onnx")
    scale = next(node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == scale)
    tensor.CopyFrom(helper.make_tensor(scale, onnx.TensorProto.FLOAT, [], [1 / 240]))
    content = model.SerializeToString()
    old = hashlib.sha256((folder / "decoder.uint8.onnx").read_bytes()).hexdigest()
    size = (folder / "decoder.uint8.onnx").stat().st_size
    (folder / "decoder.uint8.onnx").write_bytes(content)
    text = (folder / "manifest.json").read_text()
    before = hashlib.sha256(text.encode()).hexdigest()
    new = hashlib.sha256(content).hexdigest()
    assert size == len(content)
    text = text.replace(old, new)
    (folder / "manifest.json").write_text(text)
    sums = (folder / "SHA256SUMS").read_text().replace(old, new)
    (folder / "SHA256SUMS").write_text(sums.replace(before, hashlib.sha256(text.encode()).hexdigest()))
    done = run("verify", folder, "--provider", "cpu", "--json")
    assert done.code == 1
    wrong = {line["what"] for line in json.loads(done.out)["deviations"] if not line["passed"]}
    assert "uint8: decode, from the plain graphs, grey levels" in wrong
    assert {what.partition(":")[0] for what in wrong} == {"uint8"}
    assert "too far" in run("verify", folder, "--provider", "cpu").out


def test_inspect_names_the_files_the_layout_and_the_difference(run: Run, exported: Path) -> None:
    pixels = Bundle.open(exported).manifest.pixels
    assert pixels is not None
    out = run("inspect", exported).out
    flat = " ".join(out.split())
    assert 'nhwc 28 x 28 x 1; vaekit.load(..., io="uint8")' in flat
    for name, pair in pixels.precisions.items():
        assert f"{pair.encoder.file.file} ({pair.encoder.file.bytes:,} bytes)" in flat
        assert f"uint8 {name} against {name} {pair.differing:,} of {pair.compared:,} pixel values differ" in flat
    stated = json.loads(run("inspect", exported, "--json").out)
    assert stated["io"]["uint8"] == pixels.to_json()


def test_the_other_commands_take_the_float32_graphs_of_such_a_bundle(run: Run, exported: Path, tmp_path: Path) -> None:
    done = run("sample", exported, "--count", 2, "--provider", "cpu", "--out", tmp_path / "a.npz")
    assert done.code == 0
    x = vaekit.load(exported, provider="cpu", threads=1).sample(2)
    np.testing.assert_allclose(np.load(tmp_path / "a.npz")["x"], x, atol=1e-6)
    assert run("pack", exported, "--out", tmp_path / "a.vaekit").code == 0
    assert run("verify", tmp_path / "a.vaekit", "--provider", "cpu").code == 0
