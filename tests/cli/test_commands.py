"""Every command on a small bundle: what it prints, what it writes, compared with the library, Pillow and the manifest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from PIL import Image
from typer.main import get_command

import vaekit
import vaekit.cli
from vaekit.cli.pictures import RAMP
from vaekit.datasets import load_dataset
from vaekit.manifest import Manifest

COMMANDS = [
    *("train", "export", "verify", "inspect", "sample", "reconstruct", "morph", "doctor"),
    *("data", "encode", "decode", "pack", "unpack", "traverse"),
]
ESCAPE = "\x1b"


Run = Callable[..., Any]


@pytest.fixture
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


def sheet(items: np.ndarray, columns: int) -> np.ndarray:
    """Lay images out as the README says of --out: row by row, two white pixels between; written anew, pixel by pixel."""
    count, _, height, width = items.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    page = np.full((rows * (height + 2) - 2, columns * (width + 2) - 2), 255, np.uint8)
    for i in range(count):
        top, left = i // columns * (height + 2), i % columns * (width + 2)
        page[top : top + height, left : left + width] = np.rint(items[i, 0].astype(np.float64) * 255)
    return page


def picture_lines(out: str) -> list[str]:
    """The lines that are made of the shade ramp alone."""
    return [line for line in out.splitlines() if line and set(line) <= set(RAMP)]


# sample


def test_sample_prints_its_images_and_nothing_else(run: Run, small_bundle: Path) -> None:
    done = run("sample", small_bundle, "-n", "4")
    assert (done.code, done.err) == (0, "")
    assert len(picture_lines(done.out)) == 9, "four images, scaled to a quarter of the width: 18 x 18 pixels"
    assert set(done.out) <= set(RAMP) | {"\n"}


def test_sample_draws_what_vae_sample_gives(run: Run, vae: vaekit.VAE, small_bundle: Path) -> None:
    lines = run("sample", small_bundle, "-n", "1", "--seed", "3").out.splitlines()
    pixels = np.rint(vae.sample(1, seed=3)[0, 0].astype(np.float64) * 255)
    shades = np.rint((pixels[0::2] + pixels[1::2]) / 2 / 255 * 9).astype(int)
    assert lines == ["".join(" .:-=+*#%@"[shade] for shade in row).rstrip() for row in shades]


def test_sample_without_arguments_draws_16_items_of_the_builtin_model(
    run: Run, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.bundle._builtin_folder", lambda: str(small_bundle))
    assert run("sample").out == run("sample", small_bundle, "-n", 16, "--seed", 0).out != ""


def test_sample_png_has_the_pixels_of_vae_sample(run: Run, vae: vaekit.VAE, small_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "samples.png"
    done = run("sample", small_bundle, "-n", 10, "--seed", 5, "--out", out)
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"wrote {out}"
    with Image.open(out) as image:
        assert image.format == "PNG"
        assert image.size == (8 * 28 + 7 * 2, 2 * 28 + 2)
        np.testing.assert_array_equal(np.asarray(image), sheet(vae.sample(10, seed=5), 8))


def test_sample_npz_holds_the_codes_and_the_items(
    run: Run, vae: vaekit.VAE, small_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "samples.NPZ"  # endings are read in any case
    assert run("sample", small_bundle, "-n", 300, "--seed", 5, "--out", out).code == 0
    with np.load(out, allow_pickle=False) as arrays:
        assert set(arrays) == {"z", "x"}
        np.testing.assert_array_equal(arrays["z"], vaekit.noise(seed=5, count=300, dim=5))
        np.testing.assert_allclose(arrays["x"], vae.sample(300, seed=5), atol=1e-6)


def test_sample_seed_changes_the_picture_and_the_same_seed_does_not(run: Run, small_bundle: Path) -> None:
    first, again, other = (run("sample", small_bundle, "--seed", seed).out for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, None, 1), (5, 2, 3), (6, 1, 6)])
def test_sample_count_and_columns_decide_the_rows(
    run: Run, small_bundle: Path, count: int, columns: int | None, rows: int
) -> None:
    arguments = [] if columns is None else ["--columns", columns]
    lines = run("sample", small_bundle, "-n", count, *arguments).out.splitlines()
    assert len(lines) == rows * 14 + rows - 1


def test_sample_of_a_model_without_images_prints_numbers_and_writes_arrays(
    run: Run, gaussian_bundle: Path, tmp_path: Path
) -> None:
    done = run("sample", gaussian_bundle, "-n", 3, "--seed", 2, "--out", tmp_path / "x.npz")
    assert done.code == 0
    items = vaekit.load(gaussian_bundle, provider="cpu", threads=1).sample(3, seed=2)
    rows = [line.split(": ") for line in done.out.splitlines()[:3]]
    assert [name for name, _ in rows] == ["0", "1", "2"]
    shown = np.array([[float(value) for value in values.split()] for _, values in rows])
    np.testing.assert_allclose(shown, items, rtol=1e-5, atol=1e-6)  # six digits, as pascals need
    with np.load(tmp_path / "x.npz") as arrays:
        np.testing.assert_allclose(arrays["x"], items, atol=1e-6)


def test_force_replaces_a_file(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    out.write_text("old")
    assert run("sample", small_bundle, "--out", out, "--force").code == 0
    with Image.open(out) as image:
        image.verify()


# reconstruct


def test_reconstruct_shows_golden_items_with_their_scores(run: Run, vae: vaekit.VAE, small_bundle: Path) -> None:
    done = run("reconstruct", small_bundle, "-n", 3)
    assert (done.code, done.err) == (0, "")
    scores = vae.score(vae.bundle.golden().x[:3])
    shown = re.findall(r"\d+\.\d", " ".join(line for line in done.out.splitlines() if re.search(r"\d", line)))
    assert shown == [f"{score:.1f}" for score in scores]


def test_reconstruct_writes_originals_above_reconstructions(
    run: Run, vae: vaekit.VAE, small_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.png"
    assert run("reconstruct", small_bundle, "-n", 10, "--out", out).code == 0
    x = vae.bundle.golden().x[:10]
    with Image.open(out) as image:
        assert image.size == (10 * 30 - 2, 58)
        np.testing.assert_array_equal(np.asarray(image), sheet(np.concatenate([x, vae.reconstruct(x)]), 10))


def test_reconstruct_of_data_takes_its_test_items(
    run: Run, vae: vaekit.VAE, small_bundle: Path, small_data_folder: Path, small_dataset: Any, tmp_path: Path
) -> None:
    out = tmp_path / "r.npz"
    assert run("reconstruct", small_bundle, "--data", small_data_folder, "-n", 80, "--out", out).code == 0
    x = small_dataset.test.items[:80] / np.float32(255)
    with np.load(out) as arrays:
        assert set(arrays) == {"x", "x_hat", "negative_elbo"}
        np.testing.assert_array_equal(arrays["x"], x)
        np.testing.assert_allclose(arrays["x_hat"], vae.reconstruct(x), atol=1e-6)
        np.testing.assert_allclose(arrays["negative_elbo"], vae.score(x), rtol=1e-6)


def test_reconstruct_with_a_seed_decodes_a_sample_of_the_posterior(
    run: Run, vae: vaekit.VAE, small_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.npz"
    assert run("reconstruct", small_bundle, "--seed", 4, "--out", out).code == 0
    posterior = vae.encode(vae.bundle.golden().x[:8])
    z = vaekit.reparameterise(posterior.mean, posterior.log_var, seed=4)
    with np.load(out) as arrays:
        np.testing.assert_allclose(arrays["x_hat"], vae.decode(z), atol=1e-6)
        assert np.abs(arrays["x_hat"] - vae.decode(posterior.mean)).max() > 1e-3
        np.testing.assert_allclose(arrays["negative_elbo"], vae.score(arrays["x"], seed=4), rtol=1e-6)
        assert np.abs(arrays["negative_elbo"] - vae.score(arrays["x"])).max() > 0.1


def test_reconstruct_takes_image_files(
    run: Run, vae: vaekit.VAE, small_bundle: Path, small_dataset: Any, tmp_path: Path
) -> None:
    files = []
    for index in (7, 4):
        files += ["--image", tmp_path / f"{index}.png"]
        Image.fromarray(small_dataset.test.items[index, 0]).save(files[-1])
    out = tmp_path / "r.npz"
    assert run("reconstruct", small_bundle, *files, "--out", out).code == 0
    with np.load(out) as arrays:
        np.testing.assert_allclose(arrays["x"], small_dataset.test.items[[7, 4]] / 255, atol=1e-7)
        np.testing.assert_allclose(arrays["x_hat"], vae.reconstruct(arrays["x"]), atol=1e-6)


def test_reconstruct_of_a_model_without_images_prints_pairs_of_numbers(run: Run, gaussian_bundle: Path) -> None:
    done = run("reconstruct", gaussian_bundle, "-n", 2)
    assert done.code == 0
    vae = vaekit.load(gaussian_bundle, provider="cpu", threads=1)
    x = vae.bundle.golden().x[:2]
    lines = [line.split(": ") for line in done.out.splitlines()]
    assert [name for name, _ in lines] == [f"{score:.1f}" for score in vae.score(x) for _ in range(2)]
    shown = np.array([[float(value) for value in values.split()] for _, values in lines])
    np.testing.assert_allclose(shown[0::2], x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shown[1::2], vae.reconstruct(x), rtol=1e-5, atol=1e-6)


def test_long_items_are_cut_after_eight_numbers(run: Run, small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaekit.DataSpec, "is_image", property(lambda _: False))
    line = run("sample", small_bundle, "-n", 1).out.splitlines()[0]
    assert line.startswith("0: ")
    assert line.endswith(" …")
    assert len(line.split()) == 10


# morph


@pytest.mark.parametrize(("first", "last", "rows"), [("3", "8", (3, 8)), ("@17", "@2", (17, 2)), ("0", "@63", (0, 63))])
def test_morph_by_label_and_index_is_vae_morph(
    run: Run, vae: vaekit.VAE, small_bundle: Path, tmp_path: Path, first: str, last: str, rows: tuple[int, int]
) -> None:
    # The first ten golden items have the labels 0 to 9.
    out = tmp_path / "m.npz"
    done = run("morph", small_bundle, "--from", first, "--to", last, "--steps", 5, "--out", out)
    assert (done.code, done.err) == (0, "")
    a, b = (vae.bundle.golden().x[row][None] for row in rows)
    means = vae.encode(np.concatenate([a, b])).mean.astype(np.float64)
    t = np.linspace(0, 1, 5)[:, None]
    z = ((1 - t) * means[0] + t * means[1]).astype(np.float32)
    with np.load(out) as arrays:
        assert set(arrays) == {"a", "b", "x"}
        np.testing.assert_array_equal(arrays["a"], a)
        np.testing.assert_array_equal(arrays["b"], b)
        np.testing.assert_allclose(arrays["x"], vae.decode(z), atol=1e-5)


def test_morph_between_files_writes_one_row_of_steps(
    run: Run, vae: vaekit.VAE, small_bundle: Path, small_dataset: Any, tmp_path: Path
) -> None:
    ends = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, index in zip(ends, (31, 42), strict=True):
        Image.fromarray(small_dataset.test.items[index, 0]).save(path)
    out = tmp_path / "m.png"
    assert run("morph", small_bundle, "--from", ends[0], "--to", ends[1], "--steps", 11, "--out", out).code == 0
    x = small_dataset.test.items / np.float32(255)
    with Image.open(out) as image:
        assert image.size == (11 * 30 - 2, 28)
        np.testing.assert_allclose(
            np.asarray(image).astype(int), sheet(vae.morph(x[31], x[42], steps=11), 11).astype(int), atol=1
        )


def test_morph_takes_another_path_and_other_data(
    run: Run, vae: vaekit.VAE, small_bundle: Path, small_data_folder: Path, small_dataset: Any, tmp_path: Path
) -> None:
    out = tmp_path / "m.npz"
    arguments = ["--data", small_data_folder, "--from", "@299", "--to", "@150", "--path", "spherical", "--out", out]
    assert run("morph", small_bundle, *arguments).code == 0
    x = small_dataset.test.items / np.float32(255)
    with np.load(out) as arrays:
        spherical = vae.morph(x[299], x[150], steps=8, path="spherical")
        np.testing.assert_allclose(arrays["x"], spherical, atol=1e-6)
        assert np.abs(spherical - vae.morph(x[299], x[150], steps=8)).max() > 1e-3


def test_a_label_of_named_classes_is_a_name_else_a_number(
    run: Run, small_bundle: Path, small_dataset: Any, tmp_path: Path
) -> None:
    for kind, first in (("boat", 0), ("tree", 40)):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for row in range(first, first + 10):
            Image.fromarray(small_dataset.test.items[row, 0]).save(tmp_path / "photos" / kind / f"{row}.png")
    data = load_dataset(tmp_path / "photos").test
    assert data.labels is not None
    (label,) = np.unique(data.labels)[-1:]
    wanted = data.pixels(slice(None))[int(np.argmax(data.labels == label))][None]
    for which in (("boat", "tree")[label], str(label)):
        out = tmp_path / f"{which}.npz"
        done = run("morph", small_bundle, "--data", tmp_path / "photos", "--from", which, "--to", "@0", "--out", out)
        assert (done.code, done.err) == (0, "")
        with np.load(out) as arrays:
            np.testing.assert_array_equal(arrays["a"], wanted)
        out = tmp_path / f"{which}-t.npz"
        done = run("traverse", small_bundle, "--data", tmp_path / "photos", "--from", which, "--out", out)
        assert (done.code, done.err) == (0, "")
        with np.load(out) as arrays:
            code = vaekit.load(small_bundle, provider="cpu").encode(wanted).mean
            np.testing.assert_allclose(arrays["z"], code, atol=1e-6)


# verify


def test_verify_prints_each_deviation_beside_its_tolerance(run: Run, small_bundle: Path) -> None:
    done = run("verify", small_bundle, "--threads", 1)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].split() == ["compared", "deviation", "tolerance"]
    compared = {re.split(r"\s{2,}", line)[0] for line in lines[1:-1]}
    batches = ("1", "2", "7", "64")
    assert compared == {"noise", "reparameterise"} | {
        f"{what}, batch {batch}"
        for what in ("encode mean", "encode log_var", "decode", "round trip")
        for batch in batches
    }
    assert all(line.split()[-1] == "ok" for line in lines[1:-1])
    assert lines[-1] == "small on cpu: all 18 within tolerance"


def test_verify_json_is_what_verify_bundle_measures(run: Run, vae: vaekit.VAE, small_bundle: Path) -> None:
    done = run("verify", small_bundle, "--threads", 1, "--json")
    result = json.loads(done.out)
    assert (done.code, result["passed"], result["bundle"], result["provider"]) == (0, True, "small", "cpu")
    wanted = [
        {"what": d.what, "measured": d.measured, "tolerance": d.tolerance, "passed": True}
        for d in vaekit.verify_bundle(vae.bundle, vae)
    ]
    assert result["deviations"] == wanted


def shifted(content: bytes, by: float) -> bytes:
    """Return a decoder whose last bias is larger."""
    model = onnx.load_from_string(content)
    bias = [tensor for tensor in model.graph.initializer if list(tensor.dims) == [784]][-1]
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(by), bias.name))
    return model.SerializeToString()


@pytest.fixture
def changed_bundle(bundle_copy: Path, replace_graph: Any) -> Callable[[float], Path]:
    """Return a function that makes a bundle with another decoder, whose hashes are all in order."""

    def change(by: float) -> Path:
        replace_graph(bundle_copy, "decoder", shifted((bundle_copy / "decoder.onnx").read_bytes(), by))
        return bundle_copy

    return change


def test_verify_of_a_changed_decoder_says_which_and_exits_with_1(
    run: Run, changed_bundle: Callable[[float], Path]
) -> None:
    done = run("verify", changed_bundle(0.01))
    assert done.code == 1
    for line in done.out.splitlines()[1:-1]:
        decoded = line.startswith(("decode", "round trip"))
        assert line.rstrip().endswith("too far" if decoded else "ok"), line
    assert done.out.splitlines()[-1].endswith("8 of 18 too far")
    result = run("verify", changed_bundle(0.0), "--json")  # the same change stays
    assert result.code == 1
    assert json.loads(result.out)["passed"] is False


def test_verify_json_of_nan_is_still_json(run: Run, changed_bundle: Callable[[float], Path]) -> None:
    done = run("verify", changed_bundle(float("nan")), "--json")
    assert done.code == 1

    def no_constant(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    deviations = {d["what"]: d for d in json.loads(done.out, parse_constant=no_constant)["deviations"]}
    assert deviations["decode, batch 1"]["measured"] is None
    assert deviations["decode, batch 1"]["passed"] is False
    assert deviations["noise"]["measured"] == 0


# inspect


@pytest.mark.parametrize("folder", ["small_bundle", "ae_bundle", "gaussian_bundle"])
def test_inspect_json_is_the_manifest(run: Run, request: pytest.FixtureRequest, folder: str) -> None:
    path = request.getfixturevalue(folder)
    done = run("inspect", path, "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == json.loads((path / "manifest.json").read_bytes())


@pytest.mark.parametrize("folder", ["small_bundle", "ae_bundle", "gaussian_bundle"])
def test_inspect_says_what_the_manifest_says(
    run: Run, request: pytest.FixtureRequest, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = request.getfixturevalue(folder)
    manifest = json.loads((path / "manifest.json").read_bytes())
    done = run("inspect", path)
    lines = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in done.out.splitlines())
    assert lines["name"] == manifest["name"]
    assert manifest["likelihood"]["name"] in lines["model"]
    assert {"vae": "variational", "ae": "classic"}[manifest["kind"]] in lines["model"]
    assert " x ".join(map(str, manifest["data"]["shape"])) in lines["data"]
    assert "0 to 1" in lines["data"] if manifest["data"]["range"] else "real values" in lines["data"]
    fp32, active = manifest["precisions"]["fp32"], len(manifest["latent"]["statistics"]["active"])
    assert lines["latent"].startswith(f"{manifest['latent']['shape'][0]} dimensions, {active} active over 320")
    for half in ("encoder", "decoder"):
        assert f"{half}.onnx, {fp32[half]['bytes']:,} bytes" in lines[f"fp32 {half}"]
        assert f"{half} {fp32['error'][half]:.1e}" in lines["fp32 against torch"]
    assert lines["fp32 ONNX"] == "opset 18, IR version 8"
    assert lines["fp32 quality"].startswith(f"{fp32['quality']['negative_elbo']:.2f} nats = ")
    scores = manifest["scores"]
    stated = f"mean {scores['mean']:g}, deviation {scores['std']:g} nats at z = mean, over {scores['items']} test items"
    assert lines["scores"] == stated
    assert lines["score quantiles"] == ", ".join(f"{q}: {nats:g}" for q, nats in scores["quantiles"].items())
    assert lines["anomaly threshold"].startswith(f"{scores['quantiles']['0.99']:g} nats, which 99% of ")
    assert lines["golden vectors"] == "64 items, seed 0"
    assert lines["made from"] == f"{manifest['made_by']['data']['name']}, 320 training items"
    assert f"torch {manifest['made_by']['versions']['torch']}" in lines["made with"]


@pytest.mark.parametrize("screen_columns", [20])
def test_inspect_on_a_narrow_screen_leaves_no_digit_out_and_on_a_pipe_breaks_no_line(
    run: Run, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("inspect", small_bundle)
    assert done.code == 0
    lines = done.out.splitlines()
    assert max(map(len, lines)) > 100
    assert all(line == line.rstrip() and not line.startswith(" ") for line in lines)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    narrow = re.sub(r"\x1b\[[\d;]*m", "", run("inspect", small_bundle).out)
    assert max(map(len, narrow.splitlines())) <= 20
    assert "…" not in narrow


def test_inspect_names_no_threshold_that_the_manifest_has_not(
    run: Run, bundle_copy: Path, rehash: Callable[..., None]
) -> None:
    def few(manifest: Manifest) -> Manifest:
        assert manifest.scores is not None
        return manifest.replace(scores=manifest.scores.replace(items=3, quantiles={0.5: 100.0}))

    rehash(bundle_copy, few)
    out = run("inspect", bundle_copy).out
    assert "score quantiles" in out
    assert "0.5: 100" in out
    assert "anomaly threshold" not in out
    rehash(bundle_copy, lambda manifest: manifest.replace(scores=None))
    done = run("inspect", bundle_copy)
    assert done.code == 0
    assert "score" not in done.out


@pytest.mark.parametrize(("epochs", "said"), [(1, "1 epoch, batch 9,"), (2, "2 epochs, batch 9,")])
def test_inspect_says_one_epoch_and_two_epochs(
    run: Run, bundle_copy: Path, rehash: Callable[..., None], epochs: int, said: str
) -> None:
    config = {"epochs": epochs, "batch_size": 9, "learning_rate": 1, "schedule": "constant", "beta": 1}
    made = {"config": {**config, "precision": "fp32", "seed": 0}}
    rehash(bundle_copy, lambda manifest: manifest.replace(made_by=made))
    assert re.search(f"^trained +{said}", run("inspect", bundle_copy).out, re.MULTILINE)


def test_inspect_shows_names_as_they_are(
    run: Run, bundle_copy: Path, rehash: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rehash(bundle_copy, lambda manifest: manifest.replace(name="[/b] [red]x[/red] \x1b[2J\nend"))
    done = run("inspect", bundle_copy)
    assert done.code == 0
    assert done.out.splitlines()[0].split(maxsplit=1)[1].rstrip() == "[/b] [red]x[/red]  [2J end"
    assert run("verify", bundle_copy).out.splitlines()[-1].startswith("[/b] [red]x[/red]  [2J end on cpu")


@pytest.mark.parametrize(
    "made_by", [{}, {"data": "mnist"}, {"config": {"epochs": 3}}, {"versions": ["a"]}, {"data": {"name": 1}}]
)
def test_inspect_takes_whatever_another_program_says_of_itself(
    run: Run, bundle_copy: Path, rehash: Callable[..., None], made_by: dict[str, Any]
) -> None:
    def change(manifest: Manifest) -> Manifest:
        fp32 = manifest.precisions["fp32"].replace(quality={"fid": 3.0})
        return manifest.replace(made_by=made_by, precisions={"fp32": fp32})

    rehash(bundle_copy, change)
    done = run("inspect", bundle_copy)
    assert (done.code, done.err) == (0, "")
    assert '{"fid": 3.0}' in done.out
    for value in made_by.values():
        assert json.dumps(value) in done.out


# export


@pytest.mark.usefixtures("one_thread")
def test_export_writes_a_bundle_and_says_how_near_it_is_to_torch(run: Run, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "bundle"
    done = run("export", small_run, "--out", out, "--name", "a name", "--opset", 19)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == f"exporting {small_run}, epoch 1"
    assert done.out.splitlines()[-1] == f"wrote {out}"
    bundle = vaekit.Bundle.open(out)
    fp32 = bundle.manifest.precisions["fp32"]
    assert (bundle.manifest.name, fp32.encoder.opset) == ("a name", 19)
    for half in ("encoder", "decoder"):
        size = (out / f"{half}.onnx").stat().st_size
        assert f"{half}: {size:,} bytes, largest difference from torch {fp32.error[half]:.1e}" in done.out
    assert f"round trip: {fp32.error['round_trip']:.1e} over batches of 1, 2, 7 and 256" in done.out


@pytest.mark.usefixtures("one_thread")
def test_export_json_agrees_with_the_manifest_and_force_replaces(run: Run, small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "manifest.json").write_text("an old bundle")
    done = run("export", small_run, "--out", out, "--force", "--json")
    result = json.loads(done.out)
    assert (done.code, result.pop("bundle")) == (0, str(out))
    assert result == json.loads((out / "manifest.json").read_bytes())["precisions"]["fp32"]
    assert hashlib.sha256((out / "encoder.onnx").read_bytes()).hexdigest() == result["encoder"]["sha256"]


def test_export_refuses_a_folder_that_exists_without_force(
    run: Run, small_run: Path, bundle_copy: Path, tmp_path: Path
) -> None:
    before = (bundle_copy / "manifest.json").read_bytes()
    done = run("export", small_run, "--out", bundle_copy)
    assert done.code == 1
    wanted = f"error: {bundle_copy} exists already; choose another path, or pass --overwrite to replace it.\n"
    assert done.err == wanted
    assert (bundle_copy / "manifest.json").read_bytes() == before
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.tex").write_text("three years of work")
    done = run("export", small_run, "--out", other, "--force")
    assert done.code == 1
    assert done.err == f"error: {other} is a folder, but no bundle, so it is not replaced; choose another path.\n"
    assert (other / "chapter1.tex").read_text() == "three years of work"


@pytest.mark.usefixtures("one_thread")
def test_export_of_a_model_that_does_not_match_writes_nothing_and_exits_with_1(
    run: Run, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from vaekit.training.models import DecoderGraph

    right = DecoderGraph.forward

    def wrong(self: DecoderGraph, z: torch.Tensor) -> torch.Tensor:
        return right(self, z) * (0.5 if torch.compiler.is_exporting() else 1.0)

    monkeypatch.setattr(DecoderGraph, "forward", wrong)
    done = run("export", small_run, "--out", tmp_path / "bundle")
    assert done.code == 1
    assert re.fullmatch(
        r"error: the exported decoder differs from torch by 0\.\d+ at batch 1; the limit is 1e-05\. Nothing was written\..*\n",
        done.err,
    )
    assert list(tmp_path.iterdir()) == []


# The whole.


def test_version_is_the_packages(run: Run) -> None:
    done = run("--version")
    assert (done.code, done.out) == (0, f"vaekit {vaekit.__version__}\n")


def test_no_arguments_print_the_help(run: Run) -> None:
    done = run()
    assert done.code in (0, 2)
    assert "Traceback" not in done.err
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", done.out), command


@pytest.mark.parametrize("name", COMMANDS)
def test_help_mentions_every_option(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = run(name, "--help")
    assert (done.code, done.err) == (0, "")
    command = get_command(vaekit.cli.app).commands[name]  # type: ignore[attr-defined]
    assert command.params
    for parameter in command.params:
        for spelling in (*parameter.opts, *parameter.secondary_opts):
            if spelling.startswith("-"):
                assert re.search(rf"(?<![\w-]){spelling}\b", done.out), spelling
                assert getattr(parameter, "help", None), f"{spelling} is not explained"
    assert "[[" not in done.out, "optional twice"


@pytest.mark.parametrize("arguments", [["sample", "-n", "0"], ["nonsense"], ["sample", "--nonsense"], ["export", "x"]])
def test_wrong_usage_exits_with_2_and_no_traceback(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Usage: " in done.err
    assert "Traceback" not in done.err


def child(*arguments: object, **environment: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a process of its own, without anything that forces or forbids colour."""
    dropped = ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS", "PYTHONIOENCODING", "COLORTERM", "TERM")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    command = [sys.executable, "-m", "vaekit", *map(str, arguments)]
    return command, {**kept, "TERM": "xterm-256color", **environment}


