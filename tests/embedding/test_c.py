"""`vaekit embed c`: C11 gives Python's numbers, checks what it is given, and its self-test fails when it should."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import vaekit
from vaekit.embedding import embed
from vaekit.embedding.c import noise_functions
from vaekit.noise import _box_muller as box_muller
from vaekit.noise import noise
from vaekit.runtime.verify import difference

HERE = Path(__file__).parent
LAST = 2**64 - 1
WHEEL = Path(onnxruntime.__file__).parent / "capi"
STRICT = ["-std=c11", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]

Make = Callable[..., subprocess.CompletedProcess[str]]
Program = Callable[..., bytes]


@pytest.fixture(scope="module")
def project(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model in C, built."""
    folder = embed("c", None, tmp_path_factory.mktemp("c") / "mnist")
    done = make(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """A built project that a test may damage."""
    return Path(shutil.copytree(project, tmp_path / "copy", symlinks=True))


def compiled(folder: Path, source: Path, *flags: str) -> Path:
    """Build a program of a test beside a project's decoder."""
    program = folder / "build" / source.stem
    library = folder / "build" / "lib" / "libonnxruntime.so.1"
    command = ["cc", *STRICT, *flags, f"-I{folder}", "-isystem", str(folder / "ort"), "-o", str(program), str(source)]
    command += [str(folder / "vae_decoder.c"), str(library), f"-Wl,-rpath,{library.parent}", "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def output(program: Path, *arguments: object) -> np.ndarray:
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.frombuffer(done.stdout, np.float32)


@pytest.mark.parametrize(("seed", "start"), [(0, 0), (7, 2**32 - 9), (LAST, 2**64 - 5003)])
def test_the_noise_is_the_same_bits_on_more_than_100_000_values(project: Path, seed: int, start: int) -> None:
    eps = noise(seed=seed, count=5003, dim=21, start=start)
    assert eps.size > 100_000
    found = output(compiled(project, HERE / "conformance.c"), "noise", seed, 5003, 21, start)
    assert found.tobytes() == eps.tobytes()


DOUBLES = """
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
void unused(uint64_t seed, uint64_t index, size_t dim, float *eps);
%s
int main(void) {
    uint64_t words[2];
    double pair[2];
    while (fread(words, sizeof *words, 2, stdin) == 2) {
        box_muller(words[0], words[1], pair);
        fwrite(pair, sizeof *pair, 2, stdout);
    }
    return 0;
}
"""


@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_the_doubles_have_pythons_bits_before_they_are_rounded(
    level: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    # A fused product or another coefficient moves the last bits of many doubles, but hardly one float32 in 10^8.
    (tmp_path / "doubles.c").write_text(DOUBLES % noise_functions("unused"))
    command = [need("cc"), *STRICT, level, "-o", "doubles", "doubles.c", "-lm"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = np.random.default_rng(2).integers(0, LAST, (20_000, 2), np.uint64, endpoint=True)
    found = subprocess.run([tmp_path / "doubles"], input=words.tobytes(), capture_output=True, check=True).stdout
    assert found == np.stack(box_muller(words[:, 0], words[:, 1]), axis=-1).tobytes()


def test_images_of_100_seeds_are_those_of_vaekit(project: Path) -> None:
    vae = vaekit.load(provider="cpu", threads=1)
    expected = np.concatenate([vae.sample(1, seed=seed) for seed in range(100)])
    found = output(compiled(project, HERE / "conformance.c"), "items", project / "decoder.onnx", 0, 100)
    assert difference(found.reshape(expected.shape), expected) <= vae.manifest.tolerances["cpu"]


@pytest.mark.parametrize("name", ["ae_bundle", "gaussian_bundle", "table_bundle", "conv_bundle"])
def test_every_kind_of_model_passes_its_self_test_and_samples_as_vaekit_does(
    name: str, make: Make, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(name)
    folder = embed("c", bundle, tmp_path / "project")
    done = make(folder, "check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": all within tolerance\n" in done.stdout
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    expected = vae.sample(5, seed=9, start=LAST - 4)
    found = output(compiled(folder, HERE / "conformance.c"), "stream", folder / "decoder.onnx", 9, LAST - 4, 5)
    units = None if vae.spec.data.range else vae.spec.data.units
    assert difference(found.reshape(expected.shape), expected, units=units) <= 1e-5


def test_the_demo_shows_a_digit_or_prints_numbers(
    project: Path, gaussian_bundle: Path, make: Make, tmp_path: Path
) -> None:
    shown = make(project, "--silent", "demo").stdout.splitlines()[-28:]
    expected = vaekit.load(provider="cpu", threads=1).sample(1, seed=7)[0, 0]
    bright = np.array([[character in "#%@" for character in line.ljust(56)[::2]] for line in shown])
    np.testing.assert_array_equal(bright, np.floor(expected * 9 + 0.5) >= 7)
    folder = embed("c", gaussian_bundle, tmp_path / "project")
    numbers = [float(line) for line in make(folder, "--silent", "demo").stdout.splitlines()[-6:]]
    expected = vaekit.load(gaussian_bundle, provider="cpu", threads=1).sample(1, seed=7)[0]
    assert numbers == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [("abc",), ("-1",), ("+1",), (" 1",), ("",), ("18446744073709551616",), ("9" * 30,), ("1", "x"), ("1", "2", "3")],
)
def test_the_demo_refuses_what_is_no_seed(project: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["build/demo", *arguments], cwd=project, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: demo [SEED [INDEX]], whole numbers from 0 to 2^64 - 1\n"


def test_the_demo_takes_every_seed_and_index(gaussian_bundle: Path, make: Make, tmp_path: Path) -> None:
    folder = embed("c", gaussian_bundle, tmp_path / "project")
    assert make(folder).returncode == 0
    command = ["build/demo", str(LAST), str(LAST - 1)]
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    expected = vaekit.load(gaussian_bundle, provider="cpu", threads=1).sample(1, seed=LAST, start=LAST - 1)[0]
    assert [float(line) for line in shown.splitlines()] == pytest.approx(expected, rel=1e-5)


def test_what_the_noise_needs_of_the_compiler_stays_beside_flags_of_ones_own(
    copy: Path, assert_flags_build_anew: Callable[[Path, int], None]
) -> None:
    assert_flags_build_anew(copy, 1)


@pytest.mark.parametrize("name", ["eps", "z", "x_hat"])
def test_the_self_test_fails_when_one_golden_number_is_changed(copy: Path, name: str) -> None:
    values = np.fromfile(copy / "golden" / f"{name}.f32", "<f4")
    if name == "eps":  # one bit
        values.view("<u4")[100] ^= 1
    else:
        values[100] += 0.01
    values.tofile(copy / "golden" / f"{name}.f32")
    assert_fails(copy, "TOO FAR")


def test_what_the_makefile_runs_leaves_nothing_in_the_home_folder(
    project: Path, at_home: dict[str, str], need: Callable[[str], str]
) -> None:
    command = [need("make"), "-C", project, "check"]
    done = subprocess.run(command, env=at_home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not any(Path(at_home["HOME"]).iterdir())


def test_the_self_test_fails_when_one_weight_is_changed(copy: Path) -> None:
    model = onnx.load(copy / "decoder.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("bias"))
    values = numpy_helper.to_array(bias).copy()
    values[3] += 0.05
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(model, copy / "decoder.onnx")
    assert_fails(copy, "TOO FAR")


def test_the_self_test_fails_on_a_nan_and_on_files_that_are_missing_or_cut(copy: Path) -> None:
    file = copy / "golden" / "x_hat.f32"
    values = np.fromfile(file, "<f4")
    values[0] = np.nan
    values.tofile(file)
    assert_fails(copy, "TOO FAR")
    file.write_bytes(file.read_bytes()[:-4])
    assert_fails(copy, "golden/x_hat.f32 is missing or of another size")
    file.unlink()
    assert_fails(copy, "golden/x_hat.f32 is missing or of another size")


def assert_fails(folder: Path, words: str) -> None:
    done = subprocess.run([folder / "build" / "self_test", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stdout + done.stderr


REFUSALS = r"""
#include "vae_decoder.h"
#include <math.h>
#include <stdio.h>
int main(int argc, char **argv) {
    static float x[2 * VAE_VALUES], z[2 * VAE_LATENT];
    vae_error error;
    for (int i = 1; i < argc; i++)
        if (!vae_open(argv[i], 1, &error)) printf("%.60s\n", error.text);
    if (!vae_open(NULL, 1, &error)) printf("%s\n", error.text);
    if (!vae_open(argv[1], 0, &error)) printf("%s\n", error.text);
    if (vae_open("nothing", 1, NULL)) return 1;
    vae_decoder *decoder = vae_open("decoder.onnx", 2, &error);
    if (!vae_decode(decoder, NULL, 1, x, &error)) printf("%s\n", error.text);
    if (!vae_decode(NULL, z, 1, x, &error)) printf("%s\n", error.text);
    if (!vae_decode(decoder, z, SIZE_MAX / 64, x, &error)) printf("%s\n", error.text);
    if (!vae_sample(decoder, 7, 0, SIZE_MAX / 64, x, &error)) printf("%s\n", error.text);
    z[VAE_LATENT] = NAN;
    if (!vae_decode(decoder, z, 2, x, &error)) printf("%s\n", error.text);
    if (!vae_decode(decoder, NULL, 0, NULL, NULL) || !vae_decode(decoder, z, 1, x, NULL)) return 1;
    vae_close(decoder);
    vae_close(NULL);
    return 0;
}
"""


def test_wrong_arguments_and_files_are_refused_in_words(project: Path, tmp_path: Path) -> None:
    source = tmp_path / "refusals.c"
    source.write_text(REFUSALS)
    (tmp_path / "noise.onnx").write_bytes(b"no graph at all")
    (tmp_path / "empty.onnx").write_bytes(b"")
    paths = [tmp_path / name for name in ("none.onnx", "noise.onnx", "empty.onnx")]
    program = compiled(project, source)
    done = subprocess.run([program, *paths, tmp_path], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("cannot open: ")
    assert lines[1].startswith("model: ")  # ONNX Runtime's own words follow
    assert lines[2].startswith("cannot read: ")
    assert lines[3].startswith(("cannot read: ", "cannot open: ", "no memory for: "))  # a folder
    assert lines[4:] == [
        "vae_open: give a path, and one thread or more",
        "vae_open: give a path, and one thread or more",
        "vae_decode: NULL",
        "vae_decode: NULL",
        "vae_decode: too many items",
        "vae_sample: no memory for the codes",
        "vae_decode: z holds a NaN or an infinity",
    ]


def test_a_missing_onnx_runtime_is_said_in_one_line(project: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns("build")))
    done = subprocess.run(
        ["make", "-C", str(folder), "check", "ORT_HOME=/nowhere"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "no libonnxruntime in '/nowhere': pass ORT_HOME" in done.stderr


def test_another_onnx_runtime_is_taken_and_a_missing_one_is_said_after_a_good_build(copy: Path, make: Make) -> None:
    assert "-o build/self_test" not in make(copy, "check").stdout  # the control: nothing is built anew without a reason
    done = subprocess.run(
        ["make", "-C", copy, "check", "ORT_HOME=/nowhere"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "no libonnxruntime in '/nowhere': pass ORT_HOME" in done.stderr
    assert "within tolerance" not in done.stdout
    other = copy.parent / "other"
    other.symlink_to(WHEEL)
    done = subprocess.run(
        ["make", "-C", copy, "check", f"ORT_HOME={other}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str((copy / "build" / "lib" / "libonnxruntime.so.1").readlink()).startswith(f"{other}/")
    assert "-o build/self_test" in done.stdout


def test_a_folder_of_any_name_may_be_moved_and_built(copy: Path, make: Make) -> None:
    folder = copy.rename(copy.parent / """a,b:c$HOME"d'e f""")
    done = subprocess.run(["build/self_test"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert make(folder, "clean").returncode == 0
    done = make(folder, "check")
    assert done.returncode == 0, done.stderr
    assert "mnist: all within tolerance" in done.stdout


def test_the_demo_started_elsewhere_says_where_to_start_it(project: Path, tmp_path: Path) -> None:
    done = subprocess.run([project / "build" / "demo"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        done.stderr == "demo: cannot open: decoder.onnx; decoder.onnx is in the project's folder, so start it there\n"
    )
    done = subprocess.run([project / "build" / "self_test"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "golden/eps.f32 is missing or of another size; start it in the project's folder, or name that\n"
    )


@pytest.mark.parametrize("release", [False, True])
def test_paths_may_hold_spaces(small_bundle: Path, need: Callable[[str], str], tmp_path: Path, release: bool) -> None:
    home = tmp_path / "ONNX Runtime"
    if release:
        (library,) = WHEEL.glob("libonnxruntime.so.*")
        for folder in ("lib", "include"):
            (home / folder).mkdir(parents=True)
        (home / "lib" / "libonnxruntime.so").symlink_to(library)
    else:
        home.symlink_to(WHEEL)
    folder = embed("c", small_bundle, tmp_path / "a model")
    if release:
        (folder / "ort" / "onnxruntime_c_api.h").rename(home / "include" / "onnxruntime_c_api.h")
    done = subprocess.run(
        [need("make"), "-C", folder, "check", "ORT_HOME=../ONNX Runtime"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "small: all within tolerance" in done.stdout


def test_it_has_no_variables_of_its_own(project: Path, tmp_path: Path, need: Callable[[str], str]) -> None:
    done = subprocess.run(
        [need("cc"), *STRICT, "-isystem", str(project / "ort"), "-c", str(project / "vae_decoder.c"), "-o", "object.o"],
        cwd=tmp_path,
        check=True,
    )
    assert done.returncode == 0
    symbols = subprocess.run([need("nm"), "object.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    kinds = {line.split()[-2] for line in symbols.splitlines()}
    assert kinds & {"T", "U"} == {"T", "U"}  # the control
    assert not kinds & set("BbDCG")  # d: constants that point at others, as `static const char *const` does


def test_the_header_is_one_for_cpp_too(project: Path, need: Callable[[str], str]) -> None:
    command = [need("g++"), "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c++"]
    done = subprocess.run([*command, str(project / "vae_decoder.h")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cmake_builds_it_and_ctest_replays_the_goldens(
    project: Path, tmp_path: Path, need: Callable[[str], str]
) -> None:
    for command in (
        [need("cmake"), "-S", str(project), "-B", "build", f"-DORT_HOME={WHEEL}"],
        ["cmake", "--build", "build"],
        ["ctest", "--test-dir", "build", "--output-on-failure"],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "100% tests passed" in done.stdout


@pytest.mark.slow
def test_it_is_clean_under_valgrind(small_bundle: Path, make: Make, tmp_path: Path, need: Callable[[str], str]) -> None:
    need("valgrind")
    folder = embed("c", small_bundle, tmp_path / "project")
    done = make(folder, "valgrind")
    assert done.returncode == 0, done.stdout + done.stderr
    # The control: an error of our own is seen.
    decoder = folder / "vae_decoder.c"
    decoder.write_text(decoder.read_text().replace("    free(decoder);\n", ""))
    done = make(folder, "valgrind")
    assert done.returncode != 0
    assert "definitely lost" in done.stderr
