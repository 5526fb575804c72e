"""App-ready graphs: the plain ones with what every app would write by hand inside, for raw uint8 pixels in and out.

    encoder    pixels -> (NHWC: Transpose) -> Cast -> Div 255 (another range: Mul, Add, Clip) -> the encoder's nodes
    decoder    the decoder's nodes -> (another range: Sub) -> QuantizeLinear -> (NHWC: Transpose) -> pixels

They are wrapped around the plain graphs of each precision, after these were proved. Two choices are for speed. Pixels change
their layout while they are bytes, a quarter of the floats: cast first, an encoder of 784-400-40 took twice its time at batch 64
(a convolutional one of 3x64x64 the same). And the decoder scales, rounds to even, clips and casts in one node: QuantizeLinear
with zero point 0 is ``clip(rint(x / scale), 0, 255)``, where Mul, Round, Clip and Cast are four passes.

An integer encoder rounds its input to uint8 anyway. Where its scale is one grey level, that gives each pixel back as it was, so
the detour through float is left out, and pixels go straight into the integer product.

Needs: torch (the golden vectors), NumPy, onnx, ONNX Runtime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vaekit.appio import (
    LEVELS,
    PixelIO,
    PixelPair,
    bounds,
    from_pixels,
    is_unit,
    known_layout,
    pixel_shape,
    scaled,
    to_pixels,
)
from vaekit.bundle import Bundle, describe_file, describe_graph
from vaekit.errors import ConfigError, VerificationError
from vaekit.exporting.graphs import finish
from vaekit.exporting.ortformat import to_ort
from vaekit.exporting.rearrange import MOVES
from vaekit.exporting.reference import GOLDEN_SEED, ModulePair, golden_vectors
from vaekit.exporting.topology import all_nodes, drop_unused, users
from vaekit.golden import Golden
from vaekit.graphinfo import IOS, GraphInfo
from vaekit.manifest import HALVES, Manifest
from vaekit.runtime.appio import compare
from vaekit.runtime.vae import VAE
from vaekit.spec import DataSpec

GOLDEN: Final = "golden.uint8.npz"

CODES: Final = 256
"""Codes of the prior that are compared, besides those of the test items."""


def wanted_layout(io: str, layout: str | None) -> str | None:
    """Sort out what was asked for: a layout where pixels are, else None.

    Raises:
        ConfigError: The io or the layout is unknown, or there is a layout without pixels.
    """
    if io not in IOS:
        raise ConfigError(f"io={io!r} is unknown; choose one of {', '.join(IOS)}.")
    if io == "uint8":
        return known_layout("nhwc" if layout is None else layout)
    if layout is not None:
        raise ConfigError(
            f"layout={layout!r} says how uint8 pixels lie, but io is {io!r}; add io='uint8' (--io uint8), or leave it out."
        )
    return None


def make_app_ready(
    folder: Path,
    manifest: Manifest,
    pair: ModulePair,
    x: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    *,
    layout: str,
    ort_format: bool,
) -> tuple[PixelIO, dict[str, bytes]]:
    """Wrap the graphs of every precision of a bundle, and hold them against what they were made of.

    Args:
        folder: The bundle as it is so far.
        manifest: What it states.
        pair: The model in torch, for the golden vectors.
        x: Test items to compare on, (N, C, H, W); the first `manifest.golden_items` of them are the golden ones.
        labels: Labels of the golden items, or None.
        layout: "nhwc" or "nchw".
        ort_format: Whether each graph is written in ONNX Runtime's own format too.

    Returns:
        What the manifest should state, with what was measured; and the content of the files by name.

    Raises:
        VerificationError: A graph gives a pixel more than one grey level from the plain graph's.
    """
    data = manifest.spec.data
    u = to_pixels(x, data, layout)
    golden = _golden(pair, u[: manifest.golden_items], labels, layout).to_bytes()
    files, pairs = {GOLDEN: golden}, dict[str, PixelPair]()
    for name, info in manifest.precisions.items():
        graphs = {}
        for half, graph in zip(HALVES, (info.encoder, info.decoder), strict=True):
            file = f"{Path(graph.file.file).stem}.uint8.onnx"
            files[file] = app_ready(half, (folder / graph.file.file).read_bytes(), data, layout)
            graphs[half] = describe_graph(describe_file(file, files[file]), files[file])
            if ort_format:
                graphs[half] = _with_ort(graphs[half], files)
        pairs[name] = PixelPair(graphs["encoder"], graphs["decoder"])
    found = PixelIO(layout, describe_file(GOLDEN, golden), pairs)
    for name in pairs:
        pairs[name] = _measured(folder, manifest.replace(pixels=found), name, files, u)
    return found, files


def app_ready(half: str, model: bytes, data: DataSpec, layout: str) -> bytes:
    """Wrap one graph.

    Args:
        half: "encoder" or "decoder".
        model: The plain graph.
        data: Shape and range of an item.
        layout: "nhwc" or "nchw".

    Returns:
        The graph with the same names of inputs and outputs, whose items are uint8 pixels.

    Raises:
        ConfigError: Items are no images, or have no bounds.
        ExportError: The result is no valid graph.
    """
    graph, shape = onnx.load_from_string(model), pixel_shape(data, layout)
    assert data.range is not None
    wrapped = _Wrapping(graph, data, shape if layout == "nhwc" else None)
    port = graph.graph.input if half == "encoder" else graph.graph.output
    wrapped.encoder() if half == "encoder" else wrapped.decoder()
    port[0].CopyFrom(helper.make_tensor_value_info(port[0].name, TensorProto.UINT8, ["batch", *shape]))
    return finish(graph, f"app-ready {half}")


class _Wrapping:
    """One graph, while nodes are put before or behind its own."""

    def __init__(self, model: onnx.ModelProto, data: DataSpec, nhwc: tuple[int, ...] | None) -> None:
        self.model, self.graph, self.data = model, model.graph, data
        self.low, self.high = bounds(data)
        self.chw, self.nhwc = data.shape, nhwc
        self.new: list[onnx.NodeProto] = []
        self.taken = {name for node in all_nodes(self.graph) for name in (node.name, *node.input, *node.output)}
        self.taken |= {tensor.name for tensor in self.graph.initializer}

    def encoder(self) -> None:
        value = self.graph.input[0].name
        inside = self._rename(value)
        if self.nhwc:
            value = self._turned(value, (0, 3, 1, 2), self.chw)
        pixels = value
        value = self._add("Div", self._add("Cast", value, to=TensorProto.FLOAT), np.float32(255))
        if not is_unit(self.data):
            value = self._add("Add", self._add("Mul", value, self.high - self.low), self.low)
            value = self._add("Clip", value, self.low, self.high)
        self.new[-1].output[0] = inside
        self._put(0)
        if self._give_pixels_to_integers(pixels, inside):
            drop_unused(self.model)

    def decoder(self) -> None:
        result = self.graph.output[0].name
        value = self._rename(result)
        if self.low != 0:
            value = self._add("Sub", value, self.low)
        value = self._add("QuantizeLinear", value, (self.high - self.low) / np.float32(255), np.uint8(0))
        if self.nhwc:
            self._turned(value, (0, 2, 3, 1), self.nhwc)
        self.new[-1].output[0] = result
        self._put(len(self.graph.node))

    def _turned(self, value: str, axes: tuple[int, ...], shape: tuple[int, ...]) -> str:
        if self.chw[0] == 1:  # with one channel both layouts are the same bytes
            return self._add("Reshape", value, np.array([-1, *shape], np.int64))
        return self._add("Transpose", value, perm=list(axes))

    def _give_pixels_to_integers(self, pixels: str, x: str) -> bool:
        """Where all that becomes of x is to be rounded to the pixels that it came from, take these; whether that was so."""
        moves = list[onnx.NodeProto]()
        value = x
        while len(taking := users(self.model, value)) == 1 and taking[0].op_type in MOVES:
            moves.append(taking[0])
            value = taking[0].output[0]
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        if not taking or any(not self._keeps_pixels(node, value, constants) for node in taking):
            return False
        for rounding in taking:
            for node in users(self.model, rounding.output[0]):
                node.input[:] = [value if name == rounding.output[0] else name for name in node.input]
            self.graph.node.remove(rounding)
        for node in moves[:1] or users(self.model, x):
            node.input[:] = [pixels if name == x else name for name in node.input]
        while x != pixels:  # Clip, Add, Mul, Div, Cast: each made for the next alone
            made = next(node for node in self.graph.node if x in node.output)
            self.graph.node.remove(made)
            x = made.input[0]
        return True

    def _keeps_pixels(self, node: onnx.NodeProto, value: str, constants: dict[str, NDArray[Any]]) -> bool:
        """Whether a node rounds each of the 256 values to the pixel that it stands for."""
        if node.op_type != "QuantizeLinear" or node.input[0] != value or not set(node.input[1:]) <= set(constants):
            return False
        scale, *zero = (constants[name] for name in node.input[1:])
        if scale.size != 1 or not zero or zero[0].dtype != np.uint8:
            return False
        u = np.arange(256, dtype=np.uint8)
        return np.array_equal(np.clip(np.rint(scaled(u, self.data) / scale) + zero[0], 0, 255), u)

    def _add(self, operator: str, value: str, *constants: Any, **attributes: Any) -> str:
        """Make a node of a value and constants, and give the name of its result."""
        name = self._fresh(f"pixels_{operator.lower()}")
        inputs = [value]
        for constant in constants:
            inputs.append(self._fresh(f"{name}_constant"))
            self.graph.initializer.append(numpy_helper.from_array(np.asarray(constant), inputs[-1]))
        self.new.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def _put(self, place: int) -> None:
        for offset, node in enumerate(self.new):
            self.graph.node.insert(place + offset, node)

    def _rename(self, port: str) -> str:
        """Give the value at a port another name inside, so that the port's name is free."""
        inside = self._fresh(f"{port}_float")
        for node in all_nodes(self.graph):
            node.input[:] = [inside if name == port else name for name in node.input]
            node.output[:] = [inside if name == port else name for name in node.output]
        return inside

    def _fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def _golden(pair: ModulePair, u: NDArray[np.uint8], labels: NDArray[np.int64] | None, layout: str) -> Golden:
    """What torch gives for pixels: the values that they stand for, encoded and decoded, and the result rounded."""
    golden = golden_vectors(pair, from_pixels(u, pair.spec.data, layout), labels)
    # The same container, with pixels in it.
    return golden._replace(x=u, x_hat=to_pixels(golden.x_hat, pair.spec.data, layout))  # type: ignore[arg-type]


