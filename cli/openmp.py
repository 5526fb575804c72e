"""How long OpenMP's threads, which torch computes on, spin before they sleep.

Between two parallel loops a thread that has nothing to do spins, so as to be there when the next one begins. GNU's OpenMP,
which torch's wheels for Linux bring along, spins for milliseconds. Beside other work that takes the cores from the very
threads that are waited for, and a step of training takes many times as long. Some tens of microseconds last from one loop of
a step to the next. `benchmarks/contention.py` measures both.

The library reads its settings when torch is imported, so they must be there before.

Source: libgomp manual, "GOMP_SPINCOUNT".

Needs: the standard library.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

SPINS: Final = "2000"
"""Turns of the loop that waits."""

DECIDE: Final = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""What a user may have set: either decides, the first before the second."""


def spin_briefly(environment: MutableMapping[str, str]) -> None:
    """Have threads sleep soon, unless the environment says how long they wait."""
    if not any(name in environment for name in DECIDE):
        environment["GOMP_SPINCOUNT"] = SPINS
