"""A run's folder: what is in it, what is refused, and what a full or read-only disk leaves behind."""

import contextlib
import hashlib
import json
import math
import os
import pickle
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from vaekit.datasets import DataOptions, Dataset
from vaekit.errors import CheckpointError, OutputError, VaekitError
from vaekit.training import Checkpoint, EpochMetrics, TrainConfig, train
from vaekit.training.checkpoint import checkpoint_folders, load_weights, write_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = TrainConfig(hidden=(16,), latent=3, epochs=3, batch_size=64, seed=5, device="cpu", compile=False)


@pytest.fixture(scope="module")
def whole(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return train(small_dataset, CONFIG, tmp_path_factory.mktemp("whole") / "run").run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def newest(run: Path, name: str = "") -> Path:
    return run / "checkpoints" / "epoch-0003" / name


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def change_json(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def test_a_run_holds_the_documented_files_and_the_two_newest_checkpoints(whole: Path) -> None:
    files = ("optimizer.safetensors", "state.json", "weights.safetensors")
    assert sorted(snapshot(whole)) == sorted(
        [
            "run.json",
            "config.toml",
            "means.npz",
            "metrics.jsonl",
            *(f"checkpoints/epoch-000{epoch}/{file}" for epoch in (2, 3) for file in files),
        ]
    )


def test_the_newest_checkpoint_is_the_last_epochs(run: Path) -> None:
    found = Checkpoint.latest(run)
    assert (found.epoch, len(found.history), found.folder, found.run) == (3, 3, newest(run), run)
    shutil.rmtree(newest(run))
    assert Checkpoint.latest(run).epoch == 2


def test_checkpoints_are_ordered_by_number_not_as_text(run: Path) -> None:
    history = [{"epoch": epoch} for epoch in range(1, 10_002)]
    for epoch in (9_998, 9_999, 10_000, 10_001):
        write_checkpoint(run, epoch, history[:epoch], {"w": torch.zeros(1)}, {})
    assert [folder.name for folder in checkpoint_folders(run)] == ["epoch-10000", "epoch-10001"]
    assert Checkpoint.latest(run).epoch == 10_001


def test_run_json_states_options_data_and_versions(whole: Path, small_dataset: Dataset) -> None:
    value = json.loads((whole / "run.json").read_text())
    assert value["config"]["hidden"] == [16]
    assert value["config"]["seed"] == 5
    assert value["model"]["data"]["shape"] == [1, 28, 28]
    options = DataOptions().to_json()
    assert value["data"] == {"source": small_dataset.source, "sha256": small_dataset.sha256, "options": options}
    assert value["versions"]["torch"] == torch.__version__
    assert set(value["versions"]) == {"vaekit", "torch", "python"}
    assert Checkpoint.latest(whole).info.config == CONFIG


def test_state_json_states_the_hash_of_each_file(whole: Path) -> None:
    state = json.loads(newest(whole, "state.json").read_text())
    expected = {
        name: hashlib.sha256(newest(whole, name).read_bytes()).hexdigest()
        for name in ("weights.safetensors", "optimizer.safetensors")
    }
    assert state["sha256"] == expected


def test_weights_are_read_by_safetensors_alone(whole: Path) -> None:
    weights = load_file(newest(whole, "weights.safetensors"))
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    assert shapes == {
        "encoder.0.weight": (16, 784),
        "encoder.0.bias": (16,),
        "encoder.2.weight": (6, 16),
        "encoder.2.bias": (6,),
        "decoder.0.weight": (16, 3),
        "decoder.0.bias": (16,),
        "decoder.2.weight": (784, 16),
        "decoder.2.bias": (784,),
    }
    model = Checkpoint.latest(whole).model()
    assert all((model.state_dict()[name].numpy() == tensor).all() for name, tensor in weights.items())
    optimizer = load_file(newest(whole, "optimizer.safetensors"))
    assert {name.split("/", 1)[1] for name in optimizer} == set(weights)
    assert float(optimizer["step/encoder.0.bias"]) == 15  # three epochs of five steps


def test_nothing_is_pickled_or_unpickled(
    small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("pickle was used")

    for module in (torch, pickle):
        for name in ("load", "save", "loads", "dumps", "dump", "Unpickler", "Pickler"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, refuse)
    run = train(small_dataset, replace(CONFIG, epochs=1), tmp_path / "run").run
    assert Checkpoint.latest(run).model() is not None
    train(small_dataset, replace(CONFIG, epochs=1), run, resume=True)


def test_there_is_no_run_where_nothing_is(tmp_path: Path) -> None:
    expected = f"there is no run at {tmp_path / 'none'}; start one with `vaekit train --out {tmp_path / 'none'}`."
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        Checkpoint.latest(tmp_path / "none")


def test_a_folder_without_run_json_is_no_run(tmp_path: Path) -> None:
    expected = (
        f"{tmp_path} holds no run.json, so it is no run; start one in a new folder with `vaekit train --out FOLDER`."
    )
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        Checkpoint.latest(tmp_path)


def test_a_file_is_no_run(tmp_path: Path) -> None:
    (file := tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=re.escape(f"{file} holds no run.json, so it is no run; start one in a")):
        Checkpoint.latest(file)


def test_a_bundle_is_no_run(small_bundle: Path) -> None:
    expected = f"{small_bundle} is a bundle, not a run; name the folder of the run that it was exported from."
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        Checkpoint.latest(small_bundle)


def test_a_run_without_a_checkpoint_says_so(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(CheckpointError, match=re.escape(f"{run} has no checkpoint: no epoch was finished")):
        Checkpoint.latest(run)


def without(name: str) -> Callable[[Any], Any]:
    return lambda value: {key: inner for key, inner in value.items() if key != name}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("config"), "'config' is missing"),
        (without("model"), "'model' is missing"),
        (without("data"), "'data' is missing"),
        (without("versions"), "'versions' is missing"),
        (lambda value: [value], "list indices"),
        (lambda value: {**value, "config": None}, "not iterable"),
        (lambda value: {**value, "config": {**value["config"], "no_such": 3}}, "does not know: no_such"),
        (lambda value: {**value, "config": {**value["config"], "latent": 2.5}}, "latent=2.5: give a whole number"),
        (lambda value: {**value, "config": {**value["config"], "beta": float("nan")}}, "beta=nan"),
        (lambda value: {**value, "model": {**value["model"], "kind": "gan"}}, "kind='gan' is unknown"),
        (lambda value: {**value, "model": {**value["model"], "posterior": "normal"}}, ""),
        (lambda value: {**value, "data": "mnist"}, ""),
        (lambda value: {**value, "versions": 3}, ""),
    ],
)
def test_a_malformed_run_json_is_refused_with_the_reason(run: Path, change: Callable[[Any], Any], reason: str) -> None:
    change_json(run / "run.json", change)
    with pytest.raises(CheckpointError, match=re.escape(f"{run / 'run.json'} cannot be read: ")) as refusal:
        Checkpoint.latest(run)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b'{"config": {', b"\xff\xfe\0", b"null"])
