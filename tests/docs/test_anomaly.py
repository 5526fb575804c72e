"""What docs/anomaly.md says of labels: of windows that one cuts oneself, and of a table that is given without them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vaekit.cli import main
from vaekit.datasets import DataOptions, Dataset, load_dataset
from vaekit.exporting import ModulePair, export_bundle
from vaekit.spec import DataSpec, Feature, ModelSpec

PAGE = Path(__file__).resolve().parents[2] / "docs" / "anomaly.md"


class Zero(nn.Module):
    """Mean and log-variance of 0, whatever the item: the score is half the square of an item's distance from 0."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        zeros = 0 * x.flatten(1)[:, :1]
        return zeros, zeros


def exported(folder: Path, data: Dataset) -> Path:
    shape = data.train.items.shape[1:]
    features = tuple(Feature(name, 0.0, 1.0) for name in ("temp", "flow"))
    decoder = nn.Sequential(nn.Linear(1, int(np.prod(shape)), bias=False), nn.Unflatten(1, shape))
    spec = ModelSpec("vae", DataSpec(shape, None, features), 1, "gaussian")
    return export_bundle(ModulePair(Zero(), decoder, spec), folder, data=data).path


def command(*arguments: object) -> int:
    """Run it, and give its exit code."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """400 rows of numbers near 0; of the last 100, ten are far off and marked as faults."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    rows = np.random.default_rng(4).normal(size=(400, 2))
    fault = np.zeros(400, int)
    fault[340:350] = 1
    rows[fault == 1] += 50
    path = tmp_path / "plant.csv"
    lines = [f"{temp:.4f},{flow:.4f},{mark}" for (temp, flow), mark in zip(rows, fault, strict=True)]
    path.write_text("\n".join(["temp,flow,fault", *lines]) + "\n")
    return path


def test_labels_of_rows_are_no_labels_of_windows_and_the_pages_program_makes_them(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = exported(
        tmp_path / "plant", load_dataset(table, DataOptions(window=32, stride=4, columns=("temp", "flow")))
    )
    assert command("score", bundle, table, "--window", 32, "--stride", 8, "--label", "fault", "--anomalous", 1) != 0
    assert "label does not apply to the windows of a table" in " ".join(capsys.readouterr().err.split())

    program = re.search(r"```python\n(# windows\.py\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert program
    subprocess.run([sys.executable, "-W", "error", "-c", program[1]], cwd=tmp_path, check=True)
    assert command("score", bundle, "windows.npz", "--anomalous", 1, "--top", 0) == 0
    # Windows start at 0, 8, … 368; those from 312 to 344 hold one of rows 340 to 349.
    assert "AUROC 1.0000 +- 0.0000: 5 items of label 1 against 42 others" in capsys.readouterr().out


def test_a_table_without_the_label_it_was_trained_with_is_other_data(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = exported(tmp_path / "plant", load_dataset(table, DataOptions(label="fault")))
    heads = []
    for options in (["--label", "fault"], [], ["--split", "test"]):
        assert command("score", bundle, table, "--top", 0, *options) == 0
        heads.append(capsys.readouterr().out.splitlines()[:2])
    labelled, without, test = heads
    assert "plant on plant, 40 test items" in labelled[0]
    assert "all 400 items" in without[0]
    assert test == labelled
