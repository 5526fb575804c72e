"""Ctrl-C in the middle of a long command: whatever becomes of the exception, the command stops, and says so."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from vaekit.cli.streaming import stoppable
from vaekit.errors import ProviderError


class InterruptedOnDeletion:
    """Gets its Ctrl-C where Python can only print and drop it."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_an_error_that_a_library_makes_of_the_interrupt_is_the_stop(capsys: pytest.CaptureFixture[str]) -> None:
    def library() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ProviderError("Ray stopped: a worker is gone.") from None

    with pytest.raises(typer.Exit) as stop, stoppable(Path("c.npz")):
        library()
    assert stop.value.exit_code == 130
    assert capsys.readouterr().err == "stopped; c.npz was not written\n"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_ends_the_block_at_the_next_check() -> None:
    def block(check: Callable[[], None]) -> None:
        check()
        InterruptedOnDeletion()
        check()
        pytest.fail("the block went on")

    with pytest.raises(typer.Exit) as stop, stoppable(Path("c.npz")) as check:
        block(check)
    assert stop.value.exit_code == 130


def test_an_error_that_nobody_asked_for_passes() -> None:
    with pytest.raises(ProviderError, match="a worker is gone"), stoppable(Path("c.npz")):
        raise ProviderError("a worker is gone")


def test_the_handler_of_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stoppable(Path("c.npz")):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
