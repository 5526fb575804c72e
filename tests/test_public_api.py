"""What others build on: the public names, how they are called, and that each says what it does.

A change here is a change for every user: it needs a line in CHANGELOG.md, and

    python tests/test_public_api.py

which writes tests/public_api.txt anew.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import tomllib
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest

import vaekit
import vaekit.errors
import vaekit.exporting
import vaekit.training

ROOT = Path(__file__).resolve().parents[1]

STORED = ROOT / "tests" / "public_api.txt"
"""What `public_api` gave when somebody last meant to change it."""

NAMES = {
    *("VAE", "Encoder", "Decoder", "load"),
    *("Posterior", "prior", "reparameterise", "interpolate", "traverse", "noise"),
    *("Bundle", "Manifest", "ModelSpec", "DataSpec", "Feature"),
    *("Deviation", "verify_bundle"),
    *("VaekitError", "__version__"),
}

TREE = {
    "VaekitError": Exception,
    "ConfigError": "VaekitError",
    "DataError": "VaekitError",
    "ShapeError": "VaekitError",
    "OutputError": "VaekitError",
    "MissingDependencyError": "VaekitError",
    "ProviderError": "VaekitError",
    "MeasurementError": "VaekitError",
    "BundleError": "VaekitError",
    "BundleNotFoundError": "BundleError",
    "BundleVersionError": "BundleError",
    "IntegrityError": "BundleError",
    "UnsafeGraphError": "BundleError",
    "TrainingError": "VaekitError",
    "CheckpointError": "TrainingError",
    "DivergedError": "TrainingError",
    "RankError": "TrainingError",
    "ExportError": "VaekitError",
    "VerificationError": "ExportError",
}


def public_api() -> str:
    """Every public name, how it is called, and the members of classes, one line each."""
    names = {
        "vaekit": [name for name in vaekit.__all__ if name != "__version__"],
        "vaekit.runtime.bound": ["BoundDecoder", "BoundEncoder"],
        "vaekit.packing": ["pack", "unpack"],
        "vaekit.embedding": ["embed"],
        "vaekit.exporting": vaekit.exporting.__all__,
        "vaekit.training": vaekit.training.__all__,
    }
    lines = []
    for module, public in names.items():
        for name in sorted(public):
            found = getattr(importlib.import_module(module), name)
            lines.append(described(f"{module}.{name}", found))
            if inspect.isclass(found):
                lines += [described(f"{module}.{name}.{member}", value) for member, value in members(found)]
    return "\n".join(lines) + "\n"


def members(kind: type) -> list[tuple[str, Any]]:
    """What a class has of its own and from vaekit's classes, less private names and the fields that its call shows."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("vaekit"):
            found |= vars(base)
    record = hasattr(kind, "_fields") or is_dataclass(kind)
    fields = set(called(kind).parameters) if record else set()
    return sorted(
        (name, value)
        for name, value in found.items()
        if (not name.startswith("_") or name == "__call__") and name not in fields
    )


