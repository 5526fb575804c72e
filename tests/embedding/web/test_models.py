"""Models other than grey images: colour, lines, tables, classic autoencoders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.datasets import Dataset, Split
from vaekit.embedding import embed
from vaekit.spec import DataSpec, ModelSpec

Screen = Any  # the classes of conftest.py, which tests cannot import
OpenScreen = Callable[..., Screen]

pytestmark = pytest.mark.slow  # a page takes about a second to open, mostly for compiling 14 MB of WebAssembly


def bundle_of(spec: ModelSpec, low: float, high: float, folder: Path) -> Path:
    """Export a linear model of items that are a smooth wave each, drawn and never trained."""
    import torch
    from torch import nn

    from vaekit.exporting import ModulePair, export_bundle

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.Linear(spec.data.size, 2 * spec.latent)

        def forward(self, x: Any) -> Any:
            mean, log_var = self.heads(x.flatten(1)).chunk(2, dim=1)
            return mean, log_var

    rng = np.random.default_rng(3)
    phase = rng.uniform(0, 6, size=(80, 1, 1))
    wave = np.sin(phase + np.arange(spec.data.size)[None, None] / 3.0)
    items = (low + (high - low) * (wave + 1) / 2).reshape(80, *spec.data.shape).astype(np.float32)
    data = Dataset("waves", "waves", "0" * 64, Split(items[:40]), Split(items[40:]))
    last = [nn.Sigmoid()] if spec.likelihood == "bernoulli" else []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        decoder = nn.Sequential(nn.Linear(spec.latent, spec.data.size), *last, nn.Unflatten(1, spec.data.shape))
        pair = ModulePair(Encoder(), decoder, spec)
        return export_bundle(pair, folder, data=data).path


def test_a_model_of_colour_images_shows_and_encodes_colours(
    open_screen: OpenScreen, ort_web: Path, tmp_path: Path
) -> None:
    spec = ModelSpec("vae", DataSpec((3, 8, 12)), 4, "bernoulli")
    bundle = bundle_of(spec, 0, 1, tmp_path / "bundle")
    screen = open_screen(embed("web", bundle, tmp_path / "site", ort_web=ort_web))
    page, python = screen.page, vaekit.load(bundle, provider="cpu")
    assert screen.text("#badge").startswith("Self-test passed")
    screen.assert_shows(python.sample(1, seed=7)[0])
    page.click("#example")
    x = python.bundle.golden().x[:1]
    screen.assert_shows(x[0], "#seen")
    screen.assert_shows(python.reconstruct(x)[0])
    page.click("#clear")
    page.fill("#colour", "#ff8000")
    screen.draw([[(0.2, 0.5), (0.8, 0.5)]])
    red, green, blue = screen.picture("#seen").max(axis=(1, 2))
    assert red > 100
    assert green == pytest.approx(red * 128 / 255, abs=2)
    assert blue == 0
    assert page.is_hidden("#centre")
    assert screen.said == []


@pytest.mark.parametrize("shape", [(30,), (2, 25)])
def test_a_model_of_other_arrays_draws_lines(
    open_screen: OpenScreen, ort_web: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    spec = ModelSpec("vae", DataSpec(shape, None), 3, "gaussian")
    bundle = bundle_of(spec, -4, 6, tmp_path / "bundle")
    screen = open_screen(embed("web", bundle, tmp_path / "site", ort_web=ort_web))
    page = screen.page
    assert screen.text("#badge").startswith("Self-test passed")
    assert page.is_hidden("#pad")
    page.click("#example")
    drawn = screen.picture("#seen").sum(axis=0)
    assert drawn.shape[1] > 100
    x = vaekit.load(bundle, provider="cpu").bundle.golden().x[0].reshape(-1, shape[-1])
    columns = [np.nonzero(column)[0] for column in drawn.T]
    inked = [column for column in columns if len(column) > 3]
    assert len(inked) > 0.8 * drawn.shape[1]  # from one side to the other
    highest = int(np.argmin([column.min() if len(column) > 3 else 10**6 for column in columns])) / len(columns)
    margin = 0.06  # of the canvas' shorter side, here its height
    peaks = np.nonzero(x >= x.max() - 0.2)[1] / (shape[-1] - 1)  # 0.2 is a fiftieth of the range, some pixels
    assert np.abs(margin + (1 - 2 * margin) * peaks - highest).min() < 0.06
    assert screen.said == []


def test_a_classic_autoencoder_samples_as_python_does(
    open_screen: OpenScreen, ort_web: Path, ae_bundle: Path, tmp_path: Path
) -> None:
    screen = open_screen(embed("web", ae_bundle, tmp_path / "site", ort_web=ort_web))
    assert screen.text("#badge") == "Self-test passed: 15 checks"
    screen.assert_shows(vaekit.load(ae_bundle, provider="cpu").sample(1, seed=7)[0])
    assert screen.text("header p").startswith("A classic autoencoder")
    assert screen.said == []


def test_columns_of_a_table_share_one_axis(
    open_screen: OpenScreen, ort_web: Path, table_bundle: Path, tmp_path: Path
) -> None:
    # Their units are a thousand apart; in standardised units the third is as high as the others.
    screen = open_screen(embed("web", table_bundle, tmp_path / "site", ort_web=ort_web))
    assert screen.text("#badge").startswith("Self-test passed")
    python = vaekit.load(table_bundle, provider="cpu")
    units = python.spec.data.features
    assert units[1].scale > 100 * units[2].scale
    x = python.bundle.golden().x
    standardised = (x - [f.offset for f in units]) / [f.scale for f in units]
    low, high = standardised.min(), standardised.max()
    for row in standardised[:3]:
        screen.page.click("#example")
        drawn = screen.picture("#seen")
        height, width = drawn.shape[1:]
        accent = (drawn[1] > drawn[0]) & (drawn.sum(axis=0) > 0)  # green above red: the curve, not the grey line
        margin = 0.06 * height
        for place, value in enumerate(row):
            column = round(margin + (width - 2 * margin) * place / 2)
            inked = np.nonzero(accent[:, max(0, column - 1) : column + 2].any(axis=1))[0]
            expected = height - margin - (height - 2 * margin) * (value - low) / (high - low)
            assert inked.min() - 4 <= expected <= inked.max() + 4
    assert screen.said == []
