"""`vaekit embed --io uint8`: python, c and node give and take the pixels that vaekit does, and prove it.

The model's height, width and channels all differ, so that a mistaken layout is seen. Expected pixels come from `vaekit.load`
with ``io="uint8"``, whose graphs other tests hold against torch. Its int8 graphs overflow on x86 processors without VNNI
where a host does not ask ONNX Runtime for exact sums.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from pixel_models import SHAPE, colour_data, colour_pair
from torch import nn

import vaekit
from vaekit.bundle import Bundle
from vaekit.embedding import TARGETS, embed
from vaekit.embedding.files import items_of, tolerances
from vaekit.errors import BundleError, ConfigError

HERE = Path(__file__).parent
PACKAGES = HERE / "node_modules"
PIXELS = ("python", "c", "node")
"""The targets that take ``io="uint8"``."""

RANGE = (-1.0, 1.0)
"""Of the model's values, which pixels of 0 to 255 stand for."""

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives a small colour model with app-ready graphs of fp32 and int8, by layout; each is exported once."""
    from vaekit.exporting import Gate, export_bundle

    @functools.cache
    def bundle(layout: str) -> Path:
        written = export_bundle(
            colour_pair(RANGE),
            tmp_path_factory.mktemp("pixels") / "colours",
            data=colour_data(RANGE),
            precisions=("int8",),
            gate=Gate(max_delta_elbo=1e9, min_gain=0.0),
            calibration_items=64,
            io="uint8",
            layout=layout,  # type: ignore[arg-type]
        )
        assert set(written.manifest.precisions) == {"fp32", "int8"}
        return written.path

    return bundle


@pytest.fixture(scope="module", params=["nhwc", "nchw"])
def bundle(request: pytest.FixtureRequest, bundles: Callable[[str], Path]) -> Path:
    """One of them."""
    return bundles(request.param)


@pytest.fixture(scope="module")
def vae(bundle: Path) -> vaekit.VAE:
    """What the projects are held to."""
    return vaekit.load(bundle, provider="cpu", threads=1, io="uint8")


class Project:
    """A written project of one target, ready to run.

    Attributes:
        folder: Where it is.
        golden: Its golden vectors.
    """

    def __init__(self, target: str, bundle: Path, folder: Path, precision: str, tools: Tools) -> None:
        self.target, self.folder, self.tools = (
            target,
            embed(target, bundle, folder, precision=precision, io="uint8"),
            tools,
        )
        self.golden = self.folder / ("model/golden" if target == "node" else "golden")
        if target == "node":
            (self.folder / "node_modules").symlink_to(PACKAGES)
        if target == "c":
            done = tools.make(self.folder)
            assert done.returncode == 0, done.stderr

    def self_test(self) -> subprocess.CompletedProcess[str]:
        if self.target == "node":
            self.restate()
        command = {
            "python": [sys.executable, "vae_model.py", "--self-test"],
            "c": ["build/self_test"],
            "node": ["node", "self-test.js"],
        }[self.target]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def restate(self) -> None:
        """State the golden files' hashes anew, so that only their numbers can be wrong."""
        path = self.folder / "model" / "model.json"
        index = json.loads(path.read_text())
        for name in index["files"]:
            content = (path.parent / name).read_bytes()
            index["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        path.write_text(json.dumps(index))

    def run(self, *command: str) -> bytes:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def python(self, code: str) -> bytes:
        head = "import sys; sys.modules['vaekit'] = None\nimport numpy as np\nfrom vae_model import *\n"
        head += "put = sys.stdout.buffer.write\n"
        return self.run(sys.executable, "-c", head + code)

    def node(self, code: str) -> bytes:
        head = (
            "import { writeSync } from 'node:fs'; import * as vae from './index.js'; const model = await vae.open();\n"
        )
        head += (
            "const put = (array) => writeSync(1, new Uint8Array(array.buffer, array.byteOffset, array.byteLength));\n"
        )
        return self.run("node", "--input-type=module", "-e", head + code)

    def sample(self, seeds: range) -> bytes:
        """The first item of each seed, in bytes."""
        if self.target == "python":
            return self.python(f"for s in range({seeds.start}, {seeds.stop}): put(Model().sample(1, seed=s).tobytes())")
        if self.target == "node":
            return self.node(
                f"for (let seed = {seeds.start}; seed < {seeds.stop}; seed++) put(await model.sample(1, {{ seed }}));"
            )
        program, library = self.folder / "build" / "conformance", self.folder / "build" / "lib" / "libonnxruntime.so.1"
        flags = [
            "-std=c11",
            "-O1",
            "-ffp-contract=off",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-DITEM=uint8_t",
            "-I.",
        ]
        sources = ["-isystem", "ort", str(HERE / "conformance.c"), "vae_decoder.c", str(library)]
        self.run("cc", *flags, "-o", str(program), *sources, f"-Wl,-rpath,{library.parent}", "-lm")
        return self.run(str(program), "items", "decoder.onnx", str(seeds.start), str(len(seeds)))


class Tools:
    """What the targets need, asked for when one is used."""

    def __init__(self, request: pytest.FixtureRequest, unavailable: Callable[[str], NoReturn]) -> None:
        self._request, self._unavailable = request, unavailable

    def make(self, folder: Path) -> subprocess.CompletedProcess[str]:
        make: Make = self._request.getfixturevalue("make")
        return make(folder)

    def check(self, target: str) -> None:
        """Skip, or in CI fail, where a tool is missing."""
        if target == "node":
            self._request.getfixturevalue("need")("node")
            if not (PACKAGES / "onnxruntime-node").is_dir():
                self._unavailable("the npm packages of the tests are missing; run `make browser-tools`")


@pytest.fixture(scope="module", params=PIXELS)
def project(
    request: pytest.FixtureRequest,
    bundle: Path,
    unavailable: Callable[[str], NoReturn],
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    """The model in fp32, as a project of each target."""
    tools = Tools(request, unavailable)
    tools.check(request.param)
    return Project(request.param, bundle, tmp_path_factory.mktemp(request.param) / "project", "fp32", tools)


@pytest.fixture
def copy(project: Project, tmp_path: Path) -> Project:
    """A project that a test may damage."""
    other = Project.__new__(Project)
    other.target, other.tools = project.target, project.tools
    other.folder = Path(shutil.copytree(project.folder, tmp_path / "copy", symlinks=True))
    other.golden = other.folder / project.golden.relative_to(project.folder)
    return other


# --- The same pixels as Python's ------------------------------------------------------------------------------------


def test_pixels_of_seeds_0_to_99_are_those_of_vaekit(project: Project, vae: vaekit.VAE) -> None:
    expected = np.concatenate([vae.sample(1, seed=seed) for seed in range(100)])
    found = np.frombuffer(project.sample(range(100)), np.uint8).reshape(expected.shape)
    gap = np.abs(found.astype(int) - expected)
    assert gap.max() <= 1
    assert gap.mean() < 1e-3
    assert set(expected.shape[1:]) == set(SHAPE)
    assert len(np.unique(expected)) > 200  # the control: pixels of many levels


@pytest.fixture
def embedded(
    tmp_path: Path, request: pytest.FixtureRequest, unavailable: Callable[[str], NoReturn]
) -> Callable[[str, Path, str], Project]:
    """Write a project of a target, a bundle and a precision."""

    def write(target: str, bundle: Path, precision: str) -> Project:
        tools = Tools(request, unavailable)
        tools.check(target)
        return Project(target, bundle, tmp_path / "project", precision, tools)

    return write


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("target", PIXELS)
def test_the_self_test_replays_the_golden_pixels(
    target: str, precision: str, bundle: Path, embedded: Callable[[str, Path, str], Project]
) -> None:
    project = embedded(target, bundle, precision)
    done = project.self_test()
    assert done.returncode == 0, done.stdout + done.stderr
    opened = Bundle.open(bundle)
    decoder = project.folder / ("model/decoder.onnx" if target == "node" else "decoder.onnx")
    assert decoder.read_bytes() == opened.graph("decoder", precision, io="uint8")
    assert (project.golden / "x_hat.u8").read_bytes() == opened.golden("uint8").x_hat.tobytes()


@pytest.fixture(scope="module")
def middle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose means are all 1/2, the middle between levels 127 and 128: rounding may give either, in every pixel."""
    from vaekit.exporting import Gate, export_bundle

    pair = colour_pair()
    with torch.no_grad():
        for parameter in next(
            layer for layer in reversed(list(pair.decoder)) if isinstance(layer, nn.Linear)
        ).parameters():
            parameter.zero_()
    gate = Gate(max_delta_elbo=1e9, min_gain=0.0)
    folder = tmp_path_factory.mktemp("middle") / "middle"
    made = export_bundle(
        pair, folder, data=colour_data(), precisions=("int8",), gate=gate, calibration_items=64, io="uint8"
    )
    return made.path


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("target", PIXELS)
def test_either_level_is_right_for_values_between_two(
    target: str, precision: str, middle: Path, embedded: Callable[[str, Path, str], Project]
) -> None:
    project = embedded(target, middle, precision)
    session = vaekit.load(middle, provider="cpu", threads=1, precision=precision, io="uint8")
    golden = session.bundle.golden("uint8")
    assert (session.bundle.golden().x_hat == 0.5).all()
    assert all(deviation.passed for deviation in vaekit.verify_bundle(session.bundle, session))
    for level in (127, 128):
        np.full(golden.x_hat.size, level, np.uint8).tofile(project.golden / "x_hat.u8")
        done = project.self_test()
        assert done.returncode == 0, done.stdout + done.stderr
    np.full(golden.x_hat.size, 124, np.uint8).tofile(project.golden / "x_hat.u8")
    assert project.self_test().returncode == 1  # the control


def test_python_and_node_encode_pixels_as_vaekit_does(bundle: Path, vae: vaekit.VAE, copy: Project) -> None:
    u = Bundle.open(bundle).golden("uint8").x
    assert u.dtype == np.uint8
    if copy.target == "c":
        assert not (copy.folder / "encoder.onnx").exists()  # the target c has a decoder alone
        return
    (copy.folder / "u").write_bytes(u.tobytes())
    if copy.target == "python":
        code = f"mean, log_var = Model().encode(np.fromfile('u', np.uint8).reshape({u.shape}))\n"
        code += "put(mean.tobytes() + log_var.tobytes())"
        numbers = copy.python(code)
    else:
        code = (
            "import { readFileSync } from 'node:fs'; const p = await model.encode(new Uint8Array(readFileSync('u')));"
        )
        numbers = copy.node(code + "put(p.mean); put(p.logVar);")
    found = np.frombuffer(numbers, "<f4").reshape(2, len(u), -1)
    posterior = vae.encode(u)
    np.testing.assert_allclose(found, [posterior.mean, posterior.log_var], rtol=0, atol=1e-5)


# --- The self-test fails when it should -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("x_hat.u8", lambda u: u.__setitem__(-7, (int(u[-7]) + 128) % 256), r"TOO FAR|FAILED  decode, batch 7"),
        # one level on every eighth pixel: each alone would pass
        (
            "x_hat.u8",
            lambda u: u.__setitem__(slice(None, None, 8), u[::8] ^ 1),
            r"mean.* TOO FAR|FAILED  decode, mean deviation",
        ),
        ("x.u8", lambda u: u.__setitem__(slice(180), 255 - u[:180]), r"encode mean.* TOO FAR|FAILED  encode mean"),
        ("eps.f32", lambda u: u.__setitem__(400, u[400] ^ 1), r"noise.* TOO FAR|FAILED  noise"),
    ],
    ids=["a pixel", "many levels by one", "an item", "a bit of the noise"],
)
def test_the_self_test_fails_when_golden_vectors_lie(
    name: str, change: Callable[[np.ndarray], Any], words: str, copy: Project
) -> None:
    if copy.target == "c" and name == "x.u8":
        assert not (copy.golden / name).exists()
        return
    values = np.fromfile(copy.golden / name, np.uint8)
    change(values)
    values.tofile(copy.golden / name)
    done = copy.self_test()
    assert done.returncode == 1
    assert re.search(words, done.stdout), done.stdout


# --- What a host meets ----------------------------------------------------------------------------------------------


def test_float_values_are_refused_in_words(project: Project) -> None:
    if project.target == "python":
        code = "try: Model().encode(np.zeros((2, *SHAPE), np.float32))\nexcept ValueError as error: print(error)"
        said = project.python(code).decode()
        assert re.match(r"x is float32 of shape \(2, .*; the model takes uint8, \(N, ", said)
    elif project.target == "node":
        code = "try { await model.encode(new Float32Array(180)); } catch (error) { console.log(`${error}`); }"
        assert project.node(code).decode() == "TypeError: x: give a Uint8Array, N rows of 180 values\n"
    else:  # the compiler's work
        assert "size_t count, uint8_t *x_hat, vae_error *error);" in (project.folder / "vae_decoder.h").read_text()


def test_the_demo_shows_the_item_in_its_layout(project: Project, vae: vaekit.VAE, bundle: Path) -> None:
    item = vae.sample(1, seed=7)[0]
    grey = item.mean(axis=items_of(Bundle.open(bundle).manifest, "uint8").layout.index("C")) / 255
    if project.target == "node":  # two rows of pixels in a line, by their luminance
        shown = project.run("node", "demo.js", "7").decode().splitlines()
        assert (len(shown), max(map(len, shown))) == (3, 10)
        return
    command = [sys.executable, "vae_model.py", "--sample", "1", "--seed", "7"]
    shown = project.run(*(command if project.target == "python" else ["build/demo"])).decode().splitlines()
    shades = [[" .:-=+*#%@".index(character) for character in line[::2]] for line in shown]
    np.testing.assert_allclose(shades, 9 * grey, atol=0.51)


def test_types_of_node_say_uint8array(project: Project) -> None:
    if project.target != "node":
        return
    types = (project.folder / "index.d.ts").read_text()
    assert "encode(x: Uint8Array): Promise<Posterior>;" in types
    assert "decode(z: Float32Array): Promise<Uint8Array>;" in types
    assert "sample(count?: number, stream?: Stream): Promise<Uint8Array>;" in types


@pytest.mark.parametrize("target", sorted(set(TARGETS) - set(PIXELS)))
def test_other_targets_refuse_it_in_one_line(target: str, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=f"^the target {target} has no option --io, unlike python, c, node; leave it out.$"
    ):
        embed(target, bundle, tmp_path / "project", io="uint8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", PIXELS)
def test_a_bundle_without_such_graphs_and_an_unknown_io_are_refused(
    target: str, small_bundle: Path, tmp_path: Path
) -> None:
    for source in (small_bundle, Bundle.open(small_bundle)):
        with pytest.raises(
            BundleError, match=r"has graphs for float32 alone; export it again with `vaekit export --io uint8`"
        ):
            embed(target, source, tmp_path / "project", io="uint8")
        with pytest.raises(ConfigError, match="io='int4' is unknown; choose one of float32, uint8"):
            embed(target, source, tmp_path / "project", io="int4")
    assert list(tmp_path.iterdir()) == []


def test_the_marker_says_io(bundle: Path, tmp_path: Path) -> None:
    folder = embed("python", bundle, tmp_path / "project", io="uint8")
    assert json.loads((folder / "vaekit-embed.json").read_text())["io"] == "uint8"


# --- What is written about them -------------------------------------------------------------------------------------


def test_tolerances_are_in_grey_levels(bundle: Path) -> None:
    manifest, plain = Bundle.open(bundle).manifest, Bundle.open(bundle).golden().x_hat
    found = tolerances(manifest, io="uint8", plain=plain)
    step = 255 / (RANGE[1] - RANGE[0])  # grey levels a unit
    limit = manifest.tolerances["cpu"]
    levels = [step * (float(value) - RANGE[0]) for value in plain.ravel()]
    between = sum(abs(level - math.floor(level) - 0.5) <= step * limit for level in levels) / len(levels)
    assert 0 < between < 0.01
    assert found == pytest.approx(
        {
            "encoder": limit,
            **dict.fromkeys(("decoder", "round_trip"), 1),
            **{f"mean_{what}": 0.01 + step * limit + between for what in ("decoder", "round_trip")},
        }
    )
    own = manifest.precisions["int8"].tolerance
    found = tolerances(manifest, precision="int8", io="uint8", plain=plain)
    assert found["decoder"] == 1 + int(step * own["decoder"]) > 1
    assert found["mean_decoder"] == pytest.approx(0.01 + step * own["mean_decoder"] + between)
    assert found["encoder"] == own["encoder"]


def test_items_say_how_they_look(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    assert manifest.pixels is not None
    items = items_of(manifest, "uint8")
    shape = {"nhwc": (6, 10, 3), "nchw": (3, 6, 10)}[manifest.pixels.layout]
    assert items == ("uint8", shape, manifest.pixels.layout[1:].upper(), (0, 255), (0, 255))
    plain = items_of(manifest)
    assert (plain.dtype, plain.shape, plain.layout, plain.takes) == ("float32", SHAPE, "CHW", RANGE)
