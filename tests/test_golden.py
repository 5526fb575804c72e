"""Golden vectors come back as they were written, and an archive that holds anything else is refused."""

from __future__ import annotations

import io
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit.golden
from vaekit.bundle import Bundle
from vaekit.errors import IntegrityError
from vaekit.golden import Golden

Rehash = Callable[..., None]


def arrays(n: int = 3, d: int = 5) -> dict[str, np.ndarray]:
    shapes = dict.fromkeys(("mean", "log_var", "eps", "z"), (n, d)) | dict.fromkeys(("x", "x_hat"), (n, 1, 28, 28))
    rng = np.random.default_rng(0)
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


def npz(**content: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **content)
    return buffer.getvalue()


def test_golden_vectors_come_back_as_numpy_writes_them() -> None:
    written = arrays()
    labels = np.arange(3)
    for content in (npz(**written, labels=labels), Golden(**written, labels=labels).to_bytes()):
        golden = Golden.from_bytes(content)
        for name, array in {**written, "labels": labels}.items():
            np.testing.assert_array_equal(getattr(golden, name), array, strict=True)
    assert Golden.from_bytes(npz(**written)).labels is None


def test_the_same_golden_vectors_give_the_same_bytes() -> None:
    first = Golden(**arrays()).to_bytes()
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        # A clock inside would change the bytes from one export to the next.
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert Golden(**arrays()).to_bytes() == first


