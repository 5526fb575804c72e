"""Encode or decode a data set of any size into a file, in constant memory.

Items are cut into batches of a fixed size, from the first to the last; each batch is one call of the model; its rows go to
the file before the next batch is read. Where the calls are made is the engine's business: in this process, or in
several (`vaekit.runtime.ray_engine`). Both cut the same batches and make the same calls, so on one thread they write the same
file, bit for bit. Between batch sizes and numbers of threads the bits may differ, since ONNX Runtime picks its kernels
by the size of the matrices: on the CPUs where we looked, an MLP's do not.

Shapes: N items, D latent dimensions.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaekit.datasets import as_float
from vaekit.datasets.mapped import Reader
from vaekit.errors import ConfigError, DataError, ShapeError
from vaekit.runtime.session import BATCH, Decoder, Encoder
from vaekit.runtime.sinks import Column, Columns, ending, open_sink
from vaekit.runtime.vae import VAE
from vaekit.spec import ModelSpec

OnRows: TypeAlias = Callable[[int, int], None]
"""Called with the rows that are written and all rows."""


class Source(Protocol):
    """Rows that can be taken by a slice: an array, a mapped array, or what `vaekit.datasets.rows` has."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, *shape)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 for pixels, which stand for items / 255; else a floating type."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


class Work(NamedTuple):
    """What is to be done with each batch.

    Attributes:
        half: "encoder" or "decoder".
        columns: What is wanted of it: "mean", "log_var", "z"; of a decoder "x".
        batch_size: Items a call; the last batch may be smaller.
        seed: Of the codes z that are drawn from the posterior: row i depends on (seed, i) and the item alone.
    """

    half: Literal["encoder", "decoder"]
    columns: tuple[str, ...]
    batch_size: int
    seed: int | None = None

    def batches(self, count: int) -> int:
        """How many batches some items make."""
        return math.ceil(count / self.batch_size)

    def do(self, model: Encoder | Decoder, items: Source, batch: int) -> dict[str, NDArray[np.float32]]:
        """Put one batch through the model.

        Raises:
            ShapeError: An item does not fit the model.
        """
        start = batch * self.batch_size
        x = as_float(np.asarray(items[start : min(start + self.batch_size, len(items))]))
        if isinstance(model, Decoder):
            return {"x": model.decode(x)}
        posterior = model.encode(x)
        found = posterior._asdict()
        if self.seed is not None:
            found["z"] = posterior.sample(seed=self.seed, start=start)
        return {name: found[name] for name in self.columns}


