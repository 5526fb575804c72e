"""Which execution provider a session gets: the one that was asked for, or an error.

ONNX Runtime falls back to the CPU without an error when a provider's library cannot be loaded, and again when a provider
fails during a call. Here only "auto" may fall back, when the session is made, and says so; anything else is compared with
what the session really uses.

Needs: ONNX Runtime, when a session is made. Must not import: torch, onnx.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from _thread import allocate_lock
from typing import Any, Final

from vaekit.cores import count_cores
from vaekit.errors import ConfigError, IntegrityError, MissingDependencyError, ProviderError, one_line
from vaekit.runtime.telemetry import turn_off, turn_off_later
from vaekit.value import Value, is_whole

SUFFIX: Final = "ExecutionProvider"
CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
OPENVINO: Final = "OpenVINOExecutionProvider"

WHEELS: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-qnn")
"""Wheels that all install the package `onnxruntime`, so that two of them overwrite each other."""

REMOVE: Final = "pip uninstall -y onnxruntime onnxruntime-gpu"

INSTALL: Final = "`pip install 'vaekit[cpu]'`, or `pip install 'vaekit[cuda]'` for an NVIDIA GPU"

EXACT_INTEGERS: Final = ("session.x64quantprecision", "1")
"""A session's entry for exact int8 products on every x86 processor: without VNNI two of them are added in 16 bits, which can
overflow."""

_REDIRECTING: Final = allocate_lock()
"""Two threads that redirect stdout at once can each restore the other's: it would be lost for good."""

_NOT_INSTALLED: Final = f"ONNX Runtime is not installed; install it with {INSTALL}."


class Options(Value):
    """How a session is to be made.

    Attributes:
        provider: "auto" (CUDA where it works, else the CPU), "cpu", "cuda", "openvino", or the name of any provider that ONNX
            Runtime lists, with or without "ExecutionProvider".
        threads: Threads inside one call; None uses every core that this process may use.
        tf32: Let CUDA round inputs of matrix products to 10 mantissa bits: faster, differences near 1e-3.
        cuda_graph: Let CUDA capture a call's kernels and replay them; every call must then be bound to fixed buffers.
    """

    provider: str = "auto"
    threads: int | None = None
    tf32: bool = False
    cuda_graph: bool = False

    def _check(self) -> None:
        """Refuse what no session can have."""
        if not isinstance(self.provider, str):
            raise ConfigError(f"provider={self.provider!r}: give a name, such as 'auto', 'cpu' or 'cuda'.")
        if self.threads is not None and not (is_whole(self.threads) and 1 <= self.threads <= 1024):
            raise ConfigError(f"threads={self.threads!r}: give 1 to 1024, or None for every usable core.")


class Opened(Value):
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
    """Import ONNX Runtime, without its telemetry (`vaekit.runtime.telemetry`), or say how to get it.

    Raises:
        MissingDependencyError: No wheel of it is installed, or what is installed does not load.
    """
    ours = turn_off()
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except Exception as error:  # a damaged wheel raises whatever its half-copied files run into
        found = installed_wheels()
        if found:
            raise MissingDependencyError(
                f"ONNX Runtime ({', '.join(found)}) is installed but does not load: {one_line(error, 600)}; "
                "run `vaekit doctor`."
            ) from error
        raise MissingDependencyError(_NOT_INSTALLED) from error
    if not hasattr(onnxruntime, "InferenceSession"):  # a bare folder, left when one of two clashing wheels was removed
        found = installed_wheels()
        if not found:
            raise MissingDependencyError(_NOT_INSTALLED)
        raise MissingDependencyError(
            f"ONNX Runtime ({', '.join(found)}) is installed but broken: it has no InferenceSession. "
            f"Remove it with `{REMOVE}`, then {INSTALL}."
        )
    if ours:
        turn_off_later(onnxruntime)
    return onnxruntime


