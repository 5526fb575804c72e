"""Walking through a model's latent space, without a screen: what `vaekit explore` shows is computed here.

    state.py      the scale of the axes, one view (a code, its pins, its morph), and the history with undo and redo
    landscape.py  posterior means of a data set's items on a plane, and how to move in it
    explorer.py   `Explorer`: a model, the landscape and the history; each thing that a user can do is a method
    saving.py     what a save leaves on the disk

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx, rich, textual.
"""
