"""TrainConfig: what it refuses, and how it is saved."""

import json
import re
from typing import Any

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
        ({"likelihood": "poisson"}, "likelihood='poisson' is unknown; choose one of bernoulli, gaussian."),
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
        ({"hidden": ()}, "hidden=(): give the width of each hidden layer, 1 or more, e.g. 400 or 512,256."),
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
    beta=0.1,
    epochs=7,
    batch_size=50,
    learning_rate=1 / 3,
    schedule="cosine",
    warmup=11,
    seed=(1 << 63) - 1,
    device="cpu",
    precision="bf16",
    compile=False,
)


@pytest.mark.parametrize("config", [TrainConfig(), OTHER, TrainConfig(compile=True)])
def test_a_config_survives_json_whole(config: TrainConfig) -> None:
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_hidden_widths_given_as_a_list_equal_those_read_back() -> None:
    config = TrainConfig(hidden=[32, 16])  # type: ignore[arg-type]
    assert config == TrainConfig(hidden=(32, 16)) == TrainConfig.from_json(config.to_json())


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
    ],
)
def test_an_option_of_another_type_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"is incomplete or malformed|give|choose one of"):
        TrainConfig.from_json({**TrainConfig().to_json(), **change})


def test_a_configuration_without_widths_is_incomplete() -> None:
    value = TrainConfig().to_json()
    del value["hidden"]
    with pytest.raises(ConfigError, match="the configuration is incomplete or malformed: 'hidden'"):
        TrainConfig.from_json(value)


def test_a_config_says_what_the_model_will_be() -> None:
    spec = TrainConfig(kind="ae", likelihood="gaussian", latent=3).spec(DataSpec((2, 5), None))
    assert (spec.kind, spec.likelihood, spec.latent, spec.data.shape) == ("ae", "gaussian", 3, (2, 5))
