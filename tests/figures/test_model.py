"""What figures know of a model and its items, against the runtime and closed forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.datasets import Dataset, Split
from vaekit.errors import DataError
from vaekit.figures import Subject
from vaekit.figures import model as module
from vaekit.figures.model import Model, few, in_words, measure, of_bundle
from vaekit.spec import DataSpec


@pytest.fixture(scope="module")
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


@pytest.fixture(scope="module")
def x(small_dataset: Dataset) -> Any:
    return small_dataset.test.pixels(slice(None))


def test_what_is_measured_of_a_bundle_is_what_the_runtime_gives(
    vae: vaekit.VAE, small_dataset: Dataset, x: Any
) -> None:
    measured = measure(of_bundle(vae), small_dataset.test, seed=4)  # 300 items: two batches
    np.testing.assert_allclose(measured.negative_elbo, vae.score(x, seed=4), rtol=1e-6)
    np.testing.assert_allclose(measured.posterior.mean, vae.encode(x).mean, atol=1e-5)
    np.testing.assert_array_equal(measured.z, measured.posterior.sample(seed=4))
    m, lv = (each.astype(np.float64) for each in measured.posterior)
    np.testing.assert_allclose(measured.kl, 0.5 * (m**2 + np.exp(lv) - lv - 1), rtol=1e-9, atol=1e-12)


def test_dimensions_are_ordered_by_their_kl(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    measured = measure(of_bundle(vae), small_dataset.test)
    means = measured.kl.mean(axis=0)
    assert sorted(measured.order.tolist()) == [0, 1, 2, 3, 4]
    assert all(means[a] >= means[b] for a, b in zip(measured.order, measured.order[1:], strict=False))
    assert set(measured.active) == set(np.flatnonzero(measured.posterior.mean.var(axis=0) > 0.01))


def test_an_autoencoder_has_no_kl_and_orders_its_dimensions_by_their_spread(subject: Callable[..., Subject]) -> None:
    measured = subject("row", kind="ae").measured
    assert not measured.kl.any()
    np.testing.assert_array_equal(measured.negative_elbo, measured.reconstruction)
    np.testing.assert_array_equal(measured.z, measured.posterior.mean)
    np.testing.assert_array_equal(measured.order, np.argsort(-measured.posterior.mean.var(axis=0)))


def test_the_usual_item_is_the_one_of_median_score(subject: Callable[..., Subject]) -> None:
    measured = subject("row").measured
    rows = np.array([3, 9, 20, 31, 44])
    scores = measured.negative_elbo[rows]
    assert measured.negative_elbo[measured.usual(rows)] == np.median(scores)


def test_large_data_is_measured_on_some_of_its_items(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ITEMS", 7)
    one = subject("row")
    measured = one.measured
    assert len(measured.split) == len(measured.z) == 7
    assert measured.split.labels is not None
    assert one.test.labels is not None
    rows = np.linspace(0, 59, 7).astype(int)
    np.testing.assert_array_equal(measured.split.labels, one.test.labels[rows])
    np.testing.assert_array_equal(measured.split.items[:], one.test.items[rows])


def test_few_items_are_all_of_them() -> None:
    split = Split(np.zeros((3, 2), np.float32))
    assert few(split, 3) is split


def test_items_that_do_not_fit_are_refused(subject: Callable[..., Subject]) -> None:
    one = subject("row")
    with pytest.raises(DataError, match=r"the data has items of shape \(6,\), but the model takes \(5,\)"):
        _ = replace(one, test=Split(np.zeros((4, 6), np.float32))).measured
    with pytest.raises(DataError, match="there is nothing to draw: the data set has no items"):
        _ = replace(one, test=Split(np.zeros((0, 5), np.float32))).measured


def test_layers_are_told_from_the_configuration(make: Callable[..., Model]) -> None:
    data = DataSpec((1, 28, 28))
    assert make(data, 20, hidden=[400]).layers() == (("784", "400", "2 × 20"), ("20", "400", "784"))
    assert make(data, 20, kind="ae", hidden=[512, 1024]).layers()[0] == ("784", "512", "1,024", "20")
    assert make(data, 20, hidden=[400], arch="conv").layers() == (("convolutions",), ("convolutions",))
    assert make(data, 20, hidden=[400], arch="resnet").layers()[1] == ("residual blocks",)
    assert make(data, 20, model="mine.vae:Clever").layers() == (("Clever",), ())
    assert make(data, 20).layers() == ((), ())


def test_numbers_of_dimensions_read_as_words() -> None:
    assert (in_words(1), in_words(2)) == ("1 dimension", "2 dimensions")
