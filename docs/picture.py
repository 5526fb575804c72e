"""Draws docs/terminal.png: what commands really print in a true-colour terminal, cell by cell.

    python docs/picture.py        (needs the development environment, and a monospaced TrueType font)

The commands run in a pseudo-terminal, so they draw as they do for a person; what comes out is parsed and painted.
"""

from __future__ import annotations

import os
import pty
import shutil
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.text import Text

COMMANDS = (
    ["vaekit", "sample", "-n", "12", "--columns", "6", "--seed", "3"],
    ["vaekit", "reconstruct", "-n", "6"],
    ["vaekit", "morph", "--from", "3", "--to", "8", "--steps", "6"],
)
COLUMNS = 108
CELL = (8, 16)  # pixels: a cell is twice as tall as wide
INK, PAPER, PROMPT = (220, 220, 220), (16, 18, 24), (120, 200, 140)
TARGET = Path(__file__).with_name("terminal.png")


def run(command: list[str]) -> str:
    """Run a command in a pseudo-terminal, and give what it printed."""
    process, terminal = pty.fork()
    if process == 0:
        environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment["VAEKIT_GRAPHICS"] = "blocks"  # nobody answers here what else the terminal can do
        environment.pop("NO_COLOR", None)
        os.execvpe(command[0], command, environment)
    output = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the terminal closes when the command ends
            break
        if not chunk:
            break
        output += chunk
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) != 0:
        raise SystemExit(output.decode())
    return output.decode().replace("\r\n", "\n")


def paint(lines: list[Text]) -> Image.Image:
    """Paint lines of styled text: half blocks as two rectangles, everything else with a font."""
    font = ImageFont.truetype(_font(), 13)
    width, height = CELL
    image = Image.new("RGB", ((COLUMNS + 2) * width, (len(lines) + 2) * height), PAPER)
    draw = ImageDraw.Draw(image)
    console = Console(width=COLUMNS, color_system="truecolor", force_terminal=True)
    for row, line in enumerate(lines, start=1):
        column = 1
        for segment in line.render(console):
            style = segment.style
            ink = tuple(style.color.get_truecolor()) if style and style.color else INK
            paper = tuple(style.bgcolor.get_truecolor()) if style and style.bgcolor else None
            for character in segment.text:
                left, top = column * width, row * height
                if character == "▀":
                    draw.rectangle((left, top, left + width - 1, top + height // 2 - 1), fill=ink)
                    if paper:
                        draw.rectangle((left, top + height // 2, left + width - 1, top + height - 1), fill=paper)
                elif not character.isspace():
                    draw.text((left, top), character, font=font, fill=ink)
                column += 1
    return image


def _font() -> str:
    for name in ("DejaVuSansMono.ttf", "LiberationMono-Regular.ttf", "Menlo.ttc"):
        for folder in ("/usr/share/fonts", "/System/Library/Fonts", str(Path.home() / ".fonts")):
            for path in Path(folder).rglob(name):
                return str(path)
    raise SystemExit("no monospaced TrueType font found; on Debian: apt-get install fonts-dejavu-core")


def main() -> None:
    """Run the commands and draw them."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if shutil.which("vaekit") is None:
        raise SystemExit("vaekit is not installed beside this Python; run `make setup`.")
    lines: list[Text] = []
    for command in COMMANDS:
        lines.append(Text("$ " + " ".join(command), style=f"rgb({','.join(map(str, PROMPT))})"))
        lines += [Text.from_ansi(line) for line in run(command).rstrip("\n").split("\n")]
    picture = paint(lines)
    # 32 colours: digits are grey, and the file stays small.
    picture.quantize(32, dither=Image.Dither.NONE).save(TARGET, optimize=True)
    print(f"wrote {TARGET.name}: {picture.width} x {picture.height}, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
