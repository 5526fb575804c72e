"""A user's own model by import path: found, tried, trained, exported; and a line for everything that can be wrong with it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from vaekit.datasets import Dataset
from vaekit.errors import ConfigError
from vaekit.exporting.graphs import to_onnx
from vaekit.spec import DataSpec
from vaekit.training.config import TrainConfig
from vaekit.training.models import DecoderGraph, Model, build_model
from vaekit.training.step import Step
from vaekit.training.trainer import train

GOOD = """
import torch
from torch import nn


class MyVAE(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.there = nn.Linear(spec.data.size, 2 * spec.latent)
        self.back = nn.Linear(spec.latent, spec.data.size)

    def encode(self, x):
        mean, log_var = self.there(x.flatten(1)).chunk(2, dim=1)
        return (mean, log_var) if self.spec.kind == "vae" else (mean, None)

    def decode_params(self, z):
        return torch.tanh(self.back(z)).reshape(-1, *self.spec.data.shape)
"""

ENCODE = '        return (mean, log_var) if self.spec.kind == "vae" else (mean, None)'
DECODE = "        return torch.tanh(self.back(z)).reshape(-1, *self.spec.data.shape)"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, from which modules can be imported, and which is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def write(folder: Path, name: str, *changes: tuple[str, str]) -> str:
    """Write a module with `GOOD`, changed, and give its import path."""
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / f"{name}.py").write_text(text)
    return f"{name}:MyVAE"


def build(model: str, **options: Any) -> torch.nn.Module:
    config = TrainConfig(model=model, latent=2, **options)
    return build_model(config, config.spec(DataSpec((1, 4, 3))))


def test_a_class_in_the_current_directory_is_built_trained_and_exported(here: Path) -> None:
    (here / "own").mkdir()
    (here / "own" / "vae.py").write_text(GOOD)
    config = TrainConfig(model="own.vae:MyVAE", latent=2, batch_size=4)
    spec = config.spec(DataSpec((1, 4, 3)))
    model = build_model(config, spec)
    assert isinstance(model, Model)
    assert type(model).__name__ == "MyVAE"
    step = Step(model, config, spec, torch.device("cpu"), compiled=False)
    assert not step.analytic
    items = torch.full((4, 1, 4, 3), 255, dtype=torch.uint8)
    first, *_, last = [float(step(items, torch.randn(4, 2), 1e-2).sum()) for _ in range(60)]
    assert last < 0.8 * first
    graph = DecoderGraph(model.eval(), spec)
    session = onnxruntime.InferenceSession(to_onnx(graph, torch.zeros(2, 2), inputs=["z"], outputs=["x_hat"]))
    z = torch.randn(3, 2)
    torch.testing.assert_close(
        torch.from_numpy(session.run(None, {"z": z.numpy()})[0]), graph(z).detach(), rtol=0, atol=1e-5
    )


def test_it_is_found_from_a_console_script_whose_path_lacks_the_current_directory(here: Path) -> None:
    (here / "mine_for_a_script.py").write_text(GOOD)
    code = (
        "import sys; sys.path = [p for p in sys.path if p]\n"
        "from vaekit.spec import DataSpec; from vaekit.training.config import TrainConfig\n"
        "from vaekit.training.models import build_model\n"
        "config = TrainConfig(model='mine_for_a_script:MyVAE'); build_model(config, config.spec(DataSpec((3,))))"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=here)


def test_a_decoder_that_cuts_off_the_gradient_is_refused(here: Path) -> None:
    model = write(here, "detached", (DECODE, DECODE.replace("self.back(z)", "self.back(z.detach()).detach()")))
    with pytest.raises(
        ConfigError, match=r"decode_params\(z\) cuts off the gradient, so nothing would be trained; leave"
    ):
        build(model)


def test_an_autoencoder_of_ones_own_gives_no_log_variance(here: Path) -> None:
    (here / "mine_ae.py").write_text(GOOD)
    model: Any = build("mine_ae:MyVAE", kind="ae")
    assert model.encode(torch.rand(2, 1, 4, 3))[1] is None


def test_initial_weights_depend_on_the_seed_and_a_learned_scale_is_added(here: Path) -> None:
    (here / "mine_seed.py").write_text(GOOD)
    first, same, other = (build("mine_seed:MyVAE", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["there.weight"], other["there.weight"])
    assert "log_scale" in build("mine_seed:MyVAE", likelihood="discretized-logistic").state_dict()


@pytest.mark.parametrize("path", ["nowhere_at_all:MyVAE", "nowhere_at_all.models:MyVAE", "vaekit.nowhere:MyVAE"])
def test_a_module_that_is_not_there_is_named_with_where_it_was_looked_for(here: Path, path: str) -> None:
    missing = "vaekit.nowhere" if path.startswith("vaekit") else "nowhere_at_all"
    message = f"model='{path}': there is no module '{missing}', neither in {here} nor installed."
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import a_missing_thing\n" + GOOD, "the module 'NAME' needs 'a_missing_thing', which is not installed."),
        ("1 / 0", "importing 'NAME' raised ZeroDivisionError: division by zero."),
        ("def (", "importing 'NAME' raised SyntaxError: "),
        (GOOD.replace("MyVAE", "YourVAE"), "the module 'NAME' has no 'MyVAE'; it has YourVAE."),
        ("x = 1", "the module 'NAME' has no 'MyVAE'."),
        ("MyVAE = 3", "MyVAE is no class derived from torch.nn.Module."),
        ("class MyVAE: ...", "MyVAE is no class derived from torch.nn.Module."),
        (
            GOOD.replace("def encode", "def encoder"),
            "MyVAE has no method encode; a model needs encode and decode_params.",
        ),
        (GOOD.replace("decode_params", "decode"), "MyVAE has no method decode_params; a model needs encode and"),
        (
            GOOD.replace("self, spec)", "self)").replace("spec.", "self.spec."),
            "MyVAE(spec) raised TypeError: MyVAE.__init__() takes 1 positional argument but 2 were given.",
        ),
        (
            GOOD.replace("self.spec = spec", "raise ValueError('no\\n  luck')"),
            "MyVAE(spec) raised ValueError: no luck.",
        ),
        (
            GOOD.replace("self.spec = spec", "self.spec = spec; self.log_scale = 1"),
            "has an attribute log_scale, which is vaekit's",
        ),
        (
            GOOD.replace("nn.Linear(spec", "torch.nn.Linear(spec").replace(
                "    def encode", "        self.requires_grad_(False)\n\n    def encode"
            ),
            "MyVAE has no weights to train.",
        ),
        (
            GOOD.replace(ENCODE, "        return mean"),
            "encode must give the pair (mean, log_var), not a value of type Tensor.",
        ),
        (GOOD.replace(ENCODE, "        return mean, log_var, x"), "the pair (mean, log_var), not a tuple of 3."),
        (
            GOOD.replace(ENCODE, "        return mean, None"),
            "encode's log_var must be a tensor of shape (3, 2), not None.",
        ),
        (
            GOOD.replace(ENCODE, "        return mean[:, :1], log_var"),
            "encode's mean has shape (3, 1) and type float32; for 3 items it must be (3, 2) in float32.",
        ),
        (
            GOOD.replace(ENCODE, "        return mean, log_var.double()"),
            "encode's log_var has shape (3, 2) and type float64",
        ),
        (
            GOOD.replace(ENCODE, "        return mean, log_var / 0"),
            "encode's log_var has values that are not finite before any training.",
        ),
        (
            GOOD.replace("x.flatten(1)", "x"),
            "encode(x) with x of shape (3, 1, 4, 3) raised RuntimeError: mat1 and mat2 shapes cannot be multiplied",
        ),
        (
            GOOD.replace(DECODE, "        return self.back(z)"),
            "decode_params(z) has shape (3, 12) and type float32; for 3",
        ),
        (
            GOOD.replace(DECODE, "        return None"),
            "decode_params(z) must be a tensor of shape (3, 1, 4, 3), not None.",
        ),
        (
            GOOD.replace(DECODE, "        return self.forth(z)"),
            "decode_params(z) with z of shape (3, 2) raised AttributeError: 'MyVAE' object has no attribute 'forth'.",
        ),
        (
            GOOD.replace(ENCODE, "        mean = mean if self.training else mean / 0\n" + ENCODE),
            "encode's mean in evaluation mode has values that are not finite before any training.",
        ),
        (
            GOOD.replace(ENCODE, "        mean = mean if len(mean) != 4 else mean[:3]\n" + ENCODE),
            "encode's mean in evaluation mode has shape (3, 2) and type float32; for 4 items it must be (4, 2) in float32.",
        ),
        (
            GOOD.replace(DECODE, "        self.training or self.forth(z)\n" + DECODE),
            "decode_params(z) with z of shape (1, 2) in evaluation mode raised AttributeError: 'MyVAE' object has no",
        ),
        (
            GOOD + "\n    def get_extra_state(self):\n        return {'version': 3}\n",
            "_extra_state in MyVAE's state_dict is a value of type dict, but a checkpoint holds tensors alone; keep it in a",
        ),
        (
            GOOD.replace(DECODE, DECODE + " * float('nan')"),
            "decode_params(z) has values that are not finite before any training.",
        ),
    ],
)
def test_a_class_that_breaks_the_contract_gets_one_line(
    here: Path, request: pytest.FixtureRequest, source: str, message: str
) -> None:
    name = f"mine_{abs(hash(request.node.name))}"
    (here / f"{name}.py").write_text(source)
    expected = f"model='{name}:MyVAE': "
    with pytest.raises(ConfigError, match=re.escape(message.replace("NAME", name))) as refusal:
        build(f"{name}:MyVAE")
    assert str(refusal.value).startswith(expected)
    assert "\n" not in str(refusal.value)


def test_an_autoencoder_that_gives_a_log_variance_is_refused(here: Path) -> None:
    (here / "mine_wrong_ae.py").write_text(GOOD.replace(ENCODE, "        return mean, log_var"))
    with pytest.raises(ConfigError, match=re.escape("the pair (mean, None) for kind='ae', not a log_var.")):
        build("mine_wrong_ae:MyVAE", kind="ae")


def test_an_encode_that_changes_its_input_is_refused(here: Path) -> None:
    there = "        mean, log_var = self.there(x"
    model = write(here, "in_place", (there, f"        x.sub_(0.5)\n{there}"))
    with pytest.raises(ConfigError, match="encode changes its x in place"):
        build(model)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_goes_on_whose_loss_does_not_depend_on_a_weight(here: Path, small_dataset: Dataset, ema: float) -> None:
    init = "        self.spec = spec\n"
    model = write(here, "idle", (init, f"{init}        self.idle = nn.Linear(3, 3)\n"))
    config = TrainConfig(model=model, latent=2, epochs=2, likelihood="gaussian", device="cpu", ema=ema)
    whole = train(small_dataset, config, here / "whole")
    train(small_dataset, replace(config, epochs=1), here / "run")
    again = train(small_dataset, config, here / "run", resume=True)
    for name, tensor in whole.weights().items():
        torch.testing.assert_close(again.weights()[name], tensor, rtol=0, atol=0)
