"""ONNX Runtime's own format: the same numbers, opened only by name and only from the bytes that the manifest hashes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from graphs_by_hand import Exported, run

import vaekit
from vaekit.bundle import Bundle
from vaekit.datasets import Dataset
from vaekit.errors import BundleError, ConfigError, ExportError, IntegrityError
from vaekit.exporting import ModulePair, export_bundle, ortformat
from vaekit.exporting.calibration import ranges
from vaekit.exporting.float16 import to_float16
from vaekit.exporting.ortformat import to_ort
from vaekit.exporting.quantize import INTEGER, prepare, to_int8
from vaekit.graphinfo import FileInfo

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_graph_in_ort_format_gives_the_same_numbers(image_model: Exported, precision: str) -> None:
    z, graph = image_model.codes(64), image_model.decoder
    if precision == "fp16":
        graph = to_float16(graph)
    if precision == "int8":
        prepared = prepare(graph)
        graph = to_int8(prepared, ranges(prepared, z, "minmax", INTEGER))
    content = to_ort(graph, name="decoder")
    assert content[4:8] == b"ORTM"
    assert b"/tmp" not in content
    np.testing.assert_allclose(run(content, z=z)[0], run(graph, z=z)[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(run(to_ort(graph, name="again"), z=z)[0], run(content, z=z)[0], rtol=0, atol=0)


def test_a_graph_that_onnx_runtime_cannot_read_is_refused() -> None:
    with pytest.raises(ExportError, match=r"the decoder cannot be written in ORT format: .*\."):
        to_ort(b"no graph", name="the decoder")


def test_what_is_written_in_another_format_is_refused(image_model: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ortformat, "is_ort", lambda _: False)
    with pytest.raises(
        ExportError, match="ONNX Runtime did not write the decoder in ORT format; leave --ort-format out"
    ):
        to_ort(image_model.decoder, name="the decoder")


# In a bundle.


@pytest.fixture(scope="module")
def ort_bundle(small_pair: ModulePair, small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ort") / "small"
    return export_bundle(small_pair, folder, data=small_dataset, ort_format=True).path


@pytest.fixture
def ort_copy(ort_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ort_bundle, tmp_path / "bundle"))


def test_both_graphs_are_in_the_bundle_hashed_and_in_the_list_of_checksums(ort_bundle: Path) -> None:
    import hashlib

    manifest = Bundle.open(ort_bundle).manifest
    sums = dict(line.split("  ")[::-1] for line in (ort_bundle / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in ort_bundle.iterdir()} - {"SHA256SUMS"}
    for half in ("encoder", "decoder"):
        file = manifest.graph(half, "fp32").ort
        assert file is not None
        content = (ort_bundle / f"{half}.ort").read_bytes()
        assert file == FileInfo(f"{half}.ort", len(content), hashlib.sha256(content).hexdigest())
        assert sums[file.file] == file.sha256


def test_it_is_opened_by_name_and_gives_the_numbers_of_the_other(ort_bundle: Path) -> None:
    ort, onnx = (vaekit.load(ort_bundle, provider="cpu", threads=1, format=name) for name in ("ort", "onnx"))
    np.testing.assert_allclose(ort.sample(20, seed=3), onnx.sample(20, seed=3), rtol=0, atol=1e-6)
    x = ort.bundle.golden().x
    np.testing.assert_allclose(ort.encode(x).mean, onnx.encode(x).mean, rtol=0, atol=1e-5)
    decoder = vaekit.Decoder(ort_bundle, provider="cpu", threads=1, format="ort")
    np.testing.assert_array_equal(
        decoder.decode(np.zeros((1, 5), np.float32)), ort.decode(np.zeros((1, 5), np.float32))
    )
    assert (decoder.format, vaekit.Decoder(ort_bundle, provider="cpu", threads=1).format) == ("ort", "onnx")
    assert all(deviation.passed for deviation in vaekit.verify_bundle(ort.bundle, ort))


def test_the_bytes_that_run_are_those_that_were_hashed(ort_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    session = onnxruntime.InferenceSession

    def noting(model: object, *arguments: object, **options: object) -> object:
        opened.append(model)
        return session(model, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noting)
    vaekit.load(ort_copy, provider="cpu", threads=1, format="ort")
    assert opened == [(ort_copy / f"{half}.ort").read_bytes() for half in ("encoder", "decoder")]


def test_a_bundle_without_it_says_so(small_bundle: Path) -> None:
    message = r"format='ort' was asked for, but decoder\.onnx is in the bundle as ONNX alone; export it again with --ort-format"
    with pytest.raises(BundleError, match=message):
        vaekit.Decoder(small_bundle, provider="cpu", format="ort")


def test_an_unknown_format_is_refused(small_bundle: Path) -> None:
    with pytest.raises(ConfigError, match=r"format='tflite' is unknown; choose one of onnx, ort\."):
        vaekit.load(small_bundle, provider="cpu", format="tflite")


def test_a_changed_file_is_refused_even_where_nobody_asks_for_it(ort_copy: Path) -> None:
    content = bytearray((ort_copy / "decoder.ort").read_bytes())
    content[-1] ^= 1
    (ort_copy / "decoder.ort").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"decoder\.ort was changed: its SHA-256 is not the manifest's"):
        vaekit.load(ort_copy, provider="cpu")


def test_another_format_under_its_name_is_refused(ort_copy: Path, rehash: Callable[..., None]) -> None:
    (ort_copy / "decoder.ort").write_bytes((ort_copy / "decoder.onnx").read_bytes())
    rehash(ort_copy)
    with pytest.raises(IntegrityError, match=r"decoder\.ort is no model in ORT format; export the model again"):
        vaekit.load(ort_copy, provider="cpu", format="ort")


def test_a_graph_with_other_inputs_under_its_name_is_refused(ort_copy: Path, rehash: Callable[..., None]) -> None:
    (ort_copy / "decoder.ort").write_bytes((ort_copy / "encoder.ort").read_bytes())
    rehash(ort_copy)
    with pytest.raises(BundleError, match=r"decoder\.ort is not the graph that the manifest describes: it has \[\('x'"):
        vaekit.load(ort_copy, provider="cpu", format="ort")


def test_damaged_bytes_whose_hash_agrees_are_refused(ort_copy: Path, rehash: Callable[..., None]) -> None:
    (ort_copy / "decoder.ort").write_bytes((ort_copy / "decoder.ort").read_bytes()[:200])
    rehash(ort_copy)
    with pytest.raises(IntegrityError, match=r"ONNX Runtime cannot load decoder\.ort"):
        vaekit.load(ort_copy, provider="cpu", format="ort")


def test_ort_bytes_in_the_place_of_an_onnx_graph_are_refused_as_before(
    ort_copy: Path, replace_graph: Callable[[Path, str, bytes], None]
) -> None:
    replace_graph(ort_copy, "decoder", (ort_copy / "decoder.ort").read_bytes())
    with pytest.raises(BundleError, match="it reads as ONNX Runtime's own ORT format, which cannot be checked"):
        vaekit.load(ort_copy, provider="cpu")
