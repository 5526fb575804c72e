"""Models opened with ``io="uint8"``: pixels in and out are the plain model's, and nothing else is taken for pixels."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from pixel_models import SHAPE, UNIT, colour_data, colour_pair, rounded

import vaekit
from vaekit.bundle import CHECKSUMS, MANIFEST, Bundle, checksums, describe_file, describe_graph
from vaekit.errors import BundleError, ConfigError, ShapeError
from vaekit.exporting import export_bundle
from vaekit.manifest import Manifest
from vaekit.runtime.appio import DIFFERING, Compared, compare, grey_levels, share
from vaekit.runtime.evaluate import evaluate
from vaekit.runtime.vae import negative_elbo_terms
from vaekit.spec import DataSpec

pytestmark = pytest.mark.usefixtures("one_thread")

CPU: dict[str, Any] = {"provider": "cpu", "threads": 1}
BATCHES = [1, 2, 7, 64]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The colour model with pixels in each layout."""
    folder = tmp_path_factory.mktemp("pixels")
    data = colour_data()
    return {
        layout: export_bundle(colour_pair(), folder / layout, data=data, io="uint8", layout=layout).path
        for layout in ("nhwc", "nchw")
    }


@pytest.fixture(scope="module")
def grey(small_pair: Any, small_dataset: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small grey model of 28 x 28 with pixels."""
    return export_bundle(small_pair, tmp_path_factory.mktemp("grey") / "a", data=small_dataset, io="uint8").path


@pytest.fixture(params=["nhwc", "nchw"])
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def vae(bundles: dict[str, Path], layout: str) -> vaekit.VAE:
    return vaekit.load(bundles[layout], io="uint8", **CPU)


@pytest.fixture
def plain(bundles: dict[str, Path], layout: str) -> vaekit.VAE:
    return vaekit.load(bundles[layout], **CPU)


def laid(u: np.ndarray, layout: str) -> np.ndarray:
    """(N, C, H, W) in a layout."""
    return np.ascontiguousarray(u.transpose(0, 2, 3, 1)) if layout == "nhwc" else u


def frames(count: int, seed: int = 0) -> np.ndarray:
    """(N, C, H, W) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def near(found: np.ndarray, x_hat: np.ndarray, layout: str) -> bool:
    """Whether pixels are the plain model's values, rounded, but for a few that stand between two levels."""
    expected = laid(rounded(x_hat), layout)
    assert (found.shape, found.dtype) == (expected.shape, np.uint8)
    gap = np.abs(found.astype(int) - expected)
    return bool(gap.max() <= 1 and np.count_nonzero(gap) <= 1 + gap.size * 1e-3)


def test_everything_takes_and_gives_pixels_of_the_plain_models_values(
    vae: vaekit.VAE, plain: vaekit.VAE, layout: str
) -> None:
    u = frames(9)
    x, given = u / np.float32(255), laid(u, layout)
    assert (vae.io, vae.encoder.io, vae.decoder.io, plain.io) == ("uint8", "uint8", "uint8", "float32")
    for found, expected in zip(vae.encode(given), plain.encode(x), strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)
    z = vaekit.prior(9, 4, seed=1)
    assert near(vae.decode(z), plain.decode(z), layout)
    assert near(vae.sample(300, seed=2), plain.sample(300, seed=2), layout)
    assert near(vae.reconstruct(given), plain.reconstruct(x), layout)
    assert near(vae.reconstruct(given, seed=4), plain.reconstruct(x, seed=4), layout)
    for one in (slice(0, 1), 0):  # with and without the batch's axis
        assert near(vae.morph(given[one], given[8], steps=5), plain.morph(x[one], x[8], steps=5), layout)
    assert near(vae.morph(given[0], given[1], path="spherical"), plain.morph(x[0], x[1], path="spherical"), layout)


def test_each_half_is_to_be_had_alone(bundles: dict[str, Path], vae: vaekit.VAE, layout: str) -> None:
    u, z = laid(frames(3), layout), vaekit.prior(3, 4, seed=0)
    encoder = vaekit.Encoder(bundles[layout], io="uint8", **CPU)
    decoder = vaekit.Decoder(bundles[layout].as_posix(), io="uint8", **CPU)
    np.testing.assert_array_equal(encoder(u).mean, vae.encode(u).mean)
    np.testing.assert_array_equal(decoder(z), vae.decode(z), strict=True)


def test_a_grey_image_has_one_channel(grey: Path) -> None:
    u = np.random.default_rng(3).integers(0, 256, (5, 28, 28, 1)).astype(np.uint8)
    vae, plain = vaekit.load(grey, io="uint8", **CPU), vaekit.load(grey, **CPU)
    x = u.transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_array_equal(vae.encode(u).mean, plain.encode(x).mean)
    assert near(vae.reconstruct(u), plain.reconstruct(x), "nhwc")


def test_a_view_is_read_in_its_own_order(vae: vaekit.VAE, layout: str) -> None:
    u = laid(frames(8), layout)
    mirrored = u[::2, ::-1]
    assert not mirrored.flags.c_contiguous
    np.testing.assert_array_equal(vae.encode(mirrored).mean, vae.encode(mirrored.copy()).mean)


def test_an_empty_batch_gives_empty_results(vae: vaekit.VAE, layout: str) -> None:
    u = laid(frames(1), layout)[:0]
    assert vae.encode(u).mean.shape == (0, 4)
    for nothing in (vae.reconstruct(u), vae.sample(0), vae.decode(vae.prior(0))):
        assert (nothing.shape, nothing.dtype) == (u.shape, np.uint8)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_bound_calls_read_and_write_pixels(bundles: dict[str, Path], layout: str, batch: int, threads: int) -> None:
    model = vaekit.load(bundles[layout], io="uint8", provider="cpu", threads=threads)
    plain = vaekit.load(bundles[layout], **CPU)
    encode, decode = model.encoder.bind(batch, check=True), model.decoder.bind(batch, check=True)
    assert encode.x.dtype == np.uint8  # type: ignore[comparison-overlap]
    for seed in (1, 2):  # the second call must read the input again
        u = frames(batch, seed)
        encode.x[...] = laid(u, layout)
        np.testing.assert_allclose(encode().mean, plain.encode(u / np.float32(255)).mean, rtol=0, atol=1e-5)
        decode.z[...] = vaekit.prior(batch, 4, seed=seed)
        pixels = decode()
        assert pixels is decode()
        assert near(pixels, plain.decode(decode.z), layout)


def test_a_batch_that_is_cut_into_slices_gives_the_same_pixels(
    bundles: dict[str, Path], vae: vaekit.VAE, layout: str
) -> None:
    several = vaekit.load(bundles[layout], io="uint8", provider="cpu", threads=2)
    z = vaekit.prior(50_000, 4, seed=0)
    assert len(several.decoder._scheduler.slices(len(z))) > 1
    np.testing.assert_array_equal(several.decode(z), vae.decode(z), strict=True)


def test_a_pickle_opens_with_pixels_again(vae: vaekit.VAE, layout: str) -> None:
    u = laid(frames(2), layout)
    for model in (vae, vae.encoder, vae.decoder):
        assert pickle.loads(pickle.dumps(model)).io == "uint8"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(vae)).reconstruct(u), vae.reconstruct(u))


