"""`vaekit score`: its numbers against the library, what it draws, what it writes, what it refuses."""

from __future__ import annotations

import csv
import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.datasets import Dataset, Split
from vaekit.manifest import Manifest
from vaekit.runtime.anomaly import auroc, score_items
from vaekit.spec import DataSpec, ModelSpec

Run = Callable[..., Any]

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed (the extra [tables])"
)


@pytest.fixture
def run(run: Run) -> Run:
    """Return ``run(*arguments)`` of `vaekit score`."""
    return functools.partial(run, "score")


@pytest.fixture
def as_json(run: Run) -> Callable[..., Any]:
    """Return ``as_json(*arguments)``: the result of a run that must go well."""

    def found(*arguments: object) -> Any:
        done = run(*arguments, "--json")
        assert (done.code, done.err) == (0, "")
        return json.loads(done.out)

    return found


@pytest.fixture(scope="module")
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu")


@pytest.fixture(scope="module")
def real_file(real_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of six real values, of which the 17th is far off."""
    items = np.asarray(real_dataset.test.items).copy()
    items[17] += 50
    path = tmp_path_factory.mktemp("real") / "real.npy"
    np.save(path, items)
    return path


def export(spec: ModelSpec, items: np.ndarray, folder: Path) -> Path:
    """A bundle of a model with one layer a half, of any shape."""
    import torch
    from torch import Tensor, nn

    from vaekit.exporting import ModulePair, export_bundle

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both = nn.Sequential(nn.Flatten(), nn.Linear(spec.data.size, 2 * spec.latent))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            both = self.both(x)
            return both[:, : spec.latent], both[:, spec.latent :]

    torch.manual_seed(0)
    last: list[nn.Module] = [nn.Sigmoid()] if spec.likelihood == "bernoulli" else []
    decoder = nn.Sequential(nn.Linear(spec.latent, spec.data.size), *last, nn.Unflatten(1, spec.data.shape))
    data = Dataset("items", "items", "0" * 64, Split(items), Split(items))
    return export_bundle(ModulePair(Heads(), decoder, spec), folder, data=data).path


def test_the_numbers_are_the_librarys(
    as_json: Callable[..., Any], vae: vaekit.VAE, small_bundle: Path, small_data_folder: Path, small_dataset: Dataset
) -> None:
    scores = vae.score(small_dataset.test.pixels(slice(None)))
    found = as_json(small_bundle, small_data_folder, "--anomalous", 3, "--anomalous", 4, "--top", 5)
    assert found["items"] == 300
    assert found["mean"] == pytest.approx(scores.mean())
    assert found["std"] == pytest.approx(scores.std())
    assert found["highest"] == pytest.approx(scores.max())
    highest = np.argsort(-scores)[:5]
    assert [one["index"] for one in found["top"]] == highest.tolist()
    assert [one["label"] for one in found["top"]] == [str(number % 10) for number in highest]
    marks = np.isin(np.arange(300) % 10, (3, 4))
    expected = auroc(scores, marks)
    assert found["auroc"]["value"] == pytest.approx(expected.value)
    assert found["auroc"]["standard_error"] == pytest.approx(expected.standard_error)
    assert (found["auroc"]["anomalous"], found["auroc"]["normal"]) == (60, 240)
    limit = np.sort(scores)[297]  # ceil(301 * 0.99), from 1
    assert found["threshold"] == {"nats": pytest.approx(limit, rel=1e-5), "quantile": 0.99, "normal_items": 300}
    above = scores > found["threshold"]["nats"]
    assert found["unusual"] == above.sum()
    assert found["auroc"]["found"] == pytest.approx(above[marks].mean())
    assert found["auroc"]["false_alarms"] == pytest.approx(above[~marks].mean())


def test_a_models_own_data_is_scored_by_its_test_items_and_other_data_whole(
    as_json: Callable[..., Any], small_bundle: Path, small_data_folder: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    assert as_json(small_bundle, small_data_folder)["data"]["split"] == "test"
    assert as_json(small_bundle, small_data_folder, "--split", "all")["items"] == 620
    np.save(tmp_path / "other.npy", small_dataset.test.items[:40])
    found = as_json(small_bundle, tmp_path / "other.npy")
    assert (found["data"]["split"], found["items"]) == ("all", 40)


def test_items_of_a_file_keep_their_places_in_it(
    as_json: Callable[..., Any], gaussian_bundle: Path, real_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.npz"
    found = as_json(gaussian_bundle, real_file, "--out", out)
    assert found["top"][0]["index"] == 17
    model = vaekit.load(gaussian_bundle, provider="cpu")
    with np.load(out) as written:
        np.testing.assert_allclose(written["score"], score_items(model, np.load(real_file)), rtol=1e-5)
        np.testing.assert_array_equal(written["index"], np.arange(300))
        assert written["unusual"][17]
        assert written["unusual"].sum() == found["unusual"]
        assert set(written) == {"index", "score", "unusual"}


@needs_pyarrow
def test_every_format_holds_the_same_scores(
    run: Run, small_bundle: Path, small_data_folder: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet

    files = [tmp_path / f"scores{ending}" for ending in (".csv", ".npz", ".parquet")]
    for file in files:
        done = run(small_bundle, small_data_folder, "--out", file, "--quiet")
        assert done.code == 0
        assert done.out.replace("\n", "").endswith(f"wrote {file}")
    with files[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    with np.load(files[1]) as written:
        arrays = {name: written[name].tolist() for name in written}
    assert pyarrow.parquet.read_table(files[2]).to_pydict() == arrays
    assert list(rows[0]) == ["index", "label", "score", "unusual"]
    assert [float(row["score"]) for row in rows] == arrays["score"]
    assert [row["unusual"] == "1" for row in rows] == arrays["unusual"]
    assert [int(row["label"]) for row in rows] == arrays["label"] == [number % 10 for number in range(300)]
    before = files[0].read_bytes()
    refused = run(small_bundle, small_data_folder, "--out", files[0])
    assert (refused.code, files[0].read_bytes()) == (1, before)
    assert "exists already; choose another path, or pass --force" in refused.err
    assert run(small_bundle, small_data_folder, "--out", files[0], "--force").code == 0


@needs_pyarrow
def test_labels_are_written_by_their_classes_names_and_as_numbers_into_arrays(
    as_json: Callable[..., Any], small_bundle: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet
    from PIL import Image

    rng = np.random.default_rng(0)
    for kind in ("boat", "tree, tall"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(3):
            image = Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8))
            image.save(tmp_path / "photos" / kind / f"{number}.png")
    files = [tmp_path / f"scores{ending}" for ending in (".csv", ".npz", ".parquet")]
    for file in files:
        found = as_json(small_bundle, tmp_path / "photos", "--out", file, "--split", "all", "--top", 6)
    top = {item["index"]: item["label"] for item in found["top"]}
    for anomaly in ("boat", "0"):
        marked = as_json(small_bundle, tmp_path / "photos", "--split", "all", "--anomalous", anomaly)
        assert (marked["auroc"]["labels"], marked["auroc"]["anomalous"]) == (["boat"], 3)
    wanted = [top[index] for index in range(6)]
    assert sorted(wanted) == ["boat"] * 3 + ["tree, tall"] * 3
    with files[0].open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == wanted
    with np.load(files[1]) as arrays:
        assert arrays["label"].tolist() == [("boat", "tree, tall").index(label) for label in wanted]
    assert pyarrow.parquet.read_table(files[2])["label"].to_pylist() == wanted


def test_the_histogram_holds_every_item_and_splits_at_the_threshold(
    run: Run, vae: vaekit.VAE, small_bundle: Path, small_data_folder: Path, small_dataset: Dataset
) -> None:
    scores = vae.score(small_dataset.test.pixels(slice(None)))
    limit = float(np.sort(scores)[249]) + 1e-3
    done = run(small_bundle, small_data_folder, "--threshold", limit, "--top", 0)
    lines = done.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("-- threshold"))
    drawn = [number for number, line in enumerate(lines) if line[:1] in (" ", "<") or line[:1].isdigit()]
    counts = {number: int(lines[number].split()[-1].replace(",", "")) for number in drawn}
    assert sum(count for number, count in counts.items() if number < at) == (scores <= limit).sum() == 250
    assert sum(count for number, count in counts.items() if number > at) == 50
    assert f"unusual: 50 of 300 (16.67%), above {limit:.6g} nats, given by --threshold" in done.out
    assert all(len(line) <= 80 for line in lines)


def test_normal_data_gives_the_threshold_and_its_bars(
    run: Run, as_json: Callable[..., Any], gaussian_bundle: Path, real_dataset: Dataset, real_file: Path, tmp_path: Path
) -> None:
    normal = tmp_path / "normal.npy"
    np.save(normal, real_dataset.train.items)
    scores = np.sort(vaekit.load(gaussian_bundle, provider="cpu").score(np.asarray(real_dataset.train.items)))
    found = as_json(gaussian_bundle, real_file, "--normal", normal, "--quantile", 0.8)
    assert found["threshold"] == {
        "nats": pytest.approx(scores[256], rel=1e-5),  # ceil(321 * 0.8) = 257
        "quantile": 0.8,
        "normal_items": 320,
    }
    drawn = run(gaussian_bundle, real_file, "--normal", normal, "--quantile", 0.8)
    assert "| where the bar of normal data would end" in drawn.out
    assert any("|" in line for line in drawn.out.splitlines()[3:10])
    short = run(gaussian_bundle, real_file, "--normal", normal, "--quantile", 0.999)
    assert (short.code, "it takes 999 or more; choose a smaller quantile." in short.err) == (1, True)


def test_a_bundle_without_normal_scores_draws_no_threshold_and_says_how_to_get_one(
    run: Run, as_json: Callable[..., Any], bundle_copy: Path, rehash: Callable[..., None], small_data_folder: Path
) -> None:
    rehash(bundle_copy, lambda manifest: manifest.replace(scores=None))
    done = run(bundle_copy, small_data_folder)
    assert done.code == 0
    assert "no threshold: the bundle keeps none; give --normal DATA" in done.out
    assert "-- threshold" not in done.out
    found = as_json(bundle_copy, small_data_folder)
    assert (found["threshold"], found["unusual"]) == (None, None)
    asked = run(bundle_copy, small_data_folder, "--quantile", 0.9)
    assert asked.code == 1
    assert "keeps no scores of normal items; give --normal DATA or --threshold, or export it again" in asked.err


def test_too_many_unusual_items_end_with_a_code_of_their_own(
    run: Run, bundle_copy: Path, rehash: Callable[..., None], small_data_folder: Path
) -> None:
    assert run(bundle_copy, small_data_folder, "--threshold", -1, "--fail-above", 299).code == 3
    assert run(bundle_copy, small_data_folder, "--threshold", -1, "--fail-above", 300).code == 0
    rehash(bundle_copy, lambda manifest: manifest.replace(scores=None))
    done = run(bundle_copy, small_data_folder, "--fail-above", 3)
    wanted = "--fail-above 3 counts items above a threshold, but the bundle keeps none; give --normal DATA"
    assert (done.code, wanted in done.err) == (1, True)


def test_a_bundle_of_few_normal_items_names_the_quantiles_that_it_keeps(
    run: Run, bundle_copy: Path, rehash: Callable[..., None], small_data_folder: Path
) -> None:
    def few(manifest: Manifest) -> Manifest:
        assert manifest.scores is not None
        return manifest.replace(scores=manifest.scores.replace(items=10, quantiles={0.5: 100.0, 0.9: 200.0}))

    rehash(bundle_copy, few)
    why = (
        "the bundle keeps none for the 0.99 quantile of its 10 normal items; give --quantile 0.5 or 0.9, --normal DATA"
    )
    done = run(bundle_copy, small_data_folder)
    assert (done.code, f"no threshold: {why}" in " ".join(done.out.split())) == (0, True)
    done = run(bundle_copy, small_data_folder, "--fail-above", 3)
    assert (done.code, f"counts items above a threshold, but {why}" in done.err) == (1, True)
    done = run(bundle_copy, small_data_folder, "--quantile", 0.99)
    assert (done.code, "it takes 99 or more; choose one of 0.5, 0.9." in done.err) == (1, True)
    assert run(bundle_copy, small_data_folder, "--quantile", 0.9).code == 0


def test_an_autoencoder_a_colour_model_and_a_time_series_are_scored_and_shown(
    run: Run, as_json: Callable[..., Any], ae_bundle: Path, small_data_folder: Path, tmp_path: Path
) -> None:
    done = run(ae_bundle, small_data_folder, "--top", 2)
    assert (done.code, "reconstruction loss in nats" in done.out) == (0, True)
    rng = np.random.default_rng(2)
    colour = rng.integers(0, 256, size=(40, 3, 8, 8)).astype(np.uint8)
    series = rng.normal(size=(40, 2, 12)).astype(np.float32)
    for name, spec, items in (
        ("colour", ModelSpec("vae", DataSpec((3, 8, 8)), 2, "bernoulli"), colour),
        ("series", ModelSpec("vae", DataSpec((2, 12), None), 2, "gaussian"), series),
    ):
        bundle = export(spec, items, tmp_path / name)
        np.save(tmp_path / f"{name}.npy", items)
        shown = run(bundle, tmp_path / f"{name}.npy", "--top", 3)
        assert (shown.code, shown.err) == (0, "")
        assert "the 3 most unusual (number, score):" in shown.out
        scores = score_items(vaekit.load(bundle, provider="cpu"), items)
        assert as_json(bundle, tmp_path / f"{name}.npy")["top"][0]["index"] == int(scores.argmax())
        tail = shown.out[shown.out.index("most unusual") :]
        assert all(str(int(number)) in tail for number in np.argsort(-scores)[:3])


def test_infinite_scores_are_told_apart_and_are_null_in_json(
    run: Run, as_json: Callable[..., Any], gaussian_bundle: Path, real_file: Path, tmp_path: Path
) -> None:
    items = np.load(real_file)
    items[3] = 3e38
    np.save(tmp_path / "far.npy", items)
    found = as_json(gaussian_bundle, tmp_path / "far.npy")
    assert (found["infinite"], found["highest"], found["top"][0]) == (1, None, {"index": 3, "score": None})
    assert np.isfinite(found["mean"])
    done = run(gaussian_bundle, tmp_path / "far.npy")
    assert (done.code, "1 infinite: values so far off" in done.out) == (0, True)


@pytest.mark.parametrize("screen_columns", [20])
def test_a_narrow_screen_is_not_overrun(run: Run, small_bundle: Path, small_data_folder: Path) -> None:
    done = run(small_bundle, small_data_folder, "--anomalous", 3, "--top", 2)
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 20
    assert "#" in done.out


def test_a_pipe_gets_no_escape_codes_and_a_terminal_gets_colour(
    run: Run, small_bundle: Path, small_data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in run(small_bundle, small_data_folder, "--anomalous", 3).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in run(small_bundle, small_data_folder, "--anomalous", 3, "--top", 0).out


def test_the_command_line_loads_no_torch_and_scores_with_the_builtin_model(small_data_folder: Path) -> None:
    code = (
        "import sys, vaekit.cli\n"
        f"try: vaekit.cli.main(['score', {str(small_data_folder)!r}, '--top', '0', '--provider', 'cpu'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print(sorted({'torch', 'onnx'} & set(sys.modules)))"
    )
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )  # fmt: skip
    assert done.stdout.startswith("mnist on small, all 620 items")
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--anomalous", "12"], "label '12' does not occur in small, which has 0, 1, 2"),
        (["--anomalous", "3", "--without-label", "3"], "label '3' does not occur in small"),
        (["--without-label", "x"], "label 'x' does not occur in small"),
        (["--quantile", "1"], "--quantile 1: give a number above 0 and below 1"),
        (["--quantile", "0"], "--quantile 0: give a number above 0 and below 1"),
        (["--quantile", "0.999"], "has 300 normal items, and it takes 999 or more"),
        (
            ["--quantile", "0.8"],
            "keeps the quantiles 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995 of normal scores, but 0.8",
        ),
        (["--threshold", "nan"], "--threshold nan: give a number of nats."),
        (["--threshold", "1", "--quantile", "0.9"], "--threshold says the threshold itself; leave out --quantile"),
        (["--out", "scores.txt"], "the ending '.txt' is unknown; choose one of .csv, .npz, .parquet."),
        (["--out", "no/such/scores.csv"], "there is no folder no/such; make it first."),
        (["a third"], "score takes a bundle and a data set, or a data set alone, but was given 3 arguments."),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(
    run: Run, small_bundle: Path, small_data_folder: Path, arguments: list[str], message: str
) -> None:
    done = run(small_bundle, small_data_folder, *arguments)
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_data_that_does_not_fit_is_refused(
    run: Run, small_bundle: Path, gaussian_bundle: Path, real_file: Path, tmp_path: Path
) -> None:
    def refused(*arguments: object) -> str:
        done = run(*arguments)
        assert (done.code, done.out) == (1, "")
        return str(done.err)

    assert "has items of shape (6,), but the model takes (1, 28, 28)" in refused(small_bundle, real_file)
    assert "real has no labels" in refused(gaussian_bundle, real_file, "--anomalous", 3)
    assert "real has no labels" in refused(gaussian_bundle, real_file, "--without-label", 3)
    items = np.load(real_file)
    items[5, 2] = np.nan
    np.save(tmp_path / "nan.npy", items)
    assert "holds nan in row 5; every value must be finite" in refused(gaussian_bundle, tmp_path / "nan.npy")
    np.save(tmp_path / "empty.npy", items[:0])
    assert "empty.npy" in refused(gaussian_bundle, tmp_path / "empty.npy")
    assert "there is no data set 'nowhere'" in refused(small_bundle, "nowhere")
    np.savez(tmp_path / "one.npz", x=np.zeros((4, 1, 28, 28), np.uint8), y=np.array([1, 1, 1, 1]))
    assert "all of the 4 items of one (split all) have the label 1" in refused(
        small_bundle, tmp_path / "one.npz", "--anomalous", 1
    )


def test_a_run_remembers_the_labels_that_it_left_out(
    small_data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vaekit.cli import main
    from vaekit.exporting import export_bundle
    from vaekit.training import Checkpoint

    def quiet(*arguments: object) -> None:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        assert not stop.value.code, capsys.readouterr().err

    folder = tmp_path / "run"
    training = ["train", small_data_folder, "--without-label", 3, "--without-label", 4, "--epochs", 1, "--hidden", 8]
    quiet(*training, "--latent", 2, "--device", "cpu", "--out", folder, "--quiet")
    checkpoint = Checkpoint.latest(folder)
    assert checkpoint.info.data_options.without_label == ("3", "4")
    bundle = export_bundle(checkpoint, tmp_path / "bundle")
    made = bundle.manifest.made_by["data"]
    assert (made["train_items"], made["test_items"]) == (320 * 8 // 10, 300 * 8 // 10)
    assert bundle.manifest.scores is not None
    assert bundle.manifest.scores.items == 240
    capsys.readouterr()
    quiet("score", bundle.path, small_data_folder, "--anomalous", 3, "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["data"]["split"], found["items"], found["auroc"]["anomalous"]) == ("test", 300, 30)
