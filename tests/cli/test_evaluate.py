"""`vaekit evaluate`: what it prints against the library, where its data comes from, what it refuses."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
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
from vaekit.datasets import Dataset, Split, load_dataset
from vaekit.datasets.binarized import Binarized
from vaekit.datasets.rows import Joined, spread
from vaekit.runtime.evaluate import evaluate
from vaekit.runtime.frechet import frechet
from vaekit.runtime.likelihood import negative_log_likelihood
from vaekit.spec import DataSpec, Feature

Run = Callable[..., Any]

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed (the extra [tables])"
)


@pytest.fixture
def screen_columns() -> int:
    return 100


@pytest.fixture
def run(run: Run) -> Run:
    """Return ``run(*arguments)`` of `vaekit evaluate`."""
    return functools.partial(run, "evaluate")


@pytest.fixture
def as_json(run: Run) -> Callable[..., Any]:
    """Return ``as_json(*arguments)``: the result of a run that must go well."""

    def measured(*arguments: object) -> Any:
        done = run(*arguments, "--json")
        assert (done.code, done.err) == (0, "")
        return json.loads(done.out)

    return measured


@pytest.fixture(scope="module")
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu")


@pytest.fixture(scope="module")
def trained(small_data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on the small data."""
    from vaekit.training import TrainConfig, train

    config = TrainConfig(hidden=(8,), latent=3, epochs=1, device="cpu")
    return train(load_dataset(small_data_folder), config, tmp_path_factory.mktemp("runs") / "a run").run


@pytest.mark.parametrize("part", ["test", "train", "all"])
def test_every_number_is_the_library_s(
    as_json: Callable[..., Any], vae: vaekit.VAE, small_bundle: Path, small_data_folder: Path, small_dataset: Dataset,
    part: str,
) -> None:  # fmt: skip
    options = [] if part == "test" else ["--split", part]  # test is the default
    found = as_json(small_bundle, small_data_folder, *options, "--nll-samples", 3, "--seed", 5)
    train, test = small_dataset.train.items, small_dataset.test.items
    items = {"train": train, "test": test, "all": np.concatenate([train, test])}[part]
    elbo = evaluate(vae, items, seed=5)
    assert elbo.standard_errors is not None
    for name in ("negative_elbo", "reconstruction", "kl"):
        assert found[name]["mean"] == pytest.approx(getattr(elbo, name))
        assert found[name]["standard_error"] == pytest.approx(getattr(elbo.standard_errors, name))
    assert found["kl_per_dimension"] == pytest.approx(elbo.kl_per_dimension)
    assert found["active"] == list(elbo.active)
    nll = negative_log_likelihood(vae, items, samples=3, seed=5)
    assert found["nll"] == pytest.approx(
        {
            "mean": nll.mean,
            "standard_error": nll.standard_error,
            "samples": 3,
            "fewer_samples_add": nll.fewer,
            "fewer_samples_add_error": nll.fewer_error,
        }
    )
    real, other = (train, test) if part == "train" else (test, spread(train, 300))
    distance = frechet(vae, real, other, seed=5)
    assert found["frechet"]["squared_distance"] == pytest.approx(distance.samples)
    assert found["frechet"]["floor"] == pytest.approx(distance.floor)
    assert found["frechet"]["items"] == ("320 train" if part == "train" else "300 test")
    assert found["frechet"]["floor_items"] == ("300 test" if part == "train" else "300 train")
    assert found["data"]["items"] == found["data"]["available"] == len(items)
    assert (found["data"]["split"], found["seed"], found["data"]["binarized"]) == (part, 5, False)
    assert found["bits_per_dimension"] == {"negative_elbo": None, "nll": None}  # of grey pixels there are none
    assert found["data"]["of_the_model"]
    assert found["model"]["name"] == "small"


