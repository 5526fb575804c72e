"""Target triton: a model repository for NVIDIA Triton Inference Server, with both halves on its onnxruntime backend.

    models/<name>_encoder/config.pbtxt   models/<name>_encoder/1/model.onnx
    models/<name>_decoder/config.pbtxt   models/<name>_decoder/1/model.onnx
    self_test.py   serve_kserve.py   golden/   README.md

Any server that speaks the Open Inference Protocol (v2) can serve the same two graphs; the self-test asks over HTTP and does not
care which one answers.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vaekit.bundle import Bundle
from vaekit.embedding.files import (
    c_identifier,
    describe,
    fill,
    safe_text,
    template,
    write_golden,
    write_graph,
    write_template,
    write_text,
)
from vaekit.errors import ConfigError
from vaekit.graphinfo import TensorPort
from vaekit.manifest import HALVES

SUMMARY: Final = "a model repository for NVIDIA Triton (and other servers of the v2 protocol)"
TRY: Final = ("tritonserver --model-repository=models", "python self_test.py --url http://localhost:8000")

MAX_BATCH: Final = 128
"""Items that the server may put into one call: enough to fill a GPU with small graphs, few enough to answer in milliseconds."""

QUEUE_DELAY: Final = 100
"""Microseconds that a request may wait for others to share its call: about what a call of a small graph takes."""

_MOST: Final = 1 << 16

_GOLDEN: Final = ("x", "mean", "log_var", "z", "x_hat")
"""What the self-test reads: the noise is the caller's, so its numbers are not asked for."""

_BATCHING: Final = """\
# Requests that arrive together share one call.
dynamic_batching {
  max_queue_delay_microseconds: @DELAY@
}
"""

_SHARED: Final = "which share calls between requests (dynamic batching)"

_NOT_SHARED: Final = """\
each request with a call of its own (no dynamic batching): in this precision an item's
numbers depend on the other items of its call"""

_NO_BATCHING: Final = """\
# No dynamic_batching: in this precision an item's numbers depend on the other items of its call, so requests of different
# clients must not share one.
"""


def write(
    bundle: Bundle, folder: Path, *, precision: str, max_batch: int = MAX_BATCH, queue_delay: int = QUEUE_DELAY
) -> None:
    """Write the model repository, the self-test with its golden vectors, and a README.

    Args:
        bundle: The model.
        folder: An empty folder.
        precision: Which of the bundle's precisions to take.
        max_batch: Items of the largest call, 1 to 65,536.
        queue_delay: Microseconds that a request may wait for others; 0 takes what is there.

    Raises:
        BundleError: The bundle was changed since it was opened, or a graph is unsafe.
        ConfigError: `max_batch` or `queue_delay` is out of range.
    """
    if not 1 <= max_batch <= _MOST:
        raise ConfigError(f"max_batch={max_batch}: give 1 to {_MOST:,}.")
    if not 0 <= queue_delay <= 1_000_000:
        raise ConfigError(f"queue_delay={queue_delay}: give 0 to 1,000,000 microseconds.")
    manifest = bundle.manifest
    info = manifest.precisions[precision]
    name = c_identifier(manifest.name)[:100]
    batching = _NO_BATCHING if info.batch_dependent else fill(_BATCHING, DELAY=queue_delay)
    for half in HALVES:
        graph = manifest.graph(half, precision)
        place = folder / "models" / f"{name}_{half}"
        write_graph(bundle, place / "1" / "model.onnx", half=half, precision=precision)
        config = fill(
            template("triton", "config.pbtxt.in"),
            WHAT=f"{half.capitalize()} of {describe(manifest)}",
            NAME=f"{name}_{half}",
            MAX_BATCH=max_batch,
            INPUTS=",\n".join(map(_port, graph.inputs)),
            OUTPUTS=",\n".join(map(_port, graph.outputs)),
            BATCHING=batching,
        )
        write_text(place / "config.pbtxt", config)

    # Triton is asked for the accuracy of plain float32 on a GPU (config.pbtxt turns TF32 off), and a CPU is nearer still.
    index = write_golden(bundle, folder, precision=precision, provider="cuda", names=_GOLDEN)
    write_template(folder, "triton", "self_test.py.in", NAME=name, MAX_BATCH=max_batch)
    write_template(folder, "triton", "serve_kserve.py.in")
    write_template(
        folder,
        "triton",
        "README.md.in",
        TITLE=safe_text(manifest.name),
        SUMMARY=describe(manifest),
        NAME=name,
        PRECISION=precision,
        SHAPE=", ".join(map(str, manifest.spec.data.shape)),
        LATENT=manifest.spec.latent,
        ZEROS=", ".join(["0"] * manifest.spec.latent),
        SHARED=_NOT_SHARED if info.batch_dependent else _SHARED,
        SAME="noise" if info.batch_dependent else "items",
        OUTPUTS=" and ".join(f"`{output}`" for output in manifest.spec.encoder_outputs),
        ITEMS=manifest.golden_items,
        TOLERANCE=f"{index['tolerances']['decoder']:.0e}",
    )


def _port(port: TensorPort) -> str:
    """An input or output as config.pbtxt has it: without the batch, which Triton adds. The manifest allows float32 alone."""
    dims = ", ".join(map(str, port.shape[1:]))
    return f'  {{ name: "{port.name}", data_type: TYPE_FP32, dims: [ {dims} ] }}'
