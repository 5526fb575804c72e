"""Which settings and batch sizes are measured, and for how long.

Needs: NumPy, vaekit.manifest. Must not import: torch, onnx.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Final, TypeVar

from vaekit.cores import count_cores
from vaekit.errors import ConfigError
from vaekit.graphinfo import IOS
from vaekit.manifest import HALVES, Manifest
from vaekit.runtime.bench.results import Plan, Setting
from vaekit.runtime.bench.timing import LEAST_ROUNDS
from vaekit.runtime.bound import DEVICES
from vaekit.runtime.providers import SUFFIX, Options, short_name

BATCHES: Final = (1, 8, 64, 256, 1024, 4096)
QUICK_BATCHES: Final = (1, 64, 1024)

SECONDS: Final = 1.0
QUICK_SECONDS: Final = 0.15
ROUNDS: Final = 10
QUICK_ROUNDS: Final = LEAST_ROUNDS
STARTS: Final = 7
QUICK_STARTS: Final = 3

_T = TypeVar("_T")


def make_plan(
    manifest: Manifest,
    *,
    halves: Sequence[str] = ("decoder",),
    precisions: Sequence[str] | None = None,
    providers: Sequence[str] = ("cpu",),
    threads: Sequence[int] | None = None,
    batches: Sequence[int] | None = None,
    seconds: float | None = None,
    quick: bool = False,
    io: Sequence[str] | None = None,
) -> Plan:
    """Check what was asked for, and fill in what was not.

    Args:
        manifest: The bundle's.
        halves: "decoder", "encoder" or both.
        precisions: Of the bundle's; None takes all.
        providers: Names, short or in full; "auto" is none, since it is a choice between others.
        threads: Thread counts; None takes 1, 2, 4, … and the number of cores that this process may use.
        batches: Items a call; None takes `BATCHES`.
        seconds: Time for each cell, warm-up included; None takes `SECONDS`.
        quick: Fewer batch sizes, less time, fewer rounds and starts, where these are not given.
        io: "float32", "uint8" or both; None takes what the bundle has.

    Raises:
        ConfigError: A half, io, thread count, batch size or time that has no meaning.
        BundleError: The bundle has no such precision, or no such graphs for pixels.
    """
    if precisions is None:
        precisions = list(manifest.precisions)
    for half in halves:
        for precision in precisions:
            for one in IOS[:1] if io is None else _given("io", io):
                manifest.graph(half, precision, one)
    if io is None:
        io = IOS[:1] if manifest.pixels is None else IOS
    names = tuple(dict.fromkeys(short_name(_full(name)) for name in providers))
    if "auto" in names:
        raise ConfigError("provider='auto' is a choice between providers, and bench measures each; name them.")
    counts = _ascending("threads", threads if threads is not None else thread_counts(count_cores().usable))
    for count in counts:
        Options(threads=count)
    sizes = _ascending("batches", batches if batches is not None else QUICK_BATCHES if quick else BATCHES)
    if sizes[0] < 1:
        raise ConfigError(f"batches={sizes[0]}: a call takes 1 item or more.")
    if seconds is None:
        seconds = QUICK_SECONDS if quick else SECONDS
    if not (isfinite(seconds) and 0 < seconds <= 3600):
        raise ConfigError(f"seconds={seconds:g}: give each timing more than 0 and at most 3600 seconds.")
    return Plan(
        halves=_given("halves", [half for half in HALVES if half in halves]),
        precisions=_given("precisions", precisions),
        providers=_given("providers", names),
        threads=counts,
        batches=sizes,
        seconds=seconds,
        rounds=QUICK_ROUNDS if quick else ROUNDS,
        starts=QUICK_STARTS if quick else STARTS,
        io=tuple(one for one in IOS if one in io),
    )


def thread_counts(cores: int) -> tuple[int, ...]:
    """Powers of two up to the number of cores, and that number itself."""
    powers = [2**exponent for exponent in range(cores.bit_length()) if 2**exponent < cores]
    return (*powers, cores)


def settings(plan: Plan, manifest: Manifest) -> Iterator[Setting]:
    """Every setting of a plan, each provider's sorted by threads; a GPU's speed hangs on no threads, so it gets one count."""
    for half, precision, io in graphs(plan, manifest):
        for provider in plan.providers:
            for threads in plan.threads[-1:] if provider in DEVICES else plan.threads:
                yield Setting(half, precision, provider, threads, io)


def graphs(plan: Plan, manifest: Manifest) -> Iterator[tuple[str, str, str]]:
    """Half, precision and io of every graph of a plan; those for pixels only where the bundle has them in that precision."""
    for half in plan.halves:
        for precision in plan.precisions:
            for io in plan.io:
                if io == "float32" or (manifest.pixels is not None and precision in manifest.pixels.precisions):
                    yield half, precision, io


def _full(name: str) -> str:
    """A provider's name with ONNX Runtime's capitals at the end, whatever the user's are."""
    return name[: -len(SUFFIX)] + SUFFIX if name.lower().endswith(SUFFIX.lower()) else name


def _ascending(name: str, values: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(set(_given(name, values))))


def _given(name: str, values: Sequence[_T]) -> tuple[_T, ...]:
    if not values:
        raise ConfigError(f"{name} is empty; name at least one.")
    return tuple(dict.fromkeys(values))