def test_binarized_measures_pixels_that_are_drawn_by_seed(
    as_json: Callable[..., Any], vae: vaekit.VAE, small_bundle: Path, small_data_folder: Path, small_dataset: Dataset
) -> None:
    found = as_json(small_bundle, small_data_folder, "--binarized", "--seed", 4, "--nll-samples", 2)
    drawn = Binarized(small_dataset.test.items, seed=4, start=320)  # after the training items
    elbo, nll = evaluate(vae, drawn, seed=4), negative_log_likelihood(vae, drawn, samples=2, seed=4)
    assert found["negative_elbo"]["mean"] == pytest.approx(elbo.negative_elbo)
    assert found["nll"]["mean"] == pytest.approx(nll.mean)
    for name, nats in (("negative_elbo", elbo.negative_elbo), ("nll", nll.mean)):
        assert found["bits_per_dimension"][name] == pytest.approx(nats / 784 / np.log(2))
    assert found["data"]["binarized"]
    assert found["data"]["discrete"]
    train = spread(Binarized(small_dataset.train.items, seed=4), 300)
    distance = frechet(vae, drawn, train, seed=4, binarized=True)
    assert found["frechet"]["squared_distance"] == pytest.approx(distance.samples)
    assert found["frechet"]["floor"] == pytest.approx(distance.floor)
    everything = as_json(small_bundle, small_data_folder, "--binarized", "--seed", 4, "--split", "all")
    joined = Joined(Binarized(small_dataset.train.items, seed=4), drawn)
    assert everything["negative_elbo"]["mean"] == pytest.approx(evaluate(vae, joined, seed=4).negative_elbo)


def test_some_items_are_said_to_be_some(
    run: Run, as_json: Callable[..., Any], vae: vaekit.VAE, small_bundle: Path, small_data_folder: Path,
    small_dataset: Dataset,
) -> None:  # fmt: skip
    found = as_json(small_bundle, small_data_folder, "--items", 50)
    assert (found["data"]["items"], found["data"]["available"]) == (50, 300)
    chosen = spread(small_dataset.test.items, 50)
    assert found["negative_elbo"]["mean"] == pytest.approx(evaluate(vae, chosen).negative_elbo)
    assert found["frechet"]["samples"] == 50
    assert "50 of 300 test items of small" in run(small_bundle, small_data_folder, "--items", 50).out
    assert as_json(small_bundle, small_data_folder, "--items", 50, "--split", "all")["data"]["items"] == 100


def test_one_item_has_means_and_neither_errors_nor_a_distance(
    run: Run, as_json: Callable[..., Any], small_bundle: Path, small_data_folder: Path
) -> None:
    arguments = (small_bundle, small_data_folder, "--items", 1, "--nll-samples", 2)
    found = as_json(*arguments)
    assert found["negative_elbo"]["standard_error"] is found["nll"]["standard_error"] is found["frechet"] is None
    done = run(*arguments)
    assert done.code == 0
    assert "Fréchet" not in done.out


def test_the_table_has_every_number_and_what_it_compares_with(
    run: Run, as_json: Callable[..., Any], small_bundle: Path, small_data_folder: Path
) -> None:
    arguments = (small_bundle, small_data_folder, "--nll-samples", 4)
    found, done = as_json(*arguments), run(*arguments)
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    lines = done.out.splitlines()
    assert lines[0] == "small, bernoulli likelihood, fp32 on cpu: 300 test items of small; seed 0"

    def row(name: str) -> list[str]:
        return next(line for line in lines if line.startswith(name)).removeprefix(name).split()

    for name, key in (("negative ELBO", "negative_elbo"), ("  reconstruction", "reconstruction"), ("  KL", "kl")):
        assert row(name) == [f"{found[key]['mean']:.3f}", f"{found[key]['standard_error']:.3f}"]
    assert row("NLL, K = 4") == [f"{found['nll']['mean']:.3f}", f"{found['nll']['standard_error']:.3f}"]
    assert row("  K = 2 instead")[0] == f"{found['nll']['fewer_samples_add']:.3f}"
    assert row("active units")[:3] == [str(len(found["active"])), "of", "5"]
    assert row("Fréchet distance")[0] == f"{found['frechet']['squared_distance']:.3f}"
    assert row("  its floor")[0] == f"{found['frechet']['floor']:.3f}"
    assert "no FID" in done.out
    for line in found["comparisons"]:
        assert f"- {line}" in lines
    text = " ".join(found["comparisons"])
    for said in (
        "no log-probability", "not with published NLLs of MNIST", "at the same K", "A model judges itself",
        "does not compare between models", "between train and test items", "one code an item",
    ):  # fmt: skip
        assert said in text


