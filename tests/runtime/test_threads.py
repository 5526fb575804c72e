"""Which session runs a call, and on how many threads: chosen for the caller, and without any effect on the numbers."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import vaekit
from vaekit.bundle import Bundle
from vaekit.runtime import scheduling
from vaekit.runtime.scheduling import CROWDED, SLICE

if TYPE_CHECKING:
    from vaekit.exporting import ModulePair

ATOL = 1e-5
"""The tolerance that the project sets for ONNX Runtime's CPU provider against torch."""

BUILTIN_SLICE = 128
"""Items of a slice of the built-in model, whose graphs of 1.3 MB make more than 80 million operations of 128 items."""


class Watched:
    """A session that notes which thread called it with how many items, and may be held up."""

    def __init__(self, session: Any, inside: Callable[[], None] = lambda: None) -> None:
        self.session, self.inside = session, inside
        self.batches: list[int] = []
        self.callers: list[int] = []

    def run(self, names: list[str], feed: dict[str, np.ndarray]) -> Any:
        self._note(len(next(iter(feed.values()))))
        return self.session.run(names, feed)

    def io_binding(self) -> Any:
        binding = self.session.io_binding()
        bind = binding.bind_input

        def remember(name: str, device: str, number: int, dtype: Any, shape: Any, pointer: int) -> None:
            binding.items = shape[0]
            bind(name, device, number, dtype, shape, pointer)

        binding.bind_input = remember
        return binding

    def run_with_iobinding(self, binding: Any) -> None:
        self._note(binding.items)
        self.session.run_with_iobinding(binding)

    def _note(self, items: int) -> None:
        self.batches.append(items)
        self.callers.append(threading.get_ident())
        self.inside()


def watch(decoder: vaekit.Decoder, inside: Callable[[], None] = lambda: None) -> tuple[Watched, Watched]:
    """Put watched sessions in place of a decoder's two; `inside` is called within each call of the one with all threads."""
    scheduler = decoder._scheduler
    wide, narrow = Watched(decoder.session, inside), Watched(scheduler.narrow)
    scheduler._wide, scheduler._narrow = wide, narrow
    return wide, narrow


def codes(count: int, dim: int = 20) -> np.ndarray:
    return vaekit.noise(seed=8, count=count, dim=dim)


