"""Rates: that contenders take turns, that the median counts, and that the machine is described. No time is asserted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import vaekit
from vaekit.exporting import rates
from vaekit.exporting.rates import BATCHES, measure_rates, this_machine


class Clock:
    """A clock that sessions turn by what their calls take."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def perf_counter(self) -> float:
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
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rates, "time", clock)
    return clock


def test_the_median_of_the_rounds_counts(clock: Clock) -> None:
    # First call, one to see how long a call takes, then rounds: the slow second and the odd call leave no trace.
    session = clock.session("a", 5.0, 0.1, 0.1, 9.0, 0.1)
    assert rates._take_turns({"a": session}, np.zeros((1, 1), np.float32)) == {"a": pytest.approx(0.1)}


def test_contenders_take_turns_the_same_number_of_times(clock: Clock) -> None:
    sessions = {"fp32": clock.session("fp32", 0.3), "int8": clock.session("int8", 0.1)}
    found = rates._take_turns(sessions, np.zeros((1, 1), np.float32))
    assert found == {"fp32": pytest.approx(0.3), "int8": pytest.approx(0.1)}
    rounds = clock.calls[4:]
    assert rounds == ["fp32", "int8"] * (len(rounds) // 2)
    assert len(rounds) // 2 == 5, "five rounds of 0.3 s fill 1.5 s"


def test_short_calls_are_repeated_until_the_clock_sees_them(clock: Clock) -> None:
    found = rates._take_turns({"a": clock.session("a", 1e-5)}, np.zeros((1, 1), np.float32))
    assert found == {"a": pytest.approx(1e-5)}
    assert len(clock.calls) == 2 + 9 * 400


def test_slow_calls_get_the_fewest_rounds(clock: Clock) -> None:
    rates._take_turns({"a": clock.session("a", 20.0)}, np.zeros((1, 1), np.float32))
    assert len(clock.calls) == 2 + 3


def test_both_halves_are_timed_at_every_batch_size(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def taken(sessions: dict[str, Any], rows: np.ndarray) -> dict[str, float]:
        seen.append(rows.shape)
        return dict.fromkeys(sessions, 0.5)

    monkeypatch.setattr(rates, "_take_turns", taken)
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
