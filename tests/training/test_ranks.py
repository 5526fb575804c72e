"""Several processes that train one model, started by torchrun over loopback: the same numbers, one writer, one end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vaekit.cli import main
from vaekit.errors import RankError
from vaekit.training import Checkpoint
from vaekit.training.ranks import Ranks, is_first, local_device, ranks

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["--hidden", "16", "--latent", "3", "--batch-size", "32", "--device", "cpu"]
ENDS_WITHIN = 60


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """97 images: three batches of 32, and one item that only the first process has."""
    pixels = np.random.default_rng(0).integers(0, 256, (121, 1, 6, 6), np.uint8)
    path = tmp_path_factory.mktemp("ranks") / "data.npz"
    np.savez(path, x_train=pixels[:97], x_test=pixels[97:])
    return path


def launch(processes: int, *program: str, **more: Any) -> subprocess.Popen[str]:
    """Start a program in some processes."""
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *torchrun, *program],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
    )  # fmt: skip


def start(processes: int, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    """Start `vaekit train` in some processes."""
    return launch(processes, "-m", "vaekit", "train", *arguments, *OPTIONS, **more)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return out


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of three epochs as users start it, in two processes, and what these printed."""
    run = tmp_path_factory.mktemp("plain") / "run"
    return run, finish(start(2, str(data), "--out", str(run), "--epochs", "3"))


OTHERS = {
    "autograd": ["--no-compile", "--free-bits", "0.01"],  # the autograd step, uncompiled
    "ae": ["--kind", "ae"],
    "bf16": ["--precision", "bf16"],
}

BOTH = """
import json, sys, torch
from vaekit.cli import main
from vaekit.errors import RankError
from vaekit.training.ranks import ranks
folder, runs = sys.argv[1], json.loads(sys.argv[2])
with ranks(torch.device('cpu')) as process:
    for arguments in runs:
        try:
            main(['train', *arguments])
        except SystemExit as end:
            assert not end.code, arguments
    process.agree([torch.ones(3)])
    total = torch.ones(2) * (process.rank + 1)
    other = torch.ones(1)
    process.add([total, other])
    assert total.tolist() == [3, 3] and other.tolist() == [2], total
    assert process.first(lambda: 7) == (7 if process.rank == 0 else None)
    try:
        process.agree([torch.ones(3) * (1 + process.rank * 1e-7)])
    except RankError as error:
        open(f'{folder}/found-{process.rank}', 'w').write(str(error))
    else:
        sys.exit(3)
"""