def in_torch(module: torch.nn.Module, value: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return module(torch.from_numpy(value)).numpy()  # type: ignore[no-any-return]


@pytest.fixture
def decoder() -> vaekit.Decoder:
    """The built-in model's decoder on two threads, whatever this machine has."""
    return vaekit.Decoder(provider="cpu", threads=2)


@pytest.fixture
def crowd(decoder: vaekit.Decoder) -> Iterator[Callable[[], None]]:
    """Return a function that keeps the session with all threads busy until the test ends."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert release.wait(timeout=30)

    thread = threading.Thread(target=lambda: decoder.decode(codes(1)))

    def begin() -> None:
        decoder._scheduler._wide.inside = hold
        thread.start()
        assert held.wait(timeout=30)
        decoder._scheduler._wide.inside = lambda: None

    yield begin
    release.set()
    thread.join()


# Slices.


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 2, 255, 256, 257, 300, 511, 1000, 1024, 1500])
def test_an_item_has_the_same_bits_in_every_batch(threads: int, batch: int) -> None:
    z = codes(1500)
    alone = vaekit.Decoder(provider="cpu", threads=1)
    whole = alone.session.run(["x_hat"], {"z": z})[0]
    decoder = vaekit.Decoder(provider="cpu", threads=threads)
    np.testing.assert_array_equal(decoder.decode(z[:batch]), whole[:batch])
    call = decoder.bind(batch)
    call.z[...] = z[-batch:]
    np.testing.assert_array_equal(call(), whole[-batch:])


def test_an_encoder_is_sliced_too() -> None:
    encoder, decoder = (kind(provider="cpu", threads=2) for kind in (vaekit.Encoder, vaekit.Decoder))
    x = decoder.decode(codes(700))
    assert len(encoder._scheduler.slices(700)) == 4
    mean, log_var = encoder.session.run(["mean", "log_var"], {"x": x})
    posterior = encoder.encode(x)
    np.testing.assert_array_equal(posterior.mean, mean, strict=True)
    np.testing.assert_array_equal(posterior.log_var, log_var, strict=True)


def test_slices_of_what_was_exported_give_the_items_that_torch_gives(
    small_bundle: Path, small_pair: ModulePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "SLICE_OPERATIONS", 0)
    decoder = vaekit.Decoder(small_bundle, provider="cpu", threads=2)
    z = codes(519, 5)
    assert len(decoder._scheduler.slices(519)) == 4
    np.testing.assert_allclose(decoder.decode(z), in_torch(small_pair.decoder, z), atol=ATOL)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("batch", [1, 127, 255, 256, 257, 383, 384, 1000, 1024, 1025, 4099, 8192])
def test_slices_cover_a_batch_once_are_even_and_give_every_thread_as_many(threads: int, batch: int) -> None:
    scheduler = vaekit.Decoder(provider="cpu", threads=threads)._scheduler
    rows = scheduler.slices(batch)
    np.testing.assert_array_equal(np.concatenate([np.arange(batch)[part] for part in rows]), np.arange(batch))
    sizes = [part.stop - part.start for part in rows]
    if len(rows) > 1:
        assert len(rows) % threads == 0
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= BUILTIN_SLICE
    else:
        assert batch < 2 * BUILTIN_SLICE or batch < threads * BUILTIN_SLICE


def test_a_batch_is_sliced_as_soon_as_every_thread_gets_a_whole_slice() -> None:
    assert SLICE == BUILTIN_SLICE
    for threads in (2, 5):
        scheduler = vaekit.Decoder(provider="cpu", threads=threads)._scheduler
        assert len(scheduler.slices(threads * BUILTIN_SLICE - 1)) == 1
        assert len(scheduler.slices(threads * BUILTIN_SLICE)) == threads


def test_a_model_of_few_operations_is_not_sliced(small_bundle: Path) -> None:
    # Its decoder has 5 x 16 + 16 x 784 weights: 10,000 items are about 250 million operations, 3 ms of one core.
    scheduler = vaekit.Decoder(small_bundle, provider="cpu", threads=2)._scheduler
    assert len(scheduler.slices(1024)) == 1
    assert len(scheduler.slices(10_000)) > 1


def test_slices_run_on_the_session_of_one_thread_and_on_several_callers(decoder: vaekit.Decoder) -> None:
    wide, narrow = watch(decoder)
    meet = threading.Barrier(2)
    narrow.inside = lambda: meet.wait(timeout=30)  # each slice waits until another thread has one too
    decoder.decode(codes(512))
    assert wide.batches == []
    assert narrow.batches == [128] * 4
    assert len(set(narrow.callers)) == 2
    assert threading.get_ident() in narrow.callers


def test_a_bound_call_of_a_large_batch_runs_in_the_same_slices(decoder: vaekit.Decoder) -> None:
    wide, narrow = watch(decoder)
    call = decoder.bind(512)
    call()
    call()
    assert (wide.batches, narrow.batches) == ([], [128] * 8)


def test_a_batch_whose_items_depend_on_each_other_is_never_cut() -> None:
    bundle = Bundle.open()
    fp32 = bundle.manifest.precisions["fp32"]
    bundle.manifest = bundle.manifest.replace(precisions={"fp32": fp32.replace(batch_dependent=True)})
    decoder = vaekit.Decoder(bundle, provider="cpu", threads=2)
    wide, narrow = watch(decoder)
    decoder.decode(codes(8192))
    decoder.bind(8192)()
    assert (wide.batches, narrow.batches) == ([8192, 8192], [])


def test_one_thread_takes_slices_one_after_the_other() -> None:
    decoder = vaekit.Decoder(provider="cpu", threads=1)
    wide, _ = watch(decoder)
    decoder._scheduler._narrow = wide
    before = set(threading.enumerate())
    decoder.decode(codes(512))
    assert wide.batches == [128] * 4
    assert set(wide.callers) == {threading.get_ident()}
    assert set(threading.enumerate()) <= before


def test_an_array_in_another_order_is_sliced_right(decoder: vaekit.Decoder) -> None:
    z = codes(600)
    for view in (z[::-1], np.asfortranarray(z), z[::2], codes(1200)[:600, ::-1]):
        np.testing.assert_array_equal(decoder.decode(view), decoder.session.run(["x_hat"], {"z": view.copy()})[0])


def test_an_array_that_begins_between_two_floats_is_sliced_right(decoder: vaekit.Decoder) -> None:
    z = codes(600)
    odd = np.frombuffer(b"\0" + z.tobytes(), np.float32, offset=1).reshape(z.shape)
    assert not odd.flags.aligned
    np.testing.assert_array_equal(decoder.decode(odd), decoder.decode(z))


@pytest.mark.parametrize("failing", ["first", "last"])
def test_an_error_in_a_slice_reaches_the_caller(decoder: vaekit.Decoder, failing: str) -> None:
    _, narrow = watch(decoder)
    count = 0

    def fail() -> None:
        nonlocal count
        count += 1
        if count == (1 if failing == "first" else 8):
            raise RuntimeError("out of memory")

    narrow.inside = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        decoder.decode(codes(1024))
    narrow.inside = lambda: None
    decoder.decode(codes(1024))  # and the next call is whole again


def test_many_threads_may_decode_large_batches_at_once(decoder: vaekit.Decoder) -> None:
    z = codes(600)
    expected = decoder.session.run(["x_hat"], {"z": z})[0]
    wrong: list[Any] = []

    def work() -> None:
        try:
            wrong.extend(1 for _ in range(5) if not np.array_equal(decoder.decode(z), expected))
        except BaseException as error:  # noqa: BLE001  a thread's error must reach the test
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Callers.


def test_one_caller_gets_all_threads(decoder: vaekit.Decoder) -> None:
    wide, narrow = watch(decoder)
    for count in (1, 1, 7):
        decoder.decode(codes(count))
    bound = decoder.bind(3)
    bound()
    assert (wide.batches, narrow.batches) == ([1, 1, 7, 3], [])


def test_a_caller_that_finds_another_takes_the_session_of_one_thread(
    decoder: vaekit.Decoder, crowd: Callable[[], None]
) -> None:
    wide, narrow = watch(decoder)
    z = codes(3)
    expected = decoder.decode(z)
    call = decoder.bind(3)
    call.z[...] = z
    crowd()
    np.testing.assert_array_equal(decoder.decode(z), expected)
    np.testing.assert_array_equal(call(), expected)
    assert (wide.batches, narrow.batches) == ([3, 1], [3, 3])


@pytest.mark.parametrize("bound", [False, True])
def test_after_a_crowd_a_lone_caller_gets_all_threads_again(decoder: vaekit.Decoder, bound: bool) -> None:
    wide, narrow = watch(decoder)
    decoder._scheduler._in_a_crowd(alone=False)
    z, call = codes(1), decoder.bind(1)
    for _ in range(CROWDED + 3):
        if bound:
            call()
        else:
            decoder.decode(z)
    assert (len(narrow.batches), len(wide.batches)) == (CROWDED, 3)


def test_a_call_that_fails_lets_the_next_caller_in(decoder: vaekit.Decoder) -> None:
    def fail() -> None:
        raise RuntimeError("out of memory")

    wide, narrow = watch(decoder, fail)
    for call in (lambda: decoder.decode(codes(1)), decoder.bind(1)):
        with pytest.raises(RuntimeError, match="out of memory"):
            call()
    wide.inside = lambda: None
    decoder.decode(codes(1))
    assert (wide.batches, narrow.batches) == ([1, 1, 1], [])


def test_eight_callers_get_their_own_items(decoder: vaekit.Decoder) -> None:
    z = codes(8)
    expected = decoder.decode(z)
    wide, narrow = watch(decoder, lambda: time.sleep(0.001))  # so that the others come while one is inside
    wrong: list[Any] = []
    begin = threading.Barrier(8)

    def work(i: int) -> None:
        try:
            begin.wait(timeout=30)
            for _ in range(30):
                if not np.array_equal(decoder.decode(z[i : i + 1]), expected[i : i + 1]):
                    wrong.append(i)
        except BaseException as error:  # noqa: BLE001  a thread's error must reach the test
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(wide.batches) + len(narrow.batches) == 8 * 30
    assert narrow.batches


# What it costs.


def test_the_session_of_one_thread_is_made_when_it_is_needed_and_once(
    decoder: vaekit.Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int | None] = []
    original = scheduling.open_session

    def recording(model: bytes, options: Any, *, name: str) -> Any:
        made.append(options.threads)
        return original(model, options, name=name)

    monkeypatch.setattr(scheduling, "open_session", recording)
    decoder.decode(codes(255))
    decoder.bind(255)()
    assert made == []
    threads = [threading.Thread(target=decoder.decode, args=(codes(256),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert decoder._scheduler._again is None  # the graph's bytes are let go
    options = decoder._scheduler.narrow.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_a_model_of_one_thread_needs_no_second_session() -> None:
    decoder = vaekit.Decoder(provider="cpu", threads=1)
    assert decoder._scheduler.narrow is decoder.session
    assert decoder._scheduler._again is None


def test_a_graph_too_large_to_keep_twice_has_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "KEPT", 1 << 20)
    decoder = vaekit.Decoder(provider="cpu", threads=2)
    assert decoder._scheduler._again is None
    assert len(decoder._scheduler.slices(8192)) == 1
    z = codes(1024)
    np.testing.assert_array_equal(decoder.decode(z), decoder.session.run(["x_hat"], {"z": z})[0])


def test_loading_makes_no_threads_of_python() -> None:
    code = (
        "import sys, threading, vaekit\n"
        "decoder = vaekit.Decoder(provider='cpu', threads=2)\n"
        "decoder.decode(vaekit.noise(seed=0, count=1, dim=20))\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert 'concurrent.futures' not in sys.modules\n"
        "decoder.decode(vaekit.noise(seed=0, count=512, dim=20))\n"
        "assert threading.active_count() == 2\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # and it ends by itself


def test_helping_threads_end_with_the_model() -> None:
    before = set(threading.enumerate())  # some of them may end meanwhile
    decoder = vaekit.Decoder(provider="cpu", threads=3)
    decoder.decode(codes(1024))
    helpers = set(threading.enumerate()) - before
    assert helpers
    del decoder
    gc.collect()
    for helper in helpers:
        helper.join(timeout=30)
        assert not helper.is_alive()


def test_a_thread_that_outlives_the_main_one_still_decodes_large_batches() -> None:
    code = """
import threading, vaekit
decoder = vaekit.Decoder(provider="cpu", threads=2)
z = vaekit.prior(2000, decoder.spec.latent, seed=1)
for _ in range({before}):
    decoder.decode(z)
def late():
    threading.main_thread().join()
    x = decoder.decode(z)
    assert (x == vaekit.Decoder(provider="cpu", threads=1).decode(z)).all()
    print(len(x), flush=True)
threading.Thread(target=late).start()
"""
    for before in (0, 1):
        done = subprocess.run(
            [sys.executable, "-c", code.replace("{before}", str(before))], capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == ("2000\n", "")
