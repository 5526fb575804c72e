"""The command line in this process: what every test of a command runs it by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import vaekit.cli


class Result(NamedTuple):
    """Exit code and output of one run of the command line in this process."""

    code: int
    out: str
    err: str


@pytest.fixture
def screen_columns() -> int:
    """Width of the screen; a module may have another."""
    return 80


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, screen_columns: int
) -> Callable[..., Result]:
    """Return ``run(*arguments) -> Result``: code, out and err, without colour and on a screen of `screen_columns`."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", str(screen_columns))

    def main(*arguments: object) -> Result:
        capsys.readouterr()
        try:
            vaekit.cli.main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Result(code, *capsys.readouterr())

    return main


@pytest.fixture(scope="session")
def small_run(small_data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on the small data set; a test that changes it makes a copy."""
    import torch

    from vaekit.training import TrainConfig, train

    torch.set_num_threads(1)
    config = TrainConfig(hidden=(16,), latent=4, epochs=1, device="cpu", compile=False)
    return train(vaekit.datasets.load_dataset(small_data_folder), config, tmp_path_factory.mktemp("runs") / "a run").run
