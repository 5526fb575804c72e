"""The bundle: one folder that carries a model's two graphs, its manifest, and the proof that it runs right.

    manifest.json   encoder.onnx   decoder.onnx   golden.npz   README.md   preview.png   SHA256SUMS

`Bundle.open` trusts nothing: every file must be a regular file of the stated size and SHA-256, and SHA256SUMS (which
`sha256sum -c` reads too) covers the manifest itself. Graphs are handed out as the very bytes that were hashed, after
`vaekit.graphguard` has walked them.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import BundleError, BundleNotFoundError, IntegrityError
from vaekit.graphguard import GraphSummary, inspect_graph
from vaekit.manifest import FILE_LIMIT, MANIFEST_LIMIT, FileInfo, GraphInfo, Manifest, TensorPort

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"

GOLDEN_LIMIT = 1 << 28
"""Largest golden.npz after unpacking, 256 MiB: a small file must not unpack into a large one."""

_HOSTILE = (MemoryError, OverflowError, RuntimeError, AttributeError)
"""What NumPy raises for an archive that no accident makes: arrays stated larger than the memory, an unknown compression or
a password, a member that is no array."""


class Golden(NamedTuple):
    """Golden vectors: what the model gives for N items, so that any host can replay them.

    Attributes:
        x: Items of the test set, (N, ...) float32.
        mean: Posterior means, (N, D) float32.
        log_var: Posterior log-variances, (N, D) float32; minus infinity for an autoencoder.
        eps: Portable noise for `seed` and items 0 to N - 1, (N, D) float32.
        z: ``mean + exp(log_var / 2) * eps``, (N, D) float32.
        x_hat: The decoder's means for z, (N, ...) float32.
        labels: Labels of the items, (N,) int64, or None where the data has none.
    """

    x: NDArray[np.float32]
    mean: NDArray[np.float32]
    log_var: NDArray[np.float32]
    eps: NDArray[np.float32]
    z: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None

    def to_bytes(self) -> bytes:
        """Give the content of golden.npz; the same arrays give the same bytes."""
        arrays = {name: value for name, value in self._asdict().items() if value is not None}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Golden:
        """Read golden.npz without pickles and within `GOLDEN_LIMIT`.

        Raises:
            IntegrityError: It is no such archive, or holds other arrays.
        """
        import zipfile  # here, since it costs 10 ms and a start-up reads no golden vectors
        import zlib

        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > GOLDEN_LIMIT:
                raise IntegrityError(f"golden.npz unpacks to {unpacked:,} bytes; the limit is {GOLDEN_LIMIT:,}.")
            with np.load(io.BytesIO(content), allow_pickle=False) as archive_arrays:
                arrays = dict(archive_arrays)
            labels = arrays.pop("labels", None)
            if labels is not None and labels.dtype != np.int64:
                raise IntegrityError(f"golden.npz holds labels of dtype {labels.dtype}, not int64.")
            if {name: array.dtype for name, array in arrays.items()} != dict.fromkeys(
                ("x", "mean", "log_var", "eps", "z", "x_hat"), np.dtype(np.float32)
            ):
                found = ", ".join(f"{name} {array.dtype}" for name, array in sorted(arrays.items()))
                raise IntegrityError(f"golden.npz holds {found}, not x, mean, log_var, eps, z, x_hat in float32.")
            return cls(**arrays, labels=labels)
        except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError, *_HOSTILE) as error:
            raise IntegrityError(f"golden.npz cannot be read: {error}.") from error


class Bundle:
    """A bundle on disk whose files were checked.

    Attributes:
        path: The folder.
        manifest: What it states about itself.
    """

    def __init__(self, path: Path, manifest: Manifest, kept: Mapping[str, bytes] | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self._kept = dict(kept or {})

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r}, name={self.manifest.name!r})"

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None, *, keep: Iterable[tuple[str, str]] = ()) -> Bundle:
        """Open a folder, and check every file that it states against size and SHA-256.

        Args:
            path: The folder; None opens the built-in MNIST model.
            keep: (half, precision) of graphs whose checked bytes `graph` will be asked for, so that they are read once.

        Raises:
            BundleNotFoundError: There is no bundle.
            BundleVersionError: Its format is unknown.
            IntegrityError: A file is missing, changed, oversized, or no regular file.
            BundleError: The manifest is malformed, or a kept graph is not in it.
        """
        folder = builtin_bundle() if path is None else Path(path)
        if not os.path.isdir(folder):  # Path.is_dir raises where a name is too long or a folder may not be entered
            raise BundleNotFoundError(
                f"there is no bundle at {folder}; export one with `vaekit export RUN --out {folder}`."
            )
        if not os.path.lexists(folder / MANIFEST):
            raise BundleNotFoundError(
                f"{folder} holds no {MANIFEST}, so it is no bundle; is it a run? Then export it first."
            )
        content = _read(folder / MANIFEST, MANIFEST_LIMIT)
        manifest = Manifest.from_bytes(content)
        wanted = {manifest.graph(half, precision).file.file for half, precision in keep}
        if _read(folder / CHECKSUMS, MANIFEST_LIMIT) != checksums(content, manifest.files()):
            raise IntegrityError(
                f"{folder}: {CHECKSUMS} and {MANIFEST} do not agree, so one of them was changed; copy the bundle again."
            )
        kept = {}
        for file in manifest.files():
            data = _read_checked(folder, file)
            if file.file in wanted:
                kept[file.file] = data
        return cls(folder, manifest, kept)

    def graph(self, half: str, precision: str = "fp32") -> bytes:
        """Give one graph's bytes, checked, walked by the guard, and with the inputs and outputs that the manifest states.

        Args:
            half: "encoder" or "decoder".
            precision: One of the manifest's precisions.

        Raises:
            IntegrityError: The file was changed, or is no ONNX model.
            UnsafeGraphError: The graph reaches outside itself, or draws random numbers.
            BundleError: No such precision, or the graph is another than the manifest describes.
        """
        info = self.manifest.graph(half, precision)
        content = self._kept.pop(info.file.file, None)
        if content is None:
            content = _read_checked(self.path, info.file)
        found = describe_graph(info.file, inspect_graph(content, name=info.file.file))
        if found != info:
            raise BundleError(f"{self.path / info.file.file} is not the graph that the manifest describes: {found}.")
        return content

    def golden(self) -> Golden:
        """Read the golden vectors.

        Raises:
            IntegrityError: The file was changed, or its arrays do not fit the model.
        """
        golden = Golden.from_bytes(_read_checked(self.path, self.manifest.golden))
        spec, n = self.manifest.spec, self.manifest.golden_items
        for name in ("x", "x_hat", "mean", "log_var", "eps", "z"):
            shape = (n, *spec.data.shape) if name in ("x", "x_hat") else (n, spec.latent)
            if getattr(golden, name).shape != shape:
                raise IntegrityError(f"golden.npz: {name} has shape {getattr(golden, name).shape}, not {shape}.")
        if golden.labels is not None and golden.labels.shape != (n,):
            raise IntegrityError(f"golden.npz: labels has shape {golden.labels.shape}, not {(n,)}.")
        return golden


def builtin_bundle() -> Path:
    """The folder of the built-in MNIST model, inside the installed package `vaekit.exports`."""
    found = importlib.util.find_spec("vaekit.exports")
    if found is None or found.origin is None:
        raise BundleNotFoundError("the built-in model is not installed; name a bundle, or install vaekit again.")
    return Path(found.origin).parent / "mnist"


def checksums(manifest: bytes, files: Iterable[FileInfo]) -> bytes:
    """Give the content of SHA256SUMS, as `sha256sum` would write it: a line a file, ordered by name."""
    digests = {file.file: file.sha256 for file in files} | {MANIFEST: hashlib.sha256(manifest).hexdigest()}
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def describe_file(name: str, content: bytes) -> FileInfo:
    """State a file's size and SHA-256."""
    return FileInfo(name, len(content), hashlib.sha256(content).hexdigest())


