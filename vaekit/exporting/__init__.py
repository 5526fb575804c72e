"""Export: from a trained model to a bundle.

    graphs.py       a torch module -> the bytes of an ONNX graph that depend on nothing but its weights
    reference.py    the model in torch: golden vectors, and the comparison with them
    export.py       a checkpoint, or any pair of modules -> graphs, golden vectors, manifest: verified, then in place
    precision.py    which precisions are asked for
    variants.py     the other precisions: made, measured, passed through the gate; candidates.py has the ways to make them
    float16.py      a graph in half precision
    quantize.py     a graph in 8-bit integers, prepared by rearrange.py, with the ranges of calibration.py
    gate.py         what a variant must hold                        rates.py      how fast each is here
    ortformat.py    a graph in ONNX Runtime's own format            topology.py   where a graph's weight is
    appio.py        graphs that take and give uint8 pixels
    card.py         the bundle's README.md for people

Needs: torch, onnx, onnxscript, ONNX Runtime (the extras vaekit[train] and vaekit[cpu]).
"""

from vaekit.exporting.export import export_bundle
from vaekit.exporting.gate import Gate, parse_gate
from vaekit.exporting.reference import ModulePair
from vaekit.exporting.variants import Report

__all__ = ["Gate", "ModulePair", "Report", "export_bundle", "parse_gate"]
