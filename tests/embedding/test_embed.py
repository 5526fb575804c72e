"""`embed`: what every target is promised: a checked bundle, a folder that appears whole or not at all, and clear refusals."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import vaekit
from vaekit.bundle import Bundle, builtin_bundle
from vaekit.embedding import MARKER, TARGETS, embed, load_target
from vaekit.embedding.files import (
    c_identifier,
    describe,
    fill,
    safe_text,
    template,
    tolerances,
    value_units,
    write_golden,
)
from vaekit.errors import BundleError, BundleNotFoundError, ConfigError, IntegrityError, OutputError
from vaekit.manifest import Manifest

OURS = ("python", "c", "c-standalone", "triton")


@pytest.mark.parametrize("target", OURS)
def test_the_marker_says_what_made_the_folder(target: str, small_bundle: Path, tmp_path: Path) -> None:
    folder = embed(target, small_bundle, tmp_path / "new" / "project")
    assert folder == tmp_path / "new" / "project"
    marker = json.loads((folder / MARKER).read_text())
    assert marker == {
        "made_by": f"vaekit {vaekit.__version__}",
        "target": target,
        "model": "small",
        "precision": "fp32",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["project"]


@pytest.mark.parametrize("target", OURS)
def test_the_same_bundle_gives_the_same_bytes(target: str, small_bundle: Path, tmp_path: Path) -> None:
    first, second = embed(target, small_bundle, tmp_path / "a"), embed(target, small_bundle, tmp_path / "b")
    names = sorted(path.relative_to(first) for path in first.rglob("*"))
    assert names == sorted(path.relative_to(second) for path in second.rglob("*"))
    for name in names:
        assert (first / name).is_dir() or (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.parametrize("target", OURS)
def test_no_text_names_a_path_of_this_machine_or_keeps_a_place_to_fill(
    target: str, small_bundle: Path, tmp_path: Path
) -> None:
    folder = embed(target, small_bundle, tmp_path / "project")
    for path in folder.rglob("*"):
        if path.suffix in (".py", ".md", ".c", ".h", ".json", ".txt") or path.name == "Makefile":
            text = path.read_text(encoding="utf-8")
            assert str(tmp_path) not in text
            assert str(Path(vaekit.__file__).parents[1]) not in text
            assert fill(text) == text  # raises where a place is left


@pytest.mark.parametrize("target", TARGETS)
def test_what_an_item_depends_on_is_said_as_the_precision_has_it(
    target: str, bundle_copy: Path, rehash: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.embedding.web.ort_web_files", lambda _: {})

    def texts(folder: Path) -> dict[str, str]:
        suffixes = (".py", ".md", ".h", ".c", ".js", ".ts")
        files = [path for path in embed(target, bundle_copy, folder).rglob("*") if path.suffix in suffixes]
        return {path.name: " ".join(path.read_text().replace(" * ", " ").split()) for path in files}

    fixed = texts(tmp_path / "fixed")

    def change(manifest: Manifest) -> Manifest:
        info = manifest.precisions["fp32"].replace(batch_dependent=True)
        return manifest.replace(precisions={**manifest.precisions, "fp32": info})

    rehash(bundle_copy, change)
    changing = texts(tmp_path / "changing")

    said = re.compile(
        r"(?i)(?<!noise of )item i depends|never on the batch|share calls between|same items for the same"
    )
    assert not {name: said.findall(text) for name, text in changing.items() if said.search(text)}
    places = {"python": 4, "c": 2, "c-standalone": 0, "node": 5, "web": 3, "triton": 2}[target]
    assert sum(len(said.findall(text)) for text in fixed.values()) == places
    if target == "triton":
        assert "each request with a call of its own (no dynamic batching)" in changing["README.md"]
    elif places:
        sentence = "its values change a little with the other items of the call"
        assert any(sentence in text for text in changing.values())


def test_an_open_bundle_and_the_builtin_model_are_taken(small_bundle: Path, tmp_path: Path) -> None:
    folder = embed("python", Bundle.open(small_bundle), tmp_path / "small")
    assert json.loads((folder / MARKER).read_text())["model"] == "small"
    assert json.loads((embed("python", None, tmp_path / "mnist") / MARKER).read_text())["model"] == "mnist"


def test_every_target_has_a_module_that_keeps_the_contract() -> None:
    for target in TARGETS:
        module = load_target(target)
        assert isinstance(module.SUMMARY, str)
        assert len(module.TRY) == 2
        assert callable(module.write)


def test_importing_the_framework_imports_no_target() -> None:
    code = (
        "import sys, vaekit.embedding; "
        f"print([name for name in {sorted(TARGETS.values())!r} if 'vaekit.embedding.' + name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_unknown_target_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="the target 'rust' is unknown; choose one of python, c, c-standalone, node, web, triton"
    ):
        embed("rust", None, tmp_path / "project")
    assert list(tmp_path.iterdir()) == []


def test_an_option_of_another_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the target c has no option --weights, unlike c-standalone; leave it out"):
        embed("c", None, tmp_path / "project", weights="int8")
    with pytest.raises(ConfigError, match="the target c has no option --colour; leave it out"):
        embed("c", None, tmp_path / "project", colour="red")


@pytest.mark.parametrize("target", OURS)
def test_a_missing_bundle_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="there is no bundle at"):
        embed(target, tmp_path / "nothing", tmp_path / "project")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", OURS)
def test_a_precision_that_the_bundle_lacks_is_refused(target: str, small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="precision='int8' is not in the bundle 'small', which has fp32"):
        embed(target, small_bundle, tmp_path / "project", precision="int8")
    with pytest.raises(BundleError, match="precision='int8' is not in the bundle 'small', which has fp32"):
        embed(target, Bundle.open(small_bundle), tmp_path / "project", precision="int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", OURS)
def test_a_bundle_that_was_changed_is_refused_and_leaves_nothing(
    target: str, bundle_copy: Path, tmp_path: Path
) -> None:
    opened = Bundle.open(bundle_copy)
    content = bytearray((bundle_copy / "decoder.onnx").read_bytes())
    content[-20] ^= 1
    (bundle_copy / "decoder.onnx").write_bytes(content)
    for bundle in (bundle_copy, opened):
        with pytest.raises(IntegrityError, match="was changed"):
            embed(target, bundle, tmp_path / "project")
    assert [path.name for path in tmp_path.iterdir()] == [bundle_copy.name]


def test_a_folder_is_replaced_only_when_asked_and_only_one_that_embed_wrote(
    small_bundle: Path, ae_bundle: Path, tmp_path: Path
) -> None:
    folder = embed("python", small_bundle, tmp_path / "project")
    with pytest.raises(OutputError, match="exists already"):
        embed("python", ae_bundle, folder)
    embed("python", ae_bundle, folder, overwrite=True)
    assert json.loads((folder / MARKER).read_text())["model"] == "small-ae"

    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="was not written by `vaekit embed`, so it is not replaced"):
        embed("python", small_bundle, foreign, overwrite=True)
    with pytest.raises(OutputError, match="exists already"):
        embed("python", small_bundle, foreign)
    assert (foreign / "thesis.txt").read_text() == "years of work"

    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(OutputError, match="is no folder, so it is not replaced"):
        embed("python", small_bundle, file, overwrite=True)


def test_a_target_that_fails_on_the_way_leaves_nothing(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(bundle: Bundle, folder: Path, *, precision: str) -> None:
        del bundle, precision
        (folder / "half.txt").write_text("half")
        raise OSError("the disk is full")

    module = ModuleType("half")
    module.write = half  # type: ignore[attr-defined]
    monkeypatch.setattr("vaekit.embedding.load_target", lambda _: module)
    with pytest.raises(OutputError, match="could not be written: the disk is full"):
        embed("python", small_bundle, tmp_path / "project")
    assert list(tmp_path.iterdir()) == []


# The helpers.


def test_filling_replaces_every_place_and_searches_nothing_twice() -> None:
    assert fill("a @B@ @C_2@ @B@ @media @@ @", B="@C_2@", C_2=3) == "a @C_2@ 3 @C_2@ @media @@ @"


def test_a_place_without_a_value_and_a_value_without_a_place_are_mistakes() -> None:
    with pytest.raises(ValueError, match=r"no value for \['B'\], no place for \['C'\]"):
        fill("@A@ @B@", A=1, C=2)


def test_a_template_is_read_from_the_package() -> None:
    assert template("c", "ort/onnxruntime_c_api.h").startswith("/* The part of ONNX Runtime's C interface")


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("mnist", "mnist"),
        ("MNIST 28x28", "mnist_28x28"),
        ("7 digits", "model_7_digits"),
        ("--", "model"),
        ("größe", "gr_e"),
    ],
)
def test_names_become_identifiers(name: str, identifier: str) -> None:
    assert c_identifier(name) == identifier
    assert c_identifier(name).isidentifier()


def test_a_hostile_name_stays_inside_its_comment(
    bundle_copy: Path,
    tmp_path: Path,
    rehash: Callable[..., None],
    make: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    name = '*/ #error "x" \n"""\nimport os # \\ %s @NAME@ `rm`'
    rehash(bundle_copy, lambda manifest: manifest.replace(name=name))
    assert safe_text(name) == "__ _error _x_ _____import os _ _ _s _NAME_ _rm_"
    for target in ("c", "c-standalone"):
        folder = embed(target, bundle_copy, tmp_path / target)
        done = make(folder, "check")
        assert done.returncode == 0, done.stderr
    folder = embed("python", bundle_copy, tmp_path / "python")
    done = subprocess.run(
        [sys.executable, "vae_model.py", "--self-test"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_model_is_described_in_one_sentence(ae_bundle: Path) -> None:
    manifest = Bundle.open(ae_bundle).manifest
    assert describe(manifest) == "small-ae: a classic autoencoder, items of 1 x 28 x 28 (CHW), 5 latent dimensions."


def test_golden_vectors_are_written_as_raw_numbers(small_bundle: Path, ae_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(small_bundle)
    index = write_golden(bundle, tmp_path)
    golden = bundle.golden()
    for name, array in index["arrays"].items():
        content = (tmp_path / "golden" / array["file"]).read_bytes()
        assert content == getattr(golden, name).astype("<f4").tobytes()
        assert array["shape"] == list(getattr(golden, name).shape)
    assert json.loads((tmp_path / "golden" / "golden.json").read_text()) == index
    assert index["latent_tolerance"] == 1e-6
    shutil.rmtree(tmp_path / "golden")
    assert "log_var" not in write_golden(Bundle.open(ae_bundle), tmp_path)["arrays"]  # minus infinity everywhere


def test_a_seed_above_what_doubles_hold_is_written_exactly(
    bundle_copy: Path, tmp_path: Path, rehash: Callable[..., None]
) -> None:
    rehash(bundle_copy, lambda manifest: manifest.replace(golden_seed=2**64 - 1))
    write_golden(Bundle.open(bundle_copy), tmp_path)
    assert json.loads((tmp_path / "golden" / "golden.json").read_text())["seed"] == "18446744073709551615"


def test_the_tolerances_are_the_manifests_and_for_another_precision_its_own() -> None:
    manifest = Bundle.open(builtin_bundle()).manifest
    for provider, key in (("cpu", "cpu"), ("cuda", "cuda"), ("web", "other")):
        expected = dict.fromkeys(("encoder", "decoder", "round_trip"), manifest.tolerances[key])
        assert tolerances(manifest, provider=provider) == expected

    error = {"encoder": 0.01, "decoder": 0.02, "round_trip": 0.04}
    stated = {"encoder": 1e-9, "decoder": 0.05, "round_trip": 0.1, "mean_decoder": 0.002, "negative_elbo": 3.0}
    for tolerance, expected in (
        ({}, {"encoder": 0.01501, "decoder": 0.03001, "round_trip": 0.06001}),
        (stated, {"encoder": 1e-5, "decoder": 0.05, "round_trip": 0.1, "mean_decoder": 0.002}),
    ):
        info = manifest.precisions["fp32"].replace(error=error, tolerance=tolerance)
        other: Manifest = manifest.replace(precisions={**manifest.precisions, "int8": info})
        assert tolerances(other, precision="int8") == pytest.approx(expected)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_another_precision_of_the_bundle_passes_the_self_test_in_python_and_in_c(
    precision: str,
    variants_bundle: Path,
    tmp_path: Path,
    make: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    python = embed("python", variants_bundle, tmp_path / "python", precision=precision)
    bundle = Bundle.open(variants_bundle)
    assert (python / "decoder.onnx").read_bytes() == bundle.graph("decoder", precision)
    done = subprocess.run(
        [sys.executable, "vae_model.py", "--self-test"], cwd=python, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "decode, mean deviation" in done.stdout
    c = embed("c", variants_bundle, tmp_path / "c", precision=precision)
    assert (c / "decoder.onnx").read_bytes() == bundle.graph("decoder", precision)
    done = make(c, "check")
    assert done.returncode == 0, done.stdout + done.stderr
    own = bundle.manifest.precisions[precision].tolerance
    stated = {
        line.split(" = ")[1].split(";")[0]
        for line in (c / "self_test.c").read_text().splitlines()
        if "TOLERANCE =" in line
    }
    assert stated == {repr(max(1e-5, own["decoder"])), repr(max(1e-5, own["mean_decoder"]))}
    # fp32's graph is nearer to the golden vectors, and passes as well; the control is that these are another precision's.
    assert bundle.graph("decoder", precision) != bundle.graph("decoder")


@pytest.mark.parametrize("target", ["python", "c", "c-standalone"])
def test_values_without_bounds_are_compared_in_their_own_units(
    target: str, table_bundle: Path, tmp_path: Path, make: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    folder = embed(target, table_bundle, tmp_path / "project")
    units = np.array(json.loads((folder / "golden" / "golden.json").read_text())["units"])
    assert units.max() / units.min() > 1e4
    file = folder / "golden" / "x_hat.f32"
    golden = np.fromfile(file, "<f4")

    def passes(off: float) -> bool:
        """Whether the self-test passes with one item's values off by so many units, beyond a float32's own rounding."""
        row = golden[:3].astype(np.float64)
        changed = golden.copy()
        changed[:3] = row + off * units + np.sign(off) * 2.0**-21 * np.abs(row)
        changed.tofile(file)
        command = [sys.executable, "vae_model.py", "--self-test"]
        if target == "python":
            return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
        return make(folder, "check").returncode == 0

    assert passes(4e-6)
    assert not passes(2e-5)
    assert passes(-4e-6)
    for column in range(3):  # each by itself
        units[:] = 0
        units[column] = json.loads((folder / "golden" / "golden.json").read_text())["units"][column]
        assert not passes(-2e-5), column


def test_units_are_one_for_each_value(table_bundle: Path, conv_bundle: Path) -> None:
    assert value_units(Bundle.open(builtin_bundle()).manifest) is None
    for path in (table_bundle, conv_bundle):
        data = Bundle.open(path).manifest.spec.data
        found = value_units(Bundle.open(path).manifest)
        assert found is not None
        rows = [[feature.scale] * int(np.prod(data.shape[1:])) for feature in data.features]
        np.testing.assert_array_equal(found, np.concatenate(rows))
