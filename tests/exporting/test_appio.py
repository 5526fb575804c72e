"""App-ready graphs: the plain ones with raw pixels in and out, held against torch, ONNX's own evaluator and the plain ones."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from graphs_by_hand import Exported, graph, run
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from pixel_models import SHAPE, UNIT, colour_data, colour_pair, rounded

import vaekit
from vaekit.bundle import Bundle, describe_file
from vaekit.datasets import Dataset
from vaekit.errors import BundleError, ConfigError, IntegrityError, UnsafeGraphError, VerificationError
from vaekit.exporting import Gate, ModulePair, appio, export_bundle
from vaekit.exporting.appio import app_ready
from vaekit.exporting.calibration import ranges
from vaekit.exporting.graphs import to_onnx
from vaekit.exporting.ortformat import to_ort
from vaekit.exporting.quantize import INTEGER, prepare, to_int8
from vaekit.manifest import Manifest
from vaekit.packing import pack, unpack
from vaekit.runtime.appio import Compared
from vaekit.spec import DataSpec

if TYPE_CHECKING:
    from vaekit.appio import PixelPair

pytestmark = pytest.mark.usefixtures("one_thread")

RANGES = [UNIT, (-1.0, 1.0), (-2.0, 0.7)]
LAYOUTS = ["nhwc", "nchw"]
PRECISIONS = ["fp32", "fp16", "int8", "int8-dynamic"]


def in_layout(u: np.ndarray, layout: str) -> np.ndarray:
    """(N, C, H, W) in a layout."""
    return np.ascontiguousarray(u.transpose(0, 2, 3, 1)) if layout == "nhwc" else u


def pixels(count: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """(N, C, H, W) uint8 of all levels."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


@pytest.fixture(scope="module", params=RANGES, ids=str)
def plain(request: pytest.FixtureRequest) -> Exported:
    pair = colour_pair(request.param)
    encoder = to_onnx(pair.encoder, torch.rand(2, *SHAPE), inputs=["x"], outputs=["mean", "log_var"])
    return Exported(pair, encoder, to_onnx(pair.decoder, torch.zeros(2, 4), inputs=["z"], outputs=["x_hat"]))


# The graphs.


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_encoder_gives_for_pixels_what_torch_gives_for_their_values(plain: Exported, layout: str) -> None:
    spec, u = plain.pair.spec, pixels(9)
    low, high = spec.data.range
    x = torch.from_numpy(low + (high - low) * u / 255.0)
    with torch.inference_mode():
        expected = plain.pair.encoder.double()(x)
        plain.pair.encoder.float()
    wrapped = app_ready("encoder", plain.encoder, spec.data, layout)
    for found in (
        run(wrapped, x=in_layout(u, layout)),
        ReferenceEvaluator(wrapped).run(None, {"x": in_layout(u, layout)}),
    ):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_decoder_gives_torchs_values_rounded(plain: Exported, layout: str) -> None:
    spec, z = plain.pair.spec, plain.codes(40)
    with torch.inference_mode():
        x_hat = plain.pair.decoder.double()(torch.from_numpy(z).double()).numpy()
        plain.pair.decoder.float()
    low, high = spec.data.range
    if spec.data.range != UNIT:  # the control: there is something to clip
        assert x_hat.min() < low
        assert x_hat.max() > high
    expected = in_layout(rounded(x_hat, spec.data.range), layout)
    assert len(np.unique(expected)) > 200
    wrapped = app_ready("decoder", plain.decoder, spec.data, layout)
    for (found,) in (run(wrapped, z=z), ReferenceEvaluator(wrapped).run(None, {"z": z})):
        assert (found.shape, found.dtype) == (expected.shape, np.uint8)
        gap = np.abs(found.astype(int) - expected)
        assert gap.max() <= 1
        assert np.count_nonzero(gap) <= gap.size * 1e-3  # where a value stands between two levels


