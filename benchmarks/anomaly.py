"""How well the negative ELBO finds what a model has never seen: two experiments, both through the exported ONNX graphs.

    mnist      the reference network trained without one digit; that digit against the other nine on the test images
    bleeding   InternalBleeding16 of the UCR anomaly archive: a pulse with one anomaly of 12 samples. Windows of the first 1,200
               rows train the model, those of the rest are scored

An AUROC of 1 puts every anomaly above every normal item, 1/2 is chance; its standard error is Hanley & McNeil's. `sampled` is
the same with the score at one drawn code (`VAE.score` with a seed), `false_alarms` and `found` the parts of normal items and of
anomalies above the bundle's threshold at the quantile 0.99 (0.98 for bleeding, which has fewer normal windows; they overlap, so
that they are not independent, and false alarms may be more than 2%).

The series comes with aeon, which is installed without what it needs itself (its data is all that is read here):

    pip install --no-deps aeon==1.6.0

Wu & Keogh 2021, "Current Time Series Anomaly Detection Benchmarks are Flawed and are Creating the Illusion of Progress",
IEEE TKDE, arXiv:2009.13807, describes the archive, and counts a method as right where its highest score lies within 100 samples
of the anomaly, or within its length where that is more.

    python -m benchmarks.anomaly mnist --digits 0123456789 --epochs 10
    python -m benchmarks.anomaly bleeding
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import vaekit
from vaekit.datasets import DataOptions, Dataset, load_dataset
from vaekit.exporting import export_bundle
from vaekit.runtime.anomaly import auroc, score_items
from vaekit.training import TrainConfig, train

RESULTS = Path(__file__).parent / "results" / "anomaly.json"

QUANTILE, QUANTILE_OF_WINDOWS = 0.99, 0.98

TRAINED_ROWS = 1200
"""Rows of the series that the archive gives to train on; the file's name says so."""

LEEWAY = 100
"""Samples on either side of the anomaly that still count as found."""


