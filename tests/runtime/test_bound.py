"""A bound call gives the numbers that the plain call gives, into the same arrays each time, and allocates nothing."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import vaekit
from vaekit.datasets import Dataset
from vaekit.errors import ConfigError, ShapeError
from vaekit.runtime import bound as bound_module

if TYPE_CHECKING:
    from vaekit.exporting import ModulePair

ATOL = 1e-5
"""The tolerance that the project sets for ONNX Runtime's CPU provider against torch."""

BATCHES = [1, 2, 7, 300]


@pytest.fixture(scope="module", params=[1, 2], ids=["one thread", "two threads"])
def vae(small_bundle: Path, request: pytest.FixtureRequest) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=request.param)


@pytest.fixture(scope="module")
def x(small_dataset: Dataset) -> np.ndarray:
    return small_dataset.test.pixels(slice(300))


def in_torch(module: torch.nn.Module, value: np.ndarray) -> Any:
    with torch.inference_mode():
        result = module(torch.from_numpy(value))
    return [part.numpy() for part in result] if isinstance(result, tuple) else result.numpy()


@pytest.mark.parametrize("batch", BATCHES)
def test_a_bound_decoder_gives_the_items_that_torch_gives(vae: vaekit.VAE, small_pair: ModulePair, batch: int) -> None:
    call = vae.decoder.bind(batch)
    for seed in (1, 2):  # the second call must read the input again
        call.z[...] = vaekit.noise(seed=seed, count=batch, dim=5)
        x_hat = call()
        assert (x_hat.shape, x_hat.dtype) == ((batch, 1, 28, 28), np.float32)
        np.testing.assert_allclose(x_hat, in_torch(small_pair.decoder, call.z), atol=ATOL)


@pytest.mark.parametrize("batch", BATCHES)
def test_a_bound_encoder_gives_the_posterior_that_torch_gives(
    vae: vaekit.VAE, small_pair: ModulePair, x: np.ndarray, batch: int
) -> None:
    call = vae.encoder.bind(batch)
    for items in (x[:batch], x[::-1][:batch]):
        call.x[...] = items
        posterior = call()
        mean, log_var = in_torch(small_pair.encoder, items.copy())
        np.testing.assert_allclose(posterior.mean, mean, atol=ATOL)
        np.testing.assert_allclose(posterior.log_var, log_var, atol=ATOL)


def test_an_autoencoder_s_bound_posterior_is_a_point(ae_bundle: Path, ae_pair: ModulePair, x: np.ndarray) -> None:
    call = vaekit.Encoder(ae_bundle, provider="cpu", threads=1).bind(9)
    call.x[...] = x[:9]
    posterior = call()
    np.testing.assert_allclose(posterior.mean, in_torch(ae_pair.encoder, x[:9]), atol=ATOL)
    np.testing.assert_array_equal(posterior.log_var, np.full((9, 5), -np.inf, np.float32), strict=True)


def test_real_values_go_through_a_bound_gaussian_model(
    gaussian_bundle: Path, gaussian_pair: ModulePair, real_dataset: Dataset
) -> None:
    items = real_dataset.test.pixels(slice(4))
    call = vaekit.Encoder(gaussian_bundle, provider="cpu", threads=1).bind(4, check=True)
    call.x[...] = items
    np.testing.assert_allclose(call().mean, in_torch(gaussian_pair.encoder, items)[0], atol=ATOL)


# The arrays.


def test_the_same_arrays_come_back_from_every_call(vae: vaekit.VAE) -> None:
    decode, encode = vae.decoder.bind(3), vae.encoder.bind(3)
    assert decode() is decode() is decode.outputs[0]
    assert decode.z is decode.z is decode.input
    assert encode() is encode()
    assert encode().mean is encode.outputs[0]
    assert encode().log_var is encode.outputs[1]
    assert encode.x is encode.input


def test_a_later_call_overwrites_what_an_earlier_one_gave(vae: vaekit.VAE) -> None:
    call = vae.decoder.bind(1)
    kept, first = call(), call().copy()
    call.z[...] = 3.0
    call()
    assert np.abs(kept - first).max() > 0.01


