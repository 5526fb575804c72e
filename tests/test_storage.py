"""A write happens whole or not at all, whatever goes wrong in it.

Failures are made by the system where it can be asked for them (a full tmpfs, a read-only mount, a limit on file sizes), and
by a failing call where not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vaekit.errors import OutputError
from vaekit.storage import check_new_folder, new_folder, write_file

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail(error: BaseException) -> Callable[..., Any]:
    def raising(*_: Any, **__: Any) -> Any:
        raise error

    return raising


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in memory at a folder; skips the test where this process may not mount one."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"this process may not mount a tmpfs: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    with mounted(tmp_path / "disk", "size=64k") as folder:
        yield folder


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A mount that nobody can write to, root included, with one file and one folder on it."""
    with mounted(tmp_path / "disk", "size=64k") as folder:
        (folder / "file").write_bytes(b"old")
        (folder / "folder").mkdir()
        (folder / "folder" / "content").write_bytes(b"old")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder


# Files.


def test_a_file_is_written_with_all_its_bytes_and_nothing_beside_it(tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    write_file(tmp_path / "out.bin", content)
    assert (tmp_path / "out.bin").read_bytes() == content
    assert names(tmp_path) == ["out.bin"]


def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        write_file(tmp_path / "out.bin", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out.bin").stat().st_mode) == 0o644


def test_a_file_is_replaced_unless_that_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.bin"
    write_file(path, b"first")
    write_file(path, b"second")
    assert path.read_bytes() == b"second"
    message = rf"{path} exists already; choose another path, or pass --force to replace it"
    with pytest.raises(OutputError, match=message):
        write_file(path, b"third", overwrite=False)
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == ["out.bin"]


def test_a_dangling_link_counts_as_a_file_that_exists(tmp_path: Path) -> None:
    (tmp_path / "out.bin").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists already"):
        write_file(tmp_path / "out.bin", b"new", overwrite=False)


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"old"
    assert (tmp_path / "link").read_bytes() == b"new"


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder; name a file in it"):
        write_file(tmp_path, b"new")


def test_a_pipe_or_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "null"):
        with pytest.raises(OutputError, match=f"{name} is a device or a pipe, which a rename would replace"):
            write_file(tmp_path / name, b"new")
    assert names(tmp_path) == ["null", "pipe"]


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"out\.bin could not be written: No such file or directory"):
        write_file(tmp_path / "missing" / "out.bin", b"new")


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000])
def test_a_name_that_is_too_long_is_an_output_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="could not be written: File name too long"):
        write_file(tmp_path / name, b"new")


def test_a_path_below_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(OutputError, match="could not be written: Not a directory"):
        write_file(tmp_path / "file" / "below", b"new")


@pytest.mark.parametrize("call", ["vaekit.storage.os.fsync", "pathlib.Path.replace", "pathlib.Path.open"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(call, fail(NO_SPACE))
        with pytest.raises(OutputError, match=r"out\.bin could not be written: No space left on device"):
            write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out.bin"]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    monkeypatch.setattr("vaekit.storage.os.fsync", fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out.bin"]


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr("vaekit.storage.os.fsync", lambda d: (order.append("flush"), fsync(d)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (order.append("rename"), replace(a, b))[1])
    write_file(tmp_path / "out.bin", b"new")
    assert order == ["flush", "rename"]


def test_a_disk_that_fills_up_leaves_the_old_file_and_no_part_of_the_new(tiny_disk: Path) -> None:
    (tiny_disk / "out.bin").write_bytes(b"old")
    with pytest.raises(OutputError, match=r"out\.bin could not be written: No space left on device"):
        write_file(tiny_disk / "out.bin", b"x" * 200_000)
    assert names(tiny_disk) == ["out.bin"]
    assert (tiny_disk / "out.bin").read_bytes() == b"old"
    write_file(tiny_disk / "out.bin", b"x" * 40_000)  # the room that the failed write took is free again


def test_a_file_above_the_limit_of_the_process_leaves_the_old_one(tmp_path: Path) -> None:
    # In a process of its own: a limit on the size of files, which is what a quota looks like.
    (tmp_path / "out.bin").write_bytes(b"old")
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from vaekit.storage import OutputError, write_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_file(Path(sys.argv[1]), b'x' * 5000)\n"
        "except OutputError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out.bin")], capture_output=True, text=True, check=True
    )
    assert "could not be written: File too large" in run.stdout
    assert names(tmp_path) == ["out.bin"]
    assert (tmp_path / "out.bin").read_bytes() == b"old"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_read_only_folder_keeps_its_file(read_only: Path) -> None:
    for name in ("file", "new"):
        with pytest.raises(OutputError, match=f"{name} could not be written: Read-only file system"):
            write_file(read_only / name, b"new")
    assert (read_only / "file").read_bytes() == b"old"


