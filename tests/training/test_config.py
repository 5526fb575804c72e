"""TrainConfig: what it refuses, and how it is saved."""

import json
import re
from typing import Any

import numpy as np
import pytest

from vaekit.errors import ConfigError
from vaekit.spec import DataSpec
from vaekit.training import TrainConfig


def test_the_defaults_are_the_reference_run_of_the_design() -> None:
    config = TrainConfig()
    assert (config.kind, config.likelihood, config.hidden, config.latent) == ("vae", "bernoulli", (400,), 20)
    assert (config.learning_rate, config.batch_size, config.epochs, config.beta) == (1e-3, 128, 10, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gan"}, "kind='gan' is unknown; choose one of vae, ae."),
        ({"likelihood": "poisson"}, "likelihood='poisson' is unknown; choose one of bernoulli, gaussian, discretized-"),
        ({"schedule": "step"}, "schedule='step' is unknown; choose one of constant, cosine."),
        ({"device": "tpu"}, "device='tpu' is unknown; choose one of auto, cpu, cuda."),
        ({"precision": "fp16"}, "precision='fp16' is unknown; choose one of fp32, bf16."),
        ({"latent": 0}, "latent=0: give a whole number, 1 or more."),
        ({"latent": 2.5}, "latent=2.5: give a whole number, 1 or more."),
        ({"latent": True}, "latent=True: give a whole number, 1 or more."),
        ({"epochs": 0}, "epochs=0: give a whole number, 1 or more."),
        ({"epochs": float("nan")}, "epochs=nan: give a whole number, 1 or more."),
        ({"batch_size": -1}, "batch_size=-1: give a whole number, 1 or more."),
        ({"warmup": -1}, "warmup=-1: give a whole number, 0 or more."),
        ({"hidden": ()}, "hidden=(): give the width of each hidden layer, 1 to 2,147,483,647, e.g. 400 or"),
        ({"hidden": (400, 0)}, "hidden=(400, 0): give the width of each hidden layer"),
        ({"hidden": (400, 1.5)}, "hidden=(400, 1.5): give the width of each hidden layer"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: give a positive number, e.g. 0.001."),
        ({"learning_rate": -1e-3}, "learning_rate=-0.001: give a positive number"),
        ({"learning_rate": float("inf")}, "learning_rate=inf: give a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: give a positive number"),
        ({"beta": -0.5}, "beta=-0.5: give 0 or more; 1 is the ELBO."),
        ({"beta": float("inf")}, "beta=inf: give 0 or more"),
        ({"beta": float("nan")}, "beta=nan: give 0 or more"),
        ({"seed": -1}, "seed=-1: give a whole number, 0 or more."),
        ({"seed": 1 << 63}, "seed=9223372036854775808: give 0 to 9223372036854775807."),
        ({"arch": "unet"}, "arch='unet' is unknown; choose one of auto, mlp, conv, resnet."),
        ({"objective": "elbow"}, "objective='elbow' is unknown; choose one of elbo, iwae."),
        ({"binarize": "static"}, "binarize='static' is unknown; choose one of none, dynamic."),
        ({"arch": "conv", "depth": 0}, "depth=0: give a whole number, 1 or more."),
        ({"arch": "conv", "dense": 0}, "dense=0: give a whole number, 1 or more."),
        ({"arch": "mlp", "dense": 64}, "dense=64: arch='mlp' has none; give hidden."),
        ({"arch": "conv", "width": 1.5}, "width=1.5: give a whole number, 1 or more."),
        ({"objective": "iwae", "importance_samples": 0}, "importance_samples=0: give a whole number, 1 or more."),
        ({"kl_warmup": -1}, "kl_warmup=-1: give a whole number, 0 or more."),
        ({"free_bits": -0.1}, "free_bits=-0.1: give nats for each latent dimension"),
        ({"free_bits": float("nan")}, "free_bits=nan: give nats for each latent dimension"),
        ({"grad_clip": -1.0}, "grad_clip=-1.0: give the gradient's largest norm"),
        ({"grad_clip": float("inf")}, "grad_clip=inf: give the gradient's largest norm"),
        ({"epochs": "3"}, "epochs='3': give a whole number, 1 or more."),
        ({"latent": 10**30}, f"latent={10**30}: give at most 2,147,483,647."),
        ({"hidden": (10**30,)}, f"hidden=({10**30},): give the width of each hidden layer"),
        ({"compile": "x"}, "compile='x': give True, False or None."),
        ({"ema": 1.0}, "ema=1.0: give a decay below 1"),
        ({"ema": -0.1}, "ema=-0.1: give a decay below 1"),
        ({"ema": float("nan")}, "ema=nan: give a decay below 1"),
        ({"likelihood": "gaussian", "scale": 0.0}, "scale=0.0: give a positive number, or 'learned'."),
        ({"likelihood": "gaussian", "scale": "free"}, "scale='free': give a positive number, or 'learned'."),
        ({"likelihood": "gaussian", "scale": True}, "scale=True: give a positive number, or 'learned'."),
        ({"likelihood": "gaussian", "scale": float("inf")}, "scale=inf: give a positive number, or 'learned'."),
        ({"scale": 1.0}, "scale=1.0: the likelihood 'bernoulli' has no scale; leave it out."),
        ({"scale": "learned"}, "scale='learned': the likelihood 'bernoulli' has no scale; leave it out."),
        (
            {"arch": "conv", "hidden": (512,)},
            "hidden=(512,): arch='conv' has no hidden layers of given widths; give depth",
        ),
        ({"model": "a:B", "hidden": (512,)}, "hidden=(512,): model='a:B' has no hidden layers of given widths."),
        ({"depth": 2}, "depth=2: arch='auto' has none; give hidden."),
        ({"arch": "mlp", "width": 2}, "width=2: arch='mlp' has none; give hidden."),
        ({"model": "a:B", "width": 2}, "width=2: model='a:B' has none."),
        ({"model": "a:B", "arch": "conv"}, "model='a:B' and arch='conv': give one of the two."),
        ({"model": "a.B"}, "model='a.B': give an import path such as mypackage.mymodule:MyVAE."),
        ({"model": "a/b.py:B"}, "model='a/b.py:B': give an import path such as"),
        ({"model": "a..b:B"}, "model='a..b:B': give an import path such as"),
        ({"model": ":B"}, "model=':B': give an import path such as"),
        ({"model": "a:B:C"}, "model='a:B:C': give an import path such as"),
        (
            {"kind": "ae", "objective": "iwae"},
            "objective='iwae': kind='ae' has no KL; leave it out, or take kind='vae'.",
        ),
        ({"kind": "ae", "free_bits": 0.1}, "free_bits=0.1: kind='ae' has no KL"),
        ({"kind": "ae", "kl_warmup": 10}, "kl_warmup=10: kind='ae' has no KL"),
        ({"kind": "ae", "beta": 4.0}, "beta=4.0: kind='ae' has no KL"),
        ({"importance_samples": 5}, "importance_samples=5: objective='elbo' takes one; choose objective='iwae'."),
        ({"objective": "iwae", "free_bits": 0.1}, "free_bits=0.1: objective='iwae' has no KL by dimension"),
        ({"objective": "iwae", "beta": 2.0}, "beta=2.0: objective='iwae' is a bound at beta=1 alone"),
        (
            {"likelihood": "gaussian", "binarize": "dynamic"},
            "binarize='dynamic' gives zeros and ones, which need likelihood",
        ),
    ],
)
def test_an_option_without_a_meaning_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as refusal:
        TrainConfig(**options)
    assert "\n" not in str(refusal.value)


