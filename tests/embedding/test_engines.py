"""The graphs are standard ONNX, not one runtime's dialect: two engines without a line of ONNX Runtime replay the goldens.

onnx.reference is the standard's own implementation in NumPy; tract is an inference engine in Rust.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from vaekit.bundle import Bundle, builtin_bundle
from vaekit.runtime.verify import difference

Run = Callable[[np.ndarray], list[np.ndarray]]


def by_reference(content: bytes, folder: Path) -> Run:
    del folder
    graph = ReferenceEvaluator(onnx.load_from_string(content))
    name = graph.input_names[0]
    return lambda rows: graph.run(None, {name: rows})


def by_tract(content: bytes, folder: Path) -> Run:
    import tract

    (folder / "graph.onnx").write_bytes(content)

    def run(rows: np.ndarray) -> list[np.ndarray]:
        model = tract.Onnx().load(str(folder / "graph.onnx"))
        model.set_input_fact(0, f"{','.join(map(str, rows.shape))},f32")
        return [value.to_numpy() for value in model.into_model().into_runnable().run([rows])]

    return run


@pytest.mark.parametrize("engine", [by_reference, by_tract])
@pytest.mark.parametrize("name", ["builtin", "gaussian_bundle", "table_bundle", "conv_bundle"])
def test_another_engine_gives_the_golden_vectors(
    engine: Callable[[bytes, Path], Run], name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path: Path = builtin_bundle() if name == "builtin" else request.getfixturevalue(name)
    bundle = Bundle.open(path)
    golden, data = bundle.golden(), bundle.manifest.spec.data
    mean, log_var = engine(bundle.graph("encoder"), tmp_path)(golden.x)
    decoder = engine(bundle.graph("decoder"), tmp_path)
    (x_hat,) = decoder(golden.z)
    limit = bundle.manifest.tolerances["cpu"]
    assert difference(mean, golden.mean) <= limit
    assert difference(log_var, golden.log_var) <= limit
    assert difference(x_hat, golden.x_hat, units=None if data.range else data.units) <= limit
    # One item alone, and the control: another code gives another item.
    (single,) = decoder(golden.z[:1])
    assert difference(single, golden.x_hat[:1], units=None if data.range else data.units) <= limit
    assert difference(decoder(golden.z[1:2])[0], golden.x_hat[:1]) > limit
