"""`vaekit embed c-standalone`: one C file without a runtime gives Python's numbers, states its own size, and proves itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vaekit
from vaekit.embedding import c_decoder, embed
from vaekit.embedding.compiled import measure
from vaekit.errors import ConfigError, ExportError, MissingDependencyError
from vaekit.noise import noise
from vaekit.runtime.verify import difference

HERE = Path(__file__).parent
LAST = 2**64 - 1
STRICT = ["-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module", params=["float32", "int8"])
def weights(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def project(weights: str, make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model, built."""
    folder = embed("c-standalone", None, tmp_path_factory.mktemp("standalone") / weights, weights=weights)
    done = make(folder)
    assert done.returncode == 0, done.stderr
    return folder


def compiled(folder: Path, *flags: str) -> Path:
    """The conformance program with a project's decoder: the one that `make` built, or one with other flags."""
    program = folder / "build" / "conformance"
    decoder = folder / ("vae_decoder.c" if flags else "build/vae_decoder.o")
    sources = [str(HERE / "conformance.c"), str(decoder)]
    command = ["cc", *STRICT, *flags, "-DSTANDALONE", f"-I{folder}", "-o", str(program), *sources, "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def output(program: Path, *arguments: object) -> np.ndarray:
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32)


def stated_tolerance(folder: Path) -> float:
    """The tolerance against the float32 model that self_test.c asks for: the last one."""
    found = re.findall(r'"x_hat\.f32", z, ([\d.e-]+),', (folder / "self_test.c").read_text())
    return float(found[-1])


@pytest.mark.parametrize(("seed", "start"), [(0, 0), (7, 2**32 - 9), (LAST, 2**64 - 5003)])
def test_the_noise_is_the_same_bits_on_more_than_100_000_values(project: Path, seed: int, start: int) -> None:
    eps = noise(seed=seed, count=5003, dim=21, start=start)
    assert eps.size > 100_000
    assert output(compiled(project), "noise", seed, 5003, 21, start).tobytes() == eps.tobytes()


def test_images_of_100_seeds_are_those_of_vaekit(project: Path, weights: str) -> None:
    vae = vaekit.load(provider="cpu", threads=1)
    expected = np.concatenate([vae.sample(1, seed=seed) for seed in range(100)])
    found = output(compiled(project), "items", "-", 0, 100).reshape(expected.shape)
    tolerance = vae.manifest.tolerances["cpu"] if weights == "float32" else stated_tolerance(project)
    assert difference(found, expected) <= tolerance
    assert tolerance < 0.1


def test_int8_is_near_and_not_the_same(make: Make, tmp_path: Path) -> None:
    # Each weight is within half a scale; the bound for the image follows from what the layers can amplify.
    folder = embed("c-standalone", None, tmp_path / "int8", weights="int8")
    done = make(folder, "check")
    assert done.returncode == 0, done.stdout
    measured, stated = re.findall(r"decode, from float32 weights: ([\d.e-]+), at most ([\d.e-]+)", done.stdout)[0]
    assert 1e-3 < float(measured) < float(stated) <= 1.6 * float(measured)
    readme = (folder / "README.md").read_text()
    assert f"int8 is off by {float(measured):.2g} at most" in readme
    assert "321,600 weights as int8" in readme


