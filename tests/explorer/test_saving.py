"""What a save leaves: the item, its code, and a program that gives the item again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vaekit
from vaekit.errors import OutputError
from vaekit.explorer.explorer import Explorer
from vaekit.explorer.saving import in_unit_interval, snippet
from vaekit.explorer.state import frozen
from vaekit.spec import DataSpec


def decoded_by(program: Path, cwd: Path) -> np.ndarray:
    """Run a saved program elsewhere, and give its x_hat."""
    code = program.read_text() + "\nnp.save('x_hat.npy', x_hat)\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.load(cwd / "x_hat.npy")


def test_the_saved_program_gives_the_saved_image(vae: vaekit.VAE, tmp_path: Path) -> None:
    explorer = Explorer(vae, seed=11)
    explorer.nudge(2, 1.7)
    folder = explorer.save(tmp_path / "saves")
    x_hat = decoded_by(folder / "decode.py", tmp_path)
    np.testing.assert_allclose(x_hat, vae.decode(explorer.view.z[None]), atol=1e-6)
    with Image.open(folder / "image.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.rint(x_hat[0, 0] * 255))


def test_the_program_of_the_built_in_model_names_no_path() -> None:
    vae = vaekit.load(provider="cpu", threads=1)
    text = snippet(vae, frozen(vae.prior(1, seed=3)))
    assert "Bundle.open()" in text
    scope: dict[str, object] = {}
    exec(compile(text, "decode.py", "exec"), scope)
    np.testing.assert_allclose(scope["x_hat"], vae.sample(1, seed=3), atol=1e-6)


def test_the_program_refuses_another_bundle(vae: vaekit.VAE, tmp_path: Path) -> None:
    text = snippet(vae, frozen(np.zeros(5))).replace(vae.bundle.digest, "0" * 64)
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "this bundle is not the one that the code belongs to"


def test_the_json_holds_the_code_to_its_last_bit_and_the_bundles_hash(
    vae: vaekit.VAE, small_bundle: Path, tmp_path: Path
) -> None:
    import hashlib

    explorer = Explorer(vae, seed=5)
    explorer.pin("A")
    found = json.loads((explorer.save(tmp_path) / "code.json").read_text())
    np.testing.assert_array_equal(np.array(found["z"], np.float32), vae.prior(1, seed=5)[0])
    manifest = hashlib.sha256((small_bundle / "manifest.json").read_bytes()).hexdigest()
    assert found["bundle"] == {"name": vae.manifest.name, "sha256": manifest, "precision": "fp32"}
    assert found["origin"] == "seed 5"
    assert found["pins"] == {"A": found["z"]}
    assert found["morph"] is None


def test_the_json_says_where_on_the_morph_it_was(vae: vaekit.VAE, tmp_path: Path) -> None:
    explorer = Explorer(vae, seed=5)
    explorer.pin("A")
    explorer.randomise()
    explorer.pin("B")
    explorer.morph(40)
    found = json.loads((explorer.save(tmp_path) / "code.json").read_text())
    assert found["morph"] == {"t": 0.4, "path": "linear"}


def test_nothing_is_ever_written_over(vae: vaekit.VAE, tmp_path: Path) -> None:
    explorer = Explorer(vae)
    first, second = explorer.save(tmp_path), explorer.save(tmp_path)
    assert (first.name, second.name) == (f"{vae.manifest.name}-001", f"{vae.manifest.name}-002")
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]  # no temporary is left


def test_a_save_that_fails_leaves_nothing(vae: vaekit.VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vaekit.explorer.saving.snippet", full)
    with pytest.raises(OutputError, match="could not be written: No space left on device"):
        Explorer(vae).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(vae: vaekit.VAE, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be made"):
        Explorer(vae).save(tmp_path / "file")


def test_what_is_no_image_is_saved_as_an_array(gaussian_bundle: Path, tmp_path: Path) -> None:
    vae = vaekit.load(gaussian_bundle, provider="cpu", threads=1)
    folder = Explorer(vae, seed=2).save(tmp_path)
    assert sorted(os.listdir(folder)) == ["code.json", "decode.py", "item.npy"]
    np.testing.assert_allclose(np.load(folder / "item.npy"), vae.sample(1, seed=2)[0], atol=1e-6)


def test_a_name_from_elsewhere_cannot_leave_the_folder(vae: vaekit.VAE, tmp_path: Path) -> None:
    vae.bundle.manifest = vae.manifest.replace(name="../../etc/x y")
    try:
        folder = Explorer(vae).save(tmp_path / "saves")
    finally:
        vae.bundle.manifest = vae.manifest.replace(name="small")
    assert folder.parent == tmp_path / "saves"
    assert folder.name == "etc-x-y-001"


def test_an_image_of_another_range_is_brought_to_0_and_1() -> None:
    item = np.array([[[-1.0, 0.0, 1.0]]], np.float32)
    np.testing.assert_allclose(in_unit_interval(item, DataSpec((1, 1, 3), (-1.0, 1.0))), [[[0.0, 0.5, 1.0]]])
