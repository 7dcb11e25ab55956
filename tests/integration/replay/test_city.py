import numpy as np
import pytest

from tinymlops.replay.city import PLANTED, City, inputs_of, read_city, weekdays
from tinymlops.workloads.footfall import PARTS, Footfall


@pytest.fixture(scope="module")
def city() -> City:
    return read_city()


def test_counts_are_those_that_the_workload_learns_from(city: City) -> None:
    test = Footfall().split(seed=0).test
    same = city.between(*PARTS["test"])
    real = [i for i, column in enumerate(city.columns) if column == i]

    assert np.isfinite(same.counts[real]).sum() == len(test)
    assert np.log1p(same.counts[real][np.isfinite(same.counts[real])]).sum() == pytest.approx(test.targets.sum(), 1e-5)


def test_inputs_are_those_that_the_workload_makes(city: City) -> None:
    test = Footfall().split(seed=0).test
    hours = {tuple(row) for column in range(21) for row in inputs_of(column, 21).tolist()}

    assert {tuple(row) for row in np.unique(test.inputs, axis=0).tolist()} <= hours


def test_the_days_of_the_week_are_right() -> None:
    days = np.array(["2020-03-26", "2021-08-18", "2023-01-01"], "datetime64[D]")

    assert weekdays(days).tolist() == [3, 2, 6]  # Thursday, Wednesday, Sunday


def test_the_planted_sensor_copies_and_then_repeats_itself(city: City) -> None:
    copy, original = city.counts[-1], city.counts[city.columns[-1]]
    before, after = (
        (city.days >= np.datetime64(first)) & (city.days < np.datetime64(end))
        for first, end in ((PLANTED.first, PLANTED.stuck), ("2023-10-02", "2024-02-01"))
    )

    assert np.array_equal(copy[before], original[before], equal_nan=True)
    assert len(np.unique(copy[after][np.isfinite(copy[after])])) == 1
    assert np.isnan(copy[city.days < np.datetime64(PLANTED.first)]).all()
