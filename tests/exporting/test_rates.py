"""Rates: that contenders take turns, that the median counts, and that the machine is described. No time is asserted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.exporting import rates
from vaekit.exporting.rates import BATCHES, FEWEST, measure_rates, this_machine


class Clock:
    """A clock that sessions turn by what their calls take; each reading takes a nanosecond."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        self.now += 1e-9
        return self.now

    def session(self, name: str, *seconds: float) -> Any:
        """A session whose calls take the given seconds in turn, the last one for good."""
        left = list(seconds)

        def run(_: None, feed: dict[str, np.ndarray]) -> None:
            assert list(feed) == ["z"]
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return SimpleNamespace(run=run, get_inputs=lambda: [SimpleNamespace(name="z")])


@pytest.fixture
def clock() -> Clock:
    return Clock()


ROW = np.zeros((1, 1), np.float32)


def test_the_median_of_the_rounds_counts_and_the_first_call_does_not(clock: Clock) -> None:
    # First call, then rounds of one call each: the slow one leaves no trace.
    session = clock.session("a", 5.0, 0.1, 9.0, 0.1)
    assert rates._seconds({"a": session}, ROW, clock) == {"a": pytest.approx(0.1)}


def test_contenders_take_turns(clock: Clock) -> None:
    sessions = {"fp32": clock.session("fp32", 0.3), "int8": clock.session("int8", 0.1)}
    assert rates._seconds(sessions, ROW, clock) == {"fp32": pytest.approx(0.3), "int8": pytest.approx(0.1)}
    rounds = clock.calls[6:]  # after the first call of each, and a first round of two calls each, one of which settles
    assert sorted(rounds) == ["fp32"] * (FEWEST - 1) + ["int8"] * (FEWEST - 1)
    assert [set(rounds[start : start + 2]) for start in (0, 2)] == [{"fp32", "int8"}] * 2


def test_short_calls_are_repeated_in_every_round(clock: Clock) -> None:
    assert rates._seconds({"a": clock.session("a", 1e-5)}, ROW, clock) == {"a": pytest.approx(1e-5, rel=1e-3)}
    assert len(clock.calls) > rates.SECONDS / 1e-5


def test_slow_calls_get_the_fewest_rounds(clock: Clock) -> None:
    rates._seconds({"a": clock.session("a", 20.0)}, ROW, clock)
    assert len(clock.calls) == 1 + 1 + FEWEST  # the first one, and one that settles


def test_both_halves_are_timed_at_every_batch_size(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def taken(sessions: dict[str, Any], rows: np.ndarray, _: Any) -> dict[str, float]:
        seen.append(rows.shape)
        return dict.fromkeys(sessions, 0.5)

    monkeypatch.setattr(rates, "_seconds", taken)
    vae = vaekit.load(small_bundle, provider="cpu", threads=1)
    found = measure_rates(
        {"fp32": vae, "int8": vae}, np.zeros((3, 1, 28, 28), np.float32), np.zeros((3, 5), np.float32)
    )
    expected = {str(batch): batch / 0.5 for batch in BATCHES}
    assert found == {name: {"encoder": expected, "decoder": expected} for name in ("fp32", "int8")}
    assert seen == [(n, 1, 28, 28) for n in BATCHES] + [(n, 5) for n in BATCHES]
    # Of items that are large, large batches are left out.
    monkeypatch.setattr(rates, "BATCH_BYTES", 64 * 784 * 4)
    found = measure_rates({"fp32": vae}, np.zeros((3, 1, 28, 28), np.float32), np.zeros((3, 5), np.float32))
    assert [list(batches) for batches in found["fp32"].values()] == [["1", "64"], ["1", "64"]]


def test_the_machine_is_described_without_a_name_or_a_path() -> None:
    import onnxruntime

    machine = this_machine()
    assert machine.onnxruntime == onnxruntime.__version__
    assert (machine.threads, machine.cores >= 1) == (1, True)
    assert machine.processor
    assert "/home" not in machine.processor
