"""OpenVINO as an execution provider: found, set up in float32, and seen to have taken the graph.

It comes in one of two ways:

    onnxruntime-ep-openvino   a plug-in beside `onnxruntime` 1.23 or newer, for Intel's processors alone (vaekit[openvino])
    onnxruntime-openvino      a wheel in place of `onnxruntime`, for any x86 processor

What goes wrong without a word: the plug-in computes in bfloat16 where the processor can (0.004 off on the built-in model) and
ignores options that it does not know; the wheel leaves the whole graph to the CPU when it does not like one. So the precision
is stated, and the session is asked which provider took its nodes.

Needs: ONNX Runtime, when a session is made. Must not import: torch, onnx.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import threading
from typing import Any, Final

from vaekit.errors import ProviderError, one_line
from vaekit.runtime.providers import OPENVINO

RECORD: Final = "session.record_ep_graph_assignment_info"
"""ONNX Runtime's switch that makes a session remember which provider took which node."""

_REGISTERING: Final = threading.Lock()
_registered: set[str] = set()
"""Paths of plug-ins that ONNX Runtime has loaded: a process loads one once, and lists its provider from then on."""


def is_installed() -> bool:
    """Whether the plug-in is there; whether it works shows only when a session is made."""
    return importlib.util.find_spec("onnxruntime_ep_openvino") is not None


def set_up(onnxruntime: Any, settings: Any, threads: int) -> list[Any]:
    """Prepare a session's settings.

    Args:
        onnxruntime: The package.
        settings: The session's `SessionOptions`; changed.
        threads: Threads inside one call.

    Returns:
        What to pass as `providers`; empty where the settings name the device themselves.

    Raises:
        ProviderError: The plug-in does not load, or takes no processor of this machine.
    """
    settings.add_session_config_entry(RECORD, "1")
    config = {"CPU": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(threads)}}
    options = {"load_config": json.dumps(config)}
    if OPENVINO in onnxruntime.get_available_providers() and not _registered:
        return [(OPENVINO, {"device_type": "CPU", **options})]
    settings.add_provider_for_devices([_device(onnxruntime)], options)
    return []


def took(session: Any) -> int | None:
    """Count the nodes of a session's graph that OpenVINO has taken; None where ONNX Runtime (before 1.24) does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    parts = session.get_provider_graph_assignment_info()
    return sum(len(part.get_nodes()) for part in parts if part.ep_name == OPENVINO)


def _device(onnxruntime: Any) -> Any:
    """The processor, as the plug-in offers it."""
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise _unusable(f"ONNX Runtime {onnxruntime.__version__} takes no plug-ins. Install onnxruntime>=1.23")
    try:
        path = importlib.import_module("onnxruntime_ep_openvino").get_library_path()
        with _REGISTERING:
            if path not in _registered:
                onnxruntime.register_execution_provider_library("vaekit-openvino", path)
                _registered.add(path)
    except Exception as error:
        raise _unusable(f"its plug-in does not load: {one_line(error)}") from error
    devices = onnxruntime.get_ep_devices()
    for device in devices:
        if device.ep_name == OPENVINO and device.ep_metadata.get("ov_device") == "CPU":
            return device
    vendors = {device.device.vendor for device in devices} or {"unknown"}
    raise _unusable(
        f"its plug-in takes Intel's processors only, and this one's maker is {', '.join(sorted(vendors))}. On others "
        "install the wheel onnxruntime-openvino in place of onnxruntime"
    )


def _unusable(reason: str) -> ProviderError:
    return ProviderError(f"provider='openvino' was asked for, but {reason.rstrip('.')}, or pass provider='cpu'.")