def describe_graph(file: FileInfo, summary: GraphSummary) -> GraphInfo:
    """State a graph as the manifest does.

    Raises:
        BundleError: The graph does not import the standard operator set.
    """
    opsets = dict(summary.opsets)
    if "" not in opsets:
        raise BundleError(f"{file.file} imports no standard ONNX operators.")
    ports = [
        tuple(TensorPort(p.name, p.dtype, tuple("?" if s is None else s for s in p.shape)) for p in side)
        for side in (summary.inputs, summary.outputs)
    ]
    return GraphInfo(file, opsets[""], summary.ir_version, ports[0], ports[1])


def _read_checked(folder: Path, file: FileInfo) -> bytes:
    content = _read(folder / file.file, FILE_LIMIT, stated=file.bytes)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise IntegrityError(
            f"{folder / file.file} was changed: its SHA-256 is not the manifest's; copy the bundle again."
        )
    return content


def _read(path: Path, limit: int, *, stated: int | None = None) -> bytes:
    """Read one regular file of at most `limit` bytes, and of exactly the stated size where one is stated."""
    try:
        # O_NOFOLLOW: a link could point anywhere. O_NONBLOCK: opening a pipe must not hang.
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise IntegrityError(f"{path} is no plain file; copy the bundle again.")
            if status.st_size > limit or (stated is not None and status.st_size != stated):
                expected = f"at most {limit:,}" if stated is None else f"{stated:,}"
                raise IntegrityError(
                    f"{path} holds {status.st_size:,} bytes, but should hold {expected}; copy the bundle again."
                )
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(limit + 1 if stated is None else stated + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise IntegrityError(f"{path} is missing; copy the bundle again.") from None
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read as a plain file: {error.strerror or error}.") from error
