"""`vaekit train --preview`: what is laid out for which console, which items it shows, and what the options refuse."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from vaekit.cli.curve import Loss
from vaekit.cli.train_preview import MOST, Pane, arrange
from vaekit.datasets import Dataset, Split
from vaekit.spec import DataSpec, Feature, ModelSpec
from vaekit.training.preview import Preview

pytestmark = pytest.mark.usefixtures("one_thread")

LOSSES = [Loss(1, 120.0, 110.0), Loss(2, 100.0, 95.0)]
DIGIT = DataSpec((1, 28, 28))
CAPTION = "^ test items"
SMALL = ("--hidden", "8", "--latent", "2", "--epochs", "2", "--device", "cpu")


def made(shape: tuple[int, ...], *, samples: bool = True, high: float = 1.0) -> Preview:
    rng = np.random.default_rng(0)
    x, x_hat, z = (rng.uniform(0, high, (MOST, *shape)).astype(np.float32) for _ in range(3))
    return Preview(x, x_hat, z if samples else None)


def laid_out(preview: Preview | None, data: DataSpec, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")
    lines = arrange(console, LOSSES, preview, data, width, height)
    return ["".join(segment.text for segment in line) for line in lines]


def blocks(lines: list[str]) -> int:
    return sum("▀" in line for line in lines)


@pytest.mark.parametrize(
    ("width", "height", "pictures", "caption", "curve"),
    [
        (200, 46, 42, True, True),  # 28 pixels in 14 lines, three rows
        (80, 20, 18, True, True),  # 12 pixels
        (80, 12, 12, False, True),  # no samples, 12 pixels
        (30, 22, 15, True, True),  # too narrow for the curve beside them: under them, and 10 pixels
        (80, 8, 0, False, True),
        (20, 6, 0, False, True),
        (20, 2, 0, False, False),
        (19, 30, 0, False, False),
    ],
)
def test_rows_are_left_out_before_the_curve(width: int, height: int, pictures: int, caption: bool, curve: bool) -> None:
    lines = laid_out(made((1, 28, 28)), DIGIT, width, height)
    assert blocks(lines) == pictures
    assert any(CAPTION in line for line in lines) is caption
    assert any("train 100.00" in line for line in lines) is curve


SHAPES = [
    (1, 28, 28),
    (3, 64, 64),
    (1, 6, 6),
    (1, 7, 40),
    (1, 100, 12),
    (1, 90),
    (3, 50),
    (9, 20),
    (6,),
    (40,),
    (5, 8, 8),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("samples", [True, False])
def test_what_is_laid_out_is_never_larger_than_its_room(shape: tuple[int, ...], samples: bool) -> None:
    preview, data = made(shape, samples=samples), DataSpec(shape, None if len(shape) < 3 else (0.0, 1.0))
    for width in (1, 10, 20, 27, 40, 60, 80, 132, 250):
        for height in (-3, 0, 1, 3, 6, 10, 20, 36, 60):
            lines = laid_out(preview, data, width, height)
            assert len(lines) <= max(0, height)
            assert all(len(line) <= width for line in lines)


def test_an_autoencoder_has_two_rows_that_are_larger() -> None:
    lines = laid_out(made((1, 28, 28), samples=False), DIGIT, 200, 30)
    assert blocks(lines) == 28
    assert not any(CAPTION in line for line in lines)


def test_pixels_stand_where_they_belong() -> None:
    x = np.zeros((2, 1, 2, 2), np.float32)
    preview = Preview(x, x + 1, x + np.float32(51 / 255))
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor")
    lines = arrange(console, LOSSES, preview, DataSpec((1, 2, 2)), 80, 20)
    colours = []
    for line in (lines[0], lines[1], lines[3]):
        (style,) = {segment.style for segment in line if "▀" in segment.text}
        assert style is not None
        assert style.color is not None
        assert style.color.triplet is not None
        colours.append(style.color.triplet.red)
    assert colours == [0, 255, 51]


def test_values_of_a_table_are_blocks_on_each_column_s_own_scale() -> None:
    x = np.array([[0.0, 100.0], [7.0, 107.0]], np.float32)
    preview = Preview(x, x[::-1].copy(), np.array([[3.0, 104.0], [-50.0, 500.0]], np.float32))
    data = DataSpec((2,), None, (Feature("a"), Feature("b")))
    lines = laid_out(preview, data, 80, 20)
    assert [line[:6] for line in lines[:2]] == ["▁▁  ██", "██  ▁▁"]
    assert lines[3][:6] == "▄▅  ▁█"  # clipped to the scale


def test_series_are_lines_on_the_scale_of_the_test_items() -> None:
    x = np.zeros((1, 1, 50), np.float32)
    x[0, 0, 25:] = 1
    lines = laid_out(Preview(x, x * 0, x + 100), DataSpec((1, 50), None, (Feature("volts"),)), 80, 20)
    assert lines[0].startswith("volts 0 to 1")
    item, flat, high = lines[1:5], lines[5:9], lines[10:14]
    cut = [line[:40].rstrip() for line in (*item, *flat, *high)]
    assert all(cut[:1]) and cut[3]  # noqa: PT018  it steps from the bottom to the top
    assert [bool(line) for line in cut[4:8]] == [False, False, False, True]
    assert [bool(line) for line in cut[8:]] == [True, False, False, False]


def test_numbers_that_are_none_do_not_end_the_run() -> None:
    preview = made((1, 28, 28))
    preview.x_hat[:] = np.nan
    assert blocks(laid_out(preview, DIGIT, 80, 20)) == 18


def test_pictures_are_made_every_few_epochs_and_of_the_first_and_the_last() -> None:
    items = np.zeros((20, 1, 4, 4), np.float32)
    items[:, 0, 0, 0] = np.arange(20)
    data = Dataset("d", "d", "", Split(items), Split(items))
    pane = Pane(Console(), data, ModelSpec("vae", DataSpec((1, 4, 4)), 2, "bernoulli"), every=4, epochs=10)
    seen: list[Any] = []
    pane._runs = lambda model: seen.append(model) or made((1, 4, 4))  # type: ignore[assignment,func-returns-value]
    for epoch in range(1, 11):
        pane.weights(epoch, epoch)
    assert seen == [1, 4, 8, 10]


def test_items_are_spread_over_the_test_set(small_dataset: Dataset) -> None:
    pane = Pane(Console(), small_dataset, ModelSpec("vae", DIGIT, 2, "bernoulli"), epochs=1)
    assert pane._runs is not None
    rows = [0, 42, 85, 128, 170, 213, 256, 299]  # eight from 0 to 299
    np.testing.assert_array_equal(pane._runs._x, small_dataset.test.items[rows] / np.float32(255))


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (60, 6, 6), np.uint8))
    return path


def test_it_is_refused_where_there_is_no_terminal(run: Any, items: Path, tmp_path: Path) -> None:
    code, _, err = run("train", items, *SMALL, "--preview", "--out", tmp_path / "run")
    assert code == 1
    assert "--preview draws in a terminal with colours, and standard output is none" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_of_several_processes_only_the_first_needs_a_terminal_for_it(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")  # as torchrun does, which may give the others a file for their output
    code, _, err = run("train", tmp_path / "missing.npy", *SMALL, "--preview")
    assert code == 1
    assert "missing.npy" in err
    assert "--preview" not in err


@pytest.mark.parametrize("plain", ["--quiet", "--json"])
def test_it_is_refused_beside_plain_output(run: Any, items: Path, plain: str) -> None:
    code, _, err = run("train", items, *SMALL, "--preview", plain)
    assert code == 1
    assert "--preview draws what --quiet and --json leave out" in err


def test_without_a_terminal_the_lines_are_those_of_no_preview(run: Any, items: Path, tmp_path: Path) -> None:
    outputs = []
    for name, given in (("plain", ("--no-preview",)), ("asked", ("--preview-every", "2")), ("quiet", ("--quiet",))):
        code, out, err = run("train", items, *SMALL, *given, "--out", tmp_path / name)
        assert code == 0, err
        assert "\x1b" not in out + err
        outputs.append([line.split("  ")[0] for line in out.replace("\n/", "/").splitlines() if "epoch" in line])
    assert [len(lines) for lines in outputs] == [3, 3, 3]
    assert all(lines[:2] == ["epoch 1/2", "epoch 2/2"] for lines in outputs)


def test_it_is_no_option_of_the_run(run: Any, items: Path, tmp_path: Path) -> None:
    assert run("train", items, *SMALL, "--preview-every", "2", "--no-preview", "--out", tmp_path / "run")[0] == 0
    assert "preview" not in (tmp_path / "run" / "config.toml").read_text()
    assert "preview" not in (tmp_path / "run" / "run.json").read_text()
    code, _, err = run("train", "--resume", tmp_path / "run", "--no-preview", "--preview-every", "3")
    assert code == 0, err