class Pool(Protocol):
    """A model opened in several processes, which stands where an `Encoder` or `Decoder` may: `RayPool` is one."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        ...

    def run(self, work: Work, items: Source) -> Generator[Columns, None, None]:
        """Give each batch's rows, in the items' order; closing it stops the work."""
        ...


class Streamed(NamedTuple):
    """What was written.

    Attributes:
        out: The file.
        items: Rows, N.
        arrays: Each array's whole shape by name.
        seconds: Wall time.
    """

    out: Path
    items: int
    arrays: dict[str, tuple[int, ...]]
    seconds: float


def encode_stream(
    model: Encoder | VAE | Pool,
    items: Source,
    out: str | Path,
    *,
    batch_size: int = BATCH,
    seed: int | None = None,
    overwrite: bool = False,
    on_progress: OnRows | None = None,
) -> Streamed:
    """Write the posterior of each item.

    - `.npy`: one array (N, D): the codes to go on with, which are z where a seed is given, else the means.
    - `.npz`: arrays mean and log_var (an autoencoder: mean alone), and z where a seed is given.
    - `.parquet`: the same, a number a column: mean_0, ..., log_var_0, ..., z_0, ....

    Args:
        model: What encodes.
        items: (N, *data shape): uint8 pixels, which stand for items / 255, or floating values as the model takes them.
        out: The file; its ending says the format.
        batch_size: Items a call.
        seed: Draw a code z of each posterior too, with this seed of the portable noise.
        overwrite: Whether a file that stands there may be replaced.
        on_progress: Called after each batch.

    Returns:
        What was written.

    Raises:
        ConfigError: The ending is unknown, the batch size below 1, or a seed was given for an autoencoder.
        DataError: The items have another shape than the model's, or a dtype that stands for no items.
        ShapeError: A value is outside what the model takes.
        OutputError: The file exists or cannot be written; nothing half-written is left.
        MissingDependencyError: Parquet was asked for, and pyarrow is not installed.
    """
    spec, path = model.spec, Path(out)
    if seed is not None and spec.kind == "ae":
        raise ConfigError("an autoencoder's posterior is a point, so there is nothing to draw; leave the seed out.")
    names = [*(["mean"] if spec.kind == "ae" else ["mean", "log_var"]), *([] if seed is None else ["z"])]
    if ending(path) == ".npy":
        names = ["mean" if seed is None else "z"]
    columns = [Column(name, (spec.latent,)) for name in names]
    work = Work("encoder", tuple(names), batch_size, seed)
    half = model.encoder if isinstance(model, VAE) else model
    _check(items, spec.data.shape, "items", (np.uint8, np.floating))
    return _stream(half, work, items, path, columns, overwrite=overwrite, on_progress=on_progress)


def decode_stream(
    model: Decoder | VAE | Pool,
    codes: Source,
    out: str | Path,
    *,
    batch_size: int = BATCH,
    overwrite: bool = False,
    on_progress: OnRows | None = None,
) -> Streamed:
    """Write the decoder's mean for each code.

    - `.npy`: one array (N, *data shape).
    - `.npz`: one array, x.
    - `.parquet`: a number a column, called by the data's columns, else x_0, x_1, ...; items of several axes are one column x,
      a list of fixed length with the last axis fastest.

    Args:
        model: What decodes.
        codes: (N, D), floating.
        out: The file; its ending says the format.
        batch_size: Codes a call.
        overwrite: Whether a file that stands there may be replaced.
        on_progress: Called after each batch.

    Returns:
        What was written.

    Raises:
        ConfigError: The ending is unknown, or the batch size below 1.
        DataError: The codes have another shape than the model's, or are not floating.
        ShapeError: A value is not finite.
        OutputError: The file exists or cannot be written; nothing half-written is left.
        MissingDependencyError: Parquet was asked for, and pyarrow is not installed.
    """
    data = model.spec.data
    columns = [Column("x", data.shape, tuple(feature.name for feature in data.features))]
    half = model.decoder if isinstance(model, VAE) else model
    _check(codes, (model.spec.latent,), "codes", (np.floating,))
    work = Work("decoder", ("x",), batch_size)
    return _stream(half, work, codes, Path(out), columns, overwrite=overwrite, on_progress=on_progress)


def run_here(model: Encoder | Decoder, work: Work, items: Source) -> Generator[Columns, None, None]:
    """Give each batch's rows, computed in this process."""
    reader = Reader(items)
    for batch in range(work.batches(len(items))):
        yield work.do(model, reader, batch)
    reader.release()


def _stream(
    model: Encoder | Decoder | Pool,
    work: Work,
    items: Source,
    out: Path,
    columns: list[Column],
    *,
    overwrite: bool,
    on_progress: OnRows | None,
) -> Streamed:
    if work.batch_size < 1:
        raise ConfigError(f"batch_size={work.batch_size}: give 1 or more.")
    began, count, done = time.perf_counter(), len(items), 0
    with open_sink(out, columns, count, overwrite=overwrite) as sink:
        batches = run_here(model, work, items) if isinstance(model, (Encoder, Decoder)) else model.run(work, items)
        with contextlib.closing(batches):  # at once, whatever stops the writing: several processes may be at work
            for rows in batches:
                sink.append(rows)
                done += len(rows[columns[0].name])
                if on_progress is not None:
                    on_progress(done, count)
        if done != count:
            raise DataError(f"{count:,} items were to be put through the model, but {done:,} came out.")
    arrays = {column.name: (count, *column.shape) for column in columns}
    return Streamed(out, count, arrays, time.perf_counter() - began)


def _check(source: Source, shape: tuple[int, ...], name: str, kinds: tuple[type[Any], ...]) -> None:
    if tuple(source.shape[1:]) != shape:
        raise DataError(f"the {name} have shape {tuple(source.shape[1:])}, but the model takes {shape}.")
    if not any(np.issubdtype(source.dtype, kind) for kind in kinds):
        raise ShapeError(
            f"the {name} have dtype {source.dtype}, but the model takes float32"
            f"{' or 8-bit pixels' if np.uint8 in kinds else ''}; convert them first."
        )
