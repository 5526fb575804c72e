"""Scores against the formula in torch, AUROC against scikit-learn and SciPy, thresholds against counting."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import vaekit
from vaekit.bundle import MANIFEST, Bundle
from vaekit.datasets import Dataset
from vaekit.datasets.rows import Joined
from vaekit.errors import BundleError, ConfigError, DataError, ShapeError
from vaekit.runtime.anomaly import auroc, score_items, stream_scores, summarise, threshold
from vaekit.scores import QUANTILES

if TYPE_CHECKING:
    from vaekit.exporting import ModulePair


@pytest.fixture(scope="module")
def vae(small_bundle: Path) -> vaekit.VAE:
    return vaekit.load(small_bundle, provider="cpu", threads=1)


def in_torch(pair: ModulePair, x: np.ndarray, likelihood: str, *, kl: bool) -> np.ndarray:
    """The score from the model in torch, in float64, with torch's own distributions."""
    import copy

    import torch
    from torch import distributions as d

    encoder, decoder = (copy.deepcopy(half).double().eval() for half in (pair.encoder, pair.decoder))
    with torch.no_grad():
        items = torch.from_numpy(x).double()
        given = encoder(items)
        mean = given[0] if kl else given
        x_hat = decoder(mean)
        if likelihood == "bernoulli":
            lost = torch.nn.functional.binary_cross_entropy(x_hat, items, reduction="none")
        else:  # a unit normal, without its constant
            lost = -d.Normal(x_hat, 1.0).log_prob(items) - 0.5 * np.log(2 * np.pi)
        total = lost.flatten(1).sum(1)
        if kl:
            prior = d.Normal(torch.zeros(()).double(), torch.ones(()).double())
            total += d.kl_divergence(d.Normal(mean, (given[1] / 2).exp()), prior).sum(1)
    return total.numpy()


def test_a_score_is_the_negative_elbo_at_the_posteriors_mean(
    vae: vaekit.VAE, small_pair: ModulePair, small_dataset: Dataset
) -> None:
    x = small_dataset.test.pixels(slice(50))
    np.testing.assert_allclose(vae.score(x), in_torch(small_pair, x, "bernoulli", kl=True), rtol=1e-5)


def test_an_autoencoders_score_is_its_reconstruction_loss(
    ae_bundle: Path, ae_pair: ModulePair, small_dataset: Dataset
) -> None:
    x = small_dataset.test.pixels(slice(50))
    found = vaekit.load(ae_bundle, provider="cpu").score(x)
    np.testing.assert_allclose(found, in_torch(ae_pair, x, "bernoulli", kl=False), rtol=1e-5)


def test_a_gaussian_models_score_has_squares(
    gaussian_bundle: Path, gaussian_pair: ModulePair, real_dataset: Dataset
) -> None:
    x = real_dataset.test.pixels(slice(50))
    found = vaekit.load(gaussian_bundle, provider="cpu").score(x)
    np.testing.assert_allclose(found, in_torch(gaussian_pair, x, "gaussian", kl=True), rtol=1e-5)


