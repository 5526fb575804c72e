"""What a bundle costs on this machine: latency, throughput, cold start, memory; and which setting that speaks for.

    results.py   the records: what was found
    stored.py    the JSON of --out and --json, field by field
    timing.py    fair timing: warm-up, calibration, rounds in turn; pure, with the clock as an argument
    plan.py      which settings and batch sizes are measured, and for how long
    ways.py      how a half is called: with NumPy arrays, bound, as a CUDA graph
    measure.py   Bench: opens the sessions, runs the plan, gives the report
    process.py   cold start and memory, in processes of their own; child.py is what runs in them
    machine.py   what the numbers were taken on
    compare.py   which of two timings is faster, and how sure that is
    pays.py      from which batch size on more threads, another provider or precision pay
    advice.py    which setting to take
    plot.py      the pictures (matplotlib, the extra `plots`)
    files.py, units.py   files refused in time; times and rates as people read them

This file imports nothing: a process that is measured passes through it. Must not import: torch, onnx.
"""
