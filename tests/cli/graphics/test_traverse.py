"""`vaekit traverse`: which dimensions, how far, and that what is shown and written is what the decoder makes of the codes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

import vaekit
from vaekit.cli.traverse import dimensions, in_row
from vaekit.errors import ConfigError
from vaekit.images import to_uint8
from vaekit.manifest import LatentStatistics

Run = Callable[..., Any]

STATISTICS = LatentStatistics(9, (0.0,) * 4, (1.0,) * 4, (0.1, 2.0, 0.0, 1.0), (1, 3, 0))


@pytest.fixture
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


def rows_of(out: str) -> list[tuple[str, list[str]]]:
    """Each dimension's line, and the captions below it."""
    found: list[tuple[str, list[str]]] = []
    for line in out.splitlines():
        if re.match(r"z\d", line):
            found.append((line, []))
        elif re.fullmatch(r"[ +\-\d.]*[+-]\d+\.\d\d", line):
            found[-1][1].extend(line.split())
    return found


# Which dimensions.


@pytest.mark.parametrize(
    ("which", "wanted"),
    [("active", [1, 3, 0]), ("all", [1, 3, 0, 2]), ("2", [2]), ("3, 0,3,1", [3, 0, 1])],
)
def test_dimensions_are_named_or_in_the_order_of_their_kl(which: str, wanted: list[int]) -> None:
    assert dimensions(which, STATISTICS) == wanted


def test_dimensions_of_an_autoencoder_are_in_the_order_of_their_spread() -> None:
    assert dimensions("all", STATISTICS.replace(kl=(), std=(1.0, 3.0, 2.0, 0.5))) == [1, 2, 0, 3]


