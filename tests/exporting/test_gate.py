"""The gate: its limits as a person writes them, its measurements against closed forms, its verdicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import vaekit
from vaekit.datasets import Dataset
from vaekit.errors import ConfigError
from vaekit.exporting.candidates import Halves, open_variant
from vaekit.exporting.gate import Gate, Measured, lost_too_much, measure, not_worth_it, parse_gate
from vaekit.manifest import Manifest
from vaekit.runtime.evaluate import Evaluation, evaluate


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("0.5%", 0.005, "fraction"),
        (" 2 % ", 0.02, "fraction"),
        (".1%", 0.001, "fraction"),
        ("0%", 0.0, "fraction"),
        ("0.4nats", 0.4, "nats"),
        ("1 nat", 1.0, "nats"),
    ],
)
def test_a_limit_is_read_with_its_unit(text: str, value: float, unit: str) -> None:
    assert parse_gate(text, 1.5) == Gate(pytest.approx(value), unit, 1.5, False)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["0.5", "", "-1%", "nats", "1e-3%", "five%", "0.5%%", "0.5 bits", "inf%"])
def test_a_limit_without_a_unit_or_sense_is_refused(text: str) -> None:
    message = "give a part of fp32's negative ELBO, as 0.5%, or nats, as 0.4nats"
    with pytest.raises(ConfigError, match=f"--max-delta-elbo {text}.*{message}"):
        parse_gate(text, 1.2)


@pytest.mark.parametrize("gain", [0.99, 0.0, -2.0, float("nan"), float("inf")])
def test_a_gain_below_one_is_refused(gain: float) -> None:
    with pytest.raises(ConfigError, match=r"--min-gain .*: give a factor of 1 or more; 1 asks for no gain"):
        parse_gate("1%", gain)


@pytest.mark.parametrize("negative_elbo", [100.0, -100.0])
def test_a_fraction_is_of_the_size_of_the_negative_elbo(negative_elbo: float) -> None:
    # A density's negative ELBO may be below 0.
    assert Gate(0.005).nats(negative_elbo) == pytest.approx(0.5)
    assert Gate(0.25, "nats").nats(negative_elbo) == 0.25


# What is measured.


@pytest.fixture
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


def graphs(folder: Path) -> Halves:
    return Halves(*((folder / f"{half}.onnx").read_bytes() for half in ("encoder", "decoder")))


def shifted(content: bytes, amount: float, width: int) -> bytes:
    """The graph with a constant added to the bias of that width; of two of them, to the first."""
    model = onnx.load_from_string(content)
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [width])
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(amount), bias.name))
    return model.SerializeToString()


Measure = Callable[[Halves], Measured]


@pytest.fixture
def measured(vae: vaekit.VAE, small_dataset: Dataset) -> Measure:
    items = small_dataset.test.items
    baseline = evaluate(vae, items)
    return lambda changed: measure(vae, open_variant(vae, "int8", changed), items, baseline)


def test_the_model_itself_differs_by_nothing(measured: Measure, small_bundle: Path) -> None:
    found = measured(graphs(small_bundle))
    assert found.error == found.mean_error == {"encoder": 0.0, "decoder": 0.0, "round_trip": 0.0}
    assert found.delta_elbo == 0
    assert found.broken == ()


def test_a_shifted_mean_is_measured_as_large_as_it_is(
    measured: Measure, small_bundle: Path, vae: vaekit.VAE, small_dataset: Dataset
) -> None:
    same = graphs(small_bundle)
    found = measured(same._replace(encoder=shifted(same.encoder, 0.25, 5)))
    assert found.error["encoder"] == pytest.approx(0.25, abs=1e-4)
    assert found.mean_error["encoder"] == pytest.approx(0.25, abs=1e-4)
    assert found.error["decoder"] == found.mean_error["decoder"] == 0, "the decoder gets the codes of fp32"
    # The negative ELBO of the shifted posterior, by its definition in NumPy.
    x = small_dataset.test.pixels(slice(None)).astype(np.float64)
    posterior = vae.encode(x.astype(np.float32))
    eps = vaekit.noise(seed=0, count=len(x), dim=5)

    def negative_elbo(shift: float) -> float:
        mean, var = posterior.mean.astype(np.float64) + shift, np.exp(posterior.log_var.astype(np.float64))
        p = vae.decode((mean + np.sqrt(var) * eps).astype(np.float32)).astype(np.float64).clip(2.0**-126, 1 - 2.0**-24)
        lost = -(x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=(1, 2, 3))
        return float((lost + (var - np.log(var) - 1 + mean**2).sum(axis=1) / 2).mean())

    assert found.delta_elbo == pytest.approx(negative_elbo(0.25) - negative_elbo(0.0), abs=5e-3)


def test_a_shifted_decoder_is_measured_by_its_logits(measured: Measure, small_bundle: Path) -> None:
    same = graphs(small_bundle)
    found = measured(same._replace(decoder=shifted(same.decoder, 0.5, 784)))
    # A probability of 1/2 moves most: to 1 / (1 + exp(-1/4)) from 1 / (1 + exp(1/4)).
    assert 0 < found.error["decoder"] <= np.tanh(0.125) + 1e-6
    assert found.error["decoder"] == pytest.approx(np.tanh(0.125), rel=0.01)
    assert 0 < found.mean_error["decoder"] < found.error["decoder"]
    assert found.error["encoder"] == 0


@pytest.mark.parametrize(
    ("half", "width", "amount", "where"),
    [
        ("decoder", 784, np.nan, ["samples of the prior", "test items"]),
        ("encoder", 5, np.nan, ["test items"]),
        ("encoder", 5, np.inf, ["test items"]),
    ],
)
def test_what_gives_no_number_is_broken(
    measured: Measure, small_bundle: Path, half: str, width: int, amount: float, where: list[str]
) -> None:
    same = graphs(small_bundle)
    found = measured(same._replace(**{half: shifted(getattr(same, half), amount, width)}))
    assert found.broken == tuple(f"it gives a NaN or an infinity on {place}" for place in where)
    assert lost_too_much(found, Gate(1e9, "nats"), evaluation(100.0)) == found.broken


def test_a_variance_that_is_no_number_is_broken(measured: Measure, small_bundle: Path) -> None:
    same = graphs(small_bundle)
    model = onnx.load_from_string(same.encoder)
    biases = [tensor for tensor in model.graph.initializer if list(tensor.dims) == [5]]
    assert len(biases) == 2
    for value in (-np.inf, np.inf):  # exp(-inf / 2) is a fine standard deviation, and its log-variance no number
        biases[1].CopyFrom(numpy_helper.from_array(np.full(5, value, np.float32), biases[1].name))
        assert measured(same._replace(encoder=model.SerializeToString())).broken


def test_items_without_bounds_are_compared_in_standardised_units(gaussian_bundle: Path) -> None:
    vae = vaekit.load(gaussian_bundle, provider="cpu", threads=1)
    items = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    same = graphs(gaussian_bundle)
    variant = open_variant(vae, "fp16", same._replace(decoder=shifted(same.decoder, 0.125, 6)))
    found = measure(vae, variant, items, evaluate(vae, items))
    assert found.error["decoder"] == pytest.approx(0.125, abs=1e-5)
    assert found.mean_error["decoder"] == pytest.approx(0.125, abs=1e-5)


def test_an_autoencoder_has_no_log_variance_to_compare(ae_bundle: Path, small_dataset: Dataset) -> None:
    vae = vaekit.load(ae_bundle, provider="cpu", threads=1)
    items = small_dataset.test.items
    found = measure(vae, open_variant(vae, "fp16", graphs(ae_bundle)), items, evaluate(vae, items))
    assert found.broken == ()
    assert found.error == {"encoder": 0.0, "decoder": 0.0, "round_trip": 0.0}


# Verdicts.


def evaluation(negative_elbo: float) -> Evaluation:
    return Evaluation(
        items=10,
        negative_elbo=negative_elbo,
        reconstruction=0.0,
        kl=0.0,
        kl_per_dimension=(),
        mean=(),
        std=(),
        active=(),
    )


def test_what_loses_more_than_the_limit_is_said_with_both_numbers() -> None:
    gate, baseline = Gate(0.005), evaluation(100.0)
    assert lost_too_much(Measured(delta_elbo=0.5), gate, baseline) == ()
    assert lost_too_much(Measured(delta_elbo=-3.0), gate, baseline) == (), "a better model is no worse"
    assert lost_too_much(Measured(delta_elbo=0.51), gate, baseline) == (
        "it loses 0.51 nats of the ELBO; the limit is 0.5",
    )
    assert lost_too_much(Measured(delta_elbo=float("nan")), gate, baseline)
    assert lost_too_much(Measured(delta_elbo=float("inf")), gate, baseline)


@pytest.mark.parametrize(
    ("size", "speeds", "passes"),
    [
        (50, (1.0, 1.0), True),  # half as large
        (100, (1.0, 1.2), True),  # as large, a fifth faster somewhere
        (84, (0.5, 0.5), False),  # 1.19 times smaller
        (83, (0.5, 0.5), True),  # 1.205 times
        (100, (1.19, 1.0), False),
    ],
)
def test_a_variant_is_worth_it_where_it_is_smaller_or_faster(
    small_bundle: Path, size: int, speeds: tuple[float, float], passes: bool
) -> None:
    manifest = Manifest.from_bytes((small_bundle / "manifest.json").read_bytes())

    def info(size: int, encoder: float, decoder: float) -> Any:
        fp32 = manifest.precisions["fp32"]
        halves = {
            half: getattr(fp32, half).replace(file=getattr(fp32, half).file.replace(bytes=size // 2))
            for half in ("encoder", "decoder")
        }
        return fp32.replace(**halves, rates={"encoder": {"1": encoder}, "decoder": {"1": 1.0, "64": 7.0 * decoder}})

    assert not_worth_it(info(size * 9, 0.1, 0.1), info(200, 1.0, 1.0), Gate(min_gain=1.0)) == ()
    found = not_worth_it(info(size * 2, *speeds), info(200, 1.0, 1.0), Gate(min_gain=1.2))
    assert (found == ()) == passes
    if not passes:
        smaller, faster = 100 / size, max(1.0, *speeds) if max(speeds) >= 1 else 1.0
        assert found[0].startswith(f"it is {smaller:.2f} times smaller and at best {faster:.2f} times faster (")
        assert found[0].endswith("; one must be 1.2")
