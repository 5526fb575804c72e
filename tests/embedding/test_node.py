"""`vaekit embed node`: the module gives Python's numbers, its types are right, and its self-test fails when it should.

`make browser-tools` installs the npm packages that these tests need.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

import vaekit
from vaekit.embedding import embed
from vaekit.embedding.node import ONNXRUNTIME_NODE
from vaekit.embedding.ortweb import VERSION as ORT_WEB
from vaekit.noise import noise
from vaekit.runtime.verify import difference, verify_bundle

HERE = Path(__file__).parent
PACKAGES = HERE / "node_modules"
LAST = 2**64 - 1

Floats = NDArray[np.float32]
RunJs = Callable[..., bytes]


@pytest.fixture(scope="module")
def node(unavailable: Callable[[str], NoReturn]) -> str:
    path = shutil.which("node")
    if path is None:
        unavailable("node is not on PATH")
    if not (PACKAGES / "onnxruntime-node").is_dir():
        unavailable("the npm packages of the tests are missing; run `make browser-tools`")
    return str(path)


def project_of(bundle: Path | None, folder: Path) -> Path:
    embed("node", bundle, folder)
    (folder / "node_modules").symlink_to(PACKAGES)
    return folder


@pytest.fixture(scope="module")
def project(node: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model as a Node project."""
    del node
    return project_of(None, tmp_path_factory.mktemp("node") / "mnist")