def test_a_run_json_that_is_no_json_is_refused(run: Path, content: bytes) -> None:
    (run / "run.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run\.json cannot be read: "):
        Checkpoint.latest(run)


@pytest.mark.parametrize("keep", [0, 1, 40, -3])
def test_a_truncated_state_json_is_refused_with_the_way_out(run: Path, keep: int) -> None:
    path = newest(run, "state.json")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=re.escape(f"{path} cannot be read: ")) as refusal:
        Checkpoint.latest(run)
    assert f"delete {newest(run)} to use the one before." in str(refusal.value)
    shutil.rmtree(newest(run))
    assert Checkpoint.latest(run).epoch == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("epoch"), "'epoch' is missing"),
        (without("history"), "'history' is missing"),
        (without("sha256"), "'sha256' is missing"),
        (lambda value: {**value, "epoch": 2}, "it is of epoch 2, with 3 epochs of history"),
        (lambda value: {**value, "epoch": 0, "history": []}, "it is of epoch 0, with 0 epochs of history"),
        (lambda value: {**value, "epoch": math.inf}, "cannot convert float infinity to integer"),
        (lambda value: {**value, "sha256": 7}, ""),
        (lambda value: [value], ""),
    ],
)
def test_a_malformed_state_json_is_refused(run: Path, change: Callable[[Any], Any], reason: str) -> None:
    change_json(newest(run, "state.json"), change)
    with pytest.raises(CheckpointError, match=r"state\.json cannot be read: ") as refusal:
        Checkpoint.latest(run)
    assert reason in str(refusal.value)


