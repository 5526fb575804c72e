"""`vaekit pack` and `vaekit unpack`: what they print and write, and that every command takes the file that pack wrote."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vaekit.bundle import Bundle

Run = Callable[..., Any]


@pytest.fixture
def packed(small_bundle: Path, run: Run, tmp_path: Path) -> Path:
    path = tmp_path / "small.vaekit"
    assert run("pack", small_bundle, "--out", path).code == 0
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pack_prints_the_size_and_hash_of_what_it_wrote(small_bundle: Path, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "b.vaekit"
    result = run("pack", small_bundle, "--out", path)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert result == (0, f"wrote {path}, {len(content):,} bytes, SHA-256 {digest}\n", "")
    result = run("pack", small_bundle, "--out", path, "--force", "--json")
    assert json.loads(result.out) == {"file": str(path), "bytes": len(content), "sha256": digest}


@pytest.mark.parametrize("ending", ["", "/"])
def test_pack_names_the_file_after_the_bundle(
    small_bundle: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("pack", f"{small_bundle}{ending}").out.startswith("wrote small.vaekit, ")
    assert (tmp_path / "small.vaekit").is_file()
    again = run("pack", "small.vaekit")  # the same name: nothing is replaced unasked
    assert again.code == 1
    assert again.err == ("error: small.vaekit exists already; choose another path, or pass --force to replace it.\n")


def test_without_a_bundle_the_built_in_model_is_packed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("pack").code == 0
    assert Bundle.open("mnist.vaekit").manifest == Bundle.open().manifest


def test_unpack_gives_the_folder_back(small_bundle: Path, packed: Path, run: Run, tmp_path: Path) -> None:
    assert run("unpack", packed, "--out", tmp_path / "b") == (0, f"wrote {tmp_path / 'b'}\n", "")
    assert contents(tmp_path / "b") == contents(small_bundle)
    refused = run("unpack", packed, "--out", tmp_path / "b")
    assert refused.code == 1
    assert refused.err.startswith(f"error: {tmp_path / 'b'} exists already; choose another path, or pass --force")
    (tmp_path / "b" / "more").write_text("of the old folder")
    result = run("unpack", packed, "--out", tmp_path / "b", "--force", "--json")
    assert json.loads(result.out) == {"bundle": str(tmp_path / "b"), "name": "small"}
    assert contents(tmp_path / "b") == contents(small_bundle)


def test_a_damaged_file_is_one_red_line_and_leaves_nothing(packed: Path, run: Run, tmp_path: Path) -> None:
    packed.write_bytes(packed.read_bytes()[:-1])
    for command in (["unpack", packed, "--out", tmp_path / "b"], ["pack", packed, "--out", tmp_path / "c.vaekit"]):
        result = run(*command)
        assert result.code == 1
        assert result.out == ""
        assert result.err.startswith(f"error: {packed} does not end like a packed bundle")
        assert result.err.count("\n") == 1
    assert os.listdir(tmp_path) == ["small.vaekit"]


@pytest.mark.parametrize(
    "command",
    [
        ["verify"],
        ["verify", "--json"],
        ["inspect"],
        ["inspect", "--json"],
        ["sample", "--count", "2"],
        ["reconstruct", "--count", "2"],
        ["morph", "--from", "3", "--to", "8"],
    ],
    ids=" ".join,
)
def test_a_command_gives_for_the_file_what_it_gives_for_the_folder(
    command: list[str], small_bundle: Path, packed: Path, run: Run
) -> None:
    name, *options = command
    extra = ["--provider", "cpu"] if name != "inspect" else []
    expected = run(name, small_bundle, *options, *extra)
    assert expected.code == 0, expected.err
    assert run(name, packed, *options, *extra) == expected


def test_doctor_says_where_the_packed_bundle_is(packed: Path, run: Run) -> None:
    findings = json.loads(run("doctor", packed, "--json").out)
    assert f"small at {packed}: all 5 files as stated" in json.dumps(findings)
