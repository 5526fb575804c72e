"""One file for one bundle: `.vaekit`, a zip archive in which every byte is given by the bundle.

`pack` writes it, `unpack` makes it a folder again, and `Archive` lets everything that takes a bundle's folder take the file,
its bytes or a file object.

The archive is in one form only (`exports/README.md` specifies it): files stored as they are, manifest.json first and the others
ordered by name, one fixed date, no extra fields, no comments, nothing before, between or behind. Stored, because another
version of zlib may compress to other bytes, and weights hardly shrink; what is not compressed cannot be a bomb either.
The reader takes that form alone. So the same bundle is the same file on every machine, two readers cannot see two different
archives in it, and what zip archives are known to smuggle in (`../`, links, a name twice, a password) has no place.

Needs: the standard library. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple, NoReturn, TypeAlias

from vaekit.bundle import MANIFEST, Bundle
from vaekit.errors import BundleError, ConfigError, IntegrityError
from vaekit.graphinfo import FileInfo, is_plain_name
from vaekit.manifest import MANIFEST_LIMIT
from vaekit.places import PIECE, BundleSource, absolute, check_size, pieces_of, plain_file
from vaekit.storage import new_file, new_folder

ENDING: Final = ".vaekit"

ARCHIVE_LIMIT: Final = (1 << 32) - 1
"""Largest archive in bytes, 4 GiB - 1: there zip's own offsets end, and its 64-bit extension would be a second form."""

# The three records of a zip archive, PKWARE's APPNOTE 4.3.7, 4.3.12 and 4.3.16; little-endian.
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")

_VERSION: Final = 20  # of the format, 2.0
_UNIX: Final = 3 << 8  # so that readers take the permissions below
_DATE: Final = 1 << 5 | 1  # 1 January 1980: the first day that zip knows
_PERMISSIONS: Final = (stat.S_IFREG | 0o644) << 16
_FOLDER_BIT: Final = 0x10  # MS-DOS's mark of a folder
_LOCKED: Final = 1 << 0 | 1 << 6 | 1 << 13  # flags: encrypted, strongly encrypted, a hidden table of contents


_Refuse: TypeAlias = Callable[[str], NoReturn]
"""Raises an error that says what was found."""


class _Member(NamedTuple):
    """What the archive states about a file: CRC-32, size in bytes, and where its record begins."""

    crc: int
    size: int
    offset: int


def pack(bundle: Bundle | BundleSource | None, out: str | os.PathLike[str], *, overwrite: bool = False) -> FileInfo:
    """Write a bundle as one `.vaekit` file; the same bundle gives the same bytes on every machine.

    The file appears whole or not at all.

    Args:
        bundle: The bundle; a path, bytes or file object is opened and checked first; None is the built-in MNIST model.
        out: The file.
        overwrite: Whether a file that stands there may be replaced.

    Returns:
        The file's name, size and SHA-256.

    Raises:
        BundleError: The bundle is missing, changed, or above 4 GiB.
        ConfigError: It is nothing that a bundle is opened from.
        OutputError: The file exists or cannot be written.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    path, size, digest = Path(out), 0, hashlib.sha256()
    with new_file(path, overwrite=overwrite) as file:
        for part in parts(opened):
            file.write(part)
            digest.update(part)
            size += len(part)
    return FileInfo(path.name, size, digest.hexdigest())


def unpack(bundle: Bundle | BundleSource, out: str | os.PathLike[str], *, overwrite: bool = False) -> Bundle:
    """Write a packed bundle as a folder, once everything in it was checked.

    Args:
        bundle: The packed bundle.
        out: The folder; its parents are made.
        overwrite: Whether a folder that stands there may be replaced.

    Returns:
        The bundle in the folder.

    Raises:
        BundleError: The packed bundle is missing, changed or not in the one form.
        OutputError: The folder exists or cannot be written.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    with new_folder(Path(out), overwrite=overwrite) as folder:
        for name, content in opened.contents():
            with (folder / name).open("xb") as file:  # x: two names may be one where upper and lower case are
                file.write(content)
    return Bundle.open(out)


