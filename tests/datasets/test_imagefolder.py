"""Folders of images: what becomes of sizes, modes and orientations; classes and splits; the cache; and broken files.

Pictures are made here with NumPy and Pillow, and expected pixels are computed here.
"""

import hashlib
import json
import os
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaekit.datasets import DataOptions, Dataset, LoadProgress, Rows, imagecache, imagefolder, load_dataset
from vaekit.errors import ConfigError, DataError, OutputError

RNG = np.random.default_rng(0)
DEFAULT = DataOptions()
LUMA = np.array([0.299, 0.587, 0.114])


def picture(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, size=shape, dtype=np.uint8)


def fill(folder: Path, count: int = 10, *, shape: tuple[int, ...] = (6, 6, 3)) -> dict[str, np.ndarray]:
    """Write numbered PNGs and give their pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {f"{place:02}.png": picture(*shape) for place in range(count)}
    for name, pixels in made.items():
        Image.fromarray(pixels).save(folder / name)
    return made


def pixels(found: Dataset) -> dict[str, np.ndarray]:
    """Each image's pixels (H, W, C), by its name."""
    return {
        name: item.transpose(1, 2, 0)
        for split in (found.train, found.test)
        for name, item in zip(split.names, split.items, strict=True)
    }


def one(image: Image.Image, folder: Path, options: DataOptions = DEFAULT, *, name: str = "a.png", **save) -> np.ndarray:
    """Save an image beside a plain one of its size, and give the pixels (H, W, C) that were read."""
    folder.mkdir(exist_ok=True)
    image.save(folder / name, **save)
    if image.getexif().get(0x0112, 1) >= 5 or save.get("exif"):
        image = image.transpose(Image.Transpose.ROTATE_90)
    Image.new("L", image.size).save(folder / "zz.png")
    return pixels(load_dataset(folder, options))[name]


def test_images_of_one_size_are_kept_as_they_are(tmp_path: Path) -> None:
    made = fill(tmp_path / "x", shape=(5, 7, 3))
    found = load_dataset(tmp_path / "x", DataOptions(test_fraction=0.3))
    assert (len(found.train), len(found.test), found.spec.shape, found.spec.range) == (7, 3, (3, 5, 7), (0.0, 1.0))
    assert found.train.items.dtype == np.uint8
    assert isinstance(found.train.items, np.memmap)
    read = pixels(found)
    assert read.keys() == made.keys()
    for name, expected in made.items():
        np.testing.assert_array_equal(read[name], expected)
    assert [*found.train.names] == sorted(found.train.names)
    assert (found.name, found.source, found.kind) == ("x", str(tmp_path / "x"), "folder of images")
    content = b"".join(read[name].transpose(2, 0, 1).tobytes() for name in found.train.names + found.test.names)
    assert found.sha256 == hashlib.sha256(hashlib.sha256(content).digest()).hexdigest()


def test_a_large_folder_gives_rows_of_its_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "x")
    small = load_dataset(tmp_path / "x")
    monkeypatch.setattr(imagefolder, "IN_MEMORY", 8)
    large = load_dataset(tmp_path / "x")
    for part in ("train", "test"):
        items = getattr(large, part).items
        assert isinstance(items, Rows)
        np.testing.assert_array_equal(items[:], getattr(small, part).items)


def test_several_sizes_without_size_are_counted_in_the_error(tmp_path: Path) -> None:
    fill(tmp_path / "x", 3, shape=(6, 6, 3))
    for place, (height, width) in enumerate([(4, 8), (4, 8), (9, 2), (1, 1)]):
        Image.new("RGB", (width, height)).save(tmp_path / "x" / f"other{place}.png")
    expected = "x has images of 4 sizes: 6x6 (3), 8x4 (2), 2x9 (1) and 1 more; pass --size to bring them to one."
    with pytest.raises(DataError, match=re.escape(expected)):
        load_dataset(tmp_path / "x")
    assert load_dataset(tmp_path / "x", DataOptions(size=5)).spec.shape == (3, 5, 5)


@pytest.mark.parametrize("wide", [True, False])
def test_size_cuts_the_square_around_the_middle_and_scales_it(tmp_path: Path, wide: bool) -> None:
    # 40 x 120: the middle third is white, which is the square that stays.
    image = np.zeros((40, 120, 3), np.uint8)
    image[:, 40:80] = 255
    found = one(Image.fromarray(image if wide else image.transpose(1, 0, 2)), tmp_path / "x", DataOptions(size=8))
    assert found.shape == (8, 8, 3)
    assert found.min() == 255


