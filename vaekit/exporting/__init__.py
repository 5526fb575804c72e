"""Export: from a trained model to a bundle.

    graphs.py   a torch module -> the bytes of an ONNX graph that depend on nothing but its weights
    export.py   a checkpoint, or any pair of modules -> graphs, golden vectors, statistics, manifest: verified, then in place
    card.py     the bundle's README.md for people

Needs: torch, onnx, onnxscript, ONNX Runtime (the extras vaekit[train] and vaekit[cpu]).
"""

from vaekit.exporting.export import ModulePair, export_bundle

__all__ = ["ModulePair", "export_bundle"]
