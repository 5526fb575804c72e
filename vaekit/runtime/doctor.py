"""What is wrong with this machine: versions, ONNX Runtime's wheels, providers, cores, and whether a bundle loads here.

`diagnose` looks and reports; it repairs nothing. It does not raise for what it finds: a broken installation or a damaged
bundle is a finding.

Needs: NumPy; ONNX Runtime where it is installed. Must not import: torch, onnx (their versions come from their metadata).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

import vaekit
from vaekit.bundle import Bundle
from vaekit.cores import count_cores
from vaekit.errors import BundleNotFoundError, MissingDependencyError, VaekitError
from vaekit.manifest import HALVES, GraphInfo
from vaekit.runtime.libraries import DRIVER, cuda_libraries, missing_libraries, nvidia_driver
from vaekit.runtime.providers import CPU, CUDA, INSTALL, REMOVE, Options, import_onnxruntime, open_session, short_name

Status = Literal["ok", "warn", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: Its name.
        status: "ok", "warn" (something is slower or not there, all else works) or "error" (vaekit does not work right).
        found: What is there.
        advice: What to do, or "".
    """

    what: str
    status: Status
    found: str
    advice: str = ""


PYTHON: Final = (3, 11)
BASE: Final = ("numpy", "pillow", "typer", "rich")
TRAINING: Final = ("torch", "onnx", "onnxscript", "safetensors")

HIGHEST: Final = {
    14: (18, 8),
    15: (19, 8),
    16: (19, 9),
    17: (20, 9),
    18: (21, 10),
    21: (22, 10),
    23: (23, 11),
    24: (25, 13),
    25: (26, 13),
    32: (28, 14),
}
"""Highest ONNX opset and IR version by ONNX Runtime's 1.x; a version that is not listed has the row above it.

Source: onnxruntime.ai/docs/reference/compatibility.html up to 1.20; from there on measured: a graph of one Relu was loaded
with each opset and IR version by the last patch release of every 1.x from 1.21 to 1.32.
"""

# y = x @ [[1, 2], [3, 4]], opset 13, IR version 7. The numbers are exact in any precision that a provider may pick.
PROBE: Final = (
    b"\x08\x07"  # ModelProto.ir_version
    b"\x3a\x5f"  # .graph, 95 bytes
    b"\x0a\x11\x0a\x01x\x0a\x01w\x12\x01y\x22\x06MatMul"  # .node: inputs x and w, output y
    b"\x12\x01g"  # .name
    b"\x2a\x1b\x08\x02\x08\x02\x10\x01"  # .initializer: dims 2, 2, float32,
    b"\x22\x10\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40\x42\x01w"  # float_data 1 2 3 4, name w
    b"\x5a\x14\x0a\x01x\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x02"  # .input: x, float32 (n, 2)
    b"\x62\x14\x0a\x01y\x12\x0f\x0a\x0d\x08\x01\x12\x09\x0a\x03\x12\x01n\x0a\x02\x08\x02"  # .output: y, float32 (n, 2)
    b"\x42\x04\x0a\x00\x10\x0d"  # .opset_import: domain "", version 13
)


