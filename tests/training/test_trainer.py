"""Whole runs on small data: the numbers reported, what decides them, and what is refused."""

import json
import math
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from vaekit.datasets import Dataset, Split
from vaekit.datasets.tables import standardisation
from vaekit.errors import CheckpointError, ConfigError, DataError, DivergedError, OutputError, TrainingError
from vaekit.training import Checkpoint, EpochMetrics, Progress, TrainConfig, train, trainer
from vaekit.training.batches import epoch_generator
from vaekit.training.machine import choose_device
from vaekit.training.schedules import learning_rate_at

CPU = torch.device("cpu")
LATENT = 4

# 320 training items in batches of 64: five steps an epoch.
BASE = TrainConfig(
    hidden=(32,), latent=LATENT, epochs=3, batch_size=64, learning_rate=3e-3, seed=5, device="cpu", compile=False
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, list[EpochMetrics]]:
    torch.set_num_threads(1)
    seen: list[EpochMetrics] = []
    run = tmp_path_factory.mktemp("trained") / "run"
    return train(small_dataset, replace(BASE, epochs=8), run, on_epoch=seen.append), seen


def weights_of(run: Path) -> bytes:
    return (Checkpoint.latest(run).folder / "weights.safetensors").read_bytes()


def test_training_lowers_the_loss_on_training_and_test_items(trained: tuple[Checkpoint, list[EpochMetrics]]) -> None:
    _, seen = trained
    for name in ("train_negative_elbo", "test_negative_elbo"):
        losses = [getattr(metrics, name) for metrics in seen]
        assert losses[-1] < 0.7 * losses[0]
    # An untrained decoder says one half of every pixel: 784 log 2 = 543 nats.
    assert seen[-1].test_negative_elbo < 0.7 * 784 * math.log(2)


def test_metrics_jsonl_has_a_line_an_epoch_with_the_numbers_that_were_handed_out(
    trained: tuple[Checkpoint, list[EpochMetrics]],
) -> None:
    checkpoint, seen = trained
    lines = [json.loads(line) for line in (checkpoint.run / "metrics.jsonl").read_text().splitlines()]
    assert lines == [asdict(metrics) for metrics in seen] == list(checkpoint.history)
    assert [line["epoch"] for line in lines] == list(range(1, 9))
    for line in lines:
        assert line["steps"] == 5
        assert line["seconds"] > 0
        assert line["train_negative_elbo"] == pytest.approx(line["train_reconstruction"] + line["train_kl"])
        assert line["test_negative_elbo"] == pytest.approx(line["test_reconstruction"] + line["test_kl"])


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def numpy_elbo(run: Path, test: Split, config: TrainConfig) -> tuple[float, float]:
    """Reconstruction and KL of the saved weights, in NumPy's float64, with the noise that measuring is said to use."""
    w = {name: tensor.astype(np.float64) for name, tensor in load_file(
        Checkpoint.latest(run).folder / "weights.safetensors"
    ).items()}  # fmt: skip
    x = test.items.reshape(len(test), -1) / 255
    heads = relu(x @ w["encoder.0.weight"].T + w["encoder.0.bias"]) @ w["encoder.2.weight"].T + w["encoder.2.bias"]
    if config.kind == "vae":
        mean, log_var = heads[:, :LATENT], heads[:, LATENT:]
        generator = epoch_generator(config.seed, 0, CPU)
        z = mean + np.exp(log_var / 2) * torch.randn(len(test), LATENT, generator=generator).double().numpy()
        kl = 0.5 * (np.exp(log_var) - log_var - 1 + mean**2).sum(1).mean()
    else:
        z, kl = heads, 0.0
    out = relu(z @ w["decoder.0.weight"].T + w["decoder.0.bias"]) @ w["decoder.2.weight"].T + w["decoder.2.bias"]
    if config.likelihood == "gaussian":
        return float(0.5 * ((x - out) ** 2).sum(1).mean()), float(kl)
    p = 1 / (1 + np.exp(-out))
    return float(-(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(1).mean()), float(kl)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kind": "ae"},
        {"likelihood": "gaussian"},
        {"schedule": "cosine", "warmup": 4},
        {"precision": "bf16"},
        {"beta": 0.0},
        {"batch_size": 1000},
    ],
    ids=lambda options: ",".join(f"{name}={value}" for name, value in options.items()) or "reference",
)
def test_the_test_elbo_is_that_of_the_saved_weights_in_float64(
    small_dataset: Dataset, tmp_path: Path, options: dict[str, Any]
) -> None:
    config = replace(BASE, **options)
    seen: list[EpochMetrics] = []
    checkpoint = train(small_dataset, config, tmp_path / "run", on_epoch=seen.append)
    reconstruction, kl = numpy_elbo(checkpoint.run, small_dataset.test, config)
    assert seen[-1].test_reconstruction == pytest.approx(reconstruction, abs=1e-3)
    assert seen[-1].test_kl == pytest.approx(kl, abs=1e-3)
    assert seen[-1].test_negative_elbo == pytest.approx(reconstruction + kl, abs=1e-3)
    assert seen[-1].train_reconstruction < seen[0].train_reconstruction
    assert seen[-1].steps == math.ceil(320 / config.batch_size)


