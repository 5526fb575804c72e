"""The model card: a bundle's README.md, written from its manifest alone.

Needs: the standard library.
"""

from __future__ import annotations

from vaekit.manifest import Manifest
from vaekit.spec import ModelSpec


def model_card(manifest: Manifest) -> str:
    """Write a bundle's README.md: what the model is, how good it is, how to run it, what made it."""
    spec, fp32 = manifest.spec, manifest.precisions["fp32"]
    data, statistics = manifest.made_by["data"], manifest.statistics
    shape = " x ".join(map(str, spec.data.shape))
    kind = "Variational autoencoder" if spec.kind == "vae" else "Autoencoder"
    quality = fp32.quality
    lines = [
        f"# {manifest.name}",
        "",
        f"{kind} of {data['name']}: items of {shape} ({spec.data.layout}), {spec.latent} latent dimensions, "
        f"{spec.likelihood_in_words}. A vaekit bundle, version 1.",
        "",
        "| | |",
        "|---|---|",
        f"| encoder | `x` -> {', '.join(f'`{name}`' for name in spec.encoder_outputs)}, {fp32.encoder.file.bytes:,} bytes |",
        f"| decoder | `z` -> `x_hat`, {fp32.decoder.file.bytes:,} bytes |",
        f"| ONNX | opset {fp32.decoder.opset}, IR version {fp32.decoder.ir_version} |",
        f"| test items | {quality['items']:,} |",
        f"| negative ELBO | {quality['negative_elbo']:.2f} nats an item (one sample of the posterior) |"
        if spec.kind == "vae"
        else f"| reconstruction loss | {quality['reconstruction']:.2f} nats an item |",
    ]
    if spec.kind == "vae":
        lines.append(f"| reconstruction, KL | {quality['reconstruction']:.2f}, {quality['kl']:.2f} nats |")
    if manifest.scores is not None and manifest.scores.quantiles:
        highest = max(manifest.scores.quantiles)
        lines.append(
            f"| scores of test items | {manifest.scores.quantiles[min(manifest.scores.quantiles)]:.6g} nats in the middle, "
            f"{100 * highest:g}% up to {manifest.scores.quantiles[highest]:.6g} |"
        )
    if "bits_per_dimension" in quality:
        lines.append(f"| bits per dimension | {quality['bits_per_dimension']:.3f} |")
    lines += [
        f"| active latent dimensions | {len(statistics.active)} of {spec.latent} |",
        f"| largest difference from torch | encoder {fp32.error['encoder']:.1e}, decoder {fp32.error['decoder']:.1e}, "
        f"round trip {fp32.error['round_trip']:.1e} |",
        "",
        "```python",
        "import vaekit",
        "",
        'vae = vaekit.load("PATH OF THIS FOLDER")',
        "x = vae.sample(16, seed=7)  # float32, shape (16, " + ", ".join(map(str, spec.data.shape)) + ")",
        "```",
        "",
        *_features(spec),
        *_precisions(manifest),
        *_pixels(manifest),
        "Check it on your machine with `vaekit verify PATH` (golden vectors) or `sha256sum -c SHA256SUMS` (files).",
        "",
        "Made by " + ", ".join(f"{name} {version}" for name, version in manifest.made_by["versions"].items()) + ".",
        f"Data: {data['name']}, {data['train_items']:,} training and {data['test_items']:,} test items, "
        f"SHA-256 `{data['sha256']}`.",
        "",
    ]
    return "\n".join(lines)


def _features(spec: ModelSpec) -> list[str]:
    if not spec.data.features:
        return []
    return [
        "Values go in and come out in their own units; the graphs standardise them:",
        "",
        "| | offset | scale |",
        "|---|---|---|",
        *(
            f"| {_one_cell(feature.name)} | {feature.offset:.6g} | {feature.scale:.6g} |"
            for feature in spec.data.features
        ),
        "",
    ]


def _precisions(manifest: Manifest) -> list[str]:
    """A row for each precision, where there are several; differences are from fp32, on test items."""
    if len(manifest.precisions) == 1:
        return []
    fp32 = manifest.precisions["fp32"]
    batches = list(fp32.rates.get("decoder", ()))
    heading = ["precision", "bytes", "largest, mean error of the decoder", "Delta ELBO, nats"]
    heading += [f"decoder/s, batch {batch}" for batch in batches] + ["gate"]
    lines = [
        "Precisions, to be had with `vaekit.load(PATH, precision=...)`:",
        "",
        f"| {' | '.join(heading)} |",
        "|---" * len(heading) + "|",
    ]
    for name, info in manifest.precisions.items():
        differences = ["", ""]
        if info is not fp32:
            differences = [f"{info.error['decoder']:.1e}, {info.mean_error['decoder']:.1e}", f"{info.delta_elbo:+.3f}"]
        rates = [f"{info.rates['decoder'][batch]:,.0f}" for batch in batches]
        cells = [name, f"{info.bytes:,}", *differences, *rates, info.gate.result if info.gate else ""]
        lines.append(f"| {' | '.join(cells)} |")
    machine = fp32.measured_on
    lines += ["", f"Rates: one thread of {machine['processor']}, ONNX Runtime {machine['onnxruntime']}."]
    for name, info in manifest.precisions.items():
        if info.gate is not None and info.gate.reasons:
            lines.append(f"{name} did not pass the gate and was shipped by force: {'; '.join(info.gate.reasons)}.")
        kept = [half for half, nodes in info.float_nodes.items() if nodes]
        if kept:
            lines.append(f"{name} keeps the last layer of the {' and of the '.join(kept)} in float.")
        if info.batch_dependent:
            lines.append(f"{name}: an item's numbers depend on the rest of its batch.")
    return [*lines, ""]


def _pixels(manifest: Manifest) -> list[str]:
    """The app-ready graphs, where there are some, and how to use them."""
    if manifest.pixels is None:
        return []
    layout = manifest.pixels.layout
    shape = ", ".join(map(str, manifest.pixels.graph("encoder", "fp32").inputs[0].shape[1:]))
    lines = [
        f"App-ready graphs take and give raw uint8 pixels of 0 to 255, {layout} ({shape}):",
        "",
        "| precision | encoder, decoder | pixel values that differ from the plain graph's, rounded |",
        "|---|---|---|",
    ]
    for name, pair in manifest.pixels.precisions.items():
        apart = f", by {pair.levels} grey level{'s' * (pair.levels > 1)}" if pair.differing else ""
        files = f"`{pair.encoder.file.file}`, `{pair.decoder.file.file}`"
        lines.append(f"| {name} | {files} | {pair.differing:,} of {pair.compared:,}{apart} |")
    return [
        *lines,
        "",
        "```python",
        "import vaekit",
        "",
        'vae = vaekit.load("PATH OF THIS FOLDER", io="uint8")',
        f"pictures = vae.sample(16, seed=7)  # uint8, shape (16, {shape})",
        "again = vae.reconstruct(pictures)  # the same",
        "```",
        "",
    ]


def _one_cell(text: str) -> str:
    """Make a column's name safe inside a table of Markdown: one line, no bars."""
    return " ".join(text.split()).replace("|", "\\|")
