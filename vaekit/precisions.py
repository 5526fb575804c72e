"""What a manifest states about a model in one precision: both graphs, what they lost against fp32, how fast they are.

fp32 is the model itself. Every other precision is a variant of it, and carries three proofs: that its numbers are near fp32's
(`error`, `mean_error`), that the model is still as good (`delta_elbo`), and that it was worth it (`rates`, the files' bytes).

Needs: the standard library. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from vaekit import fields
from vaekit.errors import BundleError
from vaekit.fields import Json
from vaekit.graphinfo import FileInfo, GraphInfo
from vaekit.value import Value

PRECISIONS: Final = ("fp32", "fp16", "int8", "int8-dynamic")
"""What `vaekit export` makes."""

COMPARED: Final = ("encoder", "decoder", "round_trip")
"""What errors are stated of: mean and log_var, x_hat of given codes, and x -> posterior -> z -> x_hat."""

GateResult = Literal["passed", "forced"]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class GateInfo(Value):
    """Why a variant is in the bundle.

    Attributes:
        result: "passed", or "forced": it failed, and was shipped because somebody said so.
        reasons: What it failed at, in words; empty where it passed.
        max_delta_elbo: Limit of what it may lose, in nats.
        min_gain: Factor by which it had to be smaller or faster than fp32.
    """

    result: GateResult
    reasons: tuple[str, ...]
    max_delta_elbo: float
    min_gain: float

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types."""
        return {**vars(self), "reasons": list(self.reasons)}

    @classmethod
    def from_json(cls, value: Json) -> GateInfo:
        """Read the fields."""
        result = fields.text(value, "result")
        if result not in get_args(GateResult):
            raise BundleError(f"the manifest's gate says {result!r}, which is neither 'passed' nor 'forced'.")
        return cls(
            result,  # type: ignore[arg-type]  # one of the two
            fields.texts(value, "reasons"),
            fields.number(value["max_delta_elbo"], "max_delta_elbo"),
            fields.number(value["min_gain"], "min_gain"),
        )


class PrecisionInfo(Value):
    """Both graphs in one precision, with what was measured of them when they were exported.

    Attributes:
        encoder: x -> mean, log_var.
        decoder: z -> x_hat.
        error: Largest absolute differences, "encoder", "decoder", "round_trip": of fp32 from the model in torch, of a variant
            from fp32, on test items.
        quality: Means over the test set in nats, with the number of items.
        mean_error: Mean absolute differences of a variant, by the same names.
        delta_elbo: What a variant's negative ELBO has more than fp32's on the same items, in nats.
        tolerance: A variant's own tolerances against the golden vectors; see `vaekit.runtime.verify`.
        gate: Why a variant is here.
        rates: Items a second by half ("encoder", "decoder") and batch size ("1", "64", "1024").
        measured_on: The machine of `rates`: "processor", "cores", "threads", "onnxruntime".
        float_nodes: By half, the weighted nodes that an integer variant keeps in float.
        calibration: How an integer variant got its ranges.
        batch_dependent: Whether an item's numbers depend on the rest of its batch.
    """

    encoder: GraphInfo
    decoder: GraphInfo
    error: Mapping[str, float]
    quality: Mapping[str, float]
    mean_error: Mapping[str, float] = _NOTHING
    delta_elbo: float | None = None
    tolerance: Mapping[str, float] = _NOTHING
    gate: GateInfo | None = None
    rates: Mapping[str, Mapping[str, float]] = _NOTHING
    measured_on: Mapping[str, Any] = _NOTHING
    float_nodes: Mapping[str, tuple[str, ...]] = _NOTHING
    calibration: Mapping[str, Any] = _NOTHING
    batch_dependent: bool = False

    @property
    def bytes(self) -> int:
        """Size of both ONNX graphs."""
        return self.encoder.file.bytes + self.decoder.file.bytes

    def files(self) -> Iterator[FileInfo]:
        """Every file of both graphs."""
        yield from self.encoder.files()
        yield from self.decoder.files()

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON's types; what was not measured is left out."""
        optional = {
            "mean_error": dict(self.mean_error),
            "delta_elbo": self.delta_elbo,
            "tolerance": dict(self.tolerance),
            "gate": None if self.gate is None else self.gate.to_json(),
            "rates": {half: dict(rates) for half, rates in self.rates.items()},
            "measured_on": dict(self.measured_on),
            "float_nodes": {half: list(nodes) for half, nodes in self.float_nodes.items()},
            "calibration": dict(self.calibration),
            "batch_dependent": self.batch_dependent,
        }
        return {
            "encoder": self.encoder.to_json(),
            "decoder": self.decoder.to_json(),
            "error": dict(self.error),
            "quality": dict(self.quality),
            **{name: value for name, value in optional.items() if value not in (None, {}, False)},
        }

    @classmethod
    def from_json(cls, value: Json) -> PrecisionInfo:
        """Read the fields; those that older bundles do not have may be missing."""
        rates, nodes = (
            fields.mapped(_given(value, "rates"), "rates"),
            fields.mapped(_given(value, "float_nodes"), "float_nodes"),
        )
        tolerance = fields.numbers(_given(value, "tolerance"), "tolerance")
        if min(tolerance.values(), default=0.0) < 0:
            raise BundleError(f"the manifest's tolerances of a precision are {tolerance}; each is at least 0.")
        return cls(
            GraphInfo.from_json(fields.mapped(value, "encoder")),
            GraphInfo.from_json(fields.mapped(value, "decoder")),
            fields.numbers(value, "error"),
            fields.numbers(value, "quality"),
            mean_error=fields.numbers(_given(value, "mean_error"), "mean_error"),
            delta_elbo=fields.number(value["delta_elbo"], "delta_elbo") if "delta_elbo" in value else None,
            tolerance=tolerance,
            gate=GateInfo.from_json(fields.mapped(value, "gate")) if "gate" in value else None,
            rates={half: fields.numbers(rates, half) for half in rates},
            measured_on=fields.mapped(_given(value, "measured_on"), "measured_on"),
            float_nodes={half: fields.texts(nodes, half) for half in nodes},
            calibration=fields.mapped(_given(value, "calibration"), "calibration"),
            batch_dependent=bool(fields.typed(value.get("batch_dependent", False), bool, "batch_dependent")),
        )


def _given(value: Json, name: str) -> Json:
    """The object itself if it has the field, else one in which the field is empty."""
    return value if name in value else {name: {}}
