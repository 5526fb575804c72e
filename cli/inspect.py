"""`vaekit inspect`: a bundle's manifest as a person would want to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .console import console, print_json
from .options import BundleArgument, JsonOption

if TYPE_CHECKING:
    from vaekit import Manifest


def inspect(bundle: BundleArgument = None, as_json: JsonOption = False) -> None:
    """Check a bundle's files, and say what is in it."""
    from rich.table import Table

    from vaekit import Bundle

    opened = Bundle.open(bundle)
    if as_json:
        print_json(opened.manifest.to_json())
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, text in _lines(opened.manifest):
        table.add_row(name, text)
    console().print(table)


def _lines(manifest: Manifest) -> list[tuple[str, str]]:
    spec, statistics = manifest.spec, manifest.statistics
    kind = "variational autoencoder" if spec.kind == "vae" else "classic autoencoder"
    limits = "real values" if spec.data.range is None else f"{spec.data.range[0]:g} to {spec.data.range[1]:g}"
    shape = " x ".join(map(str, spec.data.shape))
    lines = [
        ("name", manifest.name),
        ("model", f"{kind}, {spec.likelihood} likelihood"),
        ("data", f"{spec.data.layout} {shape}, float32, {limits}"),
        (
            "latent",
            f"{spec.latent} dimensions, {len(statistics.active)} active over {statistics.items:,} training items",
        ),
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
        error = ", ".join(f"{what.replace('_', ' ')} {value:.1e}" for what, value in info.error.items())
        lines.append((f"{name} against torch", f"largest difference: {error}"))
        quality = info.quality
        lines.append(
            (
                f"{name} quality",
                f"{quality['negative_elbo']:.2f} nats = {quality['reconstruction']:.2f} reconstruction "
                f"+ {quality['kl']:.2f} KL, over {quality['items']:,} test items",
            )
        )
    lines.append(("golden vectors", f"{manifest.golden_items} items, seed {manifest.golden_seed}"))
    lines.append(("tolerances", ", ".join(f"{name} {value:g}" for name, value in manifest.tolerances.items())))
    made = manifest.made_by
    if "data" in made:
        lines.append(("made from", f"{made['data']['name']}, {made['data']['train_items']:,} training items"))
    if "config" in made:
        config = made["config"]
        lines.append(
            (
                "trained",
                f"{config['epochs']} epochs, batch {config['batch_size']}, Adam {config['learning_rate']:g} "
                f"{config['schedule']}, beta {config['beta']:g}, {config['precision']}, seed {config['seed']}",
            )
        )
    if "versions" in made:
        lines.append(("made with", ", ".join(f"{name} {version}" for name, version in made["versions"].items())))
    return lines
