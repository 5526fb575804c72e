"""Runs that were stopped go on to the numbers of runs that never were: bit for bit."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vaekit.datasets import DataOptions, Dataset, load_dataset
from vaekit.errors import CheckpointError
from vaekit.training import Checkpoint, EpochMetrics, Progress, TrainConfig, train
from vaekit.training.alone import alone_with
from vaekit.training.checkpoint import RunInfo
from vaekit.training.config_file import read_config

pytestmark = pytest.mark.usefixtures("one_thread")
needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="nothing is locked on Windows")

# 320 items in batches of 48: the last of seven steps is a smaller batch.
CONFIG = TrainConfig(
    hidden=(16,),
    latent=3,
    epochs=5,
    batch_size=48,
    schedule="cosine",
    warmup=9,
    seed=5,
    device="cpu",
    compile=False,
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def uninterrupted(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return train(small_dataset, CONFIG, tmp_path_factory.mktemp("uninterrupted") / "run").run


class Stop(Exception):  # noqa: N818
    """What ends a run early in these tests."""


def begin(data: Dataset, config: TrainConfig, run: Path, *, epochs: int) -> None:
    """Train, and stop once an epoch's checkpoint is written."""

    def stop(metrics: EpochMetrics) -> None:
        if metrics.epoch == epochs:
            raise Stop

    with pytest.raises(Stop):
        train(data, config, run, on_epoch=stop)


