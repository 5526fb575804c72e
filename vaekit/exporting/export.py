"""From a checkpoint, or any pair of modules, to a bundle that is proved before it exists.

The graphs are exported, compared with the model in torch on real test items, and measured through ONNX Runtime; golden
vectors are taken from the model in torch; the folder is opened and replayed as any host would; only then is it renamed
into place.

Needs: torch, onnx, onnxscript, ONNX Runtime.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vaekit.bundle import CHECKSUMS, MANIFEST, Bundle, Golden, checksums, describe_file, describe_graph
from vaekit.datasets import Dataset, load_dataset
from vaekit.datasets.mapped import spread
from vaekit.errors import CheckpointError, DataError, ExportError, OutputError, ShapeError, VerificationError
from vaekit.exporting.card import model_card
from vaekit.exporting.graphs import OPSET, evaluation_mode, to_onnx
from vaekit.graphguard import inspect_graph
from vaekit.images import grid, png_bytes
from vaekit.latents import reparameterise
from vaekit.manifest import FileInfo, GraphInfo, LatentStatistics, Manifest, PrecisionInfo
from vaekit.noise import noise
from vaekit.runtime.evaluate import evaluate
from vaekit.runtime.session import VAE
from vaekit.runtime.verify import replay, verify_bundle
from vaekit.spec import ModelSpec
from vaekit.storage import new_folder
from vaekit.training.checkpoint import Checkpoint
from vaekit.training.models import DecoderGraph, EncoderGraph, trained_spec

TOLERANCES: Final = {"cpu": 1e-5, "cuda": 1e-4, "cuda-tf32": 5e-3, "other": 1e-3}
"""Largest absolute deviation by provider. TF32 keeps 10 mantissa bits; other providers may compute in half precision."""

BATCHES: Final = (1, 2, 7, 256)
"""Batch sizes at which torch and ONNX Runtime are compared."""

COMPARED: Final = 256
"""Test items that are compared at each batch size."""

GOLDEN_ITEMS: Final = 64
GOLDEN_SEED: Final = 0

MEASURED: Final = 100_000
"""Most items of each split that a bundle's numbers are measured on; more would take longer and change no digit."""

PREVIEW: Final = (8, 8)
"""Rows and columns of preview.png."""


@dataclass(frozen=True)
class ModulePair:
    """Any model as two modules, each a pure function of its input.

    Attributes:
        encoder: x (N, *shape) -> (mean, log_var), each (N, D); for kind "ae", mean alone.
        decoder: z (N, D) -> x_hat (N, *shape), the likelihood's mean: probabilities, not logits.
        spec: What the model is.
    """

    encoder: nn.Module
    decoder: nn.Module
    spec: ModelSpec