def test_a_model_without_an_active_dimension_shows_its_first() -> None:
    assert dimensions("active", STATISTICS.replace(active=())) == [1]


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("4", r"--dims '4': the model has 4; give 0 to 3\."),
        ("0,-1", r"--dims '0,-1': give active, all, or numbers of dimensions, as in 0,3,5\."),
        ("best", r"--dims 'best': give active, all, or numbers"),
        ("", r"--dims '': give active, all, or numbers"),
        ("1.5", r"--dims '1.5': give active"),
        ("²", r"--dims '²': give active"),
    ],
)
def test_dimensions_that_are_not_there_are_refused(which: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dimensions(which, STATISTICS)


# What is shown and written.


def test_a_row_a_dimension_with_its_values_below(run: Run, small_bundle: Path, vae: vaekit.VAE) -> None:
    done = run("traverse", small_bundle, "--dims", "all", "--steps", 5, "--range", 2)
    assert (done.code, done.err) == (0, "")
    statistics = vae.manifest.statistics
    rows = rows_of(done.out)
    order = sorted(range(5), key=lambda dimension: -statistics.kl[dimension])
    assert [row[0].split()[0] for row in rows] == [f"z{dimension}" for dimension in order]
    for (title, captions), dimension in zip(rows, order, strict=True):
        assert f"KL {statistics.kl[dimension]:.2f} nats" in title
        assert title.endswith("not active") == (dimension not in statistics.active)
        mean, std = statistics.mean[dimension], statistics.std[dimension]
        np.testing.assert_allclose(list(map(float, captions)), mean + std * np.linspace(-2, 2, 5), atol=0.0051)


def test_npz_holds_the_code_the_values_and_the_items(
    run: Run, small_bundle: Path, vae: vaekit.VAE, tmp_path: Path
) -> None:
    out = tmp_path / "t.npz"
    assert run("traverse", small_bundle, "--dims", "3,0", "--from", "4", "--steps", 7, "--out", out).code == 0
    code = vae.encode(vae.bundle.golden().x[4:5]).mean  # the first ten golden items have the labels 0 to 9
    statistics = vae.manifest.statistics
    with np.load(out) as arrays:
        assert set(arrays) == {"z", "dimensions", "values", "x"}
        np.testing.assert_array_equal(arrays["z"], code)
        assert arrays["dimensions"].tolist() == [3, 0]
        for row, dimension in enumerate((3, 0)):
            for step, t in enumerate(np.linspace(-3, 3, 7)):
                z = code.astype(np.float64)
                z[0, dimension] = statistics.mean[dimension] + t * statistics.std[dimension]
                np.testing.assert_allclose(arrays["values"][row, step], z[0, dimension], rtol=1e-6)
                np.testing.assert_allclose(arrays["x"][row, step], vae.decode(z.astype(np.float32))[0], atol=1e-6)


def test_a_seed_changes_the_code_that_sample_draws(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.npz"
    assert run("traverse", small_bundle, "--seed", 11, "--out", out).code == 0
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["z"], vaekit.noise(seed=11, count=1, dim=5))


def test_png_is_a_grid_and_gif_moves_all_dimensions_at_once(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    options = ("--dims", "1,4", "--steps", 3)
    for name in ("t.npz", "t.png", "t.gif", "t.apng"):
        assert run("traverse", small_bundle, *options, "--out", tmp_path / name).code == 0
    with np.load(tmp_path / "t.npz") as arrays:
        pixels = [[to_uint8(item[None])[0, ..., 0] for item in row] for row in arrays["x"]]
    with Image.open(tmp_path / "t.png") as image:
        assert image.size == (3 * 30 - 2, 2 * 30 - 2)
        sheet = np.asarray(image)
        for row in (0, 1):
            for step in (0, 1, 2):
                np.testing.assert_array_equal(sheet[30 * row :, 30 * step :][:28, :28], pixels[row][step])
    for name in ("t.gif", "t.apng"):
        with Image.open(tmp_path / name) as image:
            frames = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(image)]
        assert len(frames) == 4  # 0 1 2 1
        for frame, step in zip(frames, (0, 1, 2, 1), strict=True):
            assert frame.shape == (28 * 3, 58 * 3)  # 58 pixels are enlarged to 128 and more
            for row in (0, 1):
                shown = frame[1::3, 30 * 3 * row + 1 :: 3][:, :28]
                np.testing.assert_array_equal(shown, pixels[row][step])


def test_traverse_plays_one_dimension_after_the_other(in_terminal: Run, small_bundle: Path, vae: vaekit.VAE) -> None:
    options = ("--dims", "2,0", "--steps", 3, "--animate", "--loops", 1, "--fps", 50)
    shown = in_terminal("traverse", small_bundle, *options, VAEKIT_GRAPHICS="blocks")
    assert shown.code == 0
    captions = re.findall(r"z(\d) ([+-]\d+\.\d\d)", shown.text)
    assert [name for name, _ in captions] == ["2"] * 5 + ["0"] * 5 + ["2"]
    statistics = vae.manifest.statistics
    wanted = [statistics.mean[d] + t * statistics.std[d] for d in (2, 0) for t in (-3, 0, 3, 0, -3)]
    np.testing.assert_allclose([float(value) for _, value in captions[:10]], wanted, atol=0.0051)


@pytest.mark.parametrize(
    ("steps", "width", "columns", "wanted"),
    [(9, 28, 80, 5), (9, 28, 124, 9), (9, 28, 20, 1), (4, 5, 80, 4), (9, 28, 27, 2)],
)
def test_a_row_is_broken_into_equal_parts_where_it_would_be_too_small(
    steps: int, width: int, columns: int, wanted: int
) -> None:
    # 12 characters and a gap of 2 each: five fit into 80 columns, so nine are five and four.
    assert in_row(steps, width, columns) == wanted


# Models and screens of every kind.


@pytest.mark.parametrize(("kind", "latent"), [("series", 1), ("colour", 2), ("wide", 256)])
@pytest.mark.parametrize("screen_columns", [20, 80])
def test_every_latent_size_is_traversed_and_morphed(
    run: Run, odd_bundle: Callable[[str], Path], kind: str, latent: int, screen_columns: int
) -> None:
    bundle = odd_bundle(kind)
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    assert vae.spec.latent == latent
    done = run("traverse", bundle, "--dims", "all", "--steps", 2)
    assert (done.code, done.err) == (0, "")
    assert len(rows_of(done.out)) == latent
    assert max(map(len, done.out.splitlines())) <= screen_columns
    done = run("morph", bundle, "--from", "@0", "--to", "@1", "--steps", 3)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= screen_columns


def test_an_autoencoder_and_a_table_are_traversed(run: Run, ae_bundle: Path, gaussian_bundle: Path) -> None:
    done = run("traverse", ae_bundle, "--steps", 2, "--seed", 1)
    assert (done.code, done.err) == (0, "")
    assert "KL" not in done.out
    done = run("traverse", gaussian_bundle, "--steps", 2)
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^[+-]\d\.\d\d: -?\d", done.out, re.MULTILINE)


def test_items_without_labels_are_named_by_index(run: Run, odd_bundle: Callable[[str], Path]) -> None:
    bundle = odd_bundle("colour")
    for arguments in (["traverse", bundle, "--from", "3"], ["morph", bundle]):
        done = run(*arguments)
        assert (done.code, done.out) == (1, "")
        assert done.err == ("error: label 3 was asked for, but the items have no labels; give an index, as in @3.\n")
    assert run("traverse", bundle, "--from", "@3").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", 1, "--from", "@0"], "--seed draws a code, and --from or --data name an item to encode; give one"),
        (
            ["--seed", 1, "--data", "mnist"],
            "--seed draws a code, and --from or --data name an item to encode; give one",
        ),
        (["--range", 0], "--range 0: give a number of standard deviations above 0 and up to 100"),
        (["--range", "-1"], "--range -1: give a number of standard deviations"),
        (["--range", "nan"], "--range nan: give a number of standard deviations"),
        (["--range", 1e9], r"--range 1e\+09: give a number of standard deviations"),
        (["--dims", "7"], "--dims '7': the model has 5; give 0 to 4"),
        (["--from", "@99"], "item @99 was asked for, but there are 64"),
        (["--out", "x.jpg"], r"the ending '\.jpg' is unknown; choose one of \.png, \.gif, \.apng, \.npz"),
        (["--out", "no/x.gif"], "there is no folder no; make it first"),
    ],
)
def test_options_without_a_meaning_are_refused(run: Run, small_bundle: Path, options: list[Any], message: str) -> None:
    done = run("traverse", small_bundle, *options)
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(rf"error: .*{message}.*\n", done.err), done.err