def test_the_last_level_stands_for_the_end_of_the_range_and_not_for_more() -> None:
    # In float32, (0.7 + 2) - 2 is more than 0.7.
    model = graph(
        [helper.make_node("Flatten", ["x"], ["mean"])], {}, {"x": ["batch", 3, 2, 2]}, {"mean": ["batch", 12]}
    )
    wrapped = app_ready("encoder", model.SerializeToString(), DataSpec((3, 2, 2), (-2.0, 0.7)), "nchw")
    for level, end in ((0, -2.0), (255, 0.7)):
        (found,) = run(wrapped, x=np.full((1, 3, 2, 2), level, np.uint8))
        np.testing.assert_array_equal(found, np.full((1, 12), end, np.float32))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_ports_keep_their_names_and_the_batch_is_symbolic(plain: Exported, layout: str) -> None:
    shape = ["batch", *((6, 10, 3) if layout == "nhwc" else SHAPE)]
    for half, model in (("encoder", plain.encoder), ("decoder", plain.decoder)):
        before = onnx.load_from_string(model)
        after = onnx.load_from_string(app_ready(half, model, plain.pair.spec.data, layout))
        assert [v.name for v in after.graph.input] == [v.name for v in before.graph.input]
        assert [v.name for v in after.graph.output] == [v.name for v in before.graph.output]
        port = (after.graph.input if half == "encoder" else after.graph.output)[0].type.tensor_type
        assert port.elem_type == TensorProto.UINT8
        assert [dim.dim_param or dim.dim_value for dim in port.shape.dim] == shape
        assert [entry.version for entry in after.opset_import if not entry.domain] == [18]


def test_pixels_change_their_layout_while_they_are_bytes(plain: Exported) -> None:
    for half, model in (("encoder", plain.encoder), ("decoder", plain.decoder)):
        wrapped = onnx.shape_inference.infer_shapes(
            onnx.load_from_string(app_ready(half, model, plain.pair.spec.data, "nhwc")), strict_mode=True
        )
        types = {v.name: v.type.tensor_type.elem_type for v in (*wrapped.graph.value_info, *wrapped.graph.input)}
        (turn,) = [node for node in wrapped.graph.node if node.op_type == "Transpose" and "pixels" in node.name]
        assert types[turn.input[0]] == TensorProto.UINT8
        assert "Transpose" not in [
            node.op_type
            for node in onnx.load_from_string(app_ready(half, model, plain.pair.spec.data, "nchw")).graph.node
            if "pixels" in node.name
        ]


def test_one_channel_needs_no_transposition(image_model: Exported) -> None:
    data = image_model.pair.spec.data
    u, z = pixels(5, shape=(1, 16, 16)), image_model.codes(5)
    for layout in LAYOUTS:
        encoder = app_ready("encoder", image_model.encoder, data, layout)
        assert operators(encoder).count("Transpose") == operators(image_model.encoder).count("Transpose")
        x = (u / 255).astype(np.float32)
        np.testing.assert_allclose(run(encoder, x=in_layout(u, layout))[0], run(image_model.encoder, x=x)[0], atol=1e-6)
        decoder = app_ready("decoder", image_model.decoder, data, layout)
        expected = in_layout(rounded(run(image_model.decoder, z=z)[0]), layout)
        assert np.abs(run(decoder, z=z)[0].astype(int) - expected).max() <= 1


def integers(model: Exported, *, narrow: bool = False) -> bytes:
    """The encoder in int8; `narrow`: calibrated on items that do not fill the range, so that a step is no grey level."""
    prepared = prepare(model.encoder)
    x = np.concatenate([model.items(64), np.zeros_like(model.items(1)), np.ones_like(model.items(1))])
    return to_int8(prepared, ranges(prepared, x * np.float32(0.5 if narrow else 1), "minmax", INTEGER))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["convolutions", "MLP"])
