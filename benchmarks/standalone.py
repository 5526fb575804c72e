"""The decoder in one C file: what vaekit writes by itself, held against a general generator's code for the same graph.

    float32, int8      `vaekit embed c-standalone`, which writes a chain of dense layers as three functions
    generator          emx-onnx-cgen on the same graph, as c-standalone takes it for any other graph

Of each: flash (code and constants) and stack from the compiler, microseconds a decode on this machine, interleaved, and, where
arm-none-eabi-gcc and qemu-system-arm are, the same for a Cortex-M4, with instructions a decode instead of time.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.sidebyside import Spread, interleave, keep, ratios
from vaekit.bundle import Bundle
from vaekit.embedding import c_decoder, c_standalone, embed
from vaekit.embedding.compiled import measure
from vaekit.embedding.layers import read_chain

LEVELS = ("-Os", "-O2")
CORTEX = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
BOARD = Path(__file__).parent / "cortex_m4"
LOOP = (
    "#include <vae_decoder.h>\n"
    "void decode_many(const float *z, float *x, int count) { for (int i = 0; i < count; i++) vae_decode(z, x); }\n"
)
REPEAT = 200
"""Decodes of one measurement: some ten milliseconds."""


def projects(bundle: Bundle, folder: Path) -> dict[str, Path]:
    """Write the decoder in each way, and give the folders."""
    found = {
        weights: embed("c-standalone", bundle, folder / weights, weights=weights) for weights in c_standalone.WEIGHTS
    }
    graph = bundle.graph("decoder")
    layers = read_chain(graph)
    assert layers is not None, "the built-in decoder is a chain of dense layers"
    # The generator's code takes the place of ours, in a project that is otherwise the same.
    by_hand, generated = c_decoder.written(layers), c_decoder.generated(graph, bundle.manifest.name)
    found["generator"] = Path(shutil.copytree(found["float32"], folder / "generator"))
    source = found["generator"] / "vae_decoder.c"
    text = source.read_text()
    assert by_hand.code in text
    assert by_hand.numbers in text
    source.write_text(text.replace(by_hand.code, generated.code).replace(by_hand.numbers, ""))
    return found


def footprint(project: Path, flags: list[str], prefix: str = "") -> tuple[int, int]:
    """Compile with the tools of a prefix, and give bytes of flash and of stack."""
    compiler = f"{prefix}gcc" if prefix else "cc"
    found = measure(project / "vae_decoder.c", compiler=compiler, size=f"{prefix}size", flags=flags)
    if found is None:
        raise SystemExit(f"{compiler} does not say what {project.name} takes")
    return found.flash, found.stack


def timed(project: Path, level: str, folder: Path) -> Callable[[], float]:
    """Load the decoder as a shared library, and give a function that times one decode."""
    (folder / "loop.c").write_text(LOOP)
    library = folder / f"{project.name}{level}.so"
    command = ["cc", "-std=c11", "-ffp-contract=off", level, "-shared", "-fPIC", f"-I{project}"]
    run([*command, "-o", str(library), "loop.c", str(project / "vae_decoder.c"), "-lm"], folder)
    decode = ctypes.CDLL(str(library)).decode_many
    z, x = (ctypes.c_float * 4096)(*([0.5, -1.0] * 10)), (ctypes.c_float * 65536)()

    def once() -> float:
        start = time.perf_counter()
        decode(z, x, REPEAT)
        return (time.perf_counter() - start) / REPEAT

    once()
    return once


def instructions(project: Path, level: str, folder: Path) -> tuple[int, int]:
    """Run one decode and one code on an emulated Cortex-M4, and give the instructions of each."""
    sources = [str(BOARD / "startup.c"), str(BOARD / "count.c"), str(project / "vae_decoder.c")]
    flags = [
        "-std=c11",
        "-ffp-contract=off",
        level,
        f"-I{project}",
        "--specs=rdimon.specs",
        "-T",
        str(BOARD / "mps2.ld"),
    ]
    run(
        ["arm-none-eabi-gcc", *CORTEX, *flags, "-Wl,--no-warn-rwx-segments", "-o", "board.elf", *sources, "-lm"], folder
    )
    qemu = [
        "qemu-system-arm",
        "-M",
        "mps2-an386",
        "-cpu",
        "cortex-m4",
        "-icount",
        "shift=0",
        "-nographic",
        "-monitor",
        "none",
    ]
    qemu += ["-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel", "board.elf"]
    decode, code = run(qemu, folder).split()
    return int(decode), int(code)


def run(command: list[str], folder: Path) -> str:
    """Run a tool, and give what it says."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=300).stdout


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    result: dict[str, Any] = {"rounds": rounds, "decodes_a_round": REPEAT, "ways": {}}
    board = shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ways = projects(Bundle.open(), folder)
        contenders = {f"{name} {level}": timed(path, level, folder) for name, path in ways.items() for level in LEVELS}
        seconds = interleave(contenders, rounds)
        for name, path in ways.items():
            for level in LEVELS:
                flash, stack = footprint(path, [level])
                spread = Spread.of(seconds[f"{name} {level}"])
                ratio = ratios(seconds, f"generator {level}", f"{name} {level}")
                entry = {
                    "flash": flash,
                    "stack": stack,
                    "us": vars(spread),
                    "times_quicker_than_generator": vars(ratio),
                }
                line = f"{name:<10}{level}  {flash:>10,} B flash {stack:>6,} B stack"
                line += f" {spread.text(1e-6, 1):>24} us  {ratio.text()} times"
                if board:
                    flash, stack = footprint(path, [*CORTEX, level], "arm-none-eabi-")
                    decode, code = instructions(path, level, folder)
                    entry["cortex_m4"] = {
                        "flash": flash,
                        "stack": stack,
                        "instructions": decode,
                        "instructions_a_code": code,
                    }
                    line += f" | Cortex-M4 {flash:>10,} B {stack:>6,} B {decode:>10,} instructions"
                print(line)
                result["ways"][f"{name} {level}"] = entry
    keep("standalone", result)


if __name__ == "__main__":
    main()
