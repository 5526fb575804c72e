"""Terminals that are none: a pseudo-terminal whose other side answers as one of several kinds, and what it was shown."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import functools
import io
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from vaekit.datasets import Dataset, Split
from vaekit.spec import DataSpec, Feature, ModelSpec

BEGIN = "import fcntl,os,sys,termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""Takes the pseudo-terminal as its own, as a login does, and becomes the program."""

DROPPED = {
    *("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES", "PYTHONIOENCODING"),
    *("COLORTERM", "TERM", "TERM_PROGRAM", "TMUX", "STY", "VAEKIT_GRAPHICS", "LANG", "LC_ALL"),
}
"""Variables of the tests' own terminal."""

Begin = Callable[[list[str], dict[str, str], int], Any]
"""Starts a program, given Python's arguments, its variables and its terminal, and returns the process."""

CELL = (8, 16)
ATTRIBUTES, CELL_SIZE, KITTY = b"\x1b[c", b"\x1b[16t", b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
ANSWERS: dict[str, dict[bytes, bytes]] = {
    "mute": {},
    "plain": {ATTRIBUTES: b"\x1b[?62;22c"},
    "sixel": {CELL_SIZE: b"\x1b[6;16;8t", ATTRIBUTES: b"\x1b[?62;4;22c"},
    "kitty": {CELL_SIZE: b"\x1b[6;16;8t", KITTY: b"\x1b_Gi=31;OK\x1b\\", ATTRIBUTES: b"\x1b[?62;c"},
}
"""What terminals answer, in the order in which they are asked; xterm, foot and kitty were the models."""


class Shown(NamedTuple):
    """A run in a terminal."""

    raw: bytes
    code: int
    seconds: float
    modes: tuple[Any, Any]
    """The terminal's settings before and after."""

    @property
    def text(self) -> str:
        """What was written, without the questions."""
        raw = self.raw
        for question in (CELL_SIZE + ATTRIBUTES, KITTY + ATTRIBUTES):
            raw = raw.replace(question, b"")
        return raw.decode().replace("\r\n", "\n")


PATIENT = "import vaekit.cli; from vaekit.cli import terminal; terminal.LIMIT = 30.0; vaekit.cli.main()"
"""vaekit for a terminal that answers, but late, since this machine has other work."""


NURSERY = """
import fcntl, gc, json, os, runpy, socket, struct, sys, termios
import torch, torch.distributed, safetensors.torch
gc.freeze()  # else a fork that collects garbage copies all of this
with socket.socket(fileno=int(sys.argv[1])) as line:
    while True:
        asked, terminals, _, _ = socket.recv_fds(line, 65536, 1)
        while asked and not asked.endswith(b'\\n'):
            asked += line.recv(65536)
        if not asked:
            os._exit(0)
        child = os.fork()
        if not child:
            break
        os.close(terminals[0])
        line.sendall(struct.pack('i', child))
        line.sendall(struct.pack('i', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
os.setsid()
fcntl.ioctl(terminals[0], termios.TIOCSCTTY, 0)
for descriptor in (0, 1, 2):
    os.dup2(terminals[0], descriptor)
os.close(terminals[0])
(option, program, *arguments), variables = json.loads(asked)
os.environ.clear()
os.environ.update(variables)
sys.argv = [program, *arguments]
if option == '-m':
    runpy.run_module(program, run_name='__main__', alter_sys=True)
else:
    exec(program, {'__name__': '__main__'})
"""
"""Imports torch, and nothing that looks at a terminal or at its variables; then becomes each program in a fork of its own."""


