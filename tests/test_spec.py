"""What a model may be, and what its description in JSON must say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from vaekit.errors import ConfigError
from vaekit.spec import MAX_ITEM_VALUES, DataSpec, ModelSpec

IMAGES = DataSpec((1, 28, 28))
SPECS = [
    ModelSpec("vae", IMAGES, 20, "bernoulli"),
    ModelSpec("ae", IMAGES, 20, "bernoulli"),
    ModelSpec("vae", DataSpec((3, 64, 48), (-1.0, 1.0)), 1, "gaussian"),
    ModelSpec("ae", DataSpec((6, 128), None), 7, "gaussian"),
    ModelSpec("vae", DataSpec((12,), (0.0, 255.0)), 2, "gaussian"),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_spec_comes_back_from_json_text(spec: ModelSpec) -> None:
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_reference_model_is_described_as_the_format_says() -> None:
    # exports/README.md, the table of manifest.json.
    assert ModelSpec("vae", IMAGES, 20, "bernoulli").to_json() == {
        "kind": "vae",
        "data": {"shape": [1, 28, 28], "dtype": "float32", "layout": "CHW", "range": [0, 1]},
        "latent": {"shape": [20], "prior": "standard-normal"},
        "posterior": {"family": "diagonal-gaussian/log-variance", "outputs": ["mean", "log_var"]},
        "likelihood": {"name": "bernoulli", "decoder_emits": "mean", "range": [0, 1]},
    }


def test_an_unbounded_autoencoder_is_described_as_the_format_says() -> None:
    assert ModelSpec("ae", DataSpec((6, 128), None), 7, "gaussian").to_json() == {
        "kind": "ae",
        "data": {"shape": [6, 128], "dtype": "float32", "layout": "DT", "range": None},
        "latent": {"shape": [7], "prior": None},
        "posterior": {"family": "point", "outputs": ["mean"]},
        "likelihood": {"name": "gaussian", "decoder_emits": "mean", "range": None},
    }


@pytest.mark.parametrize(
    ("shape", "layout", "size", "is_image"),
    [
        ((1, 28, 28), "CHW", 784, True),
        ((3, 4, 5), "CHW", 60, True),
        ((2, 4, 5), "CHW", 40, False),
        ((6, 128), "DT", 768, False),
        ((9,), "D", 9, False),
    ],
)
def test_a_shape_gives_layout_and_size(shape: tuple[int, ...], layout: str, size: int, is_image: bool) -> None:
    data = DataSpec(shape)
    assert (data.layout, data.size, data.is_image) == (layout, size, is_image)


def test_an_item_may_be_as_large_as_the_limit() -> None:
    assert DataSpec((MAX_ITEM_VALUES,)).size == 2**28


@pytest.mark.parametrize("shape", [(), (1, 2, 3, 4), (0,), (3, 0, 4), (-1, 28, 28)])
def test_a_shape_that_no_item_has_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"an item is \(D,\), \(D, T\) or \(C, H, W\), each size at least 1"):
        DataSpec(shape)


@pytest.mark.parametrize("shape", [(2**28 + 1,), (2**14, 2**14 + 1), (3, 2**40, 2**40)])
def test_an_item_that_is_too_large_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="may hold at most 268,435,456 values"):
        DataSpec(shape)


@pytest.mark.parametrize(
    "limits",
    [(1.0, 0.0), (0.0, 0.0), (float("nan"), 1.0), (0.0, float("nan")), (-float("inf"), 1.0), (0, float("inf"))],
)
def test_a_range_without_a_finite_minimum_below_a_finite_maximum_is_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="give a finite minimum below a finite maximum, or None"):
        DataSpec((4,), limits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "gan"}, r"kind='gan' is unknown; choose one of vae, ae\."),
        ({"likelihood": "poisson"}, r"likelihood='poisson' is unknown; choose one of bernoulli, gaussian\."),
        ({"latent": 0}, "latent=0: a latent code needs at least one dimension"),
        ({"data": DataSpec((4,), None)}, r"needs data in \[0, 1\], but the range is None"),
        ({"data": DataSpec((4,), (-1.0, 1.0))}, r"but the range is \(-1.0, 1.0\); scale the data, or use"),
    ],
)
def test_a_model_without_a_meaning_is_refused(options: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"kind": "vae", "data": DataSpec((4,)), "latent": 2, "likelihood": "bernoulli"}
    ModelSpec(**good)
    with pytest.raises(ConfigError, match=message):
        ModelSpec(**{**good, **options})


def _set(*path: str | int) -> Callable[[dict[str, Any], Any], None]:
    def change(value: dict[str, Any], new: Any) -> None:
        inner: Any = value
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = new

    return change


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (("data", "dtype"), "float16", "data.dtype is 'float16', but this model's must be 'float32'"),
        (("data", "layout"), "HWC", "data.layout is 'HWC', but this model's must be 'CHW'"),
        (("data", "range"), [0, 1, 2], r"data.range is \[0, 1, 2\]"),
        (("latent", "shape"), [20, 20], r"latent.shape is \[20, 20\], but this model's must be \[20\]"),
        (("latent", "prior"), None, "latent.prior is None, but this model's must be 'standard-normal'"),
        (("posterior", "family"), "diagonal-gaussian/std", "posterior.family is 'diagonal-gaussian/std'"),
        (("posterior", "outputs"), ["log_var", "mean"], r"posterior.outputs is \['log_var', 'mean'\]"),
        (("likelihood", "decoder_emits"), "logits", "likelihood.decoder_emits is 'logits'"),
        (("likelihood", "range"), None, r"likelihood.range is None, but this model's must be \[0.0, 1.0\]"),
        (("kind",), "ae", "latent.prior is 'standard-normal', but this model's must be None"),
    ],
)
def test_a_description_that_this_version_would_not_write_is_refused(
    path: tuple[str, ...], new: Any, message: str
) -> None:
    value = SPECS[0].to_json()
    _set(*path)(value, new)
    with pytest.raises(ConfigError, match=message):
        ModelSpec.from_json(value)


@pytest.mark.parametrize(
    ("path", "new"),
    [
        (("data", "shape"), [1.0, 28, 28]),
        (("data", "shape"), [True, 28, 28]),
        (("data", "shape"), 784),
        (("data", "range"), ["low", "high"]),
        (("data", "range"), [0]),
        (("data", "range"), [0, 10**400]),
        (("latent", "shape"), []),
        (("latent", "shape"), ["20"]),
        (("data",), None),
        (("latent",), 20),
        (("posterior",), "point"),
    ],
)
def test_a_description_of_other_types_is_refused(path: tuple[str, ...], new: Any) -> None:
    value = SPECS[0].to_json()
    _set(*path)(value, new)
    with pytest.raises(ConfigError, match="the model's description is incomplete or malformed"):
        ModelSpec.from_json(value)


@pytest.mark.parametrize(
    ("section", "field"),
    [(section, None) for section in SPECS[0].to_json()]
    + [(section, field) for section, fields in SPECS[0].to_json().items() if section != "kind" for field in fields],
)
def test_a_description_without_one_of_its_fields_is_refused(section: str, field: str | None) -> None:
    value = SPECS[0].to_json()
    if field is None:
        del value[section]
    else:
        del value[section][field]
    with pytest.raises(ConfigError, match=f"incomplete or malformed: KeyError\\('{field or section}'\\)"):
        ModelSpec.from_json(value)
