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
from typing import IO, TYPE_CHECKING, Final, Protocol, TypeAlias

from vaekit.errors import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path  # it costs a start-up 7 ms, so none happens here unless it is asked for

BundleSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]
"""What a bundle may be opened from: the path of a folder or of a `.vaekit` file; such a file's content; a file object that
gives this content, read from where it stands to its end."""


PIECE: Final = 1 << 16
"""Bytes of a file in memory at a time while it is only hashed. The allocator takes a block below 128 KiB from memory that was
used before; a larger one costs a page fault every 4 KiB, which takes longer than to hash them."""

RUN: Final = "run.json"
"""The file that makes a folder a run. `vaekit.training.checkpoint` writes it; here, since that needs torch."""


def is_run(path: str | os.PathLike[str] | None) -> bool:
    """Whether a path is a run's folder."""
    return path is not None and os.path.isfile(os.path.join(path, RUN))


def absolute(path: str) -> str:
    """Give the absolute path of now: the process may change its folder before it reads.

    Unlike `os.path.abspath` it leaves ``..`` to the system, since what stands before may be a link to elsewhere.
    """
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)


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

    def pieces(self, name: str, limit: int, *, stated: int | None = None, most: int = PIECE) -> Iterator[bytes]:
        """Read a file as `read` does, at most so many bytes at a time."""

    def check_names(self, names: set[str]) -> None:
        """Refuse a place that holds other files than these, where that may not be.

        Raises:
            IntegrityError: There is such a file.
        """


class Folder:
    """A bundle's folder. Other files may stand beside the bundle's own; they are never read."""

    def __init__(self, path: str | os.PathLike[str], *, builtin: bool = False) -> None:
        self._path = os.fspath(path)
        self._absolute = absolute(self._path)
        self.origin = None if builtin else self._absolute

    def __str__(self) -> str:
        return self._path

    @property
    def path(self) -> Path:
        """The folder."""
        from pathlib import Path

        return Path(self._path)

    def where(self, name: str) -> str:
        """Give the file's path."""
        return os.path.join(self._path, name)

    def read(self, name: str, limit: int, *, stated: int | None = None) -> bytes:
        """Read one file; see `Place.read`."""
        return b"".join(self.pieces(name, limit, stated=stated, most=limit + 1))  # of one piece, which is not copied

    def pieces(self, name: str, limit: int, *, stated: int | None = None, most: int = PIECE) -> Iterator[bytes]:
        """Read one file piece by piece; see `Place.pieces`."""
        with plain_file(os.path.join(self._absolute, name), follow=False, named=self.where(name)) as file:
            check_size(self.where(name), os.fstat(file.fileno()).st_size, limit, stated)
            yield from pieces_of(file, (limit if stated is None else stated) + 1, most)

    def check_names(self, names: set[str]) -> None:
        """Let other files be."""


@contextlib.contextmanager
def plain_file(path: str, *, follow: bool, named: str) -> Iterator[IO[bytes]]:
    """Open a regular file to read.

    Args:
        path: The file.
        follow: Whether it may stand behind a link.
        named: What error messages call it.

    Raises:
        IntegrityError: It is missing, no regular file, or the disk fails while it is read.
    """
    # A link inside a bundle could point anywhere. O_NONBLOCK: opening a pipe must not hang.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise IntegrityError(f"{named} is no plain file; copy the bundle again.")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                yield file
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise IntegrityError(f"{named} is missing; copy the bundle again.") from None
    except OSError as error:
        raise IntegrityError(f"{named} cannot be read as a plain file: {error.strerror or error}.") from error


def pieces_of(file: IO[bytes], count: int, most: int) -> Iterator[bytes]:
    """Give the next `count` bytes of a file, or those to its end, at most `most` at a time."""
    while count and (piece := file.read(min(count, most))):
        count -= len(piece)
        yield piece


def check_size(where: str, found: int, limit: int, stated: int | None) -> None:
    """Refuse a file of another size before it is read.

    Raises:
        IntegrityError: It is larger than the limit, or of another size than stated.
    """
    if found > limit or (stated is not None and found != stated):
        expected = f"at most {limit:,}" if stated is None else f"{stated:,}"
        raise IntegrityError(f"{where} holds {found:,} bytes, but should hold {expected}; copy the bundle again.")
