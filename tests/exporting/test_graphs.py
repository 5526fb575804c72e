"""What `to_onnx` writes, compared with torch, and what it refuses."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.reference
import pytest
import torch
from torch import Tensor, nn

from vaekit.errors import ExportError, UnsafeGraphError
from vaekit.exporting.graphs import LOWEST_OPSET, OPSET, to_onnx
from vaekit.graphguard import inspect_graph

pytestmark = pytest.mark.usefixtures("one_thread")

FEATURES = 12

# From onnx's table of releases: ONNX 1.13, 1.14, 1.15, 1.16 brought operator sets 18, 19, 20, 21.
# https://github.com/onnx/onnx/blob/main/docs/Versioning.md
IR_OF_OPSET = {18: 8, 19: 9, 20: 9, 21: 10}


class EveryMode(nn.Module):
    """Layers that do one thing in training and another in evaluation, and a branch that stays in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.LeakyReLU()
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def every_mode() -> EveryMode:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        module = EveryMode()
        with torch.no_grad():  # statistics of a BatchNorm that has seen data
            module.body[2].running_mean.uniform_(-1, 1)
            module.body[2].running_var.uniform_(0.5, 2)
    return module


def export(module: nn.Module, *, rows: int = 2, opset: int = OPSET) -> bytes:
    return to_onnx(module, torch.rand(rows, 1, 3, 4), inputs=["x"], outputs=["y"], opset=opset)


@pytest.fixture(scope="module")
def content() -> bytes:
    torch.set_num_threads(1)
    return export(every_mode())


def items(count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, 1, 3, 4), dtype=np.float32)


