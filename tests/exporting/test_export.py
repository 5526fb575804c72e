"""Export from end to end: what stands in a bundle, compared with torch and NumPy in float64, and what leaves no bundle."""

from __future__ import annotations

import contextlib
import copy
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.reference
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import vaekit
from vaekit.bundle import Bundle
from vaekit.datasets import Dataset, Split
from vaekit.errors import (
    CheckpointError,
    DataError,
    ExportError,
    OutputError,
    ShapeError,
    UnsafeGraphError,
    VerificationError,
)
from vaekit.exporting import ModulePair, export_bundle
from vaekit.exporting import export as export_module
from vaekit.noise import noise
from vaekit.spec import DataSpec, ModelSpec
from vaekit.training import Checkpoint, TrainConfig, train

pytestmark = pytest.mark.usefixtures("one_thread")

BUNDLES = ["small_bundle", "ae_bundle", "gaussian_bundle", "trained_bundle"]


@pytest.fixture(scope="module")
def checkpoint(small_data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """One epoch of vaekit's own model on the small data set."""
    torch.set_num_threads(1)
    config = TrainConfig(hidden=(16,), latent=4, epochs=1, device="cpu", compile=False)
    return train(vaekit.datasets.load_dataset(small_data_folder), config, tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def trained_bundle(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return export_bundle(checkpoint, tmp_path_factory.mktemp("exported") / "trained").path


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return Bundle.open(request.getfixturevalue(request.param))


@pytest.fixture
def same_graphs(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take `small_pair`'s graphs from its bundle instead of exporting them again: for tests of what comes after."""

    def ready(_: nn.Module, __: Tensor, *, inputs: list[str], **___: Any) -> bytes:
        return (small_bundle / {"x": "encoder.onnx", "z": "decoder.onnx"}[inputs[0]]).read_bytes()

    monkeypatch.setattr(export_module, "to_onnx", ready)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_float64(pair: ModulePair) -> tuple[nn.Module, nn.Module]:
    return copy.deepcopy(pair.encoder).double().eval(), copy.deepcopy(pair.decoder).double().eval()


def real(split: Split) -> Tensor:
    items = torch.from_numpy(split.items.astype(np.float64))
    return items / 255 if split.items.dtype == np.uint8 else items


# What stands in a bundle.


def test_bundle_holds_these_files_and_no_other(bundle: Bundle) -> None:
    files = {"manifest.json", "SHA256SUMS", "encoder.onnx", "decoder.onnx", "golden.npz", "README.md"}
    if bundle.manifest.spec.data.is_image:
        files.add("preview.png")
    assert {path.name for path in bundle.path.iterdir()} == files
    assert not list(bundle.path.parent.glob(".*")), "a temporary folder was left beside the bundle"


def test_graphs_pass_onnx_checker_and_are_what_the_manifest_states(bundle: Bundle) -> None:
    info = bundle.manifest.precisions["fp32"]
    for graph in (info.encoder, info.decoder):
        model = onnx.load(str(bundle.path / graph.file.file), load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", graph.opset)] == [("", 18)]
        assert model.ir_version == graph.ir_version == 8
        for ports, values in ((graph.inputs, model.graph.input), (graph.outputs, model.graph.output)):
            for port, value in zip(ports, values, strict=True):
                axes = value.type.tensor_type.shape.dim
                assert port.name == value.name
                assert port.shape == (axes[0].dim_param, *(axis.dim_value for axis in axes[1:]))
                assert port.shape[0] == "batch"
        assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)


def test_onnx_reference_replays_the_golden_vectors(bundle: Bundle) -> None:
    golden = bundle.golden()
    encoder, decoder = (
        onnx.reference.ReferenceEvaluator(onnx.load(str(bundle.path / f"{half}.onnx")))
        for half in ("encoder", "decoder")
    )
    outputs = dict(zip(encoder.output_names, encoder.run(None, {"x": golden.x}), strict=True))
    assert list(outputs) == (["mean"] if bundle.manifest.spec.kind == "ae" else ["mean", "log_var"])
    for name, value in outputs.items():
        np.testing.assert_allclose(value, getattr(golden, name), rtol=0, atol=1e-5)
    np.testing.assert_allclose(decoder.run(None, {"z": golden.z})[0], golden.x_hat, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("folder", "pair", "data"),
    [
        ("small_bundle", "small_pair", "small_dataset"),
        ("ae_bundle", "ae_pair", "small_dataset"),
        ("gaussian_bundle", "gaussian_pair", "real_dataset"),
    ],
)
class TestNumbers:
    """The numbers of a bundle against torch in float64 and closed forms in NumPy."""

    @pytest.fixture(autouse=True)
    def _given(self, request: pytest.FixtureRequest, folder: str, pair: str, data: str) -> None:
        self.bundle = Bundle.open(request.getfixturevalue(folder))
        self.pair: ModulePair = request.getfixturevalue(pair)
        self.data: Dataset = request.getfixturevalue(data)
        self.is_vae = self.pair.spec.kind == "vae"

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance in float64."""
        with torch.inference_mode():
            result = in_float64(self.pair)[0](x)
        return (result[0], result[1].exp()) if self.is_vae else (result, torch.zeros_like(result))

    def test_golden_vectors_are_torchs_numbers(self) -> None:
        golden = self.bundle.golden()
        x = real(self.data.test)[:64]
        np.testing.assert_array_equal(golden.x, x.float().numpy())
        mean, variance = self.posterior(x)
        np.testing.assert_allclose(golden.mean, mean.numpy(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(np.exp(golden.log_var), variance.numpy(), rtol=1e-4)
        np.testing.assert_array_equal(golden.eps, noise(seed=0, count=64, dim=self.pair.spec.latent))
        z = mean + variance.sqrt() * torch.from_numpy(golden.eps)
        np.testing.assert_allclose(golden.z, z.numpy(), rtol=1e-4, atol=1e-5)
        with torch.inference_mode():
            x_hat = in_float64(self.pair)[1](torch.from_numpy(golden.z).double())
        np.testing.assert_allclose(golden.x_hat, x_hat.numpy(), rtol=1e-4, atol=1e-5)
        if self.data.test.labels is None:
            assert golden.labels is None
        else:
            assert golden.labels is not None
            np.testing.assert_array_equal(golden.labels, self.data.test.labels[:64])

    def test_statistics_are_those_of_the_training_items(self) -> None:
        mean, variance = (value.numpy() for value in self.posterior(real(self.data.train)))
        stated = self.bundle.manifest.statistics
        assert stated.items == len(self.data.train)
        np.testing.assert_allclose(stated.mean, mean.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(stated.std, np.sqrt(mean.var(axis=0) + variance.mean(axis=0)), rtol=1e-5)
        kl = (variance - np.log(variance) - 1 + mean**2).mean(axis=0) / 2 if self.is_vae else []
        np.testing.assert_allclose(stated.kl, kl, rtol=1e-4)
        assert stated.active == tuple(np.flatnonzero(mean.var(axis=0) > 0.01))

    def test_quality_is_that_of_torch_in_float64_on_the_test_items(self) -> None:
        x = real(self.data.test)
        mean, variance = self.posterior(x)
        eps = torch.from_numpy(noise(seed=0, count=len(x), dim=self.pair.spec.latent)).double()
        with torch.inference_mode():
            x_hat = in_float64(self.pair)[1](mean + variance.sqrt() * eps)
        if self.pair.spec.likelihood == "bernoulli":
            reconstruction = functional.binary_cross_entropy(x_hat, x, reduction="sum") / len(x)
        else:
            reconstruction = functional.mse_loss(x_hat, x, reduction="sum") / 2 / len(x)
        kl = 0.0
        if self.is_vae:
            posterior = torch.distributions.Normal(mean, variance.sqrt())
            prior = torch.distributions.Normal(0.0, torch.ones_like(mean))
            kl = float(torch.distributions.kl_divergence(posterior, prior).sum() / len(x))
        stated = self.bundle.manifest.precisions["fp32"].quality
        assert stated["items"] == len(x)
        assert stated["reconstruction"] == pytest.approx(float(reconstruction), abs=0.01)
        assert stated["kl"] == pytest.approx(kl, abs=0.01)
        assert stated["negative_elbo"] == pytest.approx(float(reconstruction) + kl, abs=0.01)

    def test_errors_are_measured_and_within_the_limit(self) -> None:
        error = self.bundle.manifest.precisions["fp32"].error
        assert list(error) == ["encoder", "decoder", "round_trip"]
        assert all(0 < value <= 1e-5 for value in error.values()), (
            "float32 in two programs is never bit for bit the same"
        )

    def test_each_half_is_within_the_limit_of_torch_on_test_items(self) -> None:
        vae = vaekit.load(self.bundle.path, provider="cpu", threads=1)
        x = self.data.test.pixels(slice(None))
        mean, variance = self.posterior(torch.from_numpy(x).double())
        for batch in (1, 2, 7, 256):
            posterior = vae.encode(x[:batch])
            np.testing.assert_allclose(posterior.mean, mean[:batch].numpy(), rtol=0, atol=1e-5)
            np.testing.assert_allclose(np.exp(posterior.log_var), variance[:batch].numpy(), rtol=1e-5)


def test_no_file_names_a_local_path(trained_bundle: Path, checkpoint: Checkpoint, small_data_folder: Path) -> None:
    places = [trained_bundle.parent, checkpoint.run, small_data_folder, Path.cwd(), Path(__file__).parent]
    for name, content in contents(trained_bundle).items():
        for leak in (*(str(place).encode() for place in places), b"site-packages", b"__main__"):
            assert leak not in content, f"{name} names {leak!r}"
        if name.endswith(".onnx"):
            for leak in (b".py", b"MLP", b"EncoderGraph", b"DecoderGraph"):
                assert leak not in content, f"{name} holds {leak!r}"


def test_manifest_says_what_made_it(trained_bundle: Path, checkpoint: Checkpoint) -> None:
    made_by = json.loads((trained_bundle / "manifest.json").read_bytes())["made_by"]
    assert (
        made_by["versions"]
        | {
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "numpy": np.__version__,
            "vaekit": vaekit.__version__,
        }
        == made_by["versions"]
    )
    assert made_by["data"] == {
        "name": "small",
        "sha256": checkpoint.info.data_sha256,
        "train_items": 320,
        "test_items": 300,
    }
    assert made_by["config"] == json.loads((checkpoint.run / "run.json").read_bytes())["config"]
    assert made_by["epoch"] == 1


def test_exporting_the_same_run_again_gives_the_same_bundle(
    trained_bundle: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    again = export_bundle(checkpoint, tmp_path / "trained")
    assert contents(again.path) == contents(trained_bundle)


def test_a_program_that_has_torch_compute_in_float64_trains_and_exports_the_same(
    checkpoint: Checkpoint, trained_bundle: Path, small_data_folder: Path, tmp_path: Path
) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        again = train(vaekit.datasets.load_dataset(small_data_folder), checkpoint.info.config, tmp_path / "small")
        bundle = export_bundle(again, tmp_path / "trained")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert contents(bundle.path) == contents(trained_bundle)


def test_opset_and_name_go_into_the_manifest(small_pair: ModulePair, small_dataset: Dataset, tmp_path: Path) -> None:
    bundle = export_bundle(small_pair, tmp_path / "folder", data=small_dataset, name="a name", opset=20)
    graph = bundle.manifest.precisions["fp32"].encoder
    assert (bundle.manifest.name, graph.opset, graph.ir_version) == ("a name", 20, 9)


def test_modules_keep_their_modes(small_pair: ModulePair, small_dataset: Dataset, tmp_path: Path) -> None:
    pair = copy.deepcopy(small_pair)
    pair.encoder.train()
    pair.decoder.train()[0].eval()
    modes = [part.training for half in (pair.encoder, pair.decoder) for part in half.modules()]
    export_bundle(pair, tmp_path / "bundle", data=small_dataset)
    assert [part.training for half in (pair.encoder, pair.decoder) for part in half.modules()] == modes


# Modules.


class Encoder(nn.Module):
    """Six features to three latent dimensions, with a twist that a test adds."""

    def __init__(self, twist: Callable[[Tensor], Any] = lambda h: h, *, outputs: int = 6) -> None:
        super().__init__()
        self.twist = twist
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.linear = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Any:
        result = self.twist(self.linear(x))
        return result.chunk(2, dim=1) if isinstance(result, Tensor) else result


class Decoder(nn.Module):
    """Three latent dimensions to six features, with a twist."""

    def __init__(self, twist: Callable[[Tensor], Any] = lambda h: h, *, outputs: int = 6) -> None:
        super().__init__()
        self.twist = twist
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(6)
            self.linear = nn.Linear(3, outputs)

    def forward(self, z: Tensor) -> Any:
        return self.twist(self.linear(z))


SPEC = ModelSpec("vae", DataSpec((6,), None), 3, "gaussian")


def exporting_differs(h: Tensor) -> Tensor:
    return h + 0.25 if torch.compiler.is_exporting() else h


def batch_mean(h: Tensor) -> Tensor:
    return h - h.mean(0)


def batch_of_seven(h: Tensor) -> Tensor:
    return h + (torch.ones(h.shape[0]).sum() == 7).float()


def calls_counted() -> Callable[[Tensor], Tensor]:
    calls = [0]

    def twist(h: Tensor) -> Tensor:
        calls[0] += 1  # once while it is traced, so the graph adds 1
        return h + calls[0]

    return twist


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        (Encoder(exporting_differs), Decoder(), r"the exported encoder differs from torch by 0\.25 at batch 1;"),
        (Encoder(), Decoder(exporting_differs), r"the exported decoder differs from torch by 0\.25 at batch 1;"),
        (Encoder(), Decoder(calls_counted()), r"the exported decoder differs from torch by \d at batch 1;"),
        (Encoder(batch_mean), Decoder(), r"the exported encoder differs from torch by [\d.]+ at batch 1;"),
        (Encoder(), Decoder(batch_mean), r"the exported decoder differs from torch by [\d.]+ at batch 1;"),
        (Encoder(), Decoder(batch_of_seven), r"the exported decoder differs from torch by 1 at batch 7;"),
    ],
    ids=["encoder", "decoder", "counter", "encoder's batch mean", "decoder's batch mean", "decoder at batch 7"],
)
def test_mismatch_names_the_half_and_the_batch_and_leaves_nothing(
    encoder: nn.Module, decoder: nn.Module, message: str, real_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(VerificationError, match=message + r" the limit is 1e-05\. Nothing was written\."):
        export_bundle(ModulePair(encoder, decoder, SPEC), tmp_path / "bundle", data=real_dataset)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        (
            Encoder(),
            Decoder(lambda h: 4 * h - 2),
            r"the decoder gives values from -.* to .*, but the mean of a bernoulli",
        ),
        (Encoder(lambda h: h.log() * 0 - torch.inf), Decoder(), "the encoder gives a mean that is not finite"),
        (Encoder(lambda h: h * 0 + 500), Decoder(), "the encoder gives a log_var of up to 500, whose exp"),
    ],
    ids=["logits", "infinite", "overflow"],
)
def test_what_is_no_mean_is_named(encoder: nn.Module, decoder: nn.Module, message: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    train, test = (Split(rng.random((count, 6), np.float32)) for count in (300, 300))
    data = Dataset("unit", "unit", "0" * 64, train, test)
    spec = ModelSpec("vae", DataSpec((6,), (0.0, 1.0)), latent=3, likelihood="bernoulli")
    with pytest.raises(ExportError, match=message):
        export_bundle(ModulePair(encoder, decoder, spec), tmp_path / "bundle", data=data)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_s_name_may_be_no_utf8(small_pair: ModulePair, small_dataset: Dataset, tmp_path: Path) -> None:
    target = tmp_path / os.fsdecode(b"b\xfe")
    bundle = export_bundle(small_pair, target, data=small_dataset, precisions="fp32")
    assert bundle.manifest.name == "b\ufffd"


def test_nan_is_a_mismatch(real_dataset: Dataset, tmp_path: Path) -> None:
    pair = ModulePair(Encoder(), Decoder(lambda h: torch.sqrt(h - 1e9)), SPEC)
    with pytest.raises(VerificationError, match="the exported decoder differs from torch by inf"):
        export_bundle(pair, tmp_path / "bundle", data=real_dataset)
    assert list(tmp_path.iterdir()) == []


def test_bundle_that_does_not_replay_its_golden_vectors_is_not_kept(real_dataset: Dataset, tmp_path: Path) -> None:
    calls = [0]

    def first_real_call_differs(h: Tensor) -> Tensor:  # the golden vectors are taken in that call
        if torch.compiler.is_exporting():
            return h
        calls[0] += 1
        return h + 0.5 if calls[0] == 1 else h

    pair = ModulePair(Encoder(), Decoder(first_real_call_differs), SPEC)
    message = (
        r"does not replay its golden vectors: decode, batch 1 differs by 0\.5, the limit is 1e-05\. Nothing was written"
    )
    with pytest.raises(VerificationError, match=message):
        export_bundle(pair, tmp_path / "bundle", data=real_dataset)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("half", "encoder", "decoder"),
    [
        ("encoder", Encoder(lambda h: h + torch.randn(h.shape[0], 6)), Decoder()),
        ("decoder", Encoder(), Decoder(lambda h: functional.dropout(h, 0.5, training=True))),
    ],
    ids=["randn in the encoder", "dropout in the decoder"],
)
def test_random_module_is_refused_and_leaves_nothing(
    half: str, encoder: nn.Module, decoder: nn.Module, real_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(UnsafeGraphError, match=rf"{half}\.onnx .* draws? random numbers"):
        export_bundle(ModulePair(encoder, decoder, SPEC), tmp_path / "bundle", data=real_dataset)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        (Encoder(lambda h: (h[:, :3],)), Decoder(), r"encoder gives 1 output \(64, 3\), .* 2 outputs \(64, 3\) and \(64, 3\)"),
        (Encoder(outputs=8), Decoder(), r"the encoder gives 2 outputs \(64, 4\) and \(64, 4\), but the model's spec asks"),
        (Encoder(), Decoder(outputs=7), r"the decoder gives 1 output \(64, 7\), but .* asks for 1 output \(64, 6\) in float32"),
        (Encoder(), Decoder(lambda h: h.double()), r"the decoder gives 1 output \(64, 6\), but .* in float32"),
    ],
    ids=["one output", "wide encoder", "wide decoder", "float64"],
)  # fmt: skip
def test_modules_that_do_not_give_what_their_spec_says_are_refused(
    encoder: nn.Module, decoder: nn.Module, message: str, real_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message):
        export_bundle(ModulePair(encoder, decoder, SPEC), tmp_path / "bundle", data=real_dataset)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "twist",
    [lambda h: h if h.sum() > 0 else -h, lambda h: h.reshape(2, 6), lambda h: torch.linalg.svd(h[:, None])[2][:, 0]],
    ids=["branch", "fixed batch", "unknown operator"],
)
def test_module_that_cannot_be_exported_leaves_nothing(
    twist: Callable[[Tensor], Tensor], real_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ExportError) as caught:
        export_bundle(ModulePair(Encoder(), Decoder(twist), SPEC), tmp_path / "bundle", data=real_dataset)
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_module_may_return_a_list_and_write_to_its_input(real_dataset: Dataset, tmp_path: Path) -> None:
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            x.mul_(0.5)
            return [x[:, :3], x[:, 3:]]

    before = real_dataset.test.items.copy()
    bundle = export_bundle(ModulePair(InPlace(), Decoder(), SPEC), tmp_path / "bundle", data=real_dataset)
    np.testing.assert_array_equal(real_dataset.test.items, before)
    np.testing.assert_allclose(bundle.golden().mean, before[:64, :3] / 2, rtol=1e-6)


# Data.


def test_pair_without_data_is_refused(small_pair: ModulePair, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"a pair of modules was given without data; pass data="):
        export_bundle(small_pair, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_data_of_another_shape_is_refused(small_pair: ModulePair, real_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"items of shape \(6,\), but the model takes \(1, 28, 28\)"):
        export_bundle(small_pair, tmp_path / "bundle", data=real_dataset)
    assert list(tmp_path.iterdir()) == []


def test_data_beyond_the_models_range_is_refused(tmp_path: Path, real_dataset: Dataset) -> None:
    narrow = SPEC.replace(data=DataSpec((6,), (-0.001, 0.001)))
    with pytest.raises(ShapeError, match=r"x has values from .* but the model takes -0\.001 to 0\.001"):
        export_bundle(ModulePair(Encoder(), Decoder(), narrow), tmp_path / "bundle", data=real_dataset)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["train", "test"])
def test_data_without_items_is_refused(part: str, real_dataset: Dataset, tmp_path: Path) -> None:
    data = replace(real_dataset, **{part: Split(real_dataset.test.items[:0])})
    with pytest.raises(DataError, match=rf"the data 'real' has no {part}\w* items; a bundle is measured on both parts"):
        export_bundle(ModulePair(Encoder(), Decoder(), SPEC), tmp_path / "bundle", data=data)
    assert list(tmp_path.iterdir()) == []


def test_one_read_only_test_item_is_enough(real_dataset: Dataset, tmp_path: Path) -> None:
    item = real_dataset.test.items[:1].copy()
    item.flags.writeable = False
    data = replace(real_dataset, test=Split(item))
    bundle = export_bundle(ModulePair(Encoder(), Decoder(), SPEC), tmp_path / "bundle", data=data)
    vae = vaekit.load(bundle.path, provider="cpu", threads=1)
    assert vae.sample(7).shape == (7, 6), "the batch froze"
    assert len(bundle.golden().x) == 1


def test_data_that_changed_since_training_is_refused(
    checkpoint: Checkpoint, small_data_folder: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "small"
    shutil.copytree(small_data_folder, changed)
    labels = changed / "t10k-labels-idx1-ubyte.gz"
    other = small_data_folder / "train-labels-idx1-ubyte.gz"
    images, more = changed / "t10k-images-idx3-ubyte.gz", small_data_folder / "train-images-idx3-ubyte.gz"
    labels.write_bytes(other.read_bytes())
    images.write_bytes(more.read_bytes())
    moved = replace(checkpoint, info=replace(checkpoint.info, data=str(changed)))
    with pytest.raises(CheckpointError, match=r"is no longer what .* was trained on \(SHA-256 [0-9a-f]{64}\)"):
        export_bundle(moved, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


# The folder.


@pytest.mark.usefixtures("same_graphs")
def test_folder_that_exists_is_refused_and_untouched(
    small_pair: ModulePair, small_dataset: Dataset, bundle_copy: Path
) -> None:
    before = contents(bundle_copy)
    with pytest.raises(OutputError, match="exists already; choose another path, or pass overwrite=True to replace it"):
        export_bundle(small_pair, bundle_copy, data=small_dataset)
    assert contents(bundle_copy) == before


def test_folder_that_exists_is_refused_before_the_work(
    small_pair: ModulePair, small_dataset: Dataset, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "to_onnx", lambda *_, **__: pytest.fail("it was exported first"))
    with pytest.raises(OutputError, match="exists already"):
        export_bundle(small_pair, bundle_copy, data=small_dataset)


@pytest.mark.usefixtures("same_graphs")
def test_overwrite_replaces_the_whole_bundle(
    small_pair: ModulePair, small_dataset: Dataset, bundle_copy: Path, small_bundle: Path
) -> None:
    (bundle_copy / "left over").write_text("of the old bundle")
    (bundle_copy / "encoder.onnx").write_bytes(b"damaged")
    bundle = export_bundle(small_pair, bundle_copy, data=small_dataset, name="small", overwrite=True)
    assert contents(bundle.path) == contents(small_bundle)
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]


@pytest.mark.usefixtures("same_graphs")
def test_overwrite_fills_an_empty_folder_but_spares_a_folder_of_something_else(
    small_pair: ModulePair, small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    precious = tmp_path / "thesis"
    precious.mkdir()
    export_bundle(small_pair, precious, data=small_dataset, overwrite=True)
    shutil.rmtree(precious)
    precious.mkdir()
    (precious / "chapter1.tex").write_text("three years of work")
    monkeypatch.chdir(precious)
    for path in (precious, ".", "../thesis"):
        with pytest.raises(OutputError, match="is a folder, but no bundle, so it is not replaced; choose another path"):
            export_bundle(small_pair, path, data=small_dataset, overwrite=True)
    assert (precious / "chapter1.tex").read_text() == "three years of work"


@pytest.mark.usefixtures("same_graphs")
def test_bundle_may_be_replaced_from_inside_it(
    small_pair: ModulePair, small_dataset: Dataset, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle_copy)
    export_bundle(small_pair, ".", data=small_dataset, overwrite=True)
    assert Bundle.open(bundle_copy).manifest.name == bundle_copy.name


def test_failure_with_overwrite_keeps_the_old_bundle_byte_for_byte(real_dataset: Dataset, bundle_copy: Path) -> None:
    before = contents(bundle_copy)
    pair = ModulePair(Encoder(), Decoder(exporting_differs), SPEC)
    with pytest.raises(VerificationError):
        export_bundle(pair, bundle_copy, data=real_dataset, overwrite=True)
    assert contents(bundle_copy) == before
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]


FILES = ["encoder.onnx", "decoder.onnx", "golden.npz", "manifest.json", "SHA256SUMS", "README.md", "preview.png"]


@pytest.mark.usefixtures("same_graphs")
@pytest.mark.parametrize("full_at", FILES)
@pytest.mark.parametrize("overwrite", [False, True])
def test_disk_that_fills_up_leaves_no_bundle_and_spares_the_old_one(
    full_at: str,
    overwrite: bool,
    small_pair: ModulePair,
    small_dataset: Dataset,
    bundle_copy: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = Path.write_bytes

    def until_full(path: Path, content: bytes) -> int:
        if path.name == full_at:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, content)

    target = bundle_copy if overwrite else bundle_copy.with_name("new")
    before = contents(bundle_copy)
    monkeypatch.setattr(Path, "write_bytes", until_full)
    with pytest.raises(OutputError, match=r"could not be written: No space left on device\."):
        export_bundle(small_pair, target, data=small_dataset, overwrite=overwrite)
    monkeypatch.undo()
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]
    assert contents(bundle_copy) == before


@contextlib.contextmanager
def without_root() -> Iterator[None]:
    """Root may write anywhere, so become nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("same_graphs")
def test_read_only_parent_is_one_error(small_pair: ModulePair, small_dataset: Dataset, tmp_path: Path) -> None:
    parent = tmp_path / "read only"
    parent.mkdir()
    parent.chmod(0o500)
    with pytest.raises(OutputError, match=r"bundle could not be made: Permission denied\."), without_root():
        export_bundle(small_pair, parent / "bundle", data=small_dataset)
    assert list(parent.iterdir()) == []


@pytest.mark.usefixtures("same_graphs")
def test_interrupted_export_leaves_nothing(
    small_pair: ModulePair, small_dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export_module, "compare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(small_pair, tmp_path / "bundle", data=small_dataset)
    assert list(tmp_path.iterdir()) == []
