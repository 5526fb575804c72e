"""The ways to make a precision of a model, the one that gains most first.

    fp16          one graph a half
    int8          of each half: the calibration method that loses least on items that were kept for it; where it is fully
                  connected, weights with one scale a tensor, which are quicker, if they lose hardly more than with one a
                  channel; then, in this order, all layers in integers, the last layer of one half in float (the smaller files
                  first), that of both halves. `variants` takes the first that is still the model
    int8-dynamic  one graph a half

Needs: NumPy, onnx, ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import isfinite, isnan
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.bundle import Bundle, describe_file, describe_graph
from vaekit.errors import ShapeError
from vaekit.exporting.calibration import METHODS, CalibrationData, ranges
from vaekit.exporting.float16 import to_float16
from vaekit.exporting.gate import Measured
from vaekit.exporting.precision import BATCH_DEPENDENT
from vaekit.exporting.quantize import INTEGER, convolutions, float_layers, prepare, to_int8, to_int8_dynamic
from vaekit.manifest import HALVES
from vaekit.precisions import PrecisionInfo
from vaekit.runtime.evaluate import evaluate
from vaekit.runtime.vae import VAE

HARDLY_MORE: Final = 0.1
"""Part of what the gate allows to be lost that one scale a tensor may lose more than one a channel: at 0.5 % of the reference
model's ELBO, 0.05 nats. It gains a twentieth at batch 64, and a fifth at batch 1, which is worth no more than that."""

OnStep = Callable[[str], None]


class Halves(NamedTuple):
    """Both graphs of a model as bytes."""

    encoder: bytes
    decoder: bytes


class Candidate(NamedTuple):
    """One way to make a precision.

    Attributes:
        graphs: Both graphs.
        float_nodes: By half, weighted nodes that stay in float.
        calibration: What the manifest says of its ranges.
    """

    graphs: Halves
    float_nodes: Mapping[str, tuple[str, ...]] = {}
    calibration: Mapping[str, Any] = {}


def candidates(
    name: str, vae: VAE, graphs: Halves, calibration: CalibrationData | None, limit: float, on_step: OnStep
) -> Iterator[Candidate]:
    """Make a precision in each way there is, one after the other as they are asked for.

    Args:
        name: "fp16", "int8" or "int8-dynamic".
        vae: The model in fp32.
        graphs: Its graphs.
        calibration: What int8 is calibrated on; None for the others.
        limit: Nats that the gate allows to be lost.
        on_step: Called with what is done next, in words.
    """
    if name == "fp16":
        yield Candidate(Halves(*map(to_float16, graphs)))
    elif name == "int8-dynamic":
        yield Candidate(Halves(*map(to_int8_dynamic, graphs)))
    else:
        assert calibration is not None
        yield from _static(vae, graphs, calibration, HARDLY_MORE * limit, on_step)


def open_variant(vae: VAE, name: str, graphs: Halves) -> VAE:
    """Open graphs as a host would that found them in the model's bundle: through the guard, from the bytes that are hashed."""
    files = files_of(name, graphs)
    info = described(name, Candidate(graphs), Measured())
    manifest = vae.manifest.replace(precisions={**vae.manifest.precisions, name: info})
    return VAE(Bundle(vae.bundle.path, manifest, files), provider="cpu", precision=name, threads=1)


def described(name: str, candidate: Candidate, measured: Measured) -> PrecisionInfo:
    """State a candidate as the manifest does."""
    encoder, decoder = (
        describe_graph(describe_file(file, content), content)
        for file, content in files_of(name, candidate.graphs).items()
    )
    return PrecisionInfo(
        encoder,
        decoder,
        dict(measured.error),
        dict(measured.evaluation.quality()) if measured.evaluation else {},
        mean_error=dict(measured.mean_error),
        delta_elbo=measured.delta_elbo if isfinite(measured.delta_elbo) else None,
        float_nodes=candidate.float_nodes,
        calibration=candidate.calibration,
        batch_dependent=name in BATCH_DEPENDENT,
    )


def files_of(name: str, graphs: Halves) -> dict[str, bytes]:
    """Give the content of a precision's files by their names in a bundle."""
    return {f"{half}.{name}.onnx": getattr(graphs, half) for half in HALVES}


def _static(vae: VAE, graphs: Halves, data: CalibrationData, spare: float, on_step: OnStep) -> Iterator[Candidate]:
    """int8, from the one with most integers to the one with fewest; each half may lose `spare` nats for quicker scales."""
    written: dict[str, dict[tuple[str, ...], bytes]] = {}
    notes: dict[str, Any] = {"items": len(data.x), "codes": len(data.z), "chosen_on": len(data.chosen_on)}
    for half, rows in (("encoder", data.x), ("decoder", data.z)):
        prepared = prepare(getattr(graphs, half))
        losses, measured = dict[str, float](), dict[str, Any]()

        def loss(content: bytes, half: str = half) -> float:
            return _negative_elbo(open_variant(vae, "int8", graphs._replace(**{half: content})), data.chosen_on)

        for method in METHODS:
            on_step(f"calibrating the {half} for int8 ({method})")
            measured[method] = ranges(prepared, rows, method, INTEGER)
            losses[method] = loss(to_int8(prepared, measured[method]))
        method = min(METHODS, key=losses.__getitem__)
        scales, seen = {"channel": losses[method]}, measured[method]
        if not convolutions(getattr(graphs, half)):
            scales["tensor"] = loss(to_int8(prepared, seen, per_channel=False))
        per_channel = scales.get("tensor", float("inf")) > scales["channel"] + spare
        written[half] = {
            layers: to_int8(prepared, seen, keep_float=layers, per_channel=per_channel)
            for layers in dict.fromkeys(((), float_layers(prepared)))
        }
        notes[half] = {
            "method": method,
            "negative_elbo": _finite(losses),
            "scale_each": "channel" if per_channel else "tensor",
            "negative_elbo_by_scale": _finite(scales),
        }
    ways = [(encoder, decoder) for encoder in written["encoder"] for decoder in written["decoder"]]

    def most_integers_first(way: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[int, int]:
        encoder, decoder = way
        return bool(encoder) + bool(decoder), len(written["encoder"][encoder]) + len(written["decoder"][decoder])

    for encoder, decoder in sorted(ways, key=most_integers_first):
        in_float = {half: layers for half, layers in (("encoder", encoder), ("decoder", decoder)) if layers}
        yield Candidate(Halves(written["encoder"][encoder], written["decoder"][decoder]), in_float, notes)


def _finite(losses: Mapping[str, float]) -> dict[str, float]:
    """Those that JSON can state."""
    return {name: loss for name, loss in losses.items() if isfinite(loss)}


def _negative_elbo(variant: VAE, x: NDArray[np.float32]) -> float:
    """Mean negative ELBO in nats; infinite where the variant gives no numbers."""
    try:
        found = evaluate(variant, x).negative_elbo
    except ShapeError:  # a NaN among the codes
        return float("inf")
    return float("inf") if isnan(found) else found
