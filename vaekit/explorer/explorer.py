"""`Explorer`: a model, its landscape and the history of views; each thing that a user can do is a method.

Shapes: D latent dimensions.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx, rich, textual.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaekit.explorer import saving
from vaekit.explorer.landscape import Landscape, Plane
from vaekit.explorer.state import History, Pin, Scale, View, frozen, order
from vaekit.runtime.vae import VAE

SEEDS: Final = 1 << 64
"""How many seeds the portable noise has."""


class Explorer:
    """A walk through a model's latent space.

    Args:
        vae: The model.
        landscape: Items on a map, or None.
        seed: Seed of the first code: that of ``vae.prior(1, seed=seed)``.

    Attributes:
        vae: The model.
        landscape: Items on a map, or None.
        scale: What 0 and 1 mean on each axis.
        order: Active dimensions, the one with the largest KL first.
        plane: The map's plane, or None without a landscape.
        history: Views, with undo and redo.
    """

    def __init__(self, vae: VAE, landscape: Landscape | None = None, *, seed: int = 0) -> None:
        self.vae = vae
        self.landscape = landscape
        self.scale = Scale.of(vae.manifest)
        self.order = order(vae.manifest)
        self.plane: Plane | None = None if landscape is None else landscape.plane("kl", self.scale, self.order)
        self._plane_kind = "kl"
        self._decode = vae.decoder.bind(1)
        self.history = History(View(frozen(vae.prior(1, seed=seed)), f"seed {seed}", seed))

    @property
    def view(self) -> View:
        """The view that is shown."""
        return self.history.now

    @property
    def values(self) -> NDArray[np.float64]:
        """The code in units of the prior's standard deviation, (D,)."""
        return self.scale.values(self.view.z)

    def item(self) -> NDArray[np.float32]:
        """Decode the code that is shown, (*data shape): an array that the next call overwrites."""
        self._decode.z[0] = self.view.z
        x_hat: NDArray[np.float32] = self._decode()[0]
        return x_hat

    def set_value(self, dimension: int, value: float, mark: Hashable = None) -> None:
        """Put one dimension at a value, in units of the prior's standard deviation."""
        self._step(self.view.with_value(self.scale, dimension, value), mark)

    def nudge(self, dimension: int, by: float, mark: Hashable = None) -> None:
        """Change one dimension by a value, in units of the prior's standard deviation."""
        self.set_value(dimension, float(self.values[dimension]) + by, mark)

    def walk(self, right: float, up: float) -> None:
        """Move in the map's plane; nothing happens without a map."""
        if self.plane is not None:
            self._step(self.view.at(self.plane.moved(self.view.z, (right, up)), "walked on the map"))

    def jump(self, place: Sequence[float], mark: Hashable = None) -> None:
        """Go to a place of the map's plane; nothing happens without a map."""
        if self.plane is not None:
            self._step(self.view.at(self.plane.at(self.view.z, place), "a place on the map"), mark)

    def turn_map(self) -> None:
        """Change the map between the two dimensions of most KL and the principal axes of the means."""
        if self.landscape is not None:
            self._plane_kind = "pca" if self._plane_kind == "kl" else "kl"
            self.plane = self.landscape.plane(self._plane_kind, self.scale, self.order)

    def randomise(self) -> None:
        """Draw the code of the next seed: item 0 of `vaekit sample --seed`. After the last seed comes 0."""
        seed = (self.view.seed + 1) % SEEDS
        self._step(replace(self.view.at(self.vae.prior(1, seed=seed), f"seed {seed}"), seed=seed))

    def encode(self, x: NDArray[np.float32], origin: str) -> None:
        """Go to the posterior mean of an item (1, *data shape).

        Raises:
            ShapeError: The model cannot take it.
        """
        self._step(self.view.at(self.vae.encode(x).mean, origin))

    def reset(self) -> None:
        """Put every dimension at 0: the prior's mean. Pins stay."""
        self._step(self.view.at(self.scale.centre, "the prior's mean"))

    def pin(self, which: Pin) -> None:
        """Hold the code that is shown as A or B."""
        self._step(self.view.pinned(which))

    def go(self, which: Pin) -> None:
        """Go to A or B.

        Raises:
            ConfigError: Nothing was pinned there.
        """
        self._step(self.view.at(self.view.pin(which), f"point {which}"))

    def morph(self, t: int, mark: Hashable = None) -> None:
        """Go to a place between A and B, in hundredths.

        Raises:
            ConfigError: A or B is not pinned.
        """
        self._step(self.view.morphed(t), mark)

    def bend(self) -> None:
        """Change the way from A to B between a line and a great circle; where z lies on it, z follows."""
        view = replace(self.view, path="spherical" if self.view.path == "linear" else "linear")
        self._step(view if view.t is None else view.morphed(view.t))

    def settle(self) -> None:
        """End a drag: what comes next is a step of its own."""
        self.history = self.history.settled()

    def undo(self) -> bool:
        """Show the view before; False where there is none."""
        before, self.history = self.history, self.history.undo()
        return self.history is not before

    def redo(self) -> bool:
        """Show the view that was undone last; False where there is none."""
        before, self.history = self.history, self.history.redo()
        return self.history is not before

    def save(self, folder: Path) -> Path:
        """Write the item, the code and a program that decodes it; see `vaekit.explorer.saving.save`."""
        return saving.save(folder, self.vae, self.view, self.item())

    def _step(self, view: View, mark: Hashable = None) -> None:
        self.history = self.history.step(view, mark)
