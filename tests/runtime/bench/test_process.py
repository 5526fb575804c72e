"""Cold start and memory: the process that is measured runs the model, and its memory is its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import vaekit
from vaekit.bundle import Bundle
from vaekit.errors import MeasurementError
from vaekit.runtime.bench import child, process
from vaekit.runtime.bench.child import checksum, first_item, resident_and_peak
from vaekit.runtime.bench.process import Starter, start_in_turn
from vaekit.runtime.bench.results import Setting

SETTING = Setting("decoder", "fp32", "cpu", 1)

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc/self/status on this system")


def weighted(item: Any) -> float:
    """The checksum, from its definition."""
    values = np.asarray(item, np.float64).ravel()
    return float(sum(value * (0.5 + index / (values.size - 1)) for index, value in enumerate(values)))


@pytest.mark.parametrize("half", ["decoder", "encoder"])
def test_the_new_process_really_runs_the_model(small_bundle: Path, half: str) -> None:
    bundle = Bundle.open(small_bundle)
    spec = bundle.manifest.spec
    session = onnxruntime.InferenceSession(bundle.graph(half), providers=["CPUExecutionProvider"])
    x = (
        vaekit.noise(seed=0, count=1, dim=spec.latent)
        if half == "decoder"
        else np.full((1, *spec.data.shape), 0.5, np.float32)
    )
    wanted = weighted(session.run(None, {session.get_inputs()[0].name: x})[0])
    starter = Starter(SETTING._replace(half=half), small_bundle, wanted)
    start_in_turn([starter], lambda: 0.0, starts=1)
    start = starter.result()
    assert start is not None
    assert start.checksum == pytest.approx(wanted, rel=1e-4)
    assert abs(wanted) > 0.1  # zeros would not tell a model that ran from one that did not
    assert set(start.stages) == {"import", "load", "first_item"}
    assert all(seconds > 0 for seconds in start.stages.values())


def test_the_checksum_sees_an_exchange_and_is_the_parents_too(small_bundle: Path) -> None:
    item = np.array([1.0, 2.0, 4.0])
    assert checksum(item) == pytest.approx(weighted(item)) == 8.5
    assert checksum(item[::-1]) != checksum(item)
    model = vaekit.Decoder(small_bundle, provider="cpu", threads=1)
    np.testing.assert_array_equal(first_item(model), model.decode(vaekit.noise(seed=0, count=1, dim=model.spec.latent)))


def test_an_item_other_than_ours_is_refused(small_bundle: Path) -> None:
    message = (
        r"a new process ran decoder fp32 cpu, 1 thread, and its first item has the checksum .*, but here it has 1e\+06"
    )
    with pytest.raises(MeasurementError, match=message):
        start_in_turn([Starter(SETTING, small_bundle, 1e6)], lambda: 0.0, starts=1)


def test_a_process_that_fails_is_refused_with_its_last_line(tmp_path: Path) -> None:
    message = r"a new process could not run decoder fp32 cpu, 1 thread: .*BundleNotFoundError: there is no bundle at"
    with pytest.raises(MeasurementError, match=message):
        start_in_turn([Starter(SETTING, tmp_path / "none")], lambda: 0.0, starts=1)


def test_a_process_that_ends_without_a_word_is_refused(small_bundle: Path) -> None:
    starter = Starter(SETTING, small_bundle)
    starter._command = [sys.executable, "-c", "import os; os._exit(7)"]
    with pytest.raises(MeasurementError, match="could not run decoder fp32 cpu, 1 thread: it ended with code 7"):
        start_in_turn([starter], lambda: 0.0, starts=1)


def test_a_process_that_hangs_is_ended(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "TIMEOUT", 0.1)
    starter = Starter(SETTING, small_bundle)
    starter._command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(MeasurementError, match=r"could not run .*: it ended with code -9"):
        start_in_turn([starter], lambda: 0.0, starts=1)


def test_without_python_nothing_is_started(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/there/is/no/python")
    with pytest.raises(MeasurementError, match="no new Python process can be started: No such file"):
        start_in_turn([Starter(None, small_bundle)], lambda: 0.0, starts=1)


def test_an_interruption_ends_the_process_that_was_running(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    popen = subprocess.Popen

    def record(*arguments: Any, **options: Any) -> Any:
        made.append(popen(*arguments, **options))
        return made[-1]

    def clock() -> float:
        if made:
            raise KeyboardInterrupt
        return 0.0

    monkeypatch.setattr(subprocess, "Popen", record)
    starter = Starter(None, small_bundle)
    starter._command = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"]
    with pytest.raises(KeyboardInterrupt):
        start_in_turn([starter], clock, starts=1)
    assert [one.returncode for one in made] == [-9]
    assert starter.result() is None


def test_the_first_start_is_apart_and_the_kinds_take_turns(small_bundle: Path) -> None:
    # Each reading of this clock is a second later than the last, and each start takes two readings.
    seconds = iter(range(1000))
    order: list[int] = []
    starters = [Starter(None, small_bundle), Starter(None, small_bundle)]
    start_in_turn(starters, lambda: next(seconds) ** 2.0, starts=2, on_start=order.append)
    assert [sorted(order[index : index + 2]) for index in (0, 2, 4)] == [[0, 1]] * 3
    took = [(2 * n + 1) ** 2 - (2 * n) ** 2 for n in range(6)]
    for index, starter in enumerate(starters):
        mine = [seconds for seconds, turn in zip(took, order, strict=True) if turn == index]
        start = starter.result()
        assert start is not None
        assert (start.first, list(start.seconds)) == (mine[0], mine[1:])


def test_stages_and_memory_are_medians_without_the_first_start(small_bundle: Path) -> None:
    starter = Starter(SETTING, small_bundle)
    starter.seconds = [9.0, 1.0, 2.0, 6.0]
    starter.reports = [
        {"stages": {"load": load}, "resident": size, "peak": None, "checksum": 1.5}
        for load, size in ((80.0, 900), (0.1, 10), (0.2, 20), (0.6, 60))
    ]
    start = starter.result()
    assert start is not None
    assert (start.first, start.seconds) == (9.0, (1.0, 2.0, 6.0))
    assert (start.stages, start.resident, start.peak) == ({"load": 0.2}, 20, None)


def test_the_baseline_imports_numpy_and_nothing_of_ours(small_bundle: Path) -> None:
    code = Starter(None, small_bundle)._command[3]
    code += "\nprint({name for name in sys.modules if name.split('.')[0] in ('vaekit', 'onnxruntime')})"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    ready, report, modules = done.stdout.splitlines()
    assert (ready, modules) == (child.READY, "set()")
    assert '"import"' in report


@needs_proc
def test_a_start_measures_memory_that_onnx_runtime_adds_to_the_baseline(small_bundle: Path) -> None:
    starters = [Starter(None, small_bundle), Starter(SETTING, small_bundle)]
    start_in_turn(starters, lambda: 0.0, starts=1)
    bare, full = (starter.result() for starter in starters)
    assert bare is not None
    assert full is not None
    assert 5e6 < bare.peak < full.peak < 1e9
    assert full.resident <= full.peak


def measured(code: str) -> tuple[int, int]:
    """Resident and peak bytes of a process at the end of some code."""
    path = child.__file__
    program = (
        f"{code}\nfrom importlib.util import module_from_spec as new, spec_from_file_location as spec\n"
        f"s = spec('child', {path!r})\nc = new(s)\ns.loader.exec_module(c)\nprint(*c.resident_and_peak())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    resident, peak = map(int, done.stdout.split())
    return resident, peak


@needs_proc
def test_memory_grows_by_what_a_process_allocates_and_the_peak_stays() -> None:
    size = 200 << 20
    small, held, freed = (
        measured(code) for code in ("", f"a = bytearray(b'x') * {size}", f"a = bytearray(b'x') * {size}\ndel a")
    )
    assert held[0] - small[0] == pytest.approx(size, rel=0.05)
    assert held[1] - small[1] == pytest.approx(size, rel=0.05)
    assert freed[0] - small[0] < size / 10
    assert freed[1] - small[1] == pytest.approx(size, rel=0.05)


@needs_proc
def test_the_memory_of_a_large_parent_is_not_counted() -> None:
    ballast = np.ones(500 << 17, np.float64)  # 500 MiB, of which a new process knows nothing
    assert measured("")[1] < 200 << 20
    assert ballast[-1] == 1


def test_without_proc_the_peak_comes_from_the_system_call(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    resident, peak = resident_and_peak(tmp_path / "none")
    unit = 1 if sys.platform == "darwin" else 1024
    assert resident is None
    assert peak == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def test_without_proc_and_without_the_call_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert resident_and_peak(tmp_path / "none") == (None, None)


def test_a_module_in_the_current_folder_does_not_stand_in(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    starter = Starter(SETTING, small_bundle)
    start_in_turn([starter], lambda: 0.0, starts=0)
    assert len(starter.seconds) == 1


def test_children_keep_bytecode_where_this_process_may_not_write_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    with process._environment() as environment:
        folder = Path(environment["PYTHONPYCACHEPREFIX"])
        assert folder.is_dir()
        assert "PYTHONDONTWRITEBYTECODE" not in environment
        assert environment["PATH"] == os.environ["PATH"]
    assert not folder.exists()


def test_children_get_our_environment_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    with process._environment() as environment:
        assert environment == dict(os.environ)
