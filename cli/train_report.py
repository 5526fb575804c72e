"""What `vaekit train` shows while it runs: a bar with pictures and a curve above it, or plain lines where there is no terminal.

Needs: rich.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vaekit.elbo import bits_per_dimension
from vaekit.training.config import TrainConfig

from .console import console
from .curve import Loss, loss_line, loss_name
from .in_place import InPlace
from .train_preview import Pane, draws

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from vaekit.datasets import Dataset
    from vaekit.training import EpochMetrics, Progress
    from vaekit.training.tracking import TensorBoard

STARVED: Final = 0.05
"""Part of an epoch that the step may wait for its items before the line says so."""


class TrainReport:
    """The progress bar, or plain lines where there is no terminal."""

    def __init__(self, config: TrainConfig, data: Dataset, *, quiet: bool, silent: bool) -> None:
        self._config = config
        self._data = data
        self._loss = loss_name(config.kind)
        self._console = console()
        self._silent = silent
        self._bar: Bar | None = None
        self._task: Any = None
        self._wanted = not quiet and draws(self._console)
        self._ends_with_curve = not quiet and self._console.is_terminal
        self._size = data.spec.size
        self.done: int | None = None
        """Epochs that were done when training began; None before."""
        self.also: TensorBoard | None = None
        """Given each epoch's numbers and weights besides."""
        self._pane: Pane | None = None
        self._place = InPlace(self._console)
        self._losses: list[Loss] = []
        self._waiting: list[str] = []
        self._shown = False
        """Whether a curve stands above the bar."""

    @property
    def looks(self) -> bool:
        """Whether an epoch's weights are wanted, for pictures."""
        return self._pane is not None or self.also is not None

    def open(self, resumed: Path | None, *, preview: bool, every: int) -> None:
        """Make what will stand above the bar, and take in the epochs that a resumed run has behind it.

        Args:
            resumed: The folder of the run that goes on.
            preview: Whether anything may stand there.
            every: Epochs from one picture to the next.
        """
        from vaekit.training.checkpoint import Checkpoint, checkpoint_folders

        if not self._ends_with_curve:
            return
        history = Checkpoint.latest(resumed).history if resumed is not None and checkpoint_folders(resumed) else ()
        self._losses = [Loss(m["epoch"], m["train_negative_elbo"], m["test_negative_elbo"]) for m in history]
        if self._wanted and preview:
            spec, epochs = self._config.spec(self._data.spec), self._config.epochs
            self._pane = Pane(self._console, self._data, spec, every=every, epochs=epochs)

    def begin(self, done: int) -> None:
        """Say what is trained on what, unless all epochs are done."""
        self.done = done
        config, data = self._config, self._data
        if done == config.epochs:
            return
        shape = " x ".join(map(str, data.train.items.shape[1:]))
        self._print(
            f"{data.name}: {len(data.train):,} training items, {len(data.test):,} test items of {shape}; {_model(config)}, "
            f"latent {config.latent}, {config.likelihood}, {_objective(config)}; "
            f"Adam {config.learning_rate:g} {config.schedule}, batch {config.batch_size}, {config.precision}, "
            f"seed {config.seed}"
        )
        for note in data.notes:
            self._print(f"note: {note}")
        if data.skipped:
            self._print(f"{len(data.skipped):,} files could not be read and are left out; `vaekit data` lists them")

    @contextmanager
    def bar(self) -> Iterator[None]:
        """Show a bar with epoch, rate, time left and the loss while the block runs; whatever ends it, end with the curve."""
        try:
            if self._wanted:
                self._console.push_render_hook(self._place)
                try:
                    with self._moving():
                        yield
                finally:
                    self._console.pop_render_hook()
            else:
                yield
        finally:
            self._end()

    def _end(self) -> None:
        """Print what an error kept from being drawn, and the curve in one line, unless the pane shows it."""
        for line in self._waiting:
            self._print(line)
        if self._ends_with_curve and self._losses and not self._shown:
            self._print(loss_line(self._losses, self._console.width, self._console.encoding, name=self._loss))

    @contextmanager
    def _moving(self) -> Iterator[None]:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[rate]} steps/s"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[loss]}"),
        )
        with Bar(*columns, console=self._console, transient=True, speed_estimate_period=10) as self._bar:
            self._task = self._bar.add_task(
                "train", total=None, epoch=1, epochs=self._config.epochs, rate="-", loss="starting"
            )
            yield

    def progress(self, at: Progress) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        task = self._bar.tasks[0]
        if task.total is None:  # a resumed run begins with the epochs that are done
            self._bar.reset(self._task, total=at.epochs * at.steps, completed=(at.epoch - 1) * at.steps)
        self._bar.update(
            self._task,
            completed=(at.epoch - 1) * at.steps + at.step,
            epoch=at.epoch,
            rate="-" if task.speed is None else f"{task.speed:.0f}",
            loss=f"{self._loss} {at.reconstruction + at.kl:.2f}"
            + (f" = {at.reconstruction:.2f} + {at.kl:.2f}" if self._config.kind == "vae" else ""),
        )

    def epoch(self, metrics: EpochMetrics) -> None:
        """Print an epoch's line; with a pane it waits for the epoch's pictures, so that both are drawn at once."""
        m = metrics
        parts = (
            f" = {m.test_reconstruction:.2f} reconstruction + {m.test_kl:.2f} KL" if self._config.kind == "vae" else ""
        )
        line = (
            f"epoch {m.epoch}/{self._config.epochs}  train {self._loss} {m.train_negative_elbo:.2f}  "
            f"test {self._loss} {m.test_negative_elbo:.2f}{parts}  "
            f"{self._bits(m)}{m.steps / m.seconds:.0f} steps/s  {m.seconds:.1f} s{_waiting(m)}"
        )
        self._losses.append(Loss(m.epoch, m.train_negative_elbo, m.test_negative_elbo))
        if self._pane is None:
            self._print(line)
        else:
            self._waiting.append(line)
        if self.also is not None:
            self.also.epoch(metrics)

    def weights(self, epoch: int, model: Any) -> None:
        """Draw an epoch's line and pictures."""
        if self._pane is not None:
            self._pane.weights(epoch, model)
            block = self._pane.lines(self._losses)
            self._place.show(self._waiting, block)
            self._waiting, self._shown = [], bool(block)
        if self.also is not None:
            self.also.weights(epoch, model)

    def _bits(self, metrics: EpochMetrics) -> str:
        if self._config.likelihood != "discretized-logistic":
            return ""
        return f"{bits_per_dimension(metrics.test_negative_elbo, self._size):.3f} bits/dim  "

    def _print(self, line: str) -> None:
        if not self._silent:
            (self._bar.console if self._bar is not None else self._console).print(line, markup=False, soft_wrap=True)


def _model(config: TrainConfig) -> str:
    if config.model is not None:
        return f"{config.kind} {config.model}"
    if config.arch in ("auto", "mlp"):
        return f"{config.kind}, hidden {','.join(map(str, config.hidden))}"
    sizes = "".join(f", {name} {value}" for name in ("depth", "width", "dense") if (value := getattr(config, name)))
    return f"{config.kind}, {config.arch}{sizes}"


def _objective(config: TrainConfig) -> str:
    parts = [f"iwae {config.importance_samples}" if config.objective == "iwae" else f"beta {config.beta:g}"]
    if config.kl_warmup:
        parts.append(f"KL warm-up {config.kl_warmup}")
    if config.free_bits:
        parts.append(f"free bits {config.free_bits:g}")
    if config.binarize != "none":
        parts.append(f"{config.binarize} binarisation")
    return ", ".join(parts)


def _waiting(metrics: EpochMetrics) -> str:
    share = metrics.loading_seconds / metrics.seconds
    return f", {100 * share:.0f} % of it waiting for items" if share > STARVED else ""
