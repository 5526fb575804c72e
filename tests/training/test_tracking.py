"""TensorBoard's files, read back with TensorBoard's own reader and compared with metrics.jsonl and the exported model."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vaekit.datasets import Dataset
from vaekit.errors import CheckpointError, MissingDependencyError, OutputError
from vaekit.noise import noise
from vaekit.training import Checkpoint, EpochMetrics, TrainConfig, train
from vaekit.training.tracking import COLUMNS, TensorBoard, in_pairs_of_rows

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed (the extra [tensorboard])"
)
CONFIG = TrainConfig(hidden=(8,), latent=2, epochs=2, batch_size=64, device="cpu", compile=False)
METRICS = EpochMetrics(1, *(float(value) for value in range(100, 107)), *(5, 1.5, 0.25))


def read(run: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def picture(events: Any, tag: str, epoch: int) -> np.ndarray:
    (found,) = (event for event in events.Images(tag) if event.step == epoch)
    with Image.open(io.BytesIO(found.encoded_image_string)) as image:
        return np.asarray(image.convert("L"))


def tracked(data: Dataset, config: TrainConfig, run: Path, *, resume: bool = False) -> Checkpoint:
    with TensorBoard(run, data, config.spec(data.spec), resume=resume) as board:
        return train(data, config, run, resume=resume, on_epoch=board.epoch, on_weights=board.weights)


@pytest.fixture(scope="module")
def run(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tracked"
    tracked(small_dataset, CONFIG, folder)
    return folder


@needs_tensorboard
def test_every_number_of_metrics_jsonl_is_a_scalar_at_its_epoch(run: Path) -> None:
    events = read(run)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    names = {
        name: f"{name[6:]}/train"
        if name.startswith("train_")
        else f"{name[5:]}/test"
        if name.startswith("test_")
        else name
        for name in lines[0]
        if name != "epoch"
    }
    assert set(events.Tags()["scalars"]) == set(names.values())
    for name, tag in names.items():
        found = events.Scalars(tag)
        assert [event.step for event in found] == [1, 2]
        np.testing.assert_allclose([event.value for event in found], [line[name] for line in lines], rtol=1e-6)


@needs_tensorboard
def test_samples_are_the_decoder_s_means_of_the_portable_noise(run: Path) -> None:
    model: Any = Checkpoint.latest(run).model()
    with torch.inference_mode():
        x = torch.sigmoid(model.decode_params(torch.from_numpy(noise(seed=0, count=64, dim=2)))).numpy()
    sheet = picture(read(run), "samples", 2)
    assert sheet.shape == (8 * 30 - 2, 8 * 30 - 2)
    for index in (0, 7, 8, 63):
        top, left = index // 8 * 30, index % 8 * 30
        found = sheet[top : top + 28, left : left + 28]
        np.testing.assert_allclose(found, np.rint(x[index, 0] * 255), atol=1)


@needs_tensorboard
def test_reconstructions_stand_under_their_test_items(run: Path, small_dataset: Dataset) -> None:
    model: Any = Checkpoint.latest(run).model()
    items = small_dataset.test.items[:32]
    with torch.inference_mode():
        mean, _ = model.encode(torch.from_numpy(items).float() / 255)
        x_hat = torch.sigmoid(model.decode_params(mean)).numpy()
    sheet = picture(read(run), "reconstructions", 2)
    assert sheet.shape == (8 * 30 - 2, 8 * 30 - 2)
    for index in (0, 7, 8, 31):
        top, left = index // 8 * 60, index % 8 * 30
        np.testing.assert_array_equal(sheet[top : top + 28, left : left + 28], items[index, 0])
        below = sheet[top + 30 : top + 58, left : left + 28]
        np.testing.assert_allclose(below, np.rint(x_hat[index, 0] * 255), atol=1)


@needs_tensorboard
def test_tracking_changes_nothing_in_the_run(run: Path, small_dataset: Dataset, tmp_path: Path) -> None:
    plain = train(small_dataset, CONFIG, tmp_path / "plain")
    for name, tensor in plain.weights().items():
        torch.testing.assert_close(tensor, Checkpoint.latest(run).weights()[name], rtol=0, atol=0)


@needs_tensorboard
def test_a_resumed_run_has_each_epoch_once(small_dataset: Dataset, tmp_path: Path) -> None:
    folder, config = tmp_path / "run", replace(CONFIG, epochs=3)
    tracked(small_dataset, config, folder)
    shutil.rmtree(folder / "checkpoints" / "epoch-0003")  # as if it had stopped in the third epoch
    tracked(small_dataset, config, folder, resume=True)
    events = read(folder)
    assert len(list((folder / "tensorboard").iterdir())) == 2
    for tag in events.Tags()["scalars"]:
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3], tag
    for tag in ("samples", "reconstructions"):
        assert [event.step for event in events.Images(tag)] == [1, 2, 3], tag


@needs_tensorboard
def test_without_that_an_epoch_would_be_there_twice(small_dataset: Dataset, tmp_path: Path) -> None:
    # The control: TensorBoard's reader drops nothing by itself.
    spec = CONFIG.spec(small_dataset.spec)
    for _ in range(2):
        with TensorBoard(tmp_path, small_dataset, spec) as board:
            board.epoch(METRICS)
    assert [event.step for event in read(tmp_path).Scalars("negative_elbo/test")] == [1, 1]


@needs_tensorboard
def test_items_that_are_no_images_give_scalars_alone(real_dataset: Dataset, tmp_path: Path) -> None:
    tracked(real_dataset, replace(CONFIG, likelihood="gaussian", epochs=1), tmp_path / "run")
    tags = read(tmp_path / "run").Tags()
    assert "negative_elbo/train" in tags["scalars"]
    assert tags["images"] == []


@needs_tensorboard
def test_an_autoencoder_gives_reconstructions_but_no_samples(small_dataset: Dataset, tmp_path: Path) -> None:
    tracked(small_dataset, replace(CONFIG, kind="ae", epochs=1), tmp_path / "run")
    assert read(tmp_path / "run").Tags()["images"] == ["reconstructions"]


@needs_tensorboard
def test_nothing_is_written_before_the_first_epoch(small_dataset: Dataset, tmp_path: Path) -> None:
    with TensorBoard(tmp_path / "run", small_dataset, CONFIG.spec(small_dataset.spec)):
        assert not (tmp_path / "run").exists()
    assert list(tmp_path.iterdir()) == []


@needs_tensorboard
def test_a_folder_that_takes_no_files_is_an_output_error(small_dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file stands where the folder belongs")
    board = TensorBoard(tmp_path, small_dataset, CONFIG.spec(small_dataset.spec))
    with pytest.raises(OutputError, match="tensorboard could not be written: File exists"):
        board.epoch(METRICS)


@needs_tensorboard
def test_resuming_what_is_no_run_is_refused_where_it_has_checkpoints(small_dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "epoch-0001").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="so it is no run"):
        TensorBoard(tmp_path, small_dataset, CONFIG.spec(small_dataset.spec), resume=True)


def test_without_the_extra_the_error_names_it(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    message = r"--tensorboard needs TensorBoard; install it with `pip install 'vaekit\[tensorboard\]'`"
    with pytest.raises(MissingDependencyError, match=message):
        TensorBoard(tmp_path, small_dataset, CONFIG.spec(small_dataset.spec))


@pytest.mark.parametrize(("count", "order"), [(5, [0, 1, 2, 3, 4]), (8, list(range(8))), (20, list(range(16)))])
def test_rows_of_items_alternate_with_rows_of_reconstructions(count: int, order: list[int]) -> None:
    x = np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1)
    found = in_pairs_of_rows(x, x + 100, COLUMNS).reshape(-1).tolist()
    rows = [order[i : i + COLUMNS] for i in range(0, len(order), COLUMNS)]
    assert found == [value for row in rows for value in (*row, *(item + 100 for item in row))]
