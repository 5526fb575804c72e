"""`vaekit figures`: what it writes, what it leaves out, and what it refuses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaekit.datasets import Dataset, load_dataset
from vaekit.figures import FIGURES
from vaekit.training import TrainConfig, train

Run = Callable[..., Any]

CONFIG = TrainConfig(
    hidden=(16,), latent=3, epochs=4, batch_size=64, learning_rate=5e-3, seed=5, device="cpu", compile=False
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(small_data_folder: Path) -> Dataset:
    return load_dataset(small_data_folder)


@pytest.fixture(scope="module")
def trained(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return train(data, CONFIG, tmp_path_factory.mktemp("runs") / "digits").run


@pytest.fixture(scope="module")
def autoencoder(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    config = TrainConfig(**{**vars(CONFIG), "kind": "ae", "epochs": 1})
    return train(data, config, tmp_path_factory.mktemp("runs") / "plain").run


def test_a_run_has_every_figure_in_both_formats(run: Run, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "figures"
    result = run("figures", trained, "--out", out, "--small-epochs", 1)
    assert result.code == 0, result.err
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["models", *(f"{name}.{ending}" for name in FIGURES for ending in ("png", "svg"))]
    )
    for name in FIGURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (out / f"{name}.svg").read_bytes()[:1000]
    assert result.out.splitlines() == [f"wrote {out / name}.{ending}" for name in FIGURES for ending in ("png", "svg")]
    said = [line for line in result.err.splitlines() if line.startswith("training ")]
    assert said == [f"training {name}, 1 epoch" for name in ("beta-0", "beta-1", "beta-4", "ae")]
    assert "\x1b" not in result.out + result.err
    again = run(
        "figures",
        trained,
        "--out",
        tmp_path / "other",
        "--models",
        out / "models",
        "--small-epochs",
        1,
        "--only",
        "morph",
    )
    assert "training" not in again.err  # they are found again


def test_a_bundle_draws_its_own_examples_and_says_what_it_leaves_out(
    run: Run, small_bundle: Path, tmp_path: Path
) -> None:
    result = run("figures", small_bundle, "--out", tmp_path, "--format", "png")
    assert result.code == 0, result.err
    assert result.err == "drawn from the bundle's own 64 examples; --data gives more\n"
    lines = result.out.splitlines()
    assert "skipped posterior: it needs data to train small models on; give --data, or --betas RUN,RUN,RUN" in lines
    assert "skipped training: a bundle keeps no metrics; give the run's folder" in lines
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.png" for name in set(FIGURES) - {"posterior", "training"}
    }


def test_without_torch_a_bundle_skips_what_is_trained_and_a_run_is_refused(
    run: Run,
    small_bundle: Path,
    small_data_folder: Path,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "vaekit.figures.trained", raising=False)
    arguments = ("--out", tmp_path, "--data", small_data_folder, "--only", "posterior,morph,samples", "--format", "png")
    result = run("figures", small_bundle, *arguments)
    assert result.code == 0, result.err
    assert result.out.splitlines() == [
        "skipped posterior: it needs torch to train small models; install it with `pip install 'vaekit[train,cpu]'`, "
        "or --betas RUN,RUN,RUN",
        f"wrote {tmp_path / 'samples.png'}",
        f"wrote {tmp_path / 'morph.png'}",
    ]
    refused = run("figures", trained, "--out", tmp_path / "run")
    assert refused.code == 1
    assert "is a run, and figures of one need torch; install it with" in refused.err
    assert not (tmp_path / "run" / "samples.png").exists()


def test_json_states_what_was_written_and_what_was_not(
    run: Run, ae_bundle: Path, small_data_folder: Path, tmp_path: Path
) -> None:
    arguments = ("--only", "kl,posterior,samples", "--format", "svg", "--json", "--data", small_data_folder)
    result = run("figures", ae_bundle, "--out", tmp_path, *arguments)
    value = json.loads(result.out)
    assert result.err == ""
    size = (tmp_path / "samples.svg").stat().st_size
    assert value == {
        "model": "small-ae",
        "items": 300,
        "written": [{"figure": "samples", "file": str(tmp_path / "samples.svg"), "bytes": size}],
        "skipped": [
            {"figure": "posterior", "reason": "an autoencoder's posterior is a point, so there are no bubbles to draw"},
            {"figure": "kl", "reason": "an autoencoder has no variances and no KL"},
        ],
    }


def test_models_of_the_users_are_compared_with(
    run: Run, trained: Path, autoencoder: Path, data: Dataset, tmp_path: Path
) -> None:
    flat = train(data, TrainConfig(**{**vars(CONFIG), "latent": 2, "beta": 0.25, "epochs": 1}), tmp_path / "flat").run
    out = tmp_path / "out"
    result = run(
        *("figures", trained, "--out", out, "--only", "posterior,morph", "--format", "svg", "--no-train"),
        *("--ae", autoencoder, "--betas", f"{flat},{flat}"),
    )
    assert result.code == 0, result.err
    assert sorted(path.name for path in out.iterdir()) == ["morph.svg", "posterior.svg"]
    refused = run("figures", trained, "--out", tmp_path / "no", "--ae", flat)
    assert (refused.code, "--ae flat is a vae, no plain autoencoder" in refused.err) == (1, True)
    refused = run("figures", trained, "--out", tmp_path / "no", "--betas", autoencoder)
    assert (refused.code, "--betas plain is a ae of 3 latent dimensions" in refused.err) == (1, True)


def test_other_data_than_the_runs_own_may_be_shown(run: Run, trained: Path, data: Dataset, tmp_path: Path) -> None:
    items = np.asarray(data.test.items[:])[:40]
    np.savez(tmp_path / "other.npz", x=items)
    arguments = (
        "--data",
        tmp_path / "other.npz",
        "--test-fraction",
        0.5,
        "--only",
        "means",
        "--format",
        "svg",
        "--json",
    )
    result = run("figures", trained, "--out", tmp_path / "out", *arguments)
    assert json.loads(result.out)["items"] == 20


def test_tsne_and_ends_of_the_morph_are_options(run: Run, trained: Path, tmp_path: Path) -> None:
    arguments = (
        "--only",
        "means,morph",
        "--projection",
        "tsne",
        "--from",
        "@0",
        "--to",
        "7",
        "--no-train",
        "--format",
        "png",
    )
    assert run("figures", trained, "--out", tmp_path, *arguments).code == 0
    refused = run("figures", trained, "--out", tmp_path, "--only", "morph", "--from", "77", "--no-train", "--force")
    assert (
        refused.code,
        refused.err.startswith("error: the label '77' was asked for, but the items' labels are 0, 1"),
    ) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--only", "kl,nope"],
            "the figure 'nope' is unknown; choose from diagram, posterior, kl, samples, morph, means",
        ),
        (["--format", "pdf"], "--format 'pdf': choose from png, svg."),
        (["--format", ","], "--format ',': choose from png, svg."),
        (["--projection", "mds"], "projection='mds' is unknown; choose one of pca, tsne, umap."),
        (["--only", "training"], "no figure was drawn: training: a bundle keeps no metrics; give the run's folder."),
        (["--size", "28"], "--size says how to read data; give --data too."),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(
    run: Run, small_bundle: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run("figures", small_bundle, "--out", tmp_path / "out", "--quiet", *arguments)
    assert (
        result.code,
        result.out.replace("skipped training: a bundle keeps no metrics; give the run's folder\n", ""),
    ) == (1, "")
    assert result.err.startswith(f"error: {message}")
    assert result.err.count("\n") == 1
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize(
    "option", [("--provider", "cpu"), ("--provider", "auto"), ("--threads", 3), ("--precision", "fp16")]
)
def test_options_of_running_a_bundle_are_refused_for_a_run(
    run: Run, trained: Path, ae_bundle: Path, tmp_path: Path, option: tuple[str, Any]
) -> None:
    arguments = ("figures", trained, "--out", tmp_path / "out", "--only", "kl", "--format", "svg", "--no-train")
    result = run(*arguments, *option)
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        f"error: {option[0]} says how a bundle is run, but {trained} is a run, which torch runs; leave it out, or give a "
        "bundle.\n"
    )
    assert not (tmp_path / "out").exists()
    with_bundle = run(*arguments, *option, "--ae", ae_bundle)
    assert with_bundle.code == (1 if option[0] == "--precision" else 0), with_bundle.err


def test_the_precision_is_that_of_the_bundle(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    arguments = ("figures", small_bundle, "--out", tmp_path, "--only", "samples", "--format", "svg", "--precision")
    assert run(*arguments, "fp32").code == 0
    refused = run(*arguments, "fp16", "--force")
    assert refused.code == 1
    assert refused.err.startswith("error: precision='fp16'"), refused.err


def test_a_run_whose_data_has_changed_is_refused(run: Run, data: Dataset, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=np.asarray(data.train.items[:60]))
    folder = train(load_dataset(tmp_path / "mine.npz"), CONFIG, tmp_path / "run").run
    np.savez(tmp_path / "mine.npz", x=np.asarray(data.train.items[60:120]))
    result = run("figures", folder, "--out", tmp_path / "out")
    assert result.code == 1
    assert f"is no longer what {folder} was trained on; name the data with --data." in result.err


def test_data_that_does_not_fit_is_refused(run: Run, trained: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).random((20, 6), dtype=np.float32))
    result = run("figures", trained, "--out", tmp_path / "out", "--data", tmp_path / "rows.npy")
    assert result.code == 1
    assert "the data has items of shape (6,), but the model takes (1, 28, 28)." in result.err


def test_pictures_are_replaced_by_force_alone(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    arguments = ("figures", small_bundle, "--out", tmp_path, "--only", "samples", "--format", "png", "-q")
    assert run(*arguments).code == 0
    (tmp_path / "samples.png").write_bytes(b"mine")
    refused = run(*arguments)
    assert (
        refused.err
        == f"error: {tmp_path / 'samples.png'} exists already; choose another --out, or pass --force to replace it.\n"
    )
    assert (tmp_path / "samples.png").read_bytes() == b"mine"
    assert run(*arguments, "--force").code == 0
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_an_out_folder_that_cannot_be_made_or_written_is_refused(
    run: Run, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("a file")
    result = run("figures", small_bundle, "--out", tmp_path / "file" / "folder")
    assert (result.code, "the folder cannot be made: Not a directory." in result.err) == (1, True)
    monkeypatch.setattr(
        os, "access", lambda path, *_: "closed" not in str(path)
    )  # as for a folder of somebody else's; root may write everywhere
    result = run("figures", small_bundle, "--out", tmp_path / "closed")
    assert (result.code, "closed: the folder cannot be written; choose another." in result.err) == (1, True)


def test_without_matplotlib_the_extra_is_named(
    run: Run, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("figures", small_bundle, "--out", tmp_path / "out")
    assert result.code == 1
    assert "pip install 'vaekit[plots]'" in result.err
    assert not (tmp_path / "out").exists()


def test_ctrl_c_while_a_small_model_is_trained_ends_with_one_line(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaekit.figures import trained as module

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", stop)
    result = run("figures", trained, "--out", tmp_path, "--only", "kl,posterior,samples")
    assert result.code == 130
    assert result.err.endswith("stopped\n")