# What is refused.


@pytest.mark.parametrize(
    ("where", "given", "message"),
    [
        ("nhwc", [[1]], r"x is a list; with io='uint8' give a NumPy array, uint8 of shape \(N, 6, 10, 3\) \(nhwc\)"),
        ("nhwc", np.zeros((1, 6, 10, 3), np.float32), "x has dtype float32, but with io='uint8' the model takes raw uint8"),
        ("nchw", np.zeros((1, *SHAPE), np.int64), "x has dtype int64, but .* load the model without io"),
        ("nhwc", np.zeros((1, *SHAPE), np.uint8), r"takes \(N, 6, 10, 3\) \(nhwc\), .*; these are nchw: u\.transpose\(0, 2, 3"),
        ("nchw", np.zeros((1, 6, 10, 3), np.uint8), r"takes \(N, 3, 6, 10\) \(nchw\), .* nhwc: u\.transpose\(0, 3, 1, 2\)"),
        ("nhwc", np.zeros((6, 10, 3), np.uint8), r"x has shape \(6, 10, 3\), .* at a time; u\[None\] makes a batch of one\."),
        ("nhwc", np.zeros((1, 6, 10, 4), np.uint8), r"x has shape \(1, 6, 10, 4\), but the model takes .* items at a time\.$"),
        ("grey", np.zeros((2, 28, 28), np.uint8), r"shape \(2, 28, 28\), .*; u\[\.\.\., None\] gives them their one channel\."),
        ("grey", np.zeros((2, 784), np.uint8), r"shape \(2, 784\), .* takes \(N, 28, 28, 1\) \(nhwc\), N items at a time\.$"),
    ],
)  # fmt: skip
def test_what_is_no_batch_of_pixels_in_the_layout_is_refused(
    bundles: dict[str, Path], grey: Path, where: str, given: Any, message: str
) -> None:
    model = vaekit.load(grey if where == "grey" else bundles[where], io="uint8", **CPU)
    with pytest.raises(ShapeError, match=message):
        model.encode(given)


