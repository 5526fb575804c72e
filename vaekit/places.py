"""Where a bundle's files come from: a folder, or one packed `.vaekit` file (`vaekit.packing`); and what tells a run from both.

`vaekit.bundle` checks what is read; a place only finds the bytes, and never reads through a link, from a pipe, or more than it
was told.

Needs: the standard library. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Protocol, TypeAlias

from vaekit.errors import IntegrityError

BundleSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]
"""What a bundle may be opened from: the path of a folder or of a `.vaekit` file; such a file's content; a file object that
gives this content, read from where it stands to its end."""


RUN: Final = "run.json"
"""The file that makes a folder a run. `vaekit.training.checkpoint` writes it; here, since that needs torch."""


def is_run(path: str | os.PathLike[str] | None) -> bool:
    """Whether a path is a run's folder."""
    return path is not None and os.path.isfile(Path(path) / RUN)


class Place(Protocol):
    """A folder or an archive. As text it is the path, or says that it has none."""

    @property
    def path(self) -> Path | None:
        """The folder or file; None where the bundle came from bytes or a file object."""

    @property
    def origin(self) -> str | bytes | None:
        """What opens the same bundle again, in any process: an absolute path, packed bytes, or None for the built-in model."""

    def where(self, name: str) -> str:
        """Name a file for an error message."""

    def read(self, name: str, limit: int, *, stated: int | None = None) -> bytes:
        """Read a file of at most `limit` bytes, and of exactly the stated size where one is stated.

        Raises:
            IntegrityError: It is missing, of another size, or no plain file.
        """

    def check_names(self, names: set[str]) -> None:
        """Refuse a place that holds other files than these, where that may not be.

        Raises:
            IntegrityError: There is such a file.
        """


class Folder:
    """A bundle's folder. Other files may stand beside the bundle's own; they are never read."""

    def __init__(self, path: Path, *, builtin: bool = False) -> None:
        self.path = path
        # The absolute path of now: the process may change its folder before it is asked.
        self.origin = None if builtin else os.path.abspath(path)

    def __str__(self) -> str:
        return str(self.path)

    def where(self, name: str) -> str:
        """Give the file's path."""
        return str(self.path / name)

    def read(self, name: str, limit: int, *, stated: int | None = None) -> bytes:
        """Read one file; see `Place.read`."""
        with plain_file(self.path / name, follow=False) as file:
            check_size(self.where(name), os.fstat(file.fileno()).st_size, limit, stated)
            return file.read(limit + 1 if stated is None else stated + 1)

    def check_names(self, names: set[str]) -> None:
        """Let other files be."""


@contextlib.contextmanager
def plain_file(path: Path, *, follow: bool) -> Iterator[IO[bytes]]:
    """Open a regular file to read.

    Args:
        path: The file.
        follow: Whether it may stand behind a link.

    Raises:
        IntegrityError: It is missing, no regular file, or the disk fails while it is read.
    """
    # A link inside a bundle could point anywhere. O_NONBLOCK: opening a pipe must not hang.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise IntegrityError(f"{path} is no plain file; copy the bundle again.")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise IntegrityError(f"{path} is missing; copy the bundle again.") from None
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read as a plain file: {error.strerror or error}.") from error


def check_size(where: str, found: int, limit: int, stated: int | None) -> None:
    """Refuse a file of another size before it is read.

    Raises:
        IntegrityError: It is larger than the limit, or of another size than stated.
    """
    if found > limit or (stated is not None and found != stated):
        expected = f"at most {limit:,}" if stated is None else f"{stated:,}"
        raise IntegrityError(f"{where} holds {found:,} bytes, but should hold {expected}; copy the bundle again.")
