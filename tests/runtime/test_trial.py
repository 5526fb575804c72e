"""The graph that providers are tried with is what it says, and catching standard error ends."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from vaekit.runtime.trial import PROBE, Trial, standard_error, try_provider


def test_the_probe_is_a_valid_model_that_multiplies_matrices() -> None:
    model = onnx.load_from_string(PROBE)
    onnx.checker.check_model(model, full_check=True)
    (y,) = ReferenceEvaluator(model).run(None, {"x": np.array([[1, 1], [2, -1]], np.float32)})
    assert np.asarray(y).tolist() == [[1 + 3, 2 + 4], [2 - 3, 4 - 4]]


def test_standard_error_works_again_after_a_probe(capfd: pytest.CaptureFixture[str]) -> None:
    with standard_error() as said:
        os.write(2, b"hidden")
    os.write(2, b"shown")
    assert (said, capfd.readouterr().err) == (["hidden"], "shown")


def test_the_cpu_passes_and_a_provider_that_is_not_there_does_not() -> None:
    assert try_provider("CPUExecutionProvider") == Trial()
    assert try_provider("NpuExecutionProvider").reason
