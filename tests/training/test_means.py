"""The means that a run keeps: what is kept, that it survives being stopped, and that training does not notice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaekit.datasets import Dataset, Split
from vaekit.errors import CheckpointError, OutputError
from vaekit.spec import DataSpec, ModelSpec
from vaekit.training import Checkpoint, EpochMetrics, TrainConfig, train
from vaekit.training import means as module
from vaekit.training.means import KeptMeans, MeansKeeper, chosen_rows, kept_epochs

CONFIG = TrainConfig(hidden=(16,), latent=3, epochs=4, batch_size=64, seed=5, device="cpu", compile=False)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return train(small_dataset, CONFIG, tmp_path_factory.mktemp("means") / "run").run


def read(run: Path) -> KeptMeans:
    kept = KeptMeans.read(run)
    assert kept is not None
    return kept


def test_the_last_means_are_those_of_the_last_checkpoints_encoder(run: Path, small_dataset: Dataset) -> None:
    kept = read(run)
    assert kept.epochs.tolist() == [1, 2, 3, 4]
    assert kept.means.shape == (4, 300, 3)
    assert kept.means.dtype == np.float32
    np.testing.assert_array_equal(kept.rows, np.arange(300))
    assert small_dataset.test.labels is not None
    np.testing.assert_array_equal(kept.labels, small_dataset.test.labels)  # type: ignore[arg-type]
    model: Any = Checkpoint.latest(run).model()
    x = torch.from_numpy(small_dataset.test.items.astype(np.float32) / 255)  # type: ignore[union-attr]
    with torch.inference_mode():
        np.testing.assert_allclose(kept.means[-1], model.encode(x)[0].numpy(), atol=1e-6)
    assert np.abs(np.diff(kept.means, axis=0)).max(axis=(1, 2)).min() > 1e-3  # the epochs differ


def test_the_average_of_the_weights_is_what_is_encoded_where_there_is_one(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    checkpoint = train(small_dataset, replace(CONFIG, ema=0.9, epochs=2), tmp_path / "run")
    model: Any = checkpoint.model()  # the exported weights: the average
    x = torch.from_numpy(small_dataset.test.items.astype(np.float32) / 255)  # type: ignore[union-attr]
    with torch.inference_mode():
        np.testing.assert_allclose(read(tmp_path / "run").means[-1], model.encode(x)[0].numpy(), atol=1e-6)


def test_training_gives_the_same_weights_without_keeping_means(
    small_dataset: Dataset, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MeansKeeper, "epoch", lambda *_: None)
    other = train(small_dataset, CONFIG, tmp_path / "run")
    assert not (tmp_path / "run" / "means.npz").exists()
    with_means = Checkpoint.latest(run)
    for name, weight in with_means.weights().items():
        assert torch.equal(weight, other.weights()[name]), name
    timeless = [{k: v for k, v in line.items() if "seconds" not in k} for line in with_means.history]
    assert timeless == [{k: v for k, v in line.items() if "seconds" not in k} for line in other.history]


class Restless(torch.nn.Module):
    """An encoder that draws from torch's own generator, as a module of a user's may."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self.weight * torch.randn(len(x), 3)
        return mean, torch.zeros_like(mean)