def test_an_unfilled_input_is_all_zeros(vae: vaekit.VAE, small_pair: ModulePair) -> None:
    x_hat = vae.decoder.bind(2)()
    np.testing.assert_allclose(x_hat, in_torch(small_pair.decoder, np.zeros((2, 5), np.float32)), atol=ATOL)


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_arrays_begin_at_a_cache_line_and_have_no_gaps(vae: vaekit.VAE, batch: int) -> None:
    call = vae.encoder.bind(batch)
    for array in (call.input, *call.outputs):
        assert array.ctypes.data % 64 == 0
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_outputs_outlive_the_call_and_the_model(small_bundle: Path, small_pair: ModulePair) -> None:
    call = vaekit.Decoder(small_bundle, provider="cpu", threads=1).bind(4)
    call.z[...] = z = vaekit.noise(seed=5, count=4, dim=5)
    x_hat = call()
    del call
    gc.collect()
    np.full((64, 4, 784), np.nan, np.float32)  # would land in memory that was given back
    np.testing.assert_allclose(x_hat, in_torch(small_pair.decoder, z), atol=ATOL)


def test_a_bound_call_keeps_the_model_alive(small_bundle: Path, small_pair: ModulePair) -> None:
    calls = [vaekit.Decoder(small_bundle, provider="cpu", threads=2).bind(4) for _ in range(3)]
    gc.collect()
    for call in calls:
        call.z[...] = 0.5
        np.testing.assert_allclose(call(), in_torch(small_pair.decoder, np.full((4, 5), 0.5, np.float32)), atol=ATOL)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
@pytest.mark.parametrize("batch", [1, 1000])
def test_calls_allocate_no_memory(vae: vaekit.VAE, half: str, batch: int) -> None:
    call = getattr(vae, half).bind(batch)
    calls = 1000
    tracemalloc.start()
    try:
        for _ in range(10):
            call()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(calls):
            call()
        after, peak = tracemalloc.get_traced_memory()
        np.empty_like(call.outputs[0])  # the control: an array would be seen
        seen = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert after - before < 10 * calls  # an array that is kept takes 100 bytes and more
    assert peak - before < 10_000  # one that is made and dropped takes 20 bytes an item
    assert seen - after >= call.outputs[0].nbytes


def test_many_slices_allocate_no_arrays(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.runtime.scheduling.SLICE_OPERATIONS", 0)
    decoder = vaekit.Decoder(small_bundle, provider="cpu", threads=2)
    call = decoder.bind(1024)
    call()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(20):
            call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before < 64 * 1024  # threads' bookkeeping; one slice's items are 400 KB


# Checks.


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_are_looked_at_where_that_was_asked_for(vae: vaekit.VAE, bad: float) -> None:
    call = vae.decoder.bind(3, check=True)
    call()
    call.z[1, 2] = bad
    with pytest.raises(ShapeError, match="z holds a NaN or an infinity"):
        call()
    encode = vae.encoder.bind(3, check=True)
    encode.x[2, 0, 5, 5] = bad
    with pytest.raises(ShapeError, match="x holds a NaN or an infinity"):
        encode()
    encode.x[...] = 255
    with pytest.raises(ShapeError, match="x has values from 255 to 255, but the model takes 0 to 1"):
        encode()


def test_a_refused_input_leaves_the_outputs_as_they_were(vae: vaekit.VAE) -> None:
    call = vae.decoder.bind(2, check=True)
    before = call().copy()
    call.z[...] = np.nan
    with pytest.raises(ShapeError, match="z holds a NaN"):
        call()
    np.testing.assert_array_equal(call.outputs[0], before)


def test_without_a_check_a_nan_goes_through(vae: vaekit.VAE) -> None:
    call = vae.decoder.bind(2)
    call.z[1] = np.nan
    x_hat = call()
    assert np.isfinite(x_hat[0]).all()
    assert np.isnan(x_hat[1]).all()


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_no_other_array_takes_the_place_of_those_that_onnx_runtime_knows(vae: vaekit.VAE, half: str) -> None:
    call = getattr(vae, half).bind(2)
    for name in ("input", "outputs"):
        with pytest.raises(AttributeError, match=f"property '{name}'"):
            setattr(call, name, np.zeros_like(call.input))
    for copies in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="bind the model again"):
            copies(call)


def test_the_input_cannot_take_another_shape(vae: vaekit.VAE) -> None:
    call = vae.decoder.bind(2)
    with pytest.raises(ValueError, match="could not broadcast"):
        call.z[...] = np.zeros((3, 5))
    with pytest.raises(AttributeError):
        call.z = np.zeros((3, 5), np.float32)  # type: ignore[misc]


@pytest.mark.parametrize("batch", [0, -1, True, 1.5, None, "8"])
@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_a_batch_of_no_items_is_refused(vae: vaekit.VAE, half: str, batch: Any) -> None:
    with pytest.raises(ConfigError, match=r"batch=.*: give the items a call, a whole number of 1 or more"):
        getattr(vae, half).bind(batch)


