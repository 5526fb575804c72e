"""Bench: every cell of a plan is measured, interruptions keep what there is, and failures are named."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

import vaekit
from vaekit.appio import to_pixels
from vaekit.bundle import Bundle
from vaekit.errors import ConfigError, MeasurementError, ProviderError
from vaekit.runtime.bench import measure, ways
from vaekit.runtime.bench.child import checksum
from vaekit.runtime.bench.measure import Bench, working_providers
from vaekit.runtime.bench.plan import make_plan
from vaekit.runtime.bench.results import LEVELS, Cell, Plan, Report, Setting
from vaekit.runtime.bench.stored import from_json, to_json
from vaekit.runtime.providers import CPU, CUDA

needs_cuda = pytest.mark.skipif(
    CUDA not in onnxruntime.get_available_providers(), reason="the installed ONNX Runtime has no CUDA provider"
)


@pytest.fixture(scope="module")
def bundle(small_bundle: Path) -> Bundle:
    return Bundle.open(small_bundle)


def plan_of(bundle: Bundle, *, starts: int = 0, **options: Any) -> Plan:
    options = {"threads": [1], "batches": [1, 4], "seconds": 0.03, "quick": True, **options}
    return make_plan(bundle.manifest, **options)._replace(starts=starts)


def run(bundle: Bundle, plan: Plan, **options: Any) -> Report:
    bench = Bench(bundle, plan, **options)
    bench.run()
    return bench.report()


@pytest.fixture(scope="module")
def report(bundle: Bundle) -> Report:
    return run(bundle, plan_of(bundle, halves=["encoder", "decoder"], threads=[1, 2], starts=1))


def test_every_cell_of_the_plan_is_measured(report: Report) -> None:
    assert [timing.cell for timing in report.timings] == [
        Cell(Setting(half, "fp32", "cpu", threads), way, batch)
        for half in ("encoder", "decoder")
        for threads in (1, 2)
        for batch in (1, 4)
        for way in ("call", "bound")
    ]
    assert report.complete
    assert report.skipped == ()


def test_the_numbers_are_those_of_something_that_ran(report: Report) -> None:
    for timing in report.timings:
        assert list(timing.quantiles) == sorted(timing.quantiles)
        assert 1e-7 < timing.quantile(0.5) < 1
        assert len(timing.quantiles) == len(LEVELS)
        assert len(timing.rates) == len(timing.medians) == len(timing.tails) == report.plan.rounds
        assert timing.blocks >= report.plan.rounds
        assert timing.first > 0
        # The rate is of the mean of all calls, the extremes are of blocks.
        assert timing.cell.batch / timing.quantile(1.0) * 0.999 <= timing.rate.median
        assert timing.rate.median <= timing.cell.batch / timing.quantile(0.0) * 1.001


def test_each_setting_is_started_in_processes_of_its_own(report: Report) -> None:
    assert [start.setting for start in report.starts] == [
        Setting(half, "fp32", "cpu", threads) for half in ("encoder", "decoder") for threads in (1, 2)
    ]
    assert report.baseline is not None
    assert report.baseline.setting is None
    assert all(len(start.seconds) == 1 for start in (report.baseline, *report.starts))
    # Whatever the number of threads, the first item is the same.
    sums = [start.checksum for start in report.starts]
    assert sums[0] == pytest.approx(sums[1], rel=1e-4)
    assert sums[2] == pytest.approx(sums[3], rel=1e-4)
    assert sums[0] != pytest.approx(sums[2], rel=1e-3)


def test_bytes_on_disk_are_the_files(report: Report, small_bundle: Path) -> None:
    assert [(disk.half, disk.bytes) for disk in report.disk] == [
        (half, (small_bundle / f"{half}.onnx").stat().st_size) for half in ("encoder", "decoder")
    ]
    ours = {"manifest.json", "SHA256SUMS"}  # which the manifest does not state
    sizes = [path.stat().st_size for path in small_bundle.iterdir() if path.name not in ours]
    assert report.bundle_bytes == sum(sizes)


def test_the_report_survives_its_json(report: Report) -> None:
    assert from_json(json.loads(json.dumps(to_json(report), allow_nan=False))) == report


def test_latency_throughput_and_threads_are_advised_on(report: Report) -> None:
    assert [(one.half, one.purpose) for one in report.settings] == [
        (half, purpose) for half in ("encoder", "decoder") for purpose in ("latency", "throughput")
    ]
    assert all(one.cell is not None for one in report.settings)  # quick has rounds enough to say something
    assert [(pays.half, pays.what) for pays in report.pays] == [
        (half, "cpu, 2 threads") for half in ("encoder", "decoder")
    ]


def test_rates_and_percentiles_of_known_durations_are_exact(
    bundle: Bundle, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.step = 1e-9
    durations = {1: [0.001, 0.002, 0.009], 4: [0.01]}
    monkeypatch.setattr(ways, "plain", lambda _, x: clock.call_of(durations[len(x)]))
    monkeypatch.setattr(ways, "bound", lambda _, x: clock.call_of([len(x) * 0.0005]))
    found = run(bundle, plan_of(bundle, seconds=7.2), clock=clock)  # 1.2 s, 300 calls, in each of 6 rounds
    by_cell = {(timing.cell.way, timing.cell.batch): timing for timing in found.timings}
    one = by_cell["call", 1]
    assert one.first == pytest.approx(0.001, rel=1e-5)
    many = np.repeat([0.001, 0.002, 0.009], 100)
    for level in (0.5, 0.95, 0.99):
        assert one.quantile(level) == pytest.approx(np.percentile(many, 100 * level), rel=1e-5)
    assert one.rate.median == pytest.approx(3 / 0.012, rel=1e-2)
    assert by_cell["call", 4].rate.median == pytest.approx(4 / 0.01, rel=1e-5)
    assert by_cell["bound", 4].rate == pytest.approx((2000.0,) * 3, rel=1e-5)


def test_a_call_that_is_short_for_the_clock_is_timed_in_blocks(
    bundle: Bundle, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.step = 1e-6  # so a block must last 100 us
    monkeypatch.setattr(ways, "plain", lambda _, __: clock.call_of([10e-6]))
    monkeypatch.setattr(ways, "bound", lambda _, __: clock.call_of([1e-3]))
    found = run(bundle, plan_of(bundle, batches=[1]), clock=clock)
    assert [timing.inner for timing in found.timings] == [16, 1]
    assert found.timings[0].quantile(0.5) == pytest.approx(10e-6, rel=0.01)


@pytest.mark.parametrize(("stop_at", "timings", "rounds"), [("first call", 0, 0), ("decoder", 4, 2)])
def test_an_interrupted_run_keeps_what_it_has(
    bundle: Bundle, clock: Any, monkeypatch: pytest.MonkeyPatch, stop_at: str, timings: int, rounds: int
) -> None:
    clock.step = 1e-9
    monkeypatch.setattr(ways, "plain", lambda _, x: clock.call_of([0.001 * len(x)]))
    monkeypatch.setattr(ways, "bound", lambda _, x: clock.call_of([0.001 * len(x)]))
    left = [2 * 4]  # bursts of two rounds

    def stop(what: str, _done: float, _total: float) -> None:
        if what.startswith(stop_at):
            left[0] -= 1
            if left[0] < 0 or stop_at == "first call":
                raise KeyboardInterrupt

    bench = Bench(bundle, plan_of(bundle), clock=clock, on_progress=stop)
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    report = bench.report()
    assert not report.complete
    assert len(report.timings) == timings
    assert all(len(timing.rates) == rounds for timing in report.timings)
    assert all(one.cell is None for one in report.settings)  # two rounds advise nothing
    assert from_json(json.loads(json.dumps(to_json(report), allow_nan=False))) == report


def test_progress_never_goes_back_and_ends_at_what_was_planned(bundle: Bundle) -> None:
    said: list[tuple[str, float, float]] = []
    run(bundle, plan_of(bundle, starts=1), on_progress=lambda *words: said.append(words))
    done = [one[1] for one in said]
    assert done == sorted(done)
    assert len({one[2] for one in said}) == 1
    assert 0.8 * said[0][2] < done[-1] <= said[0][2]
    names = [one[0] for one in said]
    assert "start, Python and NumPy alone" in names
    assert "decoder fp32 cpu, 1 thread, bound, batch 4" in names


def test_a_call_that_fails_is_left_out_and_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ways.bound

    def fail(model: Any, x: Any) -> Any:
        if len(x) == 4:
            raise RuntimeError("no memory\nfor this")
        return real(model, x)

    monkeypatch.setattr(ways, "bound", fail)
    report = run(bundle, plan_of(bundle))
    assert report.skipped == ("decoder fp32 cpu, 1 thread, bound, batch 4: no memory for this",)
    assert len(report.timings) == 3
    assert report.complete


def test_where_no_call_can_be_run_the_reason_is_raised(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(ways, "bound", fail)
    monkeypatch.setattr(ways, "plain", fail)
    with pytest.raises(
        MeasurementError, match=r"no call could be run; the last that failed: decoder .*: MemoryError\."
    ):
        run(bundle, plan_of(bundle))


def test_batches_that_do_not_fit_into_the_memory_are_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "memory_available", lambda: 10**9)
    # 784 + 5 values of 4 bytes an item
    message = r"batches=400000: the arrays of all settings take 1\.3 GB, but 1\.0 GB are free; choose smaller batches"
    with pytest.raises(ConfigError, match=message):
        run(bundle, plan_of(bundle, batches=[400_000]))


def test_every_precision_of_a_bundle_is_measured_whatever_it_is_called(bundle: Bundle) -> None:
    fp32 = bundle.manifest.precisions["fp32"]
    both = Bundle(bundle.place, bundle.manifest.replace(precisions={"fp32": fp32, "fp6-made-up": fp32}))
    report = run(both, plan_of(both))
    assert {timing.cell.setting.precision for timing in report.timings} == {"fp32", "fp6-made-up"}
    assert [disk.precision for disk in report.disk] == ["fp32", "fp6-made-up"]
    assert [(pays.what, pays.over) for pays in report.pays] == [("fp6-made-up on cpu", "fp32")]


def test_graphs_for_pixels_are_measured_beside_the_others(pixel_bundle: Path) -> None:
    bundle = Bundle.open(pixel_bundle)
    report = run(bundle, plan_of(bundle, halves=["encoder", "decoder"], starts=1))
    assert [timing.cell for timing in report.timings] == [
        Cell(Setting(half, "fp32", "cpu", 1, io), way, batch)
        for half in ("encoder", "decoder")
        for io in ("float32", "uint8")
        for batch in (1, 4)
        for way in ("call", "bound")
    ]
    assert report.skipped == ()
    stem = {"float32": "", "uint8": ".uint8"}
    assert [(disk.half, disk.io, disk.bytes) for disk in report.disk] == [
        (half, io, (pixel_bundle / f"{half}{stem[io]}.onnx").stat().st_size)
        for half in ("encoder", "decoder")
        for io in ("float32", "uint8")
    ]
    sums = {(start.setting.half, start.setting.io): start.checksum for start in report.starts if start.setting}
    assert len(sums) == 4
    # The first item's pixels are its values by the formula, where they lie; an encoder gets 128 of them, which is 0.502.
    manifest, plain = bundle.manifest, vaekit.load(bundle, provider="cpu", threads=1)
    assert manifest.pixels is not None
    values = plain.decode(vaekit.noise(seed=0, count=1, dim=manifest.spec.latent))
    pixels = to_pixels(values, manifest.spec.data, manifest.pixels.layout)
    assert sums["decoder", "uint8"] == pytest.approx(checksum(pixels), rel=1e-3)
    grey = np.full((1, *manifest.spec.data.shape), 128 / 255, np.float32)
    assert sums["encoder", "uint8"] == pytest.approx(checksum(plain.encode(grey).mean), rel=1e-4)
    assert {one.purpose for one in report.settings} == {
        *("latency", "throughput", "latency, uint8 pixels", "throughput, uint8 pixels")
    }
    assert [(pays.half, pays.what, pays.over, pays.io) for pays in report.pays] == [
        (half, "pixels on cpu", "float32 values", "uint8") for half in ("encoder", "decoder")
    ]
    assert from_json(json.loads(json.dumps(to_json(report), allow_nan=False))) == report


def test_memory_is_counted_with_what_pixels_take(pixel_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(pixel_bundle)
    monkeypatch.setattr(measure, "memory_available", lambda: 10**9)
    # 4 codes of 4 bytes an item, and 180 pixels of one byte; as float32, of four
    for io, size in (("uint8", "7.8"), ("float32", "29.4")):
        message = rf"the arrays of all settings take {size} GB, but 1\.0 GB are free"
        with pytest.raises(ConfigError, match=message):
            run(bundle, plan_of(bundle, batches=[40_000_000], io=[io]))


def test_an_unknown_provider_is_refused_before_anything_is_measured(bundle: Bundle) -> None:
    said: list[Any] = []
    bench = Bench(bundle, plan_of(bundle, providers=["npu"]), on_progress=lambda *words: said.append(words))
    with pytest.raises(ProviderError, match=r"provider='npu' was asked for, but .* has only"):
        bench.run()
    assert said == []


@pytest.fixture
def as_if_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open what is asked of CUDA on the CPU, and take its device for CUDA's."""
    real, buffers = ways.open_half, ways.Buffers

    def on_cpu(bundle: Bundle, setting: Setting) -> Any:
        return real(bundle, setting._replace(provider="cpu"))

    monkeypatch.setattr(ways, "open_half", on_cpu)
    monkeypatch.setattr(ways, "open_for_graphs", lambda bundle, setting: on_cpu(bundle, setting).session)
    monkeypatch.setattr(ways, "Buffers", lambda info, x, _device: buffers(info, x, "cpu"))


