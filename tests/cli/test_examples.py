"""Items that a command works on: which one a word picks, and what is no item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaekit.bundle import Bundle
from vaekit.cli.examples import examples, image_files, pick
from vaekit.datasets import Dataset, Split
from vaekit.errors import DataError


@pytest.fixture
def bundle(small_bundle: Path) -> Bundle:
    return Bundle.open(small_bundle)


@pytest.fixture
def split(small_dataset: Dataset) -> Split:
    return small_dataset.test


@pytest.fixture
def file(tmp_path: Path, split: Split) -> Path:
    Image.fromarray(split.items[33, 0]).save(tmp_path / "item.png")
    return tmp_path / "item.png"


def test_examples_without_data_are_the_golden_items(bundle: Bundle, split: Split) -> None:
    found = examples(bundle, None)
    np.testing.assert_array_equal(found.pixels(slice(None)), split.items[:64] / np.float32(255))
    np.testing.assert_array_equal(found.labels, split.labels[:64])


def test_examples_of_data_are_its_test_items(bundle: Bundle, split: Split, small_data_folder: Path) -> None:
    found = examples(bundle, str(small_data_folder))
    np.testing.assert_array_equal(found.items, split.items)
    np.testing.assert_array_equal(found.labels, split.labels)


def test_examples_of_another_shape_are_refused(gaussian_bundle: Path, small_data_folder: Path) -> None:
    with pytest.raises(DataError, match=r"has items of shape \(1, 28, 28\), but the model takes \(6,\)"):
        examples(Bundle.open(gaussian_bundle), str(small_data_folder))


def test_examples_of_unknown_data_are_refused(bundle: Bundle) -> None:
    with pytest.raises(DataError, match="there is no data set 'mnst'; give a known name"):
        examples(bundle, "mnst")


def test_a_label_picks_its_first_item(bundle: Bundle, split: Split) -> None:
    # The data's labels are 0 to 9, over and over.
    for label in range(10):
        np.testing.assert_array_equal(pick(bundle, split, str(label))[0], split.items[label] / np.float32(255))


def test_an_index_picks_that_item(bundle: Bundle, split: Split) -> None:
    for index in (0, 17, len(split) - 1):
        item = pick(bundle, split, f"@{index}")
        assert item.shape == (1, 1, 28, 28)
        assert item.dtype == np.float32
        np.testing.assert_array_equal(item[0], split.items[index] / np.float32(255))


def test_a_path_picks_an_image_file(bundle: Bundle, split: Split, file: Path) -> None:
    item = pick(bundle, split, str(file))
    assert item.dtype == np.float32
    np.testing.assert_allclose(item[0], split.items[33] / 255, atol=1e-7)


def test_a_file_that_is_called_3_does_not_hide_the_label(
    bundle: Bundle, split: Split, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    for name in ("3", "@3"):
        file.with_name(name).write_bytes(file.read_bytes())
        np.testing.assert_array_equal(pick(bundle, split, name)[0], split.items[3] / np.float32(255))
    np.testing.assert_allclose(pick(bundle, split, "./3")[0], split.items[33] / 255, atol=1e-7)


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("@300", r"item @300 was asked for, but there are 300; give @0 to @299\."),
        ("10", r"label 10 was asked for, but the items' labels are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\."),
        (
            "three",
            r"'three' is no image file, no index \(@17\) and no label; the items' are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9\.$",
        ),
        ("9" * 5000, r"label 9{5000} was asked for, but the items' labels are 0, 1,"),
        ("-1", r"'-1' is no image file"),
        ("@", r"'@' is no image file"),
        ("", r"'' is no image file"),
        ("x" * 5000, r"'x{5000}' is no image file"),
        (".", r"'\.' is no image file"),
    ],
)
def test_what_is_no_item_is_refused(bundle: Bundle, split: Split, which: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pick(bundle, split, which)


NAMES = ("nine", "0", *"cdefghi", "3")


@pytest.mark.parametrize(("which", "label"), [("nine", 0), ("0", 1), ("c", 2), ("2", 2), ("3", 9), ("9", 9)])
def test_a_label_is_a_classes_name_else_its_number(bundle: Bundle, split: Split, which: str, label: int) -> None:
    np.testing.assert_array_equal(pick(bundle, split, which, NAMES)[0], split.items[label] / np.float32(255))


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (
            "boat",
            r"'boat' is no image file, no index \(@17\) and no label; the items' are nine, 0, c, d, e, f, g, h, i, 3",
        ),
        ("10", r"label 10 was asked for, but the items' labels are nine, 0, c, d, e, f, g, h, i, 3\."),
        ("unseen", r"label unseen was asked for, but the items' labels are nine, 0, c,"),
    ],
)
def test_a_label_that_is_no_class_is_refused_with_their_names(
    bundle: Bundle, split: Split, which: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        pick(bundle, split, which, (*NAMES, "unseen"))


def test_a_label_of_items_without_labels_is_refused_with_the_index(bundle: Bundle, split: Split) -> None:
    with pytest.raises(
        DataError, match=r"label 3 was asked for, but the items have no labels; give an index, as in @3\."
    ):
        pick(bundle, Split(split.items), "3")
    with pytest.raises(
        DataError, match=r"'boat' is no image file, no index \(@17\) and no label; the items have none\."
    ):
        pick(bundle, Split(split.items), "boat")


def test_image_files_for_a_model_of_no_images_are_refused(gaussian_bundle: Path, file: Path) -> None:
    with pytest.raises(DataError, match=r"the model takes items of shape \(6,\), not images; give --data instead"):
        image_files(Bundle.open(gaussian_bundle), [file])


def test_image_files_come_in_their_order(bundle: Bundle, split: Split, tmp_path: Path) -> None:
    paths = []
    for index in (5, 2, 9):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(split.items[index, 0]).save(paths[-1])
    np.testing.assert_allclose(image_files(bundle, paths), split.items[[5, 2, 9]] / 255, atol=1e-7)