def main() -> None:
    """Run one experiment, print it, and put its results beside those of the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=["mnist", "bleeding"])
    parser.add_argument("--digits", default="0123456789", help="mnist: which digits to leave out, one training each")
    parser.add_argument("--epochs", type=int, help="without it, 10 for mnist and 60 for bleeding")
    parser.add_argument("--windows", default="32,64,128", help="bleeding: lengths of windows, one training each")
    parser.add_argument("--seeds", type=int, default=3, help="bleeding: trainings of each length")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.experiment == "mnist":
        found: dict[str, Any] = {"epochs": chosen.epochs or 10}
        found["without"] = {digit: without_digit(digit, found["epochs"]) for digit in chosen.digits}
        values = [one["auroc"] for one in found["without"].values()]
        found["mean_auroc"] = statistics.mean(values)
        print(f"mean AUROC of {len(values)} digits: {found['mean_auroc']:.3f}")
    else:
        windows = [int(window) for window in chosen.windows.split(",")]
        found = {"epochs": chosen.epochs or 60, "trained_rows": TRAINED_ROWS, "windows": {}}
        for window in windows:
            found["windows"][window] = [bleeding(window, found["epochs"], seed) for seed in range(chosen.seeds)]
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**results, chosen.experiment: found}, indent=2) + "\n")


def without_digit(digit: str, epochs: int) -> dict[str, Any]:
    """Train the reference network without a digit, and score all test images."""
    data = load_dataset("mnist", DataOptions(without_label=(digit,)))
    vae = trained(data, TrainConfig(epochs=epochs, device="cpu"))
    test = load_dataset("mnist").test
    assert test.labels is not None
    scores = score_items(vae, test.items)
    anomalous = test.labels == int(digit)
    batches = [(test.pixels(slice(at, at + 500)), at) for at in range(0, len(test), 500)]
    sampled = np.concatenate([vae.score(x, seed=0, start=at) for x, at in batches])
    limit = vae.manifest.scores.threshold(QUANTILE)
    found = {
        **compared(scores, anomalous, limit),
        "sampled": auroc(sampled, anomalous).value,
        "threshold": limit,
        "mean_normal": float(scores[~anomalous].mean()),
        "mean_anomalous": float(scores[anomalous].mean()),
    }
    print(
        f"without {digit}: AUROC {found['auroc']:.3f} +- {found['standard_error']:.3f} ({found['sampled']:.3f} sampled), "
        f"mean score {found['mean_anomalous']:.1f} of {digit}, {found['mean_normal']:.1f} of the rest; "
        f"above the threshold {found['found']:.1%} of {digit}, {found['false_alarms']:.1%} of the rest",
        flush=True,
    )
    return found


def bleeding(window: int, epochs: int, seed: int) -> dict[str, Any]:
    """Train on windows of the series' first rows, and look for the anomaly in the rest."""
    series, marks = read_series()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bleeding.csv"
        np.savetxt(path, series[:TRAINED_ROWS], header="value", comments="")
        # The last quarter measures what normal windows score: for 128 rows that is 173 windows.
        data = load_dataset(path, DataOptions(window=window, stride=1, test_fraction=0.25))
    config = TrainConfig(
        epochs=epochs,
        likelihood="gaussian",
        scale="learned",
        latent=8,
        hidden=(128,),
        batch_size=64,
        seed=seed,
        device="cpu",
    )
    vae = trained(data, config)
    rest = np.lib.stride_tricks.sliding_window_view(series[TRAINED_ROWS:].astype(np.float32), window)[:, None]
    scores = score_items(vae, rest)
    starts = TRAINED_ROWS + np.arange(len(rest))
    first, last = np.flatnonzero(marks)[[0, -1]]
    anomalous = (starts <= last) & (starts + window > first)
    peak = int(starts[scores.argmax()]) + window // 2
    leeway = max(LEEWAY, int(last - first + 1))
    limit = vae.manifest.scores.threshold(QUANTILE_OF_WINDOWS)
    result = {
        **compared(scores, anomalous, limit),
        "seed": seed,
        "peak": peak,
        "anomaly": [int(first), int(last)],
        "found_by_peak": bool(first - leeway <= peak <= last + leeway),
        "highest_normal": float(scores[~anomalous].max()),
        "highest_anomalous": float(scores[anomalous].max()),
    }
    print(
        f"windows of {window}, seed {seed}: AUROC {result['auroc']:.3f} +- {result['standard_error']:.3f}, "
        f"highest at row {peak} (anomaly {first} to {last}): {'found' if result['found_by_peak'] else 'missed'}; "
        f"highest {result['highest_anomalous']:.0f} in windows with the anomaly, {result['highest_normal']:.0f} elsewhere",
        flush=True,
    )
    return result


def trained(data: Dataset, config: TrainConfig) -> vaekit.VAE:
    """Train, export, and open the bundle, of which nothing stays on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = train(data, config, Path(folder) / "run")
        bundle = export_bundle(checkpoint, Path(folder) / "bundle", data=data)
        return vaekit.load(bundle.path, provider="cpu", threads=1)


def compared(scores: NDArray[np.float64], anomalous: NDArray[np.bool_], limit: float) -> dict[str, Any]:
    """The AUROC and what it is of, and the parts of both kinds that are above the threshold."""
    found = auroc(scores, anomalous)
    return {
        "auroc": found.value,
        "standard_error": found.standard_error,
        "anomalous": found.anomalous,
        "normal": found.normal,
        "false_alarms": float((scores[~anomalous] > limit).mean()),
        "found": float((scores[anomalous] > limit).mean()),
    }


def read_series() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The whole series, and which rows are anomalous, from aeon's files; importing aeon itself would need numba."""
    spec = importlib.util.find_spec("aeon")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the series comes with aeon: pip install --no-deps aeon==1.6.0")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "KDD-TSAD_135"
    table = np.loadtxt(folder / "135_UCR_Anomaly_InternalBleeding16_TEST.csv", delimiter=",", skiprows=1)
    return table[:, 1], table[:, 2] == 1


if __name__ == "__main__":
    main()