@pytest.mark.usefixtures("as_if_cuda")
def test_cuda_is_measured_in_three_ways_and_each_shape_has_a_graph_of_its_own(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[tuple[int, int]] = []
    made = ways.Buffers

    def record(*arguments: Any) -> Any:
        buffers = made(*arguments)
        bind = buffers.bind

        def remember(session: Any, batch: int, *, graph_id: int) -> Any:
            graphs.append((batch, graph_id))
            return bind(session, batch, graph_id=graph_id)

        return SimpleNamespace(bind=remember)

    monkeypatch.setattr(ways, "Buffers", record)
    report = run(bundle, plan_of(bundle, providers=["cpu", "cuda"]))
    cuda = [timing.cell for timing in report.timings if timing.cell.setting.provider == "cuda"]
    assert {(cell.way, cell.batch) for cell in cuda} == {(way, n) for way in ("call", "bound", "graph") for n in (1, 4)}
    assert {cell.setting.threads for cell in cuda} == {1}
    assert [batch for batch, _ in graphs] == [1, 4]
    assert len({number for _, number in graphs}) == 2
    assert min(number for _, number in graphs) > 0  # -1 asks for no capture, 0 is what calls without a number share
    assert "latency, data on the GPU" in [one.purpose for one in report.settings]
    assert {pays.what for pays in report.pays} >= {"cuda", "cuda graph, data on the GPU"}


@pytest.mark.usefixtures("as_if_cuda")
def test_a_model_that_cuda_cannot_capture_is_measured_without(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ProviderError("a node runs on the CPU")

    monkeypatch.setattr(ways, "open_for_graphs", fail)
    report = run(bundle, plan_of(bundle, providers=["cuda"]))
    assert {timing.cell.way for timing in report.timings} == {"call", "bound"}
    assert report.skipped == ("CUDA graphs of decoder fp32 cuda, 1 thread: a node runs on the CPU",)


def test_by_default_cuda_is_measured_where_it_works(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    if CUDA not in onnxruntime.get_available_providers():
        assert working_providers(bundle, "decoder") == (["cpu"], [])
    has_cuda = SimpleNamespace(get_available_providers=lambda: [CUDA, CPU])
    monkeypatch.setattr(measure, "import_onnxruntime", lambda: has_cuda)

    def fail(*_: Any) -> Any:
        raise ProviderError("no driver")

    monkeypatch.setattr(ways, "open_half", fail)
    assert working_providers(bundle, "decoder") == (["cpu"], ["cuda: no driver"])
    monkeypatch.setattr(ways, "open_half", lambda *_: None)
    assert working_providers(bundle, "decoder") == (["cpu", "cuda"], [])


@pytest.mark.gpu
@needs_cuda
def test_a_real_gpu_is_measured_in_three_ways(bundle: Bundle) -> None:
    report = run(bundle, plan_of(bundle, providers=["cpu", "cuda"], starts=1))
    ways_of_cuda = {timing.cell.way for timing in report.timings if timing.cell.setting.provider == "cuda"}
    assert ways_of_cuda == {"call", "bound", "graph"}, report.skipped
    assert report.machine.gpus