def test_pixels_go_straight_into_integers_where_these_are_grey_levels(
    image_model: Exported, layout: str, kind: str
) -> None:
    model, shape = image_model, (1, 16, 16)
    if kind == "MLP":
        pair, shape = colour_pair(), SHAPE
        encoder = to_onnx(pair.encoder, torch.rand(2, *SHAPE), inputs=["x"], outputs=["mean", "log_var"])
        model = Exported(pair, encoder, b"")
    plain = integers(model)
    wrapped = app_ready("encoder", plain, model.pair.spec.data, layout)
    assert operators(wrapped).count("QuantizeLinear") == operators(plain).count("QuantizeLinear") - 1
    assert not {"Cast", "Div"} & set(operators(wrapped))
    u = pixels(32, shape=shape)
    for found, expected in zip(run(wrapped, x=in_layout(u, layout)), run(plain, x=u / np.float32(255)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_pixels_are_scaled_first_where_an_integer_is_no_grey_level(image_model: Exported) -> None:
    plain = integers(image_model, narrow=True)
    wrapped = app_ready("encoder", plain, image_model.pair.spec.data, "nchw")
    assert {"Cast", "Div"} <= set(operators(wrapped))
    assert operators(wrapped).count("QuantizeLinear") == operators(plain).count("QuantizeLinear")
    u = pixels(32, shape=(1, 16, 16))
    np.testing.assert_array_equal(run(wrapped, x=u)[0], run(plain, x=u / np.float32(255))[0])


def test_names_inside_that_are_like_ours_make_no_confusion() -> None:
    # A model whose own values have the names that wrapping would take.
    constants = {"pixels_div_constant": np.full(12, 2.0, np.float32).reshape(1, 3, 2, 2)}
    nodes = [
        helper.make_node("Mul", ["x", "pixels_div_constant"], ["x_float"], "pixels_cast"),
        helper.make_node("Add", ["x_float", "x"], ["pixels_div"], "a"),
        helper.make_node("Flatten", ["pixels_div"], ["mean"], "b"),
    ]
    model = graph(nodes, constants, {"x": ["batch", 3, 2, 2]}, {"mean": ["batch", 12]})
    u = pixels(4, shape=(3, 2, 2))
    wrapped = app_ready("encoder", model.SerializeToString(), DataSpec((3, 2, 2)), "nhwc")
    np.testing.assert_allclose(run(wrapped, x=in_layout(u, "nhwc"))[0], u.reshape(4, -1) / 85.0, rtol=1e-6)


def test_a_value_that_a_subgraph_takes_is_followed_there() -> None:
    def branch(operator: str) -> onnx.GraphProto:
        value = helper.make_tensor_value_info(operator, TensorProto.FLOAT, ["batch", 3, 2, 2])
        return helper.make_graph([helper.make_node(operator, ["x"], [operator])], operator, [], [value])

    nodes = [
        helper.make_node("If", ["yes"], ["chosen"], then_branch=branch("Neg"), else_branch=branch("Abs")),
        helper.make_node("Flatten", ["chosen"], ["mean"]),
    ]
    model = graph(nodes, {"yes": np.array(True)}, {"x": ["batch", 3, 2, 2]}, {"mean": ["batch", 12]})
    u = pixels(4, shape=(3, 2, 2))
    wrapped = app_ready("encoder", model.SerializeToString(), DataSpec((3, 2, 2)), "nchw")
    np.testing.assert_allclose(run(wrapped, x=u)[0], -(u.reshape(4, -1) / 255.0), rtol=1e-6)


# In a bundle.


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every precision, each with its app-ready pair, also in ORT format."""
    return export_bundle(
        colour_pair(),
        tmp_path_factory.mktemp("ready") / "colours",
        data=colour_data(),
        precisions=PRECISIONS,
        gate=Gate(0.5, min_gain=1.0, force=True),
        calibration_items=64,
        ort_format=True,
        io="uint8",
    ).path


@pytest.fixture
def ready_copy(ready: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ready, tmp_path / "bundle"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest's JSON, and make the checksums fit."""
    value = json.loads((folder / "manifest.json").read_text())
    change(value)
    (folder / "manifest.json").write_text(json.dumps(value))
    files = [value["golden"], *value["extra_files"]]
    for info in value["precisions"].values():
        files += [info[half] for half in ("encoder", "decoder")] + [
            info[half]["ort"] for half in ("encoder", "decoder")
        ]
    digests = {file["file"]: file["sha256"] for file in files}
    digests["manifest.json"] = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))