def test_an_autoencoder_has_no_kl(small_dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = train(small_dataset, replace(BASE, kind="ae", epochs=1), tmp_path / "run")
    assert checkpoint.history[0]["train_kl"] == checkpoint.history[0]["test_kl"] == 0
    assert checkpoint.spec.kind == "ae"


def test_without_weight_the_kl_grows_beyond_that_of_the_elbo(small_dataset: Dataset, tmp_path: Path) -> None:
    kl = {
        beta: train(small_dataset, replace(BASE, beta=beta, epochs=8), tmp_path / str(beta)).history[-1]["test_kl"]
        for beta in (0.0, 1.0, 20.0)
    }
    assert kl[0.0] > 1.2 * kl[1.0] > 1.2 * kl[20.0]


def test_real_values_train_with_a_gaussian_likelihood(real_dataset: Dataset, tmp_path: Path) -> None:
    config = replace(BASE, likelihood="gaussian", epochs=15, learning_rate=1e-2, beta=0.1)
    checkpoint = train(real_dataset, config, tmp_path / "run")
    # Saying zero of every value costs half its mean square; two factors make these data, so that a code helps.
    zero = 0.5 * float((real_dataset.test.items.astype(np.float64) ** 2).sum(1).mean())
    assert checkpoint.history[-1]["test_reconstruction"] < 0.5 * zero
    assert checkpoint.spec.data.range is None


def test_values_outside_zero_to_one_are_refused_for_a_bernoulli_likelihood(
    real_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=re.escape("likelihood='bernoulli' needs data in [0, 1]")):
        train(real_dataset, BASE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bf16_comes_near_to_fp32(small_dataset: Dataset, tmp_path: Path) -> None:
    exact, rough = (
        train(small_dataset, replace(BASE, precision=precision), tmp_path / precision).history[-1]["test_negative_elbo"]
        for precision in ("fp32", "bf16")
    )
    assert exact != rough
    assert rough == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize(
    ("precision", "native", "warned"), [("bf16", False, True), ("bf16", True, False), ("fp32", False, False)]
)
def test_who_asks_for_bf16_where_it_is_emulated_is_told(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, native: bool, warned: bool
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(small_dataset, replace(BASE, precision=precision, epochs=1), tmp_path / "run")
    said = [str(one.message).split(",")[0] for one in caught if "bf16" in str(one.message)]
    assert said == ["precision='bf16' is emulated on this processor"] * warned


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(small_dataset: Dataset, tmp_path: Path) -> None:
    for name, seed, disturb in (("a", 5, 1), ("b", 5, 2), ("c", 6, 1)):
        torch.manual_seed(disturb)
        train(small_dataset, replace(BASE, seed=seed, epochs=2), tmp_path / name)
    assert weights_of(tmp_path / "a") == weights_of(tmp_path / "b") != weights_of(tmp_path / "c")


def test_training_leaves_torchs_own_random_numbers_alone(small_dataset: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(small_dataset, replace(BASE, epochs=1), tmp_path / "run")
    assert torch.equal(torch.rand(4), expected)


def test_each_epoch_draws_its_own_order_and_noise_and_measuring_always_the_same(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    still = replace(BASE, learning_rate=1e-30, batch_size=4)  # weights that do not move: only the draws can differ
    history = train(small_dataset, still, tmp_path / "vae").history
    assert len({line["test_negative_elbo"] for line in history}) == 1
    assert len({line["train_reconstruction"] for line in history}) == 3
    assert [line["train_kl"] for line in history] == pytest.approx([history[0]["train_kl"]] * 3)  # free of draws
    seen: list[Progress] = []
    train(small_dataset, replace(still, kind="ae"), tmp_path / "ae", on_progress=seen.append)
    middle = min(at.step for at in seen)
    assert middle < 80
    # An autoencoder has no noise: means over the first items of an epoch differ by which items came first.
    assert len({at.reconstruction for at in seen if at.step == middle}) == 3


def test_a_batch_larger_than_the_data_is_one_step_of_all_items(small_dataset: Dataset, tmp_path: Path) -> None:
    # Two sizes beyond 320 give the same batches, so the same weights.
    for size in (320, 100_000):
        train(small_dataset, replace(BASE, batch_size=size), tmp_path / str(size))
    assert weights_of(tmp_path / "320") == weights_of(tmp_path / "100000")


def test_progress_only_goes_forward_and_ends_each_epoch(small_dataset: Dataset, tmp_path: Path) -> None:
    seen: list[Progress] = []
    config = replace(BASE, batch_size=4, epochs=2)  # 80 steps an epoch
    checkpoint = train(small_dataset, config, tmp_path / "run", on_progress=seen.append)
    places = [(at.epoch, at.step) for at in seen]
    assert places == sorted(set(places))
    assert {(1, 80), (2, 80)} < set(places)
    assert len(places) > 2
    assert {(at.epochs, at.steps) for at in seen} == {(2, 80)}
    ends = [at for at in seen if at.step == 80]
    for at, line in zip(ends, checkpoint.history, strict=True):
        assert at.reconstruction == pytest.approx(line["train_reconstruction"])
        assert at.kl == pytest.approx(line["train_kl"])
    assert seen[0].reconstruction > seen[-1].reconstruction > 0


def test_a_folder_that_exists_is_left_as_it_is(small_dataset: Dataset, tmp_path: Path) -> None:
    run = tmp_path / "a run"
    run.mkdir()
    (run / "notes.txt").write_text("mine")
    expected = f"{run} exists already; choose another --out, or go on with it by `vaekit train --resume '{run}'`."
    with pytest.raises(OutputError, match=re.escape(expected)):
        train(small_dataset, BASE, run)
    assert [path.name for path in tmp_path.rglob("*")] == ["a run", "notes.txt"]
    assert (run / "notes.txt").read_text() == "mine"


def test_a_run_that_stopped_before_its_first_checkpoint_is_not_offered_to_go_on_with(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(DivergedError):
        train(small_dataset, replace(BASE, learning_rate=1e30), run)
    with pytest.raises(
        OutputError, match=r"stopped before its first checkpoint; choose another --out, or delete it\.$"
    ):
        train(small_dataset, BASE, run)
    assert (run / "run.json").is_file()


def test_a_model_beyond_the_memory_is_one_line(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 2^62 bytes are beyond the address space of every machine; a model of so many is beyond every width that may be asked for.
    monkeypatch.setattr(trainer, "build_model", lambda *_: torch.empty(2**60))
    expected = (
        r"latent=\d+, batch_size=\d+: there is no memory for 4611686018427387904 bytes on cpu; take a smaller model"
    )
    with pytest.raises(TrainingError, match=expected):
        train(small_dataset, BASE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_cannot_begin_below_a_file(small_dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/run could not be made: "):
        train(small_dataset, BASE, tmp_path / "file" / "run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a CUDA device, so asking for it is no mistake")
def test_cuda_without_a_cuda_device_is_refused_before_anything_is_written(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    expected = f"device='cuda' was asked for, but torch {torch.__version__} sees no CUDA device; install a CUDA build"
    with pytest.raises(ConfigError, match=re.escape(expected)):
        train(small_dataset, replace(BASE, device="cuda"), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    assert choose_device("auto") == CPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_on_cuda_reaches_what_the_cpu_reaches(small_dataset: Dataset, tmp_path: Path, precision: Any) -> None:
    config = replace(BASE, precision=precision, epochs=8)
    losses = {
        device: train(small_dataset, replace(config, device=device), tmp_path / device).history[-1]
        for device in ("cpu", "cuda")
    }
    # Other random numbers on each device, hence not closer.
    assert losses["cuda"]["test_negative_elbo"] == pytest.approx(losses["cpu"]["test_negative_elbo"], rel=0.05)
    assert Checkpoint.latest(tmp_path / "cuda").weights()["encoder.0.weight"].device == CPU
    assert train(small_dataset, replace(config, device="cuda"), tmp_path / "cuda", resume=True).epoch == 8


def test_a_learning_rate_beyond_reason_stops_the_run_at_the_step_it_broke(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    # The first step's loss is that of the initial weights; the second sees what 1e30 did to them.
    expected = (
        "the loss is not finite at epoch 1, step 2, learning rate 1e+30; there is no checkpoint yet. "
        "Train again with a smaller --learning-rate."
    )
    with pytest.raises(DivergedError, match=re.escape(expected)):
        train(small_dataset, replace(BASE, learning_rate=1e30), tmp_path / "run")


def test_weights_that_break_at_an_epochs_last_step_are_not_saved(small_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"not finite at epoch 1, step 1, learning rate 1e\+30"):
        train(small_dataset, replace(BASE, learning_rate=1e30, batch_size=320), tmp_path / "run")
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        Checkpoint.latest(tmp_path / "run")


def table(train: np.ndarray, test: np.ndarray) -> Dataset:
    """Rows of the columns a, b, c, as a table's reader gives them."""
    rows = [np.asarray(part, np.float32) for part in (train, test)]
    features = standardisation(rows[0], ("a", "b", "c"))
    return Dataset("rows", "rows", "0" * 64, Split(rows[0]), Split(rows[1]), features=features)


def in_training(constant: int, *, test: float) -> Dataset:
    """Rows whose first columns are 7 among the training items and another number among the test items."""
    rng = np.random.default_rng(0)
    train_rows, test_rows = rng.normal(size=(300, 3)), rng.normal(size=(50, 3))
    train_rows[:, :constant], test_rows[:, :constant] = 7, test
    return table(train_rows, test_rows)


ROWS = replace(BASE, likelihood="gaussian", scale="learned")
ONE = "the column 'a', which has one value among the training items and others among the test items"


def test_a_loss_that_breaks_on_the_test_items_names_them_and_the_column(tmp_path: Path) -> None:
    advice = "name the other columns in --columns, or divide the data otherwise (--test-fraction)."
    expected = (
        "the loss on the test items is not finite after epoch 1, but that on the training items is; there is no checkpoint "
        f"yet. Look at {ONE}; {advice}"
    )
    with (
        pytest.warns(UserWarning, match=re.escape(f"rows: nothing says how to scale {ONE}; {advice}")),
        pytest.raises(DivergedError) as refusal,
    ):
        train(in_training(1, test=1e30), ROWS, tmp_path / "run")
    assert str(refusal.value) == expected


def test_where_all_columns_are_constant_there_are_no_others_to_name(tmp_path: Path) -> None:
    single = table(np.array([[1, 2, 3]]), np.array([[4, 2e30, 5], [4, 2e30, 5]]))
    columns = (
        "the columns 'a', 'b', 'c', of which each has one value among the training items and others among the test"
    )
    with (
        pytest.warns(UserWarning, match=columns),
        pytest.raises(DivergedError, match=rf"{columns} items; divide the data otherwise \(--test-fraction\)\.$"),
    ):
        train(single, ROWS, tmp_path / "run")


def test_test_items_far_beyond_the_training_items_are_said_to_be_so(tmp_path: Path) -> None:
    data = in_training(0, test=0)
    data.test.items[17, 1] = 1e30
    with pytest.raises(DivergedError, match="Some test items are far beyond all training items; look at them"):
        train(data, ROWS, tmp_path / "run")


def test_a_column_that_is_constant_in_both_parts_or_close_by_in_the_test_items_trains_on(tmp_path: Path) -> None:
    train(in_training(2, test=7), replace(ROWS, epochs=1), tmp_path / "both")  # a warning would be an error
    with pytest.warns(UserWarning, match="nothing says how to scale the columns 'a', 'b', of which each"):
        assert train(in_training(2, test=8), replace(ROWS, epochs=1), tmp_path / "close").epoch == 1


def spoil(data: Dataset, make: Callable[[np.ndarray], np.ndarray]) -> Dataset:
    items = make(data.train.items.astype(np.float32) / 255).astype(np.float32)
    return replace(data, train=replace(data.train, items=items))


def all_nan(items: np.ndarray) -> np.ndarray:
    return np.full_like(items, np.nan)


def one_nan(items: np.ndarray) -> np.ndarray:
    items[17, 0, 3, 3] = np.nan
    return items


@pytest.mark.parametrize("make", [all_nan, one_nan])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_data_with_nan_stop_the_run_before_a_checkpoint(
    small_dataset: Dataset, tmp_path: Path, make: Callable[[np.ndarray], np.ndarray], likelihood: Any
) -> None:
    with pytest.raises(DivergedError, match=r"epoch 1, step [1-5], learning rate 0\.003; there is no checkpoint yet"):
        train(spoil(small_dataset, make), replace(BASE, likelihood=likelihood), tmp_path / "run")


def test_a_later_divergence_names_the_last_good_checkpoint_which_is_intact(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(small_dataset, BASE, run)
    shutil.rmtree(run / "checkpoints" / "epoch-0003")
    before = weights_of(run)
    # The run goes on with data of which the hash says that they are the same, and are not.
    expected = (
        f"the loss is not finite at epoch 3, step 11, learning rate 0.003; the last good checkpoint is "
        f"{run / 'checkpoints' / 'epoch-0002'}. Train again with a smaller --learning-rate."
    )
    with pytest.raises(DivergedError, match=re.escape(expected)):
        train(spoil(small_dataset, all_nan), BASE, run, resume=True)
    assert weights_of(run) == before
    assert Checkpoint.latest(run).epoch == 2


def test_a_constant_learning_rate_is_constant() -> None:
    assert {learning_rate_at(step, BASE, 100) for step in range(100)} == {3e-3}


def test_warming_up_rises_in_equal_steps_to_the_peak() -> None:
    config = replace(BASE, learning_rate=0.1, warmup=4)
    rates = [learning_rate_at(step, config, 100) for step in range(6)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("warmup", [0, 10])
def test_the_cosine_falls_from_the_peak_to_nothing(warmup: int) -> None:
    config = replace(BASE, learning_rate=0.1, warmup=warmup, schedule="cosine")
    steps = 110
    left = steps - warmup
    # 1/2 (1 + cos(pi t)) is cos^2(pi t / 2): the peak, 3/4 of it a third of the way, half of it half way, then 1/4.
    for t, share in ((0, 1), (1 / 2, 1 / 2), (1, 0)):
        assert learning_rate_at(warmup + round(t * left), config, steps) == pytest.approx(0.1 * share, abs=1e-12)
    rates = np.array([learning_rate_at(step, config, steps) for step in range(warmup, steps)])
    np.testing.assert_allclose(rates, 0.1 * np.cos(np.pi / 2 * np.arange(left) / left) ** 2, atol=1e-12)
    assert rates[-1] < 1e-4


def test_a_warm_up_longer_than_the_run_never_reaches_the_peak() -> None:
    config = replace(BASE, learning_rate=0.1, warmup=1000, schedule="cosine")
    assert learning_rate_at(99, config, 100) == pytest.approx(0.01)


def test_the_learning_rate_reported_is_that_of_the_epochs_last_step(small_dataset: Dataset, tmp_path: Path) -> None:
    config = replace(BASE, learning_rate=0.004, schedule="cosine", warmup=5, epochs=3)  # 15 steps, 10 after warm-up
    history = train(small_dataset, config, tmp_path / "run").history
    expected = [0.004, 0.004 * math.cos(math.pi / 2 * 0.4) ** 2, 0.004 * math.cos(math.pi / 2 * 0.9) ** 2]
    assert [line["learning_rate"] for line in history] == pytest.approx(expected)


def test_the_schedule_changes_what_is_learned(small_dataset: Dataset, tmp_path: Path) -> None:
    for name, options in (("plain", {}), ("cosine", {"schedule": "cosine"}), ("warm", {"warmup": 5})):
        train(small_dataset, replace(BASE, **options), tmp_path / name)
    assert len({weights_of(tmp_path / name) for name in ("plain", "cosine", "warm")}) == 3


@pytest.mark.parametrize("part", ["train", "test"])
def test_data_without_items_is_refused_before_anything_is_written(
    part: str, small_dataset: Dataset, tmp_path: Path
) -> None:
    data = replace(small_dataset, **{part: Split(small_dataset.train.items[:0])})
    with pytest.raises(DataError, match=f"has no {'training' if part == 'train' else 'test'} items"):
        train(data, BASE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_items_of_another_dtype_are_refused_before_anything_is_written(small_dataset: Dataset, tmp_path: Path) -> None:
    doubles: Any = small_dataset.test.items.astype(np.float64)
    with pytest.raises(DataError, match="test items of float64; give uint8 or float32"):
        train(replace(small_dataset, test=Split(doubles)), BASE, tmp_path / "run")
    assert not (tmp_path / "run").exists()