def test_scaling_down_averages_and_does_not_pick_pixels(tmp_path: Path) -> None:
    checkers = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    found = one(Image.fromarray(checkers.astype(np.uint8)), tmp_path / "x", DataOptions(size=8))
    assert np.abs(found.astype(int) - 127.5).max() < 4


def alpha_image() -> np.ndarray:
    image = picture(6, 6, 4)
    image[:3, :, 3], image[3:, :, 3] = 0, 255
    image[0, 0, 3] = 128
    return image


@pytest.mark.parametrize(
    ("background", "rgb"), [("black", (0, 0, 0)), ("white", (255,) * 3), ("#ff8000", (255, 128, 0))]
)
@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_transparency_is_laid_over_the_background(
    tmp_path: Path, background: str, rgb: tuple[int, int, int], name: str
) -> None:
    image = alpha_image()
    found = one(
        Image.fromarray(image), tmp_path / "x", DataOptions(background=background), name=name, lossless=True, exact=True
    )
    opacity = image[..., 3:] / 255
    expected = opacity * image[..., :3] + (1 - opacity) * np.array(rgb)
    assert np.abs(found - expected).max() <= 1


def test_a_grey_image_with_alpha_stays_grey_on_grey_and_takes_colour_from_the_background(tmp_path: Path) -> None:
    image = Image.fromarray(alpha_image()[..., 2:], mode=None)
    assert image.mode == "LA"
    white = one(image, tmp_path / "x", DataOptions(background="white"))
    assert white.shape == (6, 6, 1)
    assert (white[1:3] == 255).all()
    red = one(image, tmp_path / "x", DataOptions(background="#ff0000"))
    assert (red[1:3] == [255, 0, 0]).all()
    np.testing.assert_array_equal(red[3:, :, 1], white[3:, :, 0])


def test_a_palette_image_becomes_its_colours_and_its_transparent_entry_the_background(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(6, 6), mode=None).convert("P")
    colours = picture(256, 3)
    image.putpalette(colours.tobytes())
    expected = colours[np.asarray(image)]
    np.testing.assert_array_equal(one(image, tmp_path / "x"), expected)
    expected[np.asarray(image) == 7] = 255
    found = one(image, tmp_path / "y", DataOptions(background="white"), transparency=7)
    np.testing.assert_array_equal(found, expected)


def test_16_bit_greys_are_scaled_to_8_bits(tmp_path: Path) -> None:
    levels = np.array([[0, 128, 129, 257], [32768, 65535, 65406, 300]], np.uint16)
    found = one(Image.fromarray(levels), tmp_path / "x")
    with Image.open(tmp_path / "x" / "a.png") as stored:
        assert stored.mode == "I;16"
    np.testing.assert_array_equal(found[..., 0], np.rint(levels / 65535 * 255))


def test_1_bit_images_are_black_and_white(tmp_path: Path) -> None:
    bits = RNG.integers(0, 2, size=(5, 9)).astype(bool)
    np.testing.assert_array_equal(one(Image.fromarray(bits), tmp_path / "x")[..., 0], bits * 255)


