"""`vaekit export --precision …` and the commands that open a precision: what they print, and how they end."""

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

NAMES = ["fp32", "fp16", "int8", "int8-dynamic"]


@pytest.fixture
def screen_columns() -> int:
    return 100


@pytest.fixture(scope="module")
def variants(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with every precision, made by the library."""
    from vaekit.exporting import Gate, export_bundle
    from vaekit.training import Checkpoint

    return export_bundle(
        Checkpoint.latest(small_run),
        tmp_path_factory.mktemp("exports") / "small",
        precisions=NAMES,
        gate=Gate(0.05, min_gain=1.0),
        calibration_items=32,
        ort_format=True,
    ).path


QUICK = ("--calibration-items", 32, "--min-gain", 1)


def rows(out: str) -> dict[str, list[str]]:
    """The table's rows by what stands at their beginning."""
    found = {}
    for line in out.splitlines():
        cells = [cell for cell in line.split("  ") if cell.strip()]
        if len(cells) > 1 and not line.startswith(" "):
            found[cells[0].strip()] = [cell.strip() for cell in cells[1:]]
    return found


def test_the_table_states_what_the_manifest_states(run: Run, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    done = run("export", small_run, "--out", out, "--precision", "fp32, int8,fp16", "--max-delta-elbo", "5%", *QUICK)
    assert (done.code, done.err) == (0, "")
    manifest = Bundle.open(out).manifest
    infos = list(manifest.precisions.values())
    assert list(manifest.precisions) == ["fp32", "fp16", "int8"]
    table = rows(done.out)
    assert table["bytes"] == [f"{info.bytes:,}" for info in infos]
    assert table["smaller than fp32"] == [f"{infos[0].bytes / info.bytes:.2f}x" for info in infos]
    for what in ("encoder", "decoder", "round_trip"):
        assert table[f"largest error, {what.replace('_', ' ')}"] == [f"{info.error[what]:.1e}" for info in infos[1:]]
        assert table[f"mean error, {what.replace('_', ' ')}"] == [f"{info.mean_error[what]:.1e}" for info in infos[1:]]
    assert table["Delta ELBO, nats"] == [f"{info.delta_elbo:+.3f}" for info in infos[1:]]
    for half in ("encoder", "decoder"):
        for batch in ("1", "64", "1024"):
            assert table[f"{half}/s, batch {batch}"] == [f"{info.rates[half][batch]:,.0f}" for info in infos]
    assert table["gate"] == ["passed", "passed"]
    machine = infos[0].measured_on
    lines = done.out.splitlines()
    assert f"rates: 1 thread of {machine['processor']}, ONNX Runtime {machine['onnxruntime']}" in lines
    assert lines[-1] == f"wrote {out}"
    assert "\x1b" not in done.out


def test_a_refused_precision_is_left_out_and_the_exit_code_is_1(run: Run, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    done = run("export", small_run, "--out", out, "--precision", "fp16", "--min-gain", 40)
    assert done.code == 1
    assert rows(done.out)["gate"] == ["refused"]
    assert "fp16 refused: it is 1.9" in done.out
    assert f"wrote {out}" in done.out
    assert done.err == (
        f"error: fp16 did not pass the gate; {out} has fp32. Change the limits (--max-delta-elbo, --min-gain), ship it "
        "marked with --force, or take what passes with --precision auto.\n"
    )
    assert list(Bundle.open(out).manifest.precisions) == ["fp32"]


def test_auto_takes_what_passes_and_ends_well(run: Run, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    done = run("export", small_run, "--out", out, "--precision", "auto", "--calibration-items", 32, "--min-gain", 40)
    assert (done.code, done.err) == (0, "")
    assert rows(done.out)["gate"] == ["refused", "refused"]
    assert list(Bundle.open(out).manifest.precisions) == ["fp32"]


def test_force_ships_it_marked_and_replaces_where_overwrite_only_replaces(
    run: Run, small_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    arguments = ("export", small_run, "--out", out, "--precision", "fp16", "--min-gain", 40)
    assert run(*arguments, "--force").code == 0
    gate = Bundle.open(out).manifest.precisions["fp16"].gate
    assert gate is not None
    assert gate.result == "forced"
    done = run(*arguments)
    assert (done.code, "exists already" in done.err) == (1, True)
    done = run(*arguments, "--overwrite")
    assert (done.code, "did not pass the gate" in done.err) == (1, True)
    assert list(Bundle.open(out).manifest.precisions) == ["fp32"]
    done = run(*arguments, "--force")
    assert done.code == 0
    assert rows(done.out)["gate"] == ["forced"]
    assert "fp16 forced: it is 1.9" in done.out


def test_json_has_every_precision_with_its_verdict(run: Run, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    done = run("export", small_run, "--out", out, "--precision", "fp16", "--min-gain", 40, "--json", "--ort-format")
    result = json.loads(done.out)
    assert done.code == 1
    assert list(result["precisions"]) == ["fp32", "fp16"]
    refused = result["precisions"]["fp16"]
    assert (refused["shipped"], len(refused["reasons"])) == (False, 1)
    assert set(refused["rates"]["decoder"]) == {"1", "64", "1024"}
    assert result["encoder"]["ort"]["file"] == "encoder.ort"
    assert result["error"] == Bundle.open(out).manifest.precisions["fp32"].error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "int4"], "precision='int4' is unknown; choose of fp32, fp16, int8, int8-dynamic, auto."),
        (["--precision", ""], "precision='' is unknown"),
        (["--max-delta-elbo", "0.5"], "--max-delta-elbo 0.5: give a part of fp32's negative ELBO, as 0.5%"),
        (["--min-gain", "0.5"], "--min-gain 0.5: give a factor of 1 or more"),
        (["--precision", "int8", "--calibration-items", "31"], "calibration_items=31: fewer than 32 items say little"),
    ],
)
def test_bad_options_are_one_red_line_and_leave_nothing(
    run: Run, small_run: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run("export", small_run, "--out", tmp_path / "bundle", *arguments)
    assert done.code == 1
    assert done.err.startswith(f"error: {message}")
    assert len(done.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# Commands that open a precision.


def test_verify_replays_every_precision_in_every_format(run: Run, variants: Path) -> None:
    done = run("verify", variants, "--json", "--threads", 1)
    result = json.loads(done.out)
    assert (done.code, result["passed"]) == (0, True)
    what = [deviation["what"] for deviation in result["deviations"]]
    assert len(set(what)) == len(what)
    assert what[:2] == ["noise", "reparameterise"]
    lines = {name: sum(line.startswith(f"{name}: ") for line in what) for name in (*NAMES[1:], "ort", "int8 ort")}
    assert lines == {"fp16": 21, "int8": 21, "int8-dynamic": 21, "ort": 16, "int8 ort": 21}
    assert len(what) == 2 + 2 * (16 + 3 * 21)
    assert "int8: negative ELBO, nats" in what


def test_verify_of_one_precision_leaves_the_others_out(run: Run, variants: Path) -> None:
    done = run("verify", variants, "--precision", "int8", "--threads", 1)
    assert done.code == 0
    assert done.out.splitlines()[-1] == "small on cpu: all 44 within tolerance"
    assert "fp16" not in done.out
    assert "int8 ort: decode, mean difference" in done.out


def test_verify_says_which_precision_is_too_far(run: Run, variants: Path, tmp_path: Path, rehash: Any) -> None:
    import shutil

    folder = Path(shutil.copytree(variants, tmp_path / "copy"))

    def strict(manifest: Any) -> Any:
        int8 = manifest.precisions["int8"]
        tolerance = {**int8.tolerance, "mean_decoder": 0.0}
        return manifest.replace(precisions={**manifest.precisions, "int8": int8.replace(tolerance=tolerance)})

    rehash(folder, strict)
    done = run("verify", folder, "--threads", 1)
    assert done.code == 1
    far = [line for line in done.out.splitlines() if line.endswith("too far")]
    assert [line.split("  ")[0] for line in far[:-1]] == [
        "int8: decode, mean difference",
        "int8 ort: decode, mean difference",
    ]
    assert far[-1] == "small on cpu: 2 of 160 too far"


@pytest.mark.parametrize("precision", NAMES)
def test_sample_and_reconstruct_and_morph_run_the_precision_that_was_asked_for(
    run: Run, variants: Path, tmp_path: Path, precision: str
) -> None:
    vae = vaekit.load(variants, provider="cpu", threads=1, precision=precision)
    options = ("--precision", precision, "--threads", 1)
    golden = vae.bundle.golden().x
    for command, arguments, name, expected in (
        ("sample", ("-n", 5), "x", vae.sample(5)),
        ("reconstruct", ("-n", 6), "x_hat", vae.reconstruct(golden[:6])),
        ("morph", ("--from", "@0", "--to", "@1", "--steps", 4), "x", vae.morph(golden[0], golden[1], steps=4)),
    ):
        out = tmp_path / f"{command}.npz"
        assert run(command, variants, *arguments, *options, "--out", out).code == 0
        with np.load(out) as arrays:
            np.testing.assert_array_equal(arrays[name], expected)
        if precision != "fp32":
            fp32 = vaekit.load(variants, provider="cpu", threads=1)
            assert np.abs(fp32.sample(5) - vae.sample(5)).max() > 1e-6  # the control: they do differ


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_encode_and_decode_run_the_precision_that_was_asked_for(
    run: Run, variants: Path, small_data_folder: Path, tmp_path: Path, precision: str
) -> None:
    vae = vaekit.load(variants, provider="cpu", threads=1, precision=precision)
    codes, items = tmp_path / "codes.npz", tmp_path / "items.npy"
    options = ("--precision", precision, "--threads", 1)
    done = run("encode", variants, "--data", small_data_folder, "--split", "test", "--out", codes, *options)
    assert done.code == 0
    assert run("decode", variants, "--codes", codes, "--out", items, *options).code == 0
    x = vaekit.datasets.load_dataset(small_data_folder).test.pixels(slice(None))
    with np.load(codes) as arrays:
        np.testing.assert_array_equal(arrays["mean"], vae.encode(x).mean)
        np.testing.assert_array_equal(np.load(items), vae.decode(arrays["mean"]))


@pytest.mark.parametrize("command", ["sample", "reconstruct", "morph", "verify"])
def test_a_precision_that_is_not_in_the_bundle_is_one_red_line(run: Run, small_bundle: Path, command: str) -> None:
    done = run(command, small_bundle, "--precision", "int8")
    assert done.code == 1
    assert done.err == "error: precision='int8' is not in the bundle 'small', which has fp32.\n"
    assert done.out == ""


def test_encode_and_decode_refuse_it_too(run: Run, small_bundle: Path, small_data_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    np.save(tmp_path / "z.npy", np.zeros((3, 5), np.float32))
    for arguments in (("encode", "--data", small_data_folder), ("decode", "--codes", tmp_path / "z.npy")):
        done = run(arguments[0], small_bundle, *arguments[1:], "--precision", "int8", "--out", out)
        assert (done.code, done.err) == (1, "error: precision='int8' is not in the bundle 'small', which has fp32.\n")
        assert not out.exists()


def test_inspect_shows_each_precision(run: Run, variants: Path) -> None:
    done = run("inspect", variants)
    assert done.code == 0
    text, manifest = " ".join(done.out.split()), Bundle.open(variants).manifest
    for name in NAMES[1:]:
        info = manifest.precisions[name]
        assert f"{name} Delta ELBO {info.delta_elbo:+.3f} nats" in text
        assert f"{name} gate passed (at most" in text
        assert f"{info.rates['decoder']['64']:,.0f} at batch 64" in text
        assert f"{name} against fp32 largest difference: encoder {info.error['encoder']:.1e}" in text
        assert f"encoder.{name}.ort, decoder.{name}.ort" in text
    assert "fp32 against torch" in text
    assert "on 32 training items and 64 codes" in text
    assert "int8-dynamic batch an item's numbers depend on the rest of its batch" in text
    assert json.loads(run("inspect", variants, "--json").out) == manifest.to_json()


def test_target_triton_serves_the_graphs_that_the_bundle_would_have(run: Run, small_run: Path, tmp_path: Path) -> None:
    assert run("export", small_run, "--out", tmp_path / "small").code == 0
    done = run("export", small_run, "--out", tmp_path / "served", "--name", "small", "--target", "triton")
    assert (done.code, done.err) == (0, "")
    for half in ("encoder", "decoder"):
        model = tmp_path / "served/models" / f"small_{half}" / "1/model.onnx"
        assert model.read_bytes() == (tmp_path / "small" / f"{half}.onnx").read_bytes()


def test_target_triton_takes_one_precision_and_no_place_that_is_taken(
    run: Run, small_run: Path, tmp_path: Path
) -> None:
    triton = ("export", small_run, "--target", "triton", "--out")
    done = run(*triton, tmp_path / "served", "--precision", "fp16,int8")
    assert done.code == 1
    assert "--target triton serves one precision, but --precision fp16,int8; name one." in done.err
    done = run(*triton, tmp_path)
    assert done.code == 1
    assert f"{tmp_path} exists already; choose another path, or pass --overwrite to replace it." in done.err


def test_target_triton_writes_nothing_where_the_gate_refuses(run: Run, small_run: Path, tmp_path: Path) -> None:
    strict = ("--precision", "int8", "--max-delta-elbo", "0nats", "--min-gain", 1000, "--calibration-items", 32)
    done = run("export", small_run, "--out", tmp_path / "served", "--target", "triton", *strict)
    assert done.code == 1
    assert "int8 did not pass the gate; nothing was written." in done.err
    assert list(tmp_path.iterdir()) == []