def parts(bundle: Bundle) -> Iterator[bytes]:
    """Give the archive's bytes piece by piece, one file of the bundle in memory at a time.

    Raises:
        BundleError: The bundle was changed since it was opened, or is above 4 GiB.
    """
    directory: list[bytes] = []
    offset = 0
    for name, content in bundle.contents():
        member = _Member(zlib.crc32(content), len(content), offset)
        head = _local(name, member)
        offset += len(head) + len(content)
        if offset + sum(map(len, directory)) + MANIFEST_LIMIT > ARCHIVE_LIMIT:  # the limit of what is still to come
            raise BundleError(f"{bundle.place} is too large for one file of 4 GiB; ship the folder.")
        yield head
        yield content
        directory.append(_central(name, member))
    table = b"".join(directory)
    yield table
    yield _end(len(directory), len(table), offset)


class Archive:
    """A packed bundle: the `.vaekit` file at a path, opened anew for each reading, or its bytes."""

    def __init__(self, content: Path | bytes) -> None:
        self.path = content if isinstance(content, Path) else None
        self.origin = absolute(str(content)) if isinstance(content, Path) else content
        with self._open() as file:
            self._members = _read_directory(file, str(self))

    def __str__(self) -> str:
        return "the packed bundle" if self.path is None else str(self.path)

    def where(self, name: str) -> str:
        """Name a file inside the archive for an error message."""
        return f"{self}: {name}"

    def read(self, name: str, limit: int, *, stated: int | None = None) -> bytes:
        """Read one file; see `vaekit.places.Place.read`."""
        return b"".join(self.pieces(name, limit, stated=stated, most=limit + 1))  # of one piece, which is not copied

    def pieces(self, name: str, limit: int, *, stated: int | None = None, most: int = PIECE) -> Iterator[bytes]:
        """Read one file piece by piece; see `vaekit.places.Place.pieces`."""
        member = self._members.get(name)
        if member is None:
            raise IntegrityError(f"{self.where(name)} is missing; copy the bundle again.")
        check_size(self.where(name), member.size, limit, stated)
        crc = 0
        with self._open() as file:
            file.seek(member.offset + len(_local(name, member)))
            for piece in pieces_of(file, member.size, most):
                crc = zlib.crc32(piece, crc)
                yield piece
        if crc != member.crc:  # other readers look at it, so it must be right
            raise IntegrityError(f"{self.where(name)} was changed: its CRC-32 is another; copy the bundle again.")

    def check_names(self, names: set[str]) -> None:
        """Refuse an archive that holds anything else; see `vaekit.places.Place.check_names`."""
        more = sorted(set(self._members) - names)
        if more:
            raise IntegrityError(f"{self} holds {', '.join(more)}, which {MANIFEST} does not state; pack it again.")

    @contextlib.contextmanager
    def _open(self) -> Iterator[IO[bytes]]:
        if isinstance(self.origin, str):
            with plain_file(self.origin, follow=True, named=str(self)) as file:
                yield file
        else:
            yield io.BytesIO(self.origin)


