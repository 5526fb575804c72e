"""Data sets as arrays, found by name or by path.

    idx.py       the IDX file format
    catalog.py   names, where their files are looked for, and what their content must be

A `Dataset` is two splits of items with optional labels, kept as the bytes of the files (uint8 pixels) until a batch is
needed. Here rather than in vaekit.training, since the runtime's commands read data too, and must not need torch.

Needs: NumPy. Must not import: torch, onnx, onnxruntime.
"""

from vaekit.datasets.catalog import DATA_VARIABLE, Dataset, Split, as_float, load_dataset

__all__ = ["DATA_VARIABLE", "Dataset", "Split", "as_float", "load_dataset"]
