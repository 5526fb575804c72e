"""How long OpenMP's threads spin: a few turns, unless the user says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vaekit.cli.openmp import DECIDE, SPINS, spin_briefly


def test_threads_sleep_soon_where_nobody_says_otherwise() -> None:
    environment: dict[str, str] = {}
    spin_briefly(environment)
    assert environment == {"GOMP_SPINCOUNT": SPINS}


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "active")])
def test_what_the_user_set_stays(name: str, value: str) -> None:
    environment = {name: value}
    spin_briefly(environment)
    assert environment == {name: value}


@pytest.mark.skipif(sys.platform != "linux", reason="torch's wheels for Linux alone bring GNU's OpenMP")
def test_it_is_set_before_the_library_reads_it(tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", np.zeros((8, 4, 4), np.uint8))
    line = "train items.npy --epochs 1 --hidden 4 --latent 1 --device cpu --out run"
    unset = {name: value for name, value in os.environ.items() if name not in DECIDE}
    done = subprocess.run(
        [sys.executable, "-m", "vaekit", *line.split()],
        cwd=tmp_path,
        env=unset | {"OMP_DISPLAY_ENV": "verbose"},  # has the library print its settings when it is loaded
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in done.stderr
