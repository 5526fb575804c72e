"""Writes that happen whole or not at all.

A file or folder is written under a temporary name beside its target, flushed to the disk, and renamed into place. When
anything fails (a full disk, a read-only folder, Ctrl-C), the temporary is removed and what stood there before still does.

Needs: the standard library.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from vaekit.errors import ConfigError, OutputError


def write_file(path: Path, content: bytes, *, overwrite: bool = True) -> None:
    """Write one file whole.

    Args:
        path: Target; its folder must exist.
        content: All its bytes.
        overwrite: Whether a file that stands there may be replaced.

    Raises:
        OutputError: The target exists, or the folder or disk does not take it.
    """
    with new_file(path, overwrite=overwrite) as file:
        file.write(content)


@contextlib.contextmanager
def new_file(path: Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Fill a file under a temporary name; it takes the target's name when the block ends without an error.

    Args:
        path: Target; its folder must exist.
        overwrite: Whether a file that stands there may be replaced.

    Yields:
        The open temporary file, empty, beside the target.

    Raises:
        OutputError: The target exists, or the folder or disk does not take it.
    """
    check_place(path, overwrite=overwrite)
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):  # gone after the rename; never there where the folder takes no file
            temporary.unlink()


def check_place(path: Path, *, overwrite: bool) -> None:
    """Refuse a path that no file may take.

    Raises:
        OutputError: A folder, a device or a pipe stands there, or a file that may not be replaced.
    """
    if os.path.isdir(path):  # Path.is_dir raises where a name is too long
        raise OutputError(f"{path} is a folder; name a file in it.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OutputError(f"{path} is a device or a pipe, which a rename would replace; name a plain file.")
    _check_free(path, overwrite=overwrite)


def check_ending(path: Path, endings: Sequence[str]) -> str:
    """Give a path's ending in lower case.

    Raises:
        ConfigError: It is none of those.
    """
    ending = path.suffix.lower()
    if ending not in endings:
        raise ConfigError(f"{path}: the ending {path.suffix!r} is unknown; choose one of {', '.join(endings)}.")
    return ending


def check_new_file(path: Path, endings: Sequence[str], *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before the work is done.

    Raises:
        ConfigError: Its ending is none of those.
        OutputError: It exists, or its folder does not.
    """
    check_ending(path, endings)
    check_place(path, overwrite=overwrite)
    if not path.parent.is_dir():
        raise OutputError(f"{path} cannot be written: there is no folder {path.parent}; make it first.")


def check_new_folder(target: Path, *, overwrite: bool, option: str = "--force") -> None:
    """Refuse a path that no new folder may take.

    Args:
        target: Where the folder will stand.
        overwrite: Whether a folder that stands there may be replaced.
        option: What allows that, for the message.

    Raises:
        OutputError: It has no name of its own, something stands there that may not be replaced, or is no folder.
    """
    if target.name in ("", ".."):
        raise OutputError(f"{target} names no folder beside which one could be made; give the folder's own name.")
    _check_free(target, overwrite=overwrite, option=option)
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir()):
        raise OutputError(f"{target} is no folder, so it is not replaced; choose another path.")


@contextlib.contextmanager
def new_folder(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Fill a folder under a temporary name; it takes the target's name when the block ends without an error.

    Args:
        target: Where the folder will stand; its parents are made.
        overwrite: Whether a folder that stands there may be replaced.

    Yields:
        The temporary folder, empty, beside the target.

    Raises:
        OutputError: The target exists, or the parent folder or disk does not take it.
    """
    check_new_folder(target, overwrite=overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(target)
        temporary.mkdir()
    except OSError as error:
        raise OutputError(f"{target} could not be made: {error.strerror or error}.") from error
    try:
        try:
            yield temporary
            for path in sorted(temporary.rglob("*")):
                _flush(path)
            _swap(temporary, target, overwrite=overwrite)
        except OSError as error:
            raise OutputError(f"{target} could not be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_free(path: Path, *, overwrite: bool, option: str = "--force") -> None:
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path} exists already; choose another path, or pass {option} to replace it.")


def _swap(temporary: Path, target: Path, *, overwrite: bool) -> None:
    """Give the temporary folder the target's name; put the old folder back if that fails."""
    if not overwrite or not target.exists():  # a rename fails where another process has filled the target since
        temporary.rename(target)
        return
    old = temporary.with_name(temporary.name + ".old")
    target.rename(old)
    try:
        temporary.rename(target)
    except BaseException:  # Ctrl-C too
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    if path.is_file():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _temporary(path: Path) -> Path:
    # Not tempfile: it makes files and folders that only their owner can read. Hidden, so that no listing counts it.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
