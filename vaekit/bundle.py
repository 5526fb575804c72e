"""The bundle: one folder that carries a model's two graphs, its manifest, and the proof that it runs right.

    manifest.json   encoder.onnx   decoder.onnx   golden.npz   README.md   preview.png   SHA256SUMS

`Bundle.open` trusts nothing: every file must be a regular file of the stated size and SHA-256, and SHA256SUMS (which
`sha256sum -c` reads too) covers the manifest itself. Graphs are handed out as the very bytes that were hashed, after
`vaekit.graphguard` has walked them.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from vaekit.errors import BundleError, BundleNotFoundError, IntegrityError, command_line
from vaekit.graphguard import inspect_graph, is_ort
from vaekit.graphinfo import FILE_LIMIT, FileInfo, GraphInfo, TensorPort
from vaekit.manifest import MANIFEST_LIMIT, Manifest
from vaekit.places import BundleSource, Folder, Place, is_run

if TYPE_CHECKING:
    from pathlib import Path

    from vaekit.golden import Golden

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"


class Bundle:
    """A bundle whose files were checked. Pickled, it opens itself again where it arrives, and is checked again.

    Attributes:
        place: Where its files come from: a folder or an archive; as text, the path.
        manifest: What it states about itself.
        digest: SHA-256 of manifest.json in hex, and so of everything in the bundle; empty where it was not opened here.
    """

    def __init__(
        self, place: Place | Path, manifest: Manifest, kept: Mapping[str, bytes] | None = None, *, digest: str = ""
    ) -> None:
        self.place = Folder(place) if isinstance(place, os.PathLike) else place
        self.manifest = manifest
        self.digest = digest
        self._kept = dict(kept or {})

    def __repr__(self) -> str:
        return f"Bundle({str(self.place)!r}, name={self.manifest.name!r})"

    def __reduce__(self) -> tuple[Callable[..., Bundle], tuple[BundleSource | None, str]]:
        return _open_again, (self.place.origin, self.digest)

    @property
    def path(self) -> Path:
        """The folder or `.vaekit` file.

        Raises:
            BundleError: There is none, since the bundle came from bytes or a file object.
        """
        if self.place.path is None:
            raise BundleError(f"the bundle {self.manifest.name!r} came from bytes, so it has no path; unpack it first.")
        return self.place.path

    @classmethod
    def open(cls, path: BundleSource | None = None, *, keep: Iterable[tuple[str, ...]] = ()) -> Bundle:
        """Open a bundle, and check every file that it states against size and SHA-256.

        Args:
            path: A folder; a `.vaekit` file, its bytes, or a file object that gives them; None opens the built-in MNIST model.
            keep: (half, precision), (half, precision, format) or (half, precision, format, io) of graphs whose checked bytes
                `graph` will be asked for, so that they are read once.

        Raises:
            BundleNotFoundError: There is no bundle.
            BundleVersionError: Its format is unknown.
            IntegrityError: A file is missing, changed, oversized, or no regular file.
            BundleError: The manifest is malformed, or a kept graph is not in it.
            ConfigError: `path` is nothing that a bundle is opened from.
        """
        place = open_place(path)
        manifest, content, _ = _read_manifest(place)
        wanted = {_file(manifest, *which).file for which in keep}
        kept = {}
        for file in manifest.files():
            if file.file in wanted:
                kept[file.file] = _read_checked(place, file)
            else:
                _check(place, file, place.pieces(file.file, FILE_LIMIT, stated=file.bytes))
        return cls(place, manifest, kept, digest=hashlib.sha256(content).hexdigest())

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Give every file's name and checked bytes: manifest.json, and then the others ordered by name.

        Raises:
            IntegrityError: A file was changed since the bundle was opened.
        """
        manifest, content, sums = _read_manifest(self.place)
        if manifest != self.manifest:
            raise IntegrityError(f"{self.place} was changed since it was opened; open it again.")
        yield MANIFEST, content
        files = {file.file: file for file in manifest.files()}
        for name in sorted([CHECKSUMS, *files]):
            yield name, sums if name == CHECKSUMS else _read_checked(self.place, files[name])

    def graph(
        self,
        half: str,
        precision: str = "fp32",
        format: str = "onnx",  # noqa: A002
        io: str = "float32",
    ) -> bytes:
        """Give one graph's bytes, checked, walked by the guard, and with the inputs and outputs that the manifest states.

        The guard reads ONNX alone. A graph in ORT format is handed out on its hash: it is what the bundle's maker wrote, and
        whether that draws random numbers is seen only when it runs. So it is never given unless it was asked for.

        Args:
            half: "encoder" or "decoder".
            precision: One of the manifest's precisions.
            format: "onnx", or "ort" for ONNX Runtime's own format.
            io: "float32", or "uint8" for the app-ready graph.

        Raises:
            IntegrityError: The file was changed, or is no model in that format.
            UnsafeGraphError: The graph reaches outside itself, or draws random numbers.
            BundleError: No such precision, format or io, or the graph is another than the manifest describes.
        """
        info = self.manifest.graph(half, precision, io)
        file = info.stored(format)
        content = self._kept.pop(file.file, None)
        if content is None:
            content = _read_checked(self.place, file)
        if format == "ort":
            if not is_ort(content):
                raise IntegrityError(
                    f"{self.place.where(file.file)} is no model in ORT format; export the model again."
                )
            return content
        found = describe_graph(file, content).replace(ort=info.ort)
        if found != info:
            raise BundleError(f"{self.place.where(file.file)} is not the graph that the manifest describes: {found}.")
        return content

    def golden(self, io: str = "float32") -> Golden:
        """Read the golden vectors.

        Args:
            io: "float32", or "uint8" for those of the app-ready graphs.

        Raises:
            ConfigError: No such io.
            BundleError: The bundle has no app-ready graphs.
            IntegrityError: The file was changed, or its arrays do not fit the model.
        """
        from vaekit.golden import Golden  # here, since a start-up reads none

        spec, n = self.manifest.spec, self.manifest.golden_items
        item = self.manifest.graph("encoder", "fp32", io).inputs[0].shape[1:]
        file = self.manifest.golden if self.manifest.pixels is None or io == "float32" else self.manifest.pixels.golden
        golden = Golden.from_bytes(_read_checked(self.place, file), io=io, name=file.file)
        for name in ("x", "x_hat", "mean", "log_var", "eps", "z"):
            shape = (n, *item) if name in ("x", "x_hat") else (n, spec.latent)
            if getattr(golden, name).shape != shape:
                raise IntegrityError(f"{file.file}: {name} has shape {getattr(golden, name).shape}, not {shape}.")
        if golden.labels is not None and golden.labels.shape != (n,):
            raise IntegrityError(f"{file.file}: labels has shape {golden.labels.shape}, not {(n,)}.")
        return golden


