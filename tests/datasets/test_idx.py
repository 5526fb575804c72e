"""IDX files: what is read, and what is refused. Every file is written here with struct, never by vaekit."""

import gzip
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vaekit.datasets.idx import read_idx
from vaekit.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, size=(5, 4, 3), dtype=np.uint8)


def idx(array: np.ndarray, *, kind: int = 0x08) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("shape", [(7,), (5, 4), (5, 4, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_gives_the_array_that_was_written(tmp_path: Path, shape: tuple[int, ...], pack: type[bytes]) -> None:
    array = np.random.default_rng(1).integers(0, 256, size=shape, dtype=np.uint8)
    found = read_idx(write(tmp_path / "any-name", pack(idx(array))))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


def test_a_file_longer_than_one_read_is_whole(tmp_path: Path) -> None:
    array = np.random.default_rng(2).integers(0, 256, size=(3, 1021, 1031), dtype=np.uint8)
    np.testing.assert_array_equal(read_idx(write(tmp_path / "x", idx(array))), array)


def test_bytes_are_in_the_order_of_the_format_description(tmp_path: Path) -> None:
    # 2 rows of 3, written out by hand: the last axis runs fastest and sizes are big-endian.
    content = bytes.fromhex("00000802 00000002 00000003 0a0b0c 0d0e0f")
    assert read_idx(write(tmp_path / "x", content)).tolist() == [[10, 11, 12], [13, 14, 15]]


@pytest.mark.parametrize("length", [4, 5, 15])
def test_a_header_that_ends_early_is_truncated(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "x", idx(IMAGES)[:length])
    with pytest.raises(DataError, match=re.escape(f"{path} is truncated: it ends within its header; copy it again.")):
        read_idx(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_body_that_ends_early_is_refused_with_both_counts(tmp_path: Path, pack: type[bytes]) -> None:
    path = write(tmp_path / "x", pack(idx(IMAGES)[:-1]))
    with pytest.raises(DataError, match=r"x states 60 values of shape \(5, 4, 3\), but holds 59; copy it again"):
        read_idx(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_bytes_after_the_last_value_are_refused(tmp_path: Path, pack: type[bytes]) -> None:
    path = write(tmp_path / "x", pack(idx(IMAGES) + b"\0"))
    with pytest.raises(DataError, match=r"states 60 values of shape \(5, 4, 3\), but holds more; copy it again"):
        read_idx(path)


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"", "nothing"),
        (b"\0\0", "00 00"),
        (b"\x89PNG\r\n\x1a\n", "89 50 4e 47"),
        (b"\1" + idx(IMAGES)[1:], "01 00 08 03"),
        (idx(IMAGES.astype(">f4"), kind=0x0D), "00 00 0d 03"),
        (idx(IMAGES, kind=0x09), "00 00 09 03"),
        (b"\0\0\x08\0", "00 00 08 00"),
        (b"\0\0\x08\5" + bytes(20), "00 00 08 05"),
    ],
    ids=["empty", "two bytes", "a PNG", "wrong magic", "float32", "signed bytes", "no dimension", "five dimensions"],
)
def test_another_format_is_refused_with_the_bytes_that_were_seen(tmp_path: Path, content: bytes, seen: str) -> None:
    path = write(tmp_path / "x", content)
    with pytest.raises(DataError, match=f"is no IDX file of unsigned bytes: it begins with {seen}, not with 00 00 08"):
        read_idx(path)


def test_a_gzip_file_of_nothing_is_no_idx_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="begins with nothing"):
        read_idx(write(tmp_path / "x.gz", gzip.compress(b"")))


def test_a_flipped_bit_in_the_checksum_of_a_gzip_file_is_found(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(idx(IMAGES)))
    content[-8] ^= 1  # RFC 1952: the last eight bytes are CRC-32 and length
    with pytest.raises(DataError, match=r"is truncated or damaged: CRC check failed.*; copy it again"):
        read_idx(write(tmp_path / "x.gz", bytes(content)))


def test_no_flipped_byte_in_the_data_of_a_gzip_file_goes_unseen(tmp_path: Path) -> None:
    whole = gzip.compress(idx(IMAGES))
    for place in range(10, len(whole)):  # the first ten bytes are gzip's header, with a time that may be anything
        content = bytearray(whole)
        content[place] ^= 0xFF
        with pytest.raises(DataError):
            read_idx(write(tmp_path / "x.gz", bytes(content)))


@pytest.mark.parametrize("keep", [5, 30, -1])
def test_a_gzip_file_that_ends_early_is_refused(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "x.gz", gzip.compress(idx(IMAGES))[:keep])
    with pytest.raises(DataError, match=re.escape(f"{path} is truncated or damaged: ")):
        read_idx(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'none'} cannot be read: No such file or directory.")):
        read_idx(tmp_path / "none")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path} cannot be read: Is a directory.")):
        read_idx(tmp_path)


def test_a_header_beyond_the_limit_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x", b"\0\0\x08\x04" + struct.pack(">4I", *[0xFFFFFFFF] * 4))
    with pytest.raises(DataError, match=r"states [\d,]+ values of shape .*; the limit is 17,179,869,184"):
        read_idx(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's address space")
@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_states_16_gib_costs_no_memory(tmp_path: Path, packed: bool) -> None:
    content = b"\0\0\x08\x03" + struct.pack(">3I", 1 << 12, 1 << 11, 1 << 11) + b"only these"
    path = write(tmp_path / "x", gzip.compress(content) if packed else content)
    code = (
        "import resource, sys, pathlib\n"
        "from vaekit.datasets.idx import read_idx\n"
        "from vaekit.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))\n"  # 4 GiB of address space
        "try: read_idx(pathlib.Path(sys.argv[1]))\n"
        "except DataError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "states 17,179,869,184 values of shape (4096, 2048, 2048), but holds 10; copy it again" in done.stdout
