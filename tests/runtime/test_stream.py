"""Streams of items and codes: against NumPy's, zipfile's and pyarrow's own readers, and against one large call of torch."""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import vaekit
from vaekit.datasets import Dataset, Rows
from vaekit.datasets.rows import Joined
from vaekit.errors import ConfigError, DataError, MissingDependencyError, OutputError, ShapeError
from vaekit.runtime import sinks
from vaekit.runtime.codes import open_codes
from vaekit.runtime.sinks import Column, open_sink
from vaekit.runtime.stream import decode_stream, encode_stream

if TYPE_CHECKING:
    from vaekit.exporting import ModulePair

ATOL = 1e-5
"""The tolerance that the project sets for ONNX Runtime's CPU provider against torch."""

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed (the extra [tables])"
)
ENDINGS = [".npy", ".npz", pytest.param(".parquet", marks=needs_pyarrow)]


@pytest.fixture(scope="module")
def encoder(small_bundle: Path) -> vaekit.Encoder:
    return vaekit.Encoder(small_bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def decoder(small_bundle: Path) -> vaekit.Decoder:
    return vaekit.Decoder(small_bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def pixels(small_dataset: Dataset) -> np.ndarray:
    return np.asarray(small_dataset.train.items)


@pytest.fixture(scope="module")
def z() -> np.ndarray:
    return vaekit.noise(seed=1, count=300, dim=5)


@pytest.fixture(scope="module")
def posterior(small_pair: ModulePair, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What torch gives for all items at once."""
    with torch.inference_mode():
        mean, log_var = small_pair.encoder(torch.from_numpy(pixels).float() / 255)
    return mean.numpy(), log_var.numpy()


def table(path: Path, prefix: str) -> np.ndarray:
    """Columns prefix_0, prefix_1, ... side by side."""
    import pyarrow.parquet

    found = pyarrow.parquet.read_table(path)
    names = [name for name in found.column_names if name.rpartition("_")[0] == prefix]
    assert names == [f"{prefix}_{index}" for index in range(len(names))]
    return np.stack([found.column(name).to_numpy() for name in names], axis=1)


# What the files hold.


def test_npy_holds_the_means_of_every_item_in_order(
    encoder: vaekit.Encoder, pixels: np.ndarray, posterior: Any, tmp_path: Path
) -> None:
    done = encode_stream(encoder, pixels, tmp_path / "codes.npy", batch_size=64)
    found = np.load(tmp_path / "codes.npy", allow_pickle=False)
    assert (found.shape, found.dtype, done.arrays) == ((320, 5), np.float32, {"mean": (320, 5)})
    np.testing.assert_allclose(found, posterior[0], atol=ATOL)
    assert done.items == 320


def test_npz_holds_mean_and_log_var_and_the_codes_that_were_asked_for(
    encoder: vaekit.Encoder, pixels: np.ndarray, posterior: Any, tmp_path: Path
) -> None:
    encode_stream(encoder, pixels, tmp_path / "plain.npz", batch_size=64)
    with np.load(tmp_path / "plain.npz") as found:
        assert list(found) == ["mean", "log_var"]
        np.testing.assert_allclose(found["mean"], posterior[0], atol=ATOL)
        np.testing.assert_allclose(found["log_var"], posterior[1], atol=ATOL)
    encode_stream(encoder, pixels, tmp_path / "sampled.npz", batch_size=64, seed=9)
    eps = vaekit.noise(seed=9, count=320, dim=5)
    with np.load(tmp_path / "sampled.npz") as found:
        assert list(found) == ["mean", "log_var", "z"]
        np.testing.assert_allclose(found["z"], posterior[0] + np.exp(posterior[1] / 2) * eps, atol=1e-4)


def test_npy_holds_the_codes_where_they_are_sampled(
    encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path
) -> None:
    encode_stream(encoder, pixels, tmp_path / "z.npy", batch_size=50, seed=9)
    encode_stream(encoder, pixels, tmp_path / "z.npz", batch_size=50, seed=9)
    with np.load(tmp_path / "z.npz") as found:
        np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), found["z"])


@needs_pyarrow
def test_parquet_holds_a_number_a_column(
    encoder: vaekit.Encoder, pixels: np.ndarray, posterior: Any, tmp_path: Path
) -> None:
    import pyarrow.parquet

    encode_stream(encoder, pixels, tmp_path / "c.parquet", batch_size=64, seed=0)
    names = pyarrow.parquet.read_schema(tmp_path / "c.parquet").names
    assert names == [f"{part}_{index}" for part in ("mean", "log_var", "z") for index in range(5)]
    np.testing.assert_allclose(table(tmp_path / "c.parquet", "mean"), posterior[0], atol=ATOL)
    np.testing.assert_allclose(table(tmp_path / "c.parquet", "log_var"), posterior[1], atol=ATOL)


@pytest.mark.parametrize("ending", ENDINGS)
def test_decoded_items_are_those_that_torch_gives(
    decoder: vaekit.Decoder, small_pair: ModulePair, z: np.ndarray, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"x{ending}"
    assert decode_stream(decoder, z, out, batch_size=64).arrays == {"x": (300, 1, 28, 28)}
    if ending == ".npy":
        found = np.load(out)
    elif ending == ".npz":
        with np.load(out) as arrays:
            assert list(arrays) == ["x"]
            found = arrays["x"]
    else:
        import pyarrow.parquet

        column = pyarrow.parquet.read_table(out).column("x").combine_chunks()
        found = column.flatten().to_numpy().reshape(-1, 1, 28, 28)
    with torch.inference_mode():
        np.testing.assert_allclose(found, small_pair.decoder(torch.from_numpy(z)).numpy(), atol=ATOL)


@needs_pyarrow
def test_rows_of_a_table_become_columns_again(gaussian_bundle: Path, tmp_path: Path) -> None:
    decoder = vaekit.Decoder(gaussian_bundle, provider="cpu", threads=1)
    z = vaekit.noise(seed=2, count=20, dim=3)
    decode_stream(decoder, z, tmp_path / "x.parquet")
    np.testing.assert_allclose(table(tmp_path / "x.parquet", "x"), decoder.decode(z), atol=1e-6)
    with open_sink(tmp_path / "named.parquet", [Column("x", (2,), ("speed", "°C"))], 1, overwrite=False) as sink:
        sink.append({"x": np.array([[1.5, -2.0]], np.float32)})
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(tmp_path / "named.parquet").to_pylist() == [{"speed": 1.5, "°C": -2.0}]


def test_an_autoencoder_has_means_alone(ae_bundle: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    encoder = vaekit.Encoder(ae_bundle, provider="cpu", threads=1)
    assert encode_stream(encoder, pixels, tmp_path / "a.npz").arrays == {"mean": (320, 5)}
    with pytest.raises(ConfigError, match="an autoencoder's posterior is a point, so there is nothing to draw"):
        encode_stream(encoder, pixels, tmp_path / "b.npz", seed=1)


def test_a_whole_vae_serves_both_ways(small_bundle: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    vae = vaekit.load(small_bundle, provider="cpu", threads=1)
    encode_stream(vae, pixels, tmp_path / "z.npy")
    decode_stream(vae, np.load(tmp_path / "z.npy"), tmp_path / "x.npy")
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), vae.reconstruct(pixels / np.float32(255)), atol=1e-6)


def test_pixels_and_floats_give_the_same(encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path) -> None:
    encode_stream(encoder, pixels, tmp_path / "a.npy")
    for name, items in (("b", pixels / np.float32(255)), ("c", (pixels / np.float32(255)).astype(">f8"))):
        encode_stream(encoder, items, tmp_path / f"{name}.npy")
        assert (tmp_path / f"{name}.npy").read_bytes() == (tmp_path / "a.npy").read_bytes()


@pytest.mark.parametrize("count", [0, 1, 64, 65])
@pytest.mark.parametrize("ending", ENDINGS)
def test_any_number_of_items_makes_a_whole_file(
    encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path, count: int, ending: str
) -> None:
    out = tmp_path / f"c{ending}"
    encode_stream(encoder, pixels[:count], out, batch_size=64)
    with open_codes(out) as codes:
        np.testing.assert_allclose(codes, encoder.encode(pixels[:count] / np.float32(255)).mean, atol=1e-6)


# The same rows give the same bytes.


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_pieces_in_which_rows_come_do_not_show_in_the_file(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "ROW_GROUP_BYTES", 4 * 7 * 100)  # 100 rows
    rng = np.random.default_rng(0)
    whole = {"a": rng.normal(size=(1000, 3)).astype(np.float32), "b": rng.normal(size=(1000, 4)).astype(np.float32)}
    files = []
    for step in (1000, 1, 64, 100, 333):
        out = tmp_path / f"{step}{ending}"
        columns = [Column("a", (3,)), *([] if ending == ".npy" else [Column("b", (4,))])]
        with open_sink(out, columns, 1000, overwrite=False) as sink:
            for start in range(0, 1000, step):
                sink.append({name: array[start : start + step] for name, array in whole.items()})
        files.append(out.read_bytes())
    assert len(set(files)) == 1
    if ending == ".parquet":
        import pyarrow.parquet

        metadata = pyarrow.parquet.read_metadata(io.BytesIO(files[0]))
        assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [100] * 10
        np.testing.assert_array_equal(table(tmp_path / "64.parquet", "b"), whole["b"])


@pytest.mark.parametrize("threads", [1, 2])
def test_an_encoding_is_the_same_bytes_each_time(
    small_bundle: Path, pixels: np.ndarray, tmp_path: Path, threads: int
) -> None:
    for name in ("a", "b"):
        encoder = vaekit.Encoder(small_bundle, provider="cpu", threads=threads)
        encode_stream(encoder, pixels, tmp_path / f"{name}.npz", batch_size=48, seed=3)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_batch_sizes_agree_to_rounding(encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path) -> None:
    encode_stream(encoder, pixels, tmp_path / "all.npz", batch_size=1000, seed=3)
    with np.load(tmp_path / "all.npz") as wanted:
        for batch_size in (1, 7, 100):
            encode_stream(encoder, pixels, tmp_path / "one.npz", batch_size=batch_size, seed=3, overwrite=True)
            with np.load(tmp_path / "one.npz") as found:
                for name in wanted:
                    np.testing.assert_allclose(found[name], wanted[name], atol=1e-5)


def test_the_archive_states_large_sizes_and_no_date(
    encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path
) -> None:
    encode_stream(encoder, pixels, tmp_path / "c.npz")
    with zipfile.ZipFile(tmp_path / "c.npz") as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            assert (info.compress_type, info.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
            with archive.open(info) as member:
                member.read(1)


# Sources.


def test_sources_joined_are_one_after_the_other(encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path) -> None:
    parts = Joined(pixels[:100], pixels[100:103], pixels[:0], Rows(pixels, np.arange(103, 320)))
    assert (len(parts), parts.shape, parts.dtype) == (320, pixels.shape, np.uint8)
    for rows in (slice(0, 5), slice(90, 110), slice(100, 103), slice(300, 400), slice(None)):
        np.testing.assert_array_equal(parts[rows], pixels[rows])
    encode_stream(encoder, pixels, tmp_path / "a.npy", batch_size=64)
    encode_stream(encoder, parts, tmp_path / "b.npy", batch_size=64)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_progress_counts_every_row(encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    encode_stream(encoder, pixels, tmp_path / "c.npy", batch_size=128, on_progress=lambda *at: seen.append(at))
    assert seen == [(128, 320), (256, 320), (320, 320)]


MEMORY = """
import sys
import numpy as np
import vaekit
from vaekit.datasets import mapped
from vaekit.runtime import stream

def mebibytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024

bundle, source, out, mode = sys.argv[1:]
if mode == "keep":
    mapped.release = lambda items: None
encoder = vaekit.Encoder(bundle, provider="cpu", threads=1)
items = np.load(source, mmap_mode="r")
stream.encode_stream(encoder, items[:2560], out, overwrite=True)  # loads what is loaded once
before = mebibytes("VmRSS")
stream.encode_stream(encoder, items, out, overwrite=True)
print(mebibytes("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """392 MiB of zeros that take no room on the disk, as items of a .npy file."""
    path = tmp_path_factory.mktemp("large") / "items.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (1 << 19, 1, 28, 28))
    assert path.stat().st_blocks < 100
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of resident memory from /proc")
@pytest.mark.parametrize(
    ("ending", "mode"),
    [
        (".npy", "release"),
        (".npz", "release"),
        pytest.param(".parquet", "release", marks=needs_pyarrow),
        (".npy", "keep"),  # the control: without letting pages go, all of the file stays
    ],
)
def test_a_mapped_file_is_encoded_in_constant_memory(
    small_bundle: Path, large_file: Path, tmp_path: Path, ending: str, mode: str
) -> None:
    arguments = [sys.executable, "-c", MEMORY, small_bundle, large_file, tmp_path / f"c{ending}", mode]
    grown = float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    assert grown > 390 if mode == "keep" else grown < 200, f"{grown:.0f} MiB"


# Files that cannot be written.


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_stands_there_is_replaced_only_when_asked(
    encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"c{ending}"
    out.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already; choose another path, or pass --force"):
        encode_stream(encoder, pixels, out)
    assert out.read_bytes() == b"mine"
    encode_stream(encoder, pixels, out, overwrite=True)
    assert out.stat().st_size > 320 * 5 * 4


class Broken:
    """A source that fails in its third batch."""

    def __init__(self, items: np.ndarray, error: BaseException) -> None:
        self.items, self.error, self.shape, self.dtype = items, error, items.shape, items.dtype

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: slice) -> np.ndarray:
        if rows.start >= 128:
            raise self.error
        return self.items[rows]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), ZeroDivisionError()], ids=repr)
def test_a_stop_in_the_middle_leaves_the_old_file_and_nothing_else(
    encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path, ending: str, error: BaseException
) -> None:
    out = tmp_path / f"c{ending}"
    out.write_bytes(b"mine")
    with pytest.raises(type(error)):
        encode_stream(encoder, Broken(pixels, error), out, batch_size=64, overwrite=True)
    assert out.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(
    small_bundle: Path, tmp_path: Path, ending: str
) -> None:
    # A limit on file size, in a process of its own, fails as a full disk does: in the middle of a write.
    out = tmp_path / f"x{ending}"
    out.write_bytes(b"mine")
    code = (
        "import resource, signal, sys, vaekit\n"
        "from vaekit.runtime.stream import decode_stream\n"
        "decoder = vaekit.Decoder(sys.argv[1], provider='cpu', threads=1)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "z = vaekit.noise(seed=0, count=300, dim=5)\n"
        "try:\n    decode_stream(decoder, z, sys.argv[2], batch_size=10, overwrite=True)\n"
        "except vaekit.errors.OutputError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, small_bundle, out], capture_output=True, text=True, check=False)
    assert run.stdout == f"{out} could not be written: {os.strerror(errno.EFBIG)}.\n", run.stderr
    assert out.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/c.npy", "could not be written: No such file or directory"),
        ("folder.npy", "is a folder; name a file in it"),
        ("pipe.npy", "is a device or a pipe"),
    ],
)
def test_a_place_that_takes_no_file_is_refused(
    encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(OutputError, match=message):
        encode_stream(encoder, pixels, tmp_path / name, overwrite=True)


@pytest.mark.parametrize("name", ["c.csv", "c", "c.npy.gz"])
def test_an_unknown_ending_is_refused(encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"the ending '.*' is unknown; choose one of \.npy, \.npz, \.parquet"):
        encode_stream(encoder, pixels, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_pyarrow_names_the_extra(
    encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"Parquet files need pyarrow; .*vaekit\[tables\]"):
        encode_stream(encoder, pixels, tmp_path / "c.parquet")
    assert list(tmp_path.iterdir()) == []


# Items and codes that a model cannot take.


def test_items_that_do_not_fit_are_refused_before_anything_is_written(
    encoder: vaekit.Encoder, decoder: vaekit.Decoder, pixels: np.ndarray, z: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"the items have shape \(28, 28\), but the model takes \(1, 28, 28\)"):
        encode_stream(encoder, pixels[:, 0], tmp_path / "c.npy")
    with pytest.raises(ShapeError, match="the items have dtype int64, but the model takes float32 or 8-bit pixels"):
        encode_stream(encoder, pixels.astype(np.int64), tmp_path / "c.npy")
    with pytest.raises(DataError, match=r"the codes have shape \(4,\), but the model takes \(5,\)"):
        decode_stream(decoder, z[:, :4], tmp_path / "c.npy")
    with pytest.raises(ShapeError, match="the codes have dtype uint8, but the model takes float32; convert"):
        decode_stream(decoder, z.astype(np.uint8), tmp_path / "c.npy")
    with pytest.raises(ConfigError, match="batch_size=0: give 1 or more"):
        decode_stream(decoder, z, tmp_path / "c.npy", batch_size=0)
    assert list(tmp_path.iterdir()) == []


def test_a_value_out_of_range_in_a_late_batch_leaves_no_file(
    encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path
) -> None:
    x = pixels / np.float32(255)
    x[300, 0, 4, 4] = np.nan
    with pytest.raises(ShapeError, match="x holds a NaN"):
        encode_stream(encoder, x, tmp_path / "c.npz", batch_size=64)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_missing_leave_no_file(encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path) -> None:
    class Lossy:
        spec = encoder.spec

        def run(self, work: Any, items: Any) -> Generator[Any, None, None]:
            yield work.do(encoder, items, 0)

    with pytest.raises(DataError, match="320 items were to be put through the model, but 64 came out"):
        encode_stream(Lossy(), pixels, tmp_path / "c.npy", batch_size=64)
    assert list(tmp_path.iterdir()) == []


def test_a_pool_is_told_to_stop_when_the_writing_fails(
    encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path
) -> None:
    stopped: list[bool] = []

    class Counting:
        spec = encoder.spec

        def run(self, work: Any, items: Any) -> Generator[Any, None, None]:
            try:
                for batch in range(work.batches(len(items))):
                    yield work.do(encoder, items, batch)
            finally:
                stopped.append(True)

    def fail(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match=r"could not be written: No space left on device") as caught:
        encode_stream(Counting(), pixels, tmp_path / "c.npy", batch_size=64, on_progress=fail)
    assert stopped == [True]
    assert caught.value.__traceback__ is not None  # it is alive, and so are its frames


# Codes read back.


@pytest.mark.parametrize("ending", [".npz", pytest.param(".parquet", marks=needs_pyarrow)])
def test_codes_are_z_where_there_is_one_else_the_mean(
    encoder: vaekit.Encoder, pixels: np.ndarray, tmp_path: Path, ending: str
) -> None:
    encode_stream(encoder, pixels, tmp_path / f"sampled{ending}", seed=1)
    encode_stream(encoder, pixels, tmp_path / f"plain{ending}")
    posterior = encoder.encode(pixels / np.float32(255))
    with open_codes(tmp_path / f"plain{ending}") as codes:
        np.testing.assert_allclose(codes, posterior.mean, atol=1e-6)
    with open_codes(tmp_path / f"sampled{ending}") as codes:
        np.testing.assert_allclose(codes, posterior.sample(seed=1), atol=1e-5)
        assert isinstance(codes, np.memmap)


def test_archives_of_numpy_s_own_are_read_compressed_or_not(tmp_path: Path, z: np.ndarray) -> None:
    for save, order in ((np.savez, "C"), (np.savez_compressed, "C"), (np.savez, "F")):
        save(tmp_path / "c.npz", allow_pickle=False, x=z[:1], mean=np.asarray(z, order=order))  # type: ignore[operator]
        with open_codes(tmp_path / "c.npz") as codes:
            np.testing.assert_array_equal(codes, z)


def test_the_temporary_file_of_codes_is_gone_afterwards(
    tmp_path: Path, z: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    np.savez_compressed(tmp_path / "c.npz", mean=z)
    with open_codes(tmp_path / "c.npz"):
        assert len(list((tmp_path / "temporary").iterdir())) == 1
    assert list((tmp_path / "temporary").iterdir()) == []


def bad_codes(folder: Path) -> Iterator[tuple[str, str]]:
    z = np.zeros((3, 5), np.float32)
    np.savez(folder / "other.npz", x=z)
    yield "other.npz", r"holds x; codes are called z or mean"
    np.savez(folder / "objects.npz", mean=np.array([[{}]], dtype=object))
    yield "objects.npz", r"holds Python objects, which are never loaded"
    np.save(folder / "objects.npy", np.array([[{}]], dtype=object))
    yield "objects.npy", r"holds Python objects, which are never loaded"
    (folder / "text.npy").write_text("no array")  # np.load: "If you trust the file you can load it unsafely using ..."
    yield "text.npy", r"cannot be read as a \.npy file: the magic string is not correct"
    np.save(folder / "flat.npy", z[0])
    yield "flat.npy", r"holds an array of shape \(5,\) and dtype float32; codes are \(N, D\) floating numbers"
    np.save(folder / "whole.npy", z.astype(np.int32))
    yield "whole.npy", r"dtype int32; codes are \(N, D\) floating numbers"
    (folder / "cut.npy").write_bytes((folder / "flat.npy").read_bytes()[:-4])
    yield "cut.npy", r"cannot be read as a \.npy file"
    np.savez(folder / "whole.npz", mean=z)
    (folder / "cut.npz").write_bytes((folder / "whole.npz").read_bytes()[:-30])
    yield "cut.npz", r"cannot be read as a \.npz file: File is not a zip file"
    (folder / "text.npz").write_text("no archive")
    yield "text.npz", r"cannot be read as a \.npz file"
    (folder / "empty.npy").write_bytes(b"")
    yield "empty.npy", r"cannot be read as a \.npy file"
    yield "none.npy", r"cannot be read: No such file"
    (folder / "text.parquet").write_text("no table")
    yield "text.parquet", r"cannot be read|need pyarrow"


def test_a_file_that_holds_no_codes_is_refused(tmp_path: Path) -> None:
    for name, message in bad_codes(tmp_path):
        with pytest.raises((DataError, MissingDependencyError), match=message) as refusal, open_codes(tmp_path / name):
            pass
        assert "\n" not in str(refusal.value)


@needs_pyarrow
def test_a_table_without_codes_or_with_gaps_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"mean_1": [1.0]}), tmp_path / "a.parquet")
    with (
        pytest.raises(DataError, match=r"has no columns z_0, z_1, \.\.\. or mean_0"),
        open_codes(tmp_path / "a.parquet"),
    ):
        pass
    pyarrow.parquet.write_table(pyarrow.table({"mean_0": [1.0, None]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="has gaps among its codes"), open_codes(tmp_path / "b.parquet"):
        pass
