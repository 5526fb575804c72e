"""Encoder, Decoder and VAE against the torch modules that were exported, and against ONNX's reference implementation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch.distributions import Bernoulli, Normal, kl_divergence

import vaekit
from vaekit.bundle import Bundle
from vaekit.datasets import Dataset
from vaekit.errors import BundleError, ConfigError, ShapeError
from vaekit.manifest import Manifest
from vaekit.places import Folder
from vaekit.runtime import session as session_module
from vaekit.runtime.anomaly import score_items
from vaekit.runtime.vae import negative_elbo_terms

if TYPE_CHECKING:
    from vaekit.exporting import ModulePair

ATOL = 1e-5
"""The tolerance that the project sets for ONNX Runtime's CPU provider against torch."""


@pytest.fixture(scope="module")
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def ae(ae_bundle: Path) -> vaekit.VAE:
    return vaekit.load(ae_bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def gaussian(gaussian_bundle: Path) -> vaekit.VAE:
    return vaekit.load(gaussian_bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def x(small_dataset: Dataset) -> np.ndarray:
    return small_dataset.test.pixels(slice(33))


def in_torch(module: torch.nn.Module, value: np.ndarray) -> Any:
    with torch.inference_mode():
        result = module(torch.from_numpy(value))
    return [part.numpy() for part in result] if isinstance(result, tuple) else result.numpy()


# Encode and decode.


@pytest.mark.parametrize("count", [1, 2, 7, 33])
def test_encode_gives_the_posterior_that_torch_gives(
    vae: vaekit.VAE, small_pair: ModulePair, x: np.ndarray, count: int
) -> None:
    posterior = vae.encode(x[:count])
    mean, log_var = in_torch(small_pair.encoder, x[:count])
    assert posterior.mean.shape == posterior.log_var.shape == (count, 5)
    assert posterior.mean.dtype == posterior.log_var.dtype == np.float32
    np.testing.assert_allclose(posterior.mean, mean, atol=ATOL)
    np.testing.assert_allclose(posterior.log_var, log_var, atol=ATOL)


@pytest.mark.parametrize("count", [1, 2, 7, 33])
def test_decode_gives_the_items_that_torch_gives(vae: vaekit.VAE, small_pair: ModulePair, count: int) -> None:
    z = vaekit.noise(seed=1, count=count, dim=5)
    x_hat = vae.decode(z)
    assert x_hat.shape == (count, 1, 28, 28)
    assert x_hat.dtype == np.float32
    np.testing.assert_allclose(x_hat, in_torch(small_pair.decoder, z), atol=ATOL)


def test_both_halves_agree_with_onnx_s_own_evaluator(vae: vaekit.VAE, small_bundle: Path, x: np.ndarray) -> None:
    mean, log_var = ReferenceEvaluator(str(small_bundle / "encoder.onnx")).run(["mean", "log_var"], {"x": x})
    np.testing.assert_allclose(vae.encode(x).mean, mean, atol=ATOL)
    np.testing.assert_allclose(vae.encode(x).log_var, log_var, atol=ATOL)
    (x_hat,) = ReferenceEvaluator(str(small_bundle / "decoder.onnx")).run(["x_hat"], {"z": mean})
    np.testing.assert_allclose(vae.decode(mean), x_hat, atol=ATOL)


def test_values_without_bounds_go_through_a_gaussian_model(
    gaussian: vaekit.VAE, gaussian_pair: ModulePair, real_dataset: Dataset
) -> None:
    x = real_dataset.test.pixels(slice(9))
    assert x.min() < 0
    assert x.max() > 1
    mean, log_var = in_torch(gaussian_pair.encoder, x)
    np.testing.assert_allclose(gaussian.encode(x).mean, mean, atol=ATOL)
    np.testing.assert_allclose(gaussian.encode(x).log_var, log_var, atol=ATOL)
    np.testing.assert_allclose(gaussian.decode(mean), in_torch(gaussian_pair.decoder, mean), atol=ATOL)


def test_an_array_that_is_a_view_is_read_in_its_own_order(
    vae: vaekit.VAE, small_pair: ModulePair, x: np.ndarray
) -> None:
    mirrored = x[::2, :, :, ::-1]
    assert not mirrored.flags.c_contiguous
    mean, _ = in_torch(small_pair.encoder, mirrored.copy())
    np.testing.assert_allclose(vae.encode(mirrored).mean, mean, atol=ATOL)


def test_an_empty_batch_gives_empty_results(vae: vaekit.VAE, x: np.ndarray) -> None:
    posterior = vae.encode(x[:0])
    assert posterior.mean.shape == posterior.log_var.shape == (0, 5)
    assert vae.decode(posterior.mean).shape == (0, 1, 28, 28)
    assert vae.reconstruct(x[:0]).shape == (0, 1, 28, 28)
    assert vae.score(x[:0]).shape == (0,)
    assert vae.sample(0).shape == (0, 1, 28, 28)
    assert vae.decode(posterior.mean).dtype == posterior.mean.dtype == np.float32


def test_huge_finite_codes_are_accepted(vae: vaekit.VAE, small_pair: ModulePair) -> None:
    # Their squares overflow float32, which the quick check sees as an infinity.
    z = np.full((2, 5), 1e25, np.float32)
    z[1] *= -1
    np.testing.assert_allclose(vae.decode(z), in_torch(small_pair.decoder, z), atol=ATOL)


def test_an_input_is_never_changed(vae: vaekit.VAE, x: np.ndarray) -> None:
    before = x.copy()
    vae.reconstruct(x, seed=1)
    vae.score(x)
    np.testing.assert_array_equal(x, before)


def test_encoder_and_decoder_may_be_called_as_functions(small_bundle: Path, vae: vaekit.VAE, x: np.ndarray) -> None:
    mean = vaekit.Encoder(small_bundle, provider="cpu", threads=1)(x).mean
    np.testing.assert_array_equal(mean, vae.encode(x).mean)
    decoder = vaekit.Decoder(str(small_bundle), provider="cpu", threads=1)
    np.testing.assert_array_equal(decoder(mean), vae.decode(mean))


# Input that a model cannot take.

BAD_SHAPES = [(28, 28), (1, 28, 28), (2, 28, 28), (2, 3, 28, 28), (2, 1, 28, 27), (2, 784), (1, 2, 1, 28, 28), ()]


@pytest.mark.parametrize("shape", BAD_SHAPES)
def test_encode_refuses_another_shape(vae: vaekit.VAE, shape: tuple[int, ...]) -> None:
    message = r"x has shape \(.*\), but the model takes \(N, 1, 28, 28\), N items at a time"
    with pytest.raises(ShapeError, match=message):
        vae.encode(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(5,), (2, 4), (2, 6), (2, 5, 1), (2, 1, 28, 28), ()])
def test_decode_refuses_another_shape(vae: vaekit.VAE, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"z has shape \(.*\), but the model takes \(N, 5\), N items at a time"):
        vae.decode(np.zeros(shape, np.float32))


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int64", "bool", ">f4", "complex64", "object"])
def test_another_dtype_is_refused(vae: vaekit.VAE, dtype: str) -> None:
    message = r"has dtype {}, but the model takes float32; convert with \.astype\(np\.float32\)"
    with pytest.raises(ShapeError, match="x " + message.format(dtype)):
        vae.encode(np.zeros((1, 1, 28, 28), dtype))
    with pytest.raises(ShapeError, match="z " + message.format(dtype)):
        vae.decode(np.zeros((1, 5), dtype))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rest", [0.0, 1e30])
def test_a_value_that_is_not_finite_is_refused(vae: vaekit.VAE, bad: float, rest: float) -> None:
    z = np.full((3, 5), rest, np.float32)
    z[2, 4] = bad
    with pytest.raises(ShapeError, match="z holds a NaN or an infinity; the model takes finite numbers"):
        vae.decode(z)
    x = np.zeros((3, 1, 28, 28), np.float32)
    x[1, 0, 27, 27] = bad
    with pytest.raises(ShapeError, match="x holds a NaN or an infinity"):
        vae.encode(x)


@pytest.mark.parametrize("bad", [-0.01, 1.01, 255.0, 1e38])
def test_a_value_out_of_range_is_refused(vae: vaekit.VAE, x: np.ndarray, bad: float) -> None:
    x = x.copy()
    x[3, 0, 5, 5] = bad
    message = r"x has values from .* to .*, but the model takes 0 to 1; scale the items first \(8-bit pixels: x / 255\)"
    with pytest.raises(ShapeError, match=message) as caught:
        vae.encode(x)
    assert f"{bad:g}" in str(caught.value)


@pytest.mark.parametrize("value", [[[0.0] * 5], None, 3.0, "z", torch.zeros(1, 5)])
def test_what_is_no_numpy_array_is_refused(vae: vaekit.VAE, value: Any) -> None:
    kind = type(value).__name__
    with pytest.raises(ShapeError, match=rf"z is a {kind}; give a NumPy array, float32 of shape \(N, 5\)"):
        vae.decode(value)
    with pytest.raises(ShapeError, match=rf"x is a {kind}; give a NumPy array, float32 of shape \(N, 1, 28, 28\)"):
        vae.encode(value)


def test_a_shape_error_is_a_value_error_too(vae: vaekit.VAE) -> None:
    with pytest.raises(ValueError, match="z has shape"):
        vae.decode(np.zeros((2, 4), np.float32))


# Sampling.


@pytest.mark.parametrize("batch_size", [1, 2, 7, 16, 64, 256, 1000])
def test_samples_do_not_depend_on_the_batch(vae: vaekit.VAE, batch_size: int) -> None:
    whole = vae.decode(vaekit.noise(seed=7, count=60, dim=5))
    samples = vae.sample(60, seed=7, batch_size=batch_size)
    assert samples.shape == (60, 1, 28, 28)
    np.testing.assert_allclose(samples, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("start", [0, 1, 13, 59])
def test_samples_depend_on_their_index_alone(vae: vaekit.VAE, start: int) -> None:
    eps = vaekit.noise(seed=7, count=60, dim=5)
    np.testing.assert_array_equal(vae.prior(60 - start, seed=7, start=start), eps[start:], strict=True)
    np.testing.assert_allclose(
        vae.sample(60 - start, seed=7, start=start), vae.sample(60, seed=7)[start:], rtol=0, atol=1e-6
    )


def test_samples_of_another_seed_are_others(vae: vaekit.VAE) -> None:
    assert np.abs(vae.sample(4, seed=1) - vae.sample(4, seed=2)).max() > 0.1
    np.testing.assert_array_equal(vae.sample(4), vae.sample(4, seed=0))


def test_the_decoder_is_called_with_batches_of_the_size_that_was_asked_for(
    vae: vaekit.VAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    decode = vae.decoder.decode
    monkeypatch.setattr(vae.decoder, "decode", lambda z: (sizes.append(len(z)), decode(z))[1])
    vae.sample(20, batch_size=8)
    assert sizes == [8, 8, 4]


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, None])
def test_a_batch_of_no_items_is_refused(vae: vaekit.VAE, batch_size: Any) -> None:
    with pytest.raises(ConfigError, match=f"batch_size={batch_size}: give 1 or more"):
        vae.sample(4, batch_size=batch_size)


@pytest.mark.parametrize(
    ("options", "message"), [({"count": -1}, "count=-1"), ({"seed": -1}, "seed=-1"), ({"start": 1.5}, "start must be")]
)
def test_what_the_noise_refuses_is_refused(vae: vaekit.VAE, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vae.sample(**{"count": 1, **options})


# Reconstruct, morph, score.


def test_reconstruct_decodes_the_mean(vae: vaekit.VAE, small_pair: ModulePair, x: np.ndarray) -> None:
    mean, _ = in_torch(small_pair.encoder, x)
    np.testing.assert_allclose(vae.reconstruct(x), in_torch(small_pair.decoder, mean), atol=ATOL)


def test_reconstruct_with_a_seed_decodes_a_sample(vae: vaekit.VAE, small_pair: ModulePair, x: np.ndarray) -> None:
    mean, log_var = in_torch(small_pair.encoder, x)
    z = mean + np.exp(log_var / 2) * vaekit.noise(seed=4, count=len(x), dim=5)
    np.testing.assert_allclose(vae.reconstruct(x, seed=4), in_torch(small_pair.decoder, z), atol=ATOL)
    assert np.abs(vae.reconstruct(x, seed=4) - vae.reconstruct(x)).max() > 0.01


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_a_morph_begins_and_ends_with_the_reconstructions(vae: vaekit.VAE, x: np.ndarray, path: Any) -> None:
    frames = vae.morph(x[0], x[3], steps=5, path=path)
    assert frames.shape == (5, 1, 28, 28)
    np.testing.assert_allclose(frames[[0, -1]], vae.reconstruct(x[[0, 3]]), atol=ATOL)
    np.testing.assert_array_equal(vae.morph(x[:1], x[3:4], steps=5, path=path), frames)


def test_the_middle_of_a_linear_morph_is_the_mean_code(vae: vaekit.VAE, small_pair: ModulePair, x: np.ndarray) -> None:
    mean, _ = in_torch(small_pair.encoder, x[[0, 3]])
    middle = in_torch(small_pair.decoder, mean.mean(axis=0, keepdims=True))
    np.testing.assert_allclose(vae.morph(x[0], x[3], steps=3)[1:2], middle, atol=ATOL)


def test_morph_refuses_several_items(vae: vaekit.VAE, x: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="morph takes two single items, but got 2 and 1"):
        vae.morph(x[:2], x[0])
    with pytest.raises(ShapeError, match="morph takes two single items, but got 1 and 0"):
        vae.morph(x[0], x[:0])


@pytest.mark.parametrize("bad", [None, 1.0, [[0.0]], np.float32(0), np.zeros((28, 28), np.float32)])
def test_morph_refuses_what_is_no_item(vae: vaekit.VAE, x: np.ndarray, bad: Any) -> None:
    for ends in ((bad, x[0]), (x[0], bad)):
        with pytest.raises(ShapeError, match=r"the model takes|give a NumPy array"):
            vae.morph(*ends)


def test_morph_passes_on_what_the_path_refuses(vae: vaekit.VAE, x: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="steps=1"):
        vae.morph(x[0], x[1], steps=1)
    with pytest.raises(ConfigError, match="path='cubic'"):
        vae.morph(x[0], x[1], path="cubic")  # type: ignore[arg-type]


def test_score_is_torch_s_negative_elbo_of_the_same_sample(
    vae: vaekit.VAE, small_pair: ModulePair, x: np.ndarray
) -> None:
    mean, log_var = (torch.from_numpy(part).double() for part in in_torch(small_pair.encoder, x))
    std = (log_var / 2).exp()
    z = mean + std * torch.from_numpy(vaekit.noise(seed=6, count=len(x), dim=5))
    with torch.inference_mode():
        x_hat = small_pair.decoder(z.float()).double()
    log_p = Bernoulli(x_hat, validate_args=False).log_prob(torch.from_numpy(x).double()).flatten(1).sum(1)
    kl = kl_divergence(Normal(mean, std), Normal(torch.zeros_like(mean), 1.0)).sum(1)
    score = vae.score(x, seed=6)
    assert score.dtype == np.float64
    np.testing.assert_allclose(score, (kl - log_p).numpy(), atol=0.01)


def test_a_gaussian_score_is_half_the_squared_distance_plus_kl(
    gaussian: vaekit.VAE, gaussian_pair: ModulePair, real_dataset: Dataset
) -> None:
    x = real_dataset.test.pixels(slice(40))
    mean, log_var = (part.astype(np.float64) for part in in_torch(gaussian_pair.encoder, x))
    z = mean + np.exp(log_var / 2) * vaekit.noise(seed=0, count=40, dim=3)
    gap = x - in_torch(gaussian_pair.decoder, z.astype(np.float32)).astype(np.float64)
    expected = (gap**2).sum(axis=1) / 2 + (np.exp(log_var) + mean**2 - 1 - log_var).sum(axis=1) / 2
    np.testing.assert_allclose(gaussian.score(x, seed=0), expected, atol=1e-3)


def test_scores_of_batches_line_up(vae: vaekit.VAE, x: np.ndarray) -> None:
    parts = [vae.score(x[i : i + 10], seed=3, start=i) for i in range(0, 33, 10)]
    np.testing.assert_allclose(np.concatenate(parts), vae.score(x, seed=3), atol=1e-3)


def test_without_a_seed_a_score_compares_with_the_bundles_threshold(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    x = small_dataset.test.pixels(slice(None))
    found = np.concatenate([vae.score(x[at : at + 256]) for at in range(0, len(x), 256)])
    np.testing.assert_array_equal(found, score_items(vae, x))
    kept = vae.manifest.scores
    assert kept is not None
    assert found.mean() == pytest.approx(kept.mean, rel=1e-5)
    limit = kept.quantiles[0.9]  # the 271st of 300 scores, of 6 digits
    assert int((found > limit).sum()) in (29, 30)
    assert abs(vae.score(x, seed=0) - found).max() > 0.1  # the control: a drawn z is another number


def test_values_that_overflow_have_an_infinite_score_and_are_named_elsewhere(gaussian: vaekit.VAE) -> None:
    x = np.zeros((3, 6), np.float32)
    x[1, 2] = 1e38
    x[1, 3:] = -3e38
    for seed in (None, 5):
        np.testing.assert_array_equal(np.isposinf(gaussian.score(x, seed=seed)), [False, True, False])
    words = (
        r"item {} of {} has values from -3e\+38 to 1e\+38, so far from the training data that the encoder's arithmetic "
        r"overflows; give values in the units of the training data, or leave the item out\."
    )
    for seed in (None, 5):
        with pytest.raises(ShapeError, match=words.format(1, "x")):
            gaussian.reconstruct(x, seed=seed)
    with pytest.raises(ShapeError, match=words.format(1, "x")):
        negative_elbo_terms(gaussian, x, seed=0, start=0)
    with pytest.raises(ShapeError, match=words.format(0, "b")):
        gaussian.morph(x[0], x[1])
    with pytest.raises(ShapeError, match=words.format(0, "a")):
        gaussian.morph(x[1:2], x[0])


# The classic autoencoder.


def test_an_autoencoder_s_posterior_is_a_point(ae: vaekit.VAE, ae_pair: ModulePair, x: np.ndarray) -> None:
    posterior = ae.encode(x)
    np.testing.assert_allclose(posterior.mean, in_torch(ae_pair.encoder, x), atol=ATOL)
    assert (posterior.log_var == -np.inf).all()
    assert posterior.log_var.shape == (33, 5)
    np.testing.assert_array_equal(posterior.sample(seed=1), posterior.mean)
    np.testing.assert_array_equal(ae.reconstruct(x, seed=1), ae.reconstruct(x))


def test_an_autoencoder_generates_from_the_normal_fitted_to_its_codes(
    ae: vaekit.VAE, ae_pair: ModulePair, small_dataset: Dataset
) -> None:
    codes = in_torch(ae_pair.encoder, small_dataset.train.pixels(slice(None))).astype(np.float64)
    expected = codes.mean(axis=0) + codes.std(axis=0) * vaekit.noise(seed=2, count=9, dim=5, start=4)
    z = ae.prior(9, seed=2, start=4)
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, expected, atol=1e-4)
    np.testing.assert_allclose(ae.sample(9, seed=2, start=4), in_torch(ae_pair.decoder, z), atol=ATOL)


def test_an_autoencoder_s_score_is_its_reconstruction_alone(ae: vaekit.VAE, ae_pair: ModulePair, x: np.ndarray) -> None:
    x_hat = torch.from_numpy(in_torch(ae_pair.decoder, in_torch(ae_pair.encoder, x))).double()
    expected = torch.nn.functional.binary_cross_entropy(x_hat, torch.from_numpy(x).double(), reduction="none")
    np.testing.assert_allclose(ae.score(x), expected.flatten(1).sum(1).numpy(), atol=0.01)


# Threads, sessions, attributes.


def test_one_model_may_be_used_from_many_threads_at_once(vae: vaekit.VAE, x: np.ndarray) -> None:
    rounds, workers = 20, 8
    expected = [
        (vae.reconstruct(x[i : i + 5], seed=i), vae.sample(6, seed=i), vae.score(x[i : i + 5])) for i in range(8)
    ]
    wrong: list[Any] = []
    begin = threading.Barrier(workers)

    def work(i: int) -> None:
        try:
            begin.wait(timeout=30)
            for _ in range(rounds):
                found = (vae.reconstruct(x[i : i + 5], seed=i), vae.sample(6, seed=i), vae.score(x[i : i + 5]))
                wrong.extend(i for a, b in zip(found, expected[i], strict=True) if not np.array_equal(a, b))
        except BaseException as error:  # noqa: BLE001  a thread's error must reach the test
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the graphs for which a session was made, in order."""
    names: list[str] = []
    open_session = session_module.open_session

    def recording(model: bytes, options: Any, *, name: str) -> Any:
        names.append(name)
        return open_session(model, options, name=name)

    monkeypatch.setattr(session_module, "open_session", recording)
    return names


@pytest.mark.parametrize(
    ("make", "graphs"),
    [
        (vaekit.Decoder, ["decoder.onnx"]),
        (vaekit.Encoder, ["encoder.onnx"]),
        (vaekit.VAE, ["encoder.onnx", "decoder.onnx"]),
        (vaekit.load, ["encoder.onnx", "decoder.onnx"]),
    ],
)
def test_only_the_graphs_that_are_needed_are_loaded(
    small_bundle: Path, opened: list[str], make: Callable[..., Any], graphs: list[str]
) -> None:
    make(small_bundle, provider="cpu", threads=1)
    assert opened == graphs


def test_every_file_is_read_once_when_a_model_is_loaded(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = Folder.pieces  # what `read` takes too
    monkeypatch.setattr(
        Folder, "pieces", lambda place, name, *a, **k: (read.append(name), original(place, name, *a, **k))[1]
    )
    vaekit.load(small_bundle, provider="cpu", threads=1)
    assert sorted(read) == sorted(path.name for path in small_bundle.iterdir())


def test_an_open_bundle_may_be_given_instead_of_a_path(small_bundle: Path, vae: vaekit.VAE) -> None:
    bundle = Bundle.open(small_bundle)
    again = vaekit.load(bundle, provider="cpu", threads=1)
    assert again.bundle is bundle
    np.testing.assert_array_equal(again.sample(3), vae.sample(3))
    np.testing.assert_array_equal(vaekit.Decoder(bundle, provider="cpu")(vae.prior(3)), vae.sample(3))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_reach_the_session(small_bundle: Path, threads: int) -> None:
    vae = vaekit.load(small_bundle, provider="cpu", threads=threads)
    for half in (vae.encoder, vae.decoder):
        assert half.threads == threads
        options = half.session.get_session_options()
        assert options.intra_op_num_threads == threads
        assert options.inter_op_num_threads == 1


def test_without_threads_every_usable_core_is_used(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = type("Cores", (), {"usable": 3})
    monkeypatch.setattr("vaekit.runtime.providers.count_cores", cores)
    decoder = vaekit.Decoder(small_bundle, provider="cpu")
    assert decoder.threads == decoder.session.get_session_options().intra_op_num_threads == 3


@pytest.mark.parametrize("make", [vaekit.load, vaekit.Encoder, vaekit.Decoder])
@pytest.mark.parametrize("threads", [0, -1, 100_000, True, 1.5, "2"])
def test_a_number_of_threads_without_a_meaning_is_refused(
    small_bundle: Path, make: Callable[..., Any], threads: Any
) -> None:
    with pytest.raises(ConfigError, match=f"threads={threads!r}: give 1 to 1024, or None"):
        make(small_bundle, provider="cpu", threads=threads)


def test_a_model_says_what_it_is_and_where_it_runs(vae: vaekit.VAE) -> None:
    assert repr(vae) == "VAE('small', provider='cpu', precision='fp32')"
    assert repr(vae.encoder) == "Encoder('small', provider='cpu', precision='fp32')"
    assert repr(vae.decoder) == "Decoder('small', provider='cpu', precision='fp32')"
    for part in (vae, vae.encoder, vae.decoder):
        assert (part.provider, part.precision, part.spec.latent, part.manifest.name) == ("cpu", "fp32", 5, "small")
    assert vae.encoder.session.get_providers() == ["CPUExecutionProvider"]
    assert [node.name for node in vae.encoder.session.get_outputs()] == ["mean", "log_var"]


def test_a_precision_that_is_not_there_is_refused(small_bundle: Path) -> None:
    for make in (vaekit.load, vaekit.Encoder, vaekit.Decoder):
        with pytest.raises(BundleError, match="precision='int8' is not in the bundle 'small', which has fp32"):
            make(small_bundle, precision="int8")
        with pytest.raises(BundleError, match="precision='int8' is not in the bundle"):
            make(Bundle.open(small_bundle), precision="int8")


def test_the_precision_that_is_asked_for_is_run(
    bundle_copy: Path, rehash: Callable[..., None], opened: list[str]
) -> None:
    for half in ("encoder", "decoder"):
        (bundle_copy / f"{half}.fp16.onnx").write_bytes((bundle_copy / f"{half}.onnx").read_bytes())

    def change(manifest: Manifest) -> Manifest:
        fp32 = manifest.precisions["fp32"]
        second = fp32.replace(
            encoder=fp32.encoder.replace(file=fp32.encoder.file.replace(file="encoder.fp16.onnx")),
            decoder=fp32.decoder.replace(file=fp32.decoder.file.replace(file="decoder.fp16.onnx")),
        )
        return manifest.replace(precisions={"fp32": fp32, "fp16": second})

    rehash(bundle_copy, change)
    vae = vaekit.load(bundle_copy, provider="cpu", precision="fp16", threads=1)
    assert vae.precision == "fp16"
    assert opened == ["encoder.fp16.onnx", "decoder.fp16.onnx"]
    (bundle_copy / "decoder.fp16.onnx").unlink()
    with pytest.raises(BundleError, match=r"decoder\.fp16\.onnx is missing"):
        vaekit.load(bundle_copy, provider="cpu")  # a bundle is whole, or it is refused, whichever graphs are asked for