@pytest.mark.parametrize("name", ["ae_bundle", "gaussian_bundle", "table_bundle", "odd_bundle", "conv_bundle"])
def test_every_kind_of_model_passes_its_self_test_and_samples_as_vaekit_does(
    name: str, weights: str, make: Make, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(name)
    if (name, weights) == ("conv_bundle", "int8"):
        with pytest.raises(
            ExportError, match=r"weights='int8' is for decoders of dense layers, .* has .*ConvTranspose"
        ):
            embed("c-standalone", bundle, tmp_path / "project", weights=weights)
        assert list(tmp_path.iterdir()) == []
        return
    folder = embed("c-standalone", bundle, tmp_path / "project", weights=weights)
    done = make(folder, "check")
    assert done.returncode == 0, done.stdout + done.stderr
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    expected = vae.sample(5, seed=9, start=LAST - 4)
    found = output(compiled(folder), "stream", "-", 9, LAST - 4, 5).reshape(expected.shape)
    units = None if vae.spec.data.range else vae.spec.data.units
    assert difference(found, expected, units=units) <= (1e-5 if weights == "float32" else 2 * stated_tolerance(folder))
    assert ("emx-onnx-cgen" in (folder / "README.md").read_text()) == (name == "conv_bundle")


def test_dense_layers_by_hand_and_by_the_generator_agree(make: Make, small_bundle: Path, tmp_path: Path) -> None:
    by_hand = embed("c-standalone", small_bundle, tmp_path / "hand")
    assert make(by_hand).returncode == 0
    other = Path(shutil.copytree(by_hand, tmp_path / "generator", ignore=shutil.ignore_patterns("build")))
    (other / "build").mkdir()
    text = (other / "vae_decoder.c").read_text()
    first, last = text.index("static const float WEIGHT_1"), text.index("void vae_sample")
    generated = c_decoder.generated(vaekit.Bundle.open(small_bundle).graph("decoder"), "small").code
    (other / "vae_decoder.c").write_text(
        text[:first] + generated + text[last : text.index("static const float WEIGHT_1", last)]
    )
    found = [output(compiled(folder, "-O2"), "items", "-", 0, 20) for folder in (by_hand, other)]
    assert difference(*found) <= 1e-6


def test_every_level_of_optimisation_with_or_without_vectors_gives_the_same_image(
    small_bundle: Path, weights: str, make: Make, tmp_path: Path
) -> None:
    folder = embed("c-standalone", small_bundle, tmp_path / "project", weights=weights)
    assert make(folder).returncode == 0
    usual = output(compiled(folder), "items", "-", 3, 2)
    for flags in (
        ["-O0"],
        ["-Os"],
        ["-O3"],
        ["-O2", "-U__SSE__"],
    ):  # the last unrolls, as for a processor without vectors
        assert output(compiled(folder, *flags), "items", "-", 3, 2).tobytes() == usual.tobytes(), flags


def test_nothing_is_allocated_and_nothing_is_kept(project: Path, need: Callable[[str], str]) -> None:
    symbols = subprocess.run(
        [need("nm"), str(project / "build" / "vae_decoder.o")], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    wanted = {line.split()[-1] for line in symbols if line.split()[-2] == "U"}
    assert wanted <= {"expf", "sqrt", "memset", "memcpy", "__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"}
    assert {"expf"} <= wanted  # the control
    assert not {line.split()[-2] for line in symbols} & set("dDbBCG")


def test_the_readme_states_what_size_prints(project: Path, weights: str, make: Make) -> None:
    done = make(project, "--silent", "size")
    lines = [line for line in done.stdout.splitlines() if not line.startswith("make")]
    flash, data, bss = map(int, lines[1].split()[:3])
    stack = sum(int(line.split("\t")[1]) for line in lines[2:])
    readme = " ".join((project / "README.md").read_text().split())
    assert f"{flash:,} bytes of flash" in readme
    assert (data, bss) == (0, 0)
    assert "0 bytes of static RAM" in readme
    assert f"at most {stack:,} bytes of stack" in readme
    # The numbers alone: 20 x 400 + 400 x 784 weights, a bias and for int8 a scale for each of 1184 rows.
    constants = 321_600 * 4 + 1184 * 4 if weights == "float32" else 321_600 + 1184 * 8
    assert constants < flash < constants + 6000
    assert 400 * 4 < stack < 400 * 4 + 1000  # the hidden layer


def test_without_a_compiler_the_readme_says_how_to_measure(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = embed("c-standalone", small_bundle, tmp_path / "project")
    assert "`make size` measures it on yours" in (folder / "README.md").read_text()


def test_a_compiler_of_another_kind_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cc", "size"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "a.c").write_text("int a;\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert measure(tmp_path / "a.c") is None


@pytest.mark.parametrize("what", ["eps", "z", "x_hat", "x_hat_int8", "a NaN", "bias", "weight"])
def test_the_self_test_fails_when_one_number_is_changed(
    what: str, weights: str, small_bundle: Path, make: Make, tmp_path: Path
) -> None:
    folder = embed("c-standalone", small_bundle, tmp_path / "project", weights=weights)
    file = folder / "golden" / f"{'x_hat' if what == 'a NaN' else what}.f32"
    if what in ("bias", "weight"):
        source = folder / "vae_decoder.c"
        text = source.read_text()
        head = re.search(rf"static const \w+ {what.upper()}_2\[\d+\] = {{\s*", text)
        assert head
        value = re.match(r"[^,]+", text[head.end() :])
        assert value
        changed = "100" if (what, weights) == ("weight", "int8") else "1.5f"
        source.write_text(text[: head.end()] + changed + text[head.end() + value.end() :])
    elif file.exists():
        values = np.fromfile(file, "<f4")
        values[5] += np.nan if what == "a NaN" else 0.01 if what != "x_hat" or weights == "float32" else 0.5
        values.tofile(file)
    else:
        assert (what, weights) == ("x_hat_int8", "float32")
        return
    done = make(folder, "check")
    assert done.returncode != 0
    assert "TOO FAR" in done.stdout, done.stdout + done.stderr


def test_the_self_test_compares_the_mean_too(small_bundle: Path, weights: str, make: Make, tmp_path: Path) -> None:
    # Each value is off by a little: for int8 less than the largest that may be.
    folder = embed("c-standalone", small_bundle, tmp_path / "project", weights=weights)
    file = folder / "golden" / "x_hat.f32"
    (np.fromfile(file, "<f4") + np.float32(0.3 * stated_tolerance(folder))).tofile(file)
    done = make(folder, "check")
    passed = weights == "float32"  # where both tolerances are one
    assert (done.returncode == 0) == passed, done.stdout
    assert ("mean deviation" in "".join(line for line in done.stdout.splitlines() if "TOO FAR" in line)) != passed


def test_the_self_test_notices_a_product_that_is_fused_with_a_sum(
    small_bundle: Path, make: Make, tmp_path: Path
) -> None:
    # What a compiler does with -ffp-contract=fast, on any processor: no golden number shows it.
    folder = embed("c-standalone", small_bundle, tmp_path / "project")
    source = folder / "vae_decoder.c"
    text = source.read_text()
    for unfused, fused in (
        ("total = c[k] + y * total", "total = fma(y, total, c[k])"),
        (
            "e * 0.6931471805599453 + (2.0 * t) * horner(atanh_series, 11, t * t)",
            "fma(2.0 * t, horner(atanh_series, 11, t * t), e * 0.6931471805599453)",
        ),
    ):
        assert unfused in text
        text = text.replace(unfused, fused)
    source.write_text(text)
    done = make(folder, "check")
    assert done.returncode != 0
    assert "noise, numbers that differ: 0.0e+00, at most 0.0e+00: ok" in done.stdout  # the control
    assert "noise, numbers that fused products change: 2.0e+00, at most 0.0e+00: TOO FAR" in done.stdout


def test_what_the_noise_needs_of_the_compiler_stays_beside_flags_of_ones_own(
    project: Path, tmp_path: Path, assert_flags_build_anew: Callable[[Path, int], None]
) -> None:
    assert_flags_build_anew(shutil.copytree(project, tmp_path / "copy"), 2)


@pytest.mark.parametrize("arguments", [("abc",), ("-1",), ("9" * 30,), ("1", "2", "3")])
def test_the_demo_refuses_what_is_no_seed(project: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["build/demo", *arguments], cwd=project, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: demo [SEED [INDEX]], whole numbers from 0 to 2^64 - 1\n"


def test_unknown_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="weights='int4' is unknown; choose one of float32, int8"):
        embed("c-standalone", None, tmp_path / "project", weights="int4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("package", "name", "words"),
    [
        ("onnx", "small_bundle", r"`vaekit embed c-standalone` reads the graph with onnx; .*'vaekit\[embed\]'"),
        ("emx_onnx_cgen", "conv_bundle", r"has .*, which emx-onnx-cgen turns into C; .*'vaekit\[embed\]'"),
    ],
)
def test_a_missing_package_names_the_extra(
    package: str, name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(name)
    for module in [module for module in sys.modules if module.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=words):
        embed("c-standalone", bundle, tmp_path / "project")
    assert list(tmp_path.iterdir()) == []


def test_the_demo_shows_the_same_digit_as_the_target_c(project: Path, weights: str, make: Make) -> None:
    shown = [line for line in make(project, "--silent", "demo").stdout.splitlines() if not line.startswith("make")]
    expected = vaekit.load(provider="cpu", threads=1).sample(1, seed=7)[0, 0]
    bright = np.array([[character in "#%@" for character in line.ljust(56)[::2]] for line in shown])
    differing = (bright != (np.floor(expected * 9 + 0.5) >= 7)).sum()
    assert differing == 0 if weights == "float32" else differing < 12
