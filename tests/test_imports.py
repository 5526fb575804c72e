"""Who may import whom: the table of CONTRIBUTING.md, read from the source, and what an import loads, measured.

The rules keep the runtime small: NumPy and ONNX Runtime, never torch, never onnx.
"""

from __future__ import annotations

import ast
import os
import site
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BASE = "base"
BASE_MODULES = {
    *("appio", "bundle", "cores", "elbo", "errors", "fields", "golden", "graphguard", "graphinfo", "imagefile"),
    *("images", "latents", "manifest", "noise", "onnxfile", "packing", "places", "plane", "precisions", "scores"),
    *("spec", "storage", "value"),
}
PUBLIC = "public"
"""`vaekit/__init__.py`: gathers the public names of base and runtime."""

MAY_IMPORT = {
    BASE: {BASE},
    "datasets": {BASE, "datasets"},
    "runtime": {BASE, "datasets", "runtime", PUBLIC},
    "training": {BASE, "datasets", "training", PUBLIC},
    "exporting": {BASE, "datasets", "training", "runtime", "exporting"},
    "embedding": {BASE, "runtime", "embedding", PUBLIC},
    "explorer": {BASE, "datasets", "runtime", "explorer"},
    "figures": {BASE, "datasets", "runtime", "figures", "figures.trained"},
    "figures.trained": {BASE, "datasets", "runtime", "figures", "training"},
    "cli": {
        BASE,
        "datasets",
        "training",
        "runtime",
        "exporting",
        "embedding",
        "explorer",
        "figures",
        "figures.trained",
        "cli",
        "cli.explorer",
        PUBLIC,
    },
    "cli.explorer": {BASE, "datasets", "runtime", "explorer", "cli", "cli.explorer"},
    PUBLIC: {BASE, "runtime"},
    "main": {"cli"},
}
"""Room -> rooms that it may import from. "public" means vaekit itself, as in `vaekit.__version__`."""

OUTSIDE = {
    BASE: {"numpy"},
    "datasets": {"numpy", "PIL", "pyarrow"},
    "runtime": {"numpy", "onnxruntime", "onnxruntime_ep_openvino", "pyarrow", "ray", "matplotlib"},
    "training": {"numpy", "torch", "safetensors"},
    "exporting": {"numpy", "torch", "onnx", "onnxscript", "onnxruntime"},
    "embedding": {"numpy", "onnx", "emx_onnx_cgen"},
    "explorer": {"numpy"},
    "figures": {"numpy", "matplotlib", "PIL", "sklearn", "umap"},
    "figures.trained": {"numpy", "torch"},
    "cli": {"numpy", "typer", "rich", "torch", "PIL", "textual_image"},
    "cli.explorer": {"numpy", "rich", "textual"},
    PUBLIC: set(),
    "main": set(),
}
"""Room -> packages from outside the standard library, at the top of a module or inside its functions."""

HEAVY = {
    *("torch", "onnx", "onnxruntime", "onnxscript", "typer", "rich"),
    *("PIL", "safetensors", "pyarrow", "ray", "matplotlib", "sklearn", "umap", "textual", "textual_image"),
}


def sources() -> list[Path]:
    files = [*ROOT.glob("vaekit/**/*.py"), *ROOT.glob("cli/**/*.py"), *ROOT.glob("exports/*.py")]
    assert len(files) > 30
    return sorted(files)


