"""A session runs on the provider that was asked for, or there is an error that says what to do.

What a GPU wheel does without CUDA's libraries was seen with onnxruntime-gpu 1.31 on a machine without a GPU, and is imitated
here: creation succeeds, `get_providers` lists the CPU alone, and the reasons are printed, not raised.
"""

from __future__ import annotations

import re
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from vaekit.cores import Cores
from vaekit.errors import ConfigError, IntegrityError, MissingDependencyError, ProviderError
from vaekit.runtime import providers
from vaekit.runtime.providers import CPU, CUDA, Options, import_onnxruntime, installed_wheels, open_session, resolve

TENSORRT = "TensorrtExecutionProvider"

needs_cuda = pytest.mark.skipif(
    CUDA not in onnxruntime.get_available_providers(), reason="the installed ONNX Runtime has no CUDA provider"
)


class FakeSettings(SimpleNamespace):
    """Session options that keep whatever they are told."""

    def add_session_config_entry(self, name: str, value: str) -> None:
        setattr(self, name, value)


class FakeRuntime:
    """An `onnxruntime` that remembers how sessions are made, and of whose providers only some load."""

    __version__ = "1.99.0"

    def __init__(self, available: list[str], loading: list[str]) -> None:
        self.available, self.loading = available, loading
        self.made: list[SimpleNamespace] = []
        self.raises: Exception | None = None
        self.SessionOptions = FakeSettings

    def get_available_providers(self) -> list[str]:
        return self.available

    def InferenceSession(self, model: bytes, options: Any, *, providers: list[Any], **switches: Any) -> Any:  # noqa: N802
        names = [name if isinstance(name, str) else name[0] for name in providers]
        if model == b"garbage":
            raise ValueError("protobuf parsing failed.")
        if self.raises is not None and names[0] != CPU:
            raise self.raises
        active = [name for name in names if name in self.loading]
        record = SimpleNamespace(options=options, providers=providers, switches=switches, call_fallback=True)
        self.made.append(record)
        return SimpleNamespace(
            get_providers=lambda: active, disable_fallback=lambda: setattr(record, "call_fallback", False)
        )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRuntime]:
    def install(available: list[str], *, loading: list[str]) -> FakeRuntime:
        runtime = FakeRuntime(available, loading)
        monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
        return runtime

    return install


@pytest.fixture(scope="module")
def softplus() -> bytes:
    """y = log(1 + exp(x @ w)), a graph with a float32 product in it."""
    w = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Softplus", ["xw"], ["y"])],
        "softplus",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


