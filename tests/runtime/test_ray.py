"""Ray's actors against this process, byte by byte, on a local cluster of two; and how sources travel to them."""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.datasets import Dataset, Rows
from vaekit.datasets.rows import Joined
from vaekit.errors import ConfigError, MissingDependencyError, ProviderError, ShapeError
from vaekit.runtime.ray_engine import RayPool, pack, unpack
from vaekit.runtime.stream import decode_stream, encode_stream

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (the extra [ray])")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A local cluster of two actors' size, which the tests below share; they ignore Ray's warnings of itself."""
    ray = pytest.importorskip("ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "critical"}
    ray.init(address="local", num_cpus=3, object_store_memory=128 << 20, **options)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def pixels(small_dataset: Dataset) -> np.ndarray:
    return np.tile(np.asarray(small_dataset.train.items), (5, 1, 1, 1))  # 1600 items


def sources(pixels: np.ndarray, folder: Path) -> dict[str, Any]:
    """The same items as they may come: in memory, mapped, rows of what is mapped, joined, from an object of one's own."""
    np.save(folder / "items.npy", np.concatenate([pixels[:3], pixels]))
    mapped = np.load(folder / "items.npy", mmap_mode="r")
    order = np.arange(3, len(mapped))
    return {
        "in memory": pixels,
        "mapped": mapped[3:],
        "rows": Rows(mapped, order),
        "joined": Joined(mapped[3:703], pixels[700:]),
        "floats": pixels / np.float32(255),
    }


# The same bytes.


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["in memory", "rows", "joined"])
def test_two_actors_write_the_very_file_that_this_process_writes(
    cluster: Any, small_bundle: Path, pixels: np.ndarray, tmp_path: Path, kind: str
) -> None:
    del cluster
    items = sources(pixels, tmp_path)[kind]
    one = vaekit.Encoder(small_bundle, provider="cpu", threads=1)
    encode_stream(one, items, tmp_path / "one.npz", batch_size=48, seed=5)
    seen: list[tuple[int, int]] = []
    pool = RayPool(small_bundle, workers=2)
    encode_stream(pool, items, tmp_path / "two.npz", batch_size=48, seed=5, on_progress=lambda *at: seen.append(at))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert [done for done, _ in seen] == [*range(48, 1600, 48), 1600]  # in order
    with np.load(tmp_path / "two.npz") as found:
        np.testing.assert_allclose(found["mean"], one.encode(pixels / np.float32(255)).mean, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", [".npy", ".parquet"])
def test_two_actors_decode_to_the_very_file_that_this_process_writes(
    cluster: Any, small_bundle: Path, tmp_path: Path, ending: str
) -> None:
    del cluster
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    z = vaekit.noise(seed=1, count=1000, dim=5)
    decode_stream(vaekit.Decoder(small_bundle, provider="cpu", threads=1), z, tmp_path / f"one{ending}", batch_size=64)
    decode_stream(RayPool(small_bundle, workers=2), z, tmp_path / f"two{ending}", batch_size=64)
    assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"two{ending}").read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_items_are_no_special_case(cluster: Any, small_bundle: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    del cluster
    done = encode_stream(RayPool(small_bundle, workers=2), pixels[:0], tmp_path / "c.npy")
    assert np.load(tmp_path / "c.npy").shape == done.arrays["mean"] == (0, 5)


# The work is done by actors, on one thread each.


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_other_processes_do_the_work_on_one_thread_each_and_a_slow_one_changes_no_order(
    cluster: Any, small_bundle: Path, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cluster
    from vaekit.runtime import stream

    done = tmp_path / "done"
    done.mkdir()

    class Reporting(stream.Work):
        def do(self, model: Any, items: Any, batch: int) -> dict[str, np.ndarray]:
            # The first task waits until the other actor ended two of the eight, so that it is not the first to end.
            until = time.monotonic() + 120
            while batch == 0 and sum(not path.name.startswith(f"{os.getpid()} ") for path in done.iterdir()) < 30:
                assert time.monotonic() < until, "one actor does it all"
                time.sleep(0.02)
            rows = super().do(model, items, batch)
            (done / f"{os.getpid()} {batch}").touch()
            rows["mean"][:, 0], rows["mean"][:, 1], rows["mean"][:, 2] = os.getpid(), model.threads, batch
            return rows

    one = vaekit.Encoder(small_bundle, provider="cpu", threads=1)
    encode_stream(one, pixels[:400], tmp_path / "one.npy", batch_size=4)
    monkeypatch.setattr(stream, "Work", Reporting)
    encode_stream(RayPool(small_bundle, workers=2), pixels[:400], tmp_path / "c.npy", batch_size=4)
    found = np.load(tmp_path / "c.npy")
    assert len(np.unique(found[:, 0])) == 2
    assert os.getpid() not in found[:, 0]
    assert np.unique(found[:, 1]).tolist() == [1]
    np.testing.assert_array_equal(found[:, 2], np.repeat(np.arange(100), 4))
    np.testing.assert_array_equal(found[:, 3:], np.load(tmp_path / "one.npy")[:, 3:])


# What goes wrong.


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_error_in_an_actor_is_the_error_that_this_process_would_raise(
    cluster: Any, small_bundle: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    del cluster
    x = pixels / np.float32(255)
    x[1100, 0, 3, 3] = 2.0
    with pytest.raises(ShapeError, match="x has values from 0 to 2, but the model takes 0 to 1"):
        encode_stream(RayPool(small_bundle, workers=2), x, tmp_path / "c.npy", batch_size=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_actor_that_fails_for_another_reason_is_one_line(
    cluster: Any, small_bundle: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    del cluster
    np.save(tmp_path / "items.npy", pixels)
    items = np.load(tmp_path / "items.npy", mmap_mode="r")
    (tmp_path / "items.npy").unlink()
    with pytest.raises(ProviderError, match=r"Ray stopped: .*Try --engine local\.") as stopped:
        encode_stream(RayPool(small_bundle, workers=2), items, tmp_path / "c.npy")
    assert "\n" not in str(stopped.value)
    assert list(tmp_path.iterdir()) == []


@needs_ray
def test_a_pool_without_workers_is_refused(small_bundle: Path) -> None:
    with pytest.raises(ConfigError, match="workers=0: give 1 or more"):
        RayPool(small_bundle, workers=0)


def test_without_the_extra_the_error_names_it(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"needs ray; install it with `pip install 'vaekit\[ray\]'`"):
        RayPool(small_bundle)


# A cluster of its own, by the command line.


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "vaekit", *map(str, arguments)]


def processes_of(parent: int) -> set[int]:
    """Every process that descends from one."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found: set[int] = set()
    while True:
        more = {child for child, of in parents.items() if of in found | {parent}} - found
        if not more:
            return found
        found |= more


@pytest.mark.slow
@needs_ray
def test_the_command_line_starts_a_cluster_and_ends_it(
    small_bundle: Path, small_data_folder: Path, tmp_path: Path
) -> None:
    options = ["--data", small_data_folder, "--sample", "--batch-size", 100]
    engines = {"one.npz": ["--threads", 1], "two.npz": ["--engine", "ray", "--workers", 2]}
    for name, engine in engines.items():
        run = subprocess.run(
            command("encode", small_bundle, *options, *engine, "--out", tmp_path / name),
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.startswith(f"wrote {tmp_path / name}: mean 620 x 5, log_var 620 x 5, z 620 x 5; ")
        assert run.stdout.count("\n") == 1
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


@pytest.mark.slow
@needs_ray
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ctrl_c_ends_the_cluster_and_leaves_no_file(small_bundle: Path, tmp_path: Path) -> None:
    np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.float32, (5_000_000, 5))  # zeros, which take no room
    # Large batches, of which Ray has few to plan: it takes a second for a thousand tasks.
    options = ["--batch-size", 8192, "--engine", "ray", "--workers", 2, "--out", tmp_path / "c.npz"]
    arguments = ["--codes", tmp_path / "big.npy", *options]
    with subprocess.Popen(command("decode", small_bundle, *arguments), stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 120
        while not any(tmp_path.glob(".c.npz.*.tmp")) or max(f.stat().st_size for f in tmp_path.glob(".c.npz.*")) < 1000:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        started = processes_of(process.pid)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"stopped; {tmp_path / 'c.npz'} was not written\n" in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["big.npy"]
    assert len(started) > 2
    end = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in started):
        assert time.monotonic() < end, "processes of the cluster are left"
        time.sleep(0.05)


# How a source travels.


def test_what_is_mapped_travels_as_the_name_of_its_file(pixels: np.ndarray, tmp_path: Path) -> None:
    for name, source in sources(pixels, tmp_path).items():
        content, buffers = pack(source)
        taken = unpack(content, buffers)
        assert taken.shape == source.shape
        np.testing.assert_array_equal(taken[5:50], source[5:50])
        travels = len(content) + sum(buffer.nbytes for buffer in buffers)
        in_memory = {"in memory": pixels.nbytes, "floats": 4 * pixels.nbytes, "joined": pixels[700:].nbytes}
        rows = 8 * len(pixels) if name == "rows" else 0
        assert travels == pytest.approx(in_memory.get(name, rows), abs=1000), name


def test_numpy_s_own_pickle_would_carry_all_of_it(pixels: np.ndarray, tmp_path: Path) -> None:
    # The control: this is why there is a pickler of our own.
    assert len(pickle.dumps(sources(pixels, tmp_path)["mapped"])) > pixels.nbytes


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a[7:],
        lambda a: a[::-3, ::2],
        lambda a: a.transpose(1, 0),
        lambda a: np.asarray(a)[3:9],
        lambda a: a.view(np.uint8),
        lambda a: np.lib.stride_tricks.sliding_window_view(np.asarray(a), 4, axis=0)[::2],
        lambda a: a[:0],
    ],
)
def test_every_view_of_a_mapped_array_is_found_again(tmp_path: Path, view: Any) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(5000, 40)))
    wanted = view(np.load(tmp_path / "a.npy", mmap_mode="r"))
    content, buffers = pack(wanted)
    assert (len(content) < 1000, buffers) == (True, [])
    found = unpack(content, buffers)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted, strict=True)
