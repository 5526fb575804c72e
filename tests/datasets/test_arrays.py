""".npy and .npz files: shapes, types, splits, and what is refused. Hashes and bounds are NumPy's own."""

import hashlib
import io
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vaekit.datasets import DataOptions, Rows, arrays, load_dataset
from vaekit.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, size=(20, 6, 5), dtype=np.uint8)
VALUES = RNG.normal(size=(20, 3)).astype(np.float32)


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("array", "shape", "bounds"),
    [
        (VALUES, (3,), None),
        (np.abs(VALUES) / 10, (3,), (0.0, 1.0)),
        (VALUES.reshape(5, 4, 3), (4, 3), None),
        (PIXELS, (1, 6, 5), (0.0, 1.0)),
        (PIXELS.reshape(20, 30), (30,), (0.0, 1.0)),
        (PIXELS[:, None].repeat(3, 1), (3, 6, 5), (0.0, 1.0)),
        (VALUES.reshape(5, 2, 2, 3), (2, 2, 3), None),
    ],
)
def test_an_array_is_divided_into_items_of_its_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: np.ndarray, shape: tuple, bounds: tuple | None, mapped: bool
) -> None:
    if mapped:
        monkeypatch.setattr(arrays, "IN_MEMORY", 8)
    found = load_dataset(save(tmp_path / "x.npy", array), DataOptions(test_fraction=0.2))
    assert (found.name, found.source, found.spec.shape) == ("x", str(tmp_path / "x.npy"), shape)
    assert found.spec.range == bounds
    assert found.bounds == (array.min(), array.max())
    assert found.sha256 == hashlib.sha256(array.tobytes()).hexdigest()
    assert len(found.test) == round(len(array) / 5)
    assert isinstance(found.train.items, Rows) == mapped
    assert any(note.startswith("mapped") for note in found.notes) == mapped
    both = [*found.train.items[:], *found.test.items[:]]
    expected = [*array.reshape(len(array), *shape)]
    assert sorted(item.tobytes() for item in both) == sorted(item.tobytes() for item in expected)


def test_a_mapped_array_is_divided_as_one_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.npy", VALUES)
    held = load_dataset(path, DataOptions(split_seed=5))
    monkeypatch.setattr(arrays, "IN_MEMORY", 8)
    mapped = load_dataset(path, DataOptions(split_seed=5))
    assert (mapped.sha256, mapped.bounds, mapped.spec) == (held.sha256, held.bounds, held.spec)
    for name in ("train", "test"):
        np.testing.assert_array_equal(getattr(mapped, name).items[:], getattr(held, name).items)
    base = mapped.train.items.array
    while not isinstance(base, np.memmap):
        base = base.base
    assert Path(base.filename) == path


@pytest.mark.parametrize("mapped", [False, True])
def test_channels_last_is_turned_where_channels_first_is_impossible_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    if mapped:
        monkeypatch.setattr(arrays, "IN_MEMORY", 8)
    last = RNG.integers(0, 256, size=(10, 7, 8, 3), dtype=np.uint8)
    found = load_dataset(save(tmp_path / "x.npy", last))
    assert found.spec.shape == (3, 7, 8)
    assert "x.npy: shape (10, 7, 8, 3) was read as (N, H, W, C) and turned into (N, C, H, W)" in found.notes
    items = [*found.train.items[:], *found.test.items[:]]
    expected = [image.transpose(2, 0, 1) for image in last]
    assert sorted(item.tobytes() for item in items) == sorted(item.tobytes() for item in expected)
    first = load_dataset(save(tmp_path / "y.npy", last.transpose(0, 3, 1, 2)[..., :3]))
    assert first.spec.shape == (3, 7, 3), "three channels first, and three columns"
    assert not any("turned" in note for note in first.notes)


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "uint8"])
@pytest.mark.parametrize("mapped", [False, True])
def test_three_axes_of_another_type_than_pixels_are_a_time_series_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, mapped: bool
) -> None:
    if mapped:
        monkeypatch.setattr(arrays, "IN_MEMORY", 8 if kind in ("float32", "uint8") else 1 << 20)
    found = load_dataset(save(tmp_path / "x.npy", PIXELS.astype(kind)))
    note = "x.npy: shape (20, 6, 5) was read as (N, D, T), time series; give (N, 1, H, W) for grey images"
    assert (found.spec.shape, note in found.notes) == (((1, 6, 5), False) if kind == "uint8" else ((6, 5), True))
    images = load_dataset(save(tmp_path / "y.npy", PIXELS[:, None].astype(kind)))  # as the note says
    assert (images.spec.shape, any("(N, D, T)" in note for note in images.notes)) == ((1, 6, 5), False)


