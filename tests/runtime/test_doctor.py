"""The doctor finds what is wrong, says what to do, and never crashes on what it finds.

Installations are imitated by folders of metadata; how ONNX Runtime's wheels really clash was seen in a scratch environment.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import typer
from onnx import helper
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from vaekit.bundle import CHECKSUMS, Bundle
from vaekit.cores import Cores
from vaekit.errors import BundleNotFoundError, ProviderError
from vaekit.runtime import doctor, trial
from vaekit.runtime.doctor import Finding, diagnose
from vaekit.runtime.providers import CPU, CUDA, Opened

command = importlib.import_module("vaekit.cli.doctor")  # vaekit.cli's attribute of that name is the function

UNINSTALL = "`pip uninstall -y onnxruntime onnxruntime-gpu`"


def _named(findings: list[Finding], what: str) -> Finding:
    (found,) = (finding for finding in findings if finding.what == what)
    return found


def _install(folder: Path, name: str, version: str, package: str) -> None:
    """Leave a distribution's metadata, as pip does."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{package}/__init__.py,,\n{package}/capi/state.so,,\n")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in front of site-packages, whose distributions are found first."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def no_onnxruntime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder in place of site-packages, and no ONNX Runtime imported."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *(entry for entry in sys.path if "site-packages" not in entry)])
    monkeypatch.delitem(sys.modules, "onnxruntime")
    return folder


class Session:
    """A session that gives a fixed answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def run(self, _outputs: list[str], _inputs: dict[str, Any]) -> list[Any]:
        return [self.answer]


@pytest.fixture
def gpu_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A GPU wheel for CUDA 13 with its driver and libraries; a test takes away what it wants to miss."""
    machine = SimpleNamespace(driver="570.86", missing=[], answers={}, reason="")
    runtime = SimpleNamespace(
        __version__="1.31.1",
        __file__=str(tmp_path / "onnxruntime" / "__init__.py"),
        cuda_version="13.0",
        get_available_providers=lambda: [CUDA, CPU],
    )

    def open_session(_model: bytes, options: Any, *, name: str) -> Opened:
        if options.provider == "cuda" and machine.reason:
            os.write(2, f"[1;31m2026-11-24 [E:onnxruntime:Default] FAIL : with error: {machine.reason}\n[m\n".encode())
            raise ProviderError(f"{name}: provider='cuda' was asked for, but it did not load")
        return Opened(
            Session(machine.answers.get(options.provider, [[1 + 3, 2 + 4], [2 - 3, 4 - 4]])), options.provider, 1
        )

    monkeypatch.setattr(doctor, "import_onnxruntime", lambda: runtime)
    monkeypatch.setattr(trial, "open_session", open_session)
    monkeypatch.setattr(doctor, "nvidia_driver", lambda: machine.driver)
    required = ["libcublasLt.so.13", "libcudart.so.13", "libcuda.so.1"]
    monkeypatch.setattr(doctor, "cuda_libraries", lambda _package, _version: (required, ["libcudnn.so.9"]))
    monkeypatch.setattr(doctor, "missing_libraries", lambda names: [name for name in names if name in machine.missing])
    return machine


def test_a_sound_machine_with_a_sound_bundle_has_no_error(small_bundle: Path) -> None:
    findings = diagnose(small_bundle)
    assert [finding for finding in findings if finding.status == "error"] == []
    assert _named(findings, "Python").found.startswith(".".join(map(str, sys.version_info[:3])))
    assert _named(findings, "numpy").found == np.__version__
    assert _named(findings, "onnx").found == onnx.__version__
    assert onnxruntime.__version__ in _named(findings, "ONNX Runtime").found
    assert _named(findings, "provider cpu").found == "loads, and multiplies two matrices right"
    for half in ("encoder.onnx", "decoder.onnx"):
        model = onnx.load(small_bundle / half)
        expected = f"opset {model.opset_import[0].version}, IR version {model.ir_version}, for ONNX Runtime "
        assert _named(findings, half).found.startswith(expected)
        assert _named(findings, half).found.endswith(": loads")


