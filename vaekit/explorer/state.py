"""Where an exploration is: the scale of its axes, one view, and the history of views with undo and redo.

Everything is immutable: a change makes a new view, and an undo shows an old one. Shapes: D latent dimensions.

Needs: NumPy.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import ConfigError
from vaekit.latents import interpolate
from vaekit.manifest import Manifest

Code: TypeAlias = NDArray[np.float32]
"""One latent code, (D,) float32, read-only."""

Pin = Literal["A", "B"]
Path = Literal["linear", "spherical"]

MORPH_STEPS: Final = 100
"""A morph's places are t = 0, 0.01, …, 1."""

MOST_STEPS: Final = 1000
"""Most steps that can be undone."""

DIGITS: Final = 6
"""Decimals that a slider's value is rounded to: ten steps of 0.1 there and back end where they began."""


class Scale(NamedTuple):
    """What 0 and 1 mean on each axis: ``value = (z - centre) / unit``.

    Attributes:
        centre: Where the prior has its mean, (D,).
        unit: The prior's standard deviation, (D,), above 0.
    """

    centre: NDArray[np.float64]
    unit: NDArray[np.float64]

    @classmethod
    def of(cls, manifest: Manifest) -> Scale:
        """The prior's scale: N(0, I) of a VAE; of an autoencoder, the mean and spread of its codes over the training data."""
        latent = manifest.spec.latent
        if manifest.spec.kind == "vae":
            return cls(np.zeros(latent), np.ones(latent))
        spread = np.asarray(manifest.statistics.std, np.float64)
        return cls(np.asarray(manifest.statistics.mean, np.float64), np.where(spread > 0, spread, 1.0))

    def values(self, z: NDArray[Any]) -> NDArray[np.float64]:
        """Codes in units of the prior's standard deviation, (..., D)."""
        return np.asarray((z.astype(np.float64) - self.centre) / self.unit)


def order(manifest: Manifest) -> tuple[int, ...]:
    """Active dimensions, the one with the largest KL first; of an autoencoder, the one with the largest spread.

    A model without active dimensions has collapsed; all of them are given then.
    """
    statistics = manifest.statistics
    weight = np.asarray(statistics.kl or statistics.std, np.float64)
    active = set(statistics.active) or set(range(manifest.spec.latent))
    return tuple(int(d) for d in np.argsort(-weight, kind="stable") if int(d) in active)


def frozen(z: NDArray[Any]) -> Code:
    """One code as a read-only float32 array of its own, (D,)."""
    code = np.array(z, np.float32).reshape(-1)
    code.setflags(write=False)
    return code


@dataclass(frozen=True, eq=False)
class View:
    """One place in the latent space, and what is held there.

    Attributes:
        z: The code that is shown, (D,).
        origin: Where it comes from, in words: "seed 7".
        seed: Seed that was drawn last.
        a: First pinned code, or None.
        b: Second pinned code, or None.
        t: Place between A and B in hundredths, 0 to 100; None where z was not taken from the morph.
        path: Shape of the way from A to B.
    """

    z: Code
    origin: str
    seed: int = 0
    a: Code | None = None
    b: Code | None = None
    t: int | None = None
    path: Path = "linear"

    def at(self, z: NDArray[Any], origin: str) -> View:
        """The same view at another code."""
        return replace(self, z=frozen(z), origin=origin, t=None)

    def with_value(self, scale: Scale, dimension: int, value: float) -> View:
        """The same view with one dimension at ``centre + value * unit``."""
        z = self.z.astype(np.float64)
        z[dimension] = scale.centre[dimension] + round(value, DIGITS) * scale.unit[dimension]
        return self.at(z, f"z{dimension} moved")

    def pinned(self, which: Pin) -> View:
        """Hold the code that is shown as A or B."""
        return replace(self, a=self.z) if which == "A" else replace(self, b=self.z)

    def pin(self, which: Pin) -> Code:
        """The code that A or B holds.

        Raises:
            ConfigError: Nothing was pinned there.
        """
        code = self.a if which == "A" else self.b
        if code is None:
            raise ConfigError(f"there is no point {which} yet; pin this one with {which.lower()}.")
        return code

    def morphed(self, t: int) -> View:
        """Go to a place between A and B: ``t / 100`` of the way, as `vaekit.latents.interpolate` defines it.

        Raises:
            ConfigError: A or B is not pinned.
        """
        t = min(MORPH_STEPS, max(0, t))
        z = interpolate(self.pin("A"), self.pin("B"), steps=MORPH_STEPS + 1, path=self.path)[t]
        return replace(self, z=frozen(z), origin=f"A to B, t = {t / MORPH_STEPS:.2f}", t=t)


@dataclass(frozen=True)
class History:
    """The view that is shown, those before it, and those that were undone.

    Attributes:
        now: The view that is shown.
        past: Earlier views, the latest last; at most `MOST_STEPS`.
        future: Undone views, the next to redo last.
        mark: What made the latest step; a step with the same mark replaces it, so that a drag is one step.
    """

    now: View
    past: tuple[View, ...] = ()
    future: tuple[View, ...] = ()
    mark: Hashable = field(default=None)

    def step(self, view: View, mark: Hashable = None) -> History:
        """Show another view. With a mark that equals the latest step's, it takes that step's place."""
        if mark is not None and mark == self.mark:
            return History(view, self.past, (), mark)
        return History(view, (*self.past, self.now)[-MOST_STEPS:], (), mark)

    def settled(self) -> History:
        """End a drag: the next step is one of its own, whatever its mark."""
        return replace(self, mark=None)

    def undo(self) -> History:
        """Show the view before; the same history where there is none."""
        if not self.past:
            return self
        return History(self.past[-1], self.past[:-1], (*self.future, self.now))

    def redo(self) -> History:
        """Show the view that was undone last; the same history where there is none."""
        if not self.future:
            return self
        return History(self.future[-1], (*self.past, self.now), self.future[:-1])
