"""The peers: ways to run one half of a model, each from a NumPy array to a result in this machine's memory.

A peer is opened for a job, then given an input, and gives a function that runs it. A peer whose package is not installed raises
ImportError, and one that cannot do a job raises `CannotRun`; both are skipped with their reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers_subjects import Job, mlp_weights, torch_module

Array: TypeAlias = NDArray[np.float32]
Call: TypeAlias = Callable[[], Any]
Prepare: TypeAlias = Callable[[Array], Call]


class CannotRun(Exception):  # noqa: N818  (it is no error)
    """This peer cannot do this job; the message says why."""


class Peer(NamedTuple):
    """One way to run a model.

    Attributes:
        open: Opens a job; gives a function from an input to the call that runs it.
        tolerance: Largest deviation from the golden outputs, of ``|a - b| / (1 + |b|)``, that still counts as the same model.
        computes: In what its products are taken, for the fraction of the machine's peak; None where no peak is measured.
        precision: Which of the bundle's graphs it needs.
    """

    open: Callable[[Job], Prepare]
    tolerance: float = 1e-4
    computes: Literal["fp32", "bf16"] | None = "fp32"
    precision: str = "fp32"


BF16 = 0.1
"""Tolerance for products in bfloat16, which has 8 bits of mantissa; a wrong model is off by 1 and more."""


def _onnxruntime(job: Job) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(job.path), options, providers=["CPUExecutionProvider"])


def _ort_run(job: Job) -> Prepare:
    session, (name, outputs) = _onnxruntime(job), job.ports
    return lambda x: lambda: session.run(outputs, {name: x})


def _ort_binding(job: Job) -> Prepare:
    session, (name, outputs) = _onnxruntime(job), job.ports

    def prepare(x: Array) -> Call:
        binding = session.io_binding()
        binding.bind_input(name, "cpu", 0, np.float32, x.shape, x.ctypes.data)
        results = [np.empty_like(y) for y in session.run(outputs, {name: x})]
        for output, y in zip(outputs, results, strict=True):
            binding.bind_output(output, "cpu", 0, np.float32, y.shape, y.ctypes.data)

        def call() -> list[Array]:
            session.run_with_iobinding(binding)
            return results

        call.arrays = (x, results)  # type: ignore[attr-defined]  # alive as long as the call
        return call

    return prepare


def _half(job: Job) -> Any:
    import vaekit

    kind = vaekit.Encoder if job.half == "encoder" else vaekit.Decoder
    return kind(job.bundle, provider="cpu", threads=job.threads, precision=job.precision)


def _vaekit_call(job: Job) -> Prepare:
    half = _half(job)
    return lambda x: lambda: half(x)


def _vaekit_bind(job: Job) -> Prepare:
    half = _half(job)

    def prepare(x: Array) -> Call:
        call = half.bind(len(x))
        call.input[...] = x
        return call  # type: ignore[no-any-return]

    return prepare


def _torch(job: Job) -> tuple[Any, Any]:
    import torch

    torch.set_num_threads(job.threads)
    return torch, torch_module(job)


def _in_torch(torch: Any, function: Callable[[Any], Any]) -> Prepare:
    def prepare(x: Array) -> Call:
        value = torch.from_numpy(x)

        def call() -> Any:
            with torch.inference_mode():
                return function(value)

        return call

    return prepare


def _torch_eager(job: Job) -> Prepare:
    torch, module = _torch(job)
    return _in_torch(torch, module)


def _torch_compile(job: Job) -> Prepare:
    torch, module = _torch(job)
    return _in_torch(torch, torch.compile(module, dynamic=True))


def _torchscript(job: Job) -> Prepare:
    torch, module = _torch(job)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # it is deprecated, and what many apps still have
        traced = torch.jit.trace(module, torch.from_numpy(job.inputs(2)))
        return _in_torch(torch, torch.jit.optimize_for_inference(torch.jit.freeze(traced)))


def _torch_bf16(job: Job) -> Prepare:
    torch, module = _torch(job)
    module = module.to(torch.bfloat16)

    def run(x: Any) -> Any:
        result = module(x.bfloat16())
        return [y.float() for y in result] if isinstance(result, tuple) else result.float()

    return _in_torch(torch, run)


def _openvino(precision: str) -> Callable[[Job], Prepare]:
    def open_job(job: Job) -> Prepare:
        import openvino

        core = openvino.Core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise CannotRun("this processor has no bfloat16")
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(job.threads),
            "INFERENCE_PRECISION_HINT": precision.replace("fp", "f"),
        }

        def prepare(x: Array) -> Call:
            model = core.read_model(str(job.path))
            model.reshape(list(x.shape))
            request = core.compile_model(model, "CPU", config).create_infer_request()
            request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
            results = [request.get_output_tensor(i).data for i in range(len(model.outputs))]

            def call() -> list[Array]:
                request.start_async()
                request.wait()
                return results

            call.arrays = x  # type: ignore[attr-defined]  # the tensor reads its memory
            return call

        return prepare

    return open_job


def _numpy(job: Job) -> Prepare:
    if job.model != "mlp":
        raise CannotRun("NumPy has no convolution")
    weights = mlp_weights(job)
    first, second = (np.ascontiguousarray(weights[f"{i}.weight"].T) for i in (0, 2))
    first_bias, second_bias = weights["0.bias"], weights["2.bias"]
    shape = job.bundle.manifest.spec.data.shape

    def run(x: Array) -> list[Array]:
        h = x.reshape(len(x), -1) @ first
        h += first_bias
        np.maximum(h, 0, out=h)
        y = h @ second
        y += second_bias
        if job.half == "encoder":
            return np.split(y, 2, axis=1)
        np.negative(y, out=y)
        np.exp(y, out=y)
        y += 1
        return [np.reciprocal(y, out=y).reshape(-1, *shape)]

    return lambda x: lambda: run(x)


PEERS: dict[str, Peer] = {
    "ONNX Runtime": Peer(_ort_run),
    "ONNX Runtime, IO binding": Peer(_ort_binding),
    "vaekit": Peer(_vaekit_call),
    "vaekit, bound": Peer(_vaekit_bind),
    "vaekit int8, bound": Peer(_vaekit_bind, 0.5, None, "int8"),
    "vaekit fp16, bound": Peer(_vaekit_bind, 0.01, None, "fp16"),
    "PyTorch": Peer(_torch_eager),
    "torch.compile": Peer(_torch_compile),
    "TorchScript, frozen": Peer(_torchscript),
    "PyTorch bf16": Peer(_torch_bf16, BF16, "bf16"),
    "OpenVINO": Peer(_openvino("fp32")),
    "OpenVINO bf16": Peer(_openvino("bf16"), BF16, "bf16"),
    "NumPy": Peer(_numpy),
}


def as_arrays(result: Any) -> list[Array]:
    """Whatever a peer gives, as NumPy arrays."""
    parts: Iterable[Any] = result if isinstance(result, (tuple, list)) else [result]
    return [np.asarray(part) for part in parts]


def deviation(found: list[Array], golden: list[Array]) -> float:
    """Largest ``|a - b| / (1 + |b|)``; infinite where shapes differ or a number is NaN."""
    if [a.shape for a in found] != [b.shape for b in golden]:
        return float("inf")
    worst = max(float((np.abs(a - b) / (1 + np.abs(b))).max()) for a, b in zip(found, golden, strict=True))
    return worst if worst == worst else float("inf")  # noqa: PLR0124  NaN is the only number that is not itself
