"""`vaekit inspect`: a bundle's manifest as a person would want to read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .console import one_line, print_json, print_table
from .export_report import pixel_differences
from .options import BundleArgument, JsonOption

if TYPE_CHECKING:
    from vaekit import Manifest
    from vaekit.precisions import PrecisionInfo
    from vaekit.scores import ScoreStatistics


def inspect(bundle: BundleArgument = None, as_json: JsonOption = False) -> None:
    """Check a bundle's files, and say what is in it."""
    from rich.table import Table
    from rich.text import Text

    from vaekit import Bundle

    opened = Bundle.open(bundle)
    if as_json:
        print_json(opened.manifest.to_json())
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")  # an exponent that is cut off makes another number
    for name, text in _lines(opened.manifest):
        table.add_row(Text(one_line(name)), Text(one_line(text)))  # not markup: a name may hold brackets
    print_table(table)


def _lines(manifest: Manifest) -> list[tuple[str, str]]:
    spec, statistics = manifest.spec, manifest.statistics
    kind = "variational autoencoder" if spec.kind == "vae" else "classic autoencoder"
    limits = "real values" if spec.data.range is None else f"{spec.data.range[0]:g} to {spec.data.range[1]:g}"
    shape = " x ".join(map(str, spec.data.shape))
    lines = [
        ("name", manifest.name),
        ("model", f"{kind}, {spec.likelihood_in_words}"),
        ("data", f"{spec.data.layout} {shape}, float32, {limits}"),
        (
            "latent",
            f"{spec.latent} dimensions, {len(statistics.active)} active over {statistics.items:,} training items",
        ),
    ]
    lines += [
        (f"feature {index + 1}", f"{feature.name}, offset {feature.offset:.6g}, scale {feature.scale:.6g}")
        for index, feature in enumerate(spec.data.features)
    ]
    for name, info in manifest.precisions.items():
        for half, graph in (("encoder", info.encoder), ("decoder", info.decoder)):
            outputs = ", ".join(port.name for port in graph.outputs)
            lines.append(
                (
                    f"{name} {half}",
                    f"{graph.inputs[0].name} -> {outputs}   {graph.file.file}, {graph.file.bytes:,} bytes",
                )
            )
        graph = info.decoder
        lines.append((f"{name} ONNX", f"opset {graph.opset}, IR version {graph.ir_version}"))
        against = "torch" if name == "fp32" else "fp32"
        lines.append((f"{name} against {against}", f"largest difference: {_errors(info.error)}"))
        if info.mean_error:
            lines.append((f"{name} on average", f"mean difference: {_errors(info.mean_error)}"))
        lines.append((f"{name} quality", _stated(_quality, info.quality)))
        lines += [(f"{name} {what}", text) for what, text in _variant(info)]
    if manifest.pixels is not None:
        shape = " x ".join(map(str, manifest.pixels.graph("encoder", "fp32").inputs[0].shape[1:]))
        lines.append(("uint8 pixels", f'{manifest.pixels.layout} {shape}; vaekit.load(..., io="uint8")'))
        for name, pair in manifest.pixels.precisions.items():
            files = ", ".join(
                f"{file.file} ({file.bytes:,} bytes)" for file in (*pair.encoder.files(), *pair.decoder.files())
            )
            lines += [(f"uint8 {name}", files), (f"uint8 {name} against {name}", pixel_differences(pair))]
    if manifest.scores is not None:
        lines += list(_scores(manifest.scores))
    lines.append(("golden vectors", f"{manifest.golden_items} items, seed {manifest.golden_seed}"))
    lines.append(("tolerances", ", ".join(f"{name} {value:g}" for name, value in manifest.tolerances.items())))
    made = manifest.made_by
    for name, key, describe in (
        ("made from", "data", _data),
        ("trained", "config", _config),
        ("made with", "versions", _versions),
    ):
        if key in made:
            lines.append((name, _stated(describe, made[key])))
    return lines


