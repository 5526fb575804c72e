"""One optimisation step, against Adam written out in NumPy and against torch's own unfused Adam."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from vaekit.errors import CheckpointError
from vaekit.spec import DataSpec
from vaekit.training import step as step_module
from vaekit.training.config import TrainConfig
from vaekit.training.models import MLP, build_model
from vaekit.training.step import COMPILE_PAYS_AFTER, Step, can_compile, should_compile

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SHAPE, BATCH, LATENT, RATE = (1, 6, 5), 8, 3, 3e-3


def make(*, compiled: bool = False, **options: Any) -> Step:
    config = TrainConfig(**{"hidden": (16,), "latent": LATENT, "batch_size": BATCH, **options})
    return Step(build_model(config, config.spec(DataSpec(SHAPE))), config, CPU, compiled=compiled)


def batch(number: int, size: int = BATCH) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    items = torch.randint(0, 256, (size, *SHAPE), generator=generator, dtype=torch.uint8)
    return items, torch.randn(size, LATENT, generator=generator)


def reference_terms(model: MLP, items: Tensor, eps: Tensor, likelihood: str = "bernoulli") -> tuple[Tensor, Tensor]:
    """Both terms per item, on probabilities and with torch.distributions, in the model's own precision."""
    x = items.to(eps.dtype) / 255
    mean, log_var = model.encode(x)
    if log_var is None:
        z, kl = mean, torch.zeros(len(x), dtype=eps.dtype)
    else:
        posterior = Normal(mean, (log_var / 2).exp())
        z, kl = posterior.loc + posterior.scale * eps, kl_divergence(posterior, Normal(0.0, 1.0)).sum(1)
    out = model.decode_params(z)
    if likelihood == "gaussian":
        return 0.5 * ((x - out) ** 2).flatten(1).sum(1), kl
    p = torch.sigmoid(out)
    return nn.functional.binary_cross_entropy(p, x, reduction="none").flatten(1).sum(1), kl


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().double().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta": 4.0},
        {"beta": 0.0},
        {"kind": "ae"},
        {"likelihood": "gaussian"},
        {"hidden": (12, 9)},
    ],
    ids=lambda options: str(options) or "reference",
)
def test_steps_are_those_of_unfused_adam_on_the_mean_loss_in_float64(options: dict[str, Any]) -> None:
    step = make(**options)
    config = TrainConfig(**{"hidden": (16,), "latent": LATENT, **options})
    reference = build_model(config, config.spec(DataSpec(SHAPE))).double()
    adam = torch.optim.Adam(reference.parameters(), lr=RATE, fused=False, foreach=False)
    for number in range(6):
        items, eps = batch(number, BATCH if number != 4 else 5)  # the last batch of an epoch may be smaller
        found = step(items, eps, RATE)
        reconstruction, kl = reference_terms(reference, items, eps.double(), config.likelihood)
        adam.zero_grad()
        (reconstruction + config.beta * kl).mean().backward()
        adam.step()
        expected = torch.stack((reconstruction.sum(), kl.sum())).detach()
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-3)
    moved = (weights(reference) - weights(make(**options).model)).abs().max()
    assert moved > RATE  # the comparison below is not of weights that stood still
    torch.testing.assert_close(weights(step.model), weights(reference), rtol=0, atol=float(moved) * 1e-3)


def test_a_step_is_adam_as_written_in_the_paper() -> None:
    # Kingma & Ba 2015, algorithm 1, with its defaults beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8.
    step, gradients = make(), []
    model = step.model
    start = weights(model).numpy()
    theta, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for t, rate in enumerate((1e-3, 5e-3, 2e-3), start=1):
        items, eps = batch(t)
        reconstruction, kl = reference_terms(model, items, eps)  # type: ignore[arg-type]
        gradients = torch.autograd.grad((reconstruction + kl).mean(), list(model.parameters()))
        g = torch.cat([gradient.double().flatten() for gradient in gradients]).numpy()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        theta = theta - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        step(items, eps, rate)
        large = np.abs(g) > 1e-6  # elsewhere epsilon and float32's rounding decide
        np.testing.assert_allclose(weights(model).numpy()[large], theta[large], rtol=0, atol=2e-5)


def test_float_items_train_as_their_pixels_do() -> None:
    items, eps = batch(0)
    pixels, values = make(), make()
    torch.testing.assert_close(pixels(items, eps, RATE), values(items.float() / 255, eps, RATE))
    torch.testing.assert_close(weights(pixels.model), weights(values.model))


def test_beta_weighs_the_kl_in_the_weights_but_not_in_the_numbers_reported() -> None:
    # Items that differ in brightness alone: a code that says how bright one is pays, at beta 1.
    items = torch.linspace(0, 255, BATCH).to(torch.uint8)[:, None, None, None].expand(BATCH, *SHAPE).contiguous()
    plain, heavy = make(), make(beta=100.0)
    torch.testing.assert_close(plain(items, batch(0)[1], RATE), heavy(items, batch(0)[1], RATE))
    for number in range(1, 150):
        plain(items, batch(number)[1], RATE)
        heavy(items, batch(number)[1], RATE)
    assert heavy(items, batch(0)[1], RATE)[1] < 0.2 * plain(items, batch(0)[1], RATE)[1]


def test_the_learning_rate_of_a_step_is_the_one_given() -> None:
    # Adam's first step moves each weight that has a gradient by the learning rate.
    for rate in (1e-3, 1e-2):
        step = make()
        before = weights(step.model)
        step(*batch(0), rate)
        assert float((weights(step.model) - before).abs().max()) == pytest.approx(rate, rel=1e-3)


