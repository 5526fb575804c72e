"""The other precisions of a model: made, measured against fp32, and passed through the gate.

`candidates` has the ways to make each; the first that is still the model is taken.

Needs: NumPy, onnx, ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from vaekit.bundle import Bundle
from vaekit.datasets import Dataset, as_float
from vaekit.datasets.rows import Items, spread
from vaekit.errors import ExportError
from vaekit.exporting import gate as gates
from vaekit.exporting.calibration import calibration_data
from vaekit.exporting.candidates import Candidate, Halves, OnStep, candidates, described, files_of, open_variant
from vaekit.exporting.gate import Gate, Measured, lost_too_much, measure, not_worth_it
from vaekit.exporting.precision import BATCH_DEPENDENT, MARGIN, Wanted
from vaekit.exporting.quantize import convolutions
from vaekit.exporting.rates import measure_rates, this_machine
from vaekit.manifest import HALVES
from vaekit.precisions import COMPARED, GateInfo, PrecisionInfo
from vaekit.runtime.evaluate import Evaluation, evaluate
from vaekit.runtime.vae import VAE
from vaekit.runtime.verify import golden_negative_elbo

RATED: Final = 64
"""Test items that rates are measured with; a larger batch holds them several times."""


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
    limit = gate.nats(baseline.negative_elbo)
    taken: dict[str, _Taken] = {}
    for name in wanted.variants:
        ways = candidates(name, vae, graphs, calibration, limit, on_step)
        taken[name] = _first_that_passes(name, vae, ways, items, baseline, gate, on_step)

    on_step("timing")
    opened = {
        name: open_variant(vae, name, found.candidate.graphs)
        for name, found in taken.items()
        if not found.measured.broken
    }
    x = as_float(items[:RATED])
    rates = measure_rates({"fp32": vae, **opened}, x, vae.prior(RATED, seed=gates.SEED))
    machine = this_machine()._asdict()
    fp32 = vae.manifest.precisions["fp32"].replace(rates=rates["fp32"], measured_on=machine)
    reports, files = [Report("fp32", fp32, (), True, True)], dict[str, bytes]()
    for name, (candidate, measured, lost) in taken.items():
        info = described(name, candidate, measured)
        reasons = lost
        if name in opened:
            info = info.replace(rates=rates[name], measured_on=machine)
            reasons += not_worth_it(info, fp32, gate)
            info = info.replace(
                tolerance=_tolerance(name, vae.bundle, opened[name], measured, limit),
                gate=GateInfo("forced" if reasons else "passed", reasons, limit, gate.min_gain),
            )
        # What gives NaN is no model, and could not be verified: force does not reach that far.
        shipped = not reasons or (gate.force and not measured.broken)
        reports.append(Report(name, info, reasons, shipped, name in wanted.required))
        if shipped:
            files |= files_of(name, candidate.graphs)
    return reports, files


def _first_that_passes(
    name: str,
    vae: VAE,
    ways: Iterator[Candidate],
    items: Items,
    baseline: Evaluation,
    gate: Gate,
    on_step: OnStep,
) -> _Taken:
    """The first candidate that is still the model; without one, the one that lost least."""
    best: _Taken | None = None
    for candidate in ways:
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