def test_the_smallest_and_largest_options_are_accepted() -> None:
    TrainConfig(latent=1, epochs=1, batch_size=1, warmup=0, hidden=(1,), beta=0.0, seed=(1 << 63) - 1)


OTHER = TrainConfig(
    kind="ae",
    likelihood="gaussian",
    hidden=(64, 32, 16),
    latent=3,
    epochs=7,
    batch_size=50,
    learning_rate=1 / 3,
    schedule="cosine",
    warmup=11,
    seed=(1 << 63) - 1,
    device="cpu",
    precision="bf16",
    compile=False,
    arch="mlp",
    scale=0.25,
    grad_clip=5.0,
    ema=0.99,
)
DEEP = TrainConfig(
    arch="resnet",
    depth=3,
    width=48,
    dense=96,
    objective="iwae",
    importance_samples=5,
    kl_warmup=100,
    binarize="dynamic",
)
LOGISTIC = TrainConfig(
    likelihood="discretized-logistic", scale="learned", free_bits=0.05, beta=0.1, model="mine.models:Own"
)


@pytest.mark.parametrize("config", [TrainConfig(), OTHER, DEEP, LOGISTIC, TrainConfig(compile=True)])
def test_a_config_survives_json_whole(config: TrainConfig) -> None:
    value = json.loads(json.dumps(config.to_json()))
    assert TrainConfig.from_json(value) == config
    assert config.to_json() == value  # JSON's types: lists, not tuples


