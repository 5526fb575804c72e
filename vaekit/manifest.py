"""`manifest.json`: what a bundle says about itself, field by field.

`Manifest.to_json` and `Manifest.from_json` are the format; `exports/README.md` specifies it for readers in other
languages. What is stated about graphs and precisions has modules of its own, `vaekit.graphinfo` and `vaekit.precisions`.
Reading is strict: a field that is missing, of another type or out of its limits is an error, and so is a format version that
this code does not know.

Needs: the standard library. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from vaekit import fields
from vaekit.errors import BundleError, BundleVersionError, ConfigError, IntegrityError
from vaekit.fields import Json
from vaekit.graphinfo import FILE_LIMIT, IOS, FileInfo, GraphInfo, TensorPort
from vaekit.noise import NOISE_VERSION
from vaekit.precisions import PrecisionInfo
from vaekit.scores import ScoreStatistics
from vaekit.spec import ModelSpec
from vaekit.value import Value

if TYPE_CHECKING:
    from vaekit.appio import PixelIO, PixelPair

__all__ = [
    "FILE_LIMIT",
    "FORMAT",
    "HALVES",
    "MANIFEST_LIMIT",
    "VERSION",
    "FileInfo",
    "GraphInfo",
    "LatentStatistics",
    "Manifest",
    "PrecisionInfo",
    "ScoreStatistics",
    "TensorPort",
]

FORMAT: Final = "vaekit-bundle"
VERSION: Final = 1

MANIFEST_LIMIT: Final = 1 << 20
"""Largest manifest.json in bytes, 1 MiB."""

HALVES: Final = ("encoder", "decoder")


class LatentStatistics(Value):
    """The aggregate posterior: what codes the encoder gives over a data set.

    Attributes:
        items: Number of items it was measured on.
        mean: Mean of the codes per latent dimension.
        std: Standard deviation of the codes per latent dimension: the root of the variance of the means
            plus the mean variance.
        kl: Mean KL per latent dimension in nats; empty for an autoencoder.
        active: Dimensions whose posterior mean varies over the data by more than `vaekit.elbo.ACTIVE_VARIANCE`.
    """

    items: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    kl: tuple[float, ...]
    active: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types."""
        return {
            "items": self.items,
            "mean": list(self.mean),
            "std": list(self.std),
            "kl": list(self.kl),
            "active": list(self.active),
        }

    @classmethod
    def from_json(cls, value: Json, latent: int) -> LatentStatistics:
        """Read the fields; the lists must fit the number of latent dimensions."""
        mean, std, kl = (
            tuple(float(fields.number(number, name)) for number in fields.listed(value, name))
            for name in ("mean", "std", "kl")
        )
        active = tuple(int(fields.typed(dimension, int, "active")) for dimension in fields.listed(value, "active"))
        if len(mean) != latent or len(std) != latent or len(kl) not in (0, latent):
            raise BundleError(
                f"the manifest's latent statistics do not have one number for each of {latent} dimensions."
            )
        if any(not 0 <= dimension < latent for dimension in active):
            raise BundleError(f"the manifest calls dimensions {list(active)} active, but there are {latent}.")
        return cls(fields.whole(value, "items"), mean, std, kl, active)


