"""Half precision: what is halved, what stays, and how near it is to torch with the same rounded weights."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from graphs_by_hand import Exported, constants, graph, operators, run
from onnx import TensorProto, helper

from vaekit.errors import ExportError
from vaekit.exporting.float16 import to_float16


def rounded(module: torch.nn.Module) -> torch.nn.Module:
    """The module in float64, its weights rounded to half precision."""
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.copy_(parameter.half().float())
    return twin.double()


def test_every_weight_is_half_as_large_and_there_once(exported: Exported) -> None:
    for before in (exported.encoder, exported.decoder):
        after = to_float16(before)
        values = constants(onnx.load_from_string(after))
        assert {array.dtype for array in values.values() if array.size > 100} == {np.dtype(np.float16)}
        halves = sum(array.nbytes for array in values.values() if array.dtype == np.float16)
        floats = constants(onnx.load_from_string(before)).values()
        whole = sum(array.nbytes for array in floats if array.dtype == np.float32)
        wide = sum(array.nbytes for array in values.values() if array.dtype == np.float32)
        assert 2 * halves + wide == whole  # what is float32 still, the standardisation, is not there twice either


def test_inputs_and_outputs_keep_their_names_and_types(exported: Exported) -> None:
    for before in (exported.encoder, exported.decoder):
        old, new = (onnx.load_from_string(model).graph for model in (before, to_float16(before)))
        assert [*new.input, *new.output] == [*old.input, *old.output]


def test_numbers_are_those_of_torch_with_the_same_rounded_weights(exported: Exported) -> None:
    x, z, units = exported.items(16), exported.codes(16), exported.pair.spec.data.units
    with torch.inference_mode():
        mean, log_var = rounded(exported.pair.encoder)(torch.from_numpy(x).double())
        x_hat = rounded(exported.pair.decoder)(torch.from_numpy(z).double())
    found = run(to_float16(exported.encoder), x=x)
    np.testing.assert_allclose(found[0], mean.numpy(), atol=2e-3)
    np.testing.assert_allclose(found[1], log_var.numpy(), atol=2e-3)
    # Offsets of 100,000 would be infinite in half precision, so these nodes must have stayed in float32.
    np.testing.assert_allclose((run(to_float16(exported.decoder), z=z)[0] - x_hat.numpy()) / units, 0, atol=5e-3)


def test_inner_values_are_half_precision(image_model: Exported) -> None:
    model = onnx.load_from_string(to_float16(image_model.decoder))
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "Relu"):
            assert kinds[node.output[0]] == TensorProto.FLOAT16
        if node.op_type == "Sigmoid":
            assert kinds[node.input[0]] == TensorProto.FLOAT


def test_the_same_graph_gives_the_same_bytes_without_metadata(image_model: Exported) -> None:
    content = to_float16(image_model.encoder)
    assert content == to_float16(image_model.encoder)
    model = onnx.load_from_string(content)
    assert not model.metadata_props
    assert not model.doc_string
    assert not model.graph.value_info
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert b"/" not in b"".join(node.name.encode() for node in model.graph.node)


def test_an_input_that_is_widened_for_two_outputs_keeps_both_names() -> None:
    # One node's value goes out twice under two names, and a third node of both ends takes it.
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="product"),
        helper.make_node("Identity", ["h"], ["a"], name="one"),
        helper.make_node("Identity", ["h"], ["b"], name="two"),
    ]
    w = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    model = graph(nodes, {"w": w}, {"x": ["batch", 3]}, {"a": ["batch", 3], "b": ["batch", 3]})
    x = np.float32([[1, 2, 3]])
    for found in run(to_float16(model.SerializeToString()), x=x):
        np.testing.assert_allclose(found, x @ w, atol=1e-2)


def test_a_graph_without_weights_only_passes_through() -> None:
    model = graph([helper.make_node("Relu", ["x"], ["y"], name="r")], {}, {"x": ["batch", 3]}, {"y": ["batch", 3]})
    converted = to_float16(model.SerializeToString())
    assert operators(onnx.load_from_string(converted)) == ["Relu"]
    x = np.float32([[-1.0, 1e6, 1 / 3]])
    np.testing.assert_array_equal(run(converted, x=x)[0], np.maximum(x, 0))


def test_what_the_converter_cannot_do_is_said(image_model: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime.transformers.float16 as converter

    def fail(*_: object, **__: object) -> None:
        raise ValueError("no such\n  thing")

    monkeypatch.setattr(converter, "convert_float_to_float16", fail)
    with pytest.raises(ExportError, match=r"the graph cannot be written in float16: no such thing\."):
        to_float16(image_model.encoder)