def diagnose(bundle: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Look at everything that vaekit's runtime depends on.

    While ONNX Runtime is imported and providers are tried, what it writes to file descriptor 2 is caught: the reason why a
    provider does not load stands only there.

    Args:
        bundle: Folder of the bundle to load; None takes the built-in model where it is installed.

    Returns:
        The findings, from the ground up: Python, packages, ONNX Runtime, providers, NVIDIA, cores, bundle.
    """
    return [
        *_python(),
        *_packages(),
        *_onnxruntime(),
        *_cores(),
        *_bundle(bundle),
    ]


def oldest_onnxruntime(opset: int, ir_version: int) -> str | None:
    """Give the oldest ONNX Runtime that loads a graph, e.g. "1.14", or None where it is newer than `HIGHEST` knows."""
    for minor, (highest_opset, highest_ir) in HIGHEST.items():
        if opset <= highest_opset and ir_version <= highest_ir:
            return f"1.{minor}"
    return None


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.platform()}"
    wanted = ".".join(map(str, PYTHON))
    if sys.version_info[:2] < PYTHON:
        yield Finding("Python", "error", found, f"Install Python {wanted} or newer.")
    else:
        yield Finding("Python", "ok", found)


def _packages() -> Iterator[Finding]:
    yield Finding("vaekit", "ok", vaekit.__version__)
    floors = _floors()
    for name in (*BASE, *TRAINING):
        version = _version(name)
        floor = floors.get(name, "0")
        if version is None:
            if name in BASE:
                yield Finding(name, "error", "not installed", f"`pip install '{name}>={floor}'`")
            else:
                yield Finding(name, "ok", "not installed (only needed for training and export)")
        elif _numbers(version) < _numbers(floor):
            yield Finding(name, "warn", f"{version}, older than {floor}", f"`pip install -U '{name}>={floor}'`")
        else:
            yield Finding(name, "ok", version)


def _onnxruntime() -> Iterator[Finding]:
    """Wheels, import and providers."""
    what = "ONNX Runtime"
    # Distributions that fill this folder; a plug-in with a folder of its own is no clash.
    names = sorted(set(importlib.metadata.packages_distributions().get("onnxruntime", [])))
    wheels = [f"{name} {_version(name)}" for name in names]
    if len(names) > 1:
        yield Finding(
            what,
            "error",
            f"{' and '.join(wheels)} fill the same folder: the last one installed has overwritten files of the other",
            f"`pip uninstall -y {' '.join(names)}`, then only one of these: {INSTALL}.",
        )
    try:
        with _standard_error():
            onnxruntime = import_onnxruntime()
            available = list(onnxruntime.get_available_providers())
    except MissingDependencyError as error:
        if not wheels:
            yield Finding(what, "error", "not installed", f"{INSTALL}.")
        elif len(wheels) == 1:
            reason = (
                _first_line(error.__cause__)
                if error.__cause__
                else "its files are gone, as after removing a second wheel"
            )
            yield Finding(what, "error", f"{wheels[0]} does not work: {reason}", f"`{REMOVE}`, then {INSTALL}.")
        return
    if len(names) < 2:
        version = str(onnxruntime.__version__)
        floor = _floors().get("onnxruntime", "0")
        if _numbers(version) < _numbers(floor):
            yield Finding(what, "warn", f"{version}, older than {floor}", f"`pip install -U {' '.join(names)}`")
        else:
            yield Finding(what, "ok", wheels[0] if wheels else f"{version}, not from a wheel")
    for name in available:
        yield _provider(name)
    yield from _nvidia(onnxruntime, available)


def _provider(name: str) -> Finding:
    """Run the probe on one provider, and compare with NumPy."""
    what = f"provider {short_name(name)}"
    x = np.array([[1, 1], [2, -1]], np.float32)
    expected = x @ np.array([[1, 2], [3, 4]], np.float32)
    try:
        with _standard_error() as said:
            opened = open_session(PROBE, Options(short_name(name), threads=1), name="a graph of one MatMul")
            (y,) = opened.session.run(["y"], {"x": x})
    # A provider's failure is the finding, whatever its type.
    except Exception as error:  # noqa: BLE001
        reason = _loader_reason(said) or (_first_line(error.__cause__) if error.__cause__ else str(error))
        if name == CPU:
            return Finding(what, "error", f"does not work: {reason}", f"`{REMOVE}`, then {INSTALL}.")
        advice = "Install its libraries, or leave it: vaekit uses it only where it is asked for."
        if name == CUDA:
            advice = "See the NVIDIA driver and the CUDA libraries below; until then provider='auto' uses the CPU."
        return Finding(what, "warn", f"does not load: {reason}", advice)
    if not np.array_equal(y, expected):
        status: Status = "error" if name == CPU else "warn"
        return Finding(what, status, f"gives wrong numbers: {y.tolist()} instead of {expected.tolist()}")
    return Finding(what, "ok", "loads, and multiplies two matrices right")


def _nvidia(onnxruntime: Any, available: list[str]) -> Iterator[Finding]:
    """The driver and CUDA's libraries, for those who have the CUDA provider or a device."""
    driver = nvidia_driver()
    if CUDA not in available:
        if driver:
            yield Finding(
                "NVIDIA driver",
                "ok",
                f"{driver}, but this ONNX Runtime has no CUDA provider",
                f"To use the GPU: `{REMOVE}`, then `pip install 'vaekit[cuda]'`.",
            )
        return
    if driver:
        yield Finding("NVIDIA driver", "ok", driver)
    else:
        yield Finding(
            "NVIDIA driver", "warn", "none: CUDA cannot run here", "Install NVIDIA's driver, or use provider='cpu'."
        )
    version = str(getattr(onnxruntime, "cuda_version", "") or "")
    required, later = cuda_libraries(Path(onnxruntime.__file__).parent, version)
    required = [name for name in required if name != DRIVER]
    if not required:  # no ELF file: Windows, or a provider of another build
        return
    built = f"built for CUDA {version}; " if version else ""
    missing = missing_libraries(required)
    missing_later = missing_libraries(later)
    install = "`pip install 'onnxruntime-gpu[cuda,cudnn]'`"
    if missing:
        yield Finding("CUDA libraries", "warn", f"{built}missing: {', '.join(missing + missing_later)}", install)
    elif missing_later:
        names = ", ".join(missing_later)
        yield Finding("CUDA libraries", "warn", f"{built}missing: {names}, which some operators load", install)
    else:
        yield Finding("CUDA libraries", "ok", f"{built}found: {', '.join(required + later)}")


def _cores() -> Iterator[Finding]:
    cores = count_cores()
    found = f"{cores.machine} in the machine, {cores.affinity} for this process"
    if cores.quota is not None:
        found += f", CPU time of {cores.quota:g}"
    if cores.machine > cores.usable:
        yield Finding(
            "cores",
            "warn",
            found,
            f"ONNX Runtime's own default would start up to {cores.machine} threads; vaekit uses {cores.usable}. "
            "Set the number of threads yourself in other programs.",
        )
    else:
        yield Finding("cores", "ok", f"{found}; vaekit uses {cores.usable} threads")


def _bundle(path: str | os.PathLike[str] | None) -> Iterator[Finding]:
    what = "built-in model" if path is None else "bundle"
    try:
        bundle = Bundle.open(path)
    except BundleNotFoundError as error:
        if path is None:
            yield Finding(what, "warn", "not in this installation", "Name a bundle, or install vaekit again.")
        else:
            yield Finding(what, "error", str(error))
        return
    except (VaekitError, OSError) as error:
        yield Finding(what, "error", str(error))
        return
    manifest = bundle.manifest
    files = sum(1 for _ in manifest.files())
    yield Finding(what, "ok", f"{manifest.name} at {bundle.path}: all {files} files as stated")
    for precision in manifest.precisions:
        for half in HALVES:
            yield _graph(bundle, half, precision)


def _graph(bundle: Bundle, half: str, precision: str) -> Finding:
    """Load one graph on the CPU: the proof that its opset, IR version and operators are known here."""
    info = bundle.manifest.graph(half, precision)
    what = info.file.file
    try:
        content = bundle.graph(half, precision)
    except (VaekitError, OSError) as error:
        return Finding(what, "error", str(error))
    oldest = oldest_onnxruntime(info.opset, info.ir_version)
    found = f"opset {info.opset}, IR version {info.ir_version}, for ONNX Runtime {oldest or '?'} and newer"
    try:
        with _standard_error():
            open_session(content, Options("cpu", threads=1), name=what)
    except MissingDependencyError:
        return Finding(what, "warn", f"{found}: not tried, since ONNX Runtime does not work here")
    except VaekitError as error:
        return Finding(what, "error", f"{found}: {error}", _remedy(info, oldest))
    return Finding(what, "ok", f"{found}: loads")


def _remedy(info: GraphInfo, oldest: str | None) -> str:
    """What to do about a graph that ONNX Runtime does not load."""
    installed = _numbers(str(getattr(import_onnxruntime(), "__version__", "")))
    if oldest is None:
        return f"Export it with a lower opset than {info.opset}, or upgrade ONNX Runtime."
    if installed < _numbers(oldest):
        return f"Install ONNX Runtime {oldest} or newer, or export it with a lower opset than {info.opset}."
    return "Its opset and IR version fit, so the graph itself is at fault: export it again."


def _version(distribution: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(distribution)
    return None


def _floors() -> dict[str, str]:
    """Lowest versions that vaekit's own metadata asks for, extras too."""
    try:
        requirements = importlib.metadata.requires("vaekit") or []
    except importlib.metadata.PackageNotFoundError:  # run from a folder of sources
        return {}
    found = (re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*>=\s*([\d.]+)", requirement) for requirement in requirements)
    return {match[1]: match[2] for match in found if match}


def _numbers(version: str) -> tuple[int, ...]:
    """Turn "2.13.0+cpu" into (2, 13, 0), so that versions compare as numbers."""
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


@contextlib.contextmanager
def _standard_error() -> Iterator[list[str]]:
    """Catch what native code writes to file descriptor 2, and append it to the list that is handed out."""
    caught: list[str] = []
    try:
        saved = os.dup(2)
    except OSError:  # a process without standard error
        yield caught
        return
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        os.dup2(file.fileno(), 2)
        try:
            yield caught
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            caught.append(file.read().decode(errors="replace"))


def _loader_reason(said: list[str]) -> str:
    """Find the dynamic loader's own words in ONNX Runtime's log."""
    found = re.search(r"with error:\s*(.+)", "".join(said))
    return found[1].strip() if found else ""


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]