def test_a_checkpoint_copied_to_another_epochs_name_is_not_taken_for_it(run: Path) -> None:
    copied = newest(run).with_name("epoch-0009")
    shutil.copytree(newest(run), copied)
    with pytest.raises(CheckpointError, match=rf"state\.json .*: it is of epoch 3, .*; delete {copied} to use the one"):
        Checkpoint.latest(run)


def read(run: Path, name: str) -> None:
    checkpoint = Checkpoint.latest(run)
    if name == "weights.safetensors":
        checkpoint.model()
    else:
        checkpoint.optimizer()


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("place", [0, 20, -1])
def test_one_flipped_bit_in_a_tensor_file_is_found(run: Path, name: str, place: int) -> None:
    flip(newest(run, name), place)
    expected = f"{newest(run, name)} was changed; delete {newest(run)} to use the checkpoint before."
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        read(run, name)
    shutil.rmtree(newest(run))
    read(run, name)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
def test_a_missing_tensor_file_is_named(run: Path, name: str) -> None:
    newest(run, name).unlink()
    with pytest.raises(CheckpointError, match=re.escape(f"{newest(run, name)} cannot be read: ")):
        read(run, name)


def put_weights(run: Path, content: bytes) -> None:
    """Give a checkpoint other weights, with a state.json that states them truly."""
    newest(run, "weights.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    change_json(
        newest(run, "state.json"),
        lambda value: {**value, "sha256": {**value["sha256"], "weights.safetensors": digest}},
    )


def test_weights_that_are_no_safetensors_file_are_refused(run: Path) -> None:
    put_weights(run, pickle.dumps({"encoder.0.weight": 1}))
    with pytest.raises(CheckpointError, match=r"weights\.safetensors cannot be read: .* to use the one before"):
        Checkpoint.latest(run).weights()


@pytest.mark.parametrize("options", [{"hidden": (17,)}, {"hidden": (16, 16)}, {"kind": "ae"}])
def test_another_models_weights_are_refused(
    run: Path, small_dataset: Dataset, tmp_path: Path, options: dict[str, Any]
) -> None:
    other = train(small_dataset, replace(CONFIG, epochs=1, **options), tmp_path / "other")
    put_weights(run, (other.folder / "weights.safetensors").read_bytes())
    expected = f"{newest(run, 'weights.safetensors')} holds another model's weights: "
    with pytest.raises(CheckpointError, match=re.escape(expected)) as refusal:
        Checkpoint.latest(run).model()
    assert "\n" not in str(refusal.value)


