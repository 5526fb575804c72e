"""What a lecture on variational autoencoders draws on the board, from one model of your own.

    catalog.py     every figure by name, and whether it applies     sources.py   a run or a bundle, with the items to show it
    model.py       a model as two functions; what it makes of items trained.py   what needs torch: runs, small models
    style.py       colours, sizes, headings, bytes of a picture     items.py     an image, a series or a row in a rectangle
    diagram.py     encoder, sampler, decoder                        bubbles.py   posteriors in two dimensions, for several betas
    latent.py      the price of a variance; the aggregate posterior means.py     means by label and epoch
    decoded.py     samples, reconstructions, traversals, morphs     projection.py  principal axes, t-SNE, UMAP
    curves.py      training curves

A figure is a function from a model and items to a `matplotlib.figure.Figure`; what it shows is computed by functions beside it
that know no matplotlib.

Needs: NumPy, ONNX Runtime; matplotlib inside functions (the extra vaekit[plots]); torch in trained.py. Must not import: onnx.
"""

from vaekit.figures.catalog import FIGURES, NotDrawn, check_names, draw
from vaekit.figures.sources import Subject
from vaekit.figures.style import FORMATS, picture

__all__ = ["FIGURES", "FORMATS", "NotDrawn", "Subject", "check_names", "draw", "picture"]
