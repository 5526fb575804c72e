"""From which batch size on more threads, another provider or another precision pay: pure functions of timings.

Calls with NumPy arrays are compared, as an app makes them; of a GPU besides those whose data stay there. One thing pays
from batch N on if it is surely faster at N, by an amount that is worth something, and ahead at every larger size measured.

Needs: NumPy.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from vaekit.graphinfo import IOS
from vaekit.runtime.bench.compare import REFERENCE, WAYS, WORTH, compare
from vaekit.runtime.bench.results import Pays, Timing, count_of, unique
from vaekit.runtime.bound import DEVICES


def pays_from(timings: Sequence[Timing]) -> Iterator[Pays]:
    """Say from which batch size on more threads, another provider and another precision pay, for calls with NumPy arrays.

    Each thread count is held against the next smaller one; a provider against the fastest thread count of the CPU; a
    precision against fp32 on the same provider, each with its fastest thread count. Graphs for pixels are held against each
    other in the same ways, and against those for float32 values of the same precision.
    """
    for half in unique(timing.cell.setting.half for timing in timings):
        of_half = [timing for timing in timings if timing.cell.setting.half == half]
        for io in unique(timing.cell.setting.io for timing in of_half):
            of_io = [timing for timing in of_half if timing.cell.setting.io == io]
            for pays in _one_io_pays(half, of_io):
                yield pays._replace(io=io)
        yield from _pixels_pay(half, of_half)


def _one_io_pays(half: str, timings: Sequence[Timing]) -> Iterator[Pays]:
    precisions = unique(timing.cell.setting.precision for timing in timings)
    for precision in precisions:
        of_precision = [timing for timing in timings if timing.cell.setting.precision == precision]
        yield from _threads_pay(half, precision, of_precision)
        yield from _providers_pay(half, precision, of_precision)
    if REFERENCE in precisions:
        yield from _precisions_pay(half, precisions, timings)


def _threads_pay(half: str, precision: str, timings: Sequence[Timing]) -> Iterator[Pays]:
    for provider in unique(timing.cell.setting.provider for timing in timings):
        by_count = {
            count: _by_batch(timings, provider=provider, threads=count)
            for count in sorted({timing.cell.setting.threads for timing in timings})
        }
        for few, many in pairwise(count for count, found in by_count.items() if found):
            what = f"{provider}, {count_of(many, 'thread')}"
            yield from _pays(half, precision, what, count_of(few, "thread"), by_count[many], by_count[few])


def _providers_pay(half: str, precision: str, timings: Sequence[Timing]) -> Iterator[Pays]:
    cpu = _by_batch(timings, provider="cpu")
    for provider in unique(timing.cell.setting.provider for timing in timings):
        if provider == "cpu":
            continue
        yield from _pays(half, precision, provider, "cpu", _by_batch(timings, provider=provider), cpu)
        if provider in DEVICES:
            for way in WAYS[1:]:
                what = f"{provider} {way}, data on the GPU"
                yield from _pays(half, precision, what, "cpu", _by_batch(timings, provider=provider, way=way), cpu)


def _precisions_pay(half: str, precisions: Sequence[str], timings: Sequence[Timing]) -> Iterator[Pays]:
    for provider in unique(timing.cell.setting.provider for timing in timings):
        reference = _by_batch(timings, provider=provider, precision=REFERENCE)
        for precision in precisions:
            if precision != REFERENCE:
                other = _by_batch(timings, provider=provider, precision=precision)
                yield from _pays(half, precision, f"{precision} on {provider}", REFERENCE, other, reference)


def _pixels_pay(half: str, timings: Sequence[Timing]) -> Iterator[Pays]:
    values, pixels = ([timing for timing in timings if timing.cell.setting.io == io] for io in IOS)
    for precision in unique(timing.cell.setting.precision for timing in pixels):
        for provider in unique(timing.cell.setting.provider for timing in pixels):
            first, second = (_by_batch(some, provider=provider, precision=precision) for some in (pixels, values))
            for pays in _pays(half, precision, f"pixels on {provider}", "float32 values", first, second):
                text = f"{pays.text}; float32 values leave the app to convert its pixels"
                yield pays._replace(io="uint8", text=text)


def _pays(
    half: str, precision: str, what: str, over: str, first: Mapping[int, Timing], second: Mapping[int, Timing]
) -> Iterator[Pays]:
    """Compare batch by batch; nothing where the two have no batch size in common."""
    found = {batch: compare(first[batch], second[batch]) for batch in sorted(first) if batch in second}
    if not found:
        return
    batches = list(found)
    start = next(
        (
            batch
            for index, batch in enumerate(batches)
            if found[batch].faster and all(found[later].ratio > 1 for later in batches[index:])
        ),
        None,
    )
    last = found[batches[-1]]
    sweep = f"batch {batches[0]:,}" if len(batches) == 1 else f"batch {batches[0]:,} to {batches[-1]:,}"
    verdict, name = "unclear", f"{what} over {over}"
    some = [f"{batch:,}" for batch in batches if found[batch].faster]
    if start is not None:
        verdict = "from"
        where = f"at every size measured, {sweep}" if start == batches[0] else f"from batch {start:,}"
        text = f"{name}: pays {where}; {last.text} at batch {batches[-1]:,}"
    elif some:
        text = f"{name}: pays at batch {', '.join(some)}, and not at larger ones; {last.text} at batch {batches[-1]:,}"
    elif all(than.high <= WORTH for than in found.values()):
        verdict = "never"
        text = f"{name}: never pays in this sweep, {sweep}; {last.text} at batch {batches[-1]:,}"
    else:
        widest = max(batches, key=lambda batch: found[batch].high)
        text = f"{name}: not clear, the difference is inside the noise; {found[widest].text} at batch {widest:,}"
    yield Pays(half, precision, what, over, verdict, start, last.ratio, text)


def _by_batch(
    timings: Sequence[Timing],
    *,
    provider: str,
    threads: int | None = None,
    precision: str | None = None,
    way: str = WAYS[0],
) -> dict[int, Timing]:
    """The fastest timing at each batch size, of those that fit."""
    best: dict[int, Timing] = {}
    for timing in timings:
        setting = timing.cell.setting
        fits = (setting.provider, timing.cell.way) == (provider, way)
        if fits and threads in (None, setting.threads) and precision in (None, setting.precision):
            batch = timing.cell.batch
            if batch not in best or statistics.median(timing.rates) > statistics.median(best[batch].rates):
                best[batch] = timing
    return best