def test_nothing_is_left_in_the_home_folder(node: str, project: Path, at_home: dict[str, str]) -> None:
    done = subprocess.run([node, "demo.js", "7"], cwd=project, env=at_home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not any(Path(at_home["HOME"]).iterdir())


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """A project that a test may damage."""
    return Path(shutil.copytree(project, tmp_path / "copy", symlinks=True))


def call(node: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([node, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def js(node: str, project: Path) -> RunJs:
    """Return ``js(source, folder=project) -> bytes``: what a module in the project's folder writes with `send(array)`."""

    def run(source: str, folder: Path = project) -> bytes:
        head = (
            "import { writeSync } from 'node:fs';\n"
            "import * as vae from './index.js';\n"
            "function send(array) {\n"
            "  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);\n"
            "  for (let sent = 0; sent < bytes.length; ) sent += writeSync(1, bytes, sent);\n"
            "}\n"
            "const send_json = (value) => send(new TextEncoder().encode(JSON.stringify(value)));\n"
        )
        done = subprocess.run(
            [node, "--input-type=module", "-e", head + source], cwd=folder, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


# --- The same numbers as Python's -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "start"), [(0, 0), (7, 2**32 - 9), (LAST, 2**64 - 5003)])
def test_noise_has_pythons_bits_on_more_than_100_000_values(js: RunJs, seed: int, start: int) -> None:
    expected = noise(seed=seed, count=5003, dim=21, start=start)
    assert expected.size > 100_000
    assert js(f"send(vae.noise({seed}n, 5003, 21, {start}n));") == expected.astype("<f4").tobytes()


def test_doubles_have_pythons_bits_before_they_are_rounded(js: RunJs, tmp_path: Path) -> None:
    # An engine's own logarithm moves the last bits of many doubles, but hardly one float32 in 10^8.
    words = np.random.default_rng(3).integers(0, 2**64, size=(10_000, 2), dtype=np.uint64)
    words[:2] = [[2**64 - 1, 0], [0, 2**63]]  # the smallest radius and the largest
    module = importlib.import_module("vaekit.noise")  # the package has a function of this name too
    expected = np.stack(module._box_muller(words[:, 0], words[:, 1]), axis=-1)
    (tmp_path / "words").write_bytes(words.astype("<u8").tobytes())
    source = (
        "import { readFileSync } from 'node:fs'; import { boxMuller } from './lib/noise.js';"
        f"const words = new BigUint64Array(readFileSync({json.dumps(str(tmp_path / 'words'))}).buffer.slice(0));"
        "const doubles = new Float64Array(words.length);"
        "for (let i = 0; i < words.length; i += 2) doubles.set(boxMuller(words[i], words[i + 1]), i);"
        "send(doubles);"
    )
    assert js(source) == expected.astype("<f8").tobytes()


def test_images_of_seeds_0_to_99_are_pythons(js: RunJs) -> None:
    python = vaekit.load(provider="cpu", threads=1)
    source = "const m = await vae.open(); for (let seed = 0; seed < 100; seed++) send(await m.sample(1, { seed }));"
    images = np.frombuffer(js(source), "<f4").reshape(100, 1, 28, 28)
    expected = np.concatenate([python.sample(1, seed=seed) for seed in range(100)])
    assert difference(images, expected) <= python.manifest.tolerances["cpu"]
    assert np.abs(expected[0] - expected[1]).max() > 0.5  # the control: seeds differ


def test_an_item_does_not_depend_on_its_batch(js: RunJs) -> None:
    # 256 codes go through the decoder at once, so that rows 255 and 256 are in two calls.
    source = (
        "const m = await vae.open(); send(await m.sample(300, { seed: 5, start: 40 }));"
        "for (const row of [0, 255, 256, 257, 299]) send(await m.sample(1, { seed: 5, start: 40 + row }));"
    )
    rows = np.frombuffer(js(source), "<f4").reshape(305, 784)
    np.testing.assert_allclose(rows[[0, 255, 256, 257, 299]], rows[300:], atol=1e-6)


def test_posterior_codes_and_reconstructions_are_pythons(js: RunJs) -> None:
    python = vaekit.load(provider="cpu", threads=1)
    golden = python.bundle.golden()
    source = (
        "import { readFileSync } from 'node:fs';"
        "const m = await vae.open(); const x = new Float32Array(readFileSync('model/golden/x.f32').buffer.slice(0));"
        "const posterior = await m.encode(x); send(posterior.mean); send(posterior.logVar);"
        "send(m.reparameterise(posterior, { seed: 11, start: 3 })); send(await m.reconstruct(x));"
    )
    numbers = np.frombuffer(js(source), "<f4")
    mean, log_var, z = numbers[: 3 * 64 * 20].reshape(3, 64, 20)
    posterior = python.encode(golden.x)
    tolerance = python.manifest.tolerances["cpu"]
    assert difference(mean, posterior.mean) <= tolerance
    assert difference(log_var, posterior.log_var) <= tolerance
    assert difference(z, vaekit.reparameterise(mean, log_var, seed=11, start=3)) <= 1e-6
    assert difference(numbers[3 * 64 * 20 :].reshape(golden.x.shape), python.reconstruct(golden.x)) <= tolerance


def test_samples_of_a_classic_autoencoder_are_pythons(js: RunJs, ae_bundle: Path, tmp_path: Path) -> None:
    folder = project_of(ae_bundle, tmp_path / "ae")
    found = js("const m = await vae.open(); send(await m.sample(9, { seed: 3 }));", folder)
    expected = vaekit.load(ae_bundle, provider="cpu").sample(9, seed=3)
    assert difference(np.frombuffer(found, "<f4").reshape(expected.shape), expected) <= 1e-5


@pytest.mark.parametrize("opposite", [False, True])
def test_a_path_between_two_codes_is_pythons(js: RunJs, opposite: bool) -> None:
    a = noise(seed=1, count=1, dim=20)[0]
    b = -2 * a if opposite else noise(seed=2, count=1, dim=20)[0]
    lists = ", ".join(f"Float32Array.from({code.tolist()})" for code in (a, b))
    found = js(f"for (let i = 0; i < 9; i++) send(vae.interpolate({lists}, i / 8));")
    expected = vaekit.interpolate(a, b, steps=9, path="spherical")
    np.testing.assert_allclose(np.frombuffer(found, "<f4").reshape(9, 20), expected, rtol=1e-6, atol=1e-6)


def test_calls_at_the_same_time_give_what_calls_in_turn_give(js: RunJs) -> None:
    source = (
        "const m = await vae.open(); const seeds = [0, 1, 2, 3, 4, 5, 6, 7];"
        "for (const x of await Promise.all(seeds.map((seed) => m.sample(3, { seed })))) send(x);"
        "for (const seed of seeds) send(await m.sample(3, { seed }));"
    )
    together, in_turn = np.frombuffer(js(source), "<f4").reshape(2, -1)
    np.testing.assert_array_equal(together, in_turn)


@pytest.mark.parametrize("changes", ["none", "some", "nan", "infinity"])
def test_a_deviation_is_measured_as_python_measures_it(js: RunJs, changes: str) -> None:
    rng = np.random.default_rng(5)
    a = (1000 * rng.normal(size=(4, 6))).astype(np.float32)
    b = a.copy()
    units = rng.uniform(0.5, 2, size=6)
    if changes == "some":
        b += rng.normal(size=b.shape).astype(np.float32)
    elif changes == "nan":
        b[2, 3] = np.nan
    elif changes == "infinity":
        a[1, 1] = b[1, 1] = np.inf
    lists = ", ".join(
        "Float32Array.from(["
        + ", ".join(str(v).replace("nan", "NaN").replace("inf", "Infinity") for v in array.ravel())
        + "])"
        for array in (a, b)
    )
    options = f"{{ rounding: 2 ** -21, units: {units.tolist()} }}"
    source = (
        "import { difference } from './lib/replay.js';"
        f"send(Float64Array.of(difference({lists}), difference({lists}, {options})));"
    )
    assert np.frombuffer(js(source), "<f8").tolist() == pytest.approx([difference(a, b), difference(a, b, units=units)])


def test_sha256_without_a_platforms_own_is_that_of_hashlib(js: RunJs) -> None:
    lengths = [*range(131), 1000, 70_001]
    source = (
        "import { sha256InJavaScript } from './lib/sha256.js';"
        f"for (const length of {lengths})"
        "  send(sha256InJavaScript(Uint8Array.from({ length }, (_, i) => (7 * i + length) % 256)));"
    )
    expected = [hashlib.sha256(bytes((7 * i + n) % 256 for i in range(n))).digest() for n in lengths]
    assert js(source) == b"".join(expected)


# --- The self-test --------------------------------------------------------------------------------------------------


def test_self_test_passes(node: str, project: Path) -> None:
    done = call(node, project, "self-test.js")
    assert done.returncode == 0, done.stdout
    # files, noise, codes; mean, log-variance, decoder and round trip at four sizes of a batch
    assert "all 19 checks passed" in done.stdout
    assert len(re.findall("^ok ", done.stdout, re.MULTILINE)) == 3 + 4 * 4


@pytest.mark.parametrize("model", ["ae_bundle", "gaussian_bundle", "table_bundle", "conv_bundle"])
def test_self_test_passes_for_other_models(
    node: str, model: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle = request.getfixturevalue(model)
    done = call(node, project_of(bundle, tmp_path / model), "self-test.js")
    assert done.returncode == 0, done.stdout
    python = vaekit.load(bundle, provider="cpu")
    expected = len(verify_bundle(python.bundle, python)) + 1  # and the files
    assert f"all {expected} checks passed" in done.stdout


@pytest.mark.parametrize(
    "name", ["decoder.onnx", "encoder.onnx", "golden/golden.json", *(f"golden/{a}.f32" for a in ("x", "z", "x_hat"))]
)
def test_self_test_fails_when_one_byte_of_a_file_changes(node: str, copy: Path, name: str) -> None:
    path = copy / "model" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = call(node, copy, "self-test.js")
    assert done.returncode == 1
    assert re.search(rf"FAILED .*{re.escape(name)}", done.stdout)


@pytest.mark.parametrize("name", ["decoder.onnx", "golden/x.f32"])
def test_self_test_fails_when_a_file_is_missing_or_cut(node: str, copy: Path, name: str) -> None:
    path = copy / "model" / name
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    assert call(node, copy, "self-test.js").returncode == 1
    path.unlink()
    done = call(node, copy, "self-test.js")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert done.stderr == ""


def restate(folder: Path, name: str) -> None:
    """State a changed file's new size and hash in model.json, so that only its numbers can give it away."""
    index = json.loads((folder / "model" / "model.json").read_text())
    content = (folder / "model" / name).read_bytes()
    index["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "model" / "model.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("array", "change", "failing"),
    [
        ("x", 0.5, ["encode mean, batch 1", "encode log_var, batch 7", "round trip, batch 64"]),
        ("mean", 1e-3, ["reparameterise", "encode mean, batch 2"]),
        ("log_var", 1e-3, ["encode log_var, batch 1"]),
        ("eps", 1e-7, ["noise, values with other bits"]),
        ("z", 1e-2, ["reparameterise", "decode, batch 64"]),
        ("x_hat", 1e-3, ["decode, batch 1", "decode, batch 7", "round trip, batch 64"]),
    ],
)
def test_self_test_measures_golden_vectors_that_lie(
    node: str, copy: Path, array: str, change: float, failing: list[str]
) -> None:
    path = copy / "model" / "golden" / f"{array}.f32"
    values = np.frombuffer(path.read_bytes(), "<f4").copy()
    place = len(values) - 390  # in the last item, which all sizes of a batch must reach; a bright pixel's place in x
    values[place] += np.float32(change)
    path.write_bytes(values.tobytes())
    restate(copy, f"golden/{array}.f32")
    done = call(node, copy, "self-test.js")
    assert done.returncode == 1
    for what in failing:
        assert re.search(rf"^FAILED  {what}", done.stdout, re.MULTILINE), done.stdout
    assert "checks FAILED" in done.stdout


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_self_test_measures_weights_that_lie(node: str, copy: Path, half: str) -> None:
    import onnx

    path = copy / "model" / f"{half}.onnx"
    graph = onnx.load(path)
    largest = max(graph.graph.initializer, key=lambda tensor: tensor.ByteSize())
    weights = onnx.numpy_helper.to_array(largest)
    largest.CopyFrom(onnx.numpy_helper.from_array(weights * np.float32(1.001), largest.name))
    path.write_bytes(graph.SerializeToString())
    restate(copy, f"{half}.onnx")
    done = call(node, copy, "self-test.js")
    assert done.returncode == 1
    what = {"encoder": "encode mean", "decoder": "decode"}[half]
    assert re.search(rf"^FAILED  {what}, batch 7", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize(
    ("compared", "failing"),
    [
        ("encoder", {"encode mean", "encode log_var"}),
        ("decoder", {"decode"}),
        ("round_trip", {"round trip"}),
    ],
)
def test_each_comparison_has_its_own_tolerance(node: str, copy: Path, compared: str, failing: set[str]) -> None:
    path = copy / "model" / "golden" / "golden.json"
    index = json.loads(path.read_text())
    index["tolerances"][compared] = -1  # what nothing can be within
    path.write_text(json.dumps(index))
    restate(copy, "golden/golden.json")
    done = call(node, copy, "self-test.js")
    assert done.returncode == 1
    assert set(re.findall("^FAILED  (.*), batch 2 ", done.stdout, re.MULTILINE)) == failing, done.stdout


@pytest.mark.parametrize(
    ("compared", "failing"),
    [
        ("encoder", {"encode mean", "encode log_var"}),
        ("decoder", {"decode"}),
        ("round_trip", {"round trip"}),
    ],
)
def test_mean_deviations_are_compared_where_the_bundle_states_them(
    node: str, copy: Path, compared: str, failing: set[str]
) -> None:
    path = copy / "model" / "golden" / "golden.json"
    index = json.loads(path.read_text())
    index["tolerances"][f"mean_{compared}"] = -1
    path.write_text(json.dumps(index))
    restate(copy, "golden/golden.json")
    done = call(node, copy, "self-test.js")
    assert done.returncode == 1
    assert set(re.findall("^FAILED  (.*), mean deviation ", done.stdout, re.MULTILINE)) == failing, done.stdout
    assert f"{len(failing)} of {19 + len(failing)} checks FAILED" in done.stdout


def test_another_noise_is_refused(node: str, copy: Path) -> None:
    index = copy / "model" / "model.json"
    index.write_text(index.read_text().replace("splitmix64-boxmuller-1", "splitmix64-boxmuller-2"))
    done = call(node, copy, "self-test.js")
    assert done.returncode == 1
    assert "the model's noise is splitmix64-boxmuller-2, but this code makes splitmix64-boxmuller-1" in done.stdout


# --- What a host meets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call_in_js", "message"),
    [
        ("vae.noise(-1, 1, 2)", "RangeError: seed=-1: give a whole number from 0 to 2^64 - 1"),
        ("vae.noise(0.5, 1, 2)", "RangeError: seed=0.5: give a whole number"),
        ("vae.noise(2 ** 53, 1, 2)", "RangeError: seed=9007199254740992: give a whole number"),
        ("vae.noise('7', 1, 2)", 'RangeError: seed="7" (string): give a whole number from 0 to 2^64 - 1'),
        ("model.sample(1, { seed: null })", "RangeError: seed=null (object): give a whole number from 0 to 2^64 - 1"),
        ("vae.noise(0, '2', 2)", 'RangeError: count="2" (string): give a whole number, 0 or more'),
        ("model.encode(new Float32Array(784).fill(1.5))", "RangeError: x holds 1.5; the model takes 0 to 1"),
        (
            "model.reconstruct(new Float32Array(1568).fill(-0.25, 900))",
            "RangeError: x holds -0.25; the model takes 0 to 1",
        ),
        ("vae.noise(2n ** 64n, 1, 2)", "RangeError: seed=18446744073709551616: give a whole number"),
        ("vae.noise(0, 1, 2, -1)", "RangeError: start=-1: give a whole number"),
        ("vae.noise(0, -1, 2)", "RangeError: count=-1: give a whole number, 0 or more"),
        ("vae.noise(0, 1, 1.5)", "RangeError: dim=1.5: give a whole number, 0 or more"),
        (
            "vae.noise(0, 3, 2, 2n ** 64n - 2n)",
            "RangeError: start=18446744073709551614, count=3: the last index is 2^64 - 1",
        ),
        ("model.encode([0, 1])", "TypeError: x: give a Float32Array, N rows of 784 values"),
        ("model.decode(new Float32Array(21))", "RangeError: z has 21 values; give N rows of 20"),
        (
            "model.decode(new Float32Array(20).fill(NaN))",
            "RangeError: z holds a NaN or an infinity; give finite numbers",
        ),
        (
            "vae.reparameterise({ mean: new Float32Array(4), logVar: new Float32Array(2) }, 2)",
            "RangeError: mean has 4 values and logVar 2; give both as rows of 2",
        ),
        ("vae.interpolate(new Float32Array(2), new Float32Array(3), 0.5)", "RangeError: the codes have 2 and 3 values"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(js: RunJs, call_in_js: str, message: str) -> None:
    source = (
        "const model = await vae.open(); let said = 'nothing was thrown';"
        f"try {{ await ({call_in_js}); }} catch (error) {{ said = `${{error}}`; }} send_json(said);"
    )
    said = json.loads(js(source))
    assert said.startswith(message)
    assert "\n" not in said


def test_an_empty_batch_gives_an_empty_result(js: RunJs) -> None:
    assert js("const m = await vae.open(); send(await m.sample(0)); send(vae.noise(0, 0, 20));") == b""


def test_the_demo_draws_what_python_draws(node: str, project: Path) -> None:
    from rich.console import Console

    from vaekit.cli.pictures import Picture

    console = Console(width=80, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(Picture(vaekit.load(provider="cpu").sample(1, seed=9)))
    expected = captured.get().split("\n")[:14]
    done = call(node, project, "demo.js", "9")
    drawn = done.stdout.split("\n")[:14]
    assert done.returncode == 0
    pairs = [pair for a, b in zip(expected, drawn, strict=True) for pair in zip(a.ljust(28), b.ljust(28), strict=True)]
    assert np.mean([a == b for a, b in pairs]) > 0.97  # Python quantises to 8 bits first
    assert len({character for _, character in pairs}) > 5


def test_the_demo_prints_numbers_where_items_are_no_images(node: str, gaussian_bundle: Path, tmp_path: Path) -> None:
    folder = project_of(gaussian_bundle, tmp_path / "gaussian")
    done = call(node, folder, "demo.js", "3")
    expected = vaekit.load(gaussian_bundle, provider="cpu").sample(1, seed=3)[0]
    found = [float(line.split(": ")[1]) for line in done.stdout.splitlines()]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("arguments", [("minus one",), ("18446744073709551616",), ("7", "8")])
def test_the_demo_refuses_a_seed_that_is_none(node: str, project: Path, arguments: tuple[str, ...]) -> None:
    done = call(node, project, "demo.js", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: node demo.js [SEED], a whole number from 0 to 2^64 - 1\n"


@pytest.mark.parametrize("missing", [True, False])
def test_the_demo_says_in_one_line_which_file_is_missing_or_changed(node: str, copy: Path, missing: bool) -> None:
    path = copy / "model" / "decoder.onnx"
    content = path.read_bytes()
    path.unlink()
    if not missing:
        path.write_bytes(content[:-1] + b"!")
    done = call(node, copy, "demo.js", str(LAST))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("demo: ")
    assert "decoder.onnx" in done.stderr
    assert done.stderr.count("\n") == 1


def test_values_at_the_ends_of_a_range_are_taken_as_float32_has_them(js: RunJs, copy: Path) -> None:
    # 0.3 as a float32 is larger than 0.3: Python compares float32 with float32.
    index = copy / "model" / "model.json"
    content = json.loads(index.read_text())
    content["data"]["range"] = [-0.3, 0.3]
    index.write_text(json.dumps(content))
    source = (
        "const m = await vae.open(); send((await m.encode(new Float32Array(1568).fill(0.3).fill(-0.3, 784))).mean);"
    )
    assert len(js(source, copy)) == 2 * 20 * 4


# --- Types and packages ---------------------------------------------------------------------------------------------

CONSUMER = """
import { open, noise, interpolate, reparameterise, replay, NOISE_VERSION, Model, type Posterior } from "./index.js";

const vae: Model = await open({ threads: 2 });
const items: Float32Array = await vae.sample(16, { seed: 7n, start: 3 });
const posterior: Posterior = await vae.encode(items);
const z: Float32Array = vae.reparameterise(posterior, { seed: 7 });
const again: Float32Array = await vae.decode(interpolate(z, vae.prior(16), 0.5));
const rows: Float32Array = reparameterise(posterior, vae.latent);
for await (const { what, measured, tolerance, passed } of replay(vae)) console.log(what.length + measured + tolerance, !passed);
const shape: readonly number[] = vae.shape;
const kind: "vae" | "ae" = vae.kind;
console.log(noise(7, 2, 3).length, NOISE_VERSION.length, again, rows, shape, kind, await vae.reconstruct(items));
await vae.close();

// @ts-expect-error a seed is no text
noise("7", 1, 2);
// @ts-expect-error a plain array is no Float32Array
vae.decode([1, 2]);
// @ts-expect-error decode gives a promise
const wrong: Float32Array = vae.decode(z);
// @ts-expect-error a model is opened, not made
new Model();
// @ts-expect-error nothing writes the shape
vae.shape = [1];
"""


def test_types_accept_right_code_and_refuse_wrong_code(node: str, copy: Path) -> None:
    (copy / "consumer.ts").write_text(CONSUMER)
    compiler = str(PACKAGES / "typescript" / "bin" / "tsc")
    options = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom", "--module", "nodenext"]
    done = call(node, copy, compiler, *options, "consumer.ts")
    assert done.returncode == 0, done.stdout


def test_the_module_exports_what_its_types_declare(js: RunJs, project: Path) -> None:
    types = (project / "index.d.ts").read_text()
    declared = set(re.findall(r"^export (?:function|class|const) (\w+)", types, re.MULTILINE))
    assert set(json.loads(js("send_json(Object.keys(vae));"))) == declared
    methods = set(re.findall(r"^  (\w+)\(", types, re.MULTILINE)) - {"constructor"}
    properties = set(re.findall(r"^  readonly (\w+):", types, re.MULTILINE))
    source = (
        "const model = await vae.open();"
        "send_json([Object.getOwnPropertyNames(vae.Model.prototype), Object.getOwnPropertyNames(model)]);"
    )
    in_prototype, own = map(set, json.loads(js(source)))
    assert in_prototype - {"constructor", "file"} == methods  # `file` is for replay.js
    assert own - {"about"} == properties


def lock_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "package-lock.json").read_text())["packages"])


def test_every_package_is_pinned_with_its_integrity(tmp_path: Path) -> None:
    folder = embed("node", None, tmp_path / "node")
    package = json.loads((folder / "package.json").read_text())
    locked = lock_of(folder)
    assert package["dependencies"] == locked[""]["dependencies"] == {"onnxruntime-node": ONNXRUNTIME_NODE}
    assert locked[""]["name"] == package["name"] == "vae-mnist"
    assert all(entry["integrity"].startswith("sha512-") for name, entry in locked.items() if name)
    assert (folder / ".npmrc").read_text().splitlines()[-1] == "ignore-scripts=true"


def test_tests_run_the_versions_that_are_pinned_for_users(tmp_path: Path) -> None:
    ours = lock_of(HERE)
    assert ours["node_modules/onnxruntime-node"]["version"] == ONNXRUNTIME_NODE
    assert ours["node_modules/onnxruntime-web"]["version"] == ORT_WEB
    users = lock_of(embed("node", None, tmp_path / "node"))
    for name in ("node_modules/onnxruntime-node", "node_modules/onnxruntime-common"):
        assert users[name]["integrity"] == ours[name]["integrity"]


def test_no_file_names_a_place_in_the_network(tmp_path: Path) -> None:
    folder = embed("node", None, tmp_path / "node")
    for path in folder.rglob("*"):
        if path.suffix in (".js", ".json", ".md", ".ts") or path.name == ".npmrc":
            assert "://" not in path.read_text(), path.name


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_tool_is_a_skip_at_home_and_a_failure_in_ci(
    monkeypatch: pytest.MonkeyPatch, unavailable: Callable[[str], NoReturn], ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no such tool"):
        unavailable("no such tool")
