"""One file for one bundle: the bytes that Python's own zipfile gives for the specified form, and everything else refused.

Archives are written here by zipfile, another implementation of the format; what it would not write is patched in byte by byte.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
import vaekit.packing
from vaekit.bundle import Bundle
from vaekit.errors import BundleError, BundleNotFoundError, ConfigError, IntegrityError, OutputError
from vaekit.graphinfo import FileInfo
from vaekit.packing import pack, parts, unpack

Members = dict[str, bytes]


def members(folder: Path) -> Members:
    """The bundle's files in the order of the specification."""
    rest = sorted(path.name for path in folder.iterdir() if path.name != "manifest.json")
    return {name: (folder / name).read_bytes() for name in ("manifest.json", *rest)}


def plain(name: str) -> zipfile.ZipInfo:
    """An entry as the specification has it: stored, 1 January 1980, a regular file of Unix that all may read."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def zipped(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in entries:
            archive.writestr(info, content)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def entries(small_bundle: Path) -> list[tuple[str, bytes]]:
    return list(members(small_bundle).items())


@pytest.fixture(scope="session")
def packed(entries: list[tuple[str, bytes]]) -> bytes:
    return zipped([(plain(name), content) for name, content in entries])


def record(content: bytes | bytearray, mark: bytes, name: str) -> int:
    """Where a file's local record (PK 3 4) or entry in the table (PK 1 2) begins."""
    at, name_at = -1, 30 if mark == b"PK\3\4" else 46
    while True:
        at = content.index(mark, at + 1)
        if content[at + name_at : at + name_at + len(name)] == name.encode():
            return at


def patch(content: bytes, name: str, *, local: tuple[int, bytes] | None, central: tuple[int, bytes] | None) -> bytes:
    """Overwrite bytes of a file's two records."""
    changed = bytearray(content)
    for mark, change in ((b"PK\3\4", local), (b"PK\1\2", central)):
        if change is not None:
            at = record(changed, mark, name) + change[0]
            changed[at : at + len(change[1])] = change[1]
    return bytes(changed)


# The one form.


def test_a_packed_bundle_is_what_zipfile_writes_in_the_specified_form(
    small_bundle: Path, packed: bytes, tmp_path: Path
) -> None:
    described = pack(small_bundle, tmp_path / "small.vaekit")
    assert (tmp_path / "small.vaekit").read_bytes() == packed
    assert described == FileInfo("small.vaekit", len(packed), hashlib.sha256(packed).hexdigest())