def exchange(folder: Path, name: str, content: bytes) -> None:
    """Put other content into a file, and state it truly wherever it is stated."""
    (folder / name).write_bytes(content)
    new = {"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def change(value: Any) -> None:
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if isinstance(value, dict) and value.get("file") == name:
            value.update(new)
        for inner in inside:
            change(inner)

    rewrite(folder, change)


def pair_of(bundle: Path, precision: str) -> PixelPair:
    found = Bundle.open(bundle).manifest.pixels
    assert found is not None
    return found.precisions[precision]


def test_every_precision_has_its_pair_hashed_and_in_the_list_of_checksums(ready: Path) -> None:
    manifest = Bundle.open(ready).manifest
    assert manifest.pixels is not None
    assert manifest.pixels.layout == "nhwc"
    assert list(manifest.pixels.precisions) == list(manifest.precisions) == PRECISIONS
    sums = dict(line.split("  ")[::-1] for line in (ready / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in ready.iterdir()} - {"SHA256SUMS"}
    wanted = {"golden.uint8.npz"}
    for name in PRECISIONS:
        infix = "" if name == "fp32" else f".{name}"
        wanted |= {f"{half}{infix}.uint8.{kind}" for half in ("encoder", "decoder") for kind in ("onnx", "ort")}
        for half in ("encoder", "decoder"):
            graph = manifest.graph(half, name, "uint8")
            assert graph.file.file == f"{half}{infix}.uint8.onnx"
            content = (ready / graph.file.file).read_bytes()
            assert graph.file == describe_file(graph.file.file, content)
    assert {file.file for file in manifest.pixels.files()} == wanted
    assert wanted <= set(sums)
    # Where readers that do not know of pixels hold them to their hashes.
    assert wanted <= {file["file"] for file in json.loads((ready / "manifest.json").read_text())["extra_files"]}


def test_the_manifest_reads_back_as_it_was_written(ready: Path) -> None:
    content = (ready / "manifest.json").read_bytes()
    assert Manifest.from_bytes(content).to_bytes() == content


def test_a_bundle_without_pixels_says_nothing_of_them(small_bundle: Path) -> None:
    value = json.loads((small_bundle / "manifest.json").read_text())
    assert "io" not in value
    assert [file["file"] for file in value["extra_files"]] == ["README.md", "preview.png"]
    assert "uint8" not in (small_bundle / "README.md").read_text()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_the_manifest_states_of_the_difference_is_what_can_be_counted(ready: Path, precision: str) -> None:
    # The same codes once more, through the plain sessions of ONNX Runtime, and rounded in Python.
    pair, infix = pair_of(ready, precision), "" if precision == "fp32" else f".{precision}"
    u = colour_data().test.items[:256]
    encoders, decoders = (
        [(ready / f"{half}{infix}{io}.onnx").read_bytes() for io in ("", ".uint8")] for half in ("encoder", "decoder")
    )
    means, log_vars = zip(
        run(encoders[0], x=u / np.float32(255)), run(encoders[1], x=in_layout(u, "nhwc")), strict=True
    )
    error = max(np.abs(means[0] - means[1]).max(), np.abs(log_vars[0] - log_vars[1]).max())
    assert pair.error == error == 0.0, "Cast and Div are what the reader of the data does"
    z = vaekit.reparameterise(means[1], log_vars[1], seed=0)
    z = np.concatenate([z, vaekit.prior(256, 4, seed=0)])
    expected = in_layout(rounded(run(decoders[0], z=z)[0]), "nhwc")
    gap = np.abs(run(decoders[1], z=z)[0].astype(int) - expected)
    assert (pair.compared, pair.levels, pair.differing) == (gap.size, gap.max(), np.count_nonzero(gap))
    assert pair.levels <= 1
    assert pair.differing <= pair.compared * 1e-3


def test_the_golden_pixels_are_torchs_values_rounded(ready: Path) -> None:
    pair, golden = colour_pair(), Bundle.open(ready).golden("uint8")
    u = colour_data().test.items[:64]
    np.testing.assert_array_equal(golden.x, in_layout(u, "nhwc"), strict=True)
    with torch.inference_mode():
        mean, log_var = pair.encoder(torch.from_numpy(u / np.float32(255)))
        x_hat = pair.decoder(torch.from_numpy(golden.z)).numpy()
    np.testing.assert_array_equal(golden.mean, mean.numpy())
    np.testing.assert_array_equal(golden.log_var, log_var.numpy())
    np.testing.assert_array_equal(golden.x_hat, in_layout(rounded(x_hat), "nhwc"))
    assert golden.x_hat.dtype == np.uint8  # type: ignore[comparison-overlap]


def test_items_between_the_levels_get_golden_vectors_of_the_pixels_that_they_round_to(tmp_path: Path) -> None:
    limits = (-1.0, 1.0)
    pair, data = colour_pair(limits), colour_data(limits, test=40)
    bundle = export_bundle(pair, tmp_path / "bundle", data=data, io="uint8", layout="nchw")
    golden, values = bundle.golden("uint8"), bundle.golden()
    np.testing.assert_array_equal(golden.x, rounded(data.test.items[:64], limits))
    with torch.inference_mode():
        mean, _ = pair.encoder(torch.from_numpy((2 * (golden.x / 255.0) - 1).astype(np.float32)))
    np.testing.assert_allclose(golden.mean, mean.numpy(), atol=1e-6)
    assert np.abs(golden.mean - values.mean).max() > 1e-4  # the control: they are others
    vae = vaekit.load(bundle, provider="cpu", threads=1, io="uint8")
    assert all(deviation.passed for deviation in vaekit.verify_bundle(bundle, vae))


def test_an_autoencoder_has_app_ready_graphs_too(tmp_path: Path) -> None:
    bundle = export_bundle(colour_pair(kind="ae"), tmp_path / "ae", data=colour_data(), io="uint8")
    vae = vaekit.load(bundle, provider="cpu", threads=1, io="uint8")
    u = in_layout(pixels(3), "nhwc")
    expected = vaekit.load(bundle, provider="cpu", threads=1).reconstruct(pixels(3) / np.float32(255))
    assert np.abs(vae.reconstruct(u).astype(int) - in_layout(rounded(expected), "nhwc")).max() <= 1


def test_the_graphs_in_ort_format_give_the_same_pixels(ready: Path) -> None:
    u = in_layout(pixels(5), "nhwc")
    for precision in PRECISIONS:
        onnx_, ort = (
            vaekit.load(ready, provider="cpu", threads=1, precision=precision, format=kind, io="uint8")
            for kind in ("onnx", "ort")
        )
        # Integer graphs are joined in another order there, which may lead a code over the edge of a step.
        atol = 1e-5 if precision in ("fp32", "fp16") else 0.05
        np.testing.assert_allclose(ort.encode(u).mean, onnx_.encode(u).mean, rtol=0, atol=atol)
        gap = np.abs(ort.sample(9).astype(int) - onnx_.sample(9))
        assert gap.max() <= (1 if atol == 1e-5 else 8)


def test_a_packed_bundle_has_them_too(ready: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(ready)
    pack(bundle, tmp_path / "colours.vaekit")
    unpack(tmp_path / "colours.vaekit", tmp_path / "again")
    u = in_layout(pixels(2), "nhwc")
    expected = vaekit.load(ready, provider="cpu", threads=1, io="uint8").reconstruct(u)
    for source in (tmp_path / "colours.vaekit", (tmp_path / "colours.vaekit").read_bytes(), tmp_path / "again"):
        np.testing.assert_array_equal(
            vaekit.load(source, provider="cpu", threads=1, io="uint8").reconstruct(u), expected
        )


def test_the_model_card_has_a_program_that_runs(ready: Path) -> None:
    card = (ready / "README.md").read_text()
    pair = pair_of(ready, "int8")
    assert "App-ready graphs take and give raw uint8 pixels of 0 to 255, nhwc (6, 10, 3):" in card
    assert (
        f"| int8 | `encoder.int8.uint8.onnx`, `decoder.int8.uint8.onnx` | {pair.differing:,} of {pair.compared:,}"
        in card
    )
    programs = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict[str, Any] = {}
    exec(programs[1].replace("PATH OF THIS FOLDER", str(ready)), names)
    assert (names["pictures"].shape, names["pictures"].dtype) == ((16, 6, 10, 3), np.uint8)
    assert (names["again"].shape, names["again"].dtype) == ((16, 6, 10, 3), np.uint8)


# What is refused.


def test_a_changed_file_is_refused_whatever_is_opened(ready_copy: Path) -> None:
    for name in ("decoder.int8.uint8.onnx", "golden.uint8.npz"):
        content = (ready_copy / name).read_bytes()
        (ready_copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(IntegrityError, match=rf"{re.escape(name)} was changed"):
            Bundle.open(ready_copy)
        (ready_copy / name).write_bytes(content)


def test_a_random_operator_is_refused_there_too(ready_copy: Path) -> None:
    model = onnx.load(ready_copy / "decoder.uint8.onnx")
    model.graph.node.append(helper.make_node("RandomNormal", [], ["noise"], shape=[1]))
    exchange(ready_copy, "decoder.uint8.onnx", model.SerializeToString())
    with pytest.raises(UnsafeGraphError, match=r"decoder\.uint8\.onnx may not be in a bundle: .* draws random numbers"):
        vaekit.Decoder(ready_copy, provider="cpu", threads=1, io="uint8")
    assert vaekit.Decoder(ready_copy, provider="cpu", threads=1).spec.latent == 4  # which opens other files


def test_another_graph_than_the_manifest_describes_is_refused(ready_copy: Path, ready: Path) -> None:
    exchange(ready_copy, "decoder.uint8.onnx", (ready / "decoder.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"decoder\.uint8\.onnx is not the graph that the manifest describes"):
        vaekit.Decoder(ready_copy, provider="cpu", threads=1, io="uint8")
    # In ORT format, where the guard does not read: the same shape, of another type.
    model = onnx.load(ready / "decoder.uint8.onnx")
    last = model.graph.node[-1]
    last.output[0] = "bytes"
    model.graph.node.append(helper.make_node("Cast", ["bytes"], ["x_hat"], to=TensorProto.FLOAT))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    exchange(ready_copy, "decoder.uint8.ort", to_ort(model.SerializeToString(), name="decoder"))
    with pytest.raises(
        BundleError, match=r"decoder\.uint8\.ort is not the graph .* it has \[\('x_hat', .*'float32'\)\]"
    ):
        vaekit.Decoder(ready_copy, provider="cpu", threads=1, io="uint8", format="ort")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["io"]["uint8"].update(layout="hwc"), "layout='hwc' is unknown"),
        (lambda v: v["io"]["uint8"].update(layout="nchw"), "the uint8 fp32 encoder has inputs and outputs"),
        (lambda v: v["io"]["uint8"]["precisions"].pop("fp32"), "states uint8 graphs of fp16, .* they must be of fp32"),
        (lambda v: v["io"]["uint8"].update(precisions={}), "states uint8 graphs of no precision"),
        (lambda v: v["precisions"].pop("int8"), "uint8 graphs of fp32, fp16, int8, .* of fp32, fp16, int8-dynamic;"),
        (lambda v: v["io"]["uint8"].pop("golden"), "missing or malformed field: 'golden'"),
        (lambda v: v["io"]["uint8"]["precisions"]["int8"].update(levels="one"), "'levels' is 'one', which is no int"),
        (lambda v: v["io"]["uint8"]["precisions"]["int8"].update(error=None), "'error' is None, which is no number"),
        (lambda v: v["io"].update(uint8=[]), "'uint8' is .*, which is no dict"),
        (lambda v: v.update(io=[]), "'io' is .*, which is no dict"),
        (lambda v: v["extra_files"].pop(), "uint8 files are not all among its extra_files"),
        (lambda v: v["io"]["uint8"]["golden"].update(bytes=1), "uint8 files are not all among its extra_files"),
        (lambda v: v["data"].update(range=None), "these have none|likelihood"),
    ],
)
def test_a_manifest_that_states_pixels_wrongly_is_refused(
    ready_copy: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    rewrite(ready_copy, change)
    with pytest.raises(BundleError, match=message):
        Bundle.open(ready_copy)


def test_another_io_is_passed_over(ready_copy: Path) -> None:
    rewrite(ready_copy, lambda value: value.update(io={"rgb565": {"anything": 1}}))
    assert Bundle.open(ready_copy).manifest.pixels is None
    assert vaekit.load(ready_copy, provider="cpu", threads=1).sample(1).shape == (1, *SHAPE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": np.zeros((64, *SHAPE), np.uint8)},
            r"golden\.uint8\.npz: x has shape \(64, 3, 6, 10\), not \(64, 6, 10, 3\)",
        ),
        (
            {"x_hat": np.zeros((64, 6, 10, 3), np.float32)},
            r"golden\.uint8\.npz holds .*, not .*\(x and x_hat in uint8\)",
        ),
    ],
)
def test_golden_pixels_of_another_shape_or_type_are_refused(ready_copy: Path, change: Any, message: str) -> None:
    golden = Bundle.open(ready_copy).golden("uint8")._replace(**change)
    exchange(ready_copy, "golden.uint8.npz", golden.to_bytes())
    with pytest.raises(IntegrityError, match=message):
        Bundle.open(ready_copy).golden("uint8")


def export(tmp_path: Path, pair: ModulePair, data: Dataset, **options: Any) -> None:
    try:
        export_bundle(pair, tmp_path / "bundle", data=data, **options)
    finally:
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"io": "rgb"}, "io='rgb' is unknown; choose one of float32, uint8"),
        ({"io": "uint8", "layout": "hwc"}, "layout='hwc' is unknown; choose one of nhwc, nchw"),
        (
            {"layout": "nchw"},
            r"layout='nchw' says how uint8 pixels lie, but io is 'float32'; add io='uint8' \(--io uint8\)",
        ),
    ],
)
def test_an_io_or_layout_without_a_meaning_is_refused_before_the_work(
    tmp_path: Path, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(tmp_path, colour_pair(), colour_data(), **options)


def test_a_table_has_no_pixels(gaussian_pair: ModulePair, real_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="io='uint8' is for grey or colour images, but an item is D 6; leave it out"):
        export(tmp_path, gaussian_pair, real_dataset, io="uint8")


def test_images_without_bounds_have_no_pixels(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs values between two bounds"):
        export(tmp_path, colour_pair(None), colour_data((-3.0, 3.0)), io="uint8")


def test_a_graph_that_is_two_levels_off_is_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appio, "compare", lambda *_: Compared(0.0, 100, 2, 1))
    message = (
        "the fp32 decoder with pixels is 2 grey levels from the plain one, rounded; the limit is 1. Nothing was written"
    )
    with pytest.raises(VerificationError, match=message):
        export(tmp_path, colour_pair(), colour_data(), io="uint8")


def test_app_ready_graphs_that_do_not_replay_their_golden_vectors_are_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = appio.to_pixels
    monkeypatch.setattr(appio, "to_pixels", lambda x, data, layout: right(x * np.float32(0.9), data, layout))
    message = (
        r"golden vectors: fp32 \(onnx, uint8\), decode, batch 1, grey levels differs by 2\d, the limit is 1\. Nothing"
    )
    with pytest.raises(VerificationError, match=message):
        export(tmp_path, colour_pair(), colour_data(), io="uint8")