@pytest.mark.parametrize("kind", ["float64", "float16", "int32", "uint16", "bool", ">f4"])
def test_other_numbers_are_turned_into_float32_and_said(tmp_path: Path, kind: str) -> None:
    array = np.arange(12).reshape(6, 2).astype(kind)
    found = load_dataset(save(tmp_path / "x.npy", np.asfortranarray(array)))
    assert found.train.items.dtype == np.float32
    assert found.bounds == (float(array.min()), float(array.max()))
    if kind != ">f4":
        assert found.notes == (f"x.npy: {kind} was turned into float32",)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (VALUES.astype(np.float64), r"holds 0.0 GiB of float64, too much to convert in memory; save it as uint8"),
        (VALUES.astype(">f4"), r"holds 0.0 GiB of >f4, too much to convert"),
        (np.asfortranarray(VALUES), r"in Fortran order, where an item's values lie far apart; save it in C order"),
    ],
)
def test_a_large_array_that_cannot_be_mapped_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: np.ndarray, message: str
) -> None:
    monkeypatch.setattr(arrays, "IN_MEMORY", 8)
    with pytest.raises(DataError, match=message):
        load_dataset(save(tmp_path / "x.npy", array))


@pytest.mark.parametrize("mapped", [False, True])
def test_objects_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool) -> None:
    if mapped:
        monkeypatch.setattr(arrays, "IN_MEMORY", 8)
    ragged = np.empty(2, object)
    ragged[:] = [np.zeros(2), np.zeros(3)]
    np.save(tmp_path / "x.npy", ragged, allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npy holds Python objects, which are never loaded since they can run code"):
        load_dataset(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", x=ragged, allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npz holds Python objects, which are never loaded"):
        load_dataset(tmp_path / "x.npz")


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_a_pickle_under_another_name_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(DataError, match=r"x\.npy is no \.npy file: it begins with 80 0\d"):
        load_dataset(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.write(tmp_path / "x.npy", "x.npy")
    with pytest.raises(DataError, match=r"is no \.npz file or is damaged"):
        load_dataset(tmp_path / "x.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("length", [0, 3, 20, 100, 200])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    path = save(tmp_path / "x.npy", VALUES)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=r"x\.npy is (damaged or cut short: |no \.npy file: it begins with )"):
        load_dataset(path)


@pytest.mark.parametrize("length", [0, 30, 300, 600])
def test_an_archive_that_was_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    np.savez(tmp_path / "x.npz", x=VALUES, y=np.arange(20))
    path = tmp_path / "x.npz"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=r"x\.npz is no \.npz file or is damaged: "):
        load_dataset(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5, np.float32), r"x.npy has shape (5,); give (N, D), (N, D, T), (N, H, W) of uint8 or (N, C, H, W)."),
        (np.zeros((2, 1, 1, 1, 1), np.float32), "x.npy has shape (2, 1, 1, 1, 1); give"),
        (np.zeros((5, 0), np.float32), "x.npy has shape (5, 0): no values; give at least one."),
        (np.zeros((0, 5), np.float32), "x.npy has shape (0, 5): no items; give at least one."),
        (np.zeros((5, 2), np.complex64), "x.npy holds complex64; give uint8 pixels, or real numbers."),
        (np.array([["a"], ["b"]]), "x.npy holds <U1; give uint8 pixels, or real numbers."),
        (np.array([[1.0, np.nan], [0, 0]], np.float32), "x.npy holds nan in row 0; every value must be finite."),
        (np.array([[0], [1e300]]), "x.npy holds inf in row 1; every value must be finite."),
        (np.zeros((1, 2), np.float32), "x.npy has 1 items; at least two are needed"),
    ],
)
def test_what_is_no_set_of_items_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        load_dataset(save(tmp_path / "x.npy", array))


