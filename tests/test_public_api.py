"""What others build on: the public names, how they are called, and that each says what it does.

A change here is a change for every user: it needs a line in CHANGELOG.md.
"""

from __future__ import annotations

import inspect
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import vaekit
import vaekit.errors
import vaekit.exporting
import vaekit.training

ROOT = Path(__file__).resolve().parents[1]

NAMES = {
    *("VAE", "Encoder", "Decoder", "load"),
    *("Posterior", "prior", "reparameterise", "interpolate", "traverse", "noise"),
    *("Bundle", "Manifest", "ModelSpec", "DataSpec", "Feature"),
    *("Deviation", "verify_bundle"),
    *("VaekitError", "__version__"),
}

SESSION = "provider: str = 'auto', precision: str = 'fp32', threads: int | None = None, tf32: bool = False"
SIGNATURES = {
    "load": f"(path: BundleLike = None, *, {SESSION}) -> VAE",
    "VAE": f"(bundle: BundleLike = None, *, {SESSION}) -> None",
    "Encoder": f"(bundle: BundleLike = None, *, {SESSION}) -> None",
    "Decoder": f"(bundle: BundleLike = None, *, {SESSION}) -> None",
    "VAE.encode": "(self, x: Items) -> Posterior",
    "VAE.decode": "(self, z: Latents) -> Items",
    "VAE.prior": "(self, count: int, *, seed: int = 0, start: int = 0) -> Latents",
    "VAE.sample": "(self, count: int, *, seed: int = 0, start: int = 0, batch_size: int = 256) -> Items",
    "VAE.reconstruct": "(self, x: Items, *, seed: int | None = None) -> Items",
    "VAE.morph": "(self, a: Items, b: Items, *, steps: int = 9, path: Literal['linear', 'spherical'] = 'linear') -> Items",
    "VAE.score": "(self, x: Items, *, seed: int = 0, start: int = 0) -> NDArray[np.float64]",
    "Encoder.encode": "(self, x: Items) -> Posterior",
    "Decoder.decode": "(self, z: Latents) -> Items",
    "Posterior.sample": "(self, *, seed: int, start: int = 0) -> Latents",
    "noise": "(*, seed: int, count: int, dim: int, start: int = 0) -> NDArray[np.float32]",
    "prior": "(count: int, dim: int, *, seed: int, start: int = 0) -> Latents",
    "reparameterise": "(mean: ArrayLike, log_var: ArrayLike, *, seed: int, start: int = 0) -> Latents",
    "interpolate": "(a: ArrayLike, b: ArrayLike, *, steps: int = 9, "
    "path: Literal['linear', 'spherical'] = 'linear') -> Latents",
    "traverse": "(z: ArrayLike, dimension: int, values: ArrayLike) -> Latents",
    "verify_bundle": "(bundle: Bundle, session: VAE) -> list[Deviation]",
    "Bundle.open": "(path: str | os.PathLike[str] | None = None, *, keep: Iterable[tuple[str, str]] = ()) -> Bundle",
    "Bundle.graph": "(self, half: str, precision: str = 'fp32') -> bytes",
    "Bundle.golden": "(self) -> Golden",
}

FIELDS = {
    "Posterior": ["mean", "log_var"],
    "Deviation": ["what", "measured", "tolerance"],
    "DataSpec": ["shape", "range", "features"],
    "Feature": ["name", "offset", "scale"],
    "ModelSpec": ["kind", "data", "latent", "likelihood", "scale"],
}

TREE = {
    "VaekitError": Exception,
    "ConfigError": "VaekitError",
    "DataError": "VaekitError",
    "ShapeError": "VaekitError",
    "OutputError": "VaekitError",
    "MissingDependencyError": "VaekitError",
    "ProviderError": "VaekitError",
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


def look_up(name: str) -> Any:
    found: Any = vaekit
    for part in name.split("."):
        found = getattr(found, part)
    return found


def test_the_public_names_are_these() -> None:
    assert set(vaekit.__all__) == NAMES
    assert len(vaekit.__all__) == len(NAMES)
    for name in NAMES:
        assert hasattr(vaekit, name)


def test_nothing_public_comes_in_by_accident() -> None:
    modules = {name for name in vars(vaekit) if inspect.ismodule(getattr(vaekit, name))}
    public = {name for name in vars(vaekit) if not name.startswith("_")} - modules
    assert public == NAMES - {"__version__"}


@pytest.mark.parametrize(("name", "signature"), SIGNATURES.items())
def test_a_public_function_is_called_like_this(name: str, signature: str) -> None:
    assert inspect.signature(look_up(name)) == parse(signature)


def parse(signature: str) -> inspect.Signature:
    """A signature from its text, its annotations kept as text as they are in vaekit's modules."""
    space: dict[str, Any] = {}
    exec(f"from __future__ import annotations\ndef f{signature}: ...", space)
    return inspect.signature(space["f"])


@pytest.mark.parametrize(("name", "expected"), FIELDS.items())
def test_a_public_record_has_these_fields_in_this_order(name: str, expected: list[str]) -> None:
    record = look_up(name)
    names = [field.name for field in fields(record)] if is_dataclass(record) else list(record._fields)
    assert names == expected


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_every_public_name_says_what_it_does(name: str) -> None:
    documented = look_up(name)
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