class _Forked:
    """A program that a nursery became, with what `_in_terminal` uses of a `Popen`."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._code: int | None = None
        self.pid = self._number()

    def _number(self) -> int:
        said = self._line.recv(4, socket.MSG_WAITALL)
        assert len(said) == 4, "the nursery ended"
        return int(struct.unpack("i", said)[0])

    def poll(self) -> int | None:
        return self.wait() if self._code is not None or select.select([self._line], [], [], 0)[0] else None

    def wait(self) -> int:
        if self._code is None:
            self._code = self._number()
        return self._code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Begin]:
    """Begin programs from a process that has imported torch, which takes each of them seconds otherwise."""
    ours, theirs = socket.socketpair()
    # A terminal from its start, for what Python decides then: whether to buffer by line.
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(theirs.fileno())],
        stdin=terminal, stdout=terminal, stderr=terminal, pass_fds=[theirs.fileno()],
        env=_variables(OMP_NUM_THREADS="1"),
    )  # fmt: skip
    theirs.close()

    def begin(program: list[str], variables: dict[str, str], terminal: int) -> _Forked:
        asked = json.dumps([program, variables]).encode() + b"\n"
        ours.sendall(asked[socket.send_fds(ours, [asked], [terminal]) :])
        return _Forked(ours)

    with ours, process:
        yield begin
        ours.close()
    os.close(screen)
    os.close(terminal)


@pytest.fixture
def in_terminal() -> Callable[..., Shown]:
    """Return ``in_terminal(*arguments, kind="mute", ...) -> Shown``: vaekit in a terminal of that kind.

    ``act(raw, process, master)`` is called whenever something was shown, and may type, send a signal, or resize.
    """
    return _in_terminal


@pytest.fixture
def in_terminal_at_once(nursery: Begin) -> Callable[..., Shown]:
    """Return `in_terminal` for programs that need torch: each is a process of its own, but finds torch imported."""
    return functools.partial(_in_terminal, begin=nursery)


def _variables(**more: str) -> dict[str, str]:
    """A program's variables: those of the tests, without what they say of their own terminal, and more."""
    kept = {name: value for name, value in os.environ.items() if name not in DROPPED}
    return {**kept, "PYTHONUTF8": "1", **more}


def _begin(program: list[str], variables: dict[str, str], terminal: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN, sys.executable, *program],
        stdin=terminal, stdout=terminal, stderr=terminal, env=variables, start_new_session=True,
    )  # fmt: skip


def _in_terminal(
    *arguments: object,
    kind: str = "mute",
    size: tuple[int, int] = (24, 80),
    pixels: tuple[int, int] = (0, 0),
    act: Callable[[bytes, Any, int], None] | None = None,
    limit: float = 60.0,
    code: str | None = None,
    typed: bytes = b"",
    begin: Begin = _begin,
    **environment: str,
) -> Shown:
    variables = _variables(**{"TERM": "xterm-256color", **environment})
    if code is None and kind != "mute":
        code = PATIENT
    program = [*(["-c", code] if code else ["-m", "vaekit"]), *map(str, arguments)]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", *size, *pixels))
    before = termios.tcgetattr(theirs)
    os.write(ours, typed)
    begun = time.monotonic()
    process = begin(program, variables, theirs)
    raw, asked = b"", b""
    try:
        while process.poll() is None or select.select([ours], [], [], 0)[0]:
            if time.monotonic() - begun > limit:
                pytest.fail(f"still running after {limit} s: {raw[-500:]!r}")
            if not select.select([ours], [], [], 0.05)[0]:
                continue
            with contextlib.suppress(OSError):
                part = os.read(ours, 65536)
                raw, asked = raw + part, asked + part
            for question, answer in ANSWERS[kind].items():
                if question in asked:
                    os.write(ours, answer)
                    asked = asked.replace(question, b"", 1)
            if act is not None:
                act(raw, process, ours)
        after = termios.tcgetattr(theirs)
        return Shown(raw, process.wait(), time.monotonic() - begun, (before, after))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(ours)
        os.close(theirs)


@pytest.fixture
def kitty_images() -> Callable[[str], list[np.ndarray]]:
    """Return a function that decodes what was sent by Kitty's protocol: each image (H, W, C), and checks that it is placed."""
    return _kitty_images


def _kitty_images(text: str) -> list[np.ndarray]:
    payloads: dict[str, str] = {}
    placed: dict[str, tuple[int, int]] = {}
    number, more = "", False
    for keys, payload in re.findall(r"\x1b_G([^;\x1b]*);?([^\x1b]*)\x1b\\", text):
        fields = dict(part.split("=") for part in keys.split(","))
        assert fields["q"] == "2", "the terminal must not answer: nobody would read it"
        if more:
            assert set(fields) == {"q", "m"}
            payloads[number] += payload
            more = fields["m"] == "1"
        elif fields["a"] == "t":
            number, more = fields["i"], fields["m"] == "1"
            assert (fields["f"], number not in payloads) == ("100", True)
            payloads[number] = payload
        elif fields["a"] == "p":
            assert fields["C"] == "1", "the cursor stays"
            placed[fields["i"]] = (int(fields["c"]), int(fields["r"]))
        else:
            assert (fields["a"], fields["d"]) == ("d", "i")
    images = [np.asarray(Image.open(io.BytesIO(base64.b64decode(payload)))) for payload in payloads.values()]
    assert list(payloads) == list(placed)
    for number, image in zip(payloads, images, strict=True):
        columns, rows = placed[number]
        assert image.shape[:2] == (rows * CELL[1], columns * CELL[0])  # so that the terminal need not scale
        place = rf"\n{{{rows}}}\x1b7\x1b\[{rows}A\x1b_Ga=p,i={number},[^\x1b]*\x1b\\\x1b8"  # in the room that was made
        assert re.search(place, text)
    return images


