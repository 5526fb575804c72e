"""What a model may be, and what its description in JSON must say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vaekit.errors import ConfigError
from vaekit.spec import MAX_ITEM_VALUES, DataSpec, Feature, ModelSpec

IMAGES = DataSpec((1, 28, 28))
SPECS = [
    ModelSpec("vae", IMAGES, 20, "bernoulli"),
    ModelSpec("ae", IMAGES, 20, "bernoulli"),
    ModelSpec("vae", DataSpec((3, 64, 48), (-1.0, 1.0)), 1, "gaussian"),
    ModelSpec("ae", DataSpec((6, 128), None), 7, "gaussian"),
    ModelSpec("vae", DataSpec((12,), (0.0, 255.0)), 2, "gaussian", scale=1 / 3),
    ModelSpec("vae", DataSpec((3, 8, 8)), 2, "discretized-logistic", scale=0.05),
    ModelSpec("vae", DataSpec((2,), None, (Feature("a", -1.5, 0.1), Feature("b, °C", 1e6, 1e-6))), 2, "gaussian"),
    ModelSpec("ae", DataSpec((2, 16), None, (Feature("left"), Feature("right"))), 2, "gaussian", scale=2.0),
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
        "likelihood": {"name": "gaussian", "decoder_emits": "mean", "range": None, "scale": 1.0},
    }


def test_a_table_and_a_levels_scale_are_described_as_the_format_says() -> None:
    table = DataSpec((2,), None, (Feature("age", 40.0, 12.5), Feature("income", 3e4, 2e4)))
    assert ModelSpec("vae", table, 3, "gaussian", scale=0.5).to_json()["data"] == {
        "shape": [2],
        "dtype": "float32",
        "layout": "D",
        "range": None,
        "features": [
            {"name": "age", "offset": 40.0, "scale": 12.5},
            {"name": "income", "offset": 3e4, "scale": 2e4},
        ],
    }
    assert ModelSpec("vae", IMAGES, 3, "discretized-logistic", scale=0.04).to_json()["likelihood"] == {
        "name": "discretized-logistic",
        "decoder_emits": "mean",
        "range": [0, 1],
        "scale": 0.04,
    }


def test_a_gaussian_of_the_first_version_states_no_scale_which_was_one() -> None:
    value = ModelSpec("ae", DataSpec((6, 128), None), 7, "gaussian").to_json()
    del value["likelihood"]["scale"]
    assert ModelSpec.from_json(value) == ModelSpec("ae", DataSpec((6, 128), None), 7, "gaussian", scale=1.0)


def test_a_logistic_always_states_its_scale() -> None:
    value = ModelSpec("vae", IMAGES, 7, "discretized-logistic", scale=0.1).to_json()
    del value["likelihood"]["scale"]
    with pytest.raises(ConfigError, match="incomplete or malformed: KeyError\\('scale'\\)"):
        ModelSpec.from_json(value)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_not_a_positive_number_is_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match=r"give a positive number, and 1 for the likelihood 'gaussian'"):
        ModelSpec("vae", IMAGES, 7, "gaussian", scale=scale)


def test_a_bernoulli_has_no_scale() -> None:
    with pytest.raises(ConfigError, match=r"scale=0\.5: give a positive number, and 1 for the likelihood 'bernoulli'"):
        ModelSpec("vae", IMAGES, 7, "bernoulli", scale=0.5)


@pytest.mark.parametrize(
    ("offset", "scale"), [(0.0, 0.0), (0.0, -1.0), (0.0, float("inf")), (0.0, float("nan")), (float("inf"), 1.0)]
)
def test_a_column_whose_standardisation_cannot_be_undone_is_refused(offset: float, scale: float) -> None:
    with pytest.raises(ConfigError, match=r"the column 'age' has offset .*; both are finite, the scale above 0"):
        Feature("age", offset, scale)


@pytest.mark.parametrize(
    ("shape", "limits", "count"), [((3,), None, 2), ((3, 8), None, 8), ((3, 8, 8), None, 3), ((3,), (0.0, 1.0), 3)]
)
def test_features_belong_to_the_first_axis_of_unbounded_tables_and_series(
    shape: tuple[int, ...], limits: tuple[float, float] | None, count: int
) -> None:
    with pytest.raises(ConfigError, match=r"features belong to \(D,\) or \(D, T\) without a range, one for each of D"):
        DataSpec(shape, limits, tuple(Feature(str(number)) for number in range(count)))


def test_units_and_offsets_multiply_and_shift_one_item() -> None:
    features = (Feature("a", 10.0, 2.0), Feature("b", -5.0, 0.5))
    row, series = DataSpec((2,), None, features), DataSpec((2, 3), None, features)
    np.testing.assert_array_equal(row.offsets + row.units * np.ones(2), [12.0, -4.5])
    np.testing.assert_array_equal(series.offsets + series.units * np.ones((2, 3)), [[12.0] * 3, [-4.5] * 3])
    assert DataSpec((2, 3), None).units.shape == DataSpec((2, 3), None).offsets.shape == ()
    assert (float(IMAGES.units), float(IMAGES.offsets)) == (1.0, 0.0)


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
        (
            {"likelihood": "poisson"},
            r"likelihood='poisson' is unknown; choose one of bernoulli, gaussian, discretized-logistic\.",
        ),
        ({"latent": 0}, "latent=0: a latent code needs at least one dimension"),
        ({"data": DataSpec((4,), None)}, r"needs data in \[0, 1\], but these are values without bounds; scale"),
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
        (("data", "features"), [{"name": "a"}]),
        (("data", "features"), 3),
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


def test_a_likelihood_is_put_in_words_with_its_scale_if_it_has_one() -> None:
    assert ModelSpec("vae", IMAGES, 2, "bernoulli").likelihood_in_words == "bernoulli likelihood"
    assert (
        ModelSpec("vae", IMAGES, 2, "gaussian", 0.123456).likelihood_in_words == "gaussian likelihood of scale 0.1235"
    )