def test_the_doctor_imports_neither_torch_nor_onnx_nor_the_command_lines_packages() -> None:
    code = (
        "import sys; from vaekit.runtime.doctor import diagnose\n"
        "light = {'torch', 'onnx', 'onnxscript', 'rich', 'typer', 'PIL', 'onnxruntime'} & set(sys.modules)\n"
        "diagnose(); after = {'torch', 'onnx', 'onnxscript', 'rich', 'typer', 'PIL', 'onnxruntime'} & set(sys.modules)\n"
        "print(sorted(light), sorted(after))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[] ['onnxruntime']"  # onnxruntime is the control: it shows that the check can fail


def test_python_below_the_lowest_version_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 14))
    found = next(doctor._python())
    assert (found.status, found.advice) == ("error", "Install Python 3.11 or newer.")


def test_a_missing_training_package_is_fine_and_a_missing_base_package_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("torch", "pillow") else "99.0")
    findings = list(doctor._packages())
    assert _named(findings, "torch") == Finding("torch", "ok", "not installed (only needed for training and export)")
    assert _named(findings, "pillow").status == "error"
    assert re.fullmatch(r"`pip install 'pillow>=\d+'`", _named(findings, "pillow").advice)
    assert _named(findings, "numpy") == Finding("numpy", "ok", "99.0")


def test_a_package_older_than_vaekit_asks_for_is_a_warning(site: Path) -> None:
    _install(site, "torch", "2.9.1+cu128", "torch")  # 2.9 is below 2.10 as a version, and above it as a decimal number
    found = _named(list(doctor._packages()), "torch")
    assert (found.status, found.found) == ("warn", "2.9.1+cu128, older than 2.10")
    assert found.advice == "`pip install -U 'torch>=2.10'`"


def test_two_wheels_in_one_folder_are_an_error_with_the_lines_that_mend_it(no_onnxruntime: Path) -> None:
    _install(no_onnxruntime, "onnxruntime", "1.32.0", "onnxruntime")
    _install(no_onnxruntime, "onnxruntime-gpu", "1.31.1", "onnxruntime")
    _install(no_onnxruntime, "onnxruntime-extensions", "0.15.2", "onnxruntime_extensions")
    found = _named(list(doctor._onnxruntime()), "ONNX Runtime")
    assert found.status == "error"
    assert found.found.startswith("onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 fill the same folder: ")
    assert found.advice.startswith(f"{UNINSTALL}, then only one of these: `pip install 'vaekit[cpu]'`, or `pip install")


def test_two_wheels_are_an_error_also_while_the_last_one_works(site: Path) -> None:
    _install(site, "onnxruntime-openvino", "1.24.1", "onnxruntime")
    findings = list(doctor._onnxruntime())
    assert _named(findings, "ONNX Runtime").status == "error"
    assert "`pip uninstall -y onnxruntime onnxruntime-openvino`" in _named(findings, "ONNX Runtime").advice
    assert _named(findings, "provider cpu").status == "ok"


def test_a_wheel_whose_files_went_with_another_is_an_error(no_onnxruntime: Path) -> None:
    (no_onnxruntime / "onnxruntime" / "capi").mkdir(parents=True)
    _install(no_onnxruntime, "onnxruntime", "1.32.0", "onnxruntime")
    (found,) = doctor._onnxruntime()
    assert (found.what, found.status) == ("ONNX Runtime", "error")
    assert found.found == "onnxruntime 1.32.0 does not work: its files are gone, as after removing a second wheel"
    assert found.advice.startswith(f"{UNINSTALL}, then `pip install 'vaekit[cpu]'`")


def test_a_wheel_that_does_not_import_is_an_error_with_the_reason(no_onnxruntime: Path) -> None:
    (no_onnxruntime / "onnxruntime").mkdir()
    (no_onnxruntime / "onnxruntime" / "__init__.py").write_text("raise OSError('libstdc++.so.6 is too old')")
    _install(no_onnxruntime, "onnxruntime", "1.32.0", "onnxruntime")
    (found,) = doctor._onnxruntime()
    assert (found.status, found.found) == ("error", "onnxruntime 1.32.0 does not work: libstdc++.so.6 is too old")