@pytest.fixture
def sixel_images() -> Callable[[str], list[np.ndarray]]:
    """Return a function that decodes Sixel graphics: each image (H, W, 3), as levels from 0 to 255."""
    return _sixel_images


def _sixel_images(text: str) -> list[np.ndarray]:
    return [
        _sixel(int(w), int(h), data) for w, h, data in re.findall(r'\x1bP0;0;0q"1;1;(\d+);(\d+)([^\x1b]*)\x1b\\', text)
    ]


def _sixel(width: int, height: int, data: str) -> np.ndarray:
    """Read a Sixel image from its definition (DEC STD 070, chapter 9): six rows a band, a bit a row.

    A colour that is defined is not chosen by that, as in xterm 379; foot chooses it.
    """
    image = np.full((height + 6, width, 3), -1, dtype=np.int64)
    palette: dict[int, tuple[int, ...]] = {}
    colour, x, y = 3, 0, 0  # xterm begins with the fourth
    for token in re.finditer(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|(\$)|(-)", data):
        number, *levels, repeat, repeated, single, back, down = token.groups()
        if number is not None:
            if levels[0] is None:
                colour = int(number)
            else:
                palette[int(number)] = tuple(round(int(level) * 255 / 100) for level in levels)
        elif back or down:
            x, y = 0, y + 6 * bool(down)
        else:
            end = x + int(repeat or 1)
            for bit in range(6):
                if (ord(repeated or single) - 63) >> bit & 1:
                    image[y + bit, x:end] = palette[colour]
            x = end
    assert (image[height:] == -1).all()
    assert (image[:height] >= 0).all(), "every pixel is painted"
    return image[:height]


@pytest.fixture(scope="session")
def odd_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return ``odd_bundle(kind)``: a folder of a bundle whose weights were drawn, its items without labels.

    "colour": images (3, 6, 5) and a code of 2; "series": two channels over 40 steps and a code of 1; "wide": grey images
    (1, 6, 5) and a code of 256.
    """
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = _export(kind, tmp_path_factory.mktemp("odd") / kind)
        return made[kind]

    return get


def _export(kind: str, target: Path) -> Path:
    import torch
    from torch import nn

    from vaekit.exporting import ModulePair, export_bundle

    features = (Feature("speed", 3.0, 2.0), Feature("torque", -1.0, 0.5))
    spec = {
        "colour": ModelSpec("vae", DataSpec((3, 6, 5)), 2, "bernoulli"),
        "series": ModelSpec("vae", DataSpec((2, 40), None, features), 1, "gaussian"),
        "wide": ModelSpec("vae", DataSpec((1, 6, 5)), 256, "bernoulli"),
    }[kind]

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.log_var = (nn.Linear(spec.data.size, spec.latent) for _ in range(2))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = x.flatten(1)
            return self.mean(h), self.log_var(h)

    last = [nn.Sigmoid()] if spec.likelihood == "bernoulli" else []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        decoder = nn.Sequential(nn.Linear(spec.latent, spec.data.size), *last, nn.Unflatten(1, spec.data.shape))
        with torch.no_grad():
            decoder[0].weight.mul_(4)
        pair = ModulePair(Encoder(), decoder, spec)
    rng = np.random.default_rng(3)
    shape = (70, *spec.data.shape)
    items = rng.random(shape) if spec.data.is_image else 3 + 2 * rng.normal(size=shape)
    split = Split(items.astype(np.float32))
    return export_bundle(pair, target, data=Dataset(kind, kind, "0" * 64, split, split)).path
