"""A bundle is refused, by name of the file, when anything in it is not what its maker wrote.

The first part damages files and leaves the hashes alone; the second writes hostile content with hashes that agree, so that
only the content itself can be refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import vaekit
import vaekit.bundle
from vaekit.bundle import Bundle
from vaekit.errors import (
    BundleError,
    BundleNotFoundError,
    BundleVersionError,
    ConfigError,
    IntegrityError,
    UnsafeGraphError,
)
from vaekit.manifest import Manifest
from vaekit.packing import pack

FILES = ("manifest.json", "encoder.onnx", "decoder.onnx", "golden.npz", "README.md", "preview.png", "SHA256SUMS")
STATED = tuple(name for name in FILES if name not in ("manifest.json", "SHA256SUMS"))
POSITIONS = (0.0, 0.1, 0.37, 0.5, 0.77, 1.0)
"""Where a byte is flipped, as a part of the file's length."""

Rehash = Callable[..., None]
ReplaceGraph = Callable[[Path, str, bytes], None]


def load(folder: Path) -> vaekit.VAE:
    return vaekit.load(folder, provider="cpu", threads=1)


def test_the_fixture_holds_the_files_of_the_format(small_bundle: Path) -> None:
    assert sorted(path.name for path in small_bundle.iterdir()) == sorted(FILES)


# Damage.


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_in_any_file_is_refused(bundle_copy: Path, name: str, position: float) -> None:
    path = bundle_copy / name
    content = bytearray(path.read_bytes())
    at = round(position * (len(content) - 1))
    for bit in (0, 7):
        content[at] ^= 1 << bit
        path.write_bytes(content)
        with pytest.raises(BundleError, match=name):
            load(bundle_copy)
        content[at] ^= 1 << bit
    path.write_bytes(content)
    load(bundle_copy)  # the control: undone, it loads