class Manifest(Value):
    """Everything that a bundle states about itself.

    Attributes:
        name: What the model is called.
        spec: What the model is.
        precisions: The graphs by precision; "fp32" is always there.
        statistics: The aggregate posterior, measured on training data.
        tolerances: Largest absolute deviation from the golden vectors by provider ("cpu", "cuda", "cuda-tf32", "other").
        golden: The golden vectors' file, and how many items it holds.
        golden_items: Number of items in the golden vectors.
        golden_seed: Seed of their noise.
        extra_files: Files that are for people (model card, preview), and those of `pixels`.
        made_by: Versions, data, configuration and seed that made it.
        pixels: The app-ready graphs, which take and give uint8 pixels; None where the bundle has none.
        scores: How unusual normal items are, measured on test items; None in older bundles.
    """

    name: str
    spec: ModelSpec
    precisions: Mapping[str, PrecisionInfo]
    statistics: LatentStatistics
    tolerances: Mapping[str, float]
    golden: FileInfo
    golden_items: int
    golden_seed: int
    extra_files: tuple[FileInfo, ...] = ()
    made_by: Mapping[str, Any] = MappingProxyType({})
    pixels: PixelIO | None = None
    scores: ScoreStatistics | None = None

    def files(self) -> Iterator[FileInfo]:
        """Every file of the bundle but the manifest and the list of checksums."""
        for precision in self.precisions.values():
            yield from precision.files()
        yield self.golden
        yield from self.extra_files

    def graph(self, half: str, precision: str, io: str = "float32") -> GraphInfo:
        """The graph of one half ("encoder" or "decoder") in one precision, for values ("float32") or pixels ("uint8").

        Raises:
            ConfigError: There is no such half or io.
            BundleError: The bundle has no such precision, or it has it for values alone.
        """
        if half not in HALVES:
            raise ConfigError(f"half={half!r} is unknown; choose one of {', '.join(HALVES)}.")
        if io not in IOS:
            raise ConfigError(f"io={io!r} is unknown; choose one of {', '.join(IOS)}.")
        if precision not in self.precisions:
            raise BundleError(
                f"precision={precision!r} is not in the bundle {self.name!r}, which has {', '.join(self.precisions)}."
            )
        if io == "uint8":
            if self.pixels is None:
                raise BundleError(
                    f"io='uint8' was asked for, but the bundle {self.name!r} has graphs for float32 alone; "
                    "export it again with `vaekit export --io uint8`, or leave io out."
                )
            return self.pixels.graph(half, precision)
        info = self.precisions[precision]
        return info.encoder if half == "encoder" else info.decoder

    def ways(self) -> Iterator[tuple[str, str, str]]:
        """Every (precision, format, io) that both graphs are there in."""
        for io, pairs in (
            ("float32", self.precisions),
            ("uint8", {} if self.pixels is None else self.pixels.precisions),
        ):
            for name, pair in pairs.items():
                yield name, "onnx", io
                if pair.encoder.ort and pair.decoder.ort:
                    yield name, "ort", io

    def to_json(self) -> dict[str, Any]:
        """Give the manifest as JSON's types, in the order in which a person would read it."""
        spec = self.spec.to_json()
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            **spec,
            "latent": {**spec["latent"], "statistics": self.statistics.to_json()},
            "noise": NOISE_VERSION,
            "precisions": {name: info.to_json() for name, info in self.precisions.items()},
            "tolerances": dict(self.tolerances),
            "golden": {**self.golden.to_json(), "items": self.golden_items, "seed": self.golden_seed},
            "extra_files": [file.to_json() for file in self.extra_files],
            "made_by": dict(self.made_by),
            **({} if self.pixels is None else {"io": {"uint8": self.pixels.to_json()}}),
            **({} if self.scores is None else {"scores": self.scores.to_json()}),
        }

    def to_bytes(self) -> bytes:
        """Give the content of manifest.json: UTF-8, indented, with a newline at the end."""
        return (json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Manifest:
        """Read and check the content of manifest.json.

        Raises:
            BundleVersionError: Another format, a newer version, or an unknown noise generator.
            IntegrityError: It is no JSON, or it states impossible files.
            BundleError: A field is missing or malformed.
        """
        try:
            value = json.loads(content.decode("utf-8"), parse_constant=_no_constant)
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise IntegrityError(f"manifest.json is no valid JSON: {error}.") from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise BundleVersionError(f"manifest.json does not say format {FORMAT!r}, so this is no vaekit bundle.")
        if value.get("version") != VERSION or isinstance(value["version"], bool):
            raise BundleVersionError(
                f"the bundle has format version {value.get('version')!r}, but this vaekit reads version {VERSION}; "
                "upgrade vaekit, or export the model again."
            )
        if value.get("noise") != NOISE_VERSION:
            raise BundleVersionError(
                f"the bundle's noise is {value.get('noise')!r}, but this vaekit makes {NOISE_VERSION!r}; upgrade vaekit."
            )
        try:
            return cls._from_json(value)
        except ConfigError as error:
            raise BundleError(f"manifest.json: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BundleError(f"manifest.json has a missing or malformed field: {error}.") from error

    @classmethod
    def _from_json(cls, value: Json) -> Manifest:
        spec = ModelSpec.from_json(value)
        golden = fields.mapped(value, "golden")
        precisions = {
            name: PrecisionInfo.from_json(fields.typed(info, dict, name))
            for name, info in fields.mapped(value, "precisions").items()
        }
        if "fp32" not in precisions:
            raise BundleError("the bundle has no fp32 graphs; export the model again.")
        for name, info in precisions.items():
            _check_ports(spec, name, info)
        tolerances = fields.numbers(value, "tolerances")
        if "other" not in tolerances or min(tolerances.values()) < 0:
            raise BundleError(f"the manifest's tolerances are {tolerances}; each is at least 0, and 'other' is one.")
        items, seed = fields.whole(golden, "items"), fields.whole(golden, "seed")
        if items < 1 or not 0 <= seed < 1 << 64:
            raise BundleError(f"the manifest states {items} golden items for seed {seed}, which prove nothing.")
        manifest = cls(
            name=fields.text(value, "name"),
            spec=spec,
            precisions=precisions,
            statistics=LatentStatistics.from_json(
                fields.mapped(fields.mapped(value, "latent"), "statistics"), spec.latent
            ),
            tolerances=tolerances,
            golden=FileInfo.from_json(golden),
            golden_items=items,
            golden_seed=seed,
            extra_files=tuple(FileInfo.from_json(file) for file in fields.listed(value, "extra_files")),
            made_by=fields.mapped(value, "made_by"),
            pixels=_pixels(value, spec),
            scores=ScoreStatistics.from_json(fields.mapped(value, "scores")) if "scores" in value else None,
        )
        names = [file.file for file in manifest.files()]
        if len(set(names)) != len(names):
            raise IntegrityError("the manifest names one file twice.")
        if manifest.pixels is not None:
            manifest.pixels.check(precisions, manifest.extra_files)
        return manifest


def _pixels(value: Json, spec: ModelSpec) -> PixelIO | None:
    """Read what is stated of uint8 graphs, if anything is; another io is passed over."""
    if "uint8" not in fields.mapped(value if "io" in value else {"io": {}}, "io"):
        return None
    from vaekit.appio import PixelIO, pixel_shape  # here, since few bundles have such graphs

    io = PixelIO.from_json(fields.mapped(value["io"], "uint8"))
    for name, pair in io.precisions.items():
        _check_ports(spec, f"uint8 {name}", pair, dtype="uint8", shape=pixel_shape(spec.data, io.layout))
    return io


def _check_ports(
    spec: ModelSpec,
    precision: str,
    info: PrecisionInfo | PixelPair,
    *,
    dtype: str = "float32",
    shape: tuple[int, ...] | None = None,
) -> None:
    """Both graphs must have the inputs and outputs that the model's description asks for."""
    items = TensorPort("x", dtype, ("batch", *(shape or spec.data.shape)))
    codes = TensorPort("z", "float32", ("batch", spec.latent))
    wanted = {
        "encoder": ((items,), tuple(TensorPort(name, "float32", codes.shape) for name in spec.encoder_outputs)),
        "decoder": ((codes,), (TensorPort("x_hat", dtype, items.shape),)),
    }
    for half, graph in (("encoder", info.encoder), ("decoder", info.decoder)):
        if (graph.inputs, graph.outputs) != wanted[half]:
            raise BundleError(
                f"the {precision} {half} has inputs and outputs {[*graph.inputs, *graph.outputs]}, but the model's "
                f"description asks for {[*wanted[half][0], *wanted[half][1]]}."
            )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