def test_an_archive_is_divided_with_its_labels(tmp_path: Path) -> None:
    labels = np.arange(20, dtype=np.int8)
    np.savez_compressed(tmp_path / "x.npz", x=PIXELS, y=labels, more=VALUES)
    found = load_dataset(tmp_path / "x.npz", DataOptions(test_fraction=0.3))
    assert (len(found.train), len(found.test), found.spec.shape) == (14, 6, (1, 6, 5))
    for split in (found.train, found.test):
        np.testing.assert_array_equal(split.items[:, 0], PIXELS[split.labels])
    assert found.notes == ("left out: more",)
    expected = hashlib.sha256(PIXELS.tobytes() + labels.astype(np.int64).tobytes()).hexdigest()
    assert found.sha256 == expected


def test_a_divided_archive_keeps_its_parts(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=VALUES[:15], x_test=VALUES[15:], y_test=np.arange(5))
    found = load_dataset(tmp_path / "x.npz")
    np.testing.assert_array_equal(found.train.items, VALUES[:15])
    np.testing.assert_array_equal(found.test.items, VALUES[15:])
    assert found.train.labels is None
    assert found.test.labels.tolist() == [0, 1, 2, 3, 4]
    assert found.division == "as it came, in x_train and x_test"
    with pytest.raises(ConfigError, match=r"split_seed does not apply to a \.npz file"):
        load_dataset(tmp_path / "x.npz", DataOptions(split_seed=1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": VALUES}, "has arrays a; expected x, y or x_train, y_train, x_test, y_test."),
        ({}, "has arrays none; expected"),
        ({"x": VALUES, "x_test": VALUES}, "has arrays x, x_test; expected"),
        (
            {"x": VALUES, "y": np.arange(19)},
            "x.npz: y is int64 of shape (19,); labels are whole numbers of shape (20,).",
        ),
        ({"x": VALUES, "y": np.zeros(20)}, "x.npz: y is float64 of shape (20,); labels are whole numbers"),
        (
            {"x_train": VALUES, "x_test": VALUES[:, :2]},
            "x_train is float32 of shape (20, 3), x_test float32 of (20, 2)",
        ),
        ({"x_train": VALUES, "x_test": np.zeros((2, 3), np.uint8)}, "x_test uint8 of (2, 3); both need items"),
    ],
)
def test_an_archive_of_other_arrays_is_refused(tmp_path: Path, content: dict, message: str) -> None:
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(DataError, match=re.escape(message)):
        load_dataset(tmp_path / "x.npz")


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "NPZ_LIMIT", 1 << 20)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((2, 1 << 20), np.uint8))
    assert (tmp_path / "x.npz").stat().st_size < 10_000
    with pytest.raises(
        DataError, match=r"unpacks to 0\.0 GiB, over the limit of 0 GiB for \.npz; save x alone as \.npy"
    ):
        load_dataset(tmp_path / "x.npz")


def test_an_array_that_states_more_than_it_holds_sets_no_memory_aside(tmp_path: Path) -> None:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 1)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", member.getvalue() + b"1234")
    with pytest.raises(DataError, match=r"x\.npy states 1,099,511,627,776 bytes of values, but holds 4\."):
        load_dataset(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_an_option_for_images_or_tables_is_an_error(tmp_path: Path, name: str) -> None:
    save(tmp_path / "x.npy", VALUES)
    np.savez(tmp_path / "x.npz", x=VALUES)
    with pytest.raises(
        ConfigError, match=r"size, columns do not apply to a \.np. file \(only test_fraction, split_seed"
    ):
        load_dataset(tmp_path / name, DataOptions(size=3, columns=("a",)))