def _wheel(folder: Path, name: str, version: str) -> None:
    """Leave a distribution's metadata, as pip does."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("onnxruntime/__init__.py,,\n")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder in place of site-packages, and no ONNX Runtime imported yet."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(entry for entry in sys.path if "site-packages" not in entry)])
    monkeypatch.delitem(sys.modules, "onnxruntime")
    return tmp_path


def test_the_cpu_session_gives_the_numbers_that_numpy_gives(softplus: bytes) -> None:
    opened = open_session(softplus, Options("cpu", threads=1), name="softplus.onnx")
    x = np.random.default_rng(1).normal(size=(5, 64)).astype(np.float32)
    w = onnx.numpy_helper.to_array(onnx.load_from_string(softplus).graph.initializer[0])
    (y,) = opened.session.run(["y"], {"x": x})
    np.testing.assert_allclose(y, np.logaddexp(0, x.astype(np.float64) @ w), rtol=1e-5, atol=1e-5)
    assert (opened.provider, opened.threads) == ("cpu", 1)


def test_products_of_8_bits_do_not_overflow_whatever_the_processor_has() -> None:
    a, b = np.full((3, 8), 255, np.uint8), np.full((8, 5), 127, np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["y"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["batch", 5])],
        [onnx.numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    (y,) = open_session(model, Options("cpu", threads=1), name="product.onnx").session.run(["y"], {"a": a})
    # Added in 16 bits, two products give 32,767 at most, and not 64,770.
    np.testing.assert_array_equal(y, a.astype(np.int64) @ b.astype(np.int64))


@pytest.mark.parametrize("asked", ["cuda", "CUDA", CUDA, "cudaexecutionprovider"])
def test_a_provider_may_be_named_in_short_in_full_and_in_any_case(asked: str) -> None:
    assert resolve(asked, [TENSORRT, CUDA, CPU]) == CUDA


def test_an_unknown_provider_is_refused_with_a_list_of_those_that_there_are(softplus: bytes) -> None:
    listed = ", ".join(name[: -len("ExecutionProvider")].lower() for name in onnxruntime.get_available_providers())
    message = f"provider='npu' was asked for, but onnxruntime.* has only {re.escape(listed)}. Install a build of ONNX"
    with pytest.raises(ProviderError, match=message):
        open_session(softplus, Options("npu"), name="softplus.onnx")


def test_cuda_on_a_cpu_wheel_is_refused_with_the_line_that_installs_it() -> None:
    message = (
        r"provider='cuda' was asked for, but .* has only azure, cpu\. Install it with `pip install 'vaekit\[cuda\]'`"
    )
    with pytest.raises(ProviderError, match=message):
        resolve("cuda", ["AzureExecutionProvider", CPU])


def test_cuda_that_silently_falls_back_is_refused(fake: Callable[..., FakeRuntime]) -> None:
    fake([TENSORRT, CUDA, CPU], loading=[CPU])
    message = (
        "provider='cuda' was asked for, but it did not load: ONNX Runtime loaded CPUExecutionProvider. "
        r"Install vaekit\[cuda\] and its libraries .* or pass provider='cpu'"
    )
    with pytest.raises(ProviderError, match=message):
        open_session(b"", Options("cuda"), name="x.onnx")


def test_auto_falls_back_to_the_cpu_and_says_so(fake: Callable[..., FakeRuntime]) -> None:
    fake([CUDA, CPU], loading=[CPU])
    with pytest.warns(UserWarning, match="provider='auto' fell back to the CPU: .* ONNX Runtime loaded CPUExecution"):
        opened = open_session(b"", Options("auto"), name="x.onnx")
    assert opened.provider == "cpu"


def test_auto_takes_cuda_where_it_loads(fake: Callable[..., FakeRuntime]) -> None:
    fake([TENSORRT, CUDA, CPU], loading=[CUDA, CPU])
    assert open_session(b"", Options("auto"), name="x.onnx").provider == "cuda"


def test_auto_on_a_cpu_wheel_is_the_cpu_without_a_word(softplus: bytes) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("the installed ONNX Runtime has a CUDA provider")
    assert (
        open_session(softplus, Options("auto"), name="softplus.onnx").provider == "cpu"
    )  # a warning would be an error


@pytest.mark.parametrize(("tf32", "expected"), [(False, "0"), (True, "1")])
def test_tf32_is_off_unless_asked_for(fake: Callable[..., FakeRuntime], tf32: bool, expected: str) -> None:
    runtime = fake([CUDA, CPU], loading=[CUDA, CPU])
    open_session(b"", Options("cuda", tf32=tf32), name="x.onnx")
    (name, options), last = runtime.made[0].providers
    assert (name, options["use_tf32"], last) == (CUDA, expected, CPU)
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert not Options().tf32


def test_the_cpu_gets_no_other_provider_beside_it(fake: Callable[..., FakeRuntime]) -> None:
    runtime = fake([CUDA, CPU], loading=[CUDA, CPU])
    open_session(b"", Options("cpu"), name="x.onnx")
    assert runtime.made[0].providers == [CPU]


def test_what_preload_dlls_prints_is_in_the_message_and_not_on_stdout(
    fake: Callable[..., FakeRuntime], capsys: pytest.CaptureFixture[str]
) -> None:
    def preload() -> None:
        print("Failed to load libcublasLt.so.13:\n  cannot open shared object file")  # noqa: T201
        warnings.warn("the plug-in is not registered", stacklevel=1)

    runtime: Any = fake([CUDA, CPU], loading=[CPU])
    runtime.preload_dlls = preload
    message = (
        r"loaded CPUExecutionProvider; Failed to load libcublasLt.so.13: cannot open shared object file the plug-in is"
    )
    with pytest.raises(ProviderError, match=message) as caught:
        open_session(b"", Options("cuda"), name="x.onnx")
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_sessions_made_at_once_leave_stdout_as_it_was(fake: Callable[..., FakeRuntime]) -> None:
    runtime: Any = fake([CUDA, CPU], loading=[CUDA, CPU])
    delays = iter([0.05, 0.1, 0.02, 0.06])  # so that the first to begin would be the first to end
    runtime.preload_dlls = lambda: time.sleep(next(delays))
    before = sys.stdout
    threads = [
        threading.Thread(target=open_session, args=(b"", Options("cuda")), kwargs={"name": "x"}) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert sys.stdout is before
    assert len(runtime.made) == 4


def test_a_provider_that_raises_when_made_is_refused_with_its_reason(fake: Callable[..., FakeRuntime]) -> None:
    fake([TENSORRT, CPU], loading=[CPU]).raises = RuntimeError("Please install TensorRT\nlibraries.")
    message = (
        "provider='tensorrt' was asked for, but it did not load: Please install TensorRT libraries. Install its lib"
    )
    with pytest.raises(ProviderError, match=message):
        open_session(b"", Options("tensorrt"), name="x.onnx")


@pytest.mark.parametrize("provider", ["cpu", "cuda", "auto"])
def test_a_graph_that_no_provider_reads_is_the_graphs_fault(fake: Callable[..., FakeRuntime], provider: str) -> None:
    fake([CUDA, CPU], loading=[CUDA, CPU])
    with pytest.raises(IntegrityError, match=r"ONNX Runtime cannot load x\.onnx: protobuf parsing failed\.$"):
        open_session(b"garbage", Options(provider), name="x.onnx")


@pytest.mark.parametrize("model", [b"", b"\x00", b"garbage" * 9])
def test_bytes_that_are_no_model_are_refused(model: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"ONNX Runtime cannot load broken\.onnx: .*protobuf"):
        open_session(model, Options("cpu"), name="broken.onnx")


def test_no_session_may_fall_back_when_made_or_when_run(fake: Callable[..., FakeRuntime]) -> None:
    runtime = fake([CUDA, CPU], loading=[CUDA, CPU])
    open_session(b"", Options("cuda"), name="x.onnx")
    assert runtime.made[0].switches == {"enable_fallback": 0}
    assert not runtime.made[0].call_fallback


def test_the_real_session_has_its_fallback_off(softplus: bytes) -> None:
    session = open_session(softplus, Options("cpu"), name="softplus.onnx").session
    assert session._enable_fallback is False
    assert onnxruntime.InferenceSession(softplus, providers=[CPU])._enable_fallback  # the control: by default it is on


@pytest.mark.parametrize(("asked", "expected"), [(None, 3), (1, 1), (7, 7), (1024, 1024)])
def test_threads_are_always_set(
    fake: Callable[..., FakeRuntime], monkeypatch: pytest.MonkeyPatch, asked: int | None, expected: int
) -> None:
    monkeypatch.setattr(providers, "count_cores", lambda: Cores(machine=64, affinity=8, quota=2.5))
    runtime = fake([CPU], loading=[CPU])
    opened = open_session(b"", Options("cpu", threads=asked), name="x.onnx")
    assert opened.threads == runtime.made[0].options.intra_op_num_threads == expected
    assert runtime.made[0].options.inter_op_num_threads == 1


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
def test_a_session_of_any_provider_asks_for_exact_int8_products_on_the_cpu(
    fake: Callable[..., FakeRuntime], provider: str
) -> None:
    runtime = fake([CUDA, CPU], loading=[CUDA, CPU])
    open_session(b"", Options(provider), name="x.onnx")
    assert getattr(runtime.made[0].options, "session.x64quantprecision") == "1"


def test_the_real_session_has_the_threads_that_were_asked_for(softplus: bytes) -> None:
    session = open_session(softplus, Options("cpu", threads=2), name="softplus.onnx").session
    assert session.get_session_options().intra_op_num_threads == 2


def test_threads_may_be_numpys_and_are_pythons_from_then_on(softplus: bytes) -> None:
    opened = open_session(softplus, Options("cpu", threads=np.int64(2)), name="softplus.onnx")  # type: ignore[arg-type]
    assert opened.threads == 2
    assert type(opened.threads) is int


@pytest.mark.parametrize("provider", [None, 7, b"cpu"])
def test_a_provider_that_is_no_name_is_refused(provider: Any) -> None:
    with pytest.raises(ConfigError, match=f"provider={provider!r}: give a name, such as 'auto', 'cpu' or 'cuda'"):
        Options(provider)


@pytest.mark.parametrize("threads", [0, -1, 1025, True, 1.5, "2"])
def test_threads_that_no_session_can_have_are_refused(threads: Any) -> None:
    with pytest.raises(ConfigError, match=rf"threads={threads!r}: give 1 to 1024, or None for every usable core"):
        Options(threads=threads)


def test_without_onnx_runtime_the_message_is_the_line_that_installs_it(site: Path) -> None:
    assert list(site.iterdir()) == []
    message = (
        r"ONNX Runtime is not installed; install it with `pip install 'vaekit\[cpu\]'`, or `pip install 'vaekit\[cu"
    )
    with pytest.raises(MissingDependencyError, match=message):
        open_session(b"", Options(), name="x.onnx")


def test_an_empty_folder_that_no_wheel_owns_is_not_onnx_runtime(site: Path) -> None:
    (site / "onnxruntime").mkdir()
    with pytest.raises(MissingDependencyError, match="ONNX Runtime is not installed; install it with"):
        import_onnxruntime()


def test_a_wheel_whose_files_went_with_another_wheel_is_broken(site: Path) -> None:
    (site / "onnxruntime" / "capi").mkdir(parents=True)  # what is left when one of two clashing wheels is removed
    _wheel(site, "onnxruntime", "1.32.0")
    message = (
        r"ONNX Runtime \(onnxruntime 1\.32\.0\) is installed but broken: it has no InferenceSession\. "
        "Remove it with `pip uninstall -y onnxruntime onnxruntime-gpu`, then `pip install"
    )
    with pytest.raises(MissingDependencyError, match=message):
        import_onnxruntime()


@pytest.mark.parametrize("raised", ["ImportError('DLL load\\nfailed')", "OSError('DLL load failed')"])
def test_a_wheel_that_does_not_import_is_named_with_its_reason(site: Path, raised: str) -> None:
    (site / "onnxruntime").mkdir()
    (site / "onnxruntime" / "__init__.py").write_text(f"raise {raised}\n")
    _wheel(site, "onnxruntime-gpu", "1.31.1")
    message = (
        r"ONNX Runtime \(onnxruntime-gpu 1\.31\.1\) is installed but does not load: DLL load failed; run `vaekit doc"
    )
    with pytest.raises(MissingDependencyError, match=message):
        import_onnxruntime()


def test_both_wheels_are_listed_when_both_are_installed(site: Path) -> None:
    assert installed_wheels() == []
    _wheel(site, "onnxruntime-gpu", "1.31.1")
    _wheel(site, "onnxruntime", "1.32.0")
    _wheel(site, "onnxruntime-extensions", "0.15.2")  # fills another folder
    assert installed_wheels() == ["onnxruntime 1.32.0", "onnxruntime-gpu 1.31.1"]


@pytest.mark.gpu
@needs_cuda
def test_cuda_gives_the_numbers_that_the_cpu_gives(softplus: bytes) -> None:
    x = np.random.default_rng(2).normal(size=(256, 64)).astype(np.float32)
    results = {}
    for provider in ("cpu", "cuda"):
        opened = open_session(softplus, Options(provider), name="softplus.onnx")
        assert opened.provider == provider
        (results[provider],) = opened.session.run(["y"], {"x": x})
    assert opened.session.get_providers()[0] == CUDA
    np.testing.assert_allclose(results["cuda"], results["cpu"], rtol=1e-5, atol=1e-5)
