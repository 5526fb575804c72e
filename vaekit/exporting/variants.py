"""The other precisions of a model: made, measured against fp32, and passed through the gate.

    fp16          one graph a half
    int8          of each half: the calibration method that loses least on items that were kept for it; where it is fully
                  connected, weights with one scale a tensor, which are quicker, if they lose hardly more than with one a
                  channel; then, in this order, all layers in integers, the last layer of one half in float (the smaller files
                  first), that of both halves. The first that is still the model is taken
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
from vaekit.datasets import Dataset, as_float
from vaekit.datasets.rows import Items, spread
from vaekit.errors import ExportError, ShapeError
from vaekit.exporting import gate as gates
from vaekit.exporting.calibration import METHODS, CalibrationData, calibration_data, ranges
from vaekit.exporting.float16 import to_float16
from vaekit.exporting.gate import Gate, Measured, lost_too_much, measure, not_worth_it
from vaekit.exporting.precision import BATCH_DEPENDENT, MARGIN, Wanted
from vaekit.exporting.quantize import INTEGER, convolutions, float_layers, prepare, to_int8, to_int8_dynamic
from vaekit.exporting.rates import measure_rates, this_machine
from vaekit.graphguard import inspect_graph
from vaekit.manifest import HALVES
from vaekit.precisions import COMPARED, GateInfo, PrecisionInfo
from vaekit.runtime.evaluate import Evaluation, evaluate
from vaekit.runtime.vae import VAE
from vaekit.runtime.verify import golden_negative_elbo

RATED: Final = 64
"""Test items that rates are measured with; a larger batch holds them several times."""

HARDLY_MORE: Final = 0.1
"""Part of what the gate allows to be lost that one scale a tensor may lose more than one a channel: at 0.5 % of the reference
model's ELBO, 0.05 nats. It gains a twentieth at batch 64, and a fifth at batch 1, which is worth no more than that."""

OnStep = Callable[[str], None]


class Halves(NamedTuple):
    """Both graphs of a model as bytes."""

    encoder: bytes
    decoder: bytes


class Report(NamedTuple):
    """What became of one precision.

    Attributes:
        name: "fp32", "fp16", ….
        info: All that was measured of it.
        reasons: Why it failed, in words; empty where it passed.
        shipped: Whether the bundle has it.
        required: Whether it was asked for by name.
    """

    name: str
    info: PrecisionInfo
    reasons: tuple[str, ...]
    shipped: bool
    required: bool


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


class _Taken(NamedTuple):
    candidate: Candidate
    measured: Measured
    reasons: tuple[str, ...]


def refuse_early(wanted: Wanted, graphs: Halves) -> None:
    """Refuse what no measurement could save.

    Raises:
        ExportError: Dynamic int8 of a model with convolutions.
    """
    if "int8-dynamic" not in wanted.variants:
        return
    for half in HALVES:
        count = convolutions(getattr(graphs, half))
        if count:
            raise ExportError(
                f"int8-dynamic was asked for, but the {half} has {count} convolution{'s' * (count > 1)}: ONNX Runtime's "
                "dynamic ones (ConvInteger) are many times slower than float, or missing; take int8, which is static."
            )


def make_variants(
    vae: VAE,
    graphs: Halves,
    data: Dataset,
    wanted: Wanted,
    *,
    gate: Gate,
    calibration_items: int,
    on_step: OnStep = lambda _: None,
) -> tuple[list[Report], dict[str, bytes]]:
    """Make the precisions that were asked for.

    Args:
        vae: The model in fp32, from a bundle with its statistics, on one thread.
        graphs: Its graphs.
        data: The data that it was trained on.
        wanted: The precisions.
        gate: What each must hold.
        calibration_items: Training items to calibrate int8 on.
        on_step: Called with what is done next, in words.

    Returns:
        A report for each, after one for fp32 with its rates; and the content of the files of those that ship, by name.

    Raises:
        ConfigError, ShapeError, DataError: The calibration data does not do.
        ExportError: A graph cannot be written in a precision.
    """
    items = spread(data.test.items, gates.ITEMS)
    on_step("measuring fp32")
    baseline = evaluate(vae, items, seed=gates.SEED)
    calibration = calibration_data(vae, data.train, calibration_items) if "int8" in wanted.variants else None
    spare = HARDLY_MORE * gate.nats(baseline.negative_elbo)
    taken: dict[str, _Taken] = {}
    for name in wanted.variants:
        candidates = _candidates(name, vae, graphs, calibration, spare, on_step)
        taken[name] = _first_that_passes(name, vae, candidates, items, baseline, gate, on_step)

    on_step("timing")
    opened = {
        name: open_variant(vae, name, found.candidate.graphs)
        for name, found in taken.items()
        if not found.measured.broken
    }
    x = as_float(items[:RATED])
    rates = measure_rates({"fp32": vae, **opened}, x, vae.prior(RATED, seed=gates.SEED))
    machine = this_machine()._asdict()
    fp32 = vae.manifest.precisions["fp32"]._replace(rates=rates["fp32"], measured_on=machine)
    reports, files = [Report("fp32", fp32, (), True, True)], dict[str, bytes]()
    for name, (candidate, measured, lost) in taken.items():
        info = _described(name, candidate, measured)
        reasons = lost
        if name in opened:
            info = info._replace(rates=rates[name], measured_on=machine)
            reasons += not_worth_it(info, fp32, gate)
            limit = gate.nats(baseline.negative_elbo)
            info = info._replace(
                tolerance=_tolerance(name, vae.bundle, opened[name], measured, limit),
                gate=GateInfo("forced" if reasons else "passed", reasons, limit, gate.min_gain),
            )
        # What gives NaN is no model, and could not be verified: force does not reach that far.
        shipped = not reasons or (gate.force and not measured.broken)
        reports.append(Report(name, info, reasons, shipped, name in wanted.required))
        if shipped:
            files |= _files(name, candidate.graphs)
    return reports, files


