"""What it takes to decode one code with each peer: a process's cold start, its resident memory, and what must be installed.

Each peer's script is the shortest that does it from files: the ONNX graph, a bundle, the weights as .npz, or a TorchScript
file. Times are those of whole processes, interleaved, with the files in the page cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers_subjects import Job, mlp_weights, torch_module
from benchmarks.sidebyside import Spread, interleave, ratios
from vaekit.bundle import Bundle

BASE = "vaekit"

TAIL = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
"""Says the highest resident memory in KiB; `getrusage` would give the parent's too, of which the process is a copy at first."""

SCRIPTS = {
    "ONNX Runtime": """
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {threads}
session = onnxruntime.InferenceSession({graph!r}, options, providers=["CPUExecutionProvider"])
session.run(["x_hat"], {{"z": np.zeros((1, 20), np.float32)}})
""",
    "vaekit": """
import numpy as np
import vaekit
vaekit.Decoder({bundle!r}, provider="cpu", threads={threads}).decode(np.zeros((1, 20), np.float32))
""",
    "PyTorch": """
import numpy as np
import torch
from torch import nn
module = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), nn.Sigmoid())
with np.load({weights!r}) as weights:
    module.load_state_dict({{name: torch.from_numpy(weights[name]) for name in weights}})
with torch.inference_mode():
    module(torch.zeros(1, 20))
""",
    "torch.compile": """
import numpy as np
import torch
from torch import nn
module = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), nn.Sigmoid())
with np.load({weights!r}) as weights:
    module.load_state_dict({{name: torch.from_numpy(weights[name]) for name in weights}})
with torch.inference_mode():
    torch.compile(module)(torch.zeros(1, 20))
""",
    "TorchScript, frozen": """
import warnings
warnings.simplefilter("ignore")
import torch
module = torch.jit.load({script!r})
with torch.inference_mode():
    module(torch.zeros(1, 20))
""",
    "OpenVINO": """
import numpy as np
import openvino
config = {{"INFERENCE_NUM_THREADS": "{threads}", "PERFORMANCE_HINT": "LATENCY"}}
openvino.Core().compile_model({graph!r}, "CPU", config)(np.zeros((1, 20), np.float32))
""",
    "NumPy": """
import numpy as np
with np.load({weights!r}) as weights:
    h = np.maximum(np.zeros((1, 20), np.float32) @ weights["0.weight"].T + weights["0.bias"], 0)
    1 / (1 + np.exp(-(h @ weights["2.weight"].T + weights["2.bias"])))
""",
}

INSTALLED = {
    "ONNX Runtime": ("numpy", "onnxruntime"),
    "vaekit": ("vaekit", "onnxruntime"),
    "PyTorch": ("numpy", "torch"),
    "torch.compile": ("numpy", "torch"),
    "TorchScript, frozen": ("torch",),
    "OpenVINO": ("numpy", "openvino"),
    "NumPy": ("numpy",),
}
"""What each needs to be installed, without the dependencies, which are found."""

LINUX = sys.platform == "linux"
"""Elsewhere no memory is reported."""

FEWER = {"torch.compile": 2}
"""Starts of contenders that take many seconds."""


def measure_costs(starts: int, threads: int) -> dict[str, Any]:
    """Start each peer's script some times, print and return the times, the memory and the sizes."""
    with tempfile.TemporaryDirectory() as folder:
        scripts = _scripts(Path(folder), threads)
        memory: dict[str, list[float]] = {name: [] for name in scripts}
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}

        def start(name: str) -> Callable[[], float]:
            def once() -> float:
                began = time.perf_counter()
                command = [sys.executable, "-c", scripts[name] + (TAIL if LINUX else "")]
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                memory[name].append(1024.0 * int(done.stdout or 0))
                return time.perf_counter() - began

            return once

        starters = {}
        for name in scripts:
            try:
                start(name)()  # writes the bytecode, and shows whether it works
                starters[name] = start(name)
            except subprocess.CalledProcessError as error:
                print(f"cold start of {name} is left out: {error.stderr.strip().rpartition(chr(10))[2]}")
        seconds = interleave({name: run for name, run in starters.items() if name not in FEWER}, starts)
        for name in FEWER.keys() & starters.keys():
            seconds[name] = [starters[name]() for _ in range(FEWER[name])]
    return _report(seconds, memory)


def _report(seconds: dict[str, list[float]], memory: dict[str, list[float]]) -> dict[str, Any]:
    print(
        f"\n{'one code decoded, whole process':34}{'cold start, ms':24}{'of vaekit':22}{'memory, MB':>11}{'installed, MB':>15}"
    )
    result = {}
    for name, times in seconds.items():
        spread, resident = Spread.of(times), Spread.of(memory[name])
        ratio = None if name in FEWER or BASE not in seconds else ratios(seconds, name, BASE)
        size = installed_bytes(*INSTALLED[name]) if name in INSTALLED else None
        result[name] = {
            "cold_start_seconds": vars(spread),
            "over_vaekit": None if ratio is None else vars(ratio),
            "resident_bytes": resident.median or None,
            "installed_bytes": size,
        }
        shown = "" if size is None else f"{size / 1e6:.0f}"
        text = "" if ratio is None else ratio.text()
        print(f"{name:34}{spread.text(1e-3, 0):24}{text:22}{resident.median / 1e6:>11.0f}{shown:>15}")
    return result


def _scripts(folder: Path, threads: int) -> dict[str, str]:
    """The scripts, with the files that they read."""
    bundle = Bundle.open()
    job = Job("mlp", "decoder", bundle, threads)
    files = {name: str(folder / name) for name in ("weights.npz", "script.pt")}
    wanted = dict(SCRIPTS)
    try:
        np.savez(files["weights.npz"], **mlp_weights(job))  # type: ignore[arg-type]  # all are arrays
    except ImportError:
        for name in ("PyTorch", "torch.compile", "NumPy"):
            print(f"cold start of {name} is left out: onnx is not installed, which reads the weights for it")
            del wanted[name]
    try:
        import torch

        torch.jit.save(torch.jit.freeze(torch.jit.trace(torch_module(job), torch.zeros(2, 20))), files["script.pt"])
    except ImportError:
        del wanted["TorchScript, frozen"]
    values = {
        "threads": threads,
        "graph": str(job.path),
        "bundle": str(bundle.path),
        "weights": files["weights.npz"],
        "script": files["script.pt"],
    }
    return {name: script.format(**values) for name, script in wanted.items()}


def installed_bytes(*names: str) -> int | None:
    """Bytes of the files of some distributions and of all that they depend on; None where one is not installed."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted, seen, total = list(names), set(), 0
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            if name in names:
                return None
            continue  # a dependency that is not really needed, as the telemetry of OpenVINO
        for file in found.files or []:
            path = Path(str(found.locate_file(file)))
            total += path.stat().st_size if path.is_file() else 0
        for line in found.requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    if "vaekit" in names:  # an editable install states no files of its own
        import vaekit

        if vaekit.__file__ and not any(str(file).startswith("vaekit/") for file in distribution("vaekit").files or []):
            folders = (Path(vaekit.__file__).parent, Bundle.open().path.parent)
            total += sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    return total


if __name__ == "__main__":
    from vaekit.cores import count_cores

    measure_costs(5, count_cores().usable)
