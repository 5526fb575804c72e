"""Which precisions an export makes: names as a person gives them.

Needs: the standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from vaekit.errors import ConfigError
from vaekit.precisions import PRECISIONS

AUTO: Final = "auto"
"""Stands for `OPTIONAL`, each of which ships where it passes the gate, and is no failure where it does not."""

OPTIONAL: Final = ("fp16", "int8")

BATCH_DEPENDENT: Final = frozenset({"int8-dynamic"})
"""Precisions in which an item's numbers depend on the rest of its batch."""

MARGIN: Final[Mapping[str, float]] = MappingProxyType({"fp16": 10.0, "int8": 2.0, "int8-dynamic": 2.0})
"""Factor from the errors that a variant had when it was exported to its tolerances elsewhere.

Integer products are exact, so other processors differ only in the last digit of a scale, which can move a rounding by a step.
Where half precision is computed in hardware, sums may be rounded after each addition, which this machine does not do: in NumPy
that made the reference model's errors 5.5 to 7.7 times larger.
"""


class Wanted(NamedTuple):
    """The precisions of a bundle.

    Attributes:
        required: Those that were asked for by name; "fp32", which is always there, is not among them.
        optional: Those that may fail.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def variants(self) -> tuple[str, ...]:
        """All of them, in the order of `vaekit.precisions.PRECISIONS`."""
        return tuple(name for name in PRECISIONS if name in (*self.required, *self.optional))


def wanted_precisions(names: Iterable[str]) -> Wanted:
    """Sort out the names that were given.

    Args:
        names: Of `PRECISIONS`, and `AUTO`; or one text, as the command line's "fp16,int8".

    Raises:
        ConfigError: A name is unknown.
    """
    given = list(dict.fromkeys(names.split(",") if isinstance(names, str) else names))
    for name in given:
        if name not in (*PRECISIONS, AUTO):
            raise ConfigError(f"precision={name!r} is unknown; choose of {', '.join((*PRECISIONS, AUTO))}.")
    required = tuple(name for name in given if name not in ("fp32", AUTO))
    return Wanted(required, tuple(name for name in OPTIONAL if AUTO in given and name not in required))
