"""What a manifest states about a file and about a graph.

Needs: the standard library. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from vaekit import fields
from vaekit.errors import BundleError, ConfigError, IntegrityError
from vaekit.fields import Json
from vaekit.value import Value

FILE_LIMIT: Final = (1 << 31) - 1
"""Largest file of a bundle in bytes: protobuf, and so ONNX, ends there."""

FORMATS: Final = ("onnx", "ort")
"""How a graph may be stored: as ONNX, or besides in ONNX Runtime's own format, which is opened only when it is asked for."""

IOS: Final = ("float32", "uint8")
"""What a graph's items are: values of the data's range, or, in the app-ready graphs, pixels; see `vaekit.appio`."""

_FIRST: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_FURTHER: Final = _FIRST | frozenset("._-")
_HEX: Final = frozenset("0123456789abcdef")


def is_plain_name(name: str) -> bool:
    """Whether no system takes a file's name for a path: up to 100 of A-Z a-z 0-9 . _ - with a letter or digit first."""
    # Sets, since a regular expression costs every start half a millisecond to compile.
    return 1 <= len(name) <= 100 and name[0] in _FIRST and _FURTHER.issuperset(name)


class FileInfo(Value):
    """One file of the bundle: its name inside the folder, its size in bytes, and the SHA-256 of its content in hex."""

    file: str
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types."""
        return {"file": self.file, "bytes": self.bytes, "sha256": self.sha256}

    @classmethod
    def from_json(cls, value: Json) -> FileInfo:
        """Read and check the fields; a name may not leave the folder."""
        name = fields.text(value, "file")
        if not is_plain_name(name):
            raise IntegrityError(f"the manifest names the file {name!r}, which is no plain name inside the bundle.")
        size = fields.whole(value, "bytes")
        if not 0 <= size <= FILE_LIMIT:
            raise IntegrityError(f"the manifest states {size} bytes for {name}; the limit is {FILE_LIMIT}.")
        digest = fields.text(value, "sha256")
        if len(digest) != 64 or not _HEX.issuperset(digest):
            raise IntegrityError(f"the manifest's sha256 of {name} is {digest!r}, not 64 lower-case hex digits.")
        return cls(name, size, digest)


class TensorPort(Value):
    """An input or output of a graph: name, dtype, shape ("batch" stands for any number of items)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Json) -> TensorPort:
        """Read the fields."""
        shape = tuple(fields.listed(value, "shape"))
        if not all(isinstance(size, (int, str)) and not isinstance(size, bool) for size in shape):
            raise BundleError(f"the manifest's shape {list(shape)} holds something that is no size.")
        return cls(fields.text(value, "name"), fields.text(value, "dtype"), shape)


class GraphInfo(Value):
    """One graph of the bundle.

    Attributes:
        file: The ONNX model.
        opset: Its version of ONNX's standard operators.
        ir_version: Version of the ONNX file format.
        inputs: What the caller gives.
        outputs: What it gives back.
        ort: The same graph in ONNX Runtime's own format, where the bundle has it.
    """

    file: FileInfo
    opset: int
    ir_version: int
    inputs: tuple[TensorPort, ...]
    outputs: tuple[TensorPort, ...]
    ort: FileInfo | None = None

    def files(self) -> Iterator[FileInfo]:
        """Every file that it is stored in."""
        yield self.file
        if self.ort is not None:
            yield self.ort

    def stored(self, stored_as: str) -> FileInfo:
        """The file of one of `FORMATS`.

        Raises:
            ConfigError: There is no such format.
            BundleError: The graph is not stored so.
        """
        if stored_as not in FORMATS:
            raise ConfigError(f"format={stored_as!r} is unknown; choose one of {', '.join(FORMATS)}.")
        found = self.file if stored_as == "onnx" else self.ort
        if found is None:
            raise BundleError(
                f"format='ort' was asked for, but {self.file.file} is in the bundle as ONNX alone; "
                "export it again with --ort-format, or leave the format out."
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types."""
        return {
            **self.file.to_json(),
            "opset": self.opset,
            "ir_version": self.ir_version,
            "inputs": [port.to_json() for port in self.inputs],
            "outputs": [port.to_json() for port in self.outputs],
            **({} if self.ort is None else {"ort": self.ort.to_json()}),
        }

    @classmethod
    def from_json(cls, value: Json) -> GraphInfo:
        """Read the fields."""
        return cls(
            FileInfo.from_json(value),
            fields.whole(value, "opset"),
            fields.whole(value, "ir_version"),
            tuple(TensorPort.from_json(port) for port in fields.listed(value, "inputs")),
            tuple(TensorPort.from_json(port) for port in fields.listed(value, "outputs")),
            FileInfo.from_json(fields.mapped(value, "ort")) if "ort" in value else None,
        )
