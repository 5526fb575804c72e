"""`vaekit bench`: what it prints, writes and draws, what it refuses, and how it stops."""

from __future__ import annotations

import functools
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vaekit.cli import bench_report
from vaekit.runtime.bench import measure, plan
from vaekit.runtime.bench.stored import from_json

Run = Callable[..., Any]

SHORT = ("--threads", "1", "--batches", "1,4", "--seconds", "0.02", "--quick")


@pytest.fixture
def screen_columns() -> int:
    return 80


@pytest.fixture
def run(run: Run, small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return ``run(*options)`` of `vaekit bench` on the small bundle, with no starts."""
    monkeypatch.setattr(plan, "QUICK_STARTS", 0)
    return functools.partial(run, "bench", small_bundle, *SHORT)


def test_bench_prints_tables_and_advice_and_writes_what_was_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra [plots])")
    monkeypatch.setattr(plan, "QUICK_STARTS", 1)
    out, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    done = run("--half", "both", "--out", out, "--plot", plot)
    assert (done.code, done.err) == (0, "")
    report = from_json(json.loads(out.read_text()))
    assert report.complete
    for half in ("encoder", "decoder"):
        for title in ("time of a call at batch 1", "items per second, by batch size", "a new process, from its start"):
            assert f"{half}: {title}" in done.out
        for purpose in ("latency", "throughput"):
            assert re.search(rf"^{half} for {purpose}: fp32 cpu, 1 thread, ", done.out, flags=re.MULTILINE)
    assert done.out.count("`import numpy` alone") == 2
    assert "MB" in done.out
    assert done.out.endswith(f"wrote {out}\nwrote {plot}\n")
    assert "fp32 cpu, 1 thread, bound" in plot.read_text()
    assert "\x1b" not in done.out


def test_the_tables_hold_the_numbers_of_the_report(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    done = run("--out", out)
    report = from_json(json.loads(out.read_text()))
    for timing in report.timings:
        rows = [line.split() for line in done.out.splitlines() if line.startswith(timing.cell.name + " ")]
        assert len(rows) == 2  # latency, throughput
        p50 = timing.quantile(0.5) * 1e6
        if timing.cell.batch == 1 and p50 < 900:
            shown = rows[0][rows[0].index(timing.cell.way) + 1 :]
            assert shown[1] == "us"
            assert float(shown[0]) == pytest.approx(p50, rel=0.006)
        column = 1 + report.plan.batches.index(timing.cell.batch)
        shown_rate = rows[1][rows[1].index(timing.cell.way) + column]
        factor = {"k": 1e3, "M": 1e6}.get(shown_rate[-1], 1.0)
        assert float(shown_rate.rstrip("kM")) * factor == pytest.approx(timing.rate.median, rel=0.006)


def test_graphs_for_pixels_stand_beside_the_others_in_all_that_is_shown(
    run: Run, pixel_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra [plots])")
    monkeypatch.setattr(plan, "QUICK_STARTS", 1)
    bench = functools.partial(run.func, "bench", pixel_bundle, *SHORT)  # type: ignore[attr-defined]
    out, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    done = bench("--out", out, "--plot", plot)
    assert (done.code, done.err) == (0, "")
    for name in ("fp32", "fp32.uint8"):
        for way in ("call", "bound"):  # latency and throughput
            assert len(re.findall(rf"^{re.escape(name)} cpu, 1 thread, {way} ", done.out, flags=re.MULTILINE)) == 2
        assert f"{name} cpu, 1 thread, call" in plot.read_text()
    sizes = {
        name: f"{(pixel_bundle / file).stat().st_size / 1e6:,.2f} MB"
        for name, file in (("fp32", "decoder.onnx"), ("fp32.uint8", "decoder.uint8.onnx"))
    }
    for name, size in sizes.items():
        assert re.search(rf"^{re.escape(name)} cpu, 1 thread  .* {size}$", done.out, flags=re.MULTILINE)
    assert "fp32.uint8: pixels on cpu over float32 values: " in done.out
    assert re.search(r"^decoder for latency: fp32 cpu, 1 thread, ", done.out, flags=re.MULTILINE)
    assert re.search(r"^decoder for latency, uint8 pixels: fp32\.uint8 cpu, 1 thread, ", done.out, flags=re.MULTILINE)
    assert {timing["io"] for timing in json.loads(out.read_text())["timings"]} == {"float32", "uint8"}
    for io in ("float32", "uint8"):
        monkeypatch.setattr(plan, "QUICK_STARTS", 0)
        report = from_json(json.loads(bench("--io", io, "--json").out))
        assert {timing.cell.setting.io for timing in report.timings} == {io}


def test_json_is_the_report_and_nothing_else(run: Run) -> None:
    done = run("--json")
    assert (done.code, done.err) == (0, "")
    report = from_json(json.loads(done.out))
    assert {timing.cell.batch for timing in report.timings} == {1, 4}
    assert report.plan.threads == (1,)


def test_a_terminal_gets_a_bar_with_the_name_of_what_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    with_bar = run("--seconds", "0.6").out
    assert re.search(r"decoder fp32 cpu, 1 thread, (call|bound), batch", with_bar)
    quiet = run("--quiet").out
    assert "decoder fp32 cpu" not in quiet
    assert "decoder: time of a call" in quiet


def test_a_busy_machine_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    described = measure.describe_machine()
    for load, warned in ((1.9, True), (0.0, False), (None, False)):
        found = described._replace(load_before=load, cores_usable=2)
        monkeypatch.setattr(measure, "describe_machine", lambda found=found: found)
        done = run()
        assert ("other work was running (load 1.9 on 2 usable cores)" in done.out) is warned


def test_what_could_not_be_measured_is_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "working_providers", lambda *_: (["cpu"], ["cuda: [no] driver"]))
    assert "left out: cuda: [no] driver\n" in run().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batches", "1,0"], r"batches=0: a call takes 1 item or more\."),
        (["--batches", "1,x"], r"--batches 1,x: give whole numbers with commas between them, e\.g\. 1,8,64\."),
        (["--batches", ","], r"batches is empty; name at least one\."),
        (["--threads", "0"], r"threads=0: give 1 to 1024, or None for every usable core\."),
        (["--threads", "two"], r"--threads two: give whole numbers with commas between them"),
        (["--precision", "fp32,fp8"], r"precision='fp8' is not in the bundle '.*', which has fp32"),
        (
            ["--io", "uint8"],
            r"io='uint8' was asked for, but the bundle '.*' has graphs for float32 alone; export it again",
        ),
        (["--io", "uint16"], r"io='uint16' is unknown; choose one of float32, uint8\."),
        (["--provider", "npu"], r"provider='npu' was asked for, but .* has only "),
        (["--provider", "auto"], r"provider='auto' is a choice between providers"),
        (["--seconds", "0"], r"seconds=0: give each timing more than 0"),
        (["--out", "/proc/bench.json"], r"/proc/bench\.json cannot be written: .*; choose another folder\."),
        (["--out", "none/bench.json"], r"none/bench\.json cannot be written: there is no folder none; make it first"),
        (["--out", "bench.txt"], r"bench\.txt: the ending '\.txt' is unknown; choose one of \.json\."),
        (["--plot", "/proc/bench.png"], r"/proc/bench\.png cannot be written: .*; choose another folder\."),
        (["--plot", "bench.pdf"], r"bench\.pdf: the ending '\.pdf' is unknown; choose one of \.png, \.svg\."),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line_before_anything_is_measured(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], message: str
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("something was measured")

    monkeypatch.setattr(measure, "take_turns", never)
    monkeypatch.chdir(tmp_path)
    done = run(*options)
    assert done.code == 1
    assert re.fullmatch(rf"error: {message}.*\n", done.err), done.err
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_results_are_not_replaced_unasked(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    out.write_text("before")
    done = run("--out", out)
    assert done.code == 1
    assert "exists already; choose another path, or pass --force" in done.err
    assert out.read_text() == "before"
    assert run("--out", out, "--force").code == 0
    assert json.loads(out.read_text())["format"] == "vaekit-bench"


def test_without_matplotlib_a_plot_is_refused_before_anything_is_measured(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run("--plot", tmp_path / "bench.png")
    assert done.code == 1
    assert done.err.startswith("error: a plot needs matplotlib; install it with `pip install 'vaekit[plots]'`")


@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupted_run_writes_and_prints_what_it_has(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_json: bool
) -> None:
    real = measure.take_turns

    def interrupted(contenders: Any, clock: Any, *, seconds: float, rounds: int, **_: Any) -> None:
        real(contenders, clock, seconds=seconds, rounds=rounds // 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "take_turns", interrupted)
    out, plot = tmp_path / "bench.json", tmp_path / "bench.png"
    done = run("--out", out, "--plot", plot, *(["--json"] if as_json else []))
    assert done.code == 130
    assert done.err == "stopped after 0 of 0 starts and 3 of 6 rounds\n"
    report = from_json(json.loads(out.read_text()))
    assert json.loads(out.read_text())["complete"] is False
    assert len(report.timings) == 4
    assert plot.read_bytes().startswith(b"\x89PNG")
    if as_json:
        assert from_json(json.loads(done.out)) == report
    else:
        assert "decoder: items per second" in done.out
        assert "decoder for latency: none, since 3 rounds of measurements are too few" in done.out


def test_where_no_call_was_timed_no_picture_is_drawn_and_one_that_is_there_stays(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra [plots])")

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "take_turns", interrupted)
    out, plot = tmp_path / "bench.json", tmp_path / "bench.png"
    plot.write_bytes(b"of yesterday")
    done = run("--out", out, "--plot", plot, "--force")
    assert done.code == 130
    assert done.err == (f"stopped after 0 of 0 starts and 0 of 6 rounds; no call was timed, so {plot} is not drawn\n")
    assert done.out.endswith(f"wrote {out}\n")
    assert plot.read_bytes() == b"of yesterday"


@pytest.mark.parametrize("columns", [80, 50, 40])
def test_on_a_narrow_screen_every_value_is_whole(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    columns: int,
) -> None:
    monkeypatch.setattr(plan, "QUICK_STARTS", 1)
    out = tmp_path / "bench.json"
    on_a_pipe = run("--batches", "1,2,4,8,16,1024", "--out", out).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", str(columns))
    bench_report.show(from_json(json.loads(out.read_text())), [], as_json=False)
    on_a_screen = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, on_a_screen.splitlines())) <= columns
    for setting in (
        "`import numpy` alone",
        "fp32 cpu, 1 thread ",
        "fp32 cpu, 1 thread, call",
        "fp32 cpu, 1 thread, bound",
    ):
        values = [  # of the tables; advice follows the last empty line
            [
                value
                for line in text.rpartition("\n\n")[0].splitlines()
                if line.startswith(setting)
                for value in line[len(setting) :].split()
            ]
            for text in (on_a_pipe, on_a_screen)
        ]
        assert values[0]
        assert values[1] == values[0]


def starts_of(process: int) -> list[int]:
    """The processes whose start is being measured now."""
    found = []
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        try:
            command = Path(f"/proc/{child}/cmdline").read_text()
        except OSError:  # it has ended since
            continue
        if "perf_counter" in command:
            found.append(int(child))
    return found


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="sees the processes that bench starts in /proc")
def test_ctrl_c_ends_a_real_run_at_once_and_leaves_its_file(small_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    command = [sys.executable, "-m", "vaekit", "bench", small_bundle, "--seconds", "600", "--out", out]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (started := starts_of(process.pid)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said[1]
    assert said[1].startswith("stopped after ")
    assert json.loads(out.read_text())["complete"] is False
    for child in started:  # one that was being made when the signal came ends by itself, after its item
        while Path(f"/proc/{child}").exists():
            assert time.monotonic() < deadline + 60
            time.sleep(0.01)
