"""OpenVINO is used where it is asked for and works, in float32, and otherwise there is an error that says what to do.

Where neither the plug-in nor the wheel is installed, the last tests are skipped. How the plug-in behaves was seen with version
1.8.1 on ONNX Runtime 1.32 (bfloat16 unless told otherwise, options that it does not know ignored), how the wheel does with
1.24.1 (the CPU alone, without an error, for a device that is not there). Both are imitated here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.errors import ProviderError, VaekitError
from vaekit.runtime import openvino
from vaekit.runtime.providers import CPU, OPENVINO, Options, open_session


class Settings(SimpleNamespace):
    """Session options that remember what they were told."""

    def __init__(self) -> None:
        super().__init__(entries={}, devices=[])

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value

    def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
        self.devices.append((devices, options))


class FakeRuntime:
    """An `onnxruntime` with OpenVINO built in (the wheel) or as a plug-in, and a processor of some maker."""

    __version__ = "1.99.0"
    SessionOptions = Settings

    def __init__(self, *, built_in: bool, vendor: str = "Intel", loads: bool = True, takes: int = 5) -> None:
        self.providers = [OPENVINO, CPU] if built_in else [CPU]
        self.vendor, self.loads, self.takes = vendor, loads, takes
        self.registered: list[str] = []
        self.made: list[SimpleNamespace] = []

    def get_available_providers(self) -> list[str]:
        return self.providers

    def register_execution_provider_library(self, name: str, path: str) -> None:
        if path in self.registered:
            raise RuntimeError(f"EP library is already registered under {name}")
        self.registered.append(path)
        if self.vendor == "Intel":
            self.providers = [CPU, OPENVINO]  # as the real one does from then on

    def get_ep_devices(self) -> list[Any]:
        hardware = SimpleNamespace(vendor=self.vendor)
        own = SimpleNamespace(ep_name=CPU, ep_metadata={}, device=hardware)
        auto = SimpleNamespace(ep_name=f"{OPENVINO}.AUTO", ep_metadata={"ov_device": "CPU"}, device=hardware)
        gpu = SimpleNamespace(ep_name=OPENVINO, ep_metadata={"ov_device": "GPU"}, device=hardware)
        cpu = SimpleNamespace(ep_name=OPENVINO, ep_metadata={"ov_device": "CPU"}, device=hardware)
        return [own, auto, gpu, cpu] if self.registered and self.vendor == "Intel" else [own]

    def InferenceSession(self, model: bytes, settings: Settings, **arguments: Any) -> Any:  # noqa: N802
        self.made.append(SimpleNamespace(settings=settings, **arguments))
        if model == b"refused":
            raise RuntimeError("NotFound: Unsupported property by CPU plugin.")
        used = self.loads and (settings.devices or arguments["providers"][0] != CPU)
        nodes = lambda count: SimpleNamespace(get_nodes=lambda: [None] * count)  # noqa: E731
        parts = [
            SimpleNamespace(ep_name=OPENVINO, **vars(nodes(self.takes))),
            SimpleNamespace(ep_name=CPU, **vars(nodes(2))),
        ]
        return SimpleNamespace(
            get_providers=lambda: [OPENVINO, CPU] if used else [CPU],
            get_provider_graph_assignment_info=lambda: parts,
            disable_fallback=lambda: None,
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRuntime]:
    def install(*, plugin: bool = False, **options: Any) -> FakeRuntime:
        runtime = FakeRuntime(**options)
        monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
        monkeypatch.setattr(openvino, "_registered", set())
        module: Any = None
        if plugin:
            module = ModuleType("onnxruntime_ep_openvino")
            module.__spec__ = ModuleSpec("onnxruntime_ep_openvino", None)
            module.get_library_path = lambda: "/plugin.so"
        monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", module)
        monkeypatch.setattr("importlib.util.find_spec", lambda _: getattr(module, "__spec__", None))
        return runtime

    return install


def open_openvino(threads: int = 3) -> Any:
    return open_session(b"", Options("openvino", threads=threads), name="x.onnx")


# Where it comes from.


def test_without_it_the_message_is_the_line_that_installs_it(fake: Callable[..., FakeRuntime]) -> None:
    fake(built_in=False)
    message = (
        r"provider='openvino' was asked for, but .* has only cpu\. Install it with `pip install 'vaekit\[openvino\]'`"
    )
    with pytest.raises(ProviderError, match=message):
        open_openvino()


def test_the_wheel_is_told_its_device_its_threads_and_float32(fake: Callable[..., FakeRuntime]) -> None:
    runtime = fake(built_in=True)
    assert open_openvino().provider == "openvino"
    ((name, options), last) = runtime.made[0].providers
    assert (name, options["device_type"], last) == (OPENVINO, "CPU", CPU)
    assert json.loads(options["load_config"]) == {
        "CPU": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "3"}
    }
    assert runtime.made[0].settings.devices == []


def test_the_plugin_is_given_the_processor_and_told_the_same(fake: Callable[..., FakeRuntime]) -> None:
    runtime = fake(built_in=False, plugin=True)
    assert open_openvino(2).provider == "openvino"
    assert runtime.registered == ["/plugin.so"]
    made = runtime.made[0]
    assert made.providers is None
    (((device,), options),) = made.settings.devices
    assert (device.ep_name, device.ep_metadata["ov_device"]) == (OPENVINO, "CPU")
    assert json.loads(options["load_config"])["CPU"] == {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": "2",
    }


def test_the_plugin_is_registered_once_however_many_sessions_there_are(fake: Callable[..., FakeRuntime]) -> None:
    runtime = fake(built_in=False, plugin=True)
    for _ in range(3):
        open_openvino()
    assert runtime.registered == ["/plugin.so"]
    assert all(made.providers is None and len(made.settings.devices) == 1 for made in runtime.made)


@pytest.mark.parametrize("asked", ["OpenVINO", OPENVINO, "openvinoexecutionprovider"])
def test_it_may_be_named_in_short_in_full_and_in_any_case(fake: Callable[..., FakeRuntime], asked: str) -> None:
    fake(built_in=False, plugin=True)
    assert open_session(b"", Options(asked), name="x.onnx").provider == "openvino"


def test_auto_never_takes_it(fake: Callable[..., FakeRuntime]) -> None:
    runtime = fake(built_in=True, plugin=True)
    assert open_session(b"", Options("auto"), name="x.onnx").provider == "cpu"
    assert runtime.registered == []


# What goes wrong.


def test_a_processor_that_is_not_intel_s_is_named(fake: Callable[..., FakeRuntime]) -> None:
    runtime = fake(built_in=False, plugin=True, vendor="AMD")
    message = (
        "takes Intel's processors only, and this one's maker is AMD. On others install the wheel onnxruntime-openvino"
    )
    for _ in range(2):  # the plug-in stays registered, and the second answer is the same
        with pytest.raises(ProviderError, match=message):
            open_openvino()
    assert runtime.made == []


def test_an_onnx_runtime_that_takes_no_plugins_is_refused(
    fake: Callable[..., FakeRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(built_in=False, plugin=True)
    monkeypatch.delattr(FakeRuntime, "register_execution_provider_library")
    message = (
        r"'openvino' was asked for, but ONNX Runtime 1\.99\.0 takes no plug-ins\. Install onnxruntime>=1\.23, or pass"
    )
    with pytest.raises(ProviderError, match=message):
        open_openvino()


def test_a_plugin_that_does_not_load_gives_its_reason(
    fake: Callable[..., FakeRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(built_in=False, plugin=True)

    def missing(*_: Any) -> None:
        raise FileNotFoundError("libtbb.so.12:\ncannot open shared object file")

    monkeypatch.setattr(FakeRuntime, "register_execution_provider_library", missing)
    with pytest.raises(
        ProviderError, match=r"but its plug-in does not load: libtbb\.so\.12: cannot open .* file, or pass"
    ):
        open_openvino()


def test_a_silent_fall_back_to_the_cpu_is_refused(fake: Callable[..., FakeRuntime]) -> None:
    fake(built_in=True, loads=False)
    message = "provider='openvino' was asked for, but it did not load: ONNX Runtime loaded CPUExecutionProvider"
    with pytest.raises(ProviderError, match=message) as caught:
        open_openvino()
    assert "'auto'" not in str(caught.value)


@pytest.mark.parametrize("plugin", [False, True])
def test_a_session_whose_nodes_all_went_to_the_cpu_is_refused(fake: Callable[..., FakeRuntime], plugin: bool) -> None:
    runtime = fake(built_in=not plugin, plugin=plugin, takes=0)
    with pytest.raises(ProviderError, match="it loaded, and left every node of the graph to the CPU"):
        open_openvino()
    entries = {"session.record_ep_graph_assignment_info": "1", "session.x64quantprecision": "1"}
    assert runtime.made[0].settings.entries == entries


def test_where_onnx_runtime_does_not_tell_its_nodes_the_providers_decide() -> None:
    assert openvino.took(SimpleNamespace()) is None


def test_what_openvino_says_of_a_graph_is_in_the_message(fake: Callable[..., FakeRuntime]) -> None:
    runtime = fake(built_in=True)
    make = runtime.InferenceSession

    def refuse(model: bytes, settings: Settings, **arguments: Any) -> Any:
        return make(b"refused" if arguments["providers"][0] != CPU else model, settings, **arguments)

    runtime.InferenceSession = refuse  # type: ignore[method-assign]
    with pytest.raises(ProviderError, match="it did not load: NotFound: Unsupported property by CPU plugin"):
        open_openvino()


# The real one.


@pytest.fixture(scope="module")
def real(small_bundle: Path) -> vaekit.VAE:
    try:
        return vaekit.load(small_bundle, provider="openvino", threads=1)
    except VaekitError as error:
        pytest.skip(f"no OpenVINO here: {error}")


def test_openvino_passes_the_bundle_s_goldens_as_strictly_as_the_cpu(real: vaekit.VAE) -> None:
    assert real.provider == "openvino"
    deviations = vaekit.verify_bundle(real.bundle, real)
    assert max(deviation.measured for deviation in deviations) <= real.manifest.tolerances["cpu"]


def test_openvino_has_taken_every_node(real: vaekit.VAE) -> None:
    for half in (real.encoder, real.decoder):
        (part,) = half.session.get_provider_graph_assignment_info()
        assert part.ep_name == OPENVINO
        assert openvino.took(half.session) == len(part.get_nodes()) >= 4


@pytest.mark.parametrize("batch", [1, 7])
def test_a_bound_call_on_openvino_reads_what_was_filled_in_since(
    real: vaekit.VAE, small_bundle: Path, batch: int
) -> None:
    cpu = vaekit.load(small_bundle, provider="cpu", threads=1)
    decode, encode = real.decoder.bind(batch), real.encoder.bind(batch)
    for seed in (1, 2):
        decode.z[...] = z = vaekit.noise(seed=seed, count=batch, dim=5)
        encode.x[...] = x_hat = decode()
        np.testing.assert_allclose(x_hat, cpu.decode(z), atol=1e-5)
        np.testing.assert_allclose(encode().mean, cpu.encode(x_hat).mean, atol=1e-5)