def test_a_batch_may_be_a_numpy_integer(vae: vaekit.VAE) -> None:
    assert vae.decoder.bind(np.int64(3)).batch == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1 << 45, 1 << 70])
def test_a_batch_larger_than_the_memory_is_refused(vae: vaekit.VAE, batch: int) -> None:
    with pytest.raises(ConfigError, match=f"batch={batch}: its arrays do not fit into the memory; bind a smaller"):
        vae.decoder.bind(batch)


def test_outputs_cannot_stay_on_a_device_that_is_none(vae: vaekit.VAE) -> None:
    for half in (vae.encoder, vae.decoder):
        with pytest.raises(ConfigError, match=r"device=True leaves .* but provider='cpu' has none .*: cuda, tensorrt"):
            half.bind(1, device=True)


# Threads.


def test_bound_calls_of_one_model_run_in_many_threads_at_once(vae: vaekit.VAE) -> None:
    count, rounds = 8, 50
    codes = vaekit.noise(seed=3, count=3 * count, dim=5).reshape(count, 3, 5)
    expected = [vae.decode(z) for z in codes]
    wrong: list[Any] = []
    begin = threading.Barrier(count)

    def work(i: int) -> None:
        try:
            call = vae.decoder.bind(3)
            call.z[...] = codes[i]
            begin.wait(timeout=30)
            for _ in range(rounds):
                call.outputs[0][...] = np.nan
                if not np.array_equal(call(), expected[i]):
                    wrong.append(i)
        except BaseException as error:  # noqa: BLE001  a thread's error must reach the test
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Other providers.


def test_a_provider_that_copies_its_input_is_bound_anew_for_each_call(
    vae: vaekit.VAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound_module, "HOST", ())
    call = vae.decoder.bind(3)
    for seed in (1, 2):
        call.z[...] = z = vaekit.noise(seed=seed, count=3, dim=5)
        np.testing.assert_array_equal(call(), vae.decode(z))
    assert call() is call()


@pytest.mark.parametrize("device", [False, True])
def test_a_device_has_a_twin_of_the_input(
    vae: vaekit.VAE, monkeypatch: pytest.MonkeyPatch, device: bool, x: np.ndarray
) -> None:
    # The CPU stands in for the device: ONNX Runtime takes its name wherever it takes "cuda".
    monkeypatch.setattr(bound_module, "HOST", ())
    monkeypatch.setattr(bound_module, "DEVICES", {"cpu": "cpu"})
    call, encode = vae.decoder.bind(3, device=device), vae.encoder.bind(3, device=device)
    for seed in (1, 2):
        call.z[...] = z = vaekit.noise(seed=seed, count=3, dim=5)
        x_hat: Any = call()
        np.testing.assert_array_equal(x_hat.numpy() if device else x_hat, vae.decode(z))
        assert call() is x_hat
        encode.x[...] = items = x[seed : seed + 3]
        mean: Any = encode().mean
        np.testing.assert_array_equal(mean.numpy() if device else mean, vae.encode(items).mean)


def test_an_autoencoder_on_a_device_has_a_log_variance_too(ae_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound_module, "HOST", ())
    monkeypatch.setattr(bound_module, "DEVICES", {"cpu": "cpu"})
    posterior = vaekit.Encoder(ae_bundle, provider="cpu", threads=1).bind(3, device=True)()
    np.testing.assert_array_equal(posterior.log_var, np.full((3, 5), -np.inf, np.float32))


@pytest.mark.gpu
@pytest.mark.parametrize("device", [False, True])
def test_cuda_gives_the_numbers_that_the_cpu_gives(small_bundle: Path, x: np.ndarray, device: bool) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("the installed ONNX Runtime has no CUDA provider")
    cuda, cpu = (vaekit.load(small_bundle, provider=name) for name in ("cuda", "cpu"))
    decode, encode = cuda.decoder.bind(7, device=device), cuda.encoder.bind(7, device=device)
    for seed in (1, 2):
        decode.z[...] = z = vaekit.noise(seed=seed, count=7, dim=5)
        x_hat: Any = decode()
        np.testing.assert_allclose(x_hat.numpy() if device else x_hat, cpu.decode(z), atol=1e-4)
        encode.x[...] = items = x[seed : seed + 7]
        mean: Any = encode().mean
        np.testing.assert_allclose(mean.numpy() if device else mean, cpu.encode(items).mean, atol=1e-4)
