"""Files that could not be written are refused before anything is measured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vaekit.errors import ConfigError, OutputError
from vaekit.runtime.bench.files import check_target


def test_a_target_that_can_be_written_leaves_no_trace(tmp_path: Path) -> None:
    check_target(tmp_path / "bench.json", (".json",), overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bench\.txt: the ending '\.txt' is unknown; choose one of \.png, \.svg\."):
        check_target(tmp_path / "bench.txt", (".png", ".svg"), overwrite=False)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"bench\.json cannot be written: there is no folder .*none; make it first"):
        check_target(tmp_path / "none" / "bench.json", (".json",), overwrite=False)


def test_what_stands_there_is_refused_unless_it_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text("before")
    with pytest.raises(OutputError, match=r"bench\.json exists already; choose another path, or pass --force"):
        check_target(tmp_path / "bench.json", (".json",), overwrite=False)
    check_target(tmp_path / "bench.json", (".json",), overwrite=True)
    assert (tmp_path / "bench.json").read_text() == "before"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that takes no file even from root: /proc")
def test_a_folder_that_takes_no_file_is_refused() -> None:
    with pytest.raises(OutputError, match=r"^/proc/bench\.json cannot be written: .*; choose another folder\.$"):
        check_target(Path("/proc/bench.json"), (".json",), overwrite=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=r"cannot be written: Permission denied; choose another folder"):
        check_target(tmp_path / "bench.json", (".json",), overwrite=False)