@pytest.mark.usefixtures("no_onnxruntime")
def test_without_onnx_runtime_the_bundle_is_still_checked(small_bundle: Path) -> None:
    findings = diagnose(small_bundle)
    found = _named(findings, "ONNX Runtime")
    assert (found.status, found.found) == ("error", "not installed")
    assert found.advice == "`pip install 'vaekit[cpu]'`, or `pip install 'vaekit[cuda]'` for an NVIDIA GPU."
    assert _named(findings, "bundle").status == "ok"
    assert _named(findings, "encoder.onnx").status == "warn"
    assert not any(finding.what.startswith("provider") for finding in findings)


def test_an_old_onnx_runtime_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = SimpleNamespace(__version__="1.9.0", get_available_providers=list)
    monkeypatch.setattr(doctor, "import_onnxruntime", lambda: runtime)
    monkeypatch.setattr(doctor, "nvidia_driver", lambda: None)
    found, telemetry = doctor._onnxruntime()
    assert (found.status, found.found) == ("warn", "1.9.0, older than 1.22")
    assert telemetry.what == "telemetry"


def test_a_provider_that_does_not_load_is_a_warning_in_the_loaders_words(
    gpu_wheel: SimpleNamespace, capfd: pytest.CaptureFixture[str]
) -> None:
    gpu_wheel.reason = "libcublasLt.so.13: cannot open shared object file: No such file or directory"
    findings = list(doctor._onnxruntime())
    found = _named(findings, "provider cuda")
    assert (found.status, found.found) == ("warn", f"does not load: {gpu_wheel.reason}")
    assert found.advice.startswith("See the NVIDIA driver and the CUDA libraries below")
    assert _named(findings, "provider cpu").status == "ok"
    assert capfd.readouterr().err == ""


def test_a_cpu_provider_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Opened:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(trial, "open_session", fail)
    found = doctor._provider(CPU)
    assert (found.status, found.found) == ("error", "does not work: illegal instruction")
    assert doctor._provider("NpuExecutionProvider").status == "warn"


@pytest.mark.parametrize(("provider", "status"), [("cpu", "error"), ("cuda", "warn")])
def test_wrong_numbers_are_found(gpu_wheel: SimpleNamespace, provider: str, status: str) -> None:
    gpu_wheel.answers[provider] = np.zeros((2, 2), np.float32)
    found = _named(list(doctor._onnxruntime()), f"provider {provider}")
    assert (found.status, found.found) == (
        status,
        "gives wrong numbers: [[0.0, 0.0], [0.0, 0.0]] instead of [[4.0, 6.0], [-1.0, 0.0]]",
    )


def test_cuda_with_driver_and_libraries_is_fine(gpu_wheel: SimpleNamespace) -> None:
    findings = list(doctor._onnxruntime())
    assert gpu_wheel.missing == []
    assert _named(findings, "NVIDIA driver") == Finding("NVIDIA driver", "ok", "570.86")
    assert _named(findings, "CUDA libraries") == Finding(
        "CUDA libraries", "ok", "built for CUDA 13.0; found: libcublasLt.so.13, libcudart.so.13, libcudnn.so.9"
    )


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        (["libcublasLt.so.13", "libcudnn.so.9"], "built for CUDA 13.0; missing: libcublasLt.so.13, libcudnn.so.9"),
        (["libcudnn.so.9"], "built for CUDA 13.0; missing: libcudnn.so.9, which some operators load"),
    ],
)
def test_missing_cuda_libraries_are_listed(gpu_wheel: SimpleNamespace, missing: list[str], found: str) -> None:
    gpu_wheel.missing = missing
    expected = Finding("CUDA libraries", "warn", found, "`pip install 'onnxruntime-gpu[cuda,cudnn]'`")
    assert _named(list(doctor._onnxruntime()), "CUDA libraries") == expected


def test_a_gpu_wheel_without_a_driver_is_a_warning(gpu_wheel: SimpleNamespace) -> None:
    gpu_wheel.driver = None
    found = _named(list(doctor._onnxruntime()), "NVIDIA driver")
    assert (found.status, found.found) == ("warn", "none: CUDA cannot run here")


