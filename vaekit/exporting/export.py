"""From a checkpoint, or any pair of modules, to a bundle that is proved before it exists.

The graphs are exported, compared with the model in torch on real test items, and measured through ONNX Runtime; golden
vectors are taken from the model in torch; the folder is opened and replayed as any host would; only then is it renamed
into place.

Needs: torch, onnx, onnxscript, ONNX Runtime.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from vaekit.appio import pixel_shape
from vaekit.bundle import CHECKSUMS, MANIFEST, Bundle, checksums, describe_file, describe_graph
from vaekit.datasets import Dataset, load_dataset
from vaekit.datasets.rows import spread
from vaekit.errors import CheckpointError, DataError, ExportError, OutputError, ShapeError, VerificationError
from vaekit.exporting.appio import make_app_ready, wanted_layout
from vaekit.exporting.calibration import ITEMS as CALIBRATION_ITEMS
from vaekit.exporting.candidates import Halves, OnStep
from vaekit.exporting.card import model_card
from vaekit.exporting.gate import Gate
from vaekit.exporting.graphs import OPSET, to_onnx
from vaekit.exporting.ortformat import to_ort
from vaekit.exporting.precision import wanted_precisions
from vaekit.exporting.reference import COMPARED, GOLDEN_SEED, TOLERANCES, ModulePair, compare, golden_vectors
from vaekit.exporting.variants import Report, make_variants, refuse_early
from vaekit.images import grid, png_bytes
from vaekit.manifest import HALVES, FileInfo, GraphInfo, LatentStatistics, Manifest, PrecisionInfo, ScoreStatistics
from vaekit.runtime.anomaly import score_items, summarise
from vaekit.runtime.evaluate import evaluate
from vaekit.runtime.vae import VAE
from vaekit.runtime.verify import verify_bundle
from vaekit.spec import ModelSpec
from vaekit.storage import check_new_folder, new_folder
from vaekit.training.checkpoint import Checkpoint
from vaekit.training.models import DecoderGraph, EncoderGraph, trained_spec

GOLDEN_ITEMS: Final = 64

MEASURED: Final = 100_000
"""Most items of each split that a bundle's numbers are measured on; more would take longer and change no digit."""

PREVIEW: Final = (8, 8)
"""Rows and columns of preview.png."""


