"""Data sets as arrays, found by name or by path.

    catalog.py       load_dataset: which of the readers below takes a name or a path
    dataset.py       Dataset and Split: what they give; the division by seed
    options.py       DataOptions: how to read
    builtin.py       names: folders, digests, mirrors         download.py     one file from the first mirror that has it
    idx.py           the IDX file format and its folder       arrays.py       .npy and .npz
    imagefolder.py   a folder of images                       imagecache.py   their pixels, converted once
    pixels.py        one image file to 8-bit pixels
    tables.py        rows and windows of CSV and Parquet      columns.py      their columns as numbers, strictly
    leaveout.py      a data set without the items of some labels
    rows.py          some rows of an array, not copied        mapped.py       arrays larger than memory, read in little of it
    ahead.py         work in threads, ahead of its reader     cachefolder.py  where conversions and downloads are kept
    binarized.py     grey pixels as zeros and ones, by seed

A `Dataset` is two splits of items with optional labels, kept as the bytes of the files (uint8 pixels) until a batch is
needed. Here rather than in vaekit.training, since the runtime's commands read data too, and must not need torch.

Needs: NumPy; Pillow for images and pyarrow for tables, inside functions. Must not import: torch, onnx, onnxruntime.
"""

from vaekit.datasets.builtin import DATA_VARIABLE
from vaekit.datasets.cachefolder import CACHE_VARIABLE
from vaekit.datasets.catalog import load_dataset, options_for
from vaekit.datasets.dataset import Dataset, LoadProgress, OnProgress, Split, as_float
from vaekit.datasets.mapped import release
from vaekit.datasets.options import DataOptions
from vaekit.datasets.rows import Items, Rows

__all__ = [
    "CACHE_VARIABLE",
    "DATA_VARIABLE",
    "DataOptions",
    "Dataset",
    "Items",
    "LoadProgress",
    "OnProgress",
    "Rows",
    "Split",
    "as_float",
    "load_dataset",
    "options_for",
    "release",
]