def test_the_hint_for_a_missing_channel_fits_the_layout(small_pair: Any, small_dataset: Any, tmp_path: Path) -> None:
    bundle = export_bundle(small_pair, tmp_path / "a", data=small_dataset, io="uint8", layout="nchw")
    u = np.zeros((2, 28, 28), np.uint8)
    encoder = vaekit.Encoder(bundle, io="uint8", **CPU)
    with pytest.raises(ShapeError, match=r"u\[:, None\] gives them their one channel"):
        encoder.encode(u)
    assert encoder.encode(u[:, None]).mean.shape == (2, 5)


def test_the_plain_model_still_refuses_pixels(plain: vaekit.VAE) -> None:
    with pytest.raises(ShapeError, match="x has dtype uint8, but the model takes float32"):
        plain.encode(frames(1))
    with pytest.raises(ShapeError, match="x has values from 0 to 255, but the model takes 0 to 1"):
        plain.encode(np.full((1, *SHAPE), 255, np.float32) * np.eye(10, dtype=np.float32)[0])


def test_codes_are_checked_as_ever(vae: vaekit.VAE) -> None:
    with pytest.raises(ShapeError, match=r"z has shape \(1, 3\)"):
        vae.decode(np.zeros((1, 3), np.float32))
    call = vae.decoder.bind(1, check=True)
    call.z[...] = np.nan
    with pytest.raises(ShapeError, match="z holds a NaN"):
        call()


def test_the_elbo_is_not_computed_of_rounded_means(vae: vaekit.VAE, layout: str) -> None:
    message = (
        "the ELBO needs the decoder's means, which io='uint8' has rounded to grey levels; load the model without io"
    )
    u: Any = laid(frames(2), layout)
    with pytest.raises(ConfigError, match=message):
        vae.score(u)
    with pytest.raises(ConfigError, match=message):
        negative_elbo_terms(vae, u, seed=0, start=0)
    with pytest.raises(ConfigError, match=message):
        evaluate(vae, frames(2))


@pytest.mark.parametrize("opener", [vaekit.load, vaekit.Encoder, vaekit.Decoder, vaekit.VAE])
def test_a_bundle_without_pixels_says_how_to_get_them(small_bundle: Path, opener: Callable[..., Any]) -> None:
    message = (
        "io='uint8' was asked for, but the bundle 'small' has graphs for float32 alone; export it again with "
        "`vaekit export --io uint8`, or leave io out"
    )
    with pytest.raises(BundleError, match=message):
        opener(small_bundle, io="uint8", **CPU)
    with pytest.raises(BundleError, match=message):
        Bundle.open(small_bundle).golden("uint8")


@pytest.mark.parametrize("opener", [vaekit.load, vaekit.Encoder, vaekit.Decoder])
def test_an_unknown_io_is_refused(bundles: dict[str, Path], opener: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="io='rgb565' is unknown; choose one of float32, uint8"):
        opener(bundles["nhwc"], io="rgb565", **CPU)


# The proof.