@pytest.fixture(scope="module")
def others(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with the other options, made one after the other by two processes; and what these found of `Ranks`."""
    folder = tmp_path_factory.mktemp("others")
    runs = [[str(data), "--out", str(folder / name), "--epochs", "3", *OPTIONS, *OTHERS[name]] for name in OTHERS]
    (folder / "both.py").write_text(BOTH)
    finish(launch(2, str(folder / "both.py"), str(folder), json.dumps(runs)))
    return folder


def alone(*arguments: object) -> None:
    """`vaekit train` in this process."""
    with pytest.raises(SystemExit) as ended:
        main(["train", *map(str, arguments)])
    assert not ended.value.code


def assert_same_losses(one: list[dict[str, float]], two: list[dict[str, float]], tolerance: float) -> None:
    for a, b in zip(one, two, strict=True):
        assert set(a) == set(b)
        for key in ("train_negative_elbo", "train_kl", "test_negative_elbo", "test_kl"):
            assert b[key] == pytest.approx(a[key], rel=tolerance), key
    assert len(one) == 3
    assert one[-1]["train_negative_elbo"] < one[0]["train_negative_elbo"]  # it does learn


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_processes_give_the_losses_of_one(data: Path, plain: tuple[Path, str], tmp_path: Path) -> None:
    alone(data, "--out", tmp_path / "one", "--epochs", 3, *OPTIONS)
    assert_same_losses(lines(tmp_path / "one"), lines(plain[0]), 1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", OTHERS)
def test_two_processes_give_the_losses_of_one_with_other_options(
    data: Path, others: Path, tmp_path: Path, name: str
) -> None:
    alone(data, "--out", tmp_path / "one", "--epochs", 3, *OPTIONS, *OTHERS[name])
    assert_same_losses(lines(tmp_path / "one"), lines(others / name), 2e-2 if name == "bf16" else 1e-4)


@pytest.mark.slow
def test_only_the_first_process_talks_and_writes(plain: tuple[Path, str]) -> None:
    run, out = plain
    assert [out.count(f"epoch {epoch}/3") for epoch in (1, 2, 3)] == [1, 1, 1]
    assert out.count("wrote ") == 1
    assert len(lines(run)) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_run_goes_on_with_another_number_of_processes(data: Path, plain: tuple[Path, str], tmp_path: Path) -> None:
    alone(data, "--out", tmp_path / "whole", "--epochs", 3, *OPTIONS)
    # As if stopped after the second epoch: the run was asked for three, and its last checkpoint is taken away.
    run = Path(shutil.copytree(plain[0], tmp_path / "run"))
    (newest,) = [path for path in (run / "checkpoints").iterdir() if path.name.endswith("3")]
    shutil.rmtree(newest)
    alone("--resume", run)
    assert (run / "checkpoints" / newest.name).is_dir()
    for a, b in zip(lines(tmp_path / "whole"), lines(run), strict=True):
        assert b["train_negative_elbo"] == pytest.approx(a["train_negative_elbo"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_two_processes_train_a_run_longer(data: Path, plain: tuple[Path, str], tmp_path: Path) -> None:
    alone(data, "--out", tmp_path / "whole", "--epochs", 4, *OPTIONS)
    run = Path(shutil.copytree(plain[0], tmp_path / "run"))
    out = finish(launch(2, "-m", "vaekit", "train", "--resume", str(run), "--epochs", "4"))
    assert [out.count(f"epoch {epoch}/4") for epoch in (3, 4)] == [0, 1]
    for name in ("config.toml", "run.json"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for a, b in zip(lines(tmp_path / "whole"), lines(run), strict=True):
        assert b["train_negative_elbo"] == pytest.approx(a["train_negative_elbo"], rel=1e-4)


@pytest.mark.slow
def test_when_one_process_is_killed_all_end_and_the_checkpoint_is_whole(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(2, str(data), "--out", str(run), "--epochs", "100000", start_new_session=True)
    try:
        wait_for(lambda: (run / "checkpoints" / "epoch-0002").is_dir() or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        workers = children(process.pid)
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        _, err = process.communicate(timeout=ENDS_WITHIN)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert "Traceback" not in err.split("torch/distributed")[0]
    assert not any(alive(worker) for worker in workers)
    assert Checkpoint.latest(run).weights()  # every hash agrees


@pytest.mark.slow
def test_an_error_of_the_first_process_ends_the_others(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    process = start(2, str(data), "--out", str(tmp_path / "run"), "--epochs", "1")
    _, err = process.communicate(timeout=ENDS_WITHIN)
    assert process.returncode != 0
    assert err.count("exists already") == 1


@pytest.mark.slow
def test_processes_that_come_apart_are_found(others: Path) -> None:
    for rank in (0, 1):
        assert "no longer hold the same weights" in (others / f"found-{rank}").read_text()


def test_a_process_of_its_own_is_rank_0_of_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks(torch.device("cpu")) as process:
        assert (process.rank, process.size, process.writes) == (0, 1, True)
        total = torch.ones(2)
        process.add([total])
        process.agree([total])
        assert total.tolist() == [1, 1]
        assert process.first(lambda: "done") == "done"


def test_only_rank_0_may_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_first()
    monkeypatch.setenv("RANK", "1")
    assert not is_first()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(RankError, match="3 or more processes were started here, but torch sees 2 GPUs"):
        local_device(torch.device("cuda"))
    assert local_device(torch.device("cpu")) == torch.device("cpu")


def test_others_that_are_not_there_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(RankError, match="were lost"), ranks(torch.device("cpu")):
        pass


def test_ranks_need_no_process_group_to_be_named() -> None:
    assert Ranks(1, 2).writes is False


def wait_for(condition: Any, seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == pid and b"vaekit" in command:
            found.append(int(stat.parent.name))
    return sorted(found)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