def _scores(scores: ScoreStatistics) -> Iterator[tuple[str, str]]:
    """What normal items score, and the thresholds that follow from it."""
    from vaekit.scores import USUAL_QUANTILE

    yield (
        "scores",
        f"mean {scores.mean:.6g}, deviation {scores.std:.6g} nats at z = mean, over {scores.items:,} test items",
    )
    if scores.quantiles:
        yield "score quantiles", ", ".join(f"{quantile:g}: {nats:.6g}" for quantile, nats in scores.quantiles.items())
    if USUAL_QUANTILE in scores.quantiles:
        nats = scores.quantiles[USUAL_QUANTILE]
        yield "anomaly threshold", f"{nats:.6g} nats, which {USUAL_QUANTILE:.0%} of normal items do not exceed"


def _errors(errors: Mapping[str, float]) -> str:
    return ", ".join(f"{what.replace('_', ' ')} {value:.1e}" for what, value in errors.items())


def _variant(info: PrecisionInfo) -> Iterator[tuple[str, str]]:
    """What is stated of other precisions than fp32, and of fp32 where there are others."""
    if info.delta_elbo is not None:
        yield "Delta ELBO", f"{info.delta_elbo:+.3f} nats"
    for half, rates in info.rates.items():
        speeds = ", ".join(f"{rate:,.0f} at batch {batch}" for batch, rate in rates.items())
        yield f"{half} speed", f"items/s: {speeds}"
    if info.measured_on:
        yield "measured on", _stated(_machine, info.measured_on)
    if info.gate is not None:
        limits = f"at most {info.gate.max_delta_elbo:.3g} nats lost, {info.gate.min_gain:g}x smaller or faster"
        yield "gate", "; ".join([f"{info.gate.result} ({limits})", *info.gate.reasons])
    for half, nodes in info.float_nodes.items():
        yield f"{half} in float", ", ".join(nodes)
    if info.calibration:
        yield "calibration", _stated(_calibration, info.calibration)
    if info.batch_dependent:
        yield "batch", "an item's numbers depend on the rest of its batch"
    if info.encoder.ort and info.decoder.ort:
        yield "ORT format", f"{info.encoder.ort.file}, {info.decoder.ort.file}"


def _machine(machine: Mapping[str, Any]) -> str:
    return f"{machine['threads']} thread of {machine['processor']}, ONNX Runtime {machine['onnxruntime']}"


def _calibration(calibration: Mapping[str, Any]) -> str:
    methods = ", ".join(f"{half} {calibration[half]['method']}" for half in ("encoder", "decoder"))
    return f"{methods}, on {calibration['items']:,} training items and {calibration['codes']:,} codes"


def _stated(describe: Callable[[Any], str], value: Any) -> str:
    """Describe what the reader of manifests does not check: another program's bundle may say other things there."""
    try:
        return describe(value)
    except (KeyError, TypeError, ValueError, AttributeError):
        return f"in another program's words: {json.dumps(value)}"


def _quality(quality: Mapping[str, float]) -> str:
    return (
        f"{quality['negative_elbo']:.2f} nats = {quality['reconstruction']:.2f} reconstruction "
        f"+ {quality['kl']:.2f} KL, over {quality['items']:,} test items"
        + (f"; {quality['bits_per_dimension']:.3f} bits per dimension" if "bits_per_dimension" in quality else "")
    )


def _data(data: Mapping[str, Any]) -> str:
    return f"{data['name']}, {data['train_items']:,} training items"


def _config(config: Mapping[str, Any]) -> str:
    return (
        f"{config['epochs']} epoch{'s' * (config['epochs'] != 1)}, batch {config['batch_size']}, "
        f"Adam {config['learning_rate']:g} {config['schedule']}, beta {config['beta']:g}, {config['precision']}, "
        f"seed {config['seed']}"
    )


def _versions(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
