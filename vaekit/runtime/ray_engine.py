"""A model opened in several processes, by Ray Data: the same batches, the same calls, the same bits, on more cores.

Ray Data streams the batches' numbers through a pool of actors. Each actor has one ONNX Runtime session on one thread; it
takes the items of its batch out of the source by itself, and gives the rows back as bytes. So what travels is small: a source
that is mapped from a file goes to the actors as the file's name, and they map it too; an array in memory is put into Ray's
shared memory once.

The rows come back in order. At any time a few blocks of `BLOCK_BYTES` are under way, however long the source is.

Needs: NumPy, ONNX Runtime, and Ray inside the functions (the extra vaekit[ray]). Must not import: torch, onnx.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import mmap
import os
import pickle
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vaekit import errors
from vaekit.bundle import Bundle
from vaekit.datasets.mapped import Reader
from vaekit.errors import ConfigError, MissingDependencyError, ProviderError, VaekitError
from vaekit.manifest import Manifest
from vaekit.runtime.session import BundleLike, Decoder, Encoder
from vaekit.runtime.sinks import Columns
from vaekit.runtime.stream import Source, Work
from vaekit.spec import ModelSpec

BLOCK_BYTES: Final = 8 << 20
"""About the size of what one task of an actor gives back: large against a task's overhead of milliseconds, small in memory."""

MAX_BATCHES_A_TASK: Final = 64

STORE_BYTES: Final = 512 << 20
"""Ray's shared memory on a cluster of our own, besides the source's arrays that have to lie in it."""

ADDRESS: Final = "RAY_ADDRESS"
"""Ray's own environment variable: where a cluster is that is to be used."""


class RayPool:
    """A bundle opened by actors; give it to `encode_stream` or `decode_stream` in the place of a model.

    Uses the cluster that this process is connected to, else the one that RAY_ADDRESS names, else one of its own on this
    machine, which ends when the stream does. Mapped sources must then lie at the same path on every machine of the cluster.

    Args:
        bundle: The bundle; None is the built-in model.
        workers: Actors, each on one core.
        precision: One of the bundle's precisions.

    Raises:
        BundleError: The bundle cannot be used.
        ConfigError: Fewer than one worker.
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, bundle: BundleLike = None, *, workers: int = 2, precision: str = "fp32") -> None:
        if workers < 1:
            raise ConfigError(f"workers={workers}: give 1 or more.")
        import_ray()
        self._bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
        self.workers = workers
        self.precision = precision

    @property
    def manifest(self) -> Manifest:
        """What the bundle states about itself."""
        return self._bundle.manifest

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.manifest.spec

    def run(self, work: Work, items: Source) -> Generator[Columns, None, None]:
        """Give each batch's rows, in the items' order. A cluster of its own ends when the generator does.

        Raises:
            ShapeError: An item does not fit the model.
            ProviderError: Ray cannot start, or lost its actors.
        """
        ray = import_ray()
        batches = work.batches(len(items))
        graph = self._bundle.graph(work.half, self.precision)
        shipped = pack(items)
        with _cluster(ray, self.workers, sum(buffer.nbytes for buffer in shipped[1])) as ours, _quiet(ray):
            arguments = (str(self._bundle.place), self.manifest, graph, self.precision, work, ray.put(shipped))
            # On a cluster of our own nothing is left to restart an actor for; on another one a machine may go.
            restarts = {"max_restarts": 0} if ours else {}
            rows = ray.data.range(batches, override_num_blocks=self._tasks(work, batches)).map_batches(
                _Actor,
                batch_size=1,
                # One task at work and one waiting: else the actor that starts first takes all of a short stream.
                compute=ray.data.ActorPoolStrategy(size=self.workers, max_tasks_in_flight_per_actor=2),
                fn_constructor_args=arguments,
                num_cpus=1,
                **restarts,
            )
            shapes = {name: self.spec.data.shape if name == "x" else (self.spec.latent,) for name in work.columns}
            expected = 0
            try:
                for block in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
                    for row in block.to_pylist():
                        if row["error"]:
                            raise getattr(errors, row["error"])(row["message"])
                        if row["batch"] != expected:
                            raise ProviderError(
                                f"Ray gave batch {row['batch']} where {expected} was due; run it again."
                            )
                        expected += 1
                        yield {
                            name: np.frombuffer(row[name], np.float32).reshape(-1, *shape)
                            for name, shape in shapes.items()
                        }
            except (ray.exceptions.RayError, OSError) as error:  # a broken pipe to a process that is gone, say
                raise ProviderError(f"Ray stopped: {_first_line(error)}. Try --engine local.") from error

    def _tasks(self, work: Work, batches: int) -> int:
        """How many tasks the batches are spread over: of about `BLOCK_BYTES`, and several for each worker."""
        row = self.spec.data.size if work.half == "decoder" else self.spec.latent * len(work.columns)
        together = min(max(1, BLOCK_BYTES // (4 * row * work.batch_size)), MAX_BATCHES_A_TASK)
        return max(1, math.ceil(batches / together), min(batches, 4 * self.workers))


class _Actor:
    """One session on one thread, and the source. Batches come by number; rows leave as bytes."""

    def __init__(self, place: str, manifest: Manifest, graph: bytes, precision: str, work: Work, shipped: Any) -> None:
        import ray

        half = Encoder if work.half == "encoder" else Decoder
        file = manifest.graph(work.half, precision).file.file
        bundle = Bundle(Path(place), manifest, {file: graph})
        self._model = half(bundle, provider="cpu", precision=precision, threads=1)
        self._work = work
        self._items = Reader(unpack(*ray.get(shipped)))

    def __call__(self, numbers: dict[str, NDArray[np.int64]]) -> dict[str, list[Any]]:
        batch = int(numbers["id"][0])
        result: dict[str, list[Any]] = {"batch": [batch], "error": [""], "message": [""]}
        result.update({name: [b""] for name in self._work.columns})
        try:
            rows = self._work.do(self._model, self._items, batch)
        except VaekitError as error:  # as data: Ray would give its text alone
            return {**result, "error": [type(error).__name__], "message": [str(error)]}
        return {**result, **{name: [np.ascontiguousarray(array).tobytes()] for name, array in rows.items()}}


def import_ray() -> Any:
    """Import Ray, with its data part.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray to itself
            import ray
            import ray.data
            import ray.exceptions
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"--engine ray needs {error.name}; install it with `pip install 'vaekit[ray]'`, or pass --engine local."
        ) from error
    return ray


