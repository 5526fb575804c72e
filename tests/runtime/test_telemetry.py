"""Whoever runs a model by vaekit reports nothing to ONNX Runtime's maker, and finds nothing new in their home folder."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from vaekit.runtime.providers import import_onnxruntime
from vaekit.runtime.telemetry import SWITCH, turn_off, turn_off_later

ROOT = Path(__file__).resolve().parents[2]

WAYS = {
    "load": "import vaekit; vaekit.load({bundle!r}, provider='cpu').sample(1)",
    "command": "from vaekit.cli import main; import sys; sys.argv = ['vaekit', 'verify', {bundle!r}]; main()",
    "doctor": "from vaekit.runtime.doctor import diagnose; diagnose({bundle!r})",
    "export": "from vaekit.exporting.float16 import to_float16; to_float16(open({encoder!r}, 'rb').read())",
    "benchmarks": "import benchmarks, onnxruntime",
}


def in_home(environment: dict[str, str], code: str) -> list[str]:
    """Files in an empty home folder after a program ran."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    home = Path(environment["HOME"])
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_in_the_home_folder(small_bundle: Path, at_home: dict[str, str], way: str) -> None:
    places = {"bundle": str(small_bundle), "encoder": str(small_bundle / "encoder.onnx")}
    assert in_home(at_home, WAYS[way].format(**places)) == []


def unguarded(source: str) -> list[int]:
    """Lines of functions that import ONNX Runtime without having called `import_onnxruntime` before."""
    lines = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            calls = [
                node.lineno
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "import_onnxruntime"
            ]
            lines += [
                node.lineno
                for node in ast.walk(function)
                if (isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "onnxruntime")
                or (
                    isinstance(node, ast.Import)
                    and any(name.name.split(".")[0] == "onnxruntime" for name in node.names)
                )
                if not any(line < node.lineno for line in calls)
            ]
    return lines


def test_everything_else_asks_for_onnx_runtime_by_the_function_that_turns_it_off() -> None:
    files = [*ROOT.glob("vaekit/**/*.py"), *ROOT.glob("cli/**/*.py")]
    found = {str(path.relative_to(ROOT)): unguarded(path.read_text(encoding="utf-8")) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}
    assert sum("import_onnxruntime()\n    from onnxruntime" in path.read_text(encoding="utf-8") for path in files) >= 3
    bad = "def f():\n    from onnxruntime import quantization\n    import_onnxruntime()\n    import onnxruntime.tools\n"
    assert unguarded(bad) == [2]  # the control


@pytest.mark.parametrize("said", ["0", "1", "", "whatever"])
def test_what_the_user_set_stays(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, said)
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", pytest.fail)
    import_onnxruntime()
    assert os.environ[SWITCH] == said


def test_where_onnx_runtime_is_imported_before_it_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.delenv(SWITCH)
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: told.append(True))
    for _ in range(3):
        assert import_onnxruntime() is onnxruntime
    assert told == [True]
    assert os.environ[SWITCH] == "1"


def test_the_switch_is_set_only_where_it_is_not() -> None:
    unset: dict[str, str] = {}
    assert turn_off(unset)
    assert unset == {SWITCH: "1"}
    assert not turn_off(unset)


def test_a_build_without_telemetry_has_nothing_to_turn_off() -> None:
    turn_off_later(object())