def builtin_bundle() -> Path:
    """The folder of the built-in MNIST model, inside the installed package `vaekit.exports`."""
    from pathlib import Path  # here, since opening a bundle needs none

    return Path(_builtin_folder())


def checksums(manifest: bytes, files: Iterable[FileInfo]) -> bytes:
    """Give the content of SHA256SUMS, as `sha256sum` would write it: a line a file, ordered by name."""
    digests = {file.file: file.sha256 for file in files} | {MANIFEST: hashlib.sha256(manifest).hexdigest()}
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def describe_file(name: str, content: bytes) -> FileInfo:
    """State a file's size and SHA-256."""
    return FileInfo(name, len(content), hashlib.sha256(content).hexdigest())


def describe_graph(file: FileInfo, content: bytes) -> GraphInfo:
    """Walk a graph with the guard, and state it as the manifest does.

    Raises:
        IntegrityError: It is no ONNX model.
        UnsafeGraphError: It reaches outside itself, or draws random numbers.
        BundleError: It does not import the standard operator set.
    """
    summary = inspect_graph(content, name=file.file)
    opsets = dict(summary.opsets)
    if "" not in opsets:
        raise BundleError(f"{file.file} imports no standard ONNX operators.")
    ports = [
        tuple(TensorPort(p.name, p.dtype, tuple("?" if s is None else s for s in p.shape)) for p in side)
        for side in (summary.inputs, summary.outputs)
    ]
    return GraphInfo(file, opsets[""], summary.ir_version, ports[0], ports[1])