def test_a_cmyk_jpeg_becomes_its_colours(tmp_path: Path) -> None:
    # Cyan, magenta, yellow and black parts of an even surface; without black, RGB = 255 - CMY.
    image = Image.new("CMYK", (16, 16), (200, 100, 20, 0))
    found = one(image, tmp_path / "x", name="a.jpg", quality=100)
    assert np.abs(found.astype(int) - [55, 155, 235]).max() <= 3


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (1, lambda x: x),
        (2, np.fliplr),
        (3, lambda x: np.rot90(x, 2)),
        (4, np.flipud),
        (5, lambda x: x.transpose(1, 0, 2)),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: np.rot90(x.transpose(1, 0, 2), 2)),
        (8, np.rot90),
    ],
)
@pytest.mark.parametrize("name", ["a.webp", "a.png"])
def test_the_exif_orientation_is_applied(tmp_path: Path, orientation: int, undo, name: str) -> None:
    stored = picture(6, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = one(Image.fromarray(stored), tmp_path / "x", name=name, exif=exif, lossless=True)
    np.testing.assert_array_equal(found, undo(stored))


def test_a_quarter_turn_counts_when_sizes_are_compared(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = one(Image.fromarray(picture(8, 24, 3)), tmp_path / "x", name="a.jpg", exif=exif)
    assert found.shape == (24, 8, 3)


def test_one_image_of_another_channel_count_is_converted_to_the_sets(tmp_path: Path) -> None:
    grey, colour = picture(6, 6), picture(6, 6, 3)
    fill(tmp_path / "x", 9, shape=(6, 6))
    Image.fromarray(grey).save(tmp_path / "x" / "grey.png")
    assert load_dataset(tmp_path / "x").spec.shape == (1, 6, 6)
    Image.fromarray(colour).save(tmp_path / "x" / "colour.png")
    read = pixels(load_dataset(tmp_path / "x"))
    np.testing.assert_array_equal(read["colour.png"], colour)
    np.testing.assert_array_equal(read["grey.png"], np.repeat(grey[..., None], 3, axis=2))
    read = pixels(load_dataset(tmp_path / "x", DataOptions(channels=1)))
    np.testing.assert_array_equal(read["grey.png"][..., 0], grey)
    assert np.abs(read["colour.png"][..., 0] - colour @ LUMA).max() <= 1
    assert load_dataset(tmp_path / "x", DataOptions(channels=3)).spec.shape == (3, 6, 6)


# Classes and splits.


def test_folders_are_classes_by_their_sorted_names(tmp_path: Path) -> None:
    for name in ("dog", "cat/indoors", "ant"):
        fill(tmp_path / "x" / name, 4)
    found = load_dataset(tmp_path / "x")
    assert found.classes == ("ant", "cat", "dog")
    for split in (found.train, found.test):
        assert [found.classes[label] for label in split.labels] == [name.split("/")[0] for name in split.names]
    before = found.sha256
    (tmp_path / "x" / "ant").rename(tmp_path / "x" / "eel")
    assert load_dataset(tmp_path / "x").sha256 != before


def test_folders_with_numbers_for_names_are_these_labels(tmp_path: Path) -> None:
    for name in ("10", "9", "3"):
        fill(tmp_path / "x" / name, 4)
    found = load_dataset(tmp_path / "x")
    assert found.classes == ()
    for split in (found.train, found.test):
        assert [*split.labels] == [int(name.split("/")[0]) for name in split.names]


def test_one_folder_or_images_beside_folders_are_no_classes(tmp_path: Path) -> None:
    fill(tmp_path / "x" / "all", 4)
    assert load_dataset(tmp_path / "x").train.labels is None
    fill(tmp_path / "y" / "some", 4)
    fill(tmp_path / "y" / "more", 4)
    fill(tmp_path / "y", 4)
    assert load_dataset(tmp_path / "y").train.labels is None


def test_folders_called_train_and_test_are_the_splits(tmp_path: Path) -> None:
    for name, count in (("train/a", 3), ("train/b", 2), ("test/b", 2), ("test/a", 1)):
        fill(tmp_path / "x" / name, count)
    found = load_dataset(tmp_path / "x")
    assert (len(found.train), len(found.test), found.classes) == (5, 3, ("a", "b"))
    assert (found.train.labels.tolist(), found.test.labels.tolist()) == ([0, 0, 0, 1, 1], [0, 1, 1])
    assert all(name.startswith("train/") for name in found.train.names)
    assert found.division == "as it came, in the folders train and test"
    with pytest.raises(ConfigError, match="test_fraction does not apply to a folder of images"):
        load_dataset(tmp_path / "x", DataOptions(test_fraction=0.5))
    fill(tmp_path / "x" / "val", 1)
    with pytest.raises(DataError, match=r"has images in train/ and test/, and also in val; leave only the two"):
        load_dataset(tmp_path / "x")


def test_hidden_and_other_files_are_left_alone_and_others_counted(tmp_path: Path) -> None:
    fill(tmp_path / "x", 4)
    (tmp_path / "x" / ".hidden.png").write_text("no image")
    fill(tmp_path / "x" / ".thumbnails", 2)
    (tmp_path / "x" / "notes.txt").write_text("1")
    found = load_dataset(tmp_path / "x")
    assert (len(pixels(found)), found.skipped, found.notes) == (4, (), ("1 other file was left alone",))


def test_endings_are_read_in_any_case_and_formats_by_their_content(tmp_path: Path) -> None:
    made = fill(tmp_path / "x", 2)
    Image.fromarray(made["00.png"]).save(tmp_path / "x" / "png as.JPEG", format="PNG")
    assert "png as.JPEG" in pixels(load_dataset(tmp_path / "x"))


def test_options_for_tables_are_an_error(tmp_path: Path) -> None:
    fill(tmp_path / "x", 4)
    with pytest.raises(
        ConfigError, match=r"columns, window do not apply to a folder of images \(only size, background"
    ):
        load_dataset(tmp_path / "x", DataOptions(columns=("a",), window=3))


@pytest.mark.parametrize(
    "name", ["with space, comma & [brackets]", "Zoë 数据", "new\nline", "-rf *", os.fsdecode(b"not utf-8 \xff")]
)
def test_paths_with_odd_characters_are_read_and_found_again(tmp_path: Path, name: str) -> None:
    made = fill(tmp_path / name / name, 3)
    found = load_dataset(tmp_path / name)
    assert sorted(pixels(found)) == [f"{name}/{file}" for file in made]
    assert load_dataset(found.source).sha256 == found.sha256


# What cannot be read.


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x" / "deeper").mkdir(parents=True)
    expected = "x has no image (.png, .jpg, .jpeg, .webp) and none of the IDX files; 0 other files are in it."
    with pytest.raises(DataError, match=re.escape(expected)):
        load_dataset(tmp_path / "x")


def test_a_folder_of_broken_images_is_refused_in_one_line(tmp_path: Path) -> None:
    fill(tmp_path / "x", 5)
    for path in (tmp_path / "x").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    for most in (0.1, 1.0):
        with pytest.raises(DataError, match=r"x: 5 of 5 images cannot be read, and max_skipped=[^\n]*00\.png: [^\n]*$"):
            load_dataset(tmp_path / "x", DataOptions(max_skipped=most))
    assert not list((tmp_path / "cache").rglob("*.npy"))


def png_header(width: int, height: int) -> bytes:
    """A PNG that states a size and holds nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BROKEN = {
    "bomb.png": (png_header(60_000, 60_000), r"3,?600,?000,?000|60,000 x 60,000 pixels, over the limit of [\d,]+"),
    "bomb2.png": (png_header(10_000, 10_000), r"10,000 x 10,000 pixels, over the limit of 89,478,485"),
    "empty.png": (b"", "no PNG, JPEG or WebP image"),
    "text.jpg": (b"hello", "no PNG, JPEG or WebP image"),
    "gif.png": (b"GIF89a" + bytes(20), "no PNG, JPEG or WebP image"),
    "hollow.png": (png_header(6, 6), r"\w+"),
}


def test_unreadable_images_are_skipped_counted_and_listed(tmp_path: Path) -> None:
    made = fill(tmp_path / "x", 20)
    for name, (content, _) in BROKEN.items():
        (tmp_path / "x" / name).write_bytes(content)
    (tmp_path / "x" / "lost.png").symlink_to("nowhere")
    (tmp_path / "x" / "cut.png").write_bytes((tmp_path / "x" / "00.png").read_bytes()[:-40])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_dataset(tmp_path / "x", DataOptions(max_skipped=0.3))
    assert pixels(found).keys() == made.keys()
    skipped = dict(found.skipped)
    assert skipped.keys() == {*BROKEN, "lost.png", "cut.png"}
    for name, (_, reason) in BROKEN.items():
        assert re.search(reason, skipped[name]), skipped[name]
        assert "\n" not in skipped[name]
    assert skipped["lost.png"] == "No such file or directory"
    again = load_dataset(tmp_path / "x", DataOptions(max_skipped=0.3))
    assert (again.skipped, again.sha256) == (found.skipped, found.sha256)


def test_more_unreadable_images_than_allowed_are_an_error_also_from_the_cache(tmp_path: Path) -> None:
    fill(tmp_path / "x", 18)
    for name in ("bad1.png", "bad2.png"):
        (tmp_path / "x" / name).write_bytes(b"bad")
    assert len(load_dataset(tmp_path / "x", DataOptions(max_skipped=0.1)).skipped) == 2
    with pytest.raises(
        DataError, match=r"x: 2 of 20 images cannot be read, and max_skipped=0\.09 .* limit: bad[12].png: no PNG"
    ):
        load_dataset(tmp_path / "x", DataOptions(max_skipped=0.09))


def test_a_split_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path / "x" / "train", 5)
    (tmp_path / "x" / "test").mkdir()
    (tmp_path / "x" / "test" / "a.png").write_bytes(b"bad")
    with pytest.raises(DataError, match=r"1 of 6 images cannot be read, .* one left to train on and one to test on"):
        load_dataset(tmp_path / "x", DataOptions(max_skipped=1.0))


# The cache.


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are decoded, as they are."""
    names: list[str] = []
    real = imagecache.read_pixels

    def spy(path: Path, **options) -> np.ndarray:
        names.append(path.name)
        return real(path, **options)

    monkeypatch.setattr(imagecache, "read_pixels", spy)
    return names


def test_a_folder_is_converted_once(tmp_path: Path, decoded: list[str]) -> None:
    made = fill(tmp_path / "x")
    first = load_dataset(tmp_path / "x")
    assert sorted(decoded) == sorted(made)
    second = load_dataset(tmp_path / "x")
    assert len(decoded) == len(made)
    assert (first.sha256, first.train.names) == (second.sha256, second.train.names)
    np.testing.assert_array_equal(first.train.items, second.train.items)
    os.rename(tmp_path / "x", tmp_path / "moved")
    assert load_dataset(tmp_path / "moved").sha256 == first.sha256
    assert len(decoded) == len(made), "the key is the content, not the place"


@pytest.mark.parametrize(
    "options", [{"size": 4}, {"background": "white"}, {"channels": 1}, {"split_seed": 1}, {"test_fraction": 0.5}]
)
def test_other_options_are_another_conversion(tmp_path: Path, decoded: list[str], options: dict) -> None:
    fill(tmp_path / "x")
    load_dataset(tmp_path / "x")
    changed = load_dataset(tmp_path / "x", DataOptions(**options))
    assert len(decoded) == 20
    assert changed.spec.shape == (options.get("channels", 3), *[options.get("size", 6)] * 2)


@pytest.mark.parametrize("change", ["content", "name", "new file"])
def test_a_changed_folder_is_another_conversion(tmp_path: Path, decoded: list[str], change: str) -> None:
    fill(tmp_path / "x")
    before = load_dataset(tmp_path / "x")
    first = tmp_path / "x" / "00.png"
    if change == "content":
        stamp = first.stat()
        Image.fromarray(picture(6, 6, 3)).save(first)
        os.utime(first, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the time alone tells nothing
    elif change == "name":
        first.rename(tmp_path / "x" / "0.png")
    else:
        Image.fromarray(picture(6, 6, 3)).save(tmp_path / "x" / "new.png")
    after = load_dataset(tmp_path / "x")
    assert len(decoded) >= 20
    assert after.sha256 != before.sha256 or change == "name"


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "longer", "index cut", "index gone", "pixels gone", "other count"]
)
def test_a_cache_that_was_cut_short_or_changed_is_made_again(tmp_path: Path, decoded: list[str], damage: str) -> None:
    fill(tmp_path / "x")
    first = load_dataset(tmp_path / "x")
    expected = np.array(first.train.items)
    (folder,) = (tmp_path / "cache" / "images").iterdir()
    npy, index = folder / "pixels.npy", folder / "index.json"
    content = npy.read_bytes()
    if damage == "cut":
        npy.write_bytes(content[:-100])
    elif damage == "flipped":
        npy.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "longer":
        index.write_text(json.dumps({**json.loads(index.read_text()), "files": ["a"] * 11}))
    elif damage == "index cut":
        index.write_text(index.read_text()[:-10])
    elif damage == "other count":
        index.write_text(json.dumps({**json.loads(index.read_text()), "files": []}))
    else:
        (index if damage == "index gone" else npy).unlink()
    again = load_dataset(tmp_path / "x")
    assert len(decoded) == 20
    assert again.sha256 == first.sha256
    np.testing.assert_array_equal(again.train.items, expected)
    load_dataset(tmp_path / "x")
    assert len(decoded) == 20, "and it stays"


def test_a_conversion_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "x")

    def stop(at: LoadProgress) -> None:
        if at.what == "converting images" and at.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_dataset(tmp_path / "x", on_progress=stop)
    assert [*(tmp_path / "cache" / "images").iterdir()] == []


def test_progress_counts_every_file_in_both_passes(tmp_path: Path) -> None:
    fill(tmp_path / "x", 7)
    told: list[LoadProgress] = []
    load_dataset(tmp_path / "x", on_progress=told.append)
    assert told == [(what, n, 7, "files") for what in ("reading images", "converting images") for n in range(1, 8)]


def test_a_cache_folder_that_takes_no_file_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "x")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        OutputError, match=r"could not be made: Not a directory\. Set VAEKIT_CACHE to a folder with room"
    ):
        load_dataset(tmp_path / "x")


def test_many_conversions_at_once_agree_and_leave_one(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    fill(tmp_path / "x", 30)
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda _: load_dataset(tmp_path / "x").sha256, range(4))]
    assert len(set(found)) == 1
    assert len([*(tmp_path / "cache" / "images").iterdir()]) == 1