def expected(module: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return module.eval()(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("batch", [1, 2, 7, 256])
def test_graph_gives_torchs_numbers_of_eval_mode_at_any_batch(content: bytes, batch: int) -> None:
    x = items(batch)
    (y,) = onnx.reference.ReferenceEvaluator(onnx.load_from_string(content)).run(None, {"x": x})
    np.testing.assert_allclose(y, expected(every_mode(), x), atol=1e-5)


def test_batch_is_symbolic_in_inputs_and_outputs(content: bytes) -> None:
    graph = onnx.load_from_string(content).graph
    for value, name, shape in ((graph.input[0], "x", (1, 3, 4)), (graph.output[0], "y", (3,))):
        axes = value.type.tensor_type.shape.dim
        assert value.name == name
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert axes[0].dim_param == "batch"
        assert tuple(axis.dim_value for axis in axes[1:]) == shape


def test_graph_holds_no_path_no_source_no_class_name(content: bytes) -> None:
    leaks = [str(Path.cwd()), str(Path.home()), str(Path(__file__).parent), "site-packages", ".py", "__main__"]
    leaks += ["EveryMode", "BatchNorm1d", "torch.nn", "pkg.torch", "stack_trace", "forward"]
    if str(Path.home()) == "/":
        leaks.remove("/")
    found = [leak for leak in leaks if leak.encode() in content]
    assert not found


def test_search_for_leaks_finds_what_torch_leaves_in_a_graph() -> None:
    # The control of the test above: it shows what torch's own bytes hold.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(every_mode().eval(), (torch.rand(2, 1, 3, 4),), dynamo=True, verbose=False)
    assert program is not None
    raw = program.model_proto.SerializeToString()
    assert all(leak in raw for leak in (b".py", b"EveryMode", str(Path(__file__).parent).encode()))


def test_no_message_has_metadata_or_documentation(content: bytes) -> None:
    model = onnx.load_from_string(content)
    text = str(model)
    assert "metadata_props" not in text
    assert "doc_string" not in text
    assert not model.graph.value_info
    assert not model.functions


def test_metadata_inside_branches_is_taken_out_too() -> None:
    class Branches(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            h = x.flatten(1)
            return torch.cond(h.sum() > 0, lambda h: h.sin() + h, lambda h: h.cos() - h, (h,))

    content = export(Branches())
    model = onnx.load_from_string(content)
    assert "If" in {node.op_type for node in model.graph.node}  # so there is an inner graph
    assert "metadata_props" not in str(model)
    assert "value_info" not in str(model)
    assert b".py" not in content


def test_weights_are_inside_and_nothing_is_random(content: bytes) -> None:
    model = onnx.load_from_string(content)
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    assert sum(np.prod(tensor.dims) for tensor in model.graph.initializer) >= 8 * FEATURES + 8 + 3 * 8 + 3
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "Dropout",
        "BatchNormalization",
        "Bernoulli",
    }


@pytest.mark.parametrize(("opset", "ir_version"), IR_OF_OPSET.items())
def test_graph_has_the_opset_that_was_asked_for_and_the_lowest_ir_version(opset: int, ir_version: int) -> None:
    content = export(every_mode(), opset=opset)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert model.ir_version == ir_version
    assert inspect_graph(content, name="graph").opsets == (("", opset),)
    x = items(5)
    (y,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(y, expected(every_mode(), x), atol=1e-5)


class NamesakesInside(nn.Module):
    """A buffer, an operator and a parameter with the names that the graph's input and outputs get."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, 1, 1), 0.25))
        self.x = nn.Parameter(torch.arange(4.0))
        self.mean_inside = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = (x - self.mean).mean((1, 2)) * self.x  # "mean" is what torch calls this operator's result too
        return h, h * self.mean_inside


def test_names_inside_a_module_do_not_clash_with_those_of_the_ports() -> None:
    module = NamesakesInside()
    content = to_onnx(module, torch.rand(2, 1, 3, 4), inputs=["x"], outputs=["mean", "log_var"])
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["x"]
    assert [value.name for value in model.graph.output] == ["mean", "log_var"]
    assert b"vaekit" not in content
    x = items(7)
    with torch.inference_mode():
        wanted = module(torch.from_numpy(x))
    for found, value in zip(onnx.reference.ReferenceEvaluator(model).run(None, {"x": x}), wanted, strict=True):
        np.testing.assert_allclose(found, value.numpy(), atol=1e-6)


@pytest.mark.parametrize("opset", [LOWEST_OPSET - 1, onnx.defs.onnx_opset_version() + 1, 0, -1])
def test_opset_out_of_range_is_refused_with_the_range(opset: int) -> None:
    newest = onnx.defs.onnx_opset_version()
    with pytest.raises(ExportError, match=rf"opset={opset} was asked for; this installation writes 18 to {newest}\."):
        export(every_mode(), opset=opset)


def test_exporting_twice_gives_the_same_bytes(content: bytes) -> None:
    assert export(every_mode()) == content
    assert export(every_mode(), rows=5) == content, "the example's batch is in the graph"


def test_other_weights_give_other_bytes(content: bytes) -> None:
    module = every_mode()
    with torch.no_grad():
        module.head.bias[0] += 1
    assert export(module) != content


@pytest.mark.slow
def test_processes_with_other_hash_seeds_and_folders_write_the_same_bytes(tmp_path: Path, content: bytes) -> None:
    code = (
        "import hashlib, importlib.util, sys, torch\n"
        "torch.set_num_threads(1)\n"
        f"spec = importlib.util.spec_from_file_location('graphs_under_test', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec); sys.modules[spec.name] = module\n"
        "spec.loader.exec_module(module)\n"
        "print(hashlib.sha256(module.export(module.every_mode())).hexdigest())\n"
    )
    digests = []
    for hash_seed in ("1", "2"):
        folder = tmp_path / f"started in {hash_seed}"
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "HOME": str(folder)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        digests.append(done.stdout.strip())
    assert digests == [hashlib.sha256(content).hexdigest()] * 2


@pytest.mark.parametrize("training", [True, False])
def test_every_part_of_the_module_keeps_its_mode_and_its_buffers(training: bool) -> None:
    module = every_mode().train(training)
    module.body[2].eval()  # a frozen BatchNorm inside a model in training
    modes = {name: part.training for name, part in module.named_modules()}
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    export(module)
    assert {name: part.training for name, part in module.named_modules()} == modes
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, buffers[name]), name


def test_modes_are_restored_after_a_failure_too() -> None:
    class Broken(EveryMode):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError(f"broken on purpose for {x.ndim} axes")

    module = Broken().train()
    with pytest.raises(ExportError, match="broken on purpose"):
        export(module)
    assert all(part.training for part in module.modules())


def test_exporter_says_nothing(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    class Branching(nn.Module):  # torch prints the graph that it got to
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    export(every_mode())
    with pytest.raises(ExportError):
        export(Branching())
    export(every_mode(), opset=26)  # onnxscript remarks on the way that it converts
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]
    assert logging.root.manager.disable == 0, "other packages' logs must come through again"


class Draws(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) + torch.randn(x.shape[0], FEATURES)


class DrawsLike(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) + torch.rand_like(x.flatten(1))


class DropsAlways(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x.flatten(1), 0.5, training=True)


class Chooses(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.bernoulli(x.flatten(1))


@pytest.mark.parametrize(
    "module", [Draws(), DrawsLike(), DropsAlways(), Chooses()], ids=lambda module: type(module).__name__
)
def test_guard_refuses_what_a_random_module_exports_to(module: nn.Module) -> None:
    with pytest.raises(UnsafeGraphError, match=r"draws? random numbers"):
        inspect_graph(export(module), name="graph")


class Views(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, FEATURES)


class Cuts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:2]


class Pools(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).mean(0, keepdim=True)


class Sums(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum()  # an output without axes


@pytest.mark.parametrize("module", [Views(), Cuts(), Pools(), Sums()], ids=lambda module: type(module).__name__)
def test_module_that_fixes_the_batch_is_refused(module: nn.Module) -> None:
    with pytest.raises(ExportError, match=r"the batch of '[xy]' is not symbolic in the exported \w+; .* first axis"):
        export(module)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class Misfits(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, torch.ones(3, 3))


class Decomposes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svd(x)[1]


@pytest.mark.parametrize(
    ("module", "cause"),
    [(Branches(), "data-dependent"), (Misfits(), "reduction dim"), (Decomposes(), "No ONNX function .*svd")],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_untraceable_module_is_refused_in_one_line_with_the_cause(module: nn.Module, cause: str) -> None:
    with pytest.raises(ExportError, match=rf"torch cannot export {type(module).__name__}: .*{cause}") as caught:
        export(module)
    message = str(caught.value)
    assert message.isprintable(), "a line break or an escape code"
    assert "step 1/3" not in message, "torch's own advice on debugging torch"
    assert len(message) < 700


def _returns(monkeypatch: pytest.MonkeyPatch, program: Any) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program)


def test_no_program_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _returns(monkeypatch, None)
    with pytest.raises(ExportError, match="torch gave no graph for EveryMode"):
        export(every_mode())


def test_graph_of_another_opset_than_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    # torch falls back to its own opset where it cannot convert.
    _returns(monkeypatch, SimpleNamespace(model_proto=onnx.load_from_string(content)))
    with pytest.raises(ExportError, match="opset=20 was asked for, but torch exported EveryMode with opset 18"):
        export(every_mode(), opset=20)


def test_invalid_graph_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    model = onnx.load_from_string(content)
    model.graph.node[0].op_type = "NoSuchOperator"
    _returns(monkeypatch, SimpleNamespace(model_proto=model))
    with pytest.raises(ExportError, match=r"the exported EveryMode is no valid ONNX graph: .*NoSuchOperator") as caught:
        export(every_mode())
    assert str(caught.value).isprintable()
