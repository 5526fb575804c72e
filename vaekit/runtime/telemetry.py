"""ONNX Runtime's telemetry, which vaekit turns off unless somebody says otherwise.

Official builds report to their maker: since 1.29 also those for Linux and macOS, from the import on. They name the process,
each model's file, and hashes of its graph and weights; an identifier of the device and a database stay in the user's cache. A
model inside somebody's program must do none of that unasked.

Outside Windows the variable below decides, and is read when ONNX Runtime is imported: "1" turns all of it off. Where it was
imported before, and on Windows, what is left is a call that ends what is not essential.

Source: microsoft/onnxruntime, pull requests 27379 and 29843; its docs/Privacy.md.

Needs: the standard library; ONNX Runtime is handed in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

SWITCH: Final = "ORT_DISABLE_TELEMETRY"
"""Set by the user, to anything, it is left alone: "1" is off, "0" on."""

OFF: Final = ("1", "true", "yes", "y", "on")
"""What ONNX Runtime takes for off, in any case; with all else it reports, as measured with 1.32."""


def is_off(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the switch is set to what turns telemetry off."""
    return environment.get(SWITCH, "").lower() in OFF


def turn_off(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Set the switch, unless it is set; to be called before ONNX Runtime is imported.

    Returns:
        Whether it was not, so that `turn_off_later` is to follow.
    """
    if SWITCH in environment:
        return False
    environment[SWITCH] = "1"
    return True


def turn_off_later(onnxruntime: Any) -> None:
    """End what the switch came too late for, or does not reach."""
    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
