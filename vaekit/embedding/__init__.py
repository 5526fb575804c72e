"""A model inside a host program: small, complete, readable projects, each with a self-test that replays the goldens.

A target is a module of this package with

    SUMMARY: str                                         one line for people
    TRY: tuple[str, str]                                 two commands to try what was written, inside its folder
    write(bundle, folder, *, precision, ...) -> None     fills the folder; other keywords are the target's own options

and is imported when it is asked for. `files` has what they share.

Needs: NumPy; a generator that reads graphs imports onnx inside its functions. Must not import: torch.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final

import vaekit
from vaekit.bundle import Bundle
from vaekit.errors import ConfigError, OutputError
from vaekit.manifest import HALVES
from vaekit.storage import new_folder

TARGETS: Final[Mapping[str, str]] = MappingProxyType(
    {"python": "python", "c": "c", "c-standalone": "c_standalone", "node": "node", "web": "web", "triton": "triton"}
)
"""What a user calls a target -> the module of this package that writes it."""

MARKER: Final = "vaekit-embed.json"
"""A file in every folder that `embed` wrote: says what made it, and that it may be replaced."""


def embed(
    target: str,
    bundle: Bundle | str | os.PathLike[str] | None,
    out: str | os.PathLike[str],
    *,
    precision: str = "fp32",
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Write a project that runs a model inside a host program and proves itself with the bundle's golden vectors.

    The folder appears whole or not at all.

    Args:
        target: One of `TARGETS`.
        bundle: The model; a path is opened and every file in it checked; None is the built-in MNIST model.
        out: Where the project's folder will stand; its parents are made.
        precision: Which of the bundle's precisions to take.
        overwrite: Whether a folder there may be replaced; only one that `embed` wrote is.
        **options: The target's own options, e.g. ``weights="int8"`` of c-standalone, ``io="uint8"`` of python, c and node.

    Returns:
        The folder.

    Raises:
        ConfigError: An unknown target, or an option that the target does not have.
        BundleError: The bundle is missing, changed or unsafe, or has no such precision or io.
        ExportError: The target cannot take this model.
        OutputError: The folder exists, was not written by `embed`, or cannot be written.
        MissingDependencyError: A generator's package is not installed.
    """
    module = load_target(target)
    taken = inspect.signature(module.write).parameters
    for name in options:
        if name not in taken:
            having = [other for other in TARGETS if name in inspect.signature(load_target(other).write).parameters]
            others = f", unlike {', '.join(having)}" if having else ""
            raise ConfigError(f"the target {target} has no option --{name.replace('_', '-')}{others}; leave it out.")
    io = options.get("io", "float32")
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(bundle, keep=[(half, precision, "onnx", io) for half in HALVES])
    bundle.manifest.graph("decoder", precision, io)  # refuses a precision or an io that the bundle lacks

    folder = Path(out)
    if overwrite and folder.is_dir() and not (folder / MARKER).is_file():
        raise OutputError(f"{folder} was not written by `vaekit embed`, so it is not replaced; choose another path.")
    with new_folder(folder, overwrite=overwrite) as temporary:
        module.write(bundle, temporary, precision=precision, **options)
        marker = {
            "made_by": f"vaekit {vaekit.__version__}",
            "target": target,
            "model": bundle.manifest.name,
            "precision": precision,
            # a path of this machine says nothing elsewhere
            **{name: value for name, value in options.items() if not isinstance(value, os.PathLike)},
        }
        (temporary / MARKER).write_text(json.dumps(marker, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def load_target(target: str) -> ModuleType:
    """Import a target's module.

    Raises:
        ConfigError: There is no such target; the message lists those that there are.
    """
    if target not in TARGETS:
        raise ConfigError(f"the target {target!r} is unknown; choose one of {', '.join(TARGETS)}.")
    return importlib.import_module(f"vaekit.embedding.{TARGETS[target]}")