def test_a_bundle_packed_from_any_source_gives_the_same_bytes(
    small_bundle: Path, packed: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "renamed"
    shutil.copytree(small_bundle, copy)
    for path in copy.iterdir():  # what differs between two machines
        path.chmod(0o600)
        os.utime(path, (1, 1))
    (copy / ".DS_Store").write_bytes(b"beside the bundle, not of it")
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    for number, source in enumerate((copy, packed, Bundle.open(copy))):
        pack(source, tmp_path / f"{number}.vaekit")
        assert (tmp_path / f"{number}.vaekit").read_bytes() == packed


def test_other_zip_readers_find_the_same_files(packed: bytes, entries: list[tuple[str, bytes]], tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert [(name, archive.read(name)) for name in archive.namelist()] == entries
    if shutil.which("unzip"):
        (tmp_path / "small.vaekit").write_bytes(packed)
        subprocess.run(["unzip", "-q", "small.vaekit", "-d", "out"], cwd=tmp_path, check=True)
        assert members(tmp_path / "out") == dict(entries)


def test_a_folder_comes_back_file_by_file(small_bundle: Path, packed: bytes, tmp_path: Path) -> None:
    bundle = unpack(packed, tmp_path / "deep" / "folder")
    assert bundle.path == tmp_path / "deep" / "folder"
    assert members(bundle.path) == members(small_bundle)


@pytest.mark.parametrize("bundle", ["ae_bundle", "gaussian_bundle"])
def test_bundles_of_every_kind_are_packed(bundle: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = request.getfixturevalue(bundle)
    pack(folder, tmp_path / "b.vaekit")
    assert vaekit.load(tmp_path / "b.vaekit", provider="cpu").manifest == Bundle.open(folder).manifest


# What takes it.


def sources(packed: bytes, path: Path) -> dict[str, Any]:
    path.write_bytes(packed)
    behind = io.BytesIO(b"a header of somebody's own" + packed)
    behind.seek(-len(packed), os.SEEK_END)
    return {
        "path": path,
        "text": str(path),
        "bytes": packed,
        "bytearray": bytearray(packed),
        "memoryview": memoryview(packed),
        "file object": io.BytesIO(packed),
        "file object that stands elsewhere": behind,
    }


@pytest.mark.parametrize("kind", list(sources(b"", Path(os.devnull))))
def test_load_gives_the_same_model_from_every_source(
    kind: str, packed: bytes, small_bundle: Path, tmp_path: Path
) -> None:
    vae = vaekit.load(sources(packed, tmp_path / "small.vaekit")[kind], provider="cpu", threads=1)
    expected = vaekit.load(small_bundle, provider="cpu", threads=1)
    np.testing.assert_array_equal(vae.sample(3, seed=7), expected.sample(3, seed=7))
    assert all(deviation.passed for deviation in vaekit.verify_bundle(vae.bundle, vae))


def test_an_open_file_and_each_half_alone_are_taken(packed: bytes, tmp_path: Path) -> None:
    (tmp_path / "small.vaekit").write_bytes(packed)
    with (tmp_path / "small.vaekit").open("rb") as file:
        decoder = vaekit.Decoder(file, provider="cpu", threads=1)
    encoder = vaekit.Encoder(packed, provider="cpu", threads=1)
    assert decoder.decode(np.zeros((1, 5), np.float32)).shape == (1, 1, 28, 28)
    assert encoder.encode(np.zeros((1, 1, 28, 28), np.float32)).mean.shape == (1, 5)


def test_a_packed_bundle_may_have_any_name_and_stand_behind_a_link(packed: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(packed)
    (tmp_path / "link").symlink_to(tmp_path / "model.bin")
    bundle = Bundle.open(tmp_path / "link")
    assert bundle.path == tmp_path / "link"
    assert repr(bundle) == f"Bundle({str(tmp_path / 'link')!r}, name='small')"


def test_a_bundle_of_bytes_has_no_path(packed: bytes) -> None:
    bundle = Bundle.open(packed)
    assert repr(bundle) == "Bundle('the packed bundle', name='small')"
    with pytest.raises(BundleError, match="the bundle 'small' came from bytes, so it has no path; unpack it first"):
        _ = bundle.path


def test_bytes_that_change_later_do_not_change_the_bundle(packed: bytes) -> None:
    buffer = bytearray(packed)
    bundle = Bundle.open(buffer)
    buffer[:] = bytes(len(buffer))
    assert bundle.graph("decoder") == dict(bundle.contents())["decoder.onnx"]


def test_opening_a_folder_does_not_load_the_code_for_archives(small_bundle: Path) -> None:
    for source, loaded in ((repr(str(small_bundle)), 0), (f"open({str(small_bundle)!r} + '/README.md', 'rb')", 1)):
        code = (
            "import contextlib, sys, vaekit\n"
            f"with contextlib.suppress(vaekit.VaekitError): vaekit.Bundle.open({source})\n"
            "sys.exit('vaekit.packing' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == loaded
    code = "import sys, vaekit.packing; sys.exit('zipfile' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What is no packed bundle at all.


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "does not end like a packed bundle"),
        (b"no archive", "the packed bundle does not end like a packed bundle: it is none, was cut short, or has some"),
        (b"PK\5\6" + bytes(18), "does not hold manifest.json first"),  # an empty archive
        (io.BytesIO(b"no archive"), "does not end like a packed bundle"),
    ],
)
def test_bytes_that_are_no_archive_are_refused(source: Any, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        vaekit.load(source)


def test_a_file_that_is_no_archive_is_refused_by_its_name(small_bundle: Path) -> None:
    path = small_bundle / "decoder.onnx"
    with pytest.raises(IntegrityError, match=rf"{path} does not end like a packed bundle.*again with `vaekit pack`"):
        vaekit.load(path)


@pytest.mark.parametrize("source", [42, 1.5, object(), ["mnist"], np.zeros(3).tolist()])
def test_what_nothing_can_be_read_from_is_refused(source: Any) -> None:
    with pytest.raises(
        ConfigError, match=rf"cannot be opened from a {type(source).__name__}; give a path, the bytes of"
    ):
        vaekit.load(source)


def test_a_file_opened_as_text_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the file object gives str, not bytes; open it in binary mode \('rb'\)"):
        vaekit.load(io.StringIO("PK"))  # type: ignore[arg-type]


def test_a_file_object_that_fails_is_named() -> None:
    class Broken(io.RawIOBase):
        def read(self, _: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(IntegrityError, match="the packed bundle cannot be read: Input/output error"):
        vaekit.load(Broken())  # type: ignore[arg-type]


def test_a_file_object_that_is_closed_or_only_written_is_refused(packed: bytes, tmp_path: Path) -> None:
    closed = io.BytesIO(packed)
    closed.close()
    with pytest.raises(ConfigError, match=r"gives nothing \(.*closed file\.?\); open it in binary mode \('rb'\)"):
        vaekit.load(closed)
    with (
        (tmp_path / "written").open("wb") as written,
        pytest.raises(ConfigError, match=r"gives nothing \(read\); open it in binary mode \('rb'\)"),
    ):
        vaekit.load(written)


def test_an_endless_file_object_is_read_to_the_limit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            asked.append(size)
            return bytes(size)

    monkeypatch.setattr(vaekit.packing, "ARCHIVE_LIMIT", 1000)
    with pytest.raises(IntegrityError, match="does not end like a packed bundle"):
        vaekit.load(Endless())  # type: ignore[arg-type]
    assert asked == [1001]


def test_a_pipe_is_no_bundle_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleNotFoundError, match="there is no bundle at"):
        Bundle.open(tmp_path / "pipe")


# Archives that other programs write, or that somebody writes to harm. Each would load but for the one thing named.

Change = Callable[[list[tuple[zipfile.ZipInfo, bytes]]], Any]


def rename(old: str, new: str) -> Change:
    def change(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        for info, _ in entries:
            if info.filename == old:
                info.filename = new

    return change


def attribute(name: str, **values: Any) -> Change:
    def change(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        for info, _ in entries:
            if info.filename == name:
                for attribute, value in values.items():
                    setattr(info, attribute, value)

    return change


def add(name: str, content: bytes = b"more", **values: Any) -> Change:
    def change(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        info = plain("x")
        info.filename = name  # the constructor would clean it
        for attribute, value in values.items():
            setattr(info, attribute, value)
        entries.append((info, content))

    return change


def drop(name: str) -> Change:
    def change(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        entries[:] = [entry for entry in entries if entry[0].filename != name]

    return change


def ordered(change: Change) -> Change:
    def both(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        change(entries)
        entries[1:] = sorted(entries[1:], key=lambda entry: entry[0].filename)

    return both


NOT_AS_PACK = r"does not describe README\.md as `vaekit pack` does, so that readers could differ"
HOSTILE = {
    "a path upwards": (add("../evil.sh"), r"holds '\.\./evil\.sh', which is no plain file name"),
    "a path upwards inside": (add("a/../../evil.sh"), "which is no plain file name"),
    "an absolute path": (add("/etc/cron.d/evil"), "holds '/etc/cron.d/evil', which is no plain file name"),
    "a backslash": (add("..\\evil.exe"), r"holds '\.\.\\\\evil\.exe', which is no plain file name"),
    "a drive": (add("C:evil.exe"), "holds 'C:evil.exe', which is no plain file name"),
    "a stream of Windows": (add("README.md:evil"), "which is no plain file name"),
    "an empty name": (add(""), "holds '', which is no plain file name"),
    "dots alone": (add(".."), r"holds '\.\.', which is no plain file name"),
    "a name with a NUL": (add("README.md\0.exe"), "which is no plain file name"),
    "a name beyond ASCII": (add("ﬁle"), "which is no plain file name"),
    "a long name": (add("x" * 101), "which is no plain file name"),
    "a folder": (add("folder/", b""), "holds 'folder/', which is no plain file name"),
    "a file inside a folder": (rename("golden.npz", "data/golden.npz"), "holds 'data/golden.npz', which is no plain"),
    "a folder by its mode": (add("zz", b"", external_attr=(stat.S_IFDIR | 0o755) << 16), "holds zz as a folder"),
    "a folder by MS-DOS's mark": (add("zz", b"", external_attr=0x10), "holds zz as a folder"),
    "a link": (add("zz", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16), "holds zz as a link"),
    "a file as a link": (attribute("golden.npz", external_attr=(stat.S_IFLNK | 0o777) << 16), "golden.npz as a link"),
    "deflate": (attribute("golden.npz", compress_type=zipfile.ZIP_DEFLATED), r"golden.npz compressed \(method 8\)"),
    "bzip2": (attribute("golden.npz", compress_type=zipfile.ZIP_BZIP2), r"holds golden.npz compressed \(method 12\)"),
    "lzma": (attribute("golden.npz", compress_type=zipfile.ZIP_LZMA), r"holds golden.npz compressed \(method 14\)"),
    "a bomb": (add("zz", bytes(50 << 20), compress_type=zipfile.ZIP_DEFLATED), r"holds zz compressed \(method 8\)"),
    "another file": (add("zz"), r"holds zz, which manifest\.json does not state; pack it again"),
    "a missing file": (drop("golden.npz"), r"golden\.npz is missing; copy the bundle again"),
    "no manifest": (drop("manifest.json"), r"does not hold manifest\.json first"),
    "no checksums": (drop("SHA256SUMS"), r"SHA256SUMS is missing"),
    "another order": (
        lambda entries: entries.reverse(),
        r"does not hold manifest\.json first and then its other files",
    ),
    "another date": (attribute("README.md", date_time=(2024, 5, 1, 12, 0, 0)), NOT_AS_PACK),
    "other permissions": (attribute("README.md", external_attr=(stat.S_IFREG | 0o755) << 16), NOT_AS_PACK),
    "set user id": (attribute("README.md", external_attr=(stat.S_IFREG | 0o4644) << 16), NOT_AS_PACK),
    "an extra field": (attribute("README.md", extra=b"\xfe\xca\x01\x00x"), NOT_AS_PACK),
    "a comment on a file": (attribute("README.md", comment=b"hello"), NOT_AS_PACK),
    "another system": (attribute("README.md", create_system=0), NOT_AS_PACK),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_an_archive_of_another_form_is_refused(what: str, entries: list[tuple[str, bytes]]) -> None:
    change, message = HOSTILE[what]
    written = [(plain(name), content) for name, content in entries]
    (change if "order" in what or "manifest" in what else ordered(change))(written)
    with pytest.raises(IntegrityError, match=message):
        vaekit.load(zipped(written))


def test_a_name_that_occurs_twice_is_refused(entries: list[tuple[str, bytes]]) -> None:
    written = [(plain(name), content) for name, content in entries]
    written.insert(2, (plain("README.md"), b"another"))
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped(written)
    with pytest.raises(IntegrityError, match=r"holds README\.md twice"):
        Bundle.open(content)


WORD, LONG = struct.Struct("<H").pack, struct.Struct("<L").pack
PATCHES = {
    # what: (offset and bytes in the local record, the same in the table of contents, message)
    "encrypted": ((6, WORD(1)), (8, WORD(1)), r"holds README\.md encrypted"),
    "strongly encrypted": ((6, WORD(1 << 6)), (8, WORD(1 << 6)), r"holds README\.md encrypted"),
    "masked records": ((6, WORD(1 << 13)), (8, WORD(1 << 13)), r"holds README\.md encrypted"),
    "sizes behind the file": ((6, WORD(1 << 3)), (8, WORD(1 << 3)), NOT_AS_PACK),
    "encrypted in one record": ((6, WORD(1)), None, NOT_AS_PACK),
    "unknown compression": ((8, WORD(77)), (10, WORD(77)), r"README\.md compressed \(method 77\)"),
    "compressed in one record": ((8, WORD(8)), None, NOT_AS_PACK),
    "another name in one record": ((30, b"readme.md"), None, NOT_AS_PACK),
    "another CRC in one record": ((14, LONG(1)), None, NOT_AS_PACK),
    "another CRC in both": ((14, LONG(1)), (16, LONG(1)), r"README\.md was changed: its CRC-32 is another"),
    "another size in one record": ((22, LONG(1)), None, NOT_AS_PACK),
    "a larger size in the table": (None, (24, LONG(1 << 31)), r"README\.md compressed \(method 0\)"),
    "larger sizes in the table": (None, (20, LONG(1 << 31) * 2), NOT_AS_PACK),
    "largest sizes in both": (
        (18, LONG(0xFFFFFFFF) * 2),
        (20, LONG(0xFFFFFFFF) * 2),
        "states more bytes than it holds",
    ),
    "sizes of 64 bits": ((4, WORD(45)), (6, WORD(45)), NOT_AS_PACK),
    "another disk": (None, (34, WORD(1)), NOT_AS_PACK),
    "another offset": (None, (42, LONG(0)), NOT_AS_PACK),
    "an extra field of the next record": ((28, WORD(4)), None, NOT_AS_PACK),
    "a table that goes on outside": (None, (32, WORD(4000)), NOT_AS_PACK),
}


@pytest.mark.parametrize("what", PATCHES)
def test_records_that_disagree_or_state_what_pack_does_not_are_refused(what: str, packed: bytes) -> None:
    local, central, message = PATCHES[what]
    with pytest.raises(IntegrityError, match=message):
        Bundle.open(patch(packed, "README.md", local=local, central=central))


def test_a_file_used_twice_by_overlapping_records_is_refused(packed: bytes) -> None:
    # The bomb that needs no nesting: many entries for the same bytes.
    at = record(packed, b"PK\3\4", "manifest.json")
    with pytest.raises(IntegrityError, match=r"does not describe golden\.npz"):
        Bundle.open(patch(packed, "golden.npz", local=None, central=(42, LONG(at))))


def end_record(content: bytes, **changed: int) -> bytes:
    """Rewrite the archive's last record."""
    names = ("disk", "start_disk", "here", "count", "length", "start", "comment")
    values = dict(zip(names, struct.unpack("<4H2LH", content[-18:]), strict=True)) | changed
    return content[:-18] + struct.pack("<4H2LH", *values.values())


def start_of(content: bytes) -> int:
    """Where the table of contents begins."""
    return int(struct.unpack("<L", content[-6:-2])[0])


def longer_table(content: bytes, more: int) -> bytes:
    """Zeros between the table of contents and the last record, which counts them to the table."""
    start = start_of(content)
    return end_record(content[:-22] + bytes(more) + content[-22:], length=len(content) - 22 - start + more)


def between(content: bytes) -> bytes:
    """Bytes that belong to no file, before the table of contents."""
    start = start_of(content)
    return end_record(content[:start] + b"gap" + content[start:], start=start + 3)


OUTSIDE = "has something before, between or behind its files"
NO_END = "does not end like a packed bundle"
AROUND: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "something before": (lambda c: b"#!/bin/sh\n" + c, OUTSIDE),
    "something before, the table found": (
        lambda c: end_record(b"MZ" + c, start=start_of(c) + 2),
        r"does not describe manifest\.json as `vaekit pack` does",
    ),
    "something behind": (lambda c: c + b"\n", NO_END),
    "a second archive behind": (lambda c: c + zipped([(plain("zz"), b"other")]), OUTSIDE),
    "a comment": (lambda c: end_record(c, comment=5) + b"hello", NO_END),
    "a comment that looks like an end": (lambda c: end_record(c, comment=22) + c[-22:], OUTSIDE),
    "several disks": (lambda c: end_record(c, disk=1), OUTSIDE),
    "fewer files": (lambda c: end_record(c, count=3, here=3), OUTSIDE),
    "more files": (lambda c: end_record(c, count=9, here=9), OUTSIDE),
    "numbers that disagree": (lambda c: end_record(c, count=3), OUTSIDE),
    "a table that is too long": (lambda c: longer_table(c, 9), "has a damaged table of contents"),
    "a table of a mebibyte": (
        lambda c: longer_table(c, 1 << 20),
        r"has a table of contents of 1,\d\d\d,\d\d\d bytes, more than a manifest can state",
    ),
    "something between": (between, OUTSIDE),
    "cut short": (lambda c: c[:-1], NO_END),
    "half": (lambda c: c[: len(c) // 2], NO_END),
}


@pytest.mark.parametrize("what", AROUND)
def test_what_stands_around_the_files_is_refused(what: str, packed: bytes) -> None:
    change, message = AROUND[what]
    with pytest.raises(IntegrityError, match=message):
        Bundle.open(change(packed))


@pytest.mark.parametrize(
    "name", ["manifest.json", "SHA256SUMS", "README.md", "encoder.onnx", "decoder.onnx", "golden.npz", "preview.png"]
)
def test_a_changed_file_in_a_well_formed_archive_is_refused(name: str, entries: list[tuple[str, bytes]]) -> None:
    for change in (
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content + b" ",
        lambda _: b"",
    ):
        written = [(plain(file), change(content) if file == name else content) for file, content in entries]
        with pytest.raises(BundleError, match=f"{name}"):
            vaekit.load(zipped(written))


def test_a_manifest_above_a_mebibyte_is_refused_before_it_is_read(entries: list[tuple[str, bytes]]) -> None:
    written = [(plain(name), bytes(2 << 20) if name == "manifest.json" else content) for name, content in entries]
    with pytest.raises(
        IntegrityError, match=r"manifest\.json holds 2,097,152 bytes, but should hold at most 1,048,576"
    ):
        Bundle.open(zipped(written))


def test_every_changed_byte_of_the_records_is_refused(packed: bytes, entries: list[tuple[str, bytes]]) -> None:
    content = {at for name, _ in entries for at in file_range(packed, name, dict(entries))}
    for at in sorted(set(range(len(packed))) - content):
        damaged = packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]
        with pytest.raises(IntegrityError):
            Bundle.open(damaged)


def file_range(packed: bytes, name: str, contents: Members) -> range:
    start = record(packed, b"PK\3\4", name) + 30 + len(name)
    assert packed[start : start + len(contents[name])] == contents[name]
    return range(start, start + len(contents[name]))


def test_damage_anywhere_raises_nothing_but_bundle_errors(packed: bytes) -> None:
    rng = random.Random(0)
    start = start_of(packed)
    for _ in range(1500):
        damaged = bytearray(packed)
        for _ in range(rng.choice((1, 2, 8))):
            low = rng.choice((0, start, start, len(packed) - 22))
            damaged[rng.randrange(low, len(damaged))] = rng.randrange(256)
        if rng.random() < 0.2:
            del damaged[rng.randrange(len(damaged)) :]
        if damaged != packed:
            with pytest.raises(BundleError):
                Bundle.open(bytes(damaged))


# The file on disk.


def test_a_file_that_changed_since_it_was_opened_is_refused(packed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.vaekit"
    path.write_bytes(packed)
    bundle = Bundle.open(path)
    at = record(packed, b"PK\3\4", "golden.npz") + 1000
    path.write_bytes(packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :])
    with pytest.raises(IntegrityError, match=rf"{path}: golden\.npz was changed: its CRC-32 is another"):
        bundle.golden()
    path.unlink()
    with pytest.raises(IntegrityError, match=rf"{path} is missing; copy the bundle again"):
        bundle.golden()
    path.mkdir()
    with pytest.raises(IntegrityError, match=rf"{path} is no plain file"):
        bundle.golden()


def test_a_manifest_that_changed_since_it_was_opened_is_not_packed(bundle_copy: Path, rehash: Any) -> None:
    bundle = Bundle.open(bundle_copy)
    rehash(bundle_copy, lambda manifest: manifest.replace(name="another"))
    with pytest.raises(IntegrityError, match="was changed since it was opened; open it again"):
        list(parts(bundle))


def test_no_file_stays_open(packed: bytes, tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list a process's open files")
    (tmp_path / "small.vaekit").write_bytes(packed)
    (tmp_path / "bad.vaekit").write_bytes(packed[:-1])
    before = len(os.listdir("/proc/self/fd"))
    bundles = [Bundle.open(tmp_path / "small.vaekit") for _ in range(3)]
    with pytest.raises(IntegrityError):
        Bundle.open(tmp_path / "bad.vaekit")
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(bundles) == 3


def test_a_bundle_above_the_limit_of_zip_is_not_packed(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vaekit.packing.ARCHIVE_LIMIT == 4 * 1024**3 - 1
    monkeypatch.setattr(vaekit.packing, "ARCHIVE_LIMIT", 1 << 20)
    with pytest.raises(BundleError, match=rf"{small_bundle} is too large for one file of 4 GiB; ship the folder"):
        pack(small_bundle, tmp_path / "small.vaekit")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unless_asked_and_a_failure_leaves_nothing(
    packed: bytes, bundle_copy: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_bytes(b"precious")
    for write in (pack, unpack):
        with pytest.raises(OutputError, match=f"{taken} exists already"):
            write(packed, taken)
    assert taken.read_bytes() == b"precious"
    pack(packed, taken, overwrite=True)
    assert taken.read_bytes() == packed
    bundle = Bundle.open(bundle_copy)
    (bundle_copy / "golden.npz").write_bytes(b"changed")
    listed = sorted(tmp_path.iterdir())
    with pytest.raises(IntegrityError, match=r"golden\.npz holds 7 bytes"):
        pack(bundle, tmp_path / "new.vaekit")
    with pytest.raises(IntegrityError, match=r"golden\.npz holds 7 bytes"):
        unpack(bundle, tmp_path / "new")
    assert sorted(tmp_path.iterdir()) == listed


def test_a_hostile_archive_is_not_unpacked(entries: list[tuple[str, bytes]], tmp_path: Path) -> None:
    written = [(plain(name), content) for name, content in entries]
    add("../evil.sh")(written)
    with pytest.raises(IntegrityError, match="no plain file name"):
        unpack(zipped(written), tmp_path / "out" / "folder")
    assert list(tmp_path.rglob("*")) == []
