"""The calls that are timed do the work: each gives the numbers that `encode` and `decode` give.

There is no GPU here: what runs on one is run on the CPU by the same code, and a runtime that only remembers shows what CUDA
would be asked for.
"""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

import vaekit
from vaekit.bundle import Bundle
from vaekit.errors import ProviderError
from vaekit.runtime.bench import ways
from vaekit.runtime.bench.results import Setting
from vaekit.runtime.providers import CPU, CUDA

needs_cuda = pytest.mark.skipif(
    CUDA not in onnxruntime.get_available_providers(), reason="the installed ONNX Runtime has no CUDA provider"
)


@pytest.fixture(scope="module")
def bundle(small_bundle: Path) -> Bundle:
    return Bundle.open(small_bundle)


def expected(bundle: Bundle, half: str, x: Any) -> list[Any]:
    """What ONNX Runtime gives for x, bare."""
    session = onnxruntime.InferenceSession(bundle.graph(half), providers=[CPU])
    return session.run(None, {session.get_inputs()[0].name: x})  # type: ignore[no-any-return]


def test_the_decoders_input_is_portable_noise(bundle: Bundle) -> None:
    np.testing.assert_array_equal(
        ways.inputs(bundle, "decoder", 7), vaekit.noise(seed=0, count=7, dim=bundle.manifest.spec.latent)
    )


def test_the_encoders_input_is_the_golden_items_over_and_over(bundle: Bundle) -> None:
    golden = bundle.golden().x
    x = ways.inputs(bundle, "encoder", 2 * len(golden) + 3)
    np.testing.assert_array_equal(x, np.concatenate([golden, golden, golden[:3]]))
    assert x.flags.c_contiguous


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("batch", [1, 3])
def test_plain_and_bound_calls_give_what_onnx_runtime_gives(bundle: Bundle, half: str, batch: int) -> None:
    x = ways.inputs(bundle, half, 5)[:batch]
    model = ways.open_half(bundle, Setting(half, "fp32", "cpu", 1))
    for call in (ways.plain(model, x), ways.bound(model, x)):
        found: Any = call()
        for array, wanted in zip(found if half == "encoder" else [found], expected(bundle, half, x), strict=True):
            np.testing.assert_allclose(array, wanted, atol=1e-6)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_calls_with_pixels_give_what_onnx_runtime_gives(pixel_bundle: Path, half: str) -> None:
    bundle = Bundle.open(pixel_bundle)
    x = ways.inputs(bundle, half, 5, "uint8")
    if half == "encoder":
        golden = bundle.golden("uint8").x
        np.testing.assert_array_equal(x, golden[np.arange(5) % len(golden)])
        assert x.dtype == np.uint8
    session = onnxruntime.InferenceSession(bundle.graph(half, io="uint8"), providers=[CPU])
    wanted = session.run(None, {session.get_inputs()[0].name: x})
    setting = Setting(half, "fp32", "cpu", 1, "uint8")
    model = ways.open_half(bundle, setting)
    for call in (ways.plain(model, x), ways.bound(model, x)):
        found: Any = call()
        for array, right in zip(found if half == "encoder" else [found], wanted, strict=True):
            assert array.dtype == right.dtype
            np.testing.assert_allclose(array, right, atol=1e-6)
    buffers = ways.Buffers(bundle.manifest.graph(half, "fp32", "uint8"), x, "cpu")
    buffers.bind(model.session, 3, graph_id=1)()
    for array, right in zip(buffers.outputs(3), wanted, strict=True):
        np.testing.assert_allclose(array, right[:3], atol=1e-6)


def test_a_half_is_opened_as_the_setting_says(bundle: Bundle) -> None:
    model = ways.open_half(bundle, Setting("encoder", "fp32", "cpu", 2))
    assert isinstance(model, vaekit.Encoder)
    assert (model.threads, model.provider, model.precision) == (2, "cpu", "fp32")


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_buffers_of_the_largest_batch_serve_smaller_ones(bundle: Bundle, half: str) -> None:
    x = ways.inputs(bundle, half, 5)
    session = ways.open_half(bundle, Setting(half, "fp32", "cpu", 1)).session
    buffers = ways.Buffers(bundle.manifest.graph(half, "fp32"), x, "cpu")
    for number, batch in enumerate((3, 5, 1), start=1):
        buffers.bind(session, batch, graph_id=number)()
        for array, wanted in zip(buffers.outputs(batch), expected(bundle, half, x[:batch]), strict=True):
            np.testing.assert_allclose(array, wanted, atol=1e-6)


