"""One optimisation step, against Adam written out in NumPy and against torch's own unfused Adam."""

import math
import re
import shutil
import sysconfig
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from vaekit.errors import CheckpointError
from vaekit.spec import DataSpec, Feature
from vaekit.training.config import TrainConfig
from vaekit.training.models import MLP, build_model, trained_spec
from vaekit.training.objective import Terms, negative_elbo_terms, sampled_terms, training_loss
from vaekit.training.schedules import kl_weight_at
from vaekit.training.step import Step, batch_terms, binarized, noise_shape

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CAN_COMPILE = Path(sysconfig.get_path("include"), "Python.h").exists() and any(
    map(shutil.which, ("g++", "clang++", "c++"))
)
SHAPE, BATCH, LATENT, RATE = (1, 6, 5), 8, 3, 3e-3


def make(*, compiled: bool = False, autograd: bool = False, ready: Any = None, **options: Any) -> Step:
    config = TrainConfig(**{"hidden": (16,), "latent": LATENT, "batch_size": BATCH, **options})
    if autograd:  # the closed form leaves a compiled step alone, and where nothing is compiled that is autograd
        config = replace(config, compile=True)
    spec = config.spec(DataSpec(SHAPE))
    return Step(build_model(config, spec), config, spec, CPU, compiled=compiled, gradients_ready=ready)


def batch(number: int, size: int = BATCH, samples: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    items = torch.randint(0, 256, (size, *SHAPE), generator=generator, dtype=torch.uint8)
    lead = () if samples is None else (samples,)
    return items, torch.randn(*lead, size, LATENT, generator=generator)


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
    step, eager = make(compiled=True), make(autograd=True)
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
    step, eager = make(compiled=True), make(autograd=True)
    with pytest.warns(UserWarning, match="the step could not be compiled, so it runs uncompiled"):
        found = step(*batch(0), RATE)
    torch._dynamo.reset()
    assert torch.equal(found, eager(*batch(0), RATE))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not CAN_COMPILE, reason="no C++ compiler, or no Python.h, on this machine")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"arch": "conv", "width": 4, "hidden": (400,), "free_bits": 0.1},
        {
            "objective": "iwae",
            "importance_samples": 3,
            "kl_warmup": 4,
            "likelihood": "discretized-logistic",
            "ema": 0.9,
        },
    ],
    ids=str,
)
def test_a_compiled_step_agrees_with_the_eager_one(options: dict[str, Any]) -> None:
    compiled, eager = make(compiled=True, **options), make(**options)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the step could not be compiled")
        for number in range(6):
            data = batch(number, BATCH if number != 3 else 5, options.get("importance_samples"))
            weight = kl_weight_at(number, compiled.config)
            found, expected = compiled(*data, RATE, weight), eager(*data, RATE, weight)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    assert compiled.compiled
    # Where a gradient is next to nothing its sign is chance, and Adam's first steps go by the sign.
    near = (weights(compiled.model) - weights(eager.model)).abs() < 1e-4
    assert float(near.double().mean()) > 0.99
    torch._dynamo.reset()


def test_the_kls_weight_rises_in_a_line_from_zero_to_beta() -> None:
    config = TrainConfig(beta=3.0, kl_warmup=4)
    assert [kl_weight_at(step, config) for step in range(6)] == [0, 0.75, 1.5, 2.25, 3, 3]
    assert kl_weight_at(0, TrainConfig(beta=3.0)) == 3.0


def test_noise_has_a_row_an_item_and_a_layer_a_sample() -> None:
    assert noise_shape(TrainConfig(latent=7), 5) == (5, 7)
    assert noise_shape(TrainConfig(latent=7, objective="iwae", importance_samples=3), 5) == (3, 5, 7)
    assert noise_shape(TrainConfig(latent=7, objective="iwae"), 5) == (1, 5, 7)


