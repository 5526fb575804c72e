"""Data sets by name and by folder."""

import gzip
import hashlib
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from vaekit.datasets import DATA_VARIABLE, DataOptions, Dataset, Split, as_float, builtin, load_dataset
from vaekit.errors import ConfigError, DataError

REPOSITORY = Path(__file__).resolve().parents[2]
STEMS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def write_idx(path: Path, array: np.ndarray) -> None:
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def arrays(*, seed: int = 0, train: int = 6, test: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = ((train, 3, 2), (train,), (test, 3, 2), (test,))
    return [rng.integers(0, 10, size=shape, dtype=np.uint8) for shape in shapes]


def write_folder(folder: Path, content: list[np.ndarray], *, ending: str = ".gz") -> Path:
    folder.mkdir(parents=True)
    for stem, array in zip(STEMS, content, strict=True):
        write_idx(folder / (stem + ending), array)
    return folder


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(DATA_VARIABLE, raising=False)
        return load_dataset("mnist")


def test_mnist_has_the_published_counts_of_images_and_of_each_digit(mnist: Dataset) -> None:
    assert (len(mnist.train), len(mnist.test)) == (60_000, 10_000)
    assert mnist.spec.shape == (1, 28, 28)
    assert mnist.spec.range == (0.0, 1.0)
    assert mnist.train.items.dtype == np.uint8
    assert mnist.train.labels is not None
    assert mnist.test.labels is not None
    # The digits 0 to 9, as every description of MNIST counts them.
    assert np.bincount(mnist.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_mnist_has_the_published_mean_and_deviation(mnist: Dataset) -> None:
    # 0.1307 and 0.3081 stand in torchvision's examples as Normalize((0.1307,), (0.3081,)).
    x = as_float(mnist.train.items).astype(np.float64)
    assert round(float(x.mean()), 4) == 0.1307
    assert round(float(x.std()), 4) == 0.3081


def test_mnist_is_found_from_any_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = load_dataset()
    assert (found.name, found.source, len(found.test)) == ("mnist", "mnist", 10_000)


def test_the_variable_is_looked_at_before_the_clone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mnist", arrays())
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match=re.escape(f"{folder} is not mnist")):
        load_dataset("mnist")


def test_a_variable_that_names_a_folder_without_the_data_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert len(load_dataset("mnist").train) == 60_000


def test_a_data_folder_in_the_working_directory_is_looked_at_before_the_clone_of_the_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_folder(tmp_path / "data" / "mnist", arrays())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^data/mnist is not mnist"):
        load_dataset("mnist")


def test_a_known_name_that_is_nowhere_says_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DATA_VARIABLE, "/nowhere")
    monkeypatch.setattr(builtin, "__file__", str(tmp_path / "site-packages" / "vaekit" / "datasets" / "builtin.py"))
    monkeypatch.setitem(builtin.KNOWN, "mnist", builtin.KNOWN["mnist"]._replace(mirrors=()))
    expected = (
        f"the data set 'mnist' was not found in /nowhere/mnist, data/mnist, {tmp_path}/site-packages/data/mnist, "
        f"{tmp_path}/cache/mnist; set VAEKIT_DATA to the folder that holds mnist/, or give the path of its files; "
        "t10k-labels-idx1-ubyte.gz could not be downloaded: there is no mirror."
    )
    with pytest.raises(DataError, match=re.escape(expected)):
        load_dataset("mnist")


def test_mnist_is_found_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(builtin, "__file__", str(tmp_path / "site-packages" / "vaekit" / "datasets" / "builtin.py"))
    folder = tmp_path / "cache" / "mnist"
    folder.mkdir(parents=True)
    for stem in STEMS:
        (folder / f"{stem}.gz").symlink_to(REPOSITORY / "data" / "mnist" / f"{stem}.gz")
    assert len(load_dataset("mnist").train) == 60_000


@pytest.mark.parametrize("name", ["minst", "fashion", "runs/none"])
def test_an_unknown_name_lists_what_can_be_read(name: str) -> None:
    expected = (
        f"there is no data set '{name}'; give a known name (mnist, fashion-mnist), a folder of images (.png, .jpg, .jpeg, "
        ".webp) or of IDX files, or a .npy, .npz, .csv, .tsv, .parquet, .pq file."
    )
    with pytest.raises(DataError, match=re.escape(expected)):
        load_dataset(name)