def member(name: str, content: bytes, **more: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **more) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def stated_array(shape: str) -> bytes:
    """An .npy file whose header states a shape that the file does not hold."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def with_password() -> bytes:
    content = bytearray(member("x.npy", b"1234567890123456"))
    for mark, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the general purpose flags: bit 0 says "encrypted"
        content[content.index(mark) + flag] |= 1
    return bytes(content)


def with_unknown_compression() -> bytes:
    content = bytearray(member("x.npy", b"1234567890123456"))
    for mark, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(mark) + method] = 77
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"no archive", "cannot be read: File is not a zip file"),
        (npz(**arrays())[:-30], "cannot be read"),
        (npz(**{**arrays(), "x": np.array([print, None])}), "cannot be read: .*allow_pickle"),
        (
            npz(**{**arrays(), "more": np.zeros(1, np.float32)}),
            "holds .*more float32.*not x, mean, log_var, eps, z, x_hat",
        ),
        (npz(**{k: v for k, v in arrays().items() if k != "eps"}), "not x, mean, log_var, eps, z, x_hat in float32"),
        (npz(**{**arrays(), "z": arrays()["z"].astype(np.float64)}), "z float64, not x, mean, log_var, eps, z, x_hat"),
        (npz(**{**arrays(), "z": arrays()["z"].astype(">f4")}), "not x, mean, log_var, eps, z, x_hat in float32"),
        (npz(**arrays(), labels=np.zeros(3)), "holds labels of dtype float64, not int64"),
        (npz(**arrays(), labels=np.array(["a", "b", "c"])), "holds labels of dtype <U1, not int64"),
        (npz(**arrays(), labels=np.array([print])), "cannot be read: .*allow_pickle"),
        (member("x", b"no array"), "cannot be read"),
        (member("x.npy", stated_array("(1000000000000000,)")), "cannot be read"),
        (member("x.npy", stated_array("(10, 10)")), "cannot be read"),
        (member("x.npy", stated_array("(-4, -4)")), "cannot be read"),
        (member("x.npy", stated_array("'x'")), "cannot be read"),
        (member("x.npy", stated_array("(" + "9" * 30 + ",)")), "cannot be read"),
        (with_password(), "cannot be read: .*encrypted"),
        (with_unknown_compression(), "cannot be read: .*not supported"),
    ],
)
def test_golden_vectors_that_are_none_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=rf"golden\.npz .*{message}"):
        Golden.from_bytes(content)


def test_damaged_golden_vectors_raise_nothing_but_integrity_errors() -> None:
    rng = random.Random(0)
    content = Golden(**arrays(1, 2), labels=np.arange(1)).to_bytes()
    plain = io.BytesIO()
    np.savez(plain, **arrays(1, 2))
    refused = 0
    for original in (content, plain.getvalue()):
        for _ in range(400):
            damaged = bytearray(original)
            for _ in range(rng.choice((1, 1, 2, 8))):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy warns of headers that Python 2 wrote
                try:
                    Golden.from_bytes(bytes(damaged))
                except IntegrityError:
                    refused += 1
    assert refused > 400  # a ZIP member has a CRC, so most damage is seen; the rest hit what nobody reads


def test_a_small_archive_that_unpacks_into_a_large_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = npz(**arrays(), labels=np.zeros(200_000, np.int64))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = sum(len(archive.read(name)) for name in archive.namelist())
    assert len(content) < 100_000 < unpacked
    monkeypatch.setattr(vaekit.golden, "GOLDEN_LIMIT", unpacked)
    Golden.from_bytes(content)
    monkeypatch.setattr(vaekit.golden, "GOLDEN_LIMIT", unpacked - 1)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(
        IntegrityError, match=rf"golden\.npz unpacks to {unpacked:,} bytes; the limit is {unpacked - 1:,}"
    ):
        Golden.from_bytes(content)


def test_the_largest_golden_archive_is_that_of_the_specification() -> None:
    assert vaekit.golden.GOLDEN_LIMIT == 256 * 1024**2


def golden_of(folder: Path, rehash: Rehash, content: bytes, *, items: int) -> Bundle:
    (folder / "golden.npz").write_bytes(content)
    rehash(folder, lambda manifest: manifest.replace(golden_items=items))
    return Bundle.open(folder)


def test_golden_vectors_of_the_stated_shapes_are_read(bundle_copy: Path, rehash: Rehash) -> None:
    bundle = golden_of(bundle_copy, rehash, npz(**arrays(), labels=np.arange(3)), items=3)
    np.testing.assert_array_equal(bundle.golden().x, arrays()["x"])


@pytest.mark.parametrize(
    ("name", "array", "found"),
    [
        ("x", np.zeros((3, 784), np.float32), r"x has shape \(3, 784\), not \(3, 1, 28, 28\)"),
        ("x_hat", np.zeros((4, 1, 28, 28), np.float32), r"x_hat has shape \(4, 1, 28, 28\), not \(3, 1, 28, 28\)"),
        ("mean", np.zeros((3, 6), np.float32), r"mean has shape \(3, 6\), not \(3, 5\)"),
        ("log_var", np.zeros((3,), np.float32), r"log_var has shape \(3,\), not \(3, 5\)"),
        ("eps", np.zeros((2, 5), np.float32), r"eps has shape \(2, 5\), not \(3, 5\)"),
        ("z", np.zeros((5, 3), np.float32), r"z has shape \(5, 3\), not \(3, 5\)"),
        ("labels", np.zeros((4,), np.int64), r"labels has shape \(4,\), not \(3,\)"),
    ],
)
def test_golden_vectors_of_other_shapes_are_refused(
    bundle_copy: Path, rehash: Rehash, name: str, array: np.ndarray, found: str
) -> None:
    bundle = golden_of(bundle_copy, rehash, npz(**{**arrays(), name: array}), items=3)
    with pytest.raises(IntegrityError, match=rf"golden\.npz: {found}"):
        bundle.golden()


def test_golden_vectors_of_another_number_than_stated_are_refused(bundle_copy: Path, rehash: Rehash) -> None:
    bundle = golden_of(bundle_copy, rehash, npz(**arrays()), items=4)
    with pytest.raises(IntegrityError, match=r"golden\.npz: x has shape \(3, 1, 28, 28\), not \(4, 1, 28, 28\)"):
        bundle.golden()