def _candidates(
    name: str, vae: VAE, graphs: Halves, calibration: CalibrationData | None, spare: float, on_step: OnStep
) -> Iterator[Candidate]:
    if name == "fp16":
        yield Candidate(Halves(*map(to_float16, graphs)))
    elif name == "int8-dynamic":
        yield Candidate(Halves(*map(to_int8_dynamic, graphs)))
    else:
        assert calibration is not None
        yield from _static(vae, graphs, calibration, spare, on_step)


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


def _first_that_passes(
    name: str,
    vae: VAE,
    candidates: Iterator[Candidate],
    items: Items,
    baseline: Evaluation,
    gate: Gate,
    on_step: OnStep,
) -> _Taken:
    """The first candidate that is still the model; without one, the one that lost least."""
    best: _Taken | None = None
    for candidate in candidates:
        on_step(f"measuring {name}")
        variant = open_variant(vae, name, candidate.graphs)
        measured = measure(vae, variant, items, baseline, batch_dependent=name in BATCH_DEPENDENT)
        found = _Taken(candidate, measured, lost_too_much(measured, gate, baseline))
        if not found.reasons:
            return found
        if best is None or measured.delta_elbo < best.measured.delta_elbo:
            best = found
    assert best is not None
    return best


def _described(name: str, candidate: Candidate, measured: Measured) -> PrecisionInfo:
    encoder, decoder = (
        describe_graph(describe_file(file, content), inspect_graph(content, name=file))
        for file, content in _files(name, candidate.graphs).items()
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


def _tolerance(name: str, bundle: Bundle, variant: VAE, measured: Measured, limit: float) -> dict[str, float]:
    """What another machine's numbers may differ by from the golden vectors: see `MARGIN`."""
    margin, golden = MARGIN[name], bundle.golden()
    lost = float(np.mean(variant.score(golden.x, seed=bundle.manifest.golden_seed)))
    return {
        **{what: margin * measured.error[what] for what in COMPARED},
        **{f"mean_{what}": margin * measured.mean_error[what] for what in COMPARED},
        # The golden items are few: those of a variant that passed may still lose more than the whole test set does.
        "negative_elbo": max(limit, margin * abs(lost - golden_negative_elbo(golden, variant.spec))),
    }


def open_variant(vae: VAE, name: str, graphs: Halves) -> VAE:
    """Open graphs as a host would that found them in the model's bundle: through the guard, from the bytes that are hashed."""
    files = _files(name, graphs)
    info = _described(name, Candidate(graphs), Measured())
    manifest = vae.manifest._replace(precisions={**vae.manifest.precisions, name: info})
    return VAE(Bundle(vae.bundle.path, manifest, files), provider="cpu", precision=name, threads=1)


def _files(name: str, graphs: Halves) -> dict[str, bytes]:
    return {f"{half}.{name}.onnx": getattr(graphs, half) for half in HALVES}


def _negative_elbo(variant: VAE, x: NDArray[np.float32]) -> float:
    """Mean negative ELBO in nats; infinite where the variant gives no numbers."""
    try:
        found = evaluate(variant, x).negative_elbo
    except ShapeError:  # a NaN among the codes
        return float("inf")
    return float("inf") if isnan(found) else found