@pytest.mark.parametrize("autograd", [False, True])
def test_a_given_weight_of_the_kl_takes_betas_place(autograd: bool) -> None:
    given, asked, plain = make(autograd=autograd), make(autograd=autograd, beta=0.25), make(autograd=autograd)
    assert given.analytic is not autograd
    for number in range(3):
        given(*batch(number), RATE, 0.25)
        asked(*batch(number), RATE)
        plain(*batch(number), RATE)
    torch.testing.assert_close(weights(given.model), weights(asked.model), rtol=0, atol=1e-6)
    assert not torch.allclose(weights(given.model), weights(plain.model), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "options", [{"objective": "iwae", "importance_samples": 4}, {"free_bits": 0.2}, {"kl_warmup": 9}]
)
def test_a_step_follows_the_gradient_of_its_objective(options: dict[str, Any]) -> None:
    step = make(**options)
    config = TrainConfig(hidden=(16,), latent=LATENT, **options)
    reference = build_model(config, step.spec).double()
    samples = 4 if "objective" in options else None
    items, eps = batch(0, samples=samples)
    found = step(items, eps, RATE, 0.6)
    x, eps = items.double() / 255, eps.double()
    mean, log_var = reference.encode(x)  # type: ignore[operator]
    posterior, prior = Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0)
    z = posterior.loc + posterior.scale * eps
    params = reference.decode_params(z.flatten(0, -2)).view(*z.shape[:-1], *SHAPE)  # type: ignore[operator]
    losses = nn.functional.binary_cross_entropy_with_logits(params, x.expand_as(params), reduction="none")
    reconstruction = losses.flatten(-3).sum(-1)
    if samples:
        kl = (posterior.log_prob(z) - prior.log_prob(z)).sum(-1)
        loss = -((-(reconstruction + 0.6 * kl)).exp().mean(0).log()).mean()
        expected = torch.stack((reconstruction.mean(0).sum(), kl.mean(0).sum()))
    else:
        kl = kl_divergence(posterior, prior)
        charged = kl.mean(0).clamp(min=options.get("free_bits", 0.0)).sum()
        loss = reconstruction.mean() + 0.6 * charged
        expected = torch.stack((reconstruction.sum(), kl.sum()))
    loss.backward()
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-5, atol=1e-3)
    gradient = torch.cat([p.grad.flatten() for p in reference.parameters() if p.grad is not None])
    # Adam's first step goes by the gradient's sign alone; its first moment is a tenth of the gradient.
    moment = torch.cat([step.state()[f"exp_avg/{name}"].flatten() for name, _ in reference.named_parameters()])
    torch.testing.assert_close(10 * moment.double(), gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))


def test_terms_of_a_batch_are_the_elbos_or_means_over_samples() -> None:
    step, config = make(), TrainConfig(hidden=(16,), latent=LATENT)
    items, eps = batch(0)
    x = items.float() / 255
    torch.testing.assert_close(
        batch_terms(step.model, items, eps, config, step.spec), negative_elbo_terms(step.model, x, eps, step.spec)
    )
    _, many = batch(0, samples=3)
    samples = sampled_terms(step.model, x, many, step.spec)
    expected = Terms(samples.reconstruction.mean(0), samples.kl.mean(0))
    torch.testing.assert_close(batch_terms(step.model, items, many, config, step.spec), expected)


