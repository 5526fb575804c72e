"""Bound calls: a batch of fixed size, arrays that stay, and nothing allocated from call to call.

    call = decoder.bind(16)      # once
    call.z[...] = codes          # fill the input in place
    x_hat = call()               # the same array each time: copy what you want to keep

For hot loops. The arrays are made here, so shape and dtype are right by construction; values are not looked at unless
``check=True`` was asked for, and a NaN in the input then is a NaN in the output.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from operator import index
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import ConfigError
from vaekit.graphinfo import GraphInfo
from vaekit.latents import Latents, Posterior
from vaekit.runtime.providers import Opened, import_onnxruntime
from vaekit.runtime.scheduling import Array, Call, Scheduler, bind_outputs, shape_of
from vaekit.value import is_whole

LINE: Final = 64
"""Bytes of a cache line, and of the widest vector register: an array that begins at one is read without splits."""

HOST: Final = ("cpu",)
"""Providers that read an input in place. Others copy it when it is bound (OpenVINO's plug-in too, on the CPU), and would see a
later change only if it is bound again."""

DEVICES: Final = {"cuda": "cuda", "tensorrt": "cuda"}
"""Providers with a memory of their own, and ONNX Runtime's name of the device."""


class Bound:
    """One half of a model, ready to run on a batch of fixed size. Made by `Encoder.bind` and `Decoder.bind`.

    Calling it runs the graph on what `input` holds, and writes into `outputs`. It allocates no array. Use one from one thread
    at a time; any number of them, of the same model too, may be in use at once.

    Args:
        scheduler: What runs the graph where it reads and writes this machine's memory.
        opened: The session, and the provider that it runs on.
        info: What the manifest states about the graph.
        batch: Items a call.
        check: Refuses an input that the model cannot take; None looks at no values.
        device: Whether the outputs stay in the device's memory.

    Attributes:
        batch: Items a call.
        input: What the next call reads, (batch, ...); zeros at first. Fill it in place: ``bound.input[...] = values``.
        outputs: What each call overwrites, one array for each of the graph's outputs, in its order. With ``device=True``
            `onnxruntime.OrtValue`s in the device's memory: ``data_ptr()``, or ``numpy()`` for a copy here.

    Raises:
        ConfigError: The batch is no whole number of 1 or more or too large for the memory, or `device` is asked of a provider
            that has no memory of its own.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        opened: Opened,
        info: GraphInfo,
        batch: int,
        *,
        check: Callable[[Array], None] | None = None,
        device: bool = False,
    ) -> None:
        self.batch = index(batch) if is_whole(batch) else 0
        if self.batch < 1:
            raise ConfigError(f"batch={batch!r}: give the items a call, a whole number of 1 or more.")
        provider = opened.provider
        if device and provider not in DEVICES:
            raise ConfigError(
                f"device=True leaves the outputs in a device's memory, but provider={provider!r} has none that vaekit knows; "
                f"leave it out, or load the model with one of: {', '.join(DEVICES)}."
            )
        try:
            self._input: Array = _aligned(shape_of(info.inputs[0], self.batch), info.inputs[0].dtype)
            here = () if device else info.outputs
            self._outputs: tuple[Any, ...] = tuple(_aligned(shape_of(port, self.batch), port.dtype) for port in here)
        except (MemoryError, ValueError):  # ValueError: more bytes than an address can count
            raise ConfigError(f"batch={batch}: its arrays do not fit into the memory; bind a smaller batch.") from None
        if provider in HOST:
            run = scheduler.bind(self.input, self.outputs)
        elif provider in DEVICES:
            run = self._on_device(opened.session, info, DEVICES[provider])
        else:
            run = self._rebinding(opened.session, info)
        self._run: Call = run if check is None else partial(_checked, check, self.input, run)

    # Read only: ONNX Runtime knows these arrays by their addresses, and another in their place would free what it uses.

    @property
    def input(self) -> Array:
        """What the next call reads."""
        return self._input

    @property
    def outputs(self) -> tuple[Any, ...]:
        """What each call overwrites."""
        return self._outputs

    def __reduce__(self) -> NoReturn:
        raise TypeError("a bound call cannot be copied or pickled; bind the model again")

    def _on_device(self, session: Any, info: GraphInfo, device: str) -> Call:
        """The input has a twin on the device, into which each call copies it; ONNX Runtime copies the outputs here."""
        place = import_onnxruntime().OrtValue.ortvalue_from_shape_and_type
        binding = session.io_binding()
        twin = place(list(self.input.shape), self.input.dtype.type, device, 0)
        binding.bind_ortvalue_input(info.inputs[0].name, twin)
        if self.outputs:
            bind_outputs(binding, info.outputs, self.outputs)
        else:
            self._outputs = tuple(
                place(list(shape_of(port, self.batch)), np.dtype(port.dtype).type, device, 0) for port in info.outputs
            )
            for port, output in zip(info.outputs, self.outputs, strict=True):
                binding.bind_ortvalue_output(port.name, output)

        def run() -> None:
            twin.update_inplace(self.input)
            session.run_with_iobinding(binding)

        return run

    def _rebinding(self, session: Any, info: GraphInfo) -> Call:
        """For any other provider: bind the input again for each call, so that it is copied again."""
        binding, x = session.io_binding(), self.input
        bind = partial(binding.bind_input, info.inputs[0].name, "cpu", 0, x.dtype.type, x.shape, x.ctypes.data)
        bind_outputs(binding, info.outputs, self.outputs)

        def run() -> None:
            bind()
            session.run_with_iobinding(binding)

        return run


class BoundDecoder(Bound):
    """A bound decoder: fill `z`, call, read what it returns."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._x_hat: NDArray[np.float32] = self.outputs[0]

    @property
    def z(self) -> Latents:
        """Codes that the next call decodes, (batch, D) float32; another name of `input`."""
        return self.input

    def __call__(self) -> NDArray[np.float32]:
        """Decode what `z` holds.

        Returns:
            Items, (batch, *data shape): the same array each time, overwritten by the next call. With ``device=True`` the same
            `onnxruntime.OrtValue`.

        Raises:
            ShapeError: The call was bound with ``check=True``, and `z` holds a NaN or an infinity.
        """
        self._run()
        return self._x_hat


class BoundEncoder(Bound):
    """A bound encoder: fill `x`, call, read the posterior that it returns."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        mean, *log_var = self.outputs
        self._posterior = Posterior(mean, log_var[0] if log_var else _impossible(mean))

    @property
    def x(self) -> NDArray[np.float32]:
        """Items that the next call encodes, (batch, *data shape) float32; another name of `input`."""
        return self.input

    def __call__(self) -> Posterior:
        """Encode what `x` holds.

        Returns:
            The posterior, with mean and log_var of (batch, D): the same arrays each time, overwritten by the next call. An
            autoencoder's log_var is minus infinity. With ``device=True`` the same `onnxruntime.OrtValue`s.

        Raises:
            ShapeError: The call was bound with ``check=True``, and `x` holds a NaN, an infinity, or a value out of range.
        """
        self._run()
        return self._posterior


def _checked(check: Callable[[Array], None], x: Array, run: Call) -> None:
    check(x)
    run()


def _impossible(mean: Any) -> NDArray[np.float32]:
    """An autoencoder's log-variance, minus infinity; `mean` is an array, or an OrtValue whose shape is a method."""
    shape = mean.shape() if callable(mean.shape) else mean.shape
    return np.full(shape, -np.inf, np.float32)


def _aligned(shape: tuple[int, ...], dtype: str) -> Array:
    """Zeros that begin at a cache line."""
    size = prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size].view(dtype).reshape(shape)
