"""What is timed, against whom, and the results. Run with `make bench`; each file alone as `python -m benchmarks.NAME`."""
