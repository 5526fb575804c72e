"""int8: the weights against the formula, the numbers against integers in NumPy, and what ONNX Runtime makes of the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnxruntime.quantization
import pytest
from graphs_by_hand import Exported, constants, graph, operators, optimised, run
from onnx import helper

from vaekit.errors import ExportError
from vaekit.exporting.calibration import ranges
from vaekit.exporting.quantize import INTEGER, convolutions, float_layers, prepare, to_int8, to_int8_dynamic

FLOAT_PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul"}


def quantised(model: bytes, rows: np.ndarray, *, float_head: bool = False, per_channel: bool = True) -> bytes:
    prepared = prepare(model)
    keep = float_layers(prepared) if float_head else ()
    return to_int8(prepared, ranges(prepared, rows, "minmax", INTEGER), keep_float=keep, per_channel=per_channel)


@pytest.fixture(scope="module")
def small(small_bundle: Path) -> dict[str, Any]:
    """The reference-like MLP's graphs and what they are calibrated on."""
    rng = np.random.default_rng(0)
    return {
        "encoder": (small_bundle / "encoder.onnx").read_bytes(),
        "decoder": (small_bundle / "decoder.onnx").read_bytes(),
        "x": rng.random((200, 1, 28, 28)).astype(np.float32),
        "z": rng.normal(size=(200, 5)).astype(np.float32),
    }


