"""The accuracy gate, in the direction of the metric."""

from __future__ import annotations

from typing import Any

import pytest

from tinymlops.compression.gate import veto
from tinymlops.workloads import MEAN_ABSOLUTE_ERROR, Split, Workload


class Toy(Workload):
    name = "toy"
    labels = ("a", "b")
    budget = 0.02

    def split(self, seed: int) -> Split:
        raise NotImplementedError

    def network(self) -> Any:
        raise NotImplementedError


class ToyError(Toy):
    metric = MEAN_ABSOLUTE_ERROR


@pytest.mark.parametrize("score", [0.95, 0.90, 0.8801])
def test_a_loss_within_the_budget_passes(score: float) -> None:
    assert veto(Toy(), 0.90, score) == ""


def test_a_larger_loss_is_vetoed_with_all_three_numbers() -> None:
    reason = veto(Toy(), 0.90, 0.85)
    assert reason == ("validation accuracy 0.850 is 0.050 worse than the float network's 0.900, the budget is 0.020")


def test_an_error_counts_the_other_way() -> None:
    assert veto(ToyError(), 0.40, 0.30) == ""
    assert "0.100 worse" in veto(ToyError(), 0.40, 0.50)


def test_a_score_that_is_not_a_number_does_not_pass() -> None:
    assert veto(Toy(), 0.90, float("nan")) != ""
