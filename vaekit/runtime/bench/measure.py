"""Bench: opens every setting of a plan, measures them in turn, and gives the report, also of a run that was interrupted.

First the starts of fresh processes, then the timings. What is wrong with the bundle, a provider or a batch size is raised
before anything is measured.

Needs: NumPy and ONNX Runtime. Must not import: torch, onnx.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from vaekit.bundle import Bundle
from vaekit.errors import ConfigError, MeasurementError, ProviderError, one_line
from vaekit.runtime.bench import ways
from vaekit.runtime.bench.advice import advise
from vaekit.runtime.bench.child import checksum, first_item
from vaekit.runtime.bench.machine import describe_machine, load_average, memory_available
from vaekit.runtime.bench.pays import pays_from
from vaekit.runtime.bench.plan import graphs, settings
from vaekit.runtime.bench.process import Starter, start_in_turn
from vaekit.runtime.bench.results import LEVELS, Cell, Disk, Plan, Report, Setting, Timing
from vaekit.runtime.bench.timing import TICKS, Clock, Contender, quantiles, ready, resolution, take_turns
from vaekit.runtime.providers import CUDA, import_onnxruntime
from vaekit.runtime.session import Decoder, Encoder, Given

Progress: TypeAlias = Callable[[str, float, float], None]
"""Called before each piece of work: its name, seconds of work done, seconds of work in all, both as planned."""

START_SECONDS: Final = 0.4
"""What a start is taken to last when the time left is estimated."""


class _Timed(NamedTuple):
    cell: Cell
    first: float
    contender: Contender


class Bench:
    """One run of a plan.

    Args:
        bundle: The bundle, its files checked.
        plan: What to measure.
        clock: The clock; tests pass one of their own.
        skipped: Remarks on what could not be planned.
        on_progress: Called before each piece of work.

    Raises:
        BundleError: The bundle has no path that another process could open.
    """

    def __init__(
        self,
        bundle: Bundle,
        plan: Plan,
        *,
        clock: Clock = time.perf_counter,
        skipped: Sequence[str] = (),
        on_progress: Progress = lambda *_: None,
    ) -> None:
        self._bundle, self._plan, self._clock, self._on_progress = bundle, plan, clock, on_progress
        self._skipped = list(skipped)
        self._machine = describe_machine()
        self._resolution = resolution(clock)
        self._models: dict[Setting, Encoder | Decoder] = {}
        self._baseline = Starter(None, bundle.path)
        self._starters: list[Starter] = []
        self._timed: list[_Timed] = []
        self._complete = False

    def run(self) -> None:
        """Measure everything; `report` gives what there is, also after an interruption.

        Raises:
            ConfigError: The batches do not fit into the memory.
            ProviderError: A provider is not there or does not load.
            BundleError: A graph is not what the manifest says.
            MeasurementError: No call can be run, or a process fails.
        """
        _check_memory(self._bundle, self._plan)
        for setting in settings(self._plan, self._bundle.manifest):
            self._models[setting] = ways.open_half(self._bundle, setting)
        self._start()
        self._prepare()
        self._time()
        self._complete = True

    def report(self) -> Report:
        """Give what was measured, and what it advises."""
        manifest, plan = self._bundle.manifest, self._plan
        timings = tuple(_timing(timed) for timed in self._timed if timed.contender.bursts)
        return Report(
            bundle=manifest.name,
            bundle_bytes=sum(file.bytes for file in manifest.files()),
            complete=self._complete,
            machine=self._machine._replace(load_after=load_average()),
            plan=plan,
            resolution=self._resolution,
            skipped=tuple(self._skipped),
            baseline=self._baseline.result(),
            starts=tuple(start for starter in self._starters if (start := starter.result()) is not None),
            disk=tuple(
                Disk(half, precision, manifest.graph(half, precision, io).file.bytes, io)
                for half, precision, io in graphs(plan, manifest)
            ),
            timings=timings,
            pays=tuple(pays_from(timings)),
            settings=tuple(advise(timings)),
        )

    def _start(self) -> None:
        """Cold starts and memory."""
        if not self._plan.starts:
            return
        self._starters = [
            Starter(setting, self._bundle.path, checksum(first_item(model))) for setting, model in self._models.items()
        ]
        starters = [self._baseline, *self._starters]
        done = 0

        def on_start(index: int) -> None:
            nonlocal done
            setting = starters[index].setting
            self._say(f"start, {setting.text if setting else 'Python and NumPy alone'}", done * START_SECONDS)
            done += 1

        start_in_turn(starters, self._clock, starts=self._plan.starts, on_start=on_start)

    def _prepare(self) -> None:
        """Make every call, run it for the first time, and find how many of it fill a block."""
        largest = self._plan.batches[-1]
        rows = {
            (half, io): ways.inputs(self._bundle, half, largest, io)
            for half in self._plan.halves
            for io in self._plan.io
        }
        for setting, model in self._models.items():
            x = rows[setting.half, setting.io]
            for batch in self._plan.batches:
                self._add(Cell(setting, "call", batch), partial(ways.plain, model, x[:batch]))
                self._add(Cell(setting, "bound", batch), partial(ways.bound, model, x[:batch]))
            if setting.provider == "cuda":
                self._add_graphs(setting, x)

    def _add_graphs(self, setting: Setting, x: Given) -> None:
        """Add the calls that replay a CUDA graph, one for each batch size, if CUDA runs every node of this model."""
        try:
            session = ways.open_for_graphs(self._bundle, setting)
        except ProviderError as error:
            self._skipped.append(f"CUDA graphs of {setting.text}: {error}")
            return
        info = self._bundle.manifest.graph(setting.half, setting.precision, setting.io)
        buffers = ways.Buffers(info, x, "cuda")
        for number, batch in enumerate(self._plan.batches, start=1):
            self._add(Cell(setting, "graph", batch), partial(buffers.bind, session, batch, graph_id=number))

    def _add(self, cell: Cell, make: Callable[[], ways.Call]) -> None:
        """Make a call, and make it for the first time, apart; one that fails is left out, with its reason."""
        self._say(f"first call, {cell.text}", self._starting)
        try:
            contender, first = ready(make(), self._clock, least=TICKS * self._resolution)
        except Exception as error:  # noqa: BLE001  (ONNX Runtime's own kinds, MemoryError: whatever a provider raises)
            reason = one_line(error) or type(error).__name__
            self._skipped.append(f"{cell.text}: {reason}")
            return
        self._timed.append(_Timed(cell, first, contender))

    def _time(self) -> None:
        if not self._timed:
            raise MeasurementError(f"no call could be run; the last that failed: {self._skipped[-1]}.")
        burst = self._plan.seconds / self._plan.rounds
        done = 0

        def on_burst(index: int) -> None:
            nonlocal done
            self._say(self._timed[index].cell.text, self._starting + done * burst)
            done += 1

        take_turns(
            [timed.contender for timed in self._timed],
            self._clock,
            seconds=self._plan.seconds,
            rounds=self._plan.rounds,
            on_burst=on_burst,
        )

    @property
    def _starting(self) -> float:
        """Seconds that all starts are taken to last."""
        return (1 + len(self._models)) * (1 + self._plan.starts) * START_SECONDS if self._plan.starts else 0.0

    def _say(self, what: str, done: float) -> None:
        kinds = sum(3 if setting.provider == "cuda" else 2 for setting in self._models)  # ways of each setting
        cells = kinds * len(self._plan.batches)
        self._on_progress(what, done, self._starting + cells * self._plan.seconds)


def working_providers(bundle: Bundle, half: str) -> tuple[list[str], list[str]]:
    """The CPU, and CUDA where it works.

    Args:
        bundle: The bundle to try it on.
        half: One of its halves.

    Returns:
        Short names; and why CUDA is not among them although this ONNX Runtime has it.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
    """
    if CUDA not in import_onnxruntime().get_available_providers():
        return ["cpu"], []
    try:
        ways.open_half(bundle, Setting(half, next(iter(bundle.manifest.precisions)), "cuda", 1))
    except ProviderError as error:
        return ["cpu"], [f"cuda: {error}"]
    return ["cpu", "cuda"], []


def _timing(timed: _Timed) -> Timing:
    """Summarise a cell's bursts."""
    cell, bursts = timed.cell, timed.contender.bursts
    middles, tails = zip(*(quantiles([burst], (0.5, 0.95)) for burst in bursts), strict=True)
    return Timing(
        cell=cell,
        inner=timed.contender.inner,
        first=timed.first,
        blocks=sum(map(len, bursts)),
        quantiles=quantiles(bursts, LEVELS),
        rates=tuple(cell.batch * len(burst) / sum(burst) for burst in bursts),
        medians=tuple(middles),
        tails=tuple(tails),
    )


def _check_memory(bundle: Bundle, plan: Plan) -> None:
    """Refuse batch sizes whose arrays do not fit together, before the system ends this process for it."""
    available = memory_available()
    need = 0
    for setting in settings(plan, bundle.manifest):
        info = bundle.manifest.graph(setting.half, setting.precision, setting.io)
        need += sum(ways.bytes_of(info, batch) for batch in plan.batches)  # bound calls keep their arrays
    if available is not None and need > available:
        raise ConfigError(
            f"batches={plan.batches[-1]}: the arrays of all settings take {need / 1e9:,.1f} GB, but "
            f"{available / 1e9:,.1f} GB are free; choose smaller batches, or fewer settings."
        )