def test_the_kl_of_each_dimension_is_shown_the_largest_first_with_a_bar(
    run: Run, as_json: Callable[..., Any], small_bundle: Path, small_data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arguments = (small_bundle, small_data_folder)
    kl = as_json(*arguments)["kl_per_dimension"]
    monkeypatch.setenv("COLUMNS", "30")  # one column
    lines = run(*arguments).out.splitlines()
    begin = lines.index("KL by dimension, nats an item; * is active") + 1
    shown = [line.split() for line in lines[begin : begin + 5]]
    order = np.argsort(kl)[::-1]
    assert [cells[0].rstrip("*") for cells in shown] == [str(d) for d in order]
    assert [float(cells[1]) for cells in shown] == pytest.approx(np.sort(kl)[::-1], abs=6e-4)
    assert [len(cells[2]) if len(cells) > 2 else 0 for cells in shown] == [round(12 * kl[d] / max(kl)) for d in order]
    monkeypatch.setattr(vaekit.cli.evaluate_table, "SHOWN_DIMENSIONS", 4)
    assert "KL of each of the 5 dimensions: --by-dimension" in run(*arguments).out
    assert "0*" in run(*arguments, "--by-dimension").out


def test_without_arguments_the_built_in_model_is_measured_on_its_own_data(as_json: Callable[..., Any]) -> None:
    found = as_json("--items", 200)
    assert (found["model"]["name"], found["data"]["name"], found["data"]["available"]) == ("mnist", "mnist", 10_000)
    assert found["data"]["of_the_model"]


def test_a_run_is_exported_and_measured_on_its_own_data(
    run: Run, as_json: Callable[..., Any], trained: Path, small_data_folder: Path, small_dataset: Dataset,
    tmp_path: Path,
) -> None:  # fmt: skip
    from vaekit.exporting import export_bundle
    from vaekit.training import Checkpoint

    found = as_json(trained)
    assert (found["model"]["name"], found["data"]["name"], found["data"]["items"]) == ("a run", "small", 300)
    assert found["data"]["of_the_model"]
    exported = export_bundle(Checkpoint.latest(trained), tmp_path / "bundle")
    wanted = evaluate(vaekit.load(exported.path, provider="cpu"), small_dataset.test.items)
    assert found["negative_elbo"]["mean"] == pytest.approx(wanted.negative_elbo, abs=1e-3)
    before = sorted(trained.rglob("*"))
    done = run(trained, small_data_folder, "--split", "train")
    assert done.err == f"{trained}: exporting epoch 1 to measure it\n"
    assert "320 train items of small" in done.out
    assert sorted(trained.rglob("*")) == before


def test_a_run_needs_torch_and_says_so(run: Run, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vaekit.exporting", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    done = run(trained)
    assert (done.code, done.out) == (1, "")
    assert "is a run, which is exported before it is evaluated, and that needs " in done.err
    assert "install it with `pip install 'vaekit[train,cpu]'`, or evaluate a bundle." in done.err
    assert done.err.count("\n") == 1


def test_a_bundle_is_measured_without_torch(small_bundle: Path, small_data_folder: Path) -> None:
    arguments = ["evaluate", str(small_bundle), str(small_data_folder), "--nll-samples", "2", "--binarized", "--json"]
    code = (
        "import sys, vaekit.cli\n"
        "try:\n"
        f"    vaekit.cli.main({arguments!r})\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code\n"
        "assert not {'torch', 'onnx', 'onnxscript', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_autoencoder_has_a_reconstruction_and_no_elbo(
    run: Run, as_json: Callable[..., Any], ae_bundle: Path, small_data_folder: Path, small_dataset: Dataset
) -> None:
    found = as_json(ae_bundle, small_data_folder)
    assert found["negative_elbo"] is found["kl"] is found["kl_per_dimension"] is found["nll"] is None
    wanted = evaluate(vaekit.load(ae_bundle, provider="cpu"), small_dataset.test.items)
    assert found["reconstruction"]["mean"] == pytest.approx(wanted.reconstruction)
    assert "An autoencoder has no prior and its posterior is a point: no KL, no ELBO" in found["comparisons"][0]
    done = run(ae_bundle, small_data_folder)
    assert "an autoencoder: no KL, no ELBO" in done.out
    assert "negative ELBO" not in done.out.split("What these")[0]
    assert "KL by dimension" not in done.out


def test_a_density_has_its_constant_and_no_bits(
    as_json: Callable[..., Any], gaussian_bundle: Path, real_dataset: Dataset, tmp_path: Path
) -> None:
    np.savez(tmp_path / "real.npz", x_train=real_dataset.train.items, x_test=real_dataset.test.items)
    found = as_json(gaussian_bundle, tmp_path / "real.npz", "--nll-samples", 2)
    assert found["bits_per_dimension"] == {"negative_elbo": None, "nll": None}
    assert found["nats_of_the_constant"] == pytest.approx(3 * np.log(2 * np.pi))
    assert found["data"]["of_the_model"]  # the content is the same, in whatever file
    assert any("without the constant: add 5.51 for -log of the density." in line for line in found["comparisons"])


def test_levels_have_bits_and_values_between_them_have_none(
    as_json: Callable[..., Any], small_pair: Any, small_dataset: Dataset, small_data_folder: Path, tmp_path: Path
) -> None:
    from vaekit.exporting import ModulePair, export_bundle

    spec = small_pair.spec.replace(likelihood="discretized-logistic", scale=0.1)
    pair = ModulePair(small_pair.encoder, small_pair.decoder, spec)
    bundle = export_bundle(pair, tmp_path / "levels", data=small_dataset).path
    found = as_json(bundle, small_data_folder)
    bits = found["negative_elbo"]["mean"] / 784 / np.log(2)
    assert found["bits_per_dimension"]["negative_elbo"] == pytest.approx(bits)
    assert any("8-bit levels: nats are log-probabilities" in line for line in found["comparisons"])
    halves = small_dataset.test.pixels(slice(None)) * np.float32(0.5)
    np.savez(tmp_path / "halves.npz", x_train=halves, x_test=halves)
    found = as_json(bundle, tmp_path / "halves.npz")
    assert found["bits_per_dimension"]["negative_elbo"] is None
    assert any("The items are not 8-bit levels" in line for line in found["comparisons"])


def test_zeros_and_ones_have_bits_without_being_drawn(
    as_json: Callable[..., Any], small_bundle: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    binary = (small_dataset.test.items > 100).astype(np.float32)
    np.savez(tmp_path / "binary.npz", x_train=binary, x_test=binary)
    found = as_json(small_bundle, tmp_path / "binary.npz")
    assert not found["data"]["of_the_model"]
    bits = found["negative_elbo"]["mean"] / 784 / np.log(2)
    assert found["bits_per_dimension"]["negative_elbo"] == pytest.approx(bits)
    assert any("Every value is 0 or 1" in line for line in found["comparisons"])


@needs_pyarrow
def test_a_labelled_table_is_read_by_the_columns_that_the_model_names(
    run: Run, as_json: Callable[..., Any], gaussian_pair: Any, tmp_path: Path
) -> None:
    from vaekit.exporting import ModulePair, export_bundle

    names = ("speed", "torque", "heat", "load", "hum", "wear")
    rows = np.random.default_rng(3).normal(size=(50, 6)).round(3).astype(np.float32)
    lines = [",".join(("kind", *names)), *(",".join(("a", *map(str, row))) for row in rows.tolist())]
    (tmp_path / "machines.csv").write_text("\n".join(lines))
    features = tuple(Feature(name, 0.0, 2.0) for name in names)
    spec = gaussian_pair.spec.replace(data=DataSpec((6,), None, features))
    items = Dataset("machines", "machines", "0" * 64, Split(rows), Split(rows), features=features)
    pair = ModulePair(gaussian_pair.encoder, gaussian_pair.decoder, spec)
    bundle = export_bundle(pair, tmp_path / "bundle", data=items).path
    found = as_json(bundle, tmp_path / "machines.csv", "--test-fraction", 0.4)
    assert found["data"]["items"] == 20
    # The constant of a density in the data's units: V/2 log 2 pi, and the log of each unit.
    assert found["nats_of_the_constant"] == pytest.approx(3 * np.log(2 * np.pi) + 6 * np.log(2))
    assert any("of standardised values" in line and "in the data's units" in line for line in found["comparisons"])
    done = run(bundle, tmp_path / "machines.csv", "--columns", "torque,speed,heat,load,hum,wear")
    assert done.code == 1
    assert "machines has the columns torque, speed, heat" in done.err


REFUSED = [
    (
        ("small_bundle",),
        ("--nll-samples", 0),
        "0 samples a posterior were asked for, but importance sampling takes at least 1",
    ),
    (("ae_bundle",), ("--nll-samples", 5), "the model is an autoencoder: it has no prior"),
    (
        ("gaussian_bundle",),
        ("--binarized",),
        "--binarized draws the pixels of Bernoulli models, but this one's likelihood is gaussian",
    ),
    (("small_bundle",), ("--precision", "int3"), "precision='int3' is not in the bundle 'small', which has fp32"),
    (("gaussian_bundle",), (), r"x has shape (256, 1, 28, 28), but the model takes (N, 6)"),
    (("small_bundle",), ("--size", 14), "size does not apply to a folder of IDX files"),
]


@pytest.mark.parametrize(("names", "options", "message"), REFUSED)
def test_what_has_no_meaning_is_one_line(
    run: Run, request: pytest.FixtureRequest, small_data_folder: Path, names: tuple[str], options: tuple[object, ...],
    message: str,
) -> None:  # fmt: skip
    done = run(request.getfixturevalue(names[0]), small_data_folder, *options)
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def test_what_has_no_meaning_is_refused_before_the_data_is_read(run: Run, small_bundle: Path) -> None:
    assert "importance sampling takes at least 1" in run(small_bundle, "/no/such/data", "--nll-samples", 0).err


def test_a_bundle_of_nameless_data_asks_for_it(run: Run, small_bundle: Path) -> None:
    done = run(small_bundle)
    assert done.code == 1
    assert (
        f"the bundle 'small' does not say where its data is; name it: `vaekit evaluate {small_bundle} DATA`."
        in done.err
    )


def test_another_data_set_of_the_same_name_is_not_taken_for_the_model_s(
    run: Run, bundle_copy: Path, rehash: Callable[..., None]
) -> None:
    def called_mnist(manifest: Any) -> Any:
        return manifest.replace(made_by={**manifest.made_by, "data": {**manifest.made_by["data"], "name": "mnist"}})

    rehash(bundle_copy, called_mnist)
    done = run(bundle_copy, "--items", 10)
    assert done.code == 1
    assert "small was made with other data than 'mnist' is now; name the data" in done.err
    done = run(bundle_copy, "mnist", "--items", 10)
    assert done.code == 0
    assert "these are not the data that the model was made with" in done.out


def test_what_another_program_says_of_its_data_is_no_reason_to_stop(
    run: Run, bundle_copy: Path, small_data_folder: Path, rehash: Callable[..., None]
) -> None:
    rehash(bundle_copy, lambda manifest: manifest.replace(made_by={"data": "pictures"}))
    assert run(bundle_copy, small_data_folder).code == 0
    assert "does not say where its data is" in run(bundle_copy).err


def test_batch_size_threads_and_provider_reach_the_model(
    run: Run, small_bundle: Path, small_data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[int, int]] = set()
    encode, decode = vaekit.Encoder.encode, vaekit.Decoder.decode

    def spy(self: vaekit.Encoder, x: np.ndarray) -> Any:
        seen.add((len(x), self.threads))
        return encode(self, x)

    def spy_too(self: vaekit.Decoder, z: np.ndarray) -> Any:
        seen.add((len(z), self.threads))
        return decode(self, z)

    monkeypatch.setattr(vaekit.Encoder, "encode", spy)
    monkeypatch.setattr(vaekit.Decoder, "decode", spy_too)
    options = ["--batch-size", 200, "--threads", 1, "--provider", "cpu", "--nll-samples", 2]
    assert run(small_bundle, small_data_folder, *options).code == 0
    assert seen == {(200, 1), (100, 1)}


def test_a_model_that_gives_no_numbers_gives_null(
    as_json: Callable[..., Any], run: Run, small_bundle: Path, small_data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = vaekit.Decoder.decode
    monkeypatch.setattr(vaekit.Decoder, "decode", lambda self, z: decode(self, z) * np.float32(np.nan))
    monkeypatch.setattr(
        "vaekit.runtime.frechet._sampled", lambda *_, **__: iter([np.zeros((2, 1, 28, 28), np.float32)])
    )
    assert as_json(small_bundle, small_data_folder)["negative_elbo"]["mean"] is None
    assert "nan" in run(small_bundle, small_data_folder).out


SLOWLY = """
import sys, time
import vaekit, vaekit.cli
decode = vaekit.Decoder.decode
def slowly(self, z):
    print("working", flush=True)
    time.sleep(0.5)
    return decode(self, z)
vaekit.Decoder.decode = slowly
vaekit.cli.main(sys.argv[1:])
"""


def test_ctrl_c_says_so_in_one_line(small_bundle: Path, small_data_folder: Path) -> None:
    arguments = ["evaluate", small_bundle, small_data_folder, "--nll-samples", 100]
    command = [sys.executable, "-c", SLOWLY, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "stopped\n")


@pytest.mark.parametrize("screen_columns", [40])
def test_a_narrow_screen_keeps_the_names_of_the_numbers(run: Run, small_bundle: Path, small_data_folder: Path) -> None:
    done = run(small_bundle, small_data_folder)
    assert done.code == 0
    for name in ("negative ELBO", "reconstruction", "KL", "active units", "Fréchet distance"):
        assert re.search(rf"^ *{name} +\d", done.out, re.MULTILINE), name
