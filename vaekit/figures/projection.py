"""Codes in many dimensions on a plane: principal axes always, t-SNE and UMAP with their extras.

Needs: NumPy; scikit-learn (the extra vaekit[tsne]), umap-learn (vaekit[umap]) inside functions. Must not import: torch, onnx.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import ConfigError, DataError, MissingDependencyError
from vaekit.plane import PrincipalAxes, principal_axes

__all__ = ["PROJECTIONS", "PrincipalAxes", "Projection", "check_projection", "embed", "principal_axes"]

Projection = Literal["pca", "tsne", "umap"]
PROJECTIONS: Final = get_args(Projection)

FEWEST: Final = 5
"""Fewest items that t-SNE and UMAP take: neighbourhoods of fewer mean nothing."""

PERPLEXITY: Final = 30.0
NEIGHBOURS: Final = 15
"""What t-SNE and UMAP usually take; fewer where there are few items."""


def check_projection(projection: str) -> None:
    """Hold that a projection is known and that its package is installed, before anything is computed.

    Raises:
        ConfigError: It is unknown.
        MissingDependencyError: Its package is not installed.
    """
    if projection not in PROJECTIONS:
        raise ConfigError(f"projection={projection!r} is unknown; choose one of {', '.join(PROJECTIONS)}.")
    try:
        if projection == "tsne":
            import sklearn.manifold  # noqa: F401  only whether it is there
        elif projection == "umap":
            import umap  # noqa: F401
    except ImportError as error:
        what = "scikit-learn" if projection == "tsne" else "umap-learn"
        raise MissingDependencyError(
            f"--projection {projection} needs {what}; install it with `pip install 'vaekit[{projection}]'`, or take pca."
        ) from error


def embed(
    codes: NDArray[Any], projection: Literal["tsne", "umap"], *, start: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Lay codes out on a plane so that neighbours stay neighbours; distances and directions mean little there.

    Args:
        codes: (N, D).
        projection: "tsne" or "umap".
        start: Places to begin from, (N, 2): those of the principal axes, so that pictures of several epochs are alike.
        seed: Of the method's own random numbers.

    Returns:
        Places, (N, 2).

    Raises:
        DataError: There are fewer than `FEWEST` items.

    Source: van der Maaten & Hinton 2008, "Visualizing data using t-SNE"; McInnes, Healy & Melville 2018, arXiv:1802.03426.
    """
    if len(codes) < FEWEST:
        raise DataError(
            f"{projection} needs {FEWEST} items or more, but there are {len(codes)}; take --projection pca."
        )
    scale = float(start[:, 0].std()) or 1.0
    seed %= 1 << 32  # both take 32 bits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on their own inner workings
        if projection == "tsne":
            from sklearn.manifold import TSNE

            fit = TSNE(
                n_components=2,
                perplexity=min(PERPLEXITY, (len(codes) - 1) / 3),
                init=(start / scale * 1e-4).astype(np.float32),
                random_state=seed,
            )
        else:
            from umap import UMAP

            fit = UMAP(
                n_components=2,
                n_neighbors=min(NEIGHBOURS, len(codes) - 1),
                init=(start / scale * 5).astype(np.float32),
                random_state=seed,
            )
        return np.asarray(fit.fit_transform(codes.astype(np.float32)), np.float64)
