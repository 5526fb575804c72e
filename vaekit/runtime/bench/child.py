"""What runs in a process whose start and memory are measured: load one half, run one item, report.

The parent takes its own time when the line "ready" arrives, so what comes after it costs nothing. Modules that only the
report needs are imported after it. The baseline loads this file by its path, so nothing of vaekit is imported at its top.

Needs: NumPy and ONNX Runtime, as an app does, inside functions. Must not import: torch, onnx.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

READY = "ready"


def main(began: float) -> None:
    """Run one item of a bundle.

    Args:
        began: `time.perf_counter` at the first line of the process's own code.

    The command line after `-c` names the folder, the half, the precision, the provider, the number of threads and the io.
    """
    import vaekit

    folder, half, precision, provider, threads, io = sys.argv[1:7]
    imported = time.perf_counter()
    kind = vaekit.Decoder if half == "decoder" else vaekit.Encoder
    model = kind(folder, provider=provider, precision=precision, threads=int(threads), io=io)
    loaded = time.perf_counter()
    item = first_item(model)
    done = time.perf_counter()
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    memory = resident_and_peak()
    stages = {"import": imported - began, "load": loaded - imported, "first_item": done - loaded}
    report({"stages": stages, "checksum": checksum(item)}, memory)


def first_item(model: Any) -> Any:
    """Decode the first code of the portable noise, or encode a constant item, and give the first output."""
    import numpy as np

    import vaekit

    if isinstance(model, vaekit.Decoder):
        return model.decode(vaekit.noise(seed=0, count=1, dim=model.spec.latent))
    data = model.spec.data
    if model.io == "uint8":
        from vaekit.appio import pixel_shape

        return model.encode(np.full((1, *pixel_shape(data, model.manifest.pixels.layout)), 128, np.uint8)).mean
    value = 0.5 if data.range is None else sum(data.range) / 2
    return model.encode(np.full((1, *data.shape), value, np.float32)).mean


def checksum(item: Any) -> float:
    """Sum of an item's values, each weighed by its place, so that an exchange of two shows too."""
    import numpy as np

    values = np.asarray(item, np.float64).reshape(-1)
    return float(values @ np.linspace(0.5, 1.5, values.size))


def resident_and_peak(status: Path = Path("/proc/self/status")) -> tuple[int | None, int | None]:
    """Bytes of this process that are in memory now, and the most that ever were; None where the system does not say.

    Not `ru_maxrss` on Linux: a new process inherits there what its parent had before `exec`.
    """
    try:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if line.startswith("Vm"))
        return int(lines["VmRSS"].split()[0]) * 1024, int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        pass
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None, None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None, most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, others KiB


def report(value: dict[str, Any], memory: tuple[int | None, int | None]) -> None:
    """Write the one line of JSON that the parent reads."""
    import json

    sys.stdout.write(json.dumps({**value, "resident": memory[0], "peak": memory[1]}) + "\n")
    sys.stdout.flush()