def installed_wheels() -> list[str]:
    """Installed distributions that provide the package `onnxruntime`, with versions, e.g. ``["onnxruntime 1.32.0"]``."""
    import importlib.metadata  # here, since it costs 15 ms and only messages need it

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
    hint = "Install a build of ONNX Runtime that has it"
    if provider.lower() in ("cuda", CUDA.lower()):
        hint = "Install it with `pip install 'vaekit[cuda]'` (remove onnxruntime first: the two fill the same folder)"
    if provider.lower() in ("openvino", OPENVINO.lower()):
        hint = "Install it with `pip install 'vaekit[openvino]'` (beside onnxruntime>=1.23, for Intel's processors)"
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
    if options.provider.lower() in ("openvino", OPENVINO.lower()):
        from vaekit.runtime import openvino

        if OPENVINO not in available and openvino.is_installed():
            available.append(OPENVINO)
    if options.provider != "auto":
        return _open(onnxruntime, model, resolve(options.provider, available), options, name)
    if CUDA in available:
        try:
            return _open(onnxruntime, model, CUDA, options, name)
        except ProviderError as error:
            warnings.warn(f"provider='auto' fell back to the CPU: {error}", stacklevel=4)
    return _open(onnxruntime, model, CPU, options, name)


def _open(onnxruntime: Any, model: bytes, provider: str, options: Options, name: str) -> Opened:
    threads = int(options.threads or count_cores().usable)
    settings = onnxruntime.SessionOptions()
    # Explicit: in a container the defaults count the machine's cores, and pinning to cores that are not ours fails.
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry(*EXACT_INTEGERS)  # of any provider: what it leaves to the CPU must be exact too
    chosen: list[Any] = [provider]
    said = ""
    if provider == CUDA:
        said = _preload(onnxruntime)
        # TF32 keeps 10 mantissa bits. HEURISTIC: an exhaustive search would stall each new batch size for seconds.
        chosen = [(CUDA, {"use_tf32": str(int(options.tf32)), "cudnn_conv_algo_search": "HEURISTIC"})]
        if options.cuda_graph:
            chosen[0][1]["enable_cuda_graph"] = "1"
    if provider == OPENVINO:
        from vaekit.runtime import openvino

        chosen = openvino.set_up(onnxruntime, settings, threads)
    if provider != CPU and chosen:
        chosen.append(CPU)  # nodes without a kernel there, such as those that compute shapes
    try:
        # Else a provider that raises is replaced by the CPU, with a note on stdout (1.22 ignores the switch).
        session = onnxruntime.InferenceSession(model, settings, providers=chosen or None, enable_fallback=0)
        session.disable_fallback()  # also for calls: `run` would move the session to the CPU and go on
    except Exception as error:
        if provider == CPU:
            raise IntegrityError(f"ONNX Runtime cannot load {name}: {one_line(error, 600)}.") from error
        _open(onnxruntime, model, CPU, options, name)  # raises IntegrityError where the graph is to blame
        raise ProviderError(_not_loaded(provider, str(error), said)) from error
    active = session.get_providers()
    if active[0] != provider:
        raise ProviderError(_not_loaded(provider, f"ONNX Runtime loaded {', '.join(active)}", said))
    if provider == OPENVINO and openvino.took(session) == 0:
        raise ProviderError(_not_loaded(provider, "it loaded, and left every node of the graph to the CPU", said))
    return Opened(session, short_name(provider), threads)


def _preload(onnxruntime: Any) -> str:
    """Load CUDA's libraries from the nvidia-* wheels where those are installed; give back what it prints instead of raising."""
    if not hasattr(onnxruntime, "preload_dlls"):
        return ""
    with (
        _REDIRECTING,
        contextlib.redirect_stdout(io.StringIO()) as printed,
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        onnxruntime.preload_dlls()
    return " ".join([printed.getvalue(), *(str(warning.message) for warning in warned)])


def _not_loaded(provider: str, reason: str, said: str) -> str:
    short = short_name(provider)
    if said.strip():
        reason += f"; {said}"
    fix = f"Install vaekit[{short}] and its libraries" if short == "cuda" else "Install its libraries"
    either = "; provider='auto' accepts either" if short == "cuda" else ""
    return (
        f"provider={short!r} was asked for, but it did not load: {one_line(reason, 600)}. "
        f"{fix} (`vaekit doctor` lists what is missing), or pass provider='cpu'{either}."
    )
