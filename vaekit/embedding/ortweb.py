"""ONNX Runtime's WebAssembly build for browsers: where it comes from, and proof that it is the one that was pinned.

Two files of the npm package onnxruntime-web are needed. They come from a folder that the user names, or from `npm pack`, which
downloads the package and runs none of its scripts. Either way their bytes must be those stated below.

Needs: the standard library; npm where no folder is named.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from vaekit.errors import MissingDependencyError

VERSION: Final = "1.30.0"
PACKAGE: Final = f"onnxruntime-web@{VERSION}"

INTEGRITY: Final = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the package's archive in base64, as the npm registry and every package-lock.json state it."""

FILES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
        "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    }
)
"""Name in the package's folder dist -> SHA-256 of its content."""

TIMEOUT: Final = 600
"""Seconds that npm may take for the archive's 33 MB."""

_ADVICE: Final = f"name a folder that holds {PACKAGE} with --ort-web DIR, e.g. node_modules/onnxruntime-web"


def ort_web_files(folder: Path | None = None) -> dict[str, bytes]:
    """Give the files' content, checked.

    Args:
        folder: The unpacked package, or its folder dist; None asks npm for the package.

    Raises:
        MissingDependencyError: A file is missing or another, or npm is missing or fails.
    """
    return _from_folder(folder) if folder is not None else _from_npm()


def _from_folder(folder: Path) -> dict[str, bytes]:
    place = folder / "dist" if (folder / "dist").is_dir() else folder
    files = {}
    for name, digest in FILES.items():
        try:
            content = (place / name).read_bytes()
        except OSError as error:
            raise MissingDependencyError(
                f"{place / name} cannot be read: {error.strerror or error}; {_ADVICE}."
            ) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise MissingDependencyError(f"{place / name} is not that of {PACKAGE}; {_ADVICE}.")
        files[name] = content
    return files


def _from_npm() -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError(
            f"{PACKAGE} is needed, and npm, which would fetch it, is not installed; {_ADVICE}."
        )
    with tempfile.TemporaryDirectory(prefix="vaekit-") as scratch:
        command = [npm, "pack", PACKAGE, "--ignore-scripts", "--silent", "--pack-destination", scratch]
        try:
            subprocess.run(command, cwd=scratch, check=True, capture_output=True, text=True, timeout=TIMEOUT)
            (archive,) = Path(scratch).glob("*.tgz")
        except subprocess.TimeoutExpired as error:
            raise MissingDependencyError(
                f"npm did not fetch {PACKAGE} within {TIMEOUT} seconds; try again, or {_ADVICE}."
            ) from error
        except (subprocess.CalledProcessError, OSError, ValueError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise MissingDependencyError(
                f"npm could not fetch {PACKAGE}: {said[0] if said else 'no reason'}; try again, or {_ADVICE}."
            ) from error
        return _from_archive(archive.read_bytes(), archive)


def _from_archive(content: bytes, path: Path) -> dict[str, bytes]:
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != INTEGRITY:
        raise MissingDependencyError(f"what npm fetched is not {PACKAGE}: its SHA-512 is another; {_ADVICE}.")
    with tarfile.open(path) as archive:
        members = {name: archive.extractfile(f"package/dist/{name}") for name in FILES}
        return {name: member.read() for name, member in members.items() if member is not None}