def room(module: str) -> str:
    """The room that a module of the package belongs to."""
    parts = module.split(".")
    if len(parts) == 1:
        return PUBLIC
    if parts[1] == "__main__":
        return "main"
    if parts[1] in BASE_MODULES or parts[1] == "exports":
        return BASE
    if parts[1:3] == ["figures", "trained"]:  # the one module of the figures that needs torch
        return "figures.trained"
    if parts[1:3] == ["cli", "explorer"]:  # the one part of the command line that is built on textual
        return "cli.explorer"
    if parts[1] in ("cli", "datasets", "runtime", "training", "exporting", "embedding", "explorer", "figures"):
        return parts[1]
    return PUBLIC  # a name of vaekit/__init__.py, as in `from vaekit import load`


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("vaekit", *parts) if parts[0] != "vaekit" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, module and whether it is imported when the file is (not inside a function or for types only)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    later = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*above, *([source] if source else [])])
            # `from vaekit import bundle` names a module of the package, `from vaekit import load` a public name.
            found = [f"vaekit.{alias.name}" for alias in node.names] if source == "vaekit" else [source]
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__")
            and node.args
        ):
            argument = node.args[0]
            text = argument.value if isinstance(argument, ast.Constant) else ast.unparse(argument).strip("f'\"")
            found = [str(text)]
        else:
            continue
        for name in found:
            yield node.lineno, name, id(node) not in later


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_is_one_that_the_room_may_have(path: Path) -> None:
    here = room(module_name(path))
    wrong = []
    for line, name, _ in imports(path):
        top = name.split(".")[0]
        outside = top in sys.stdlib_module_names or top in OUTSIDE[here]
        if path.name == "imported.py" and name == "name":  # the module that the user names
            continue
        pillow = path.name in ("images.py", "imagefile.py") and top == "PIL"  # inside functions, as is held below
        if not (room(name) in MAY_IMPORT[here] if top == "vaekit" else outside or pillow):
            wrong.append(f"{path.relative_to(ROOT)}:{line} ({here}) imports {name}")
    assert wrong == []


def quick_sources() -> list[Path]:
    """Modules of all rooms but those that need torch and onnx, or textual, anyway."""
    heavy = ("training", "exporting", "figures.trained", "cli.explorer")
    return [path for path in sources() if room(module_name(path)) not in heavy]


@pytest.mark.parametrize("path", quick_sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_packages_are_imported_inside_functions_where_a_start_must_be_quick(path: Path) -> None:
    here = room(module_name(path))
    quick = {"typer", "rich"} if here == "cli" else set()
    for line, name, at_once in imports(path):
        top = name.split(".")[0]
        assert not (at_once and top in HEAVY - quick), f"{path.relative_to(ROOT)}:{line} imports {name} at once"
        heavy_room = top == "vaekit" and room(name) in ("exporting", "figures.trained", "cli.explorer")
        assert not (at_once and heavy_room), f"{path.relative_to(ROOT)}:{line} imports {name}, a heavy room, at once"


def test_nobody_imports_the_command_line_but_the_entry_point() -> None:
    importers = {
        module_name(path)
        for path in sources()
        if room(module_name(path)) not in ("cli", "cli.explorer")
        for _, name, _ in imports(path)
        if room(name) == "cli" and name.startswith("vaekit")
    }
    assert importers == {"vaekit.__main__"}


def test_the_reader_of_imports_sees_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The control: without it, a reader that finds nothing would pass everything above.
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    folder = tmp_path / "vaekit" / "runtime"
    folder.mkdir(parents=True)
    (folder / "bad.py").write_text(
        "import torch.nn as nn\n"
        "from . import session\n"
        "from .. import cli\n"
        "from ..cli import main\n"
        "from vaekit import bundle, load\n"
        "if TYPE_CHECKING:\n    import onnx\n"
        "def f():\n    from vaekit.cli import app\n    importlib.import_module('rich')\n"
    )
    assert sorted(imports(folder / "bad.py")) == [
        (1, "torch.nn", True),
        (2, "vaekit.runtime", True),
        (3, "vaekit.cli", True),
        (4, "vaekit.cli", True),
        (5, "vaekit.bundle", True),
        (5, "vaekit.load", True),
        (7, "onnx", False),
        (9, "vaekit.cli", False),
        (10, "rich", False),
    ]


def loaded_by(code: str) -> set[str]:
    """Heavy packages that a fresh interpreter has loaded after some code."""
    program = f"import sys\n{code}\nprint(*sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import vaekit", set()),
        ("import vaekit.runtime, vaekit.runtime.session, vaekit.runtime.verify, vaekit.runtime.evaluate", set()),
        ("import vaekit.runtime.likelihood, vaekit.runtime.frechet, vaekit.datasets.binarized", set()),
        ("import vaekit.datasets, vaekit.images, vaekit.bundle, vaekit.storage", set()),
        ("import vaekit.runtime.bench.measure, vaekit.runtime.bench.plot, vaekit.runtime.bench.child", set()),
        ("import vaekit.training", set()),
        ("import vaekit.embedding, vaekit.embedding.files", set()),
        ("import vaekit.figures, vaekit.figures.projection", set()),
        ("import vaekit.explorer, vaekit.explorer.explorer, vaekit.explorer.saving", set()),
        ("import rich, PIL.Image", {"rich", "PIL"}),  # the control: this check can fail
    ],
)
def test_importing_the_library_loads_nothing_heavy(code: str, expected: set[str]) -> None:
    assert loaded_by(code) == expected