def in_terminal(*arguments: object, **environment: str) -> str:
    """Run in a pseudo-terminal, and give what it shows."""
    command, variables = child(*arguments, **environment)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=variables, close_fds=True)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other side was closed
        while select.select([ours], [], [], 60)[0] and (part := os.read(ours, 65536)):
            shown += part
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


def test_terminal_gets_half_blocks_in_colour(small_bundle: Path, vae: vaekit.VAE) -> None:
    shown = in_terminal("sample", small_bundle, "-n", 1, "--seed", 3, COLORTERM="truecolor")
    pixels = np.rint(vae.sample(1, seed=3)[0, 0].astype(np.float64) * 255).astype(int)
    assert "▀" in shown
    upper, lower = pixels[0, 0], pixels[1, 0]
    assert shown.startswith(f"\x1b[38;2;{upper};{upper};{upper};48;2;{lower};{lower};{lower}m")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminal_that_wants_no_colour_gets_no_escape_code(small_bundle: Path, environment: dict[str, str]) -> None:
    shown = in_terminal("sample", small_bundle, "-n", 1, **environment)
    assert ESCAPE not in shown
    assert picture_lines(shown.replace("\r", ""))


def test_pipe_gets_no_escape_code_from_any_command(small_bundle: Path) -> None:
    for arguments in (["sample"], ["reconstruct"], ["verify"], ["inspect"], ["morph"]):
        command, variables = child(arguments[0], small_bundle, COLORTERM="truecolor")
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout
        assert done.stderr == ""
        assert ESCAPE not in done.stdout


def test_ascii_pipe_takes_a_name_of_any_script(bundle_copy: Path, rehash: Callable[..., None]) -> None:
    rehash(bundle_copy, lambda manifest: manifest.replace(name="модель"))
    command, variables = child("inspect", bundle_copy, PYTHONIOENCODING="ascii")
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u043c" in done.stdout


@pytest.mark.parametrize("arguments", [["sample", "-n", "3000"], ["inspect", "--json"], ["--help"]])
def test_reader_that_goes_away_causes_no_traceback(small_bundle: Path, arguments: list[str]) -> None:
    if arguments[0] != "--help":
        arguments = [arguments[0], str(small_bundle), *arguments[1:]]
    command, variables = child(*arguments)
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if arguments[0] == "sample":
            process.stdout.readline()  # as `head -1` does
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
    assert process.returncode in (0, 1, 141)
