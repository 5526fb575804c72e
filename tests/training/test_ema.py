"""The running average of weights, against its formula."""

import pytest
import torch

from vaekit.training.ema import WeightAverage, decay_at


def test_the_decay_rises_to_what_was_asked_for() -> None:
    assert [decay_at(step, 0.9) for step in (1, 8, 80, 81, 10_000)] == pytest.approx([2 / 11, 0.5, 0.9, 0.9, 0.9])
    assert decay_at(10_000, 0.9999) == pytest.approx(10_001 / 10_010)


def test_the_average_of_two_numbers_is_one_that_can_be_worked_out() -> None:
    weight = torch.tensor([0.0, 10.0])
    average = WeightAverage([weight], 0.5)
    weight.copy_(torch.tensor([1.0, 10.0]))
    average.update(1)  # decay 2/11
    assert average.average[0].tolist() == pytest.approx([9 / 11, 10.0])
    weight.copy_(torch.tensor([0.0, 0.0]))
    average.update(100)  # decay 1/2
    assert average.average[0].tolist() == pytest.approx([4.5 / 11, 5.0])
    assert weight.tolist() == [0, 0]


def test_a_weight_that_needs_gradients_keeps_them() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    average = WeightAverage([weight], 0.5)
    with torch.no_grad():
        weight.zero_()
    with average.in_place():
        assert weight.tolist() == [1, 1]
        assert weight.requires_grad
    assert weight.tolist() == [0, 0]