def test_a_file_of_an_unknown_ending_lists_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("1 2 3")
    with pytest.raises(DataError, match=r"data\.txt is no data set that is known here; give a known name \(mnist"):
        load_dataset(tmp_path / "data.txt")


@pytest.mark.parametrize("options", [DataOptions(size=28), DataOptions(test_fraction=0.2), DataOptions(window=3)])
def test_idx_data_comes_divided_and_in_one_size_so_an_option_for_that_is_an_error(
    tmp_path: Path, options: DataOptions
) -> None:
    folder = write_folder(tmp_path / "shapes", arrays())
    with pytest.raises(ConfigError, match=r"does not apply to a folder of IDX files \(no option would\)"):
        load_dataset(folder, options)
    with pytest.raises(ConfigError, match="does not apply to the data set 'mnist'"):
        load_dataset("mnist", options)


def fashion(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Write a small set under Fashion-MNIST's name and state its packed files' digests as the published ones."""
    content = arrays(seed=3)
    write_folder(folder / "fashion-mnist", content)
    known = builtin.KNOWN["fashion-mnist"]
    remotes = [
        remote._replace(sha256=hashlib.sha256((folder / "fashion-mnist" / remote.name).read_bytes()).hexdigest())
        for remote in known.remotes
    ]
    monkeypatch.setitem(builtin.KNOWN, "fashion-mnist", known._replace(remotes=tuple(remotes)))
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    return content


def test_fashion_mnist_is_held_to_the_digests_of_its_packed_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = fashion(tmp_path, monkeypatch)
    found = load_dataset("fashion-mnist")
    np.testing.assert_array_equal(found.train.items, content[0][:, None])
    assert found.classes[9] == "ankle boot"
    write_idx(tmp_path / "fashion-mnist" / f"{STEMS[3]}.gz", content[3] ^ 1)
    with pytest.raises(DataError, match=rf"is not fashion-mnist: the SHA-256 of {STEMS[3]}\.gz is \w+, but of the"):
        load_dataset("fashion-mnist")


def test_unpacked_fashion_mnist_cannot_be_checked_and_is_refused_under_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = fashion(tmp_path, monkeypatch)
    write_idx(tmp_path / "fashion-mnist" / STEMS[0], content[0])
    with pytest.raises(DataError, match=r"give the folder's path to use it as it is\."):
        load_dataset("fashion-mnist")
    assert len(load_dataset(tmp_path / "fashion-mnist").train) == 6


def test_other_content_under_a_known_name_is_refused_with_both_hashes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mnist: Dataset
) -> None:
    content = arrays()
    folder = write_folder(tmp_path / "mnist", content)
    found = hashlib.sha256(b"".join(array.tobytes() for array in content)).hexdigest()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    expected = f"{folder} is not mnist: the SHA-256 of its content is {found}, not {mnist.sha256}; copy the files again"
    with pytest.raises(DataError, match=re.escape(expected)):
        load_dataset("mnist")


def test_one_changed_pixel_is_no_longer_mnist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mnist: Dataset) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for stem in (STEMS[0], STEMS[1], STEMS[3]):
        (folder / f"{stem}.gz").symlink_to(REPOSITORY / "data" / "mnist" / f"{stem}.gz")
    images = mnist.test.items[:, 0].copy()
    images[9_999, 27, 27] ^= 1
    write_idx(folder / STEMS[2], images)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match="is not mnist: the SHA-256 of its content is"):
        load_dataset("mnist")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_folder_is_read_by_its_path_and_named_after_itself(tmp_path: Path, ending: str) -> None:
    content = arrays()
    folder = write_folder(tmp_path / "shapes", content, ending=ending)
    found = load_dataset(folder)
    assert (found.name, found.source) == ("shapes", str(folder))
    assert found.spec.shape == (1, 3, 2)
    np.testing.assert_array_equal(found.train.items, content[0][:, None])
    np.testing.assert_array_equal(found.test.items, content[2][:, None])
    assert found.train.labels is not None
    assert found.test.labels is not None
    np.testing.assert_array_equal(found.train.labels, content[1])
    np.testing.assert_array_equal(found.test.labels, content[3])
    assert found.sha256 == hashlib.sha256(b"".join(array.tobytes() for array in content)).hexdigest()


def test_a_folder_with_mnists_name_is_still_a_folder_when_given_by_path(tmp_path: Path) -> None:
    assert len(load_dataset(write_folder(tmp_path / "mnist", arrays())).train) == 6


def test_a_source_given_as_a_relative_path_is_found_again_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_folder(tmp_path / "shapes", arrays())
    monkeypatch.chdir(tmp_path)
    found = load_dataset("shapes")
    monkeypatch.chdir("/")
    assert load_dataset(found.source).sha256 == found.sha256


def test_the_hash_tells_contents_apart_and_packing_not(tmp_path: Path) -> None:
    plain = load_dataset(write_folder(tmp_path / "plain", arrays(), ending=""))
    packed = load_dataset(write_folder(tmp_path / "packed", arrays()))
    other = load_dataset(write_folder(tmp_path / "other", arrays(seed=1)))
    assert plain.sha256 == packed.sha256 != other.sha256


@pytest.mark.parametrize("missing", STEMS)
def test_each_of_the_four_files_must_be_there(tmp_path: Path, missing: str) -> None:
    folder = write_folder(tmp_path / "shapes", arrays())
    (folder / f"{missing}.gz").unlink()
    expected = f"{folder} has no file {missing} or {missing}.gz; an IDX data set has {', '.join(STEMS)}."
    with pytest.raises(DataError, match=re.escape(expected)):
        load_dataset(folder)


@pytest.mark.parametrize(
    ("place", "array", "message"),
    [
        (1, np.zeros(5, np.uint8), "images have shape (6, 3, 2) and labels (5,)"),
        (3, np.zeros(9, np.uint8), "images have shape (4, 3, 2) and labels (9,)"),
        (0, np.zeros((6, 3), np.uint8), "images have shape (6, 3) and labels (6,)"),
        (1, np.zeros((6, 1), np.uint8), "images have shape (6, 3, 2) and labels (6, 1)"),
    ],
)
def test_images_and_labels_that_do_not_belong_together_are_refused(
    tmp_path: Path, place: int, array: np.ndarray, message: str
) -> None:
    content = arrays()
    content[place] = array
    folder = write_folder(tmp_path / "shapes", content)
    with pytest.raises(DataError, match=re.escape(f"{folder}: {message}; expected (N, H, W) and (N,), N > 0.")):
        load_dataset(folder)


def test_a_data_set_without_an_item_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "shapes", arrays(test=0))
    with pytest.raises(DataError, match=r"images have shape \(0, 3, 2\) and labels \(0,\)"):
        load_dataset(folder)


def test_training_and_test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    content = arrays()
    content[2] = np.zeros((4, 2, 3), np.uint8)
    folder = write_folder(tmp_path / "shapes", content)
    expected = f"{folder}: training images have shape (1, 3, 2), test images (1, 2, 3)."
    with pytest.raises(DataError, match=re.escape(expected)):
        load_dataset(folder)


def test_a_damaged_file_in_a_folder_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "shapes", arrays())
    (folder / f"{STEMS[2]}.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DataError, match=f"{STEMS[2]}.gz is truncated or damaged"):
        load_dataset(folder)


def test_8_bit_pixels_are_divided_by_255_and_real_values_go_through() -> None:
    pixels = np.array([[0, 51, 102, 255], [255, 0, 0, 0]], np.uint8)
    found = Split(pixels).pixels(slice(0, 1))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.0, 0.2, 0.4, 1.0]], rtol=1e-7)
    values = np.array([[-3.5, 2.0], [1.0, 7.25], [0.0, 1.0]], np.float32)
    found = Split(values).pixels(np.array([2, 0]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[0.0, 1.0], [-3.5, 2.0]])


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (np.array([[0, 255]], np.uint8), (0.0, 1.0)),
        (np.array([[0.0, 1.0]], np.float32), (0.0, 1.0)),
        (np.array([[0.0, 1.5]], np.float32), None),
        (np.array([[-0.1, 0.5]], np.float32), None),
    ],
)
def test_the_range_is_zero_to_one_only_where_the_values_keep_to_it(
    items: np.ndarray, expected: tuple[float, float] | None
) -> None:
    inside = Split(np.zeros((1, 2), items.dtype))
    assert Dataset("x", "x", "", Split(items), inside).spec.range == expected
    assert Dataset("x", "x", "", inside, Split(items)).spec.range == expected