def pack(items: Source) -> tuple[bytes, list[NDArray[np.uint8]]]:
    """Make a source ready to travel: what is mapped from a file by the file's name, arrays in memory beside it.

    Args:
        items: An array, or an object that holds arrays.

    Returns:
        What describes it, and the bytes of the arrays in memory, shared with them.
    """
    buffers: list[pickle.PickleBuffer] = []
    content = io.BytesIO()
    _Pickler(content, protocol=5, buffer_callback=buffers.append).dump(items)
    return content.getvalue(), [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]


def unpack(content: bytes, buffers: list[NDArray[np.uint8]]) -> Any:
    """Take up what `pack` gave, in another process."""
    return pickle.loads(content, buffers=buffers)  # noqa: S301  (it comes from this library's own `pack`)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """Send a mapped array by where it lies."""
        place = _place(value) if isinstance(value, np.ndarray) else None
        return NotImplemented if place is None else (_map, place)


def _place(array: NDArray[Any]) -> tuple[str, np.dtype[Any], tuple[int, ...], int, tuple[int, ...]] | None:
    """File, dtype, shape, offset and strides in bytes of an array that is mapped for reading, or a view of one; else None."""
    root: Any = array
    while root is not None and not isinstance(getattr(root, "base", None), mmap.mmap):
        root = getattr(root, "base", None)  # of a windowed view, that is an object which is no array
    if not isinstance(root, np.memmap) or root.filename is None:
        return None
    # The mapping begins at a multiple of the page size, the root at its stated offset.
    offset = root.offset + array.__array_interface__["data"][0] - root.__array_interface__["data"][0]
    return os.path.abspath(root.filename), array.dtype, array.shape, offset, array.strides


def _map(
    file: str, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, strides: tuple[int, ...]
) -> NDArray[Any]:
    whole = np.memmap(file, np.uint8, mode="r")
    return np.ndarray(shape, dtype, buffer=whole, offset=offset, strides=strides)


@contextlib.contextmanager
def _cluster(ray: Any, workers: int, source_bytes: int) -> Iterator[bool]:
    """Be connected to a cluster while the block runs; yields whether it is one of our own."""
    if ray.is_initialized():
        yield False
        return
    address = os.environ.get(ADDRESS)
    # Read when Ray starts. No statistics leave this machine.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"address": address}
    if address is None:
        # One logical core more than actors: the task that counts the batches needs a place as well.
        options = {
            "address": "local",
            "num_cpus": workers + 1,
            "object_store_memory": STORE_BYTES + source_bytes,
            "include_dashboard": False,
        }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, RuntimeError, ValueError) as error:  # (what Ray raises for an address, a port, a full disk)
        raise ProviderError(f"Ray cannot start: {_first_line(error)}. Try --engine local.") from error
    try:
        yield address is None
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Ask Ray Data for order, and for no bars and remarks of its own; put back what was set before."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the context sets what is deprecated
        context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars, context.execution_options.preserve_order
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
        context.enable_progress_bars, context.execution_options.preserve_order = before


def _first_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
