"""The model card states the manifest's numbers, and its code runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vaekit.exporting.card import model_card
from vaekit.manifest import Manifest


@pytest.fixture(params=["small_bundle", "ae_bundle", "gaussian_bundle"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture
def manifest(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_bytes())


def row(card: str, name: str) -> str:
    """The right-hand cell of the row that begins with a name."""
    (cell,) = re.findall(rf"^\| {name} \| (.*) \|$", card, flags=re.MULTILINE)
    return cell


def test_card_in_the_bundle_is_written_from_the_manifest_alone(folder: Path) -> None:
    manifest = Manifest.from_bytes((folder / "manifest.json").read_bytes())
    assert (folder / "README.md").read_text() == model_card(manifest)


def test_card_says_what_the_model_is(folder: Path, manifest: Any) -> None:
    card = (folder / "README.md").read_text()
    assert card.startswith(f"# {manifest['name']}\n")
    first = card.splitlines()[2]
    assert first.startswith("Variational autoencoder" if manifest["kind"] == "vae" else "Autoencoder")
    assert f"items of {' x '.join(map(str, manifest['data']['shape']))} ({manifest['data']['layout']})" in first
    assert f"{manifest['latent']['shape'][0]} latent dimensions, {manifest['likelihood']['name']} likelihood" in first


def test_card_states_the_manifests_numbers(folder: Path, manifest: Any) -> None:
    card, fp32 = (folder / "README.md").read_text(), manifest["precisions"]["fp32"]
    for half in ("encoder", "decoder"):
        size = (folder / f"{half}.onnx").stat().st_size
        assert row(card, half).endswith(f", {size:,} bytes")
        for port in (*fp32[half]["inputs"], *fp32[half]["outputs"]):
            assert f"`{port['name']}`" in row(card, half)
    assert row(card, "ONNX") == "opset 18, IR version 8"
    quality = fp32["quality"]
    assert row(card, "test items") == f"{quality['items']}"
    if manifest["kind"] == "vae":
        assert row(card, "negative ELBO").startswith(f"{quality['negative_elbo']:.2f} nats an item")
        assert row(card, "reconstruction, KL") == f"{quality['reconstruction']:.2f}, {quality['kl']:.2f} nats"
    else:
        assert row(card, "reconstruction loss") == f"{quality['reconstruction']:.2f} nats an item"
        assert "KL" not in card
        assert "ELBO" not in card
    latent = manifest["latent"]
    assert row(card, "active latent dimensions") == f"{len(latent['statistics']['active'])} of {latent['shape'][0]}"
    stated = re.findall(r"\d\.\de-\d\d", row(card, "largest difference from torch"))
    np.testing.assert_allclose([float(number) for number in stated], list(fp32["error"].values()), rtol=0.06)


def test_card_names_data_and_versions_and_claims_no_training(folder: Path, manifest: Any) -> None:
    card, made_by = (folder / "README.md").read_text(), manifest["made_by"]
    data = made_by["data"]
    assert f"Data: {data['name']}, 320 training and 300 test items, SHA-256 `{data['sha256']}`." in card
    assert "rained on" not in card, "a pair of modules may have been trained on anything"
    for name, version in made_by["versions"].items():
        assert f"{name} {version}" in card


def test_code_in_the_card_runs(folder: Path, manifest: Any) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("PATH OF THIS FOLDER", str(folder)), names)
    assert names["x"].shape == (16, *manifest["data"]["shape"])
    comment = re.search(r"shape \((.*)\)$", code.strip())
    assert comment is not None
    assert tuple(map(int, comment[1].split(","))) == names["x"].shape
    assert names["x"].dtype == np.float32
