"""How one half of a bundle is called.

    call    `encode` or `decode`: NumPy in, NumPy out, checked, as most apps would
    bound   `bind`: arrays of a fixed size that stay, nothing allocated or checked; on a GPU the outputs stay in its memory
    graph   CUDA alone: input and outputs stay in the GPU's memory, and the kernels of one call are captured once and replayed

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaekit.bundle import Bundle
from vaekit.graphinfo import GraphInfo
from vaekit.noise import noise
from vaekit.runtime.bench.results import Setting
from vaekit.runtime.bound import DEVICES
from vaekit.runtime.providers import Options, import_onnxruntime, open_session
from vaekit.runtime.scheduling import shape_of
from vaekit.runtime.session import Decoder, Encoder, Given

Call: TypeAlias = Callable[[], object]


def open_half(bundle: Bundle, setting: Setting) -> Encoder | Decoder:
    """Open a half as an app would.

    Raises:
        ProviderError: The provider is not there or does not load.
        BundleError: The bundle's graph is not what its manifest says.
    """
    kind = Decoder if setting.half == "decoder" else Encoder
    return kind(bundle, provider=setting.provider, precision=setting.precision, threads=setting.threads, io=setting.io)


def open_for_graphs(bundle: Bundle, setting: Setting) -> Any:
    """Open a session on CUDA that captures each call's kernels and replays them.

    Raises:
        ProviderError: The graph has nodes that CUDA does not run, or CUDA is not there.
    """
    options = Options(setting.provider, setting.threads, cuda_graph=True)
    name = bundle.manifest.graph(setting.half, setting.precision, setting.io).file.file
    content = bundle.graph(setting.half, setting.precision, io=setting.io)
    return open_session(content, options, name=name).session


def inputs(bundle: Bundle, half: str, count: int, io: str = "float32") -> Given:
    """Realistic inputs: portable noise for the decoder, the golden items over and over for the encoder.

    Args:
        bundle: The bundle.
        half: "decoder" or "encoder".
        count: How many items.
        io: "uint8" takes the golden pixels, in the bundle's layout.

    Returns:
        Shape (count, ...), contiguous.
    """
    if half == "decoder":
        return noise(seed=0, count=count, dim=bundle.manifest.spec.latent)
    x: NDArray[Any] = bundle.golden(io).x
    return np.ascontiguousarray(x[np.arange(count) % len(x)])


def plain(model: Encoder | Decoder, x: Given) -> Call:
    """`encode` or `decode` of x."""
    run: Callable[[Any], object] = model.decode if isinstance(model, Decoder) else model.encode
    return functools.partial(run, x)


def bound(model: Encoder | Decoder, x: Given) -> Call:
    """The bound call of x, which is in its input already; on a GPU the outputs stay there.

    Raises:
        ConfigError: Its arrays do not fit into the memory.
    """
    call = model.bind(len(x), device=model.provider in DEVICES)
    call.input[...] = x
    return call


class Buffers:
    """One half's input and outputs in a device's memory, of the largest batch; a smaller one is their beginning.

    A captured graph reads and writes the addresses that it was captured with, so these stay where they are.

    Args:
        info: The half's graph, in any precision: all of one io have the same inputs and outputs.
        x: The input of the largest batch.
        device: ONNX Runtime's name of the device: "cuda", or "cpu" to try this without one.
    """

    def __init__(self, info: GraphInfo, x: Given, device: str) -> None:
        values = import_onnxruntime().OrtValue
        self.device = device
        self._ports = (info.inputs[0], *info.outputs)
        self._values = [values.ortvalue_from_numpy(x, device, 0)]
        for port in info.outputs:
            shape = list(shape_of(port, len(x)))
            self._values.append(values.ortvalue_from_shape_and_type(shape, np.dtype(port.dtype).type, device, 0))

    def bind(self, session: Any, batch: int, *, graph_id: int) -> Call:
        """Give a function that runs a session on the first `batch` items, and waits for it.

        Args:
            session: An `onnxruntime.InferenceSession` of this half.
            batch: Items.
            graph_id: Number of the CUDA graph that this call is captured as; each shape needs its own.
        """
        binding = session.io_binding()
        binding.buffers = self  # it knows bare addresses, and must not outlive what is there
        places = [binding.bind_input, *[binding.bind_output] * (len(self._ports) - 1)]
        for bind, port, value in zip(places, self._ports, self._values, strict=True):
            shape = list(shape_of(port, batch))
            bind(port.name, self.device, 0, np.dtype(port.dtype).type, shape, value.data_ptr())
        options = import_onnxruntime().RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(graph_id))
        run = session.run_with_iobinding

        def run_and_wait() -> None:
            run(binding, options)
            binding.synchronize_outputs()

        return run_and_wait

    def outputs(self, batch: int) -> Sequence[NDArray[Any]]:
        """Copy what the last call gave, in the order of the graph's outputs."""
        return [value.numpy()[:batch].copy() for value in self._values[1:]]


def bytes_of(info: GraphInfo, batch: int) -> int:
    """Bytes that one call's input and outputs take."""
    ports = (*info.inputs, *info.outputs)
    return sum(int(np.prod(shape_of(port, batch))) * np.dtype(port.dtype).itemsize for port in ports)
