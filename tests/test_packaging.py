"""The package as a user gets it: what is in the wheel, and that it works alone, without torch."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import vaekit

ROOT = Path(__file__).parents[1]
TRAINING = ("torch", "onnx", "onnxscript", "safetensors")

WORK = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".*_cache",
    "__pycache__",
    "*.egg-info",
    "build",
    "dist",
    "runs",
    "data",
    ".ci",
    "demo",
    "node_modules",
)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_package_list_equals_the_folders(project: dict[str, Any]) -> None:
    found = set()
    for folder, package in (("vaekit", "vaekit"), ("cli", "vaekit.cli"), ("exports", "vaekit.exports")):
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    listed = project["tool"]["setuptools"]["packages"]
    assert sorted(found) == listed, "the list in pyproject.toml, in alphabetical order"


def test_every_folder_with_code_is_a_package() -> None:
    for folder in ("vaekit", "cli", "exports"):
        for source in (ROOT / folder).rglob("*.py"):
            assert (source.parent / "__init__.py").is_file(), source


def test_version_is_stated_once_more_and_the_same(project: dict[str, Any]) -> None:
    assert project["project"]["version"] == vaekit.__version__ == importlib.metadata.version("vaekit")


def test_constraints_are_within_what_users_are_bound_to(project: dict[str, Any]) -> None:
    pinned = constraints()
    extras = project["project"]["optional-dependencies"]
    for line in (
        *project["project"]["dependencies"],
        *(
            line
            for name in (
                "cpu",
                "train",
                "tables",
                "tensorboard",
                "ray",
                "plots",
                "terminal",
                "explore",
                "tsne",
                "embed",
                "dev",
            )
            for line in extras[name]
        ),
    ):
        requirement = Requirement(line)
        if requirement.name == "vaekit":  # dev brings other extras
            assert requirement.extras <= set(extras)
            continue
        assert requirement.name in pinned, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(pinned[requirement.name]), line


def test_no_base_dependency_is_heavy(project: dict[str, Any]) -> None:
    names = {Requirement(line).name for line in project["project"]["dependencies"]}
    assert names == {"numpy", "pillow", "rich", "typer"}
    cpu = {Requirement(line).name for line in project["project"]["optional-dependencies"]["cpu"]}
    assert cpu == {"onnxruntime"}


# The wheel.


def call(*command: object, cwd: Path) -> str:
    """Run a program of the new environment, in a folder of somebody else, and give its standard output."""
    kept = {"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL"}
    kept |= {
        name for name in os.environ if name.upper().endswith("_PROXY") or name.startswith(("PIP_", "SSL_", "REQUESTS_"))
    }
    environment = {name: value for name, value in os.environ.items() if name in kept}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    shown = " ".join(map(str, command))
    assert done.returncode == 0, f"`{shown}` failed in {cwd}:\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build in a copy, so that the working tree stays as it is."""
    copy = Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "vaekit", ignore=WORK))
    if not (copy / "README.md").exists():  # the test of the README's lines says that it is missing
        (copy / "README.md").write_text("# vaekit\n")
    (copy / "data").mkdir()
    (copy / "data" / "not for the wheel.txt").write_text("data")
    out = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, copy, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment with vaekit[cpu] and nothing else, and give its folder of programs."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    call(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pinned = folder.parent / "constraints.txt"
    pinned.write_text("".join(f"{name}=={version}\n" for name, version in constraints().items() if name != "torch"))
    install = [programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-c", pinned]
    try:
        call(*install, f"{wheel}[cpu]", cwd=folder.parent)
    except AssertionError as error:
        pytest.fail(f"pip could not install the wheel with [cpu]; is a package index reachable?\n{error}")
    return programs


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Give a folder that knows nothing of the repository."""
    folder = tmp_path / "somebody's folder"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_wheel_holds_the_packages_and_the_builtin_model(wheel: Path, project: dict[str, Any]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for package in project["tool"]["setuptools"]["packages"]:
            assert f"{package.replace('.', '/')}/__init__.py" in names
        for name in ("py.typed", "__main__.py", "cli/sample.py", "exports/README.md", "exports/NOISE.md"):
            assert f"vaekit/{name}" in names
        model = (
            "manifest.json",
            "encoder.onnx",
            "decoder.onnx",
            "golden.npz",
            "README.md",
            "preview.png",
            "SHA256SUMS",
        )
        for name in model:
            content = archive.read(f"vaekit/exports/mnist/{name}")
            assert content == (ROOT / "exports" / "mnist" / name).read_bytes(), name
        assert {name.partition("/")[0] for name in names} == {"vaekit", f"vaekit-{vaekit.__version__}.dist-info"}
        others = {name for name in names if name.startswith("vaekit/exports/") and name.count("/") > 2}
        assert {name.split("/")[2] for name in others} == {"mnist"}, "a bundle of somebody's own went along"
        sources = {str(path.relative_to(ROOT)) for folder in ("vaekit",) for path in (ROOT / folder).rglob("*.py")}
        assert sources <= names
        assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_wheel_brings_its_types(wheel: Path, elsewhere: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(elsewhere / "wheel")
    assert (elsewhere / "wheel" / "vaekit" / "py.typed").is_file()
    program = ROOT / "tests" / "docs" / "consumer.py"
    cache = ROOT / ".mypy_cache" / "from-outside"  # as tests/docs/test_types.py
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", cache]
    assert (
        call("env", f"MYPYPATH={elsewhere / 'wheel'}", *mypy, program, cwd=elsewhere)
        == "Success: no issues found in 1 source file\n"
    )


@pytest.mark.slow
def test_wheel_stays_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 8 << 20, "8 MiB: the built-in model is about 2.5"


@pytest.mark.slow
def test_environment_has_no_torch(environment: Path, elsewhere: Path) -> None:
    code = f"import importlib.util; print([name for name in {TRAINING!r} if importlib.util.find_spec(name)])"
    assert call(environment / "python", "-c", code, cwd=elsewhere).strip() == "[]"
    installed = call(environment / "python", "-m", "pip", "list", "--format=freeze", cwd=elsewhere).lower()
    assert "nvidia" not in installed
    assert "onnxruntime==" in installed


@pytest.mark.slow
def test_sample_works_right_after_the_install(environment: Path, elsewhere: Path) -> None:
    shown = call(environment / "vaekit", "sample", cwd=elsewhere)
    assert shown.count("\n") > 30
    assert len(set(shown)) >= 8, "shades of grey"
    assert call(environment / "python", "-m", "vaekit", "sample", cwd=elsewhere) == shown


@pytest.mark.slow
def test_verify_proves_the_builtin_model(environment: Path, elsewhere: Path) -> None:
    assert "within tolerance" in call(environment / "vaekit", "verify", cwd=elsewhere)
    assert json.loads(call(environment / "vaekit", "verify", "--json", cwd=elsewhere))["passed"] is True


@pytest.mark.slow
def test_inspect_tells_the_builtin_models_manifest(wheel: Path, environment: Path, elsewhere: Path) -> None:
    manifest = json.loads(call(environment / "vaekit", "inspect", "--json", cwd=elsewhere))
    with zipfile.ZipFile(wheel) as archive:
        assert manifest == json.loads(archive.read("vaekit/exports/mnist/manifest.json"))


@pytest.mark.slow
def test_morph_from_3_to_8_works(environment: Path, elsewhere: Path) -> None:
    out = elsewhere / "morph.png"
    shown = call(environment / "vaekit", "morph", "--from", "3", "--to", "8", "--out", out, cwd=elsewhere)
    assert shown.splitlines()[-1] == f"wrote {out}"
    assert out.read_bytes().startswith(b"\x89PNG\r\n")


@pytest.mark.slow
def test_train_and_export_name_the_extra(environment: Path, elsewhere: Path) -> None:
    for arguments in (["train"], ["export", "run", "--out", "bundle"]):
        done = subprocess.run(
            [environment / "vaekit", *arguments], cwd=elsewhere, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert re.fullmatch(r"error: `vaekit \w+` needs torch; .*'vaekit\[train,cpu\]'.*\n", done.stderr), done.stderr
    assert list(elsewhere.iterdir()) == []


@pytest.mark.slow
def test_embedding_lines_of_the_readme_work(environment: Path, elsewhere: Path) -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("README.md is not written yet")
    blocks = re.findall(r"^```python\n(.*?)^```", readme.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert blocks, "README.md has no ```python block"
    call(environment / "python", "-W", "error", "-c", blocks[0], cwd=elsewhere)