def test_a_module_that_draws_random_numbers_leaves_the_generator_as_it_was(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    keeper = MeansKeeper(small_dataset, ModelSpec("vae", DataSpec((1, 28, 28)), 3, "bernoulli"), tmp_path)
    before = torch.random.get_rng_state()
    keeper.epoch(1, Restless())
    assert torch.equal(torch.random.get_rng_state(), before)


class Stop(Exception):  # noqa: N818
    """What ends a run early."""


def test_a_stopped_run_goes_on_to_the_means_of_one_that_never_was(
    small_dataset: Dataset, run: Path, tmp_path: Path
) -> None:
    def stop(metrics: EpochMetrics) -> None:
        if metrics.epoch == 2:
            raise Stop

    stopped = tmp_path / "run"
    with pytest.raises(Stop):
        train(small_dataset, CONFIG, stopped, on_epoch=stop)
    # Killed between an epoch's means and its checkpoint: the file is ahead, and that epoch is trained again.
    kept = read(stopped)
    ahead = KeptMeans(kept.rows, kept.labels, np.array([1, 2, 3]), np.concatenate([kept.means, kept.means[:1] + 9]))
    (stopped / "means.npz").write_bytes(ahead.to_bytes())
    train(small_dataset, CONFIG, stopped, resume=True)
    assert (stopped / "means.npz").read_bytes() == (run / "means.npz").read_bytes()


def test_a_run_without_means_keeps_them_from_the_next_epoch_on(small_dataset: Dataset, tmp_path: Path) -> None:
    def stop(metrics: EpochMetrics) -> None:
        if metrics.epoch == 2:
            raise Stop

    for damage in (Path.unlink, lambda path: path.write_bytes(b"no archive")):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with pytest.raises(Stop):
            train(small_dataset, CONFIG, folder, on_epoch=stop)
        damage(folder / "means.npz")  # type: ignore[operator]
        train(small_dataset, CONFIG, folder, resume=True)
        assert read(folder).epochs.tolist() == [3, 4]


def test_a_damaged_file_is_refused_where_it_is_read(run: Path, tmp_path: Path) -> None:
    assert KeptMeans.read(tmp_path) is None
    content = (run / "means.npz").read_bytes()
    kept = read(run)
    short = KeptMeans(kept.rows, kept.labels, kept.epochs[:-1], kept.means)
    for damaged in (b"", content[: len(content) // 2], short.to_bytes()):
        (tmp_path / "means.npz").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"means\.npz cannot be read: .*; delete it, and the run keeps means"):
            KeptMeans.read(tmp_path)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [1]),
        (32, list(range(1, 33))),
        (33, [*range(1, 33, 2), 33]),  # 17
        (34, [*range(1, 34, 2), 34]),  # the last is kept whatever its number
        (64, [*range(1, 64, 2), 64]),
        (65, [*range(1, 66, 4)]),
        (1000, [*range(1, 1000, 32), 1000]),
    ],
)
def test_long_runs_keep_each_second_fourth_or_eighth_epoch_and_the_last(count: int, expected: list[int]) -> None:
    assert kept_epochs(range(1, count + 1)) == expected
    assert len(expected) <= module.KEPT_EPOCHS + 1


def test_thinning_epoch_by_epoch_comes_to_the_same_as_thinning_once() -> None:
    kept: list[int] = []
    for epoch in range(1, 300):
        kept = kept_epochs([*kept, epoch])
        assert kept == kept_epochs(range(1, epoch + 1))


def split(shape: tuple[int, ...], count: int, dtype: Any = np.uint8) -> Split:
    return Split(np.broadcast_to(np.zeros(1, dtype), (count, *shape)))


def test_large_codes_and_large_items_are_kept_of_fewer_items_or_of_none() -> None:
    assert len(chosen_rows(split((784,), 10_000), 20)) == 1000
    assert len(chosen_rows(split((784,), 7), 20)) == 7
    assert len(chosen_rows(split((784,), 10_000), 256)) == 512  # 2^17 / 256
    assert len(chosen_rows(split((784,), 10_000), 1 << 14)) == 0  # 8 items would show nothing
    assert len(chosen_rows(split((3, 512, 512), 10_000), 20)) == 85  # 64 MiB of 786,432 bytes
    assert len(chosen_rows(split((3, 1024, 1024), 10_000, np.float32), 20)) == 0
    rows = chosen_rows(split((784,), 10_000), 20)
    assert (rows[0], rows[-1], len(set(rows.tolist()))) == (0, 9999, 1000)


def test_where_nothing_is_kept_there_is_no_file(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_VALUES", 10)
    train(small_dataset, replace(CONFIG, epochs=1), tmp_path / "run")
    assert not (tmp_path / "run" / "means.npz").exists()


def test_data_without_labels_has_means_without_labels(real_dataset: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, kind="ae", likelihood="gaussian", epochs=1)
    train(real_dataset, config, tmp_path / "run")
    kept = read(tmp_path / "run")
    assert kept.labels is None
    assert kept.means.shape == (1, 300, 3)


def test_a_disk_that_does_not_take_them_ends_the_run_with_its_last_checkpoint(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: bytes) -> None:
        raise OutputError(f"{path} could not be written: No space left on device.")

    def fill(metrics: EpochMetrics) -> None:
        if metrics.epoch == 1:
            monkeypatch.setattr(module, "write_file", full)

    with pytest.raises(
        OutputError, match=r"epoch 2 could not be saved: .*means\.npz could not be written: No space left"
    ) as error:
        train(small_dataset, CONFIG, tmp_path / "run", on_epoch=fill)
    assert str(error.value).endswith(f"the last good checkpoint is {tmp_path / 'run/checkpoints/epoch-0001'}.")
    assert Checkpoint.latest(tmp_path / "run").epoch == 1