def test_a_folder_that_takes_no_files_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", fail(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(OutputError, match="could not be written: Permission denied"):
        write_file(tmp_path / "out.bin", b"new")


# Folders.


def fill(folder: Path, content: str = "new") -> None:
    (folder / "a").write_text(content)
    (folder / "sub").mkdir()
    (folder / "sub" / "b").write_text(content)


def make(target: Path, *steps: Callable[[], Any], overwrite: bool = False) -> None:
    with new_folder(target, overwrite=overwrite) as folder:
        fill(folder)
        for step in steps:
            step()


def test_a_folder_takes_its_name_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "parent" / "folder"
    with new_folder(target) as folder:
        assert folder.parent == target.parent  # on the same file system, else it could not be renamed
        assert names(folder) == []
        fill(folder)
        assert not target.exists()
    assert (target / "sub" / "b").read_text() == "new"
    assert names(target) == ["a", "sub"]
    assert names(target.parent) == ["folder"]


def test_a_new_folder_has_the_permissions_that_the_umask_leaves(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        with new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(3), OutputError("mine")])
@pytest.mark.parametrize("stands", [False, True])
def test_an_error_in_the_block_leaves_what_stood_there(tmp_path: Path, error: BaseException, stands: bool) -> None:
    target = tmp_path / "folder"
    if stands:
        target.mkdir()
        fill(target, "old")
    with pytest.raises(type(error)) as caught:
        make(target, fail(error), overwrite=True)
    assert caught.value is error
    assert names(tmp_path) == (["folder"] if stands else [])
    if stands:
        assert (target / "sub" / "b").read_text() == "old"


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_target_that_exists_is_refused_before_the_block_begins(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    target = tmp_path / "folder"
    make(target)
    message = r"folder exists already; choose another path, or pass --force to replace it"
    with pytest.raises(OutputError, match=message), new_folder(target):
        pytest.fail("the block ran")
    assert names(tmp_path) == ["folder"]


def test_the_message_names_the_option_that_replaces(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already; choose another path, or pass --overwrite to replace it"):
        check_new_folder(tmp_path, overwrite=False, option="--overwrite")
    check_new_folder(tmp_path, overwrite=True, option="--overwrite")


def test_a_folder_is_replaced_as_a_whole_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "leftover").touch()
    with new_folder(target, overwrite=True) as folder:
        fill(folder)
    assert names(target) == ["a", "sub"]
    assert names(tmp_path) == ["folder"]


def test_overwrite_makes_a_folder_where_none_stands(tmp_path: Path) -> None:
    with new_folder(tmp_path / "folder", overwrite=True) as folder:
        fill(folder)
    assert names(tmp_path / "folder") == ["a", "sub"]


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_only_a_folder_is_replaced_by_a_folder(tmp_path: Path, kind: str) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "file":
        target.write_text("old")
    else:
        target.symlink_to(elsewhere if kind == "link" else tmp_path / "nowhere")
    message = "target is no folder, so it is not replaced; choose another path"
    with pytest.raises(OutputError, match=message), new_folder(target, overwrite=True):
        pytest.fail("the block ran")
    assert elsewhere.is_dir()
    assert names(tmp_path) == ["elsewhere", "target"]


@pytest.mark.parametrize("name", [".", "..", "/", "sub/.."])
def test_a_folder_without_a_name_of_its_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "precious").touch()
    with pytest.raises(OutputError, match="names no folder"), new_folder(Path(name), overwrite=True):
        pytest.fail("the block ran")
    assert names(tmp_path) == ["precious"]