def export_bundle(
    source: Checkpoint | ModulePair,
    path: str | Path,
    *,
    data: Dataset | None = None,
    name: str | None = None,
    opset: int = OPSET,
    overwrite: bool = False,
) -> Bundle:
    """Export a model as a bundle, verified before it exists.

    Args:
        source: A checkpoint, or any pair of modules.
        path: The bundle's folder.
        data: Items to verify and to measure on; None reads the checkpoint's own data set again.
        name: What the model is called; None takes the folder's name.
        opset: ONNX operator set of both graphs.
        overwrite: Whether a bundle that stands there may be replaced.

    Returns:
        The bundle, opened again from its final place.

    Raises:
        ExportError: The modules cannot be exported, or do not give what their spec says.
        UnsafeGraphError: A module draws random numbers.
        VerificationError: ONNX Runtime's numbers are not torch's; nothing was written.
        OutputError: The folder exists or cannot be written; what stood there still does.
        CheckpointError: The checkpoint is damaged, or the data is not what it was trained on.
        DataError: The data set is not found, or has no items.
        ShapeError: The data has items of another shape or range than the model takes.
    """
    target = Path(path)
    if not target.name:  # "." has no name of its own, and nothing to put a temporary folder beside
        target = target.resolve()
    if overwrite:
        _refuse_to_replace_other_folders(target)
    if isinstance(source, Checkpoint):
        model = source.model()
        spec = trained_spec(model, source.spec)
        pair = ModulePair(EncoderGraph(model, spec), DecoderGraph(model, spec), spec)
        data = data or _own_data(source)
        made_with: Mapping[str, Any] = {"config": source.info.config.to_json(), "epoch": source.epoch}
    else:
        pair, made_with = source, {}
        if data is None:
            raise ExportError(
                "a pair of modules was given without data; pass data=, real items to verify the graphs on."
            )
    shape = tuple(data.train.items.shape[1:])
    if shape != pair.spec.data.shape:
        raise ShapeError(f"the data has items of shape {shape}, but the model takes {pair.spec.data.shape}.")
    for part, split in (("training", data.train), ("test", data.test)):
        if len(split) == 0:
            raise DataError(f"the data {data.name!r} has no {part} items; a bundle is measured on both parts.")
    with new_folder(target, overwrite=overwrite) as folder:
        encoder, decoder = _export_graphs(pair, data, opset)
        graphs = {
            half: _write_graph(folder, f"{half}.onnx", content)
            for half, content in (("encoder", encoder), ("decoder", decoder))
        }
        labels = None if data.test.labels is None else data.test.labels[:GOLDEN_ITEMS]
        golden = _golden(pair, data.test.pixels(slice(GOLDEN_ITEMS)), labels)
        manifest = Manifest(
            name=name or target.resolve().name,
            spec=pair.spec,
            precisions={"fp32": PrecisionInfo(graphs["encoder"], graphs["decoder"], {}, {})},
            statistics=_no_statistics(pair.spec),
            tolerances=TOLERANCES,
            golden=_write(folder, "golden.npz", golden.to_bytes()),
            golden_items=len(golden.x),
            golden_seed=GOLDEN_SEED,
            made_by=_made_by(data, made_with),
        )
        # The bundle is opened as a stranger's would be, so that what is measured is what will be loaded.
        _write_manifest(folder, manifest)
        vae = VAE(folder, provider="cpu")
        error = compare(pair, vae, data.test.pixels(slice(COMPARED)))
        manifest = _measured(manifest, vae, data, error)
        extra = [_write(folder, "README.md", model_card(manifest).encode())]
        if pair.spec.data.is_image:
            rows, columns = PREVIEW
            extra.append(_write(folder, "preview.png", png_bytes(grid(vae.sample(rows * columns), columns))))
        _write_manifest(folder, manifest._replace(extra_files=tuple(extra)))
        _prove(folder)
    return Bundle.open(target)


def compare(pair: ModulePair, vae: VAE, x: NDArray[np.float32]) -> dict[str, float]:
    """Largest absolute differences between the modules in torch and a bundle's graphs, over `BATCHES`.

    Args:
        pair: The model in torch.
        vae: The model in ONNX Runtime.
        x: Real items, shape (N, *shape).

    Returns:
        "encoder" (mean and log_var), "decoder" (x_hat from torch's z), "round_trip" (x -> z -> x_hat, each on its own).

    Raises:
        VerificationError: One is above the CPU's tolerance.
    """
    golden = _golden(pair, x)
    error = {"encoder": 0.0, "decoder": 0.0, "round_trip": 0.0}
    for batch in BATCHES:
        found = replay(vae, golden, seed=GOLDEN_SEED, batch=batch)
        measured = {
            "encoder": max(value for what, value in found.items() if what.startswith("encode")),
            "decoder": found["decode"],
            "round_trip": found["round trip"],
        }
        for what, value in measured.items():
            if not value <= TOLERANCES["cpu"]:
                raise VerificationError(
                    f"the exported {what.replace('_', ' ')} differs from torch by {value:.2g} at batch {batch}; the limit is "
                    f"{TOLERANCES['cpu']:g}. Nothing was written. Is a layer random, or does it depend on the batch?"
                )
            error[what] = max(error[what], value)
    return error


def _export_graphs(pair: ModulePair, data: Dataset, opset: int) -> tuple[bytes, bytes]:
    x = data.test.pixels(slice(2))
    encoder = to_onnx(
        pair.encoder,
        torch.from_numpy(np.resize(x, (2, *x.shape[1:]))),  # two rows also where there is one item
        inputs=["x"],
        outputs=list(pair.spec.encoder_outputs),
        opset=opset,
    )
    decoder = to_onnx(pair.decoder, torch.zeros(2, pair.spec.latent), inputs=["z"], outputs=["x_hat"], opset=opset)
    return encoder, decoder


def _golden(pair: ModulePair, x: NDArray[np.float32], labels: NDArray[np.int64] | None = None) -> Golden:
    """Golden vectors of some items, from the model in torch."""
    mean, log_var = _encode(pair, x)
    z = reparameterise(mean, log_var, seed=GOLDEN_SEED)
    return Golden(
        x=x,
        mean=mean,
        log_var=log_var,
        eps=noise(seed=GOLDEN_SEED, count=len(x), dim=pair.spec.latent),
        z=z,
        x_hat=_decode(pair, z),
        labels=labels,
    )


