"""What is wrong with this machine: versions, ONNX Runtime's wheels, providers, cores, and whether a bundle loads here.

`diagnose` looks and reports; it repairs nothing. It does not raise for what it finds: a broken installation or a damaged
bundle is a finding.

`trial` tries ONNX Runtime's providers, and `libraries` looks for what CUDA's needs.

Needs: NumPy; ONNX Runtime where it is installed. Must not import: torch, onnx (their versions come from their metadata).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import vaekit
from vaekit.bundle import Bundle
from vaekit.cores import count_cores
from vaekit.errors import BundleNotFoundError, MissingDependencyError, VaekitError
from vaekit.manifest import HALVES, GraphInfo
from vaekit.runtime import telemetry
from vaekit.runtime.libraries import DRIVER, cuda_libraries, missing_libraries, nvidia_driver
from vaekit.runtime.opsets import oldest_onnxruntime
from vaekit.runtime.providers import CPU, CUDA, INSTALL, REMOVE, Options, import_onnxruntime, open_session, short_name
from vaekit.runtime.trial import first_line, standard_error, try_provider

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
    names = _distributions_of("onnxruntime")
    wheels = [f"{name} {_version(name)}" for name in names]
    if len(names) > 1:
        yield Finding(
            what,
            "error",
            f"{' and '.join(wheels)} fill the same folder: the last one installed has overwritten files of the other",
            f"`pip uninstall -y {' '.join(names)}`, then only one of these: {INSTALL}.",
        )
    try:
        with standard_error():
            onnxruntime = import_onnxruntime()
            available = list(onnxruntime.get_available_providers())
    except MissingDependencyError as error:
        if not wheels:
            yield Finding(what, "error", "not installed", f"{INSTALL}.")
        elif len(wheels) == 1:
            reason = (
                first_line(error.__cause__)
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
        yield _telemetry()
    for name in available:
        yield _provider(name)
    yield from _nvidia(onnxruntime, available)


def _telemetry() -> Finding:
    """What ONNX Runtime, which is imported by now, was told."""
    said = os.environ.get(telemetry.SWITCH, "")
    if telemetry.is_off():
        return Finding("telemetry", "ok", f"ONNX Runtime's is off ({telemetry.SWITCH}={said})")
    return Finding("telemetry", "ok", f"ONNX Runtime may report, since {telemetry.SWITCH}={said!r} is set")


def _provider(name: str) -> Finding:
    """Try one provider, and say what to do where it fails."""
    what, trial = f"provider {short_name(name)}", try_provider(name)
    if trial.reason and name == CPU:
        return Finding(what, "error", f"does not work: {trial.reason}", f"`{REMOVE}`, then {INSTALL}.")
    if trial.reason:
        advice = "Install its libraries, or leave it: vaekit uses it only where it is asked for."
        if name == CUDA:
            advice = "See the NVIDIA driver and the CUDA libraries below; until then provider='auto' uses the CPU."
        return Finding(what, "warn", f"does not load: {trial.reason}", advice)
    if trial.wrong:
        return Finding(what, "error" if name == CPU else "warn", f"gives wrong numbers: {trial.wrong}")
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
        with standard_error():
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


def _distributions_of(package: str) -> list[str]:
    """Distributions that have put files into a package's folder; a plug-in with a folder of its own is none.

    Their own lists of files say so. `importlib.metadata.packages_distributions` leaves out files that are gone, from Python
    3.12 on, and a wheel whose files went with another's is what is looked for.
    """
    return sorted(
        {
            found.metadata["Name"]
            for found in importlib.metadata.distributions()
            if f"\n{package}/" in f"\n{found.read_text('RECORD') or ''}"
        }
    )


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