def export_bundle(
    source: Checkpoint | ModulePair,
    path: str | Path,
    *,
    data: Dataset | None = None,
    name: str | None = None,
    opset: int = OPSET,
    precisions: Iterable[str] = ("fp32",),
    gate: Gate = Gate(),  # noqa: B008  (a tuple of numbers)
    calibration_items: int = CALIBRATION_ITEMS,
    ort_format: bool = False,
    io: str = "float32",
    layout: str | None = None,
    overwrite: bool = False,
    on_variant: Callable[[Report], None] | None = None,
    on_step: OnStep = lambda _: None,
) -> Bundle:
    """Export a model as a bundle, verified before it exists.

    fp32 is always in it. Another precision ships only if it passes the gate (`vaekit.exporting.gate`); one that does not is
    reported, with the reason, and the bundle is written without it.

    Args:
        source: A checkpoint, or any pair of modules.
        path: The bundle's folder.
        data: Items to verify and to measure on; None reads the checkpoint's own data set again.
        name: What the model is called; None takes the folder's name.
        opset: ONNX operator set of both graphs.
        precisions: Of "fp32", "fp16", "int8", "int8-dynamic", and "auto": fp16 and int8, as far as they pass.
        gate: What a variant must hold, and whether it ships all the same.
        calibration_items: Training items that int8 is calibrated on, at least 32.
        ort_format: Whether every graph is written in ONNX Runtime's own format too.
        io: "uint8" writes an app-ready pair of graphs beside that of each precision: raw pixels of 0 to 255 in and out. For
            images with values between two bounds.
        layout: How these pixels lie: "nhwc" (None: the same), as image decoders and canvases give them, or "nchw".
        overwrite: Whether a bundle that stands there may be replaced.
        on_variant: Called with the report of each precision, fp32's first, where there are others. Without it, a warning says
            which of those that were asked for by name did not ship.
        on_step: Called with what is done next, in words.

    Returns:
        The bundle, opened again from its final place.

    Raises:
        ConfigError: A precision, io or layout is unknown or without a meaning here, or the calibration items are too few.
        ExportError: The modules cannot be exported, do not give what their spec says, or cannot have such a precision.
        UnsafeGraphError: A module draws random numbers.
        VerificationError: ONNX Runtime's numbers are not torch's; nothing was written.
        OutputError: The folder exists or cannot be written; what stood there still does.
        CheckpointError: The checkpoint is damaged, or the data is not what it was trained on.
        DataError: The data set is not found, has no items, or too few to calibrate on.
        ShapeError: The data has items of another shape or range than the model takes.
    """
    wanted, pixels = wanted_precisions(precisions), wanted_layout(io, layout)
    target = _place(Path(path), overwrite=overwrite)
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
    _check_data(data, pair.spec)
    if pixels is not None:
        pixel_shape(pair.spec.data, pixels)  # refuses what has no pixels, before the work
    with new_folder(target, overwrite=overwrite) as folder:
        graphs = _export_graphs(pair, data, opset)
        refuse_early(wanted, graphs)
        infos = {half: _write_graph(folder, f"{half}.onnx", getattr(graphs, half)) for half in HALVES}
        labels = None if data.test.labels is None else data.test.labels[:GOLDEN_ITEMS]
        golden = golden_vectors(pair, data.test.pixels(slice(GOLDEN_ITEMS)), labels)
        manifest = Manifest(
            # A folder's name may be bytes that are no UTF-8, and a manifest holds none.
            name=name or os.fsencode(target.resolve().name).decode(errors="replace"),
            spec=pair.spec,
            precisions={"fp32": PrecisionInfo(infos["encoder"], infos["decoder"], {}, {})},
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
        reports = list[Report]()
        if wanted.variants:
            _write_manifest(folder, manifest)
            reports, files = make_variants(
                VAE(folder, provider="cpu", threads=1),
                graphs,
                data,
                wanted,
                gate=gate,
                calibration_items=calibration_items,
                on_step=on_step,
            )
            for file, content in files.items():
                _write(folder, file, content)
            shipped = {report.name: report.info for report in reports if report.shipped}
            manifest = manifest.replace(precisions=shipped)
        if ort_format:
            manifest = _with_ort(folder, manifest)
        if pixels is not None:
            on_step("wrapping graphs for uint8 pixels")
            manifest = _with_pixels(folder, manifest, pair, data, layout=pixels, ort_format=ort_format)
        manifest = Manifest.from_bytes(manifest.to_bytes())  # with the digits that it will be read with
        extra = [_write(folder, "README.md", model_card(manifest).encode())]
        if pair.spec.data.is_image:
            rows, columns = PREVIEW
            extra.append(_write(folder, "preview.png", png_bytes(grid(vae.sample(rows * columns), columns))))
        _write_manifest(folder, manifest.replace(extra_files=(*extra, *manifest.extra_files)))
        _prove(folder)
    _tell(reports, on_variant)
    return Bundle.open(target)


def _check_data(data: Dataset, spec: ModelSpec) -> None:
    shape = tuple(data.train.items.shape[1:])
    if shape != spec.data.shape:
        raise ShapeError(f"the data has items of shape {shape}, but the model takes {spec.data.shape}.")
    for part, split in (("training", data.train), ("test", data.test)):
        if len(split) == 0:
            raise DataError(f"the data {data.name!r} has no {part} items; a bundle is measured on both parts.")


def _export_graphs(pair: ModulePair, data: Dataset, opset: int) -> Halves:
    x = data.test.pixels(slice(2))
    encoder = to_onnx(
        pair.encoder,
        torch.from_numpy(np.resize(x, (2, *x.shape[1:]))),  # two rows also where there is one item
        inputs=["x"],
        outputs=list(pair.spec.encoder_outputs),
        opset=opset,
    )
    decoder = to_onnx(
        pair.decoder,
        torch.zeros(2, pair.spec.latent, dtype=torch.float32),
        inputs=["z"],
        outputs=["x_hat"],
        opset=opset,
    )
    return Halves(encoder, decoder)


def _measured(manifest: Manifest, vae: VAE, data: Dataset, error: dict[str, float]) -> Manifest:
    """Add what is measured through ONNX Runtime: quality and scores on test items, the aggregate posterior on the others."""
    train, test = (evaluate(vae, spread(split.items, MEASURED)) for split in (data.train, data.test))
    fp32 = manifest.precisions["fp32"]
    return manifest.replace(
        precisions={"fp32": fp32.replace(error=error, quality=test.quality())},
        statistics=LatentStatistics(
            items=train.items,
            mean=train.mean,
            std=train.std,
            kl=train.kl_per_dimension if manifest.spec.kind == "vae" else (),
            active=train.active,
        ),
        scores=_normal_scores(vae, data),
    )


def _normal_scores(vae: VAE, data: Dataset) -> ScoreStatistics | None:
    """What scores normal items have: test items, since a model gives lower ones to those that it was trained on."""
    scores = score_items(vae, spread(data.test.items, MEASURED))
    return summarise(scores) if np.isfinite(scores).all() else None


def _with_ort(folder: Path, manifest: Manifest) -> Manifest:
    """Write every graph in ORT format beside its ONNX file."""
    precisions = {}
    for name, info in manifest.precisions.items():
        encoder, decoder = (
            graph.replace(ort=_write_ort(folder, graph.file.file)) for graph in (info.encoder, info.decoder)
        )
        precisions[name] = info.replace(encoder=encoder, decoder=decoder)
    return manifest.replace(precisions=precisions)


def _write_ort(folder: Path, graph: str) -> FileInfo:
    return _write(folder, f"{Path(graph).stem}.ort", to_ort((folder / graph).read_bytes(), name=graph))


def _with_pixels(
    folder: Path, manifest: Manifest, pair: ModulePair, data: Dataset, *, layout: str, ort_format: bool
) -> Manifest:
    """Write the app-ready graphs and their golden vectors."""
    x, labels = data.test.pixels(slice(COMPARED)), data.test.labels
    info, files = make_app_ready(
        folder,
        manifest,
        pair,
        x,
        None if labels is None else labels[:GOLDEN_ITEMS],
        layout=layout,
        ort_format=ort_format,
    )
    for name, content in files.items():
        _write(folder, name, content)
    return manifest.replace(pixels=info, extra_files=tuple(info.files()))


def _prove(folder: Path) -> None:
    """Replay the golden vectors through every graph of a bundle, in each of its formats."""
    for precision, stored_as, io in Bundle.open(folder).manifest.ways():
        vae = VAE(folder, provider="cpu", precision=precision, format=stored_as, io=io)
        for deviation in verify_bundle(vae.bundle, vae):
            if not deviation.passed:
                way = stored_as if io == "float32" else f"{stored_as}, {io}"
                whose = "" if (precision, way) == ("fp32", "onnx") else f"{precision} ({way}), "
                raise VerificationError(
                    f"the bundle does not replay its golden vectors: {whose}{deviation.what} differs by "
                    f"{deviation.measured:.2g}, the limit is {deviation.tolerance:.2g}. Nothing was written."
                )


def _tell(reports: list[Report], on_variant: Callable[[Report], None] | None) -> None:
    for report in reports:
        if on_variant is not None:
            on_variant(report)
        elif report.required and not report.shipped:
            warnings.warn(f"{report.name} is not in the bundle: {'; '.join(report.reasons)}.", stacklevel=3)


def _place(target: Path, *, overwrite: bool) -> Path:
    """Where the bundle will stand, before the work. A slip of the path must not delete a folder of something else."""
    if not target.name:  # "." has no name of its own, and nothing to put a temporary folder beside
        target = target.resolve()
    if overwrite and target.is_dir() and not (target / MANIFEST).is_file() and any(target.iterdir()):
        raise OutputError(f"{target} is a folder, but no bundle, so it is not replaced; choose another path.")
    check_new_folder(target, overwrite=overwrite, option="overwrite=True")
    return target


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
            "torch": str(torch.__version__),  # with the build, which the metadata of a CUDA wheel leaves out
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
    return describe_graph(_write(folder, name, content), content)


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    content = manifest.to_bytes()
    (folder / MANIFEST).write_bytes(content)
    (folder / CHECKSUMS).write_bytes(checksums(content, manifest.files()))


def _write(folder: Path, name: str, content: bytes) -> FileInfo:
    (folder / name).write_bytes(content)
    return describe_file(name, content)