class Written(str):
    """An annotation as it stands in the source, without quotes around it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def described(name: str, value: Any) -> str:
    if isinstance(value, (classmethod, staticmethod)):
        return described(name, value.__func__) + f"  # {type(value).__name__}"
    if isinstance(value, property):
        return f"{name} -> {inspect.signature(value.fget).return_annotation}  # property"  # type: ignore[arg-type]
    if not callable(value):
        return f"{name} = {value!r}" if isinstance(value, (str, int, float, tuple)) else name
    signature = called(value)
    parameters = [
        p.replace(
            annotation=written(p.annotation),
            default=Written(p.default.__qualname__) if inspect.isroutine(p.default) else p.default,
        )
        for p in signature.parameters.values()
    ]
    result = inspect.Signature.empty if inspect.isclass(value) else written(signature.return_annotation)
    return f"{name}{signature.replace(parameters=parameters, return_annotation=result)}"


def called(value: Any) -> inspect.Signature:
    if inspect.isclass(value) and issubclass(value, Exception):  # whose signature depends on the version of Python
        return inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)])
    return inspect.signature(value)


def written(annotation: Any) -> Any:
    annotation = getattr(annotation, "__forward_arg__", annotation)  # a NamedTuple wraps them
    return Written(annotation) if isinstance(annotation, str) else annotation


def test_the_public_names_are_these() -> None:
    assert set(vaekit.__all__) == NAMES
    assert len(vaekit.__all__) == len(NAMES)
    for name in NAMES:
        assert hasattr(vaekit, name)


def test_nothing_public_comes_in_by_accident() -> None:
    modules = {name for name in vars(vaekit) if inspect.ismodule(getattr(vaekit, name))}
    public = {name for name in vars(vaekit) if not name.startswith("_")} - modules
    assert public == NAMES - {"__version__"}


def test_public_names_are_called_as_the_stored_text_says() -> None:
    stored, found = STORED.read_text(encoding="utf-8").splitlines(), public_api().splitlines()
    difference = "\n".join(difflib.unified_diff(stored, found, STORED.name, "vaekit", lineterm="", n=0))
    assert not difference, (
        f"what others build on has changed:\n{difference}\n"
        f"If that is meant, say so in CHANGELOG.md, and write the text anew: python {Path(__file__).relative_to(ROOT)}"
    )


def test_the_stored_text_would_show_a_changed_name_parameter_kind_or_default() -> None:
    # The control: the text says all of these, and nothing that differs from one machine to the next.
    text = STORED.read_text(encoding="utf-8")
    for line in (
        "vaekit.Decoder.decode(self, z: Latents) -> Items",
        "vaekit.Decoder.provider -> str  # property",
        "vaekit.Posterior(mean: Latents, log_var: Latents)",
        "vaekit.Posterior.sample(self, *, seed: int, start: int = 0) -> Latents",
        "vaekit.noise(*, seed: int, count: int, dim: int, start: int = 0) -> NDArray[np.float32]",
    ):
        assert f"{line}\n" in text
    assert " at 0x" not in text
    assert str(ROOT) not in text

    def f(a: int, *, b: str = "x") -> None: ...
    def g(a: int, b: str = "x") -> None: ...
    def h(a: int, *, b: str = "y") -> None: ...

    assert len({described("f", function) for function in (f, g, h)}) == 3


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_every_public_name_says_what_it_does(name: str) -> None:
    documented = getattr(vaekit, name)
    assert (documented.__doc__ or "").strip()
    if inspect.isclass(documented):
        for member, value in vars(documented).items():
            if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, (property, classmethod))):
                assert (inspect.getdoc(getattr(documented, member)) or "").strip(), f"{name}.{member}"


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert vaekit.__version__ == project["version"]


@pytest.mark.parametrize(("name", "parent"), TREE.items())
def test_the_tree_of_errors_is_this(name: str, parent: Any) -> None:
    error = getattr(vaekit.errors, name)
    assert error.__bases__[0] is (getattr(vaekit.errors, parent) if isinstance(parent, str) else parent)
    assert issubclass(error, vaekit.VaekitError)
    assert (error.__doc__ or "").strip()
    assert name in (vaekit.errors.__doc__ or "")


def test_every_error_is_in_the_tree() -> None:
    errors = {name for name, value in vars(vaekit.errors).items() if inspect.isclass(value)}
    assert errors == set(TREE)


def test_training_and_exporting_offer_these() -> None:
    assert {"TrainConfig", "train", "Checkpoint"} <= set(vaekit.training.__all__)
    assert {"ModulePair", "export_bundle"} <= set(vaekit.exporting.__all__)
    parameters = inspect.signature(vaekit.exporting.export_bundle).parameters
    assert list(parameters)[:2] == ["source", "path"]
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in list(parameters.values())[2:])


if __name__ == "__main__":
    STORED.write_text(public_api(), encoding="utf-8")
