"""A model that is pickled opens its bundle again where it arrives: the same numbers, or the error that opening would give.

Expected numbers are those of the model that stayed here.
"""

from __future__ import annotations

import copy
import inspect
import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.bundle import Bundle
from vaekit.errors import BundleNotFoundError, IntegrityError
from vaekit.latents import Posterior
from vaekit.packing import pack

Z = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
X = np.random.default_rng(1).random((3, 1, 28, 28)).astype(np.float32)

START_METHODS = [
    method for method in ("fork", "spawn", "forkserver") if method in multiprocessing.get_all_start_methods()
]


def there_and_back(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.fixture
def packed(small_bundle: Path, tmp_path: Path) -> Path:
    pack(small_bundle, tmp_path / "small.vaekit")
    return tmp_path / "small.vaekit"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_model_gives_the_same_numbers(small_bundle: Path, protocol: int) -> None:
    vae = vaekit.load(small_bundle, provider="cpu", threads=1)
    again = pickle.loads(pickle.dumps(vae, protocol))
    np.testing.assert_array_equal(again.decode(Z), vae.decode(Z))
    np.testing.assert_array_equal(again.encode(X).mean, vae.encode(X).mean)
    np.testing.assert_array_equal(again.sample(2, seed=3), vae.sample(2, seed=3))


def test_each_half_alone_is_pickled(small_bundle: Path) -> None:
    decoder = vaekit.Decoder(small_bundle, provider="cpu", threads=1)
    encoder = vaekit.Encoder(small_bundle, provider="cpu", threads=1)
    np.testing.assert_array_equal(there_and_back(decoder).decode(Z), decoder.decode(Z))
    np.testing.assert_array_equal(there_and_back(encoder).encode(X).log_var, encoder.encode(X).log_var)


@pytest.mark.parametrize("source", ["file", "bytes", "file object", "bundle"])
def test_a_model_from_any_source_is_pickled(packed: Path, source: str) -> None:
    given: Any = {
        "file": packed,
        "bytes": packed.read_bytes(),
        "file object": io.BytesIO(packed.read_bytes()),
        "bundle": Bundle.open(packed.read_bytes()),
    }[source]
    vae = vaekit.load(given, provider="cpu", threads=1)
    expected = vae.decode(Z)
    pickled = pickle.dumps(vae)
    if source != "file":
        packed.unlink()  # what came from bytes travels as bytes
    np.testing.assert_array_equal(pickle.loads(pickled).decode(Z), expected)
    assert (len(pickled) > 20_000) == (source != "file")


@pytest.mark.parametrize("kind", [vaekit.VAE, vaekit.Encoder, vaekit.Decoder])
def test_every_argument_travels(kind: Any, small_bundle: Path) -> None:
    model = kind(small_bundle, provider="cpu", threads=1, tf32=True)
    rebuild, (rebuilt_kind, bundle, arguments) = model.__reduce__()
    parameters = set(inspect.signature(kind).parameters) - {"bundle"}
    assert set(arguments) == parameters, "an argument of the constructor that a pickle loses"
    assert rebuilt_kind is kind
    assert bundle.path == small_bundle
    assert (arguments["provider"], arguments["precision"], arguments["threads"], arguments["tf32"]) == (
        *("cpu", "fp32", 1, True),
    )
    again = rebuild(rebuilt_kind, bundle, arguments)
    assert (again.provider, again.precision) == ("cpu", "fp32")
    assert there_and_back(vaekit.Decoder(small_bundle, provider="cpu", threads=2)).threads == 2


def test_the_built_in_model_is_pickled_without_its_path() -> None:
    pickled = pickle.dumps(vaekit.load(provider="cpu", threads=1))
    assert str(Bundle.open().path).encode() not in pickled  # another machine has it elsewhere
    z = np.zeros((1, 20), np.float32)
    np.testing.assert_array_equal(pickle.loads(pickled).decode(z), vaekit.load(provider="cpu", threads=1).decode(z))


def test_a_relative_path_is_that_of_the_folder_where_it_was_opened(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_bundle.parent)
    vae = vaekit.load(small_bundle.name, provider="cpu", threads=1)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(there_and_back(vae).decode(Z), vae.decode(Z))


def test_a_copy_is_a_model_of_its_own(small_bundle: Path) -> None:
    vae = vaekit.load(small_bundle, provider="cpu", threads=1)
    for again in (copy.copy(vae), copy.deepcopy(vae)):
        assert again.decoder.session is not vae.decoder.session
        np.testing.assert_array_equal(again.decode(Z), vae.decode(Z))


def test_records_travel_as_they_are(small_bundle: Path) -> None:
    vae = vaekit.load(small_bundle, provider="cpu", threads=1)
    posterior = vae.encode(X)
    again = there_and_back(posterior)
    assert isinstance(again, Posterior)
    np.testing.assert_array_equal(again.mean, posterior.mean)
    assert there_and_back(vae.spec) == vae.spec
    assert there_and_back(vae.bundle.golden()).x_hat.shape == vae.bundle.golden().x_hat.shape


# The bundle is checked again.


def test_a_bundle_that_moved_gives_the_error_of_opening_it(bundle_copy: Path) -> None:
    pickled = pickle.dumps(vaekit.load(bundle_copy, provider="cpu", threads=1))
    bundle_copy.rename(bundle_copy.with_name("moved"))
    with pytest.raises(BundleNotFoundError, match=rf"there is no bundle at {bundle_copy}; export one with"):
        pickle.loads(pickled)


def test_a_bundle_that_changed_is_refused(bundle_copy: Path) -> None:
    pickled = pickle.dumps(vaekit.Decoder(bundle_copy, provider="cpu", threads=1))
    content = bytearray((bundle_copy / "decoder.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / "decoder.onnx").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"decoder\.onnx was changed: its SHA-256 is not the manifest's"):
        pickle.loads(pickled)


def test_another_bundle_in_the_same_place_is_refused(bundle_copy: Path, rehash: Callable[..., None]) -> None:
    pickled = pickle.dumps(vaekit.load(bundle_copy, provider="cpu", threads=1))
    rehash(bundle_copy, lambda manifest: manifest.replace(name="trained anew"))
    vaekit.load(bundle_copy, provider="cpu", threads=1)  # the control: by itself it is sound
    with pytest.raises(IntegrityError, match=rf"{bundle_copy} is another bundle than the one that was pickled"):
        pickle.loads(pickled)


# Other processes.


def decode_with(model: Any, z: np.ndarray) -> np.ndarray:
    return np.asarray(model.decode(z))


@pytest.mark.parametrize("method", START_METHODS)
@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_workers_get_the_model_as_an_argument(method: str, kind: str, packed: Path) -> None:
    decoder = vaekit.Decoder(packed if kind == "path" else packed.read_bytes(), provider="cpu", threads=1)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        results = list(pool.map(decode_with, [decoder] * 4, np.repeat(Z[None], 4, axis=0)))
    for result in results:
        np.testing.assert_array_equal(result, decoder.decode(Z))


def run_in_a_fork(work: Callable[[], bool]) -> int:
    """Exit code of a forked child that inherits everything: 0 where `work` is true there."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs is ended
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif("fork" not in START_METHODS, reason="this system has no fork")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 64, 1024])
def test_a_model_that_was_inherited_by_a_fork_goes_on(small_bundle: Path, threads: int, batch: int) -> None:
    decoder = vaekit.Decoder(small_bundle, provider="cpu", threads=threads)
    z = np.random.default_rng(2).standard_normal((batch, 5)).astype(np.float32)
    expected = decoder.decode(z)  # so that threads have started, which the child does not inherit
    assert run_in_a_fork(lambda: np.array_equal(decoder.decode(z), expected)) == 0
    assert run_in_a_fork(lambda: np.array_equal(decoder.decode(z), expected + 1)) == 1  # the control
    np.testing.assert_array_equal(decoder.decode(z), expected)


@pytest.mark.skipif("fork" not in START_METHODS, reason="this system has no fork")
def test_a_fork_goes_on_while_other_threads_of_the_parent_decode(small_bundle: Path) -> None:
    decoder = vaekit.Decoder(small_bundle, provider="cpu", threads=2)
    z = np.random.default_rng(2).standard_normal((512, 5)).astype(np.float32)
    expected = decoder.decode(z)
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            decoder.decode(z[:8])

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        # Inherited locks may be held by a thread that the child does not have; a model of its own has none.
        codes = [run_in_a_fork(lambda: np.array_equal(there_and_back(decoder).decode(z), expected)) for _ in range(5)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * 5


def test_a_pickle_is_read_by_a_process_that_has_imported_nothing(packed: Path) -> None:
    decoder = vaekit.Decoder(packed, provider="cpu", threads=1)
    code = (
        "import pickle, sys\n"
        "decoder, z = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(decoder.decode(z).tobytes())\n"
        "sys.exit(bool({'torch', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((decoder, Z)), capture_output=True, check=True
    )
    assert done.stdout == decoder.decode(Z).tobytes()
