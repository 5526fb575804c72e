"""`vaekit embed python`: one file gives Python's numbers without vaekit, and its self-test fails when it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import vaekit
from vaekit.embedding import embed
from vaekit.noise import _box_muller as box_muller
from vaekit.noise import noise
from vaekit.runtime.verify import difference

LAST = 2**64 - 1
ALONE = "import sys; sys.modules['vaekit'] = None; sys.modules['torch'] = None; sys.path.insert(0, '.')\n"
"""A program's first line: an import of vaekit or torch would fail."""


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def arrays(folder: Path, code: str) -> bytes:
    """What a program beside vae_model.py writes to standard output."""
    program = f"{ALONE}from vae_model import *\nimport numpy as np\n{code}"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_nothing_is_left_in_the_home_folder(project: Path, at_home: dict[str, str]) -> None:
    command = [sys.executable, "vae_model.py", "--self-test"]
    done = subprocess.run(command, cwd=project, env=at_home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not any(Path(at_home["HOME"]).iterdir())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model in one Python file."""
    return embed("python", None, tmp_path_factory.mktemp("python") / "mnist")


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """A project that a test may damage."""
    return Path(shutil.copytree(project, tmp_path / "copy"))


@pytest.mark.parametrize(("seed", "start"), [(0, 0), (7, 2**32 - 9), (LAST, 2**64 - 5003)])
def test_the_noise_is_the_same_bits_on_more_than_100_000_values(project: Path, seed: int, start: int) -> None:
    eps = noise(seed=seed, count=5003, dim=21, start=start)
    assert eps.size > 100_000
    assert arrays(project, f"sys.stdout.buffer.write(noise({seed}, 5003, 21, {start}).tobytes())") == eps.tobytes()


def test_the_doubles_have_pythons_bits_before_they_are_rounded(project: Path) -> None:
    words = np.random.default_rng(2).integers(0, LAST, (20_000, 2), np.uint64, endpoint=True)
    u1, u2 = ((words[:, 0] >> 11) + 1) * 2.0**-53, (words[:, 1] >> 11) * 2.0**-53
    np.save(project.parent / "uniforms.npy", [u1, u2])
    code = (
        "u1, u2 = np.load('../uniforms.npy')\n"
        "radius, (cos, sin) = np.sqrt(-2.0 * natural_log(u1)), cos_sin_of_turns(u2)\n"
        "sys.stdout.buffer.write(np.stack([radius * cos, radius * sin]).tobytes())"
    )
    assert arrays(project, code) == np.stack(box_muller(words[:, 0], words[:, 1])).tobytes()


def test_images_of_100_seeds_are_those_of_vaekit(project: Path) -> None:
    code = "model = Model()\nfor s in range(100): sys.stdout.buffer.write(model.sample(1, seed=s).tobytes())"
    found = np.frombuffer(arrays(project, code), np.float32).reshape(100, 1, 28, 28)
    vae = vaekit.load(provider="cpu", threads=1)
    expected = np.concatenate([vae.sample(1, seed=seed) for seed in range(100)])
    assert difference(found, expected) <= vae.manifest.tolerances["cpu"]
    assert expected.std() > 0.1  # the control: pictures, not a constant


@pytest.mark.parametrize("name", ["small_bundle", "ae_bundle", "gaussian_bundle", "table_bundle", "conv_bundle"])
def test_every_kind_of_model_passes_its_self_test_and_samples_as_vaekit_does(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(name)
    folder = embed("python", bundle, tmp_path / "project")
    done = call(folder, "vae_model.py", "--self-test")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r": all \d+ within tolerance\n$", done.stdout)
    vae = vaekit.load(bundle, provider="cpu", threads=1)
    code = (
        "m = Model(); x = m.sample(9, seed=5, start=3); mean, log_var = m.encode(x)\n"
        "sys.stdout.buffer.write(x.tobytes() + m.decode(reparameterise(mean, log_var, seed=8)).tobytes())"
    )
    x, x_hat = np.frombuffer(arrays(folder, code), np.float32).reshape(2, 9, *vae.spec.data.shape)
    units = None if vae.spec.data.range else vae.spec.data.units
    assert difference(x, vae.sample(9, seed=5, start=3), units=units) <= 1e-5
    assert difference(x_hat, vae.reconstruct(x.copy(), seed=8), units=units) <= 1e-5


def test_a_reader_that_has_seen_enough_ends_it_quietly(project: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "vae_model.py", "--sample", "2000"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.read(100)
        done.stdout.close()
        assert done.stderr.read() == b""
    assert done.returncode == 1


def test_samples_are_shown_as_shades_or_as_numbers(project: Path, gaussian_bundle: Path, tmp_path: Path) -> None:
    shown = call(project, "vae_model.py", "--sample", "2", "--seed", "7").stdout.splitlines()
    assert [len(line) for line in shown] == [56] * 56
    assert len(set("".join(shown))) >= 6
    folder = embed("python", gaussian_bundle, tmp_path / "project")
    (line,) = call(folder, "vae_model.py", "--sample", "1", "--seed", "3").stdout.splitlines()
    expected = vaekit.load(gaussian_bundle, provider="cpu", threads=1).sample(1, seed=3)[0]
    assert [float(word) for word in line.split()] == pytest.approx(expected, rel=6e-3)


def test_without_an_option_it_says_what_it_can_do(project: Path) -> None:
    done = call(project, "vae_model.py")
    assert done.returncode == 2
    assert "--self-test" in done.stdout


def test_wrong_arrays_are_refused_in_words(project: Path) -> None:
    code = """
model = Model()
wrong = [(model.decode, np.zeros((1, 20))), (model.decode, np.zeros((1, 19), np.float32)),
         (model.decode, np.full((1, 20), np.nan, np.float32)), (model.decode, [[0.0] * 20]),
         (model.encode, np.full((1, 1, 28, 28), 2, np.float32))]
for call, array in wrong:
    try: call(array)
    except ValueError as error: print(error)
"""
    double, narrow, nan, listed, wide = arrays(project, code).decode().splitlines()
    assert double == "z is float64 of shape (1, 20); the model takes float32, (N, 20)"
    assert narrow.startswith("z is float32 of shape (1, 19)")
    assert nan == "z holds a NaN or an infinity; the model takes finite numbers"
    assert listed == "z is a list; give a NumPy array, float32 of shape (N, 20)"
    assert wide == "x has values from 2 to 2; the model takes 0 to 1"


def test_numbers_that_are_no_seed_count_or_start_are_refused_by_vaekits_own_rules(project: Path) -> None:
    code = """
calls = [dict(count=1, seed=1.5), dict(count=1, seed=True), dict(count=1, seed=-1), dict(count=1, seed=2**64),
         dict(count=-1, seed=0), dict(count=1, seed=0, start=-1), dict(count=2, seed=0, start=2**64 - 1)]
model = Model()
for given in calls:
    try: print(model.sample(**given))
    except ValueError as error: print(error)
print(model.sample(np.uint8(2), seed=np.int64(3)).shape, model.sample(1, seed=2**64 - 1, start=2**64 - 1).shape)
"""
    lines = arrays(project, code).decode().splitlines()
    given = [(1, 1.5, 0), (1, True, 0), (1, -1, 0), (1, 2**64, 0), (-1, 0, 0), (1, 0, -1), (2, 0, 2**64 - 1)]
    for line, (count, seed, start) in zip(lines[:-1], given, strict=True):
        with pytest.raises(vaekit.errors.ConfigError) as refused:
            noise(seed=seed, count=count, dim=20, start=start)  # type: ignore[arg-type]
        assert line.split()[:5] == str(refused.value).split()[:5]
    assert lines[-1] == "(2, 1, 28, 28) (1, 1, 28, 28)"


def test_numbers_out_of_range_are_said_on_the_command_line(project: Path) -> None:
    code = f"""
sys.stderr = sys.stdout
for line in ("--sample -1", "--sample 0", "--sample 1 --seed -1", "--sample 1 --seed {2**64}", "--self-test --seed -1"):
    sys.argv = ["vae_model.py", *line.split()]
    try: main()
    except SystemExit as end: print(end.code)
"""
    lines = [line for line in arrays(project, code).decode().splitlines() if not line.startswith("usage: ")]
    words = ["--sample -1: give 1 or more", "--sample 0: give 1 or more"]
    words += [f"--seed {seed}: give a whole number from 0 to 2^64 - 1" for seed in (-1, 2**64, -1)]
    assert lines == [line for word in words for line in (f"vae_model.py: error: {word}", "2")]


def test_more_samples_than_one_call_are_those_of_vaekit(gaussian_bundle: Path, tmp_path: Path) -> None:
    folder = embed("python", gaussian_bundle, tmp_path / "project")
    lines = call(folder, "vae_model.py", "--sample", "130", "--seed", "3").stdout.splitlines()
    shown = [[float(word) for word in line.split()] for line in lines]
    expected = vaekit.load(gaussian_bundle, provider="cpu", threads=1).sample(130, seed=3)
    np.testing.assert_allclose(shown, expected, rtol=6e-3)


@pytest.mark.parametrize(
    ("name", "cut"),
    [("decoder.onnx", False), ("decoder.onnx", True), ("golden/golden.json", False), ("golden/z.f32", True)],
)
def test_a_file_that_is_missing_or_cut_is_said_in_one_line(copy: Path, name: str, cut: bool) -> None:
    if cut:
        (copy / name).write_bytes((copy / name).read_bytes()[:-100])
    else:
        (copy / name).unlink()
    done = call(copy, "vae_model.py", "--self-test")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mnist: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["small_bundle", "ae_bundle"])
def test_the_mean_deviation_of_each_output_is_compared_by_itself(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = embed("python", request.getfixturevalue(name), tmp_path / "project")
    index = json.loads((folder / "golden" / "golden.json").read_text())
    (np.fromfile(folder / "golden" / "mean.f32", "<f4") + np.float32(0.01)).tofile(folder / "golden" / "mean.f32")
    index["latent_tolerance"] = index["tolerances"]["encoder"] = 0.1
    index["tolerances"]["mean_encoder"] = 0.007  # half of 0.01 is within it, as if log_var counted too
    (folder / "golden" / "golden.json").write_text(json.dumps(index))
    done = call(folder, "vae_model.py", "--self-test")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "TOO FAR" in line]
    assert line.startswith("encode mean, mean deviation ")


@pytest.mark.parametrize("name", ["x", "mean", "log_var", "eps", "z", "x_hat"])
def test_the_self_test_fails_when_one_golden_number_is_changed(copy: Path, name: str) -> None:
    file = copy / "golden" / f"{name}.f32"
    values = np.fromfile(file, "<f4")
    values[len(values) // 2] += 0.25 if name == "x" else 0.01
    values.tofile(file)
    done = call(copy, "vae_model.py", "--self-test")
    assert done.returncode == 1
    assert "TOO FAR" in done.stdout


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_the_self_test_fails_when_one_weight_is_changed(copy: Path, half: str) -> None:
    model = onnx.load(copy / f"{half}.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("bias"))
    values = numpy_helper.to_array(bias).copy()
    values[3] += 0.05
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    onnx.save(model, copy / f"{half}.onnx")
    assert call(copy, "vae_model.py", "--self-test").returncode == 1


def test_the_self_test_fails_on_a_nan(copy: Path, gaussian_bundle: Path, tmp_path: Path) -> None:
    for folder in (copy, embed("python", gaussian_bundle, tmp_path / "unbounded")):
        values = np.fromfile(folder / "golden" / "x_hat.f32", "<f4")
        values[0] = np.nan
        values.tofile(folder / "golden" / "x_hat.f32")
        assert call(folder, "vae_model.py", "--self-test").returncode == 1


def test_the_written_file_passes_the_linter(project: Path, ae_bundle: Path, tmp_path: Path) -> None:
    ae = embed("python", ae_bundle, tmp_path / "ae")
    for folder in (project, ae):
        rules = [
            "--isolated",
            "--line-length",
            "128",
            "--select",
            "E,F,I,B,UP,SIM,RET,C4,PIE",
            "--target-version",
            "py311",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", *rules, str(folder / "vae_model.py")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_golden_json_states_what_a_reader_needs(project: Path, table_bundle: Path, tmp_path: Path) -> None:
    index = json.loads((project / "golden" / "golden.json").read_text())
    assert (index["items"], index["seed"], index["units"]) == (64, "0", None)
    assert index["tolerances"] == {"encoder": 1e-5, "decoder": 1e-5, "round_trip": 1e-5}
    assert index["arrays"]["x_hat"] == {"file": "x_hat.f32", "dtype": "float32", "shape": [64, 1, 28, 28]}
    assert (project / "golden" / "x_hat.f32").stat().st_size == 64 * 784 * 4
    index = json.loads((embed("python", table_bundle, tmp_path / "t") / "golden" / "golden.json").read_text())
    features = vaekit.Bundle.open(table_bundle).manifest.spec.data.features
    assert index["units"] == [feature.scale for feature in features]
    assert index["rounding"] == 2.0**-21