def _with_ort(graph: GraphInfo, files: dict[str, bytes]) -> GraphInfo:
    file = f"{Path(graph.file.file).stem}.ort"
    files[file] = to_ort(files[graph.file.file], name=graph.file.file)
    return graph.replace(ort=describe_file(file, files[file]))


def _measured(
    folder: Path, manifest: Manifest, precision: str, files: dict[str, bytes], u: NDArray[np.uint8]
) -> PixelPair:
    """Open the graphs as a host would, and compare them with the plain ones."""
    assert manifest.pixels is not None
    arguments: dict[str, Any] = {"provider": "cpu", "precision": precision, "threads": 1}
    pixels = VAE(Bundle(folder, manifest, files), io="uint8", **arguments)
    plain = VAE(Bundle(folder, manifest), **arguments)
    codes = pixels.encode(u).sample(seed=GOLDEN_SEED)
    found = compare(pixels, plain, u, np.concatenate([codes, pixels.prior(CODES, seed=GOLDEN_SEED)]))
    if found.levels > LEVELS:
        raise VerificationError(
            f"the {precision} decoder with pixels is {found.levels} grey levels from the plain one, rounded; the limit is "
            f"{LEVELS}. Nothing was written."
        )
    return manifest.pixels.precisions[precision]._replace(
        error=found.error, compared=found.values, levels=found.levels, differing=found.differing
    )