def weights_of(model: onnx.ModelProto, operator: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The int8 weights of each product and their scales, in the order of the nodes."""
    values, makers = constants(model), {node.output[0]: node for node in model.graph.node}
    found = []
    for node in model.graph.node:
        if node.op_type == operator and node.input[1] in makers:
            weight, scale, zero = makers[node.input[1]].input
            assert not values[zero].any(), "weights are symmetric"
            found.append((values[weight], values[scale]))
    return found


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_weights_are_whole_steps_of_a_scale_a_channel_or_a_tensor(
    small: dict[str, Any], half: str, per_channel: bool
) -> None:
    before, rows = small[half], small["xz"[half == "decoder"]]
    after = quantised(before, rows, per_channel=per_channel)
    originals = [array for array in constants(onnx.load_from_string(before)).values() if array.ndim == 2]
    found = weights_of(onnx.load_from_string(after), "Gemm")
    assert len(found) == len(originals)
    for steps, scale in found:
        assert steps.dtype == np.int8
        assert scale.shape == ((len(steps),) if per_channel else ()), "one scale for each output, or one for all"
        each = np.broadcast_to(scale, len(steps))
        (original,) = [array for array in originals if array.shape == steps.shape and _near(array, steps, each)]
        np.testing.assert_allclose(scale, np.abs(original).max(axis=1 if per_channel else None) / 127, rtol=1e-5)
        assert np.abs(steps * each[:, None] - original).max() <= 0.5001 * scale.max()


def _near(original: np.ndarray, steps: np.ndarray, scale: np.ndarray) -> bool:
    return bool(np.abs(steps * scale[:, None] - original).max() <= 0.51 * scale.max())


def test_a_pixel_of_8_bits_is_exact(small: dict[str, Any]) -> None:
    pixels = (np.arange(200 * 784).reshape(200, 1, 28, 28) % 256 / 255).astype(np.float32)
    model = onnx.load_from_string(quantised(small["encoder"], pixels))
    (first, *_) = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    values = constants(model)
    assert values[first.input[1]] == np.float32(1 / 255)
    assert values[first.input[2]] == 0
    assert values[first.input[2]].dtype == np.uint8


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_numbers_are_those_of_integers_in_numpy(small: dict[str, Any], per_channel: bool) -> None:
    z = small["z"]
    model = onnx.load_from_string(quantised(small["decoder"], z, per_channel=per_channel))
    values = constants(model)
    (w1, s1), (w2, s2) = weights_of(model, "Gemm")
    roundings = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]

    def integers(value: np.ndarray, node: onnx.NodeProto) -> tuple[np.ndarray, float]:
        scale, zero = float(values[node.input[1]]), int(values[node.input[2]])
        return np.clip(np.rint(value / np.float32(scale)) + zero, 0, 255).astype(np.int64) - zero, scale

    # Biases are whole steps of both scales' product, in 32 bits; beside each stand zero points, all of them 0.
    b1, b2 = sorted((value for value in values.values() if value.dtype == np.int32 and value.any()), key=len)
    q, scale = integers(z, roundings[0])
    h = (q @ w1.T.astype(np.int64) + b1) * (scale * s1.astype(np.float64))
    rounded, h_scale = integers(h.astype(np.float32), roundings[1])
    q, scale = integers(np.tanh(rounded * np.float32(h_scale)), roundings[2])
    logits = (q @ w2.T.astype(np.int64) + b2) * (scale * s2.astype(np.float64))  # not rounded again
    assert len(roundings) == 3
    found = run(model, z=z)[0].reshape(len(z), -1)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("per_channel", [True, False])
def test_no_float_product_is_left_and_no_weight_is_widened(
    exported: Exported, tmp_path: Path, per_channel: bool
) -> None:
    for name, model, rows in (
        ("encoder", exported.encoder, exported.items(64)),
        ("decoder", exported.decoder, exported.codes(64)),
    ):
        assert FLOAT_PRODUCTS & set(operators(onnx.load_from_string(model)))  # the control
        loaded = optimised(quantised(model, rows, per_channel=per_channel), tmp_path / f"{name}.onnx")
        assert not FLOAT_PRODUCTS & set(operators(loaded))
        weights = {tensor.name for tensor in loaded.graph.initializer}
        for node in loaded.graph.node:
            assert not (node.op_type == "DequantizeLinear" and node.input[0] in weights), node.name


def test_a_last_layer_that_is_kept_has_its_weights_as_they_were(exported: Exported, tmp_path: Path) -> None:
    z = exported.codes(64)
    model = onnx.load_from_string(quantised(exported.decoder, z, float_head=True))
    originals = constants(prepare(exported.decoder))
    prepared = prepare(exported.decoder)
    (name,) = float_layers(prepared)
    (node,) = [node for node in model.graph.node if node.name == name]
    for value in node.input[1:]:
        np.testing.assert_array_equal(constants(model)[value], originals[value])
    loaded = optimised(model.SerializeToString(), tmp_path / "loaded.onnx")
    assert len([op for op in operators(loaded) if op in FLOAT_PRODUCTS]) == 1, (
        "ONNX Runtime must not round it after all"
    )


def test_numbers_are_near_those_in_float(exported: Exported) -> None:
    x, z, units = exported.items(64), exported.codes(64), exported.pair.spec.data.units
    for float_head in (False, True):
        decoded = run(quantised(exported.decoder, z, float_head=float_head), z=z)[0]
        gap = np.abs(decoded - run(exported.decoder, z=z)[0]) / units
        assert 0 < gap.mean() < 0.02
        for found, wanted in zip(
            run(quantised(exported.encoder, x, float_head=float_head), x=x), run(exported.encoder, x=x), strict=True
        ):
            assert 0 < np.abs(found - wanted).mean() < 0.05 * np.abs(wanted).max()


def test_an_item_does_not_depend_on_its_batch_but_in_dynamic_int8_it_does(small: dict[str, Any]) -> None:
    z = small["z"][:50] * np.linspace(0.1, 3, 50, dtype=np.float32)[:, None]
    for model, depends in ((quantised(small["decoder"], small["z"]), False), (to_int8_dynamic(small["decoder"]), True)):
        together = run(model, z=z)[0]
        alone = np.concatenate([run(model, z=row[None])[0] for row in z])
        assert (np.abs(together - alone).max() > 1e-3) == depends


def test_dynamic_int8_has_int8_weights_and_is_near_float(small: dict[str, Any]) -> None:
    for half, rows in (("encoder", small["x"]), ("decoder", small["z"])):
        content = to_int8_dynamic(small[half])
        model = onnx.load_from_string(content)
        large = [array for array in constants(model).values() if array.size > 1000]
        assert {array.dtype for array in large} == {np.dtype(np.int8)}
        assert "MatMulInteger" in operators(model)
        name = "x" if half == "encoder" else "z"
        for found, wanted in zip(run(content, **{name: rows}), run(small[half], **{name: rows}), strict=True):
            np.testing.assert_allclose(found, wanted, atol=0.15 if half == "decoder" else 0.3)


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_same_graph_gives_the_same_bytes_that_name_no_place(small: dict[str, Any], dynamic: bool) -> None:
    def once() -> bytes:
        return to_int8_dynamic(small["decoder"]) if dynamic else quantised(small["decoder"], small["z"])

    content = once()
    assert content == once()
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert (model.ir_version, len(model.metadata_props), len(model.graph.value_info)) == (8, 0, 0)
    assert b"/tmp" not in content
    assert [port.name for port in (*model.graph.input, *model.graph.output)] == ["z", "x_hat"]


def test_a_half_of_one_layer_has_no_layer_to_keep_in_float() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="only")
    w = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    model = graph([node], {"w": w}, {"x": ["batch", 8]}, {"y": ["batch", 8]}).SerializeToString()
    assert float_layers(prepare(model)) == ()
    x = np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32)
    found = run(quantised(model, x), x=x)[0]  # the output of the graph is the layer's own
    np.testing.assert_allclose(found, x @ w, atol=0.2)
    assert np.abs(found - x @ w).max() > 0


def test_a_bias_that_is_added_apart_is_not_rounded_like_an_activation() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),  # of three axes, so it is not joined with the bias
        helper.make_node("Add", ["h", "b"], ["k"], name="bias"),
        helper.make_node("MatMul", ["k", "v"], ["y"], name="last"),
    ]
    w, v = (rng.normal(size=(8, 8)).astype(np.float32) for _ in range(2))
    bias = np.linspace(0, 1000, 8, dtype=np.float32)  # 8 bits of this would be steps of 4
    model = graph(nodes, {"w": w, "v": v, "b": bias}, {"x": ["batch", 3, 8]}, {"y": ["batch", 3, 8]})
    stored = constants(
        onnx.load_from_string(quantised(model.SerializeToString(), rng.normal(size=(50, 3, 8)).astype("f4")))
    )
    assert any(array.dtype == np.float32 and np.array_equal(array, bias) for array in stored.values())


def test_convolutions_are_counted(small: dict[str, Any], image_model: Exported) -> None:
    assert convolutions(small["decoder"]) == 0
    assert convolutions(image_model.encoder) == 2
    assert convolutions(image_model.decoder) == 4


def test_a_graph_that_onnx_runtime_cannot_read_is_refused() -> None:
    with pytest.raises(ExportError, match="the graph cannot be prepared for int8: "):
        prepare(b"no graph")


def test_what_the_quantiser_cannot_do_is_said(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no such\n thing")

    monkeypatch.setattr(onnxruntime.quantization, "QDQQuantizer", fail)
    monkeypatch.setattr(onnxruntime.quantization, "quantize_dynamic", fail)
    with pytest.raises(ExportError, match=r"the graph cannot be quantised: no such thing\."):
        quantised(small["decoder"], small["z"])
    with pytest.raises(ExportError, match=r"the graph cannot be quantised: no such thing\."):
        to_int8_dynamic(small["decoder"])
