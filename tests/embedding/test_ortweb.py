"""ONNX Runtime's build for browsers: only the pinned bytes are taken, from a folder or from npm."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import vaekit.cli
from vaekit.bundle import Bundle
from vaekit.embedding import embed, ortweb
from vaekit.errors import ExportError, MissingDependencyError
from vaekit.spec import DataSpec

CONTENT = {name: f"the content of {name}".encode() for name in ortweb.FILES}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pin two small files, since the real ones are 14 MB and not in the repository."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    monkeypatch.setattr(ortweb, "FILES", digests)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / "dist" / name).write_bytes(content)
    return folder


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return ``npm(body)``: the only program on PATH is an npm that runs these lines of Python, as `arguments` were given."""
    folder = tmp_path / "programs"
    folder.mkdir()

    def install(body: str) -> None:
        script = folder / "npm"
        script.write_text(f"#!{sys.executable}\nimport sys, pathlib, time\narguments = sys.argv[1:]\n{body}\n")
        script.chmod(0o755)

    monkeypatch.setenv("PATH", str(folder))
    return install


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in (*CONTENT.items(), ("other.js", b"not asked for")):
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("inside", ["", "dist"])
def test_a_folder_is_the_package_or_its_dist(package: Path, inside: str) -> None:
    assert ortweb.ort_web_files(package / inside) == CONTENT


def test_a_folder_without_a_file_is_refused(package: Path) -> None:
    (package / "dist" / "ort-wasm-simd-threaded.wasm").unlink()
    with pytest.raises(
        MissingDependencyError, match=r"simd-threaded\.wasm cannot be read: No such file.*onnxruntime-web@.* --ort-web"
    ):
        ortweb.ort_web_files(package)


def test_another_version_is_refused(package: Path) -> None:
    (package / "dist" / "ort-wasm-simd-threaded.wasm").write_bytes(b"another")
    with pytest.raises(
        MissingDependencyError, match=rf"simd-threaded\.wasm is not that of onnxruntime-web@{ortweb.VERSION};"
    ):
        ortweb.ort_web_files(package)


def test_without_a_folder_and_without_npm_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(
        MissingDependencyError, match="npm, which would fetch it, is not installed; name a folder that holds"
    ):
        ortweb.ort_web_files()


def test_npm_fetches_the_pinned_version_and_runs_no_script_of_it(
    npm: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    packed = tmp_path / "packed.tgz"
    packed.write_bytes(archive())
    monkeypatch.setattr(ortweb, "INTEGRITY", base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode())
    asked = tmp_path / "asked.json"
    npm(
        f"import json, shutil; pathlib.Path({str(asked)!r}).write_text(json.dumps(arguments))\n"
        f"shutil.copy({str(packed)!r}, pathlib.Path(arguments[-1]) / 'onnxruntime-web.tgz')"
    )
    assert ortweb.ort_web_files() == CONTENT
    arguments = json.loads(asked.read_text())
    assert arguments[:3] == ["pack", f"onnxruntime-web@{ortweb.VERSION}", "--ignore-scripts"]
    assert not Path(arguments[-1]).exists()  # the archive is not left behind


def test_another_archive_than_the_pinned_one_is_refused(npm: Callable[[str], None]) -> None:
    npm("(pathlib.Path(arguments[-1]) / 'x.tgz').write_bytes(b'something else')")
    with pytest.raises(
        MissingDependencyError, match=r"what npm fetched is not onnxruntime-web@.*: its SHA-512 is another"
    ):
        ortweb.ort_web_files()


def test_an_npm_that_fails_is_quoted_in_one_line(npm: Callable[[str], None]) -> None:
    npm("print('npm error network is unreachable\\nmore', file=sys.stderr); sys.exit(1)")
    with pytest.raises(
        MissingDependencyError, match=r"^npm could not fetch .*: npm error network is unreachable; .*"
    ) as caught:
        ortweb.ort_web_files()
    assert "\n" not in str(caught.value)


def test_an_npm_that_brings_nothing_is_an_error(npm: Callable[[str], None]) -> None:
    npm("")
    with pytest.raises(MissingDependencyError, match="npm could not fetch onnxruntime-web"):
        ortweb.ort_web_files()


def test_an_npm_that_hangs_is_given_up(npm: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ortweb, "TIMEOUT", 0.5)
    npm("time.sleep(60)")
    with pytest.raises(MissingDependencyError, match=r"npm did not fetch onnxruntime-web@.* within 0\.5 seconds"):
        ortweb.ort_web_files()


def test_the_command_takes_the_folder_and_leaves_no_trace_of_it(package: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with pytest.raises(SystemExit) as stop:
        vaekit.cli.main(["embed", "web", "--out", str(site), "--ort-web", str(package)])
    assert not stop.value.code
    assert (site / "ort" / "ort.wasm.bundle.min.js").read_bytes() == CONTENT["ort.wasm.bundle.min.mjs"]
    assert (site / "ort" / "ort-wasm-simd-threaded.wasm").read_bytes() == CONTENT["ort-wasm-simd-threaded.wasm"]
    for path in site.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path


def test_a_refused_folder_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        vaekit.cli.main(["embed", "web", "--out", str(tmp_path / "site"), "--ort-web", str(tmp_path / "nothing")])
    assert stop.value.code == 1
    assert "cannot be read" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_images_of_two_channels_are_refused_in_one_line(package: Path, tmp_path: Path) -> None:
    bundle = Bundle.open()
    spec = bundle.manifest.spec.__class__("vae", DataSpec((2, 28, 14)), 20, "bernoulli")
    other = Bundle(bundle.path, bundle.manifest.replace(spec=spec))
    with pytest.raises(
        ExportError, match="images of 1 or 3 channels, but the items of mnist have 2; use the target node"
    ):
        embed("web", other, tmp_path / "site", ort_web=package)


def test_the_pages_own_files_name_no_place_in_the_network(package: Path, tmp_path: Path) -> None:
    site = embed("web", None, tmp_path / "site", ort_web=package)
    for path in site.rglob("*"):
        if path.suffix in (".js", ".css", ".html", ".json", ".md") and path.parent.name != "ort":
            assert "://" not in path.read_text(), path.name