def test_weights_with_a_name_too_few_are_refused(run: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.latest(run)
    weights = checkpoint.weights()
    del weights["decoder.2.bias"]
    save_file(weights, tmp_path / "fewer.safetensors")
    with pytest.raises(CheckpointError, match=r"fewer holds another model's weights: .*decoder\.2\.bias"):
        load_weights(checkpoint.model(), weights, Path("fewer"))


def test_a_number_that_is_not_finite_is_not_saved(run: Path) -> None:
    before = snapshot(run)
    history: list[Any] = [*Checkpoint.latest(run).history, {"epoch": 4, "test_kl": float("nan")}]
    with pytest.raises(VaekitError, match="a number that is not finite cannot be saved"):
        write_checkpoint(run, 4, history, {"w": torch.zeros(1)}, {})
    assert snapshot(run) == before


def check_failed_save(
    data: Dataset, run: Path, reason: str, *, fail: Callable[[], None], mend: Callable[[], None]
) -> None:
    """Break the disk after epoch 2, see epoch 3 refused, mend it, and see the run end as one that was never broken."""

    def after_epoch(metrics: EpochMetrics) -> None:
        if metrics.epoch == 2:
            fail()

    try:
        with pytest.raises(OutputError, match=reason) as refusal:
            train(data, CONFIG, run, on_epoch=after_epoch)
    finally:
        mend()
    last = run / "checkpoints" / "epoch-0002"
    assert str(refusal.value).startswith("epoch 3 could not be saved: ")
    assert str(refusal.value).endswith(f"Free some space and resume; the last good checkpoint is {last}.")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["epoch-0001", "epoch-0002"]
    found = Checkpoint.latest(run)
    assert (found.epoch, found.folder) == (2, last)
    assert found.model() is not None
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    train(data, CONFIG, run, resume=True)


def same_weights(a: Path, b: Path) -> bool:
    return newest(a, "weights.safetensors").read_bytes() == newest(b, "weights.safetensors").read_bytes()


def test_a_write_that_the_system_cuts_short_leaves_the_checkpoints_before(
    small_dataset: Dataset, whole: Path, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    check_failed_save(
        small_dataset,
        tmp_path / "run",
        "epoch-0003 could not be written: File too large",
        fail=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard)),  # the weights have 100 kB
        mend=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)),
    )
    assert same_weights(tmp_path / "run", whole)


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no disk could be mounted: {error}")
    if mounted.returncode:
        pytest.skip(f"no disk could be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_checkpoints_before(small_dataset: Dataset, whole: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2_000) as disk:

        def fill() -> None:
            with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

        def free_some() -> None:
            # Room for a file of the next checkpoint, not for all three.
            fill()
            os.truncate(disk / "filler", (disk / "filler").stat().st_size - 150_000)

        check_failed_save(
            small_dataset,
            disk / "run",
            "epoch-0003 could not be written: No space left on device",
            fail=free_some,
            mend=(disk / "filler").unlink,
        )
        assert same_weights(disk / "run", whole)


def test_a_disk_that_becomes_read_only_leaves_the_checkpoints_before(
    small_dataset: Dataset, whole: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 4_000) as disk:

        def remount(mode: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)

        check_failed_save(
            small_dataset,
            disk / "run",
            r"means\.npz could not be written: Read-only file system",
            fail=lambda: remount("ro"),
            mend=lambda: remount("rw"),
        )
        assert same_weights(disk / "run", whole)
        remount("ro")
        with pytest.raises(OutputError, match="new could not be made: Read-only file system"):
            train(small_dataset, CONFIG, disk / "new")
        with pytest.raises(OutputError, match=r"metrics\.jsonl could not be written: Read-only file system"):
            train(small_dataset, CONFIG, disk / "run", resume=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder_takes_no_run(small_dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(OutputError, match="run could not be made: Permission denied"):
        train(small_dataset, CONFIG, tmp_path / "closed" / "run")


def test_a_checkpoint_is_good_though_its_line_of_metrics_could_not_be_written(
    small_dataset: Dataset, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def block(metrics: EpochMetrics) -> None:
        if metrics.epoch == 2:
            (run / "metrics.jsonl").unlink()
            (run / "metrics.jsonl").mkdir()

    expected = f"epoch 3 could not be saved: .*metrics.jsonl is a folder.* the last good checkpoint is {newest(run)}."
    with pytest.raises(OutputError, match=expected):
        train(small_dataset, CONFIG, run, on_epoch=block)
    (run / "metrics.jsonl").rmdir()
    assert train(small_dataset, CONFIG, run, resume=True).epoch == 3
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3
    assert same_weights(run, whole)


def test_a_first_checkpoint_that_cannot_be_written_says_that_there_is_none(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        with pytest.raises(OutputError, match=r"epoch 1 could not be saved: .* there is no checkpoint yet"):
            train(small_dataset, CONFIG, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert train(small_dataset, CONFIG, tmp_path / "run", resume=True).epoch == 3
