"""What is timed, against whom, and the results. Run with `make bench`; each file alone as `python -m benchmarks.NAME`."""

from vaekit.runtime.telemetry import turn_off

turn_off()  # for every contender alike: vaekit does it anyway