def test_a_flipped_byte_anywhere_in_the_manifest_is_refused(bundle_copy: Path) -> None:
    path = bundle_copy / "manifest.json"
    content = path.read_bytes()
    for at in range(0, len(content), 13):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(BundleError):
            Bundle.open(bundle_copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    message = "holds no manifest.json, so it is no bundle" if name == "manifest.json" else f"{name} is missing; copy"
    with pytest.raises(BundleError, match=message):
        load(bundle_copy)


@pytest.mark.parametrize("name", STATED)
@pytest.mark.parametrize("change", [b"\0", None], ids=["longer", "shorter"])
def test_a_file_of_another_size_is_refused(bundle_copy: Path, name: str, change: bytes | None) -> None:
    path = bundle_copy / name
    content = path.read_bytes()
    found = content + change if change else content[:-1]
    path.write_bytes(found)
    message = rf"{name} holds {len(found):,} bytes, but should hold {len(content):,}; copy the bundle again"
    with pytest.raises(IntegrityError, match=message):
        load(bundle_copy)


def test_a_huge_file_is_refused_before_it_is_read(bundle_copy: Path) -> None:
    os.truncate(bundle_copy / "encoder.onnx", 1 << 40)  # sparse: one tebibyte that takes no room on the disk
    with pytest.raises(IntegrityError, match=r"encoder\.onnx holds 1,099,511,627,776 bytes, but should hold"):
        load(bundle_copy)


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS"])
def test_a_manifest_or_checksums_above_a_mebibyte_are_refused(bundle_copy: Path, name: str) -> None:
    with (bundle_copy / name).open("ab") as file:
        file.write(b" " * (1 << 20))
    with pytest.raises(IntegrityError, match=rf"{name} holds .* bytes, but should hold at most 1,048,576"):
        load(bundle_copy)


@pytest.mark.parametrize("name", FILES)
def test_a_symbolic_link_in_place_of_a_file_is_refused(bundle_copy: Path, name: str) -> None:
    moved = bundle_copy.parent / name
    (bundle_copy / name).rename(moved)
    (bundle_copy / name).symlink_to(moved)
    with pytest.raises(IntegrityError, match=f"{name} cannot be read as a plain file"):
        load(bundle_copy)


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_place_of_a_file_is_refused_without_waiting(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    os.mkfifo(bundle_copy / name)
    with pytest.raises(IntegrityError, match=f"{name} is no plain file"):
        load(bundle_copy)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_place_of_a_file_is_refused(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    (bundle_copy / name).mkdir()
    with pytest.raises(IntegrityError, match=f"{name} is no plain file"):
        load(bundle_copy)


def test_a_socket_in_place_of_a_file_is_refused(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle_copy / "golden.npz").unlink()
    monkeypatch.chdir(bundle_copy)  # a socket's path may have 108 bytes at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("golden.npz")
        with pytest.raises(IntegrityError, match=r"golden\.npz cannot be read as a plain file"):
            load(bundle_copy)


def test_a_disk_that_fails_while_a_file_is_read_is_named(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("vaekit.bundle.os.fdopen", failing)
    with pytest.raises(IntegrityError, match=r"manifest\.json cannot be read as a plain file: Input/output error"):
        Bundle.open(bundle_copy)


def test_no_file_stays_open_after_a_refusal(bundle_copy: Path) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list a process's open files")
    (bundle_copy / "README.md").unlink()
    (bundle_copy / "README.md").mkdir()
    before = open_files()
    for _ in range(5):
        with pytest.raises(IntegrityError, match="no plain file"):
            Bundle.open(bundle_copy)
    assert open_files() == before


def test_a_changed_file_is_found_after_the_bundle_was_opened(bundle_copy: Path) -> None:
    bundle = Bundle.open(bundle_copy)
    for name, read in (("golden.npz", bundle.golden), ("decoder.onnx", lambda: bundle.graph("decoder"))):
        content = bytearray((bundle_copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (bundle_copy / name).write_bytes(content)
        with pytest.raises(IntegrityError, match=f"{name} was changed: its SHA-256 is not the manifest's"):
            read()


def test_a_graph_is_handed_out_as_the_bytes_that_were_hashed(bundle_copy: Path) -> None:
    truth = (bundle_copy / "decoder.onnx").read_bytes()
    bundle = Bundle.open(bundle_copy, keep=[("decoder", "fp32")])
    (bundle_copy / "decoder.onnx").write_bytes(b"another graph")
    assert bundle.graph("decoder") == truth
    with pytest.raises(IntegrityError, match=r"decoder\.onnx holds 13 bytes"):
        bundle.graph("decoder")  # kept once; after that it is read and checked again


# The list of checksums.


def test_sha256sum_agrees_with_the_bundle(small_bundle: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    result = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=small_bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    expected = sorted(f"{name}: OK" for name in FILES if name != "SHA256SUMS")
    assert result.stdout.splitlines() == expected


def test_checksums_are_those_of_hashlib_ordered_by_name(small_bundle: Path) -> None:
    lines = [
        f"{hashlib.sha256((small_bundle / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted(FILES)
        if name != "SHA256SUMS"
    ]
    assert (small_bundle / "SHA256SUMS").read_text() == "".join(lines)


def test_a_manifest_changed_alone_is_refused(bundle_copy: Path) -> None:
    path = bundle_copy / "manifest.json"
    path.write_text(path.read_text().replace('"cpu": 1e-05', '"cpu": 1e+05'))
    with pytest.raises(IntegrityError, match=r"SHA256SUMS and manifest\.json do not agree"):
        load(bundle_copy)


@pytest.mark.parametrize("change", [lambda t: t + b"\n", lambda t: t.replace(b"  ", b" *"), lambda _: b""])
def test_checksums_written_another_way_are_refused(bundle_copy: Path, change: Callable[[bytes], bytes]) -> None:
    path = bundle_copy / "SHA256SUMS"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(IntegrityError, match="do not agree, so one of them was changed"):
        load(bundle_copy)


# Where a bundle is.


@pytest.mark.parametrize("name", ["nothing", "x" * 5000, "manifest.json/below"])
def test_a_path_without_a_folder_names_the_command_that_makes_one(bundle_copy: Path, name: str) -> None:
    with pytest.raises(
        BundleNotFoundError, match=r"there is no bundle at .*; export one with `vaekit export RUN --out"
    ):
        load(bundle_copy / name)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(
        BundleNotFoundError, match=r"holds no manifest\.json, so it is no bundle; name a bundle's folder"
    ):
        load(tmp_path)
    run = tmp_path / "a run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    message = f"{run} is a run, not a bundle; export it: `vaekit export '{run}' --out BUNDLE`."
    with pytest.raises(BundleNotFoundError, match=re.escape(message)):
        load(run)


def test_a_bundle_may_stand_behind_a_link_and_be_named_as_text(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(small_bundle)
    monkeypatch.chdir(tmp_path)
    assert Bundle.open("link").manifest == Bundle.open(small_bundle).manifest


@pytest.mark.parametrize("packed", [False, True])
def test_a_bundle_is_read_where_it_was_opened_although_the_process_changed_its_folder(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.chdir(small_bundle.parent)
    name = small_bundle.name
    if packed:
        monkeypatch.chdir(tmp_path)
        name = "small.vaekit"
        pack(small_bundle, name)
    here, there = Bundle.open(name), Bundle.open(small_bundle)
    (tmp_path / "elsewhere" / small_bundle.name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert here.graph("decoder") == there.graph("decoder")
    np.testing.assert_array_equal(here.golden().x, there.golden().x)
    assert dict(here.contents()) == dict(there.contents())
    assert repr(here) == f"Bundle({name!r}, name='small')"


def test_what_is_above_a_link_is_what_the_system_says(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(small_bundle)
    monkeypatch.chdir(tmp_path)
    bundle = Bundle.open(f"link/../{small_bundle.name}")  # not tmp_path / small_bundle.name, which is not there
    assert pickle.loads(pickle.dumps(bundle)).digest == bundle.digest


def test_a_path_that_gives_bytes_is_taken(small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(small_bundle)
    with os.scandir(os.fsencode(tmp_path)) as entries:
        (entry,) = entries
    assert Bundle.open(entry).digest == Bundle.open(small_bundle).digest  # type: ignore[arg-type]


def test_without_a_path_the_built_in_model_of_the_package_is_opened(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "exports"
    package.mkdir()
    origin = package / "__init__.py"
    monkeypatch.setattr("vaekit.exports.__file__", str(origin))
    with pytest.raises(BundleNotFoundError, match=rf"there is no bundle at {package}/mnist"):
        Bundle.open()
    shutil.copytree(small_bundle, package / "mnist")
    assert Bundle.open().path == package / "mnist"


def test_a_built_in_model_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vaekit.exports", None)
    with pytest.raises(BundleNotFoundError, match="the built-in model is not installed; name a bundle, or install"):
        vaekit.load()


def test_a_bundle_shows_its_path_and_name(small_bundle: Path) -> None:
    assert repr(Bundle.open(small_bundle)) == f"Bundle({str(small_bundle)!r}, name='small')"


# Hostile manifests, with checksums that agree.


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest's JSON in any way, and make the checksums fit."""
    path = folder / "manifest.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    for file in (*value["precisions"]["fp32"].values(), value["golden"], *value["extra_files"]):
        if "file" in file:
            digests[file["file"]] = file["sha256"]
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items())]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_a_manifest_rewritten_with_its_checksums_loads(bundle_copy: Path) -> None:
    rewrite(bundle_copy, lambda value: value.update(name="renamed"))  # the control of the tests below
    assert load(bundle_copy).manifest.name == "renamed"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda v: v.update(version=2), BundleVersionError, "format version 2, but this vaekit reads version 1"),
        (lambda v: v.update(format="other"), BundleVersionError, "this is no vaekit bundle"),
        (lambda v: v.update(noise="mt19937"), BundleVersionError, "the bundle's noise is 'mt19937'"),
        (lambda v: v["golden"].update(file="../golden.npz"), IntegrityError, r"'\.\./golden\.npz', which is no plain"),
        (lambda v: v["golden"].update(file="/etc/hostname"), IntegrityError, "'/etc/hostname', which is no plain name"),
        (lambda v: v["golden"].update(file="a/b.npz"), IntegrityError, "'a/b.npz', which is no plain name"),
        (lambda v: v["extra_files"].append(v["golden"]), IntegrityError, "names one file twice"),
        (lambda v: v["golden"].update(bytes=1 << 31), IntegrityError, "the limit is 2147483647"),
        (
            lambda v: v["extra_files"].append({"file": "gone.bin", "bytes": 0, "sha256": "0" * 64}),
            IntegrityError,
            r"gone\.bin is missing",
        ),
        (
            lambda v: v["precisions"]["fp32"]["decoder"].update(opset=17),
            BundleError,
            r"decoder\.onnx is not the graph that the manifest describes",
        ),
        (
            lambda v: v["precisions"]["fp32"]["encoder"].update(ir_version=9),
            BundleError,
            r"encoder\.onnx is not the graph that the manifest describes",
        ),
    ],
)
def test_a_hostile_manifest_is_refused(
    bundle_copy: Path, change: Callable[[dict[str, Any]], None], error: type[BundleError], message: str
) -> None:
    rewrite(bundle_copy, change)
    with pytest.raises(error, match=message):
        load(bundle_copy)


def test_a_file_beside_the_bundle_is_never_read(bundle_copy: Path) -> None:
    secret = bundle_copy.parent / "golden.npz"
    (bundle_copy / "golden.npz").rename(secret)
    rewrite(bundle_copy, lambda value: value["golden"].update(file="../golden.npz"))
    with pytest.raises(IntegrityError, match="no plain name inside the bundle"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_a_file_that_nobody_asked_for_is_checked_without_being_held(
    bundle_copy: Path, rehash: Rehash, tmp_path: Path, packed: bool
) -> None:
    large = bundle_copy / "README.md"
    large.write_bytes(bytes(8 << 20))
    rehash(bundle_copy)
    source = bundle_copy
    if packed:
        pack(bundle_copy, source := tmp_path / "packed.vaekit")
    tracemalloc.start()
    try:
        Bundle.open(source)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20  # of which reading the manifest takes 1
        name = large.name.encode()
        content = source.read_bytes() if packed else large.read_bytes()
        at = content.rindex(bytes(1 << 20))  # the file's last byte that is surely its own
        (source if packed else large).write_bytes(content[:at] + b"\1" + content[at + 1 :])
        with pytest.raises(IntegrityError, match=f"{name.decode()} was changed"):
            Bundle.open(source)
    finally:
        tracemalloc.stop()


def test_a_precision_that_is_not_in_the_bundle_is_refused(small_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"precision='int8' is not in the bundle 'small', which has fp32\."):
        vaekit.load(small_bundle, precision="int8")
    with pytest.raises(ConfigError, match="half='both' is unknown"):
        Bundle.open(small_bundle).graph("both")


# Hostile graphs, with a manifest and checksums that agree.


def with_external_data(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "golden.npz"


def with_random_node(model: onnx.ModelProto) -> None:
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["plain" if name == output else name for name in node.output]
    model.graph.node.append(helper.make_node("RandomNormalLike", ["plain"], ["noise"], name="eps"))
    model.graph.node.append(helper.make_node("Add", ["plain", "noise"], [output]))


def with_random_node_in_a_branch(model: onnx.ModelProto) -> None:
    shape = [1]
    output = helper.make_tensor_value_info("r", TensorProto.FLOAT, shape)
    branch = helper.make_graph([helper.make_node("RandomNormal", [], ["r"], shape=shape)], "b", [], [output])
    condition = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    model.graph.node.extend(
        [condition, helper.make_node("If", ["yes"], ["unused"], then_branch=branch, else_branch=branch)]
    )


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (with_external_data, "keeps its data in another file"),
        (with_random_node, r"'eps' \('RandomNormalLike'\) draws random numbers"),
        (with_random_node_in_a_branch, "draws random numbers"),
    ],
)
def test_a_graph_that_is_no_pure_function_is_refused_although_every_hash_agrees(
    bundle_copy: Path, replace_graph: ReplaceGraph, half: str, damage: Callable[[onnx.ModelProto], None], message: str
) -> None:
    model = onnx.load(bundle_copy / f"{half}.onnx")
    damage(model)
    replace_graph(bundle_copy, half, model.SerializeToString())
    Bundle.open(bundle_copy)  # the control: every hash agrees
    with pytest.raises(UnsafeGraphError, match=rf"{half}\.onnx may not be in a bundle: .*{message}"):
        load(bundle_copy)


def test_bytes_that_are_no_graph_are_refused_although_every_hash_agrees(
    bundle_copy: Path, replace_graph: ReplaceGraph
) -> None:
    replace_graph(bundle_copy, "decoder", b"\x08\x08 this is no ONNX model")
    with pytest.raises(IntegrityError, match=r"decoder\.onnx is not a well-formed ONNX model"):
        load(bundle_copy)


def test_a_graph_with_other_ports_than_stated_is_refused(bundle_copy: Path, rehash: Rehash) -> None:
    model = onnx.load(bundle_copy / "decoder.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_param")  # a batch without a name
    (bundle_copy / "decoder.onnx").write_bytes(model.SerializeToString())
    rehash(bundle_copy)
    with pytest.raises(BundleError, match=r"decoder\.onnx is not the graph that the manifest describes"):
        load(bundle_copy)


def test_a_graph_without_standard_operators_is_refused(bundle_copy: Path, rehash: Rehash) -> None:
    model = onnx.load(bundle_copy / "decoder.onnx")
    model.opset_import[0].domain = "com.microsoft"
    (bundle_copy / "decoder.onnx").write_bytes(model.SerializeToString())
    rehash(bundle_copy)
    with pytest.raises(BundleError, match=r"decoder\.onnx imports no standard ONNX operators"):
        load(bundle_copy)


def test_a_graph_that_onnx_runtime_cannot_run_is_refused(bundle_copy: Path, rehash: Rehash) -> None:
    model = onnx.load(bundle_copy / "decoder.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    (bundle_copy / "decoder.onnx").write_bytes(model.SerializeToString())
    rehash(bundle_copy)
    with pytest.raises(IntegrityError, match=r"ONNX Runtime cannot load decoder\.onnx: .*NoSuchOperator"):
        load(bundle_copy)


def test_opening_a_bundle_unpacks_no_golden_vectors(small_bundle: Path) -> None:
    code = (
        f"import sys, vaekit.bundle as b; b.Bundle.open({str(small_bundle)!r}){{}}; sys.exit('zipfile' in sys.modules)"
    )
    for more, loaded in (("", 0), (".golden()", 1)):  # the second is the control
        run = subprocess.run([sys.executable, "-c", code.format(more)], check=False)
        assert run.returncode == loaded


def test_the_manifest_on_disk_is_what_was_read(small_bundle: Path) -> None:
    manifest = Bundle.open(small_bundle).manifest
    assert isinstance(manifest, Manifest)
    assert manifest.to_bytes() == (small_bundle / "manifest.json").read_bytes()