def restate(folder: Path, target: Path, half: str, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A copy of a bundle with another app-ready graph of one half, stated as truly as the first."""
    import shutil

    shutil.copytree(folder, target)
    path = target / f"{half}.uint8.onnx"
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    manifest = Manifest.from_bytes((target / MANIFEST).read_bytes())
    file = describe_file(path.name, path.read_bytes())
    graph = describe_graph(file, path.read_bytes())
    assert manifest.pixels is not None
    pair = manifest.pixels.precisions["fp32"]._replace(**{half: graph})
    manifest = manifest.replace(
        pixels=manifest.pixels._replace(precisions={"fp32": pair}),
        extra_files=tuple(file if other.file == file.file else other for other in manifest.extra_files),
    )
    (target / MANIFEST).write_bytes(manifest.to_bytes())
    (target / CHECKSUMS).write_bytes(checksums(manifest.to_bytes(), manifest.files()))
    return target


def verify(folder: Path) -> dict[str, vaekit.Deviation]:
    vae = vaekit.load(folder, io="uint8", **CPU)
    return {deviation.what: deviation for deviation in vaekit.verify_bundle(vae.bundle, vae)}


def failed(deviations: dict[str, vaekit.Deviation]) -> list[str]:
    return [what for what, deviation in deviations.items() if not deviation.passed]


BESIDE = [
    "encode, from the plain graphs",
    "decode, from the plain graphs, grey levels",
    "decode, share of pixels that differ",
]


def test_every_comparison_is_made_at_every_batch_and_passes(bundles: dict[str, Path], layout: str) -> None:
    found = verify(bundles[layout])
    lines = ["encode mean, batch {}", "encode log_var, batch {}"]
    lines += ["decode, batch {}, grey levels", "round trip, batch {}, grey levels"]
    replayed = [line.format(batch) for batch in BATCHES for line in lines]
    assert list(found) == ["noise", "reparameterise", *replayed, *BESIDE]
    assert failed(found) == []
    assert {found[f"decode, batch {n}, grey levels"].tolerance for n in BATCHES} == {1}
    assert {found[f"encode mean, batch {n}"].tolerance for n in BATCHES} == {1e-5}
    assert found[BESIDE[0]].measured == 0.0


def test_a_decoder_that_cuts_off_where_it_should_round_is_found(bundles: dict[str, Path], tmp_path: Path) -> None:
    # At most one grey level from the right pixel, so only their number tells.
    def cut(model: onnx.ModelProto) -> None:
        nodes = list(model.graph.node)
        at = next(i for i, node in enumerate(nodes) if node.op_type == "QuantizeLinear")
        value = nodes[at].input[0]
        model.graph.initializer.append(helper.make_tensor("half_a_level", onnx.TensorProto.FLOAT, [], [0.5 / 255]))
        model.graph.node.insert(at, helper.make_node("Sub", [value, "half_a_level"], ["cut"], "cut"))
        model.graph.node[at + 1].input[0] = "cut"

    found = verify(restate(bundles["nhwc"], tmp_path / "cut", "decoder", cut))
    assert failed(found) == ["decode, share of pixels that differ"]
    assert found[BESIDE[1]].measured == 1
    assert found[BESIDE[2]].measured == pytest.approx(0.5, abs=0.1)


def test_a_decoder_that_scales_wrongly_is_found(bundles: dict[str, Path], tmp_path: Path) -> None:
    def scale(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
        tensor.CopyFrom(helper.make_tensor(tensor.name, onnx.TensorProto.FLOAT, [], [1 / 250]))

    found = verify(restate(bundles["nhwc"], tmp_path / "scaled", "decoder", scale))
    levels = [f"{what}, batch {n}, grey levels" for n in BATCHES for what in ("decode", "round trip")]
    assert failed(found) == [*levels, *BESIDE[1:]]
    assert found[BESIDE[1]].measured == pytest.approx(5, abs=1)


def test_an_encoder_that_reads_the_other_layout_is_found(bundles: dict[str, Path], tmp_path: Path) -> None:
    def turn(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "Transpose")
        node.attribute[0].ints[:] = [0, 3, 2, 1]  # width and height exchanged; the next reshape hides it

    found = verify(restate(bundles["nhwc"], tmp_path / "turned", "encoder", turn))
    assert {"encode mean, batch 1", "round trip, batch 7, grey levels", BESIDE[0]} <= set(failed(found))
    assert "decode, batch 1, grey levels" not in failed(found)


def test_golden_pixels_of_another_model_are_found(bundles: dict[str, Path], vae: vaekit.VAE, layout: str) -> None:
    bundle = Bundle.open(bundles[layout])
    golden = bundle.golden("uint8")
    shifted = golden._replace(x_hat=golden.x_hat ^ np.uint8(2))  # type: ignore[arg-type]
    bundle.golden = lambda _="float32": shifted  # type: ignore[method-assign,misc]
    measured = {deviation.what: deviation for deviation in vaekit.verify_bundle(bundle, vae)}
    assert set(failed(measured)) == {
        f"{what}, batch {n}, grey levels" for n in BATCHES for what in ("decode", "round trip")
    }


@pytest.mark.parametrize(
    ("limits", "tolerance", "levels"),
    [
        (UNIT, 1e-5, 1),  # 0.003 of a level may lead over one edge
        (UNIT, 1 / 250, 2),
        (UNIT, 5e-3, 2),
        (UNIT, 0.1, 26),
        ((-1.0, 1.0), 0.1, 13),
        ((0.0, 255.0), 1e-5, 1),
    ],
)
def test_a_tolerance_of_values_in_grey_levels(limits: tuple[float, float], tolerance: float, levels: int) -> None:
    data = DataSpec((1, 1, 40_000), limits)
    assert grey_levels(tolerance, data) == levels
    # No two values so near are rounded further apart.
    span = limits[1] - limits[0]
    a = np.linspace(limits[0], limits[1], 40_000)
    unit = 255 * (a - limits[0]) / span
    moved = np.clip(unit + 255 * tolerance / span, 0, 255)
    assert np.abs(np.rint(unit) - np.rint(moved)).max() <= levels
    assert np.mean(np.rint(unit) != np.rint(moved)) <= share(tolerance, data) + DIFFERING


# What is loaded.


@pytest.mark.parametrize("io", ["float32", "uint8"])
def test_a_start_without_pixels_loads_no_module_for_them(bundles: dict[str, Path], small_bundle: Path, io: str) -> None:
    folder = small_bundle if io == "float32" else bundles["nhwc"]
    code = f"""
import sys, vaekit
vaekit.Decoder({str(folder)!r}, provider='cpu', io={io!r}).decode(vaekit.prior(1, {5 if io == "float32" else 4}, seed=0))
print(*sorted(name for name in sys.modules if name in ("vaekit.appio", "vaekit.runtime.appio", "vaekit.images")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The second is the control: this check can fail.
    assert done.stdout.split() == ([] if io == "float32" else ["vaekit.appio"])


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_values_in_the_middle_between_two_levels_may_become_either(layout: str) -> None:
    # Few values, as int8 gives them: the first pixel is all but halfway from 10 to 11, the others are level 7 and near to 9.
    data = DataSpec((1, 2, 2))
    x = np.array([[[[10.499, 7.0], [7.0, 9.2]]]], np.float32) / np.float32(255)
    mean = np.zeros((1, 2), np.float32)

    def model(**more: Any) -> Any:
        spec, manifest = SimpleNamespace(kind="ae", data=data), SimpleNamespace(pixels=SimpleNamespace(layout=layout))
        return SimpleNamespace(spec=spec, manifest=manifest, encode=lambda _: SimpleNamespace(mean=mean), **more)

    def compared(levels: list[int]) -> Compared:
        pixels = np.array(levels, np.uint8).reshape((1, 2, 2, 1) if layout == "nhwc" else (1, 1, 2, 2))
        return compare(model(decode=lambda _: pixels), model(decode=lambda _: x), pixels, mean, tolerance=1e-5)

    assert compared([10, 7, 7, 9])[1:] == (4, 0, 0, 0)
    assert compared([11, 7, 7, 9])[1:] == (4, 1, 1, 1)
    assert compared([11, 7, 7, 10])[1:] == (4, 1, 2, 1)
    assert compared([10, 6, 7, 9])[1:] == (4, 1, 1, 0)
