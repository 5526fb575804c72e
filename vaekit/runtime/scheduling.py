"""Which session runs a call, and on how many threads: the reason why a caller need not think about either.

    one caller, few items      the session with all threads, which spin between calls for the next one
    one caller, many items     slices of the batch, on a session of one thread that all threads share
    several callers at once    each on the session of one thread, for threads that spin would take the others' cores

The session of one thread is made when the first call needs it. All this is for the CPU; another provider gets each call as it
is.

How a batch is cut changes no number: an item's products are summed in the same order whatever the other items are. (ONNX
Runtime promises nothing of the kind; tests/runtime/test_threads.py looks whether it still holds.)

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from vaekit.graphinfo import GraphInfo, TensorPort
from vaekit.runtime.providers import Opened, Options, open_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
Call: TypeAlias = Callable[[], Any]

SLICE: Final = 128
"""Fewest items of a slice. So many rows of the reference network's layers, 400 KB and less, stay in a core's cache; a product
of fewer rows would read the weights for too little."""

SLICE_OPERATIONS: Final = 80_000_000
"""Fewest operations of a slice, about a millisecond of one core: waking a thread takes a twentieth of that."""

KEPT: Final = 64 << 20
"""Largest graph in bytes that gets a second session: its bytes are kept for it, and then its weights are in memory twice."""

CROWDED: Final = 32
"""Calls that go to the session of one thread after two callers were last seen at once."""


class Scheduler:
    """Runs one graph for any number of callers. Safe to use from many threads.

    Args:
        opened: The session with all threads.
        model: The bytes that it was made from.
        options: The options that it was made with.
        info: What the manifest states about the graph.
        whole: Whether an item's numbers depend on the rest of its batch, as in dynamic int8: then no batch is cut.
    """

    def __init__(self, opened: Opened, model: bytes, options: Options, info: GraphInfo, *, whole: bool = False) -> None:
        self._wide = opened.session
        self._narrow = opened.session  # until there is one of one thread
        self._threads = opened.threads
        self._input = info.inputs[0].name
        self._outputs = info.outputs
        self._names = [port.name for port in info.outputs]
        self._again: tuple[bytes, Options, str] | None = None
        self._shares = False
        self._slice = 0
        if opened.provider == "cpu" and len(model) <= KEPT:
            # A weight of 4 bytes is used at least once an item, in one multiplication and one addition.
            self._slice = 0 if whole else max(SLICE, SLICE_OPERATIONS // max(1, len(model) // 2))
            if opened.threads > 1:
                self._shares = True
                self._again = (model, options.replace(provider="cpu", threads=1), info.file.file)
        self._making, self._alone = allocate_lock(), allocate_lock()
        self._crowded = 0
        self._pool: Any = None

    @property
    def narrow(self) -> Any:
        """The session of one thread, made when it is first asked for."""
        with self._making:
            if self._again is not None:
                model, options, name = self._again
                self._narrow, self._again = open_session(model, options, name=name).session, None
            return self._narrow

    def slices(self, batch: int) -> list[slice]:
        """Rows of each slice of a batch, as equal as can be; one slice where cutting does not pay.

        There are at least as many slices as threads, or none: a few slices would leave the other threads without work, which
        inside one call ONNX Runtime can divide further.
        """
        count = batch // self._slice if self._slice else 1
        count -= count % self._threads  # else the last ones would keep some threads and not the others
        if count < 2:
            return [slice(0, batch)]
        edges = [batch * i // count for i in range(count + 1)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def run(self, x: Array) -> list[Array]:
        """Run a batch of one item or more; the outputs are new arrays, in the graph's order."""
        if self._slice and len(x) >= 2 * self._slice:
            rows = self.slices(len(x))
            if len(rows) > 1:
                x = np.require(x, requirements=("C", "A"))  # a session that is bound reads memory in its order
                outputs = [np.empty(shape_of(port, len(x)), port.dtype) for port in self._outputs]
                self._sliced(x, outputs, rows)()
                return outputs
        if not self._shares:
            return self._wide.run(self._names, {self._input: x})  # type: ignore[no-any-return]
        alone = self._alone.acquire(False)
        try:
            session = self._wide if alone and not self._crowded else self._in_a_crowd(alone)
            return session.run(self._names, {self._input: x})  # type: ignore[no-any-return]
        finally:
            if alone:
                self._alone.release()

    def bind(self, x: Array, outputs: Sequence[Array]) -> Call:
        """Prepare the call that reads one array and writes the others, all of them C-contiguous and in this machine's memory.

        The caller keeps the arrays alive for as long as the call may be made, and makes it from one thread at a time.
        """
        rows = self.slices(len(x))
        if len(rows) > 1:
            return self._sliced(x, outputs, rows)
        wide = self._bound(self._wide, x, outputs)
        if not self._shares:
            return wide
        narrow: list[Call] = []
        acquire, release = self._alone.acquire, self._alone.release

        def call() -> None:
            alone = acquire(False)
            try:
                if alone and not self._crowded:
                    wide()
                    return
                session = self._in_a_crowd(alone)
                if not narrow:
                    narrow.append(self._bound(session, x, outputs))
                narrow[0]()
            finally:
                if alone:
                    release()

        return call

    def _in_a_crowd(self, alone: bool) -> Any:
        """Count one call of a crowd, and give its session."""
        # Two threads that count at once may lose one of the counts: a call more or less on the one session.
        self._crowded = self._crowded - 1 if alone else CROWDED
        return self.narrow

    def _sliced(self, x: Array, outputs: Sequence[Array], rows: Sequence[slice]) -> Call:
        return partial(self._share, [self._bound(self.narrow, x[part], [y[part] for y in outputs]) for part in rows])

    def _bound(self, session: Any, x: Array, outputs: Sequence[Array]) -> Call:
        binding = session.io_binding()
        binding.bind_input(self._input, "cpu", 0, x.dtype.type, x.shape, x.ctypes.data)
        bind_outputs(binding, self._outputs, outputs)
        return partial(session.run_with_iobinding, binding)

    def _share(self, calls: Sequence[Call]) -> None:
        """Make every call once, on this thread and on the others that are free."""
        todo = deque(calls)

        def work() -> None:
            while todo:
                try:
                    call = todo.popleft()
                except IndexError:  # another thread was quicker
                    return
                call()

        helpers = []
        if self._threads > 1:
            try:
                pool = self._helpers()
                for _ in range(min(self._threads, len(calls)) - 1):
                    helpers.append(pool.submit(work))
            except RuntimeError:  # the main thread has ended, and Python starts no other: this one does it all
                pass
        try:
            work()
        finally:
            for helper in helpers:
                if not helper.cancel():  # it has begun; one that has not finds nothing to do
                    helper.result()

    def _helpers(self) -> Any:
        if self._pool is None:
            with self._making:
                if self._pool is None:
                    from concurrent.futures import ThreadPoolExecutor  # here, since it costs 5 ms and few need it

                    self._pool = ThreadPoolExecutor(self._threads - 1, thread_name_prefix="vaekit")
        return self._pool


def shape_of(port: TensorPort, batch: int) -> tuple[int, ...]:
    """Shape of an input or output with so many items."""
    return (batch, *map(int, port.shape[1:]))


def bind_outputs(binding: Any, ports: Sequence[TensorPort], arrays: Sequence[Array]) -> None:
    """Have a binding write each output into an array of this machine's memory."""
    for port, y in zip(ports, arrays, strict=True):
        binding.bind_output(port.name, "cpu", 0, y.dtype.type, y.shape, y.ctypes.data)
