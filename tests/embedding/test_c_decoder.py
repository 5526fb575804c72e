"""A decoder's graph as C; what the C computes is asked in test_c_standalone.py, test_compilers.py and test_layers.py."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from vaekit.embedding import c_decoder
from vaekit.errors import ExportError


def test_an_operator_that_the_generator_does_not_know_is_named() -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("z", "x_hat")]
    node = helper.make_node("FusedMatMul", ["z", "z"], ["x_hat"], domain="com.microsoft")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(
        helper.make_graph([node], "g", *[[port] for port in ports]), ir_version=8, opset_imports=opsets
    )
    with pytest.raises(
        ExportError, match=r"the decoder of 'odd' has FusedMatMul, which emx-onnx-cgen cannot write as C .*target c\.$"
    ):
        c_decoder.generated(model.SerializeToString(), "odd")
