"""Runs as models, and the small models that figures compare with: what they are, and that they are trained once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaekit.datasets import Dataset
from vaekit.errors import CheckpointError, ConfigError
from vaekit.figures import trained
from vaekit.figures.model import Model
from vaekit.figures.sources import check_ae, check_betas, is_run, open_model, small_models
from vaekit.figures.trained import SmallModels, of_checkpoint, open_run, small_config
from vaekit.spec import DataSpec, ModelSpec
from vaekit.training import Progress, TrainConfig, train

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = TrainConfig(hidden=(16,), latent=3, epochs=2, batch_size=64, seed=5, device="cpu", compile=False, beta=2.0)
SPEC = ModelSpec("vae", DataSpec((1, 28, 28)), 3, "bernoulli")


@pytest.fixture(scope="module")
def run(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return train(small_dataset, CONFIG, tmp_path_factory.mktemp("trained") / "run").run


def test_a_run_is_its_newest_checkpoint(run: Path, small_dataset: Dataset) -> None:
    opened = open_run(run)
    x = small_dataset.test.pixels(slice(5))
    module: Any = trained.Checkpoint.latest(run).model()
    with torch.inference_mode():
        mean, log_var = module.encode(torch.from_numpy(x))
        x_hat = torch.sigmoid(module.decode_params(mean))
    posterior = opened.model.encode(x)
    np.testing.assert_allclose(posterior.mean, mean.numpy(), atol=1e-6)
    np.testing.assert_allclose(posterior.log_var, log_var.numpy(), atol=1e-6)
    np.testing.assert_allclose(opened.model.decode(posterior.mean), x_hat.numpy(), atol=1e-6)
    assert opened.model.name == "run"
    assert opened.model.config["beta"] == 2.0
    assert [line["epoch"] for line in opened.history] == [1, 2]
    assert opened.kept is not None
    assert opened.kept.epochs.tolist() == [1, 2]
    np.testing.assert_allclose(opened.kept.means[-1][:5], posterior.mean, atol=1e-6)
    assert opened.data_sha256 == small_dataset.sha256


def test_an_autoencoders_posterior_is_a_point(small_dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = train(small_dataset, replace(CONFIG, kind="ae", beta=1.0, epochs=1), tmp_path / "run")
    posterior = of_checkpoint(checkpoint, "name").encode(small_dataset.test.pixels(slice(2)))
    assert (posterior.log_var == -np.inf).all()


def test_a_learned_scale_is_the_models(real_dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = train(real_dataset, replace(CONFIG, likelihood="gaussian", scale="learned"), tmp_path / "run")
    assert of_checkpoint(checkpoint).spec.scale == pytest.approx(checkpoint.model().log_scale.exp().item())  # type: ignore[operator, union-attr]


def test_a_run_without_means_is_opened_all_the_same(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "means.npz").unlink()
    assert open_run(copy).kept is None
    with pytest.raises(CheckpointError, match="there is no run at"):
        open_run(tmp_path / "none")


def test_small_models_are_trained_once_with_the_models_own_options(
    run: Path, small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    def progress(name: str, at: Progress) -> None:
        seen.append((name, at.epochs))

    model = open_run(run).model
    maker = SmallModels(small_dataset, SPEC, model.config, tmp_path / "models", epochs=1, on_progress=progress)
    betas = maker.betas()
    assert [name for name, _ in betas] == ["β = 0", "β = 1", "β = 4"]
    assert [each.config["beta"] for _, each in betas] == [0.0, 1.0, 4.0]
    for _, each in betas:
        assert each.spec == SPEC.replace(latent=2)
        assert (each.config["hidden"], each.config["seed"], each.config["batch_size"]) == ([16], 5, 64)
    ae = maker.autoencoder()
    assert (ae.spec.kind, ae.spec.latent, ae.name) == ("ae", 3, "ae")
    assert {name for name, _ in seen} == {"beta-0", "beta-1", "beta-4", "ae"}
    assert {epochs for _, epochs in seen} == {1}
    assert maker.in_words == "Each was trained for 1 epoch on 320 items."

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(trained, "train", never)
    again = SmallModels(small_dataset, SPEC, model.config, tmp_path / "models", epochs=1)
    x = small_dataset.test.pixels(slice(3))
    np.testing.assert_array_equal(again.betas()[2][1].encode(x).mean, betas[2][1].encode(x).mean)
    other = SmallModels(small_dataset, SPEC, model.config, tmp_path / "models", epochs=2)
    with pytest.raises(AssertionError, match="trained again"):  # other options, another folder
        other.autoencoder()


def test_the_weight_of_the_kl_decides_how_large_bubbles_are(small_dataset: Dataset, tmp_path: Path) -> None:
    config = {**CONFIG.to_json(), "learning_rate": 5e-3}
    betas = SmallModels(small_dataset, SPEC, config, tmp_path, epochs=20).betas()
    radii = [float(np.median(model.encode(small_dataset.test.pixels(slice(50))).std)) for _, model in betas]
    assert radii[0] < radii[1] < radii[2]


def test_a_stopped_small_model_goes_on(small_dataset: Dataset, tmp_path: Path) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def stop(_: str, at: Progress) -> None:
        if at.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        SmallModels(small_dataset, SPEC, CONFIG.to_json(), tmp_path, epochs=3, on_progress=stop).autoencoder()
    SmallModels(small_dataset, SPEC, CONFIG.to_json(), tmp_path, epochs=3).autoencoder()
    (folder,) = tmp_path.iterdir()
    assert trained.Checkpoint.latest(folder).epoch == 3


def test_of_large_data_a_part_is_trained_on(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "MOST_TRAINED", 40)
    maker = SmallModels(small_dataset, SPEC, CONFIG.to_json(), tmp_path, epochs=1)
    assert maker.in_words == "Each was trained for 1 epoch on 40 items."
    maker.autoencoder()
    (folder,) = tmp_path.iterdir()
    assert trained.Checkpoint.latest(folder).history[0]["steps"] == 1


def test_small_models_have_the_plain_elbo_whatever_the_models_objective_was() -> None:
    config = replace(CONFIG, beta=1.0, objective="iwae", importance_samples=5, kl_warmup=100, ema=0.9)
    small = small_config(SPEC, config.to_json(), 4)
    assert small == replace(
        config, epochs=4, schedule="cosine", objective="elbo", importance_samples=1, kl_warmup=0, ema=0.0
    )
    assert small_config(SPEC.replace(likelihood="gaussian"), {}, 2).likelihood == "gaussian"  # another program's bundle
    assert small_config(SPEC, {"from": "the future"}, 2).hidden == (400,)


def test_who_can_train_small_models_or_why_nobody_can(
    small_dataset: Dataset, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    model = make(DataSpec((1, 28, 28)), 3)
    assert isinstance(small_models(small_dataset, model, tmp_path)[0], SmallModels)
    assert small_models(small_dataset, model, tmp_path, wanted=False) == (
        None,
        "to train small models, and --no-train was given",
    )
    assert small_models(None, model, tmp_path) == (None, "data to train small models on; give --data")
    monkeypatch.delitem(sys.modules, "vaekit.figures.trained")
    monkeypatch.setitem(sys.modules, "torch", None)
    none, why = small_models(small_dataset, model, tmp_path)
    assert none is None
    assert why.startswith("torch to train small models; install it with `pip install 'vaekit[train,cpu]'`")


def test_models_to_compare_with_are_those_that_are_needed(make: Any, run: Path, small_bundle: Path) -> None:
    model: Model = make(DataSpec((1, 28, 28)), 3)
    ae = make(DataSpec((1, 28, 28)), 7, kind="ae")
    two = make(DataSpec((1, 28, 28)), 2, beta=0.5)
    assert check_ae(ae, model) is ae
    assert [name for name, _ in check_betas([two, make(DataSpec((1, 28, 28)), 2)], model)] == ["β = 0.5", "linear"]
    with pytest.raises(ConfigError, match="--ae linear is a vae, no plain autoencoder; train one with `--kind ae`"):
        check_ae(two, model)
    with pytest.raises(ConfigError, match="--betas linear is a vae of 3 latent dimensions; bubbles need VAEs of 2"):
        check_betas([model], model)
    with pytest.raises(ConfigError, match="--betas linear is a ae of 2 latent dimensions"):
        check_betas([make(DataSpec((1, 28, 28)), 2, kind="ae")], model)
    with pytest.raises(ConfigError, match=r"--ae linear takes items of shape \(5,\), but linear takes \(1, 28, 28\)"):
        check_ae(make(DataSpec((5,)), 2, kind="ae"), model)
    assert is_run(run)
    assert not is_run(small_bundle)
    assert not is_run(None)
    assert open_model(run).name == "run"
    assert open_model(small_bundle, provider="cpu").name == "small"