def test_an_nvidia_driver_under_a_cpu_wheel_is_told_how_to_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "nvidia_driver", lambda: "570.86")
    (found,) = doctor._nvidia(SimpleNamespace(), [CPU])
    assert (found.status, found.found) == ("ok", "570.86, but this ONNX Runtime has no CUDA provider")
    assert found.advice == f"To use the GPU: {UNINSTALL}, then `pip install 'vaekit[cuda]'`."


@pytest.mark.parametrize(
    ("cores", "status", "says"),
    [
        (Cores(2, 2, None), "ok", "2 in the machine, 2 for this process; vaekit uses 2 threads"),
        (Cores(64, 64, 1.5), "warn", "64 in the machine, 64 for this process, CPU time of 1.5"),
        (Cores(16, 4, None), "warn", "16 in the machine, 4 for this process"),
    ],
)
def test_fewer_cores_than_the_machine_has_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, cores: Cores, status: str, says: str
) -> None:
    monkeypatch.setattr(doctor, "count_cores", lambda: cores)
    (found,) = doctor._cores()
    assert (found.status, found.found) == (status, says)
    if status == "warn":
        assert f"would start up to {cores.machine} threads; vaekit uses {cores.usable}." in found.advice


def test_a_folder_without_a_bundle_is_an_error_and_no_crash(tmp_path: Path) -> None:
    (found,) = doctor._bundle(tmp_path / "nowhere")
    assert (found.what, found.status) == ("bundle", "error")
    assert "there is no bundle at" in found.found


def test_a_missing_built_in_model_is_only_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path | None) -> None:
        raise BundleNotFoundError("the built-in model is not installed")

    monkeypatch.setattr(Bundle, "open", refuse)
    (found,) = doctor._bundle(None)
    assert (found.what, found.status, found.found) == ("built-in model", "warn", "not in this installation")


