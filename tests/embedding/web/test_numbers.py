"""The browser gives Python's numbers, and the page's self-test says so, and says where it does not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.noise import noise
from vaekit.runtime.verify import difference

Screen = Any  # the classes of conftest.py, which tests cannot import
OpenScreen = Callable[..., Screen]

pytestmark = pytest.mark.slow  # a page takes about a second to open, mostly for compiling 14 MB of WebAssembly


LAST = 2**64 - 1


def test_noise_has_pythons_bits_on_more_than_100_000_values(mnist: Screen) -> None:
    for seed, start in [(0, 0), (7, 2**32 - 9), (LAST, 2**64 - 5003)]:
        expected = noise(seed=seed, count=5003, dim=21, start=start)
        assert expected.size > 100_000
        source = f"const {{ noise }} = await import(at('lib/noise.js')); return noise({seed}n, 5003, 21, {start}n);"
        assert mnist.floats_of(source).tobytes() == expected.astype("<f4").tobytes()


def test_images_of_seeds_0_to_99_are_pythons(mnist: Screen, python: vaekit.VAE) -> None:
    source = """
        const { openModel } = await import(at('page/host.js'));
        const model = await openModel();
        const images = new Float32Array(100 * model.size);
        for (let seed = 0; seed < 100; seed++) images.set(await model.sample(1, { seed }), seed * model.size);
        return images;"""
    images = mnist.floats_of(source).reshape(100, 1, 28, 28)
    expected = np.concatenate([python.sample(1, seed=seed) for seed in range(100)])
    assert difference(images, expected) <= python.manifest.tolerances["cpu"]


def test_the_page_shows_that_its_self_test_passed(mnist: Screen) -> None:
    assert mnist.text("#badge") == "Self-test passed: 19 checks"
    mnist.page.click("text=Every check")
    rows = mnist.page.locator("#checks tr").all_inner_texts()
    assert len(rows) == 19
    assert any(row.startswith("decode, batch 64") for row in rows)
    assert mnist.page.locator("#checks tr.failed").count() == 0


@pytest.mark.parametrize("name", ["decoder.onnx", "encoder.onnx", "golden/x_hat.f32", "golden/x.f32"])
def test_the_page_shows_that_a_byte_was_changed(open_screen: OpenScreen, site: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(site, tmp_path / "copy"))
    path = copy / "model" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    screen = open_screen(copy)
    assert screen.text("#badge").startswith("Self-test FAILED")
    assert name in screen.text("#verdict")


def test_the_page_measures_golden_vectors_that_lie(open_screen: OpenScreen, site: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(site, tmp_path / "copy"))
    path = copy / "model" / "golden" / "x_hat.f32"
    values = np.frombuffer(path.read_bytes(), "<f4").copy()
    values[-390] += 1e-3
    path.write_bytes(values.tobytes())
    index = json.loads((copy / "model" / "model.json").read_text())
    index["files"]["golden/x_hat.f32"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (copy / "model" / "model.json").write_text(json.dumps(index))
    screen = open_screen(copy)
    # decode and round trip at four sizes of a batch
    assert screen.text("#badge") == "Self-test FAILED: 8 of 19 checks"
    assert "round trip, batch 64" in screen.text("#verdict")


@pytest.mark.parametrize("name", ["decoder.onnx", "golden/x.f32"])
def test_the_page_says_which_file_is_missing(open_screen: OpenScreen, site: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(site, tmp_path / "copy"))
    (copy / "model" / name).unlink()
    screen = open_screen(copy)
    assert screen.text("#badge") == "Self-test FAILED: the page could not start"
    assert screen.text("#verdict").startswith(f"model/{name} could not be read: 404")


def test_the_page_runs_where_the_browser_offers_no_sha256(open_screen: OpenScreen, site: Path) -> None:
    # So it is for a phone that opens the page of a computer over http: crypto.subtle is for https and localhost alone.
    without = "Object.defineProperty(Crypto.prototype, 'subtle', { get: () => undefined });"
    screen = open_screen(site, before=without)
    assert screen.page.evaluate("crypto.subtle === undefined")
    assert screen.text("#badge") == "Self-test passed: 19 checks"