def comparable(run: Path) -> dict[str, Any]:
    """All of a run that must not depend on how often it was stopped: everything but the seconds."""

    def timeless(line: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in line.items() if name not in ("seconds", "loading_seconds")}

    found: dict[str, Any] = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        name = str(path.relative_to(run))
        if path.name == "metrics.jsonl":
            found[name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name == "state.json":
            state = json.loads(path.read_text())
            found[name] = {**state, "history": [timeless(line) for line in state["history"]]}
        else:
            found[name] = path.read_bytes()
    return found


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(
    small_dataset: Dataset, uninterrupted: Path, tmp_path: Path, epochs: int
) -> None:
    run = tmp_path / "run"
    begin(small_dataset, CONFIG, run, epochs=epochs)
    assert Checkpoint.latest(run).epoch == epochs
    seen: list[EpochMetrics] = []
    torch.manual_seed(99)  # none of torch's own random numbers may matter
    assert train(small_dataset, CONFIG, run, resume=True, on_epoch=seen.append).epoch == 5
    assert [metrics.epoch for metrics in seen] == list(range(epochs + 1, 6))
    assert comparable(run) == comparable(uninterrupted)
    assert len(comparable(run)["metrics.jsonl"]) == 5


CONSTANT = replace(CONFIG, schedule="constant", kl_warmup=20, ema=0.9)  # both warm-ups last into the third epoch


@pytest.fixture(scope="module")
def constant(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return train(small_dataset, CONSTANT, tmp_path_factory.mktemp("constant") / "run").run


@pytest.mark.parametrize(
    ("asked", "stopped"), [(2, None), (1, None), (4, 2), (9, 3)], ids=["2", "1", "2 of 4", "3 of 9"]
)
def test_a_run_trained_longer_is_the_run_that_was_begun_for_so_long_bit_for_bit(
    small_dataset: Dataset, constant: Path, tmp_path: Path, asked: int, stopped: int | None
) -> None:
    run = tmp_path / "run"
    if stopped is None:
        train(small_dataset, replace(CONSTANT, epochs=asked), run)
    else:
        begin(small_dataset, replace(CONSTANT, epochs=asked), run, epochs=stopped)
    torch.manual_seed(99)
    began: list[int] = []
    assert train(small_dataset, CONSTANT, run, resume=True, on_begin=began.append).epoch == 5
    assert began == [stopped or asked]
    assert comparable(run) == comparable(constant)  # run.json and config.toml among the rest
    assert Checkpoint.latest(run).info.config.epochs == 5
    assert read_config(run / "config.toml").train["epochs"] == 5


def test_a_run_stopped_before_its_first_checkpoint_may_be_trained_longer_too(
    small_dataset: Dataset, constant: Path, tmp_path: Path
) -> None:
    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_dataset, replace(CONSTANT, epochs=2), tmp_path / "run", on_begin=stop)
    train(small_dataset, CONSTANT, tmp_path / "run", resume=True)
    assert comparable(tmp_path / "run") == comparable(constant)


def test_a_longer_run_that_is_stopped_in_mid_epoch_goes_on_to_its_new_end(
    small_dataset: Dataset, constant: Path, tmp_path: Path
) -> None:
    def stop(at: Progress) -> None:
        if at.epoch == 4:
            raise Stop

    run = tmp_path / "run"
    train(small_dataset, replace(CONSTANT, epochs=2), run)
    with pytest.raises(Stop):
        train(small_dataset, CONSTANT, run, resume=True, on_progress=stop)
    assert Checkpoint.latest(run).epoch == 3
    train(small_dataset, RunInfo.read(run).config, run, resume=True)  # as --resume alone does
    assert comparable(run) == comparable(constant)


def test_options_whose_writing_was_cut_short_are_those_of_before(
    small_dataset: Dataset, constant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train(small_dataset, replace(CONSTANT, epochs=2), run)
    with monkeypatch.context() as cut:
        cut.setattr("vaekit.training.checkpoint.RunInfo.to_bytes", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(small_dataset, CONSTANT, run, resume=True)
    assert RunInfo.read(run).config.epochs == 2
    train(small_dataset, CONSTANT, run, resume=True)
    assert comparable(run) == comparable(constant)


def test_a_learning_rate_that_depends_on_the_number_of_epochs_keeps_that_number(
    small_dataset: Dataset, uninterrupted: Path
) -> None:
    before = comparable(uninterrupted)
    expected = (
        f"--schedule cosine makes the learning rate depend on the number of epochs, 5 in {uninterrupted}, so it cannot have "
        f"6; begin another run with `vaekit train --config {uninterrupted}/config.toml --epochs 6 --out OTHER`."
    )
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        train(small_dataset, replace(CONFIG, epochs=6), uninterrupted, resume=True)
    assert comparable(uninterrupted) == before


@pytest.mark.parametrize("epochs", [1, 4])
def test_a_run_is_not_trained_for_fewer_epochs_than_it_has(small_dataset: Dataset, constant: Path, epochs: int) -> None:
    before = comparable(constant)
    expected = f"{constant} has 5 epochs already, and --epochs {epochs} counts them too; give more than 5."
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        train(small_dataset, replace(CONSTANT, epochs=epochs), constant, resume=True)
    assert comparable(constant) == before


def test_a_run_trained_longer_needs_its_other_options(small_dataset: Dataset, constant: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape("was begun with other options (seed); resume it")):
        train(small_dataset, replace(CONSTANT, epochs=6, seed=6), constant, resume=True)
    assert RunInfo.read(constant).config == CONSTANT


@pytest.mark.parametrize("options", [{"kind": "ae"}, {"likelihood": "gaussian", "beta": 0.5}, {"precision": "bf16"}])
def test_every_kind_of_run_resumes_bit_for_bit(small_dataset: Dataset, tmp_path: Path, options: dict[str, Any]) -> None:
    config = replace(CONFIG, epochs=3, **options)
    train(small_dataset, config, tmp_path / "whole")
    begin(small_dataset, config, tmp_path / "run", epochs=1)
    train(small_dataset, config, tmp_path / "run", resume=True)
    assert comparable(tmp_path / "run") == comparable(tmp_path / "whole")


def test_a_run_stopped_before_its_first_checkpoint_starts_from_the_beginning(
    small_dataset: Dataset, uninterrupted: Path, tmp_path: Path
) -> None:
    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_dataset, CONFIG, tmp_path / "run", on_progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.toml", "run.json"]
    train(small_dataset, CONFIG, tmp_path / "run", resume=True)
    assert comparable(tmp_path / "run") == comparable(uninterrupted)


def test_a_damaged_newest_checkpoint_can_be_deleted_to_go_on_from_the_one_before(
    small_dataset: Dataset, uninterrupted: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    newest = run / "checkpoints" / "epoch-0005"
    (newest / "optimizer.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="was changed; delete"):
        train(small_dataset, CONFIG, run, resume=True)
    shutil.rmtree(newest)
    train(small_dataset, CONFIG, run, resume=True)
    assert comparable(run) == comparable(uninterrupted)


def test_a_finished_run_is_resumed_without_a_step(small_dataset: Dataset, uninterrupted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    seen: list[Any] = []
    found = train(small_dataset, CONFIG, run, resume=True, on_epoch=seen.append, on_progress=seen.append)
    assert (found.epoch, seen) == (5, [])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": 6}, "seed"),
        ({"hidden": (16, 16)}, "hidden"),
        ({"learning_rate": 2e-3, "beta": 2.0}, "beta, learning_rate"),
        ({"kind": "ae"}, "kind"),
    ],
)
def test_a_run_is_not_resumed_with_other_options(
    small_dataset: Dataset, uninterrupted: Path, options: dict[str, Any], named: str
) -> None:
    before = comparable(uninterrupted)
    expected = f"{uninterrupted} was begun with other options ({named}); resume it with its own."
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        train(small_dataset, replace(CONFIG, **options), uninterrupted, resume=True)
    assert comparable(uninterrupted) == before


def test_a_run_is_not_resumed_with_other_data(small_dataset: Dataset, uninterrupted: Path) -> None:
    expected = f"{uninterrupted} was begun with other data (SHA-256 {small_dataset.sha256}, now {'0' * 64})."
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        train(replace(small_dataset, sha256="0" * 64), CONFIG, uninterrupted, resume=True)


def test_a_run_is_not_resumed_with_data_that_is_read_in_another_way(
    small_dataset: Dataset, uninterrupted: Path
) -> None:
    other = replace(small_dataset, options=DataOptions(split_seed=1))
    with pytest.raises(CheckpointError, match="was begun with the data read in another way"):
        train(other, CONFIG, uninterrupted, resume=True)


def test_a_run_is_not_resumed_with_items_of_another_shape(small_dataset: Dataset, uninterrupted: Path) -> None:
    train_split, test_split = (
        replace(split, items=split.items.reshape(-1, 784)) for split in (small_dataset.train, small_dataset.test)
    )
    with pytest.raises(CheckpointError, match=re.escape("was begun with other options (model)")):
        train(replace(small_dataset, train=train_split, test=test_split), CONFIG, uninterrupted, resume=True)


def test_there_is_nothing_to_resume_where_no_run_is(small_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no run at \S*none; start one with `vaekit train"):
        train(small_dataset, CONFIG, tmp_path / "none", resume=True)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_run_are_cleared(small_dataset: Dataset, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin(small_dataset, CONFIG, run, epochs=2)
    half = run / "checkpoints" / ".epoch-0003.0badcafe.tmp"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    (run / ".metrics.jsonl.0badcafe.tmp").write_bytes(b"half")
    train(small_dataset, CONFIG, run, resume=True)
    assert comparable(run) == comparable(uninterrupted)  # which also compares the list of files
    assert not half.exists()


@needs_locks
def test_a_run_is_trained_by_one_process_at_a_time(small_dataset: Dataset, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin(small_dataset, CONFIG, run, epochs=2)
    half = run / "checkpoints" / ".epoch-0003.0badcafe.tmp"  # what the other process writes just now
    half.mkdir()
    refusal = rf"{run} is being trained by another process; wait until it ends, or stop it, then go on\."
    with alone_with(run), pytest.raises(CheckpointError, match=refusal):
        train(small_dataset, CONFIG, run, resume=True)
    assert half.is_dir()
    assert Checkpoint.latest(run).epoch == 2

    def second(_: EpochMetrics) -> None:
        with pytest.raises(CheckpointError, match=refusal):
            train(small_dataset, CONFIG, run, resume=True)

    train(small_dataset, CONFIG, run, resume=True, on_epoch=second)
    assert comparable(run) == comparable(uninterrupted)


@needs_locks
def test_a_new_run_too_is_held_while_it_is_trained(small_dataset: Dataset, tmp_path: Path) -> None:
    run, refused = tmp_path / "run", []

    def second(metrics: EpochMetrics) -> None:
        with pytest.raises(CheckpointError, match="is being trained by another process"):
            train(small_dataset, CONFIG, run, resume=True)
        refused.append(metrics.epoch)

    train(small_dataset, CONFIG, run, on_epoch=second)
    assert refused == [1, 2, 3, 4, 5]


@needs_locks
def test_a_file_system_without_locks_holds_nothing_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone_with(tmp_path), alone_with(tmp_path):
        pass


KILLED = """
import pathlib, sys, time
import vaekit.training.checkpoint as checkpoint
from vaekit.datasets import load_dataset
from vaekit.training import TrainConfig, train

where, data, run, config = sys.argv[1:]
def stay():
    print("here", flush=True)
    time.sleep(600)
def progress(at):
    if where == "step" and at.epoch == 3 and 0 < at.step < at.steps:
        stay()
write = pathlib.Path.write_bytes
def write_bytes(path, content):
    if where == "file" and path.name == "optimizer.safetensors" and "epoch-0003" in str(path):
        write(path, content[:1000])
        stay()
    return write(path, content)
pathlib.Path.write_bytes = write_bytes
import json
train(load_dataset(data), TrainConfig.from_json(json.loads(config)), run, on_progress=progress)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("where", ["step", "file"])
def test_a_run_killed_in_mid_epoch_or_mid_write_resumes_bit_for_bit(
    small_data_folder: Path, tmp_path: Path, where: str
) -> None:
    run, config = tmp_path / "run", replace(CONFIG, batch_size=4, epochs=4)  # 80 steps an epoch
    command = [sys.executable, "-c", KILLED, where, str(small_data_folder), str(run), json.dumps(config.to_json())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL
    assert Checkpoint.latest(run).epoch == 2
    leftovers = [path.name for path in (run / "checkpoints").glob(".*")]
    assert len(leftovers) == (1 if where == "file" else 0)
    data = load_dataset(small_data_folder)
    train(data, config, run, resume=True)
    train(data, config, tmp_path / "whole")
    assert comparable(run) == comparable(tmp_path / "whole")


def cli(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "vaekit", *map(str, arguments)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT that one process can send to another")
def test_ctrl_c_stops_cleanly_and_the_command_it_names_goes_on_bit_for_bit(
    small_data_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "my run"
    options = [
        "--hidden",
        "256",
        "--batch-size",
        "1",
        "--epochs",
        "4",
        "--no-compile",
        "--device",
        "cpu",
        "--seed",
        "5",
    ]
    command = cli("train", small_data_folder, "--out", run, *options)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        deadline = time.monotonic() + 120
        while not (run / "checkpoints" / "epoch-0001").exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == f"stopped; go on with `vaekit train --resume '{run}'`\n"
    stopped = Checkpoint.latest(run)
    assert stopped.epoch < 4
    assert stopped.model() is not None
    assert list(run.rglob(".*")) == []
    resumed = subprocess.run(
        cli("train", "--resume", run), capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=120
    )
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert f"wrote {run}, epoch 4" in resumed.stdout
    train(load_dataset(small_data_folder), stopped.info.config, tmp_path / "whole")
    assert comparable(run) == comparable(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--schedule", "cosine"], "--schedule"),  # also when it says what the run has anyway
        (["--epochs", "6", "--seed", "1", "--kind", "ae"], "--kind, --seed"),
        (["--out", "elsewhere"], "--out"),
        (["mnist"], "data"),
    ],
)
def test_resuming_takes_no_other_option(
    uninterrupted: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    named: str,
) -> None:
    from vaekit.cli import main

    monkeypatch.setattr("warnings.showwarning", lambda *_, **__: None)  # main puts its own there
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as end:
        main(["train", "--resume", str(uninterrupted), *options])
    assert end.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: --resume goes on with the run's own options, so leave out {named}.\n"


def test_the_command_line_resumes_nothing_where_no_run_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaekit.cli import main

    monkeypatch.setattr("warnings.showwarning", lambda *_, **__: None)
    with pytest.raises(SystemExit) as end:
        main(["train", "--resume", str(tmp_path / "none")])
    assert end.value.code == 1
    assert "there is no run at " in capsys.readouterr().err


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """`vaekit train` in this process: code, standard output, standard error."""
    from vaekit.cli import main

    monkeypatch.setattr("warnings.showwarning", lambda *_, **__: None)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["train", *map(str, arguments)])
        return int(end.value.code or 0), *capsys.readouterr()

    return call


Command = Callable[..., tuple[int, str, str]]


def test_the_command_line_trains_longer_and_says_when_nothing_is_left_to_do(
    command: Command, small_data_folder: Path, tmp_path: Path
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    options = ("--hidden", 8, "--latent", 2, "--device", "cpu")
    assert command(small_data_folder, *options, "--epochs", 3, "--out", whole)[0] == 0
    assert command(small_data_folder, *options, "--epochs", 1, "--out", run)[0] == 0
    longer = command("--resume", run, "--epochs", 3)
    assert (longer[0], longer[1].splitlines()[-1]) == (0, f"wrote {run}, epoch 3")
    assert re.findall(r"epoch \d/\d", longer[1]) == ["epoch 2/3", "epoch 3/3"]
    assert comparable(run) == comparable(whole)
    nothing = f"nothing was left to do: {run} has all its epochs, 3; `--epochs N` trains longer\n"
    assert command("--resume", run) == (0, nothing, "")
    refused = f"error: {run} has 3 epochs already, and --epochs 3 counts them too; give more than 3.\n"
    assert command("--resume", run, "--epochs", 3) == (1, "", refused)
    code, out, _ = command("--resume", run, "--json")
    assert (code, json.loads(out)["epoch"]) == (0, 3)
    assert comparable(run) == comparable(whole)


def test_a_run_that_cannot_be_trained_longer_is_not_told_to(
    command: Command, small_data_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = ("--hidden", 8, "--latent", 2, "--device", "cpu", "--schedule", "cosine", "--epochs", 1, "--out", run)
    assert command(small_data_folder, *options)[0] == 0
    assert command("--resume", run) == (0, f"nothing was left to do: {run} has all its epochs, 1\n", "")
    code, out, err = command("--resume", run, "--epochs", 2)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "--schedule cosine makes the learning rate depend on the number of epochs, 1 in" in err


def test_what_is_said_of_a_stopped_run_is_so(
    command: Command, small_data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    given = (small_data_folder, "--hidden", 8, "--latent", 2, "--device", "cpu", "--epochs", 1, "--out", run)
    stopped = ("--resume", run, "--epochs", 2)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def said(*arguments: object) -> str:
        code, _, err = command(*arguments)
        assert code == 130
        return err

    with monkeypatch.context() as patched:
        patched.setattr("vaekit.datasets.load_dataset", interrupted)
        assert said(*given) == "stopped; nothing was written\n"
    with monkeypatch.context() as patched:
        patched.setattr("vaekit.training.trainer.measure", interrupted)
        assert said(*given) == f"stopped before the first checkpoint; `vaekit train --resume {run}` starts again\n"
    assert command("--resume", run)[0] == 0
    with monkeypatch.context() as patched:
        patched.setattr("vaekit.datasets.load_dataset", interrupted)
        assert said(*given) == "stopped; nothing was written\n"  # the run that stands there is another command's
        assert said(*stopped) == f"stopped; go on with `vaekit train --resume {run} --epochs 2`\n"
    with monkeypatch.context() as patched:
        patched.setattr("vaekit.training.trainer.measure", interrupted)
        assert said(*stopped) == f"stopped; go on with `vaekit train --resume {run}`\n"  # it has two epochs by now