def test_a_step_that_takes_over_anothers_state_goes_on_identically() -> None:
    first, second = make(), make(seed=9)
    for number in range(5):
        first(*batch(number), RATE)
    second.model.load_state_dict(first.model.state_dict())
    second.load_state(first.state())
    for number in range(5, 10):  # in turn, so that memory shared by the two would show
        assert torch.equal(first(*batch(number), RATE), second(*batch(number), RATE))
    assert torch.equal(weights(first.model), weights(second.model))
    state = second.state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in first.state().items())
    assert {name.split("/")[0] for name in state} == {"step", "exp_avg", "exp_avg_sq"}


def test_the_optimisers_state_matters() -> None:
    # The control of the test above: weights alone do not go on identically.
    first, second = make(), make()
    for number in range(5):
        first(*batch(number), RATE)
    second.model.load_state_dict(first.model.state_dict())
    first(*batch(5), RATE)
    second(*batch(5), RATE)
    assert not torch.equal(weights(first.model), weights(second.model))


@pytest.mark.parametrize("moment", ["step", "exp_avg", "exp_avg_sq"])
def test_a_state_without_a_moment_is_refused(moment: str) -> None:
    step = make()
    step(*batch(0), RATE)
    state = step.state()
    del state[f"{moment}/decoder.0.weight"]
    expected = f"the optimiser's state has no {moment} that fits the weight 'decoder.0.weight'."
    with pytest.raises(CheckpointError, match=re.escape(expected)):
        make().load_state(state)


def test_a_state_of_another_models_shape_is_refused() -> None:
    other = make(hidden=(17,))
    other(*batch(0), RATE)
    with pytest.raises(CheckpointError, match=r"has no exp_avg that fits the weight 'encoder\.0\.weight'"):
        make().load_state(other.state())


def test_a_bf16_step_is_close_to_the_fp32_step_and_not_the_same() -> None:
    fp32, bf16 = make(), make(precision="bf16")
    for number in range(20):
        exact, rough = fp32(*batch(number), RATE), bf16(*batch(number), RATE)
        # bfloat16 keeps 8 bits: 0.4 % a product, less in the sum.
        torch.testing.assert_close(rough, exact, rtol=2e-2, atol=0.5)
    assert not torch.equal(exact, rough)
    assert all(parameter.dtype == torch.float32 for parameter in bf16.model.parameters())
    assert all(tensor.dtype == torch.float32 for tensor in bf16.state().values())
    assert rough.dtype == torch.float32


def test_a_failing_compiler_is_warned_of_and_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: Any, **__: Any) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            raise RuntimeError("InvalidCxxCompiler:\n  No working C++ compiler found")

        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    step, eager = make(compiled=True), make()
    with pytest.warns(
        UserWarning, match="could not be compiled, so it runs uncompiled: InvalidCxxCompiler: No working"
    ):
        found = step(*batch(0), RATE)
    assert torch.equal(found, eager(*batch(0), RATE))
    assert not step.compiled
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        for number in range(1, 5):
            assert torch.equal(step(*batch(number), RATE), eager(*batch(number), RATE))
    assert torch.equal(weights(step.model), weights(eager.model))


@pytest.mark.filterwarnings("default")
def test_where_no_compiler_is_the_step_runs_uncompiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    step, eager = make(compiled=True), make()
    with pytest.warns(UserWarning, match="the step could not be compiled, so it runs uncompiled"):
        found = step(*batch(0), RATE)
    torch._dynamo.reset()
    assert torch.equal(found, eager(*batch(0), RATE))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not can_compile(CPU), reason="no C++ compiler, or no Python.h, on this machine")
def test_a_compiled_step_agrees_with_the_eager_one() -> None:
    compiled, eager = make(compiled=True), make()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the step could not be compiled")
        for number in range(6):
            data = batch(number, BATCH if number != 3 else 5)
            torch.testing.assert_close(compiled(*data, RATE), eager(*data, RATE), rtol=1e-4, atol=1e-3)
    assert compiled.compiled
    # Where a gradient is next to nothing its sign is chance, and Adam's first steps go by the sign.
    near = (weights(compiled.model) - weights(eager.model)).abs() < 1e-4
    assert float(near.double().mean()) > 0.99
    torch._dynamo.reset()


def test_a_compiler_is_looked_for_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    monkeypatch.setattr(step_module.sysconfig, "get_path", lambda _: str(tmp_path / "include"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not can_compile(CPU)
    for name in ("g++", "clang++", "c++"):
        compiler = tmp_path / name
        compiler.touch(mode=0o755)
        assert can_compile(CPU)
        compiler.unlink()
    (tmp_path / "g++").touch(mode=0o755)
    (tmp_path / "include" / "Python.h").unlink()
    assert not can_compile(CPU)


def test_compiling_is_done_as_asked_else_where_it_can_be_and_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "can_compile", lambda _: True)
    assert not should_compile(TrainConfig(), CPU, COMPILE_PAYS_AFTER - 1)
    assert should_compile(TrainConfig(), CPU, COMPILE_PAYS_AFTER)
    assert not should_compile(TrainConfig(compile=False), CPU, 10**9)
    monkeypatch.setattr(step_module, "can_compile", lambda _: False)
    assert not should_compile(TrainConfig(), CPU, 10**9)
    assert should_compile(TrainConfig(compile=True), CPU, 1)  # and falls back with a warning, see above