def test_importing_the_command_line_loads_neither_torch_nor_onnx_nor_onnx_runtime() -> None:
    loaded = loaded_by("import vaekit.cli")
    assert not loaded & {"torch", "onnx", "onnxscript", "onnxruntime", "safetensors"}
    assert {"typer", "rich"} <= loaded  # the control


def test_running_a_model_loads_onnx_runtime_and_nothing_else(small_bundle: Path) -> None:
    code = f"import vaekit; vaekit.load({str(small_bundle)!r}, provider='cpu').sample(1)"
    assert loaded_by(code) == {"onnxruntime"}


START_UP = {"hashlib", "_hashlib", "_blake2", "json", "json.decoder", "json.encoder", "json.scanner", "_json"}
"""Modules of the standard library that opening a model may import, besides those of NumPy and ONNX Runtime: each costs every
start of every app some hundred microseconds, pathlib 7 milliseconds. (Python 3.12 and later hash in modules of other names.)"""


def test_opening_a_model_imports_little_of_the_standard_library(small_bundle: Path) -> None:
    # Without site (-S), whose hook of an editable install imports pathlib and more, as no wheel's does.
    program = (
        "import sys, numpy, onnxruntime; before = set(sys.modules); import vaekit\n"
        f"vae = vaekit.load({str(small_bundle)!r}, provider='cpu'); vae.decode(numpy.zeros((1, vae.spec.latent), 'f4'))\n"
        "print(*sorted({name for name in set(sys.modules) - before if not name.startswith('vaekit')}))"
    )
    path = os.pathsep.join([*site.getsitepackages(), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    found = {name for name in run.stdout.split() if name not in ("_sha1", "_sha2", "_sha3", "_md5", "_blake2")}
    assert found <= START_UP
    assert "json" in found  # the control: what is imported is seen


def test_the_packages_of_the_wheel_are_the_folders() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = [path.parent for path in ROOT.glob("vaekit/**/__init__.py")]
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    mapped = {name: folder for name, folder in settings["package-dir"].items() if name != "vaekit"}
    assert mapped == {"vaekit.cli": "cli", "vaekit.exports": "exports"}
    for folder in mapped.values():
        assert (ROOT / folder / "__init__.py").exists()
    inside = {
        f"vaekit.{folder.parent.name}.{folder.name}" for folder in ROOT.glob("cli/*/") if any(folder.glob("*.py"))
    }
    assert sorted(settings["packages"]) == sorted(packages | set(mapped) | inside)


def test_every_folder_with_code_is_a_package() -> None:
    for path in sources():
        assert (path.parent / "__init__.py").exists(), path


def test_every_module_at_the_top_is_in_one_room() -> None:
    modules = {path.stem for path in ROOT.glob("vaekit/*.py")} - {"__init__", "__main__"}
    assert modules == BASE_MODULES