def test_a_folder_that_another_process_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with pytest.raises(OutputError, match="folder could not be written"):
        make(target, target.mkdir, (target / "theirs").touch)
    assert names(target) == ["theirs"]
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    fill(target, "old")
    rename, calls = Path.rename, []

    def failing(path: Path, to: Path) -> Path:
        calls.append((path.name, to.name))
        if len(calls) == 2:  # the first moves the old folder aside, the second gives the new one its name
            raise error
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected), new_folder(target, overwrite=True) as folder:
        fill(folder)
    assert len(calls) == 3
    assert (target / "sub" / "b").read_text() == "old"
    assert names(tmp_path) == ["folder"]


def test_an_old_folder_that_cannot_be_moved_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    fill(target, "old")
    monkeypatch.setattr(Path, "rename", fail(OSError(errno.EBUSY, "Device or resource busy")))
    message = "folder could not be written: Device or resource busy"
    with pytest.raises(OutputError, match=message), new_folder(target, overwrite=True) as folder:
        fill(folder)
    assert (target / "a").read_text() == "old"
    assert names(tmp_path) == ["folder"]


def test_a_failing_write_in_the_block_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder could not be written: No space left on device"):
        make(tmp_path / "folder", fail(NO_SPACE))
    assert names(tmp_path) == []


def test_files_are_on_the_disk_before_the_folder_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        assert not (tmp_path / "folder").exists()
        flushed.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr("vaekit.storage.os.fsync", recording)
    with new_folder(tmp_path / "folder") as folder:
        fill(folder)
    files = [tmp_path / "folder" / "a", tmp_path / "folder" / "sub" / "b"]
    assert {path.stat().st_ino for path in files} <= set(flushed)


def test_a_disk_that_cannot_flush_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.storage.os.fsync", fail(NO_SPACE))
    with pytest.raises(OutputError, match="No space left on device"), new_folder(tmp_path / "folder") as folder:
        fill(folder)
    assert names(tmp_path) == []


def test_a_disk_that_fills_up_leaves_the_old_folder_and_no_part_of_the_new(tiny_disk: Path) -> None:
    target = tiny_disk / "folder"
    target.mkdir()
    fill(target, "old")
    with (
        pytest.raises(OutputError, match="folder could not be written: No space left on device"),
        new_folder(target, overwrite=True) as folder,
    ):
        (folder / "large").write_bytes(b"x" * 200_000)
    assert names(tiny_disk) == ["folder"]
    assert (target / "a").read_text() == "old"


def test_a_read_only_disk_keeps_its_folder(read_only: Path) -> None:
    for name in ("folder", "new", "new/below"):
        message = f"{name} could not be made: Read-only file system"
        with pytest.raises(OutputError, match=message), new_folder(read_only / name, overwrite=True):
            pytest.fail("the block ran")
    assert (read_only / "folder" / "content").read_bytes() == b"old"


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="below could not be made"), new_folder(tmp_path / "file" / "below"):
        pytest.fail("the block ran")


def test_ctrl_c_in_a_real_process_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from vaekit.storage import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'part').touch(); print('begun', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "folder")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(50, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert len(names(tmp_path)) == 1  # the temporary folder
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    finally:
        watchdog.cancel()
    assert "KeyboardInterrupt" in said
    assert names(tmp_path) == []