@pytest.mark.parametrize("name", ["encoder.onnx", "golden.npz", "manifest.json", CHECKSUMS])
def test_a_damaged_bundle_is_an_error_in_the_bundles_words(bundle_copy: Path, name: str) -> None:
    content = bytearray((bundle_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy / name).write_bytes(content)
    (found,) = doctor._bundle(bundle_copy)
    assert (found.what, found.status) == ("bundle", "error")
    assert re.search(r"was changed|changed\b|valid JSON|field|not 64", found.found)


def test_a_graph_of_a_future_opset_is_an_error_that_says_what_would_load_it(
    bundle_copy: Path, replace_graph: Callable[[Path, str, bytes], None]
) -> None:
    model = onnx.load(bundle_copy / "decoder.onnx")
    model.opset_import[0].version = 99
    replace_graph(bundle_copy, "decoder", model.SerializeToString())
    findings = list(doctor._bundle(bundle_copy))
    found = _named(findings, "decoder.onnx")
    assert found.status == "error"
    assert "opset 99" in found.found
    assert "ONNX Runtime cannot load decoder.onnx" in found.found
    assert found.advice == "Export it with a lower opset than 99, or upgrade ONNX Runtime."
    assert _named(findings, "encoder.onnx").status == "ok"


def test_a_graph_that_an_older_onnx_runtime_refuses_names_the_version_that_loads_it(
    bundle_copy: Path, replace_graph: Callable[[Path, str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(bundle_copy / "decoder.onnx")
    model.ir_version = 99
    replace_graph(bundle_copy, "decoder", model.SerializeToString())
    monkeypatch.setattr("vaekit.runtime.opsets.HIGHEST", {22: (22, 10), 24: (25, 99)})
    monkeypatch.setattr(doctor, "import_onnxruntime", lambda: SimpleNamespace(__version__="1.22.1"))
    found = _named(list(doctor._bundle(bundle_copy)), "decoder.onnx")
    assert found.advice == "Install ONNX Runtime 1.24 or newer, or export it with a lower opset than 18."
    monkeypatch.setattr(doctor, "import_onnxruntime", lambda: SimpleNamespace(__version__="1.25.0"))
    found = _named(list(doctor._bundle(bundle_copy)), "decoder.onnx")
    assert found.advice.startswith("Its opset and IR version fit, so the graph itself is at fault")


def test_a_graph_that_draws_random_numbers_is_an_error(
    bundle_copy: Path, replace_graph: Callable[[Path, str, bytes], None]
) -> None:
    model = onnx.load(bundle_copy / "decoder.onnx")
    model.graph.node.append(helper.make_node("RandomNormal", [], ["noise"], shape=[1]))
    replace_graph(bundle_copy, "decoder", model.SerializeToString())
    found = _named(list(doctor._bundle(bundle_copy)), "decoder.onnx")
    assert found.status == "error"
    assert "RandomNormal" in found.found


SAMPLE = [
    Finding("Python", "ok", "3.11.7"),
    Finding("provider cuda", "warn", "does not load: " + "libcublasLt.so.13 " * 9, "`pip install 'vaekit[cuda]'`"),
    Finding("bundle", "error", "/models/[bold]x[/bold]: :smile: was changed", "Copy it again."),
]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The command alone, which finds `SAMPLE`."""
    monkeypatch.setattr(doctor, "diagnose", lambda _bundle: list(SAMPLE))
    program = typer.Typer()
    program.command()(command.doctor)
    return program


def test_a_pipe_gets_one_plain_line_a_finding(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, [])
    assert result.output.splitlines() == [
        "ok     Python: 3.11.7",
        "warn   provider cuda: does not load: " + "libcublasLt.so.13 " * 9,
        "       -> `pip install 'vaekit[cuda]'`",
        "error  bundle: /models/[bold]x[/bold]: :smile: was changed",
        "       -> Copy it again.",
        "1 error, 1 warning, 1 ok",
    ]
    assert "\x1b" not in result.output
    assert result.exit_code == 1


def test_json_gives_every_field_and_nothing_else(app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["--json"])
    assert json.loads(result.output) == [vars(finding) for finding in SAMPLE]
    assert set(json.loads(result.output)[0]) == {"what", "status", "found", "advice"}
    assert result.exit_code == 1


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_terminal_gets_lines_no_wider_than_itself_and_every_word(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    def terminal() -> Console:
        return Console(force_terminal=True, color_system="standard", width=width, highlight=False, _environ={})

    monkeypatch.setattr(command, "console", terminal)
    output = CliRunner().invoke(app, []).output
    assert "\x1b[33mwarn" in output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    assert max(map(cell_len, plain.splitlines())) <= width
    words = plain.split()
    assert words.count("libcublasLt.so.13") == 9
    for word in ("'vaekit[cuda]'`", ":smile:", "Copy", "->"):  # nothing is taken for markup or an emoji
        assert word in words
    assert "[bold]x[/bold]" in plain.replace("\n", "").replace(" ", "")


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_warnings_alone_exit_with_0(app: typer.Typer, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(doctor, "diagnose", lambda _bundle: SAMPLE[:2])
    assert CliRunner().invoke(app, arguments).exit_code == 0


def test_the_command_looks_at_the_bundle_that_is_named(app: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def look(bundle: Path | None) -> list[Finding]:
        asked.append(bundle)
        return []

    monkeypatch.setattr(doctor, "diagnose", look)
    for arguments in (["some/folder"], []):
        CliRunner().invoke(app, arguments)
    assert asked == [Path("some/folder"), None]


def test_the_real_command_on_a_damaged_bundle_exits_with_1_and_no_traceback(bundle_copy: Path) -> None:
    (bundle_copy / "decoder.onnx").unlink()
    program = typer.Typer()
    program.command()(command.doctor)
    result = CliRunner().invoke(program, [str(bundle_copy)])
    assert result.exit_code == 1
    assert re.search(
        r"^error  bundle: .*decoder\.onnx is missing; copy the bundle again\.$", result.output, re.MULTILINE
    )
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("1", "ONNX Runtime's is off (ORT_DISABLE_TELEMETRY=1)"),
        ("TRUE", "ONNX Runtime's is off (ORT_DISABLE_TELEMETRY=TRUE)"),
        ("0", "ONNX Runtime may report, since ORT_DISABLE_TELEMETRY='0' is set"),
        ("no", "ONNX Runtime may report, since ORT_DISABLE_TELEMETRY='no' is set"),
    ],
)
def test_whether_onnx_runtime_reports_is_said(said: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", said)
    assert [finding.found for finding in diagnose() if finding.what == "telemetry"] == [found]