def test_an_existing_file_is_kept(run: Run, small_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.gif"
    out.write_bytes(b"precious")
    done = run("traverse", small_bundle, "--out", out)
    assert (done.code, done.out) == (1, "")
    assert "exists already; choose another path, or pass --force" in done.err
    assert out.read_bytes() == b"precious"


# Morph's files.


def test_morph_writes_frames_there_and_back(run: Run, small_bundle: Path, vae: vaekit.VAE, tmp_path: Path) -> None:
    golden = vae.bundle.golden().x
    steps = to_uint8(vae.morph(golden[3], golden[8], steps=4))[..., 0]
    for name, scale, options in (("m.gif", 5, []), ("m.apng", 5, []), ("n.gif", 2, ["--scale", 2])):
        out = tmp_path / name
        done = run("morph", small_bundle, "--steps", 4, "--fps", 20, "--out", out, *options)
        assert (done.code, done.out.splitlines()[-1]) == (0, f"wrote {out}")
        with Image.open(out) as image:
            assert image.size == (28 * scale, 28 * scale)
            frames = [
                (np.asarray(frame.convert("L")), frame.info["duration"]) for frame in ImageSequence.Iterator(image)
            ]
        assert [time for _, time in frames] == [50] * 6
        for (frame, _), step in zip(frames, (0, 1, 2, 3, 2, 1), strict=True):
            np.testing.assert_array_equal(frame, np.kron(steps[step], np.ones((scale, scale), np.uint8)))


def test_colours_of_a_morph_are_exact_in_both_formats(
    run: Run, odd_bundle: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = odd_bundle("colour")
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    golden = vae.bundle.golden().x
    steps = to_uint8(vae.morph(golden[0], golden[1], steps=3))
    for name in ("m.gif", "m.apng"):
        options = ("--from", "@0", "--to", "@1", "--steps", 3, "--out", tmp_path / name)
        assert run("morph", bundle, *options).code == 0
        with Image.open(tmp_path / name) as image:
            for frame, step in zip(ImageSequence.Iterator(image), (0, 1, 2, 1), strict=True):
                shown = np.asarray(frame.convert("RGB"))
                assert shown.shape == (6 * 22, 5 * 22, 3)  # 6 pixels are enlarged to 132
                np.testing.assert_array_equal(shown[11::22, 11::22], steps[step])


@pytest.mark.parametrize("command", ["sample", "reconstruct"])
@pytest.mark.parametrize("ending", ["gif", "apng"])
def test_items_that_do_not_follow_each_other_are_no_animation(
    run: Run, small_bundle: Path, command: str, ending: str, tmp_path: Path
) -> None:
    done = run(command, small_bundle, "--out", tmp_path / f"x.{ending}")
    assert (done.code, done.out) == (1, "")
    assert re.search(
        r"these items do not follow each other, so there is nothing to play; choose one of \.png, \.npz", done.err
    )


def test_a_png_of_samples_can_be_enlarged(run: Run, small_bundle: Path, vae: vaekit.VAE, tmp_path: Path) -> None:
    out = tmp_path / "x.png"
    assert run("sample", small_bundle, "-n", 2, "--out", out, "--scale", 3).code == 0
    x = to_uint8(vae.sample(2))[..., 0]
    with Image.open(out) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (84, 58 * 3)
    np.testing.assert_array_equal(sheet[:, :84], np.kron(x[0], np.ones((3, 3), np.uint8)))
    np.testing.assert_array_equal(sheet[:, 90:], np.kron(x[1], np.ones((3, 3), np.uint8)))