def test_a_call_keeps_its_buffers_and_no_longer_than_it_lives(bundle: Bundle) -> None:
    session = ways.open_half(bundle, Setting("decoder", "fp32", "cpu", 1)).session
    buffers = ways.Buffers(bundle.manifest.graph("decoder", "fp32"), ways.inputs(bundle, "decoder", 64), "cpu")
    call, seen = buffers.bind(session, 64, graph_id=1), weakref.ref(buffers)
    del buffers
    gc.collect()
    assert seen() is not None
    call()  # would read and write memory that is somebody else's
    del call
    gc.collect()
    assert seen() is None


def test_each_shape_is_captured_as_a_graph_of_its_own_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    events: list[Any] = []

    class Value:
        def data_ptr(self) -> int:
            return 4096

    class Binding:
        def bind_input(self, *place: Any) -> None:
            events.append(("input", *place))

        def bind_output(self, *place: Any) -> None:
            events.append(("output", *place))

        def synchronize_outputs(self) -> None:
            events.append("wait")

    class RunOptions:
        def add_run_config_entry(self, name: str, value: str) -> None:
            events.append((name, value))

    values = SimpleNamespace(
        ortvalue_from_numpy=lambda x, device, number: events.append((x.shape, device, number)) or Value(),
        ortvalue_from_shape_and_type=lambda *place: events.append(place) or Value(),
    )
    monkeypatch.setattr(ways, "import_onnxruntime", lambda: SimpleNamespace(OrtValue=values, RunOptions=RunOptions))
    session = SimpleNamespace(
        io_binding=Binding, run_with_iobinding=lambda _, options: events.append(("run", type(options)))
    )
    info, latent = bundle.manifest.graph("decoder", "fp32"), bundle.manifest.spec.latent
    source, target = info.inputs[0].name, info.outputs[0].name
    ways.Buffers(info, np.zeros((8, latent), np.float32), "cuda").bind(session, 3, graph_id=5)()
    assert events == [
        ((8, latent), "cuda", 0),
        ([8, 1, 28, 28], np.float32, "cuda", 0),
        ("input", source, "cuda", 0, np.float32, [3, latent], 4096),
        ("output", target, "cuda", 0, np.float32, [3, 1, 28, 28], 4096),
        ("gpu_graph_id", "5"),
        ("run", RunOptions),
        "wait",
    ]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The providers and options that each session was made with, by a runtime that has CUDA and runs nothing."""
    made: list[Any] = []

    def session(_model: bytes, _options: Any, *, providers: list[Any], **_: Any) -> Any:
        made.append(providers)
        return SimpleNamespace(get_providers=lambda: [CUDA, CPU], disable_fallback=lambda: None)

    runtime = SimpleNamespace(
        InferenceSession=session, SessionOptions=onnxruntime.SessionOptions, get_available_providers=lambda: [CUDA, CPU]
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    return made


def test_cuda_graphs_are_asked_for_where_they_are_measured_and_nowhere_else(bundle: Bundle, asked: list[Any]) -> None:
    setting = Setting("decoder", "fp32", "cuda", 1)
    ways.open_for_graphs(bundle, setting)
    ways.open_half(bundle, setting)
    (graphs, plain) = (dict(providers[0][1]) for providers in asked)
    assert graphs.pop("enable_cuda_graph") == "1"
    assert graphs == plain
    assert plain["use_tf32"] == "0"


def test_without_cuda_there_are_no_cuda_graphs(bundle: Bundle) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("the installed ONNX Runtime has a CUDA provider")
    with pytest.raises(ProviderError, match="provider='cuda' was asked for, but"):
        ways.open_for_graphs(bundle, Setting("decoder", "fp32", "cuda", 1))


def test_bytes_of_a_call_are_those_of_its_arrays(bundle: Bundle) -> None:
    golden = bundle.golden()
    n = len(golden.x)
    manifest = bundle.manifest
    assert ways.bytes_of(manifest.graph("decoder", "fp32"), n) == golden.z.nbytes + golden.x_hat.nbytes
    assert (
        ways.bytes_of(manifest.graph("encoder", "fp32"), n)
        == golden.x.nbytes + golden.mean.nbytes + golden.log_var.nbytes
    )


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_replayed_cuda_graph_gives_what_the_cpu_gives(bundle: Bundle, half: str) -> None:
    x = ways.inputs(bundle, half, 64)
    session = ways.open_for_graphs(bundle, Setting(half, "fp32", "cuda", 1))
    buffers = ways.Buffers(bundle.manifest.graph(half, "fp32"), x, "cuda")
    for number, batch in enumerate((1, 64), start=1):
        call = buffers.bind(session, batch, graph_id=number)
        for _ in range(3):  # the first runs and captures, the others replay
            call()
        for array, wanted in zip(buffers.outputs(batch), expected(bundle, half, x[:batch]), strict=True):
            np.testing.assert_allclose(array, wanted, atol=1e-4)