def test_hidden_widths_given_as_a_list_equal_those_read_back() -> None:
    config = TrainConfig(hidden=[32, 16])  # type: ignore[arg-type]
    assert config == TrainConfig(hidden=(32, 16)) == TrainConfig.from_json(config.to_json())


def test_numbers_of_numpy_are_numbers() -> None:
    given: dict[str, Any] = {"epochs": np.int64(3), "hidden": [np.int32(8)], "learning_rate": np.float32(0.5)}
    config = TrainConfig(**given)
    assert config == TrainConfig(epochs=3, hidden=(8,), learning_rate=0.5)
    assert json.loads(json.dumps(config.to_json())) == config.to_json()


def test_options_of_a_newer_version_are_refused_by_name() -> None:
    value = {**TrainConfig().to_json(), "dropout": 0.1, "augment": True}
    expected = "the configuration has options that this vaekit does not know: augment, dropout."
    with pytest.raises(ConfigError, match=re.escape(expected)):
        TrainConfig.from_json(value)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 400},
        {"hidden": None},
        {"learning_rate": "fast"},
        {"beta": None},
        {"latent": "20"},
        {"hidden": "400"},
        {"kind": 1},
        {"ema": "0.9"},
        {"free_bits": None},
        {"depth": "2"},
        {"model": 7},
        {"likelihood": "gaussian", "scale": [1.0]},
    ],
)
def test_an_option_of_another_type_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"is incomplete or malformed|give|choose one of"):
        TrainConfig.from_json({**TrainConfig().to_json(), **change})


def test_a_configuration_without_widths_is_incomplete() -> None:
    value = TrainConfig().to_json()
    del value["hidden"]
    with pytest.raises(ConfigError, match="the configuration is incomplete or malformed: hidden missing"):
        TrainConfig.from_json(value)


def test_a_file_of_the_first_version_is_read_with_the_new_options_off() -> None:
    # As vaekit 0.1 wrote it to run.json of the built-in model.
    value = {
        "kind": "vae",
        "likelihood": "bernoulli",
        "hidden": [400],
        "latent": 20,
        "beta": 1.0,
        "epochs": 10,
        "batch_size": 128,
        "learning_rate": 0.008,
        "schedule": "cosine",
        "warmup": 469,
        "seed": 0,
        "device": "auto",
        "precision": "fp32",
        "compile": None,
    }
    assert TrainConfig.from_json(value) == TrainConfig(learning_rate=0.008, schedule="cosine", warmup=469)
    for name in value:
        with pytest.raises(ConfigError, match=f"incomplete or malformed: {name} missing"):
            TrainConfig.from_json({key: content for key, content in value.items() if key != name})


@pytest.mark.parametrize(
    ("options", "scale", "learns"),
    [
        ({}, 1.0, False),
        ({"likelihood": "gaussian"}, 1.0, False),
        ({"likelihood": "gaussian", "scale": 2}, 2.0, False),
        ({"likelihood": "gaussian", "scale": "learned"}, 1.0, True),
        ({"likelihood": "discretized-logistic"}, 0.1, True),
        ({"likelihood": "discretized-logistic", "scale": 0.02}, 0.02, False),
    ],
)
def test_a_scale_is_fixed_or_has_a_place_to_start(options: dict[str, Any], scale: float, learns: bool) -> None:
    config = TrainConfig(**options)
    assert config.spec(DataSpec((4,))).scale == scale
    assert config.learns_scale is learns


def test_a_config_says_what_the_model_will_be() -> None:
    spec = TrainConfig(kind="ae", likelihood="gaussian", latent=3).spec(DataSpec((2, 5), None))
    assert (spec.kind, spec.likelihood, spec.latent, spec.data.shape) == ("ae", "gaussian", 3, (2, 5))