def test_an_items_score_depends_on_the_item_alone(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    items = small_dataset.test.items
    whole = score_items(vae, items, batch_size=256)
    order = np.random.default_rng(0).permutation(len(items))
    np.testing.assert_allclose(score_items(vae, items[order], batch_size=7), whole[order], rtol=1e-5)
    both = score_items(vae, Joined(items[:9], items[9:]), batch_size=4)
    np.testing.assert_allclose(both, whole, rtol=1e-5)


def test_scores_are_streamed_in_batches_with_progress(vae: vaekit.VAE, small_dataset: Dataset) -> None:
    seen: list[tuple[int, int]] = []
    parts = stream_scores(vae, small_dataset.test.items, batch_size=128, on_progress=lambda *at: seen.append(at))
    assert [len(part) for part in parts] == [128, 128, 44]
    assert seen == [(128, 300), (256, 300), (300, 300)]


def test_values_that_overflow_score_infinity(gaussian_bundle: Path) -> None:
    model = vaekit.load(gaussian_bundle, provider="cpu")
    x = np.zeros((3, 6), np.float32)
    x[1] = 3e38
    found = model.score(x)
    assert np.isposinf(found[1])
    assert np.isfinite(found[[0, 2]]).all()


def test_what_does_not_fit_the_model_is_refused(vae: vaekit.VAE) -> None:
    with pytest.raises(ShapeError, match=r"x has shape \(2, 3\)"):
        vae.score(np.zeros((2, 3), np.float32))
    with pytest.raises(ShapeError, match=r"(?i)nan"):
        vae.score(np.full((2, 1, 28, 28), np.nan, np.float32))
    with pytest.raises(DataError, match="the data set has no items"):
        score_items(vae, np.empty((0, 1, 28, 28), np.uint8))
    with pytest.raises(ConfigError, match="batch_size=0"):
        score_items(vae, np.zeros((2, 1, 28, 28), np.uint8), batch_size=0)


def test_a_model_for_pixels_has_no_scores(vae: vaekit.VAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(vae), "io", "uint8")
    with pytest.raises(ConfigError, match=r"io='uint8' has rounded to grey levels; load the model without io"):
        vae.score(np.zeros((1, 1, 28, 28), np.float32))


@pytest.mark.parametrize("levels", [3, 50, 10**6])
def test_auroc_is_that_of_scikit_learn_and_of_mann_and_whitney(levels: int) -> None:
    metrics, stats = pytest.importorskip("sklearn.metrics"), pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(levels)
    anomalous = rng.random(500) < 0.2
    scores = np.floor(rng.random(500) * levels + anomalous * levels / 4)  # few levels have many ties
    found = auroc(scores, anomalous)
    assert found.value == pytest.approx(metrics.roc_auc_score(anomalous, scores), abs=1e-12)
    u = stats.mannwhitneyu(scores[anomalous], scores[~anomalous]).statistic
    assert found.value == pytest.approx(u / (found.anomalous * found.normal), abs=1e-12)


def test_auroc_of_a_handful_is_what_counting_pairs_gives() -> None:
    # anomalies 3, 1; normal 2, 1, 0: pairs won 3>2 3>1 3>0 1>0, one tie 1=1: 4.5 of 6
    found = auroc([3, 1, 2, 1, 0], [True, True, False, False, False])
    assert found.value == 0.75
    assert (found.anomalous, found.normal) == (2, 3)
    assert auroc([1.0, np.inf], [False, True]).value == 1
    assert auroc([5, 5, 5], [True, False, False]).value == 0.5


def test_the_standard_error_is_that_of_the_published_example() -> None:
    # Hanley & McNeil 1982, table II: 58 normal and 51 abnormal images, rated 1 to 5; they give 0.893 and 0.032.
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    ratings = np.repeat(np.tile(np.arange(1, 6), 2), [*normal, *abnormal])
    found = auroc(ratings, np.repeat([False, True], [58, 51]))
    assert round(found.value, 3) == 0.893
    assert round(found.standard_error, 3) == 0.032


def test_auroc_without_both_kinds_is_refused() -> None:
    with pytest.raises(DataError, match="compares anomalies with normal items, but there are 0 and 2"):
        auroc([1, 2], [False, False])
    with pytest.raises(DataError, match="there are 2 and 0"):
        auroc([1, 2], [True, True])
    with pytest.raises(ShapeError, match=r"there are 2 scores, but marks of shape \(3,\)"):
        auroc([1, 2], [True, True, False])
    with pytest.raises(ShapeError, match="none of them NaN"):
        auroc([1, float("nan")], [True, False])


def test_about_one_normal_item_in_ten_is_above_the_threshold_of_the_0_9_quantile() -> None:
    rng = np.random.default_rng(5)
    seen, later = rng.gumbel(size=1999), rng.gumbel(size=100_000)
    limit = threshold(seen, 0.9)
    assert int((seen > limit).sum()) == 1999 - 1800  # rank ceil(2000 * 0.9)
    exact = -np.log(-np.log(0.9))  # the Gumbel distribution's own quantile
    assert limit == pytest.approx(exact, abs=0.2)
    assert (later > limit).mean() == pytest.approx(0.1, abs=0.02)


def test_a_summary_has_the_moments_and_every_quantile_that_the_count_supports() -> None:
    scores = np.random.default_rng(3).permutation(np.arange(1.0, 1000.0))  # 1 to 999: the k-th smallest is k
    found = summarise(scores)
    assert (found.items, found.mean) == (999, 500.0)
    assert found.std == pytest.approx(np.sqrt((999**2 - 1) / 12))  # of a discrete uniform distribution
    assert found.quantiles == pytest.approx({q: 1000 * q for q in QUANTILES})
    assert list(summarise(scores[:10]).quantiles) == [0.5, 0.75, 0.9]
    for wrong, count in ([], 0), ([1.0, np.inf], 1):
        with pytest.raises(DataError, match=f"{count:,} of them infinite, say nothing of what is normal"):
            summarise(wrong)


def test_an_export_keeps_the_scores_of_the_test_items(
    small_bundle: Path, vae: vaekit.VAE, small_dataset: Dataset
) -> None:
    kept = vae.manifest.scores
    assert kept is not None
    scores = np.sort(np.concatenate([vae.score(small_dataset.test.pixels(slice(i, i + 1))) for i in range(300)]))
    assert kept.items == 300
    assert list(kept.quantiles) == [0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995]
    assert kept.mean == pytest.approx(scores.mean(), rel=1e-5)
    for quantile, place in ((0.5, 151), (0.9, 271), (0.99, 298)):  # ceil(301 q)
        assert kept.quantiles[quantile] == pytest.approx(scores[place - 1], rel=1e-5)
    stated = json.loads((small_bundle / MANIFEST).read_text())["scores"]
    assert (stated["codes"], stated["items"]) == ("mean", 300)
    values = [stated["mean"], stated["std"], *stated["quantiles"].values()]
    assert all(value == float(f"{value:.6g}") for value in values)
    assert "| scores of test items |" in (small_bundle / "README.md").read_text()


def test_a_bundle_without_scores_still_reads_and_a_malformed_one_does_not(
    bundle_copy: Path, rehash: Callable[..., None]
) -> None:
    rehash(bundle_copy, lambda manifest: manifest.replace(scores=None))
    assert "scores" not in json.loads((bundle_copy / MANIFEST).read_text())
    assert Bundle.open(bundle_copy).manifest.scores is None
    manifest = Bundle.open(bundle_copy).manifest
    value = {**manifest.to_json(), "scores": {"codes": "mean", "items": 3}}
    with pytest.raises(BundleError, match=re.escape("missing or malformed field: 'quantiles'")):
        type(manifest).from_bytes(json.dumps(value).encode())
