"""The terminal on standard output: its questions and answers, the size of its characters, its keys.

Questions are escape codes that a terminal answers on standard input. They are asked at most once a process, and only where
`cli/graphics.py` found a terminal on both sides; each waits for `LIMIT` at most. POSIX only: elsewhere nothing is known.

Needs: the standard library.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, NamedTuple

LIMIT: Final = 0.5
"""Seconds that an answer may take: over a slow line it takes 0.3, and a terminal that answers nothing costs this once."""

VT340_CELL: Final = (10, 20)
"""Pixels of a character where the terminal does not say: those of the first terminal with Sixel graphics."""

ASK_CELL: Final = b"\x1b[16t"
ASK_ATTRIBUTES: Final = b"\x1b[c"  # primary device attributes; every terminal answers, so it comes last
ASK_KITTY: Final = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"

CELL_ANSWER: Final = re.compile(rb"\x1b\[6;(\d+);(\d+)t")  # height, width
ATTRIBUTES_ANSWER: Final = re.compile(rb"\x1b\[\?([\d;]*)c")
KITTY_ANSWER: Final = re.compile(rb"\x1b_Gi=31;OK\x1b\\")
SIXEL: Final = b"4"
"""The device attribute of Sixel graphics."""

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
RESET_COLOURS: Final = "\x1b[0m"

Cell = tuple[int, int]
"""Width and height of a character in pixels."""


class Answers(NamedTuple):
    """What a terminal says of itself.

    Attributes:
        sixel: Whether it has Sixel graphics.
        kitty: Whether it has Kitty's graphics.
        cell: Size of a character, or None.
    """

    sixel: bool
    kitty: bool
    cell: Cell | None


def in_multiplexer() -> bool:
    """Whether tmux or GNU screen stands between us and the terminal, and swallows or garbles what it does not know."""
    return any(os.environ.get(name) for name in ("TMUX", "STY")) or os.environ.get("TERM", "").startswith(
        ("tmux", "screen")
    )


def may_ask() -> bool:
    """Whether questions can be asked: standard input and output are one terminal's, ours at the moment, and nobody types."""
    if sys.platform == "win32":
        return False
    try:
        given, shown = sys.stdin.fileno(), sys.stdout.fileno()
        ours = os.isatty(given) and os.isatty(shown) and os.tcgetpgrp(given) == os.getpgrp()
        return ours and not select.select([given], [], [], 0)[0]
    except (AttributeError, OSError, ValueError):  # closed, replaced, or no terminal of this session
        return False


@functools.cache
def answers() -> Answers:
    """Ask the terminal what it has; the answers are kept.

    The second question is an application command, which a few terminals print instead of ignoring it, so it goes only to
    those that answered the first and have no Sixel.
    """
    said = _ask(ASK_CELL + ASK_ATTRIBUTES)
    found, size = ATTRIBUTES_ANSWER.search(said), CELL_ANSWER.search(said)
    cell = (int(size[2]), int(size[1])) if size and int(size[1]) and int(size[2]) else None
    sixel = found is not None and SIXEL in found[1].split(b";")
    prints_commands = os.environ.get("TERM_PROGRAM") == "Apple_Terminal" or os.environ.get("TERM") == "linux"
    kitty = False
    if found and not sixel and not prints_commands:
        kitty = KITTY_ANSWER.search(_ask(ASK_KITTY + ASK_ATTRIBUTES)) is not None
    return Answers(sixel, kitty, cell)


def cell_size() -> Cell:
    """Size of a character: what the kernel knows, else what the terminal answers, else `VT340_CELL`."""
    return _kernel_cell() or (answers().cell if may_ask() else None) or VT340_CELL


