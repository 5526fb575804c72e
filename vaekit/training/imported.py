"""A user's own model by import path: `TrainConfig(model="package.module:Class")`.

The class is a `torch.nn.Module` with three methods:

    __init__(self, spec)        what the model is for, a `vaekit.ModelSpec`: data shape, latent size, kind, likelihood
    encode(self, x)             items (N, *shape) -> (mean, log_var), each (N, D); for kind "ae" (mean, None)
    decode_params(self, z)      codes (N, D) -> (N, *shape): logits for "bernoulli" and "discretized-logistic" (of the means),
                                means for "gaussian"

x is standardised where the data has features, pixels are in [0, 1], everything is float32. Neither method may draw random
numbers or depend on the batch: vaekit draws z, and exports both as graphs. The attribute `log_scale` is vaekit's: a learned
scale is put there.

All of this is tried on a few items, in training and in evaluation mode, when the model is built, so that a mistake is one line
and not a traceback in an epoch.

Needs: torch.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn

from vaekit.errors import ConfigError
from vaekit.spec import ModelSpec

PROBED: Final = ((True, 3), (False, 1), (False, 4))
"""In which mode the methods are tried (True: training, which comes first in a run too), and on how many items."""


def import_model(path: str, spec: ModelSpec) -> nn.Module:
    """Import a class, make the model, and try its methods.

    Args:
        path: "package.module:Class"; modules in the current directory are found, as by `python -m`.
        spec: What the model is for.

    Returns:
        The model, in training mode.

    Raises:
        ConfigError: The module or the class is not found, or breaks the contract above; the message says where.
    """
    module_name, _, class_name = path.partition(":")
    found = getattr(_import(path, module_name), class_name, None)
    if found is None:
        raise ConfigError(f"model={path!r}: the module {module_name!r} has no {class_name!r}{_instead(module_name)}.")
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise ConfigError(f"model={path!r}: {class_name} is no class derived from torch.nn.Module.")
    for method in ("encode", "decode_params"):
        if not callable(getattr(found, method, None)):
            raise ConfigError(
                f"model={path!r}: {class_name} has no method {method}; a model needs encode and decode_params."
            )
    model: nn.Module = _call(path, f"{class_name}(spec)", lambda: found(spec))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"model={path!r}: {class_name} has no weights to train.")
    if hasattr(model, "log_scale"):
        raise ConfigError(
            f"model={path!r}: {class_name} has an attribute log_scale, which is vaekit's; call it something else."
        )
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ConfigError(
                f"model={path!r}: {name} in {class_name}'s state_dict is {_kind_of(value)}, but a checkpoint holds tensors "
                "alone; keep it in a buffer."
            )
    for training, count in PROBED:
        _probe(path, model.train(training), spec, count)
    return model.train()


def _import(path: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # "a.b" is missing where a is missing too; another name is one that the user's module itself asks for.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"model={path!r}: there is no module {error.name!r}, neither in {here} nor installed."
            ) from error
        raise ConfigError(
            f"model={path!r}: the module {name!r} needs {error.name!r}, which is not installed."
        ) from error
    except Exception as error:
        raise ConfigError(f"model={path!r}: importing {name!r} raised {_described(error)}.") from error


def _instead(module_name: str) -> str:
    own = [
        name
        for name, value in vars(sys.modules[module_name]).items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module_name
    ]
    return f"; it has {', '.join(sorted(own))}" if own else ""


def _probe(path: str, model: nn.Module, spec: ModelSpec, count: int) -> None:
    """Try both methods on random items."""
    any_model: Any = model
    mode = "" if model.training else " in evaluation mode"
    low, high = spec.data.range or (-1.0, 1.0)
    x = low + (high - low) * torch.rand(count, *spec.data.shape)
    given = x.clone()
    result = _call(path, f"encode(x) with x of shape {tuple(x.shape)}{mode}", lambda: any_model.encode(x))
    if not torch.equal(x, given):
        raise ConfigError(
            f"model={path!r}: encode changes its x in place, which is what the reconstruction is compared with; compute anew, "
            "x - 0.5 in place of x.sub_(0.5), say."
        )
    wanted = "(mean, log_var)" if spec.kind == "vae" else "(mean, None)"
    if not (isinstance(result, tuple) and len(result) == 2):
        raise ConfigError(f"model={path!r}: encode must give the pair {wanted}, not {_kind_of(result)}.")
    mean, log_var = result
    code = (count, spec.latent)
    _check(path, f"encode's mean{mode}", mean, code)
    if spec.kind == "vae":
        _check(path, f"encode's log_var{mode}", log_var, code)
    elif log_var is not None:
        raise ConfigError(f"model={path!r}: encode must give the pair (mean, None) for kind='ae', not a log_var.")
    z = torch.randn(code, requires_grad=True)
    params = _call(path, f"decode_params(z) with z of shape {code}{mode}", lambda: any_model.decode_params(z))
    _check(path, f"decode_params(z){mode}", params, (count, *spec.data.shape))
    if model.training and not params.requires_grad:
        raise ConfigError(
            f"model={path!r}: decode_params(z) cuts off the gradient, so nothing would be trained; leave out detach, no_grad, "
            "and what goes through NumPy."
        )


def _check(path: str, what: str, value: object, shape: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor):
        raise ConfigError(f"model={path!r}: {what} must be a tensor of shape {shape}, not {_kind_of(value)}.")
    if tuple(value.shape) != shape or value.dtype != torch.float32:
        dtype = str(value.dtype).removeprefix("torch.")
        raise ConfigError(
            f"model={path!r}: {what} has shape {tuple(value.shape)} and type {dtype}; "
            f"for {shape[0]} item{'s' * (shape[0] != 1)} it must be {shape} in float32."
        )
    if not bool(value.isfinite().all()):
        raise ConfigError(f"model={path!r}: {what} has values that are not finite before any training.")


def _call(path: str, what: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:
        raise ConfigError(f"model={path!r}: {what} raised {_described(error)}.") from error


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(".: ")


def _kind_of(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"
