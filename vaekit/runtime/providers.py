"""Which execution provider a session gets: the one that was asked for, or an error.

ONNX Runtime falls back to the CPU without an error when a provider's library cannot be loaded. Here only "auto" may fall
back, and says so; anything else is compared with what the session really uses.

Needs: ONNX Runtime, when a session is made. Must not import: torch, onnx.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import warnings
from dataclasses import dataclass
from typing import Any, Final

from vaekit.cores import count_cores
from vaekit.errors import ConfigError, IntegrityError, MissingDependencyError, ProviderError

SUFFIX: Final = "ExecutionProvider"
CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"

WHEELS: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-qnn")
"""Wheels that all install the package `onnxruntime`, so that two of them overwrite each other."""

INSTALL: Final = "`pip install 'vaekit[cpu]'`, or `pip install 'vaekit[cuda]'` for an NVIDIA GPU"


@dataclass(frozen=True)
class Options:
    """How a session is to be made.

    Attributes:
        provider: "auto" (CUDA where it works, else the CPU), "cpu", "cuda", or the name of any provider that ONNX Runtime
            lists, with or without "ExecutionProvider".
        threads: Threads inside one call; None uses every core that this process may use.
        tf32: Let CUDA round inputs of matrix products to 10 mantissa bits: faster, differences near 1e-3.
    """

    provider: str = "auto"
    threads: int | None = None
    tf32: bool = False

    def __post_init__(self) -> None:
        """Refuse what no session can have."""
        if self.threads is not None and (isinstance(self.threads, bool) or not 1 <= self.threads <= 1024):
            raise ConfigError(f"threads={self.threads}: give 1 to 1024, or None for every usable core.")


@dataclass(frozen=True)
class Opened:
    """A session and what it really runs on.

    Attributes:
        session: The `onnxruntime.InferenceSession`.
        provider: Short name of the provider in use: "cpu", "cuda", ….
        threads: Threads inside one call.
    """

    session: Any
    provider: str
    threads: int


def import_onnxruntime() -> Any:
    """Import ONNX Runtime, or say how to get it.

    Raises:
        MissingDependencyError: No wheel of it is installed, or what is installed does not load.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError as error:
        found = installed_wheels()
        if found:
            raise MissingDependencyError(
                f"ONNX Runtime ({', '.join(found)}) is installed but does not load: {error}; run `vaekit doctor`."
            ) from error
        raise MissingDependencyError(f"ONNX Runtime is not installed; install it with {INSTALL}.") from error
    if not hasattr(onnxruntime, "InferenceSession"):  # what uninstalling one of two clashing wheels leaves behind
        raise MissingDependencyError(f"the installed ONNX Runtime is broken; remove it and install {INSTALL}.")
    return onnxruntime


def installed_wheels() -> list[str]:
    """Installed distributions that provide the package `onnxruntime`, with versions, e.g. ``["onnxruntime 1.32.0"]``."""
    found = []
    for wheel in WHEELS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{wheel} {importlib.metadata.version(wheel)}")
    return found


def short_name(provider: str) -> str:
    """Turn "CUDAExecutionProvider" into "cuda"."""
    return provider.removesuffix(SUFFIX).lower()


def resolve(provider: str, available: list[str]) -> str:
    """Find ONNX Runtime's name of a provider that it was built with.

    Raises:
        ProviderError: This build of ONNX Runtime has no such provider.
    """
    for name in available:
        if provider.lower() in (name.lower(), short_name(name)):
            return name
    hint = "Install it with `pip install 'vaekit[cuda]'` (remove onnxruntime first: the two fill the same folder)"
    if provider.lower() not in ("cuda", CUDA.lower()):
        hint = "Install a build of ONNX Runtime that has it"
    raise ProviderError(
        f"provider={provider!r} was asked for, but {', '.join(installed_wheels()) or 'this ONNX Runtime'} has only "
        f"{', '.join(short_name(name) for name in available)}. {hint}, or pass provider='cpu'."
    )


def open_session(model: bytes, options: Options, *, name: str) -> Opened:
    """Make a session from a graph's bytes, on exactly the provider that was asked for.

    Args:
        model: The ONNX graph.
        options: Provider, threads, TF32.
        name: What to call the graph in messages.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        ProviderError: The provider is not in this build, or its libraries do not load.
        IntegrityError: ONNX Runtime cannot read the graph.
    """
    onnxruntime = import_onnxruntime()
    available = list(onnxruntime.get_available_providers())
    if options.provider != "auto":
        return _open(onnxruntime, model, resolve(options.provider, available), options, name)
    if CUDA in available:
        try:
            return _open(onnxruntime, model, CUDA, options, name)
        except ProviderError as error:
            warnings.warn(f"provider='auto' fell back to the CPU: {error}", stacklevel=4)
    return _open(onnxruntime, model, CPU, options, name)


def _open(onnxruntime: Any, model: bytes, provider: str, options: Options, name: str) -> Opened:
    threads = options.threads or count_cores().usable
    settings = onnxruntime.SessionOptions()
    # Explicit: in a container the defaults count the machine's cores, and pinning to cores that are not ours fails.
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    chosen: list[Any] = [provider]
    said = ""
    if provider == CUDA:
        said = _preload(onnxruntime)
        # TF32 keeps 10 mantissa bits. HEURISTIC: an exhaustive search would stall each new batch size for seconds.
        chosen = [(CUDA, {"use_tf32": str(int(options.tf32)), "cudnn_conv_algo_search": "HEURISTIC"})]
    if provider != CPU:
        chosen.append(CPU)  # nodes without a kernel there, such as those that compute shapes
    try:
        session = onnxruntime.InferenceSession(model, settings, providers=chosen)
    except Exception as error:
        if provider == CPU:
            raise IntegrityError(f"ONNX Runtime cannot load {name}: {_one_line(error)}.") from error
        raise ProviderError(_not_loaded(provider, str(error), said)) from error
    active = session.get_providers()
    if active[0] != provider:
        raise ProviderError(_not_loaded(provider, f"ONNX Runtime loaded {', '.join(active)}", said))
    return Opened(session, short_name(provider), threads)


def _preload(onnxruntime: Any) -> str:
    """Load CUDA's libraries from the nvidia-* wheels where those are installed; give back what it prints instead of raising."""
    printed = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(printed):
            onnxruntime.preload_dlls()
    return printed.getvalue()


def _not_loaded(provider: str, reason: str, said: str) -> str:
    short = short_name(provider)
    fix = f"Install vaekit[{short}] and its libraries" if short == "cuda" else "Install its libraries"
    return (
        f"provider={short!r} was asked for, but it did not load: {_one_line(reason + ' ' + said)}. "
        f"{fix} (`vaekit doctor` lists what is missing), or pass provider='cpu'; provider='auto' accepts either."
    )


def _one_line(text: object) -> str:
    return " ".join(str(text).split()).rstrip(".")[:600]