def _open_again(source: BundleSource | None, digest: str) -> Bundle:
    """Open the bundle that a pickle names; the pickle was made of one with this digest."""
    bundle = Bundle.open(source)
    if digest not in ("", bundle.digest):
        raise IntegrityError(
            f"{bundle.place} is another bundle than the one that was pickled; give both processes the same one."
        )
    return bundle


def open_place(source: BundleSource | None) -> Place:
    """Find where a bundle's files come from; of a packed bundle, read its table of contents.

    Raises:
        BundleNotFoundError: There is neither a folder with a manifest nor a file.
        IntegrityError: A file, bytes or a file object hold no packed bundle.
        ConfigError: It is nothing that a bundle is opened from.
    """
    if source is None:
        return Folder(_with_manifest(_builtin_folder()), builtin=True)
    if not isinstance(source, (str, os.PathLike)):
        from vaekit.packing import Archive, content_of

        return Archive(content_of(source))
    path = os.fsdecode(source) or os.curdir  # text, of a path whose type gives bytes as well
    if os.path.isfile(path):
        from pathlib import Path

        from vaekit.packing import Archive

        return Archive(Path(path))
    return Folder(_with_manifest(path))


def _builtin_folder() -> str:
    try:
        exports = importlib.import_module("vaekit.exports")  # not at the top: a program with its own model needs none
    except ImportError:
        exports = None
    if exports is None or exports.__file__ is None:
        raise BundleNotFoundError("the built-in model is not installed; name a bundle, or install vaekit again.")
    return os.path.join(os.path.dirname(exports.__file__), "mnist")


def _with_manifest(folder: str) -> str:
    if not os.path.isdir(folder):
        raise BundleNotFoundError(
            f"there is no bundle at {folder}; export one with "
            f"{command_line('vaekit', 'export', 'RUN', '--out', folder)}."
        )
    if not os.path.lexists(os.path.join(folder, MANIFEST)):
        if is_run(folder):
            export = command_line("vaekit", "export", folder, "--out", "BUNDLE")
            raise BundleNotFoundError(f"{folder} is a run, not a bundle; export it: {export}.")
        raise BundleNotFoundError(f"{folder} holds no {MANIFEST}, so it is no bundle; name a bundle's folder or file.")
    return folder


def _file(
    manifest: Manifest,
    half: str,
    precision: str,
    format: str = "onnx",  # noqa: A002
    io: str = "float32",
) -> FileInfo:
    return manifest.graph(half, precision, io).stored(format)


def _read_manifest(place: Place) -> tuple[Manifest, bytes, bytes]:
    """The manifest, its bytes, and those of SHA256SUMS, which agree; the place holds nothing that it must not."""
    content = place.read(MANIFEST, MANIFEST_LIMIT)
    manifest = Manifest.from_bytes(content)
    sums = place.read(CHECKSUMS, MANIFEST_LIMIT)
    if sums != checksums(content, manifest.files()):
        raise IntegrityError(
            f"{place}: {CHECKSUMS} and {MANIFEST} do not agree, so one of them was changed; copy the bundle again."
        )
    place.check_names({MANIFEST, CHECKSUMS, *(file.file for file in manifest.files())})
    return manifest, content, sums


def _read_checked(place: Place, file: FileInfo) -> bytes:
    content = place.read(file.file, FILE_LIMIT, stated=file.bytes)
    _check(place, file, [content])
    return content


def _check(place: Place, file: FileInfo, pieces: Iterable[bytes]) -> None:
    """Refuse a file whose bytes, given in pieces, have another SHA-256 than the manifest states."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    if digest.hexdigest() != file.sha256:
        raise IntegrityError(
            f"{place.where(file.file)} was changed: its SHA-256 is not the manifest's; copy the bundle again."
        )
