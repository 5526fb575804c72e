"""What vaekit's runtime costs over ONNX Runtime bare: cold start of a process, and a batch-1 decode.

    cold start   `import vaekit`, load, decode one code; against a script that imports onnxruntime, opens the same graph and
                 runs it once. Whole processes, from their start to their end, with the files in the page cache.
                 `vaekit.load` opens both graphs, so it is held against a script that opens both as well.
    batch 1      `decoder.decode(z)` against `session.run` on the very same session and the same z.

Goals: at most 1.15 times and at most 1.3 times.
"""

from __future__ import annotations

import argparse
import os
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import vaekit
from benchmarks.sidebyside import Spread, interleave, keep, ratios
from vaekit.bundle import builtin_bundle
from vaekit.cores import count_cores

BARE = """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {threads}
session = onnxruntime.InferenceSession({path!r}, options, providers=["CPUExecutionProvider"])
session.run(["x_hat"], {{"z": np.zeros((1, 20), np.float32)}})
"""
BOTH = (
    BARE
    + """
onnxruntime.InferenceSession({other!r}, options, providers=["CPUExecutionProvider"])
"""
)
VAEKIT_DECODER = """
import numpy as np
import vaekit
vaekit.Decoder({bundle!r}, provider="cpu").decode(np.zeros((1, 20), np.float32))
"""
VAEKIT_LOAD = """
import numpy as np
import vaekit
vaekit.load({bundle!r}, provider="cpu").decode(np.zeros((1, 20), np.float32))
"""


def process(code: str, bytecode: str) -> Callable[[], float]:
    """Time a whole Python process that runs some code.

    Every module's bytecode is kept in a folder, as pip does when it installs a wheel; a developer's shell may forbid
    writing any (PYTHONDONTWRITEBYTECODE), and then an editable vaekit is compiled anew at each start, NumPy is not.

    The packages are found by PYTHONPATH, without `site` (-S): it would run the hook of an editable install, which imports
    pathlib and importlib.util for every contender, as no wheel does.
    """
    found = os.pathsep.join([*site.getsitepackages(), str(Path(vaekit.__file__).parents[1])])
    environment = {
        **os.environ,
        "PYTHONPYCACHEPREFIX": bytecode,
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPATH": found,
    }

    def once() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-S", "-c", code], check=True, env=environment)
        return time.perf_counter() - began

    return once


def calls(function: Callable[[], object], number: int) -> Callable[[], float]:
    """Time a number of calls in a row; gives the seconds of one."""

    def once() -> float:
        began = time.perf_counter()
        for _ in range(number):
            function()
        return (time.perf_counter() - began) / number

    return once


def main() -> None:
    """Measure both, print them, keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=40, help="process starts of each contender")
    parser.add_argument("--rounds", type=int, default=200, help="rounds of 200 calls of each contender")
    options = parser.parse_args()

    bundle, threads = builtin_bundle(), count_cores().usable
    graphs = {"path": str(bundle / "decoder.onnx"), "other": str(bundle / "encoder.onnx"), "threads": threads}
    with tempfile.TemporaryDirectory() as bytecode:
        starts = {
            "bare": process(BARE.format(**graphs), bytecode),
            "bare, two graphs": process(BOTH.format(**graphs), bytecode),
            "vaekit.Decoder": process(VAEKIT_DECODER.format(bundle=str(bundle)), bytecode),
            "vaekit.load": process(VAEKIT_LOAD.format(bundle=str(bundle)), bytecode),
        }
        interleave(starts, 3)  # fill the page cache, and write the bytecode
        cold = interleave(starts, options.starts)

    decoder = vaekit.Decoder(provider="cpu")
    session, z = decoder.session, np.zeros((1, decoder.spec.latent), np.float32)
    contenders = {
        "session.run": calls(lambda: session.run(["x_hat"], {"z": z})[0], 200),
        "decode": calls(lambda: decoder.decode(z), 200),
    }
    interleave(contenders, 20)  # warm up
    warm = interleave(contenders, options.rounds)

    print(f"cold start, whole process, {options.starts} starts each, interleaved: median (10 % to 90 %)")
    for name, seconds in cold.items():
        print(f"  {name:16} {Spread.of(seconds).text(1e-3, 0)} ms   {ratios(cold, name, 'bare').text()} x bare")
    print(
        f"  vaekit.load over a bare script that opens both graphs: {ratios(cold, 'vaekit.load', 'bare, two graphs').text()}"
    )
    print(f"batch-1 decode, {options.rounds} rounds of 200 calls each, interleaved, {threads} threads")
    for name, seconds in warm.items():
        print(
            f"  {name:15} {Spread.of(seconds).text(1e-6, 1)} us   {ratios(warm, name, 'session.run').text()} x session.run"
        )
    keep(
        "runtime",
        {
            "cold_start_seconds": {name: vars(Spread.of(seconds)) for name, seconds in cold.items()},
            "cold_start_over_bare": {name: vars(ratios(cold, name, "bare")) for name in cold if name != "bare"},
            "load_over_bare_two_graphs": vars(ratios(cold, "vaekit.load", "bare, two graphs")),
            "decode_batch_1_seconds": {name: vars(Spread.of(seconds)) for name, seconds in warm.items()},
            "decode_over_session_run": vars(ratios(warm, "decode", "session.run")),
        },
    )


if __name__ == "__main__":
    main()