def _kernel_cell() -> Cell | None:
    if sys.platform == "win32":
        return None
    import fcntl
    import struct
    import termios

    try:
        packed = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (AttributeError, OSError, ValueError):
        return None
    rows, columns, width, height = struct.unpack("4H", packed)
    cell = (width // columns, height // rows) if rows and columns else (0, 0)
    return cell if min(cell) > 0 else None


def _ask(question: bytes) -> bytes:
    """Write a question that ends with `ASK_ATTRIBUTES`, and read until that is answered, or for `LIMIT` seconds."""
    said, until = b"", time.monotonic() + LIMIT
    with key_by_key(sys.stdin.fileno()):
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), question)
        while not ATTRIBUTES_ANSWER.search(said):
            left = until - time.monotonic()
            if left <= 0 or not select.select([sys.stdin], [], [], left)[0]:
                break
            part = os.read(sys.stdin.fileno(), 1024)
            if not part:  # the terminal is gone
                break
            said += part
    return said


@contextlib.contextmanager
def key_by_key(descriptor: int) -> Iterator[None]:
    """While the block runs, give keys as they are pressed, without showing them; Ctrl-C and Ctrl-Z stay what they are."""
    if sys.platform == "win32":
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came: it ends a command as Ctrl-C does, so whatever cleans up after the one does so after the other."""


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """While the block runs, a first SIGTERM raises `TerminatedError` in it; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():  # only that one may set a handler
        yield
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Stage:
    """The terminal while something plays in it: no cursor, keys as they are pressed, signals that wait for the next frame.

    Whatever ends the block, the cursor, the colours, the keyboard and the signals are put back as they were. A first Ctrl-C or
    SIGTERM is kept in ``stopped``, so that no frame is cut in its middle; a second one ends at once. Ctrl-Z, too, waits for a
    frame's end, puts back, stops, and goes on at ``fg``.
    """

    def __init__(self) -> None:
        self.stopped: int | None = None
        """The signal that asked to stop."""
        self.resumed = False
        """Whether the process was stopped since this was last cleared, so that the cursor stands elsewhere."""
        self._suspending = False
        self._keys = may_listen()
        self._put_back = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        """Begin."""
        self._set()
        return self

    def __exit__(self, *_: object) -> None:
        """Put everything back."""
        self._put_back.close()

    def _set(self) -> None:
        with contextlib.ExitStack() as stack:  # unwinds if a step fails
            for number, handler in self._handlers().items():
                stack.callback(signal.signal, number, signal.signal(number, handler))
            if self._keys:
                stack.enter_context(key_by_key(sys.stdin.fileno()))
            stack.callback(_write, RESET_COLOURS + SHOW_CURSOR)
            _write(HIDE_CURSOR)
            self._put_back = stack.pop_all()

    def _handlers(self) -> dict[int, Any]:
        found: dict[int, Any] = {signal.SIGINT: self._stop, signal.SIGTERM: self._stop}
        if sys.platform != "win32":
            found[signal.SIGTSTP] = self._suspend
        return found

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self.stopped is not None:
            raise KeyboardInterrupt
        self.stopped = number

    def _suspend(self, *_: object) -> None:
        self._suspending = True  # done in `wait`, since a frame may be half written now

    def _pause(self) -> None:
        self._suspending = False
        if sys.platform == "win32":
            return
        self._put_back.close()  # which also puts back what Ctrl-Z does
        os.kill(os.getpid(), signal.SIGTSTP)
        self.resumed = True  # from here on the shell has continued us
        self._set()

    def wait(self, until: float) -> str:
        """Wait until a moment of `time.monotonic`, a key or a signal, and give the key or "".

        Signals are looked at 20 times a second: Python's own waits go on after a signal. Ctrl-Z stops the process here.
        """
        while self.stopped is None:
            if self._suspending:
                self._pause()
            if (left := until - time.monotonic()) <= 0:
                break
            part = min(left, 0.05)
            if not self._keys:
                time.sleep(part)
            elif select.select([sys.stdin], [], [], part)[0]:
                pressed = os.read(sys.stdin.fileno(), 64)
                self._keys = bool(pressed)  # nothing to read: the terminal is gone
                return pressed.decode(errors="replace")
        return ""


def may_listen() -> bool:
    """Whether keys can be read: standard input is a terminal that is ours at the moment."""
    if sys.platform == "win32":
        return False
    try:
        return os.isatty(sys.stdin.fileno()) and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (AttributeError, OSError, ValueError):
        return False


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a terminal that was closed needs nothing put back
        sys.stdout.write(text)
        sys.stdout.flush()
