"""What training hands on: weights as bytes, scores by the metric."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tinymlops.evaluation import draw
from tinymlops.training import pack_weights, score, unpack_weights
from tinymlops.workloads import MEAN_ABSOLUTE_ERROR, Samples, Split, Workload

any_array = arrays.arrays(np.float32, arrays.array_shapes(max_dims=4, max_side=4))


@given(st.lists(any_array, max_size=12))
def test_weights_survive_packing_in_order(weights: list[np.ndarray[Any, Any]]) -> None:
    content = pack_weights(weights)
    back = unpack_weights(content)
    assert len(back) == len(weights)
    assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(back, weights, strict=True))
    assert pack_weights(back) == content


class Toy(Workload):
    name = "toy"
    labels = ("a", "b")

    def split(self, seed: int) -> Split:
        raise NotImplementedError

    def network(self) -> Any:
        raise NotImplementedError


class ToyError(Toy):
    metric = MEAN_ABSOLUTE_ERROR


def split_of(validation: list[int], test: list[int]) -> Split:
    def part(targets: list[int]) -> Samples:
        return Samples(np.zeros((len(targets), 1), np.float32), np.array(targets), np.arange(len(targets)))

    return Split(part([0]), part(validation), part(test))


def test_accuracy_is_scored_on_each_part_by_itself() -> None:
    outputs = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    scores = score(Toy(), split_of([0, 1], [1, 1]), outputs, outputs)
    assert (scores.metric, scores.validation, scores.test, scores.higher_is_better) == ("accuracy", 1.0, 0.5, True)


def test_an_error_is_scored_in_the_targets_unit() -> None:
    split = split_of([0], [0])
    scores = score(ToyError(), split, np.array([[3.0]], np.float32), np.array([[-1.0]], np.float32))
    assert (scores.validation, scores.test, scores.higher_is_better) == (3.0, 1.0, False)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_drawn_rows_are_different_and_in_their_own_order(rows: int, wanted: int, seed: int) -> None:
    everything = Samples(np.arange(rows, dtype=np.float32)[:, None], np.arange(rows), np.arange(rows))
    some = draw(everything, wanted, seed)
    assert len(some) == min(rows, wanted)
    assert np.all(np.diff(some.groups.astype(int)) > 0)
    assert np.array_equal(some.inputs[:, 0], some.targets)
    assert np.array_equal(draw(everything, wanted, seed).groups, some.groups)
