"""Principal axes: the plane through points in many dimensions on which they spread most.

Needs: NumPy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class PrincipalAxes(NamedTuple):
    """A plane through the codes on which they spread most.

    Attributes:
        centre: Mean of the codes, (D,).
        axes: Two orthonormal directions, (2, D); each one's largest component is positive, so that the picture is not mirrored
            from run to run. With D = 1 the second is zero.
        shares: Their parts of the whole variance, (2,).
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    shares: NDArray[np.float64]

    def project(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Give the codes' places on the plane, (N, D) -> (N, 2)."""
        return np.asarray((codes.astype(np.float64) - self.centre) @ self.axes.T)


def principal_axes(codes: NDArray[Any]) -> PrincipalAxes:
    """Find the two directions in which codes vary most, by a singular value decomposition of the centred codes.

    Args:
        codes: (N, D), N at least 1.

    Source: Pearson 1901, "On lines and planes of closest fit to systems of points in space".
    """
    values = codes.astype(np.float64)
    centre = values.mean(axis=0)
    _, singular, rows = np.linalg.svd(values - centre, full_matrices=False)
    axes, shares = np.zeros((2, values.shape[1])), np.zeros(2)
    count = min(2, len(rows))
    axes[:count] = rows[:count]
    total = float(np.square(singular).sum())
    shares[:count] = np.square(singular[:count]) / total if total > 0 else 0
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return PrincipalAxes(centre, axes * np.where(largest < 0, -1.0, 1.0), shares)
