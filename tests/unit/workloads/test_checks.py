"""A split that would teach nonsense or flatter the result is refused, in one sentence."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tinymlops.errors import WorkloadError
from tinymlops.workloads import MEAN_ABSOLUTE_ERROR, Samples, Split, Task, Workload
from tinymlops.workloads.checks import check_split, check_workload


class Toy(Workload):
    name = "toy"
    labels: tuple[str, ...] = ("no", "yes", "maybe")

    def split(self, seed: int) -> Split:
        return good_split()

    def network(self) -> Any:
        raise NotImplementedError


class ToyRegression(Toy):
    task = Task.REGRESSION
    metric = MEAN_ABSOLUTE_ERROR
    labels = ("size",)


def samples(rows: int, group: int) -> Samples:
    return Samples(np.zeros((rows, 4), np.float32), np.arange(rows) % 3, np.full(rows, group))


def good_split() -> Split:
    return Split(samples(9, 1), samples(3, 2), samples(3, 3))


def changed(part: str, **fields: Any) -> Split:
    split = good_split()
    return dataclasses.replace(split, **{part: dataclasses.replace(getattr(split, part), **fields)})


def test_a_good_split_passes_unchanged() -> None:
    split = good_split()
    assert check_split(Toy(), split) is split


BAD = {
    "an empty part": (changed("test", **vars(samples(0, 9))), "test split of toy is empty"),
    "float64 inputs": (changed("train", inputs=np.zeros((9, 4))), "train inputs of toy are float64"),
    "inputs without a feature axis": (changed("train", inputs=np.zeros(9, np.float32)), r"shape \(9,\)"),
    "parts of different shapes": (changed("test", inputs=np.zeros((3, 5), np.float32)), r"\(5,\) and those of train"),
    "fewer targets than rows": (changed("train", targets=np.zeros(8, np.int64)), "9 inputs, 8 targets"),
    "fewer groups than rows": (changed("train", groups=np.zeros(2)), "2 groups"),
    "NaN": (changed("validation", inputs=np.full((3, 4), np.nan, np.float32)), "3 validation inputs of toy hold NaN"),
    "infinity": (changed("test", inputs=np.full((3, 4), np.inf, np.float32)), "hold NaN or infinity"),
    "a label too high": (changed("test", targets=np.array([0, 1, 3])), r"target of toy is 3.*\(0 to 2\)"),
    "a label below zero": (changed("train", targets=np.arange(9) % 3 - 1), "target of toy is -1"),
    "labels that are no numbers": (changed("train", targets=np.zeros(9)), "no class numbers"),
    "a class without training rows": (
        changed("train", targets=np.arange(9) % 2),
        "no training rows of the class 'maybe'",
    ),
    "a group in train and test": (changed("test", groups=np.full(3, 1)), "leaks.*'1'.*both train and test"),
    "a group in train and validation": (changed("validation", groups=np.full(3, 1)), "both train and validation"),
    "a group in validation and test": (changed("test", groups=np.full(3, 2)), "both validation and test"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_split_is_refused_with_what_is_wrong(case: str) -> None:
    split, message = BAD[case]
    with pytest.raises(WorkloadError, match=message):
        check_split(Toy(), split)


def regression(targets: np.ndarray[Any, Any]) -> Split:
    one = good_split()
    return Split(
        dataclasses.replace(one.train, targets=targets),
        dataclasses.replace(one.validation, targets=np.zeros((3, 1), np.float32)),
        dataclasses.replace(one.test, targets=np.zeros((3, 1), np.float32)),
    )


def test_regression_needs_a_target_for_each_output() -> None:
    check_split(ToyRegression(), regression(np.zeros((9, 1), np.float32)))
    with pytest.raises(WorkloadError, match=r"targets of toy have shape \(9,\)"):
        check_split(ToyRegression(), regression(np.zeros(9, np.float32)))


def test_regression_refuses_nan_targets() -> None:
    with pytest.raises(WorkloadError, match="train targets of toy hold NaN"):
        check_split(ToyRegression(), regression(np.full((9, 1), np.nan, np.float32)))


@pytest.mark.parametrize("name", ["", "Upper", "with space", "../up", "a" * 64, 3])
def test_a_name_that_could_not_name_a_folder_is_refused(name: object) -> None:
    toy = Toy()
    toy.name = name  # type: ignore[assignment]
    with pytest.raises(WorkloadError, match="has the name"):
        check_workload(toy, "toy.py:Toy")


@pytest.mark.parametrize("labels", [(), ("only one",), ("twice", "twice"), ["a", "list"]])
def test_labels_that_do_not_name_the_classes_are_refused(labels: object) -> None:
    toy = Toy()
    toy.labels = labels  # type: ignore[assignment]
    with pytest.raises(WorkloadError, match="has the labels"):
        check_workload(toy, "toy.py:Toy")


def test_something_else_is_no_workload() -> None:
    with pytest.raises(WorkloadError, match="is no Workload"):
        check_workload(object(), "toy.py:thing")


@pytest.mark.parametrize("budget", [-0.1, float("nan")])
def test_a_negative_budget_is_refused(budget: float) -> None:
    toy = Toy()
    toy.budget = budget
    with pytest.raises(WorkloadError, match="accuracy budget"):
        check_workload(toy, "toy")
