"""Every figure by name, and which of them apply to a model.

Needs: NumPy and ONNX Runtime; matplotlib inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from vaekit.datasets.rows import evenly
from vaekit.errors import ConfigError
from vaekit.figures import bubbles, curves, decoded, latent
from vaekit.figures import diagram as drawing
from vaekit.figures import means as projected
from vaekit.figures.means import Epochs
from vaekit.figures.sources import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class NotDrawn:
    """A figure that does not apply.

    Attributes:
        reason: Why not, and what would change that, in one line.
    """

    reason: str


def _diagram(subject: Subject) -> Figure | NotDrawn:
    measured = subject.measured
    labels = measured.split.labels
    of = np.arange(len(measured.split))
    if (
        labels is not None and (labels == 3).any() and not subject.classes
    ):  # the digit that a lecture draws, where there is one
        of = np.flatnonzero(labels == 3)
    x = measured.split.pixels(np.array([measured.usual(of)]))
    return drawing.diagram(subject.model, x, seed=subject.seed)


def _posterior(subject: Subject) -> Figure | NotDrawn:
    if not subject.model.is_vae:
        return NotDrawn("an autoencoder's posterior is a point, so there are no bubbles to draw")
    models, note = subject.betas, ""
    if not models:
        if subject.trainer is None:
            return NotDrawn(f"it needs {subject.no_trainer}, or --betas RUN,RUN,RUN")
        models, note = subject.trainer.betas(), subject.trainer.in_words
    return bubbles.posterior(models, subject.test, classes=subject.classes, note=note, seed=subject.seed)


def _kl(subject: Subject) -> Figure | NotDrawn:
    if not subject.model.is_vae:
        return NotDrawn("an autoencoder has no variances and no KL")
    return latent.kl(subject.measured)


def _samples(subject: Subject) -> Figure | NotDrawn:
    return decoded.samples(subject.measured, seed=subject.seed)


def _morph(subject: Subject) -> Figure | NotDrawn:
    a, b, *names = decoded.ends(subject.test, subject.classes, *subject.ends)
    ae = subject.ae
    if ae is None and subject.model.is_vae and subject.trainer is not None:
        ae = subject.trainer.autoencoder()
    return decoded.morph(subject.model, a, b, (names[0], names[1]), ae=ae)


def _means(subject: Subject) -> Figure | NotDrawn:
    kept, note = subject.kept, ""
    if kept is None:
        measured = subject.measured
        rows = evenly(len(measured.split), 1000)
        labels = measured.split.labels
        kept = Epochs(
            np.zeros(1, np.int64), measured.posterior.mean[rows][None], None if labels is None else labels[rows]
        )
        note = "Of the last epoch alone: a run keeps those of earlier ones, of its own data."
    return projected.means(
        kept,
        name=subject.model.name,
        classes=subject.classes,
        projection=subject.projection,
        seed=subject.seed,
        note=note,
    )


def _training(subject: Subject) -> Figure | NotDrawn:
    if not subject.history:
        return NotDrawn("a bundle keeps no metrics; give the run's folder")
    beta = float(subject.model.config.get("beta", 1.0))
    return curves.training(subject.history, name=subject.model.name, is_vae=subject.model.is_vae, beta=beta)


def _reconstructions(subject: Subject) -> Figure | NotDrawn:
    return decoded.reconstructions(subject.measured)


def _traversals(subject: Subject) -> Figure | NotDrawn:
    if not subject.measured.active:
        return NotDrawn("no latent dimension is active: the codes are the same for all items")
    return decoded.traversals(subject.measured)


def _aggregate(subject: Subject) -> Figure | NotDrawn:
    return latent.aggregate(subject.measured)


FIGURES: Final[Mapping[str, Callable[[Subject], Figure | NotDrawn]]] = {
    "diagram": _diagram,
    "posterior": _posterior,
    "kl": _kl,
    "samples": _samples,
    "morph": _morph,
    "means": _means,
    "training": _training,
    "reconstructions": _reconstructions,
    "traversals": _traversals,
    "aggregate": _aggregate,
}
"""Every figure, in the order of a lecture."""


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Hold that figures are known; without a name, give them all.

    Raises:
        ConfigError: A name is unknown.
    """
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        raise ConfigError(f"the figure {unknown[0]!r} is unknown; choose from {', '.join(FIGURES)}.")
    return tuple(name for name in FIGURES if name in names) if names else tuple(FIGURES)


def draw(subject: Subject, names: Sequence[str] = ()) -> Iterator[tuple[str, Figure | NotDrawn]]:
    """Draw figures one after the other.

    Args:
        subject: The model, its items, and what was chosen.
        names: Which figures; none means all.

    Yields:
        Each figure's name, and the figure, or why it does not apply.

    Raises:
        ConfigError: A name is unknown.
        DataError: The items do not fit the model, or an end of the morph is none of them.
        MissingDependencyError: matplotlib is not installed.
    """
    for name in check_names(names):
        yield name, FIGURES[name](subject)