@pytest.mark.parametrize("autograd", [False, True])
def test_columns_train_in_standardised_units(autograd: bool) -> None:
    features = tuple(Feature(str(number), 100.0 * number, 0.5 + number) for number in range(5))
    config = TrainConfig(likelihood="gaussian", scale=0.7, hidden=(16,), latent=LATENT, batch_size=BATCH)
    config = replace(config, compile=True) if autograd else config
    spec, plain = config.spec(DataSpec((5,), None, features)), config.spec(DataSpec((5,), None))
    raw = Step(build_model(config, spec), config, spec, CPU, compiled=False)
    standardised = Step(build_model(config, plain), config, plain, CPU, compiled=False)
    assert raw.analytic is standardised.analytic is not autograd
    for number in range(5):
        x, eps = torch.randn(BATCH, 5, generator=torch.Generator().manual_seed(number)), batch(number)[1]
        own = torch.from_numpy(spec.data.offsets + spec.data.units * x.double().numpy()).float()
        torch.testing.assert_close(raw(own, eps, RATE), standardised(x, eps, RATE), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(weights(raw.model), weights(standardised.model), rtol=0, atol=1e-4)


@pytest.mark.parametrize("likelihood", ["gaussian", "discretized-logistic"])
def test_a_learned_scale_goes_to_the_datas_noise(likelihood: str) -> None:
    # Items are one picture and noise, so a decoder that knows the picture has the noise for its error.
    noise = 0.06
    config = TrainConfig(likelihood=likelihood, scale="learned", hidden=(8,), latent=1, batch_size=64)  # type: ignore[arg-type]
    spec = config.spec(DataSpec(SHAPE))
    step = Step(build_model(config, spec), config, spec, CPU, compiled=False)
    generator = torch.Generator().manual_seed(0)
    picture = 0.3 + 0.4 * torch.rand(SHAPE, generator=generator)
    for number in range(700):
        x = picture + noise * torch.randn(64, *SHAPE, generator=generator)
        x = (255 * x.clamp(0, 1)).round().to(torch.uint8)
        step(x, torch.randn(64, 1, generator=generator), 1e-2 if number < 500 else 2e-3)
    scale = trained_spec(step.model, spec).scale
    # A logistic distribution of scale s that is fitted to N(0, sigma) has s = 0.57 sigma or so: numerically, E log-pdf's best.
    expected = noise if likelihood == "gaussian" else best_logistic_scale() * noise
    assert scale == pytest.approx(expected, rel=0.07)


def best_logistic_scale() -> float:
    """Scale of the logistic density with the highest mean log-density under N(0, 1)."""
    at = np.linspace(-8, 8, 4001)
    weight = np.exp(-(at**2) / 2)
    scales = np.linspace(0.4, 0.8, 401)
    means = [float((weight * (-at / s - math.log(s) - 2 * np.logaddexp(0, -at / s))).sum()) for s in scales]
    return float(scales[int(np.argmax(means))])


def test_pixels_are_drawn_with_their_values_for_probabilities() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(20_000, 1)
    p = torch.arange(256).double() / 255
    for items in (pixels, pixels.float() / 255):
        drawn = binarized(items, torch.Generator().manual_seed(0))
        assert drawn.dtype == torch.float32
        assert set(drawn.unique().tolist()) == {0.0, 1.0}
        error = (drawn.double().mean(0) - p).abs()
        assert bool((error <= 4.5 * (p * (1 - p) / 20_000).sqrt()).all())  # black and white exactly
        assert torch.equal(drawn, binarized(items, torch.Generator().manual_seed(0)))
        assert not torch.equal(drawn, binarized(items, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("autograd", [False, True])
def test_a_binarising_step_is_a_step_on_drawn_pixels(autograd: bool) -> None:
    drawing, plain = make(autograd=autograd, binarize="dynamic"), make(autograd=autograd)
    generator, same = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    for number in range(3):  # each batch is drawn anew
        items, eps = batch(number)
        assert torch.equal(drawing(items, eps, RATE, generator=generator), plain(binarized(items, same), eps, RATE))
    assert torch.equal(weights(drawing.model), weights(plain.model))


@pytest.mark.parametrize("autograd", [False, True])
def test_the_average_is_the_one_written_down_and_leaves_training_alone(autograd: bool) -> None:
    step, plain = make(autograd=autograd, ema=0.9), make(autograd=autograd)
    average = weights(step.model)
    for t in range(1, 101):
        step(*batch(t % 7), RATE)
        plain(*batch(t % 7), RATE)
        decay = min(0.9, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * weights(step.model)
    assert torch.equal(weights(step.model), weights(plain.model))
    training = weights(step.model)
    assert float((average - training).abs().max()) > RATE
    with step.averaged():
        torch.testing.assert_close(weights(step.model), average, rtol=0, atol=1e-5)
    assert torch.equal(weights(step.model), training)
    kept = step.weights()
    torch.testing.assert_close(
        torch.cat([kept[name].double().flatten() for name, _ in step.model.named_parameters()]),
        average,
        rtol=0,
        atol=1e-5,
    )
    assert torch.equal(step(*batch(0), RATE), plain(*batch(0), RATE))


def test_after_an_error_inside_the_weights_in_training_are_back() -> None:
    step = make(ema=0.9)
    step(*batch(0), RATE)
    training = weights(step.model)
    with pytest.raises(KeyError), step.averaged():
        raise KeyError
    assert torch.equal(weights(step.model), training)


def test_without_an_average_the_weights_are_the_models_own() -> None:
    step = make()
    step(*batch(0), RATE)
    training = weights(step.model)
    with step.averaged():
        assert torch.equal(weights(step.model), training)
    kept = step.weights()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in step.model.state_dict().items())
    step(*batch(1), RATE)  # a copy, which later steps do not change
    assert not torch.equal(kept["encoder.0.weight"], step.model.state_dict()["encoder.0.weight"])


@pytest.mark.parametrize("options", [{}, {"ema": 0.8}, {"arch": "conv", "hidden": (400,), "width": 4, "ema": 0.8}])
@pytest.mark.parametrize(("before", "after"), [(False, False), (False, True), (True, False), (True, True)])
def test_a_run_goes_on_from_its_state_whichever_way_the_gradient_came(
    options: dict[str, Any], before: bool, after: bool
) -> None:
    first, second = make(autograd=before, **options), make(autograd=after, seed=9, **options)
    for number in range(15):
        first(*batch(number), RATE)
    second.model.load_state_dict(first.weights())  # the averaged ones, as a checkpoint has them
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    assert torch.equal(weights(first.model), weights(second.model))
    for number in range(15, 20):
        torch.testing.assert_close(first(*batch(number), RATE), second(*batch(number), RATE), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(weights(first.model), weights(second.model), rtol=0, atol=1e-4 if before != after else 0)
    ours, theirs = first.weights(), second.weights()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=1e-4 if before != after else 0)


def test_a_state_without_averages_is_refused_where_they_are_wanted() -> None:
    step = make()
    step(*batch(0), RATE)
    with pytest.raises(CheckpointError, match=r"has no ema that fits the weight 'encoder\.0\.weight'"):
        make(ema=0.9).load_state(step.state())


@pytest.mark.parametrize("autograd", [False, True])
def test_gradients_may_be_averaged_over_processes_before_adam(autograd: bool) -> None:
    # Two steps play two processes of half a batch each; what one has gathered is the other's part of the mean.
    items, eps = batch(0)
    gathered: list[list[Tensor]] = []

    def gather(gradients: list[Tensor]) -> None:
        gathered.append([gradient.clone() for gradient in gradients])

    def average(gradients: list[Tensor]) -> None:
        for gradient, other in zip(gradients, gathered[0], strict=True):
            gradient.add_(other).div_(2)

    make(autograd=autograd, ready=gather)(items[:4], eps[:4], RATE)
    half, whole = make(autograd=autograd, ready=average), make(autograd=autograd)
    half(items[4:], eps[4:], RATE)
    whole(items, eps, RATE)
    assert len(gathered[0]) == (8 if autograd else 1)
    for name, tensor in whole.state().items():
        torch.testing.assert_close(half.state()[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("autograd", [False, True])
def test_a_long_gradient_is_shortened_to_the_norm_that_was_asked_for(autograd: bool) -> None:
    free, clipped, loose = (make(autograd=autograd, grad_clip=norm) for norm in (0.0, 0.5, 1e9))
    for step in (free, clipped, loose):
        step(*batch(0), RATE)
    moments = [
        torch.cat([t.flatten() for n, t in s.state().items() if "exp_avg/" in n]) for s in (free, clipped, loose)
    ]
    norm = 10 * float(moments[0].norm())  # the first moment is a tenth of the gradient
    assert norm > 1
    assert 10 * float(moments[1].norm()) == pytest.approx(0.5, rel=1e-4)
    torch.testing.assert_close(moments[1] * (norm / 0.5), moments[0], rtol=1e-3, atol=1e-6)
    assert torch.equal(moments[0], moments[2])


@pytest.mark.parametrize(
    "options",
    [
        {"arch": "conv", "width": 4},
        {"arch": "resnet", "width": 4},
        {"arch": "resnet", "width": 4, "precision": "bf16", "likelihood": "discretized-logistic"},
        {"arch": "conv", "width": 4, "objective": "iwae", "importance_samples": 3, "binarize": "dynamic", "ema": 0.9},
        {"objective": "iwae", "importance_samples": 3, "precision": "bf16", "kl_warmup": 5},
    ],
    ids=str,
)
def test_every_kind_of_model_learns(options: dict[str, Any]) -> None:
    hidden = (400,) if "arch" in options else (16,)
    step = make(hidden=hidden, grad_clip=100.0, **options)
    generator = torch.Generator().manual_seed(0)
    # Black and white items: one bit, which the code can carry at a cost of 0.7 nats, where chance costs 20.8.
    items = (torch.arange(BATCH) % 2 * 255).to(torch.uint8)[:, None, None, None].expand(BATCH, *SHAPE).contiguous()
    eps = torch.randn(noise_shape(step.config, BATCH), generator=generator)

    def loss() -> float:
        """The objective itself: with several samples, the two sums of a step are means that do not add up to the bound."""
        with torch.no_grad():
            return float(training_loss(step.model, items.float() / 255, eps, step.config, step.spec, 1.0)[0])

    before = loss()
    for _ in range(80):
        noise = torch.randn(noise_shape(step.config, BATCH), generator=generator)
        assert bool(step(items, noise, 1e-2, 1.0, generator).isfinite().all())
    assert loss() < 0.5 * before