def content_of(source: object) -> bytes:
    """Give a packed bundle's bytes, from bytes or a file object.

    Raises:
        IntegrityError: The file object cannot be read, or gives more than a packed bundle may hold.
        ConfigError: It is neither.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    read = getattr(source, "read", None)
    if read is None:
        raise ConfigError(
            f"a bundle cannot be opened from a {type(source).__name__}; give a path, the bytes of a {ENDING} file, "
            "or a file opened in binary mode."
        )
    try:
        content = read(ARCHIVE_LIMIT + 1)
    except ValueError as error:  # it is closed, or open for writing
        raise ConfigError(f"the file object gives nothing ({error}); open it in binary mode ('rb').") from error
    except OSError as error:
        raise IntegrityError(f"the packed bundle cannot be read: {error.strerror or error}.") from error
    if not isinstance(content, bytes):
        raise ConfigError(f"the file object gives {type(content).__name__}, not bytes; open it in binary mode ('rb').")
    return content


def _read_directory(file: IO[bytes], label: str) -> dict[str, _Member]:
    """Read the table of contents, and refuse an archive that differs by one byte from the form that `parts` writes."""

    def refuse(found: str) -> NoReturn:
        raise IntegrityError(f"{label} {found}; make the file again with `vaekit pack`.")

    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size))
    last = file.read(_END.size)
    if len(last) < _END.size or not last.startswith(b"PK\5\6"):
        refuse("does not end like a packed bundle: it is none, was cut short, or has something behind it")
    _, _, _, _, count, length, start, _ = _END.unpack(last)
    if last != _end(count, length, start) or start + length + _END.size != size:
        refuse("has something before, between or behind its files")
    if length > MANIFEST_LIMIT:  # a manifest needs more bytes for a file than the table of contents does
        refuse(f"has a table of contents of {length:,} bytes, more than a manifest can state")
    file.seek(start)
    table = file.read(length)

    members: dict[str, _Member] = {}
    at = end = 0
    while at < length:
        name, member = _read_entry(table, at, refuse)
        if name in members:
            refuse(f"holds {name} twice")
        if end > start:
            refuse("states more bytes than it holds")
        entry, head = _central(name, member._replace(offset=end)), _local(name, member)
        file.seek(end)
        if table[at : at + len(entry)] != entry or file.read(len(head)) != head:
            refuse(f"does not describe {name} as `vaekit pack` does, so that readers could differ on what it holds")
        members[name] = member._replace(offset=end)
        at += len(entry)
        end += len(head) + member.size
    if (len(members), end) != (count, start):
        refuse("has something before, between or behind its files")
    if list(members) != [MANIFEST, *sorted(members.keys() - {MANIFEST})]:
        refuse(f"does not hold {MANIFEST} first and then its other files ordered by name")
    return members


def _read_entry(table: bytes, at: int, refuse: _Refuse) -> tuple[str, _Member]:
    """Read one entry, and name what is commonly wrong with zip archives from elsewhere."""
    try:
        entry = _CENTRAL.unpack_from(table, at)
    except struct.error:
        refuse("has a damaged table of contents")
    _, _, _, flags, method, _, _, crc, packed, size, name_length, _, _, _, _, attributes, offset = entry
    raw = table[at + _CENTRAL.size : at + _CENTRAL.size + name_length]
    name = raw.decode("ascii", "backslashreplace")
    mode = attributes >> 16
    if not is_plain_name(name):
        refuse(f"holds {name!r}, which is no plain file name")
    if stat.S_ISLNK(mode):
        refuse(f"holds {name} as a link")
    if stat.S_ISDIR(mode) or attributes & _FOLDER_BIT:
        refuse(f"holds {name} as a folder")
    if flags & _LOCKED:
        refuse(f"holds {name} encrypted")
    if method or packed != size:
        refuse(f"holds {name} compressed (method {method}); files are stored as they are")
    return name, _Member(crc, size, offset)


def _local(name: str, member: _Member) -> bytes:
    """The record before a file."""
    fields = (0, 0, 0, _DATE, member.crc, member.size, member.size, len(name), 0)
    return _LOCAL.pack(b"PK\3\4", _VERSION, *fields) + name.encode("ascii")


def _central(name: str, member: _Member) -> bytes:
    """The file's entry in the table of contents."""
    fields = (0, 0, 0, _DATE, member.crc, member.size, member.size, len(name), 0, 0, 0, 0)
    head = _CENTRAL.pack(b"PK\1\2", _UNIX | _VERSION, _VERSION, *fields, _PERMISSIONS, member.offset)
    return head + name.encode("ascii")


def _end(count: int, length: int, start: int) -> bytes:
    """The archive's last record."""
    return _END.pack(b"PK\5\6", 0, 0, count, count, length, start, 0)
