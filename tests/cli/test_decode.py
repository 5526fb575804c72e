"""`vaekit decode`: it reads what `vaekit encode` writes, and gives what the library gives."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
import vaekit.cli
from vaekit.datasets import Dataset

Run = Callable[..., Any]

ENDINGS = [
    ".npy",
    ".npz",
    pytest.param(
        ".parquet",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed (the extra [tables])"
        ),
    ),
]


@pytest.fixture
def screen_columns() -> int:
    return 40


@pytest.fixture(scope="module")
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("sample", [False, True])
def test_what_encode_wrote_decodes_to_reconstructions(
    run: Run, vae: vaekit.VAE, small_bundle: Path, small_dataset: Dataset, small_data_folder: Path,
    tmp_path: Path, ending: str, sample: bool,
) -> None:  # fmt: skip
    codes, out = tmp_path / f"codes{ending}", tmp_path / "x.npy"
    options = ["--sample", "--seed", 4] if sample else []
    assert (
        run("encode", small_bundle, "--data", small_data_folder, "--split", "test", "--out", codes, *options).code == 0
    )
    done = run("decode", small_bundle, "--codes", codes, "--out", out)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"wrote {out}: x 300 x 1 x 28 x 28; ")
    x = small_dataset.test.pixels(slice(None))
    np.testing.assert_allclose(np.load(out), vae.reconstruct(x, seed=4 if sample else None), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_codes_of_one_s_own_decode_as_the_library_decodes_them(
    run: Run, vae: vaekit.VAE, small_bundle: Path, tmp_path: Path, dtype: str
) -> None:
    z = vaekit.noise(seed=3, count=40, dim=5).astype(dtype)
    np.save(tmp_path / "z.npy", z)
    out = tmp_path / "x.npz"
    done = run("decode", small_bundle, "--codes", tmp_path / "z.npy", "--out", out, "--json")
    assert json.loads(done.out)["arrays"] == {"x": [40, 1, 28, 28]}
    with np.load(out) as found:
        np.testing.assert_allclose(found["x"], vae.decode(z.astype(np.float32)), atol=1e-6)


@pytest.mark.parametrize(
    ("codes", "out", "message"),
    [
        ("none.npy", "x.npy", "none.npy cannot be read: No such file or directory"),
        ("none.npz", "x.npy", "none.npz cannot be read: No such file or directory"),
        ("none.parquet", "x.npy", "none.parquet cannot be read: No such file or directory.\n"),
        ("z.txt", "x.npy", "the ending '.txt' is unknown; choose one of .npy, .npz, .parquet"),
        ("z.npy", "x.png", "the ending '.png' is unknown; choose one of .npy, .npz, .parquet"),
        ("wide.npy", "x.npy", "the codes have shape (6,), but the model takes (5,)"),
        ("nan.npy", "x.npy", "z holds a NaN or an infinity"),
        ("z.npy", "z.npy", "exists already; choose another path, or pass --force"),
    ],
)
def test_what_cannot_be_decoded_is_one_line_and_no_file(
    run: Run, small_bundle: Path, tmp_path: Path, codes: str, out: str, message: str
) -> None:
    np.save(tmp_path / "z.npy", np.zeros((3, 5), np.float32))
    np.save(tmp_path / "wide.npy", np.zeros((3, 6), np.float32))
    np.save(tmp_path / "nan.npy", np.full((3, 5), np.nan, np.float32))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    done = run("decode", small_bundle, "--codes", tmp_path / codes, "--out", tmp_path / out)
    assert (done.code, done.out) == (1, "")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_decode_may_replace_the_very_file_that_it_reads(
    run: Run, vae: vaekit.VAE, small_bundle: Path, tmp_path: Path
) -> None:
    z = vaekit.noise(seed=3, count=300, dim=5)
    np.save(tmp_path / "z.npy", z)
    assert run("decode", small_bundle, "--codes", tmp_path / "z.npy", "--out", tmp_path / "z.npy", "--force").code == 0
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), vae.decode(z), atol=1e-6)