def _measured(manifest: Manifest, vae: VAE, data: Dataset, error: dict[str, float]) -> Manifest:
    """Add what is measured through ONNX Runtime: quality on test items, the aggregate posterior on training items."""
    train, test = (evaluate(vae, spread(split.items, MEASURED)) for split in (data.train, data.test))
    fp32 = manifest.precisions["fp32"]
    return manifest._replace(
        precisions={"fp32": PrecisionInfo(fp32.encoder, fp32.decoder, error, test.quality())},
        statistics=LatentStatistics(
            items=train.items,
            mean=train.mean,
            std=train.std,
            kl=train.kl_per_dimension if manifest.spec.kind == "vae" else (),
            active=train.active,
        ),
    )


def _prove(folder: Path) -> None:
    bundle = Bundle.open(folder, keep=[("encoder", "fp32"), ("decoder", "fp32")])
    for deviation in verify_bundle(bundle, VAE(bundle, provider="cpu")):
        if not deviation.passed:
            raise VerificationError(
                f"the bundle does not replay its golden vectors: {deviation.what} differs by {deviation.measured:.2g}, "
                f"the limit is {deviation.tolerance:g}. Nothing was written."
            )


def _encode(pair: ModulePair, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    code = (len(x), pair.spec.latent)
    outputs = _apply("encoder", pair.encoder, x, [code] * len(pair.spec.encoder_outputs))
    mean = outputs[0]
    return mean, outputs[1] if len(outputs) > 1 else np.full_like(mean, -np.inf)


def _decode(pair: ModulePair, z: NDArray[np.float32]) -> NDArray[np.float32]:
    return _apply("decoder", pair.decoder, z, [(len(z), *pair.spec.data.shape)])[0]


def _apply(
    half: str, module: nn.Module, value: NDArray[np.float32], shapes: list[tuple[int, ...]]
) -> list[NDArray[np.float32]]:
    """Run a module in eval mode on the CPU, and give its outputs, which must be float32 of these shapes."""
    with evaluation_mode(module), torch.inference_mode():
        result = module(torch.tensor(value))  # a copy: a module may write to its input, and arrays may be read-only
    outputs = list(result) if isinstance(result, (tuple, list)) else [result]
    found = [tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__ for output in outputs]
    if found != shapes or any(output.dtype != torch.float32 for output in outputs):
        raise ExportError(
            f"the {half} gives {_named(found)}, but the model's spec asks for {_named(shapes)} in float32; "
            "correct the spec or the module."
        )
    return [output.numpy() for output in outputs]


def _named(outputs: Sequence[tuple[int, ...] | str]) -> str:
    return f"{len(outputs)} output{'s' * (len(outputs) != 1)} {' and '.join(map(str, outputs))}"


def _refuse_to_replace_other_folders(target: Path) -> None:
    """Overwriting is for bundles: a slip of the path must not delete a folder of something else."""
    if target.is_dir() and not (target / MANIFEST).is_file() and any(target.iterdir()):
        raise OutputError(f"{target} is a folder, but no bundle, so it is not replaced; choose another path.")


def _own_data(checkpoint: Checkpoint) -> Dataset:
    data = load_dataset(checkpoint.info.data, checkpoint.info.data_options)
    if data.sha256 != checkpoint.info.data_sha256:
        raise CheckpointError(
            f"the data set {checkpoint.info.data!r} is no longer what {checkpoint.run} was trained on (SHA-256 {data.sha256}); "
            "bring the old files back, or train again."
        )
    return data


def _made_by(data: Dataset, made_with: Mapping[str, Any]) -> dict[str, Any]:
    packages = ("vaekit", "torch", "onnx", "onnxscript", "numpy")
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "data": {
            "name": data.name,
            "sha256": data.sha256,
            "train_items": len(data.train),
            "test_items": len(data.test),
        },
        **made_with,
    }


def _no_statistics(spec: ModelSpec) -> LatentStatistics:
    zeros = (0.0,) * spec.latent
    return LatentStatistics(0, zeros, zeros, (), ())


def _write_graph(folder: Path, name: str, content: bytes) -> GraphInfo:
    return describe_graph(_write(folder, name, content), inspect_graph(content, name=name))


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    content = manifest.to_bytes()
    (folder / MANIFEST).write_bytes(content)
    (folder / CHECKSUMS).write_bytes(checksums(content, manifest.files()))


def _write(folder: Path, name: str, content: bytes) -> FileInfo:
    (folder / name).write_bytes(content)
    return describe_file(name, content)
