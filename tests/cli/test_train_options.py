"""`vaekit train` beyond MNIST and the MLP: options from a file, other data, other models, TensorBoard."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = ("--hidden", "8", "--latent", "2", "--epochs", "1", "--device", "cpu")


@pytest.fixture
def screen_columns() -> int:
    return 200


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (60, 6, 6), np.uint8))
    return path


def options(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "run.json").read_text())["config"])


def test_a_run_writes_the_file_that_trains_it_again(run: Any, items: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    given = (*SMALL, "--seed", "7", "--kl-warmup", "3", "--test-fraction", "0.25", "--out", first)
    assert run("train", items, *given)[0] == 0
    code, out, err = run("train", "--config", first / "config.toml", "--out", second)
    assert code == 0, err
    assert "45 training items, 15 test items" in out
    assert (first / "config.toml").read_bytes() == (second / "config.toml").read_bytes()
    for name in ("weights.safetensors", "optimizer.safetensors"):
        a, b = (folder / "checkpoints" / "epoch-0001" / name for folder in (first, second))
        assert a.read_bytes() == b.read_bytes()


def test_notes_on_how_the_data_was_read_are_told(run: Any, items: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", np.load(items).astype("f4") / 255)
    code, out, err = run("train", tmp_path / "real.npy", *SMALL, "--out", tmp_path / "real")
    assert (code, err) == (0, "")
    assert "\nnote: real.npy: shape (60, 6, 6) was read as (N, D, T), time series; give (N, 1, H, W) for grey" in out


def test_without_out_a_run_has_the_name_of_the_data(
    run: Any, items: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plant.v2").mkdir()
    np.save(tmp_path / "plant.v2" / "pixels.npy", np.load(items))
    assert run("train", "plant.v2/pixels.npy", *SMALL)[0] == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["pixels"]
    Image.new("L", (8, 8)).save(tmp_path / "plant.v2" / "a.png")
    Image.new("L", (8, 8), 9).save(tmp_path / "plant.v2" / "b.png")
    assert run("train", "plant.v2", *SMALL)[0] == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"pixels", "plant.v2"}
    assert run("data", "plant.v2").out.split()[:2] == ["name", "plant.v2"]


def test_the_command_line_goes_before_the_file_and_the_file_before_the_defaults(
    run: Any, items: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        f'[data]\nsource = "{items}"\n[train]\nhidden = [8]\nlatent = 3\nepochs = 1\nseed = 5\ndevice = "cpu"\n'
    )
    assert run("train", "--config", file, "--seed", "0", "--out", tmp_path / "run")[0] == 0
    found = options(tmp_path / "run")
    # 0 is the default, and still goes before the file's 5, since it was given.
    assert (found["seed"], found["latent"], found["hidden"], found["beta"]) == (0, 3, [8], 1.0)
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text())["train"]["latent"] == 3


def test_an_unknown_key_of_the_file_is_one_line(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nlatnet = 3\n")
    code, _, err = run("train", "--config", file)
    assert code == 1
    assert err.count("\n") == 1
    assert "latnet" in err


def test_resuming_refuses_a_file_of_options(run: Any, items: Path, tmp_path: Path) -> None:
    assert run("train", items, *SMALL, "--out", tmp_path / "run")[0] == 0
    code, _, err = run("train", "--resume", tmp_path / "run", "--config", tmp_path / "run" / "config.toml")
    assert code == 1
    assert "leave out --config" in err


def test_photographs_report_bits_per_dimension(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for index in range(20):
        pixels = np.random.default_rng(index).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    model = ("--arch", "conv", "--width", "4", "--latent", "2", "--epochs", "1", "--device", "cpu")
    likelihood = ("--likelihood", "discretized-logistic", "--size", "8")
    code, out, err = run("train", tmp_path / "photos", *model, *likelihood, "--out", tmp_path / "run")
    assert code == 0, err
    assert "items of 3 x 8 x 8; vae, conv, width 4" in out
    assert "1 files could not be read" in out
    assert "bits/dim" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--size", "8"), "size does not apply to"),
        (("--scale", "large"), "--scale 'large': give a positive number, or `learned`"),
        (("--scale", "0.5", "--likelihood", "bernoulli"), "scale"),
        (("--arch", "vit"), "arch='vit' is unknown"),
        (("--model", "nowhere.to:Be"), "nowhere"),
        (("--objective", "iwae", "--free-bits", "0.1"), "free_bits"),
        (("--depth", "2"), "depth"),
    ],
)
def test_options_without_a_meaning_are_one_line_and_leave_no_run(
    run: Any, items: Path, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    code, _, err = run("train", items, *SMALL, *arguments, "--out", tmp_path / "run")
    assert code == 1
    assert err.count("\n") == 1
    assert expected in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--likelihood", "bernoulli"), "needs data in [0, 1]"),
        (("--arch", "conv", "--likelihood", "gaussian"), "arch='conv' is for pictures"),
        (("--out", "."), "exists already"),
    ],
)
def test_nothing_is_said_of_a_training_that_is_refused(
    run: Any, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("speed,load\n" + "".join(f"{row},{row * row}\n" for row in range(40)))
    small = SMALL if "--arch" not in arguments else SMALL[2:]
    code, out, err = run("train", table, *small, "--out", tmp_path / "run", *arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert expected in err
    assert not (tmp_path / "run").exists()


def test_real_values_are_gaussian_of_a_learned_scale_unless_something_else_is_chosen(run: Any, tmp_path: Path) -> None:
    values = tmp_path / "values.npy"
    np.save(values, np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    for name, chosen, expected in (
        ("plain", (), ("gaussian", "learned")),
        ("fixed", ("--scale", "0.5"), ("gaussian", 0.5)),
        ("unit", ("--likelihood", "gaussian"), ("gaussian", None)),
    ):
        code, _, err = run("train", values, *SMALL, *chosen, "--out", tmp_path / name)
        assert code == 0, err
        found = options(tmp_path / name)
        assert (found["likelihood"], found["scale"]) == expected
    code, _, err = run("train", values, *SMALL, "--likelihood", "bernoulli", "--out", tmp_path / "no")
    assert code == 1
    assert "needs data in [0, 1]" in err


def test_pixels_are_bernoulli_unless_something_else_is_chosen(run: Any, items: Path, tmp_path: Path) -> None:
    assert run("train", items, *SMALL, "--out", tmp_path / "run")[0] == 0
    assert options(tmp_path / "run")["likelihood"] == "bernoulli"


def test_tensorboard_gets_each_epoch(run: Any, items: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra vaekit[tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    code, _, err = run(
        "train", items, *SMALL[:-4], "--epochs", "2", "--device", "cpu", "--tensorboard", "--out", folder
    )
    assert code == 0, err
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = [(event.step, event.value) for event in events.Scalars("negative_elbo/test")]
    assert found == [(line["epoch"], pytest.approx(line["test_negative_elbo"])) for line in lines]
    assert {"samples", "reconstructions"} <= set(events.Tags()["images"])


def test_an_autoencoders_loss_is_called_reconstruction_and_no_elbo(run: Any, items: Path, tmp_path: Path) -> None:
    code, out, err = run("train", items, *SMALL, "--kind", "ae", "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    loss = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    train, test = (f"{part} reconstruction {loss[f'{part}_reconstruction']:.2f}" for part in ("train", "test"))
    assert f"epoch 1/1  {train}  {test}  " in out
    assert "ELBO" not in out
    assert "KL" not in out
