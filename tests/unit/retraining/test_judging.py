"""Which groups a contest tells of, and which metrics it can judge by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import WorkloadError
from tinymlops.retraining import Outcome, RetrainingRecord, Trigger
from tinymlops.retraining.judging import _groups, _Scored, row_scores
from tinymlops.retraining.page import page
from tinymlops.retraining.plans import Answer
from tinymlops.retraining.values import Comparison
from tinymlops.workloads import ACCURACY, Metric, Samples
from tinymlops.workloads.renewal import JudgedRows


def scored(devices: list[tuple[str, str]]) -> _Scored:
    """One row of each device of these (region, profile)."""
    count = len(devices)
    names = np.array([f"d{number}" for number in range(count)])
    rows = Samples(np.zeros((count, 1), np.float32), np.zeros(count, np.int64), names)
    regions, profiles = (np.array([one[side] for one in devices]) for side in (0, 1))
    return _Scored(JudgedRows(rows, names, profiles, regions), np.zeros(count), np.ones(count))


@given(st.lists(st.tuples(st.sampled_from(["", "north", "south"]), st.sampled_from(["pi", "x86"])), max_size=80))
def test_no_group_and_no_rest_of_the_fleet_is_smaller_than_k(devices: list[tuple[str, str]]) -> None:
    found = dict(_groups([scored(devices)] if devices else [], k=10))
    for one in found.values():
        members = len(set(one.rows.devices.tolist()))
        assert members >= 10
        assert len(devices) - members >= 10


def test_groups_are_told_where_they_are_large_enough() -> None:
    found = dict(_groups([scored([("north", "pi")] * 12 + [("south", "pi")] * 15)], k=10))
    assert {name: len(one.rows.samples) for name, one in found.items()} == {"region=north": 12, "region=south": 15}


def test_a_metric_without_rows_of_its_own_is_computed_row_by_row() -> None:
    targets, outputs = np.array([0, 1, 1]), np.eye(2, dtype=np.float32)[[0, 0, 1]]
    plain = Metric("accuracy", higher_is_better=True, compute=ACCURACY.compute)
    assert row_scores(plain, targets, outputs).tolist() == [1.0, 0.0, 1.0]


def test_a_metric_that_is_no_mean_over_rows_is_refused() -> None:
    worst = Metric("worst", higher_is_better=False, compute=lambda targets, _: float(np.max(targets.astype(float))))
    with pytest.raises(WorkloadError, match="not a mean over rows"):
        row_scores(worst, np.array([1.0, 5.0]), np.zeros((2, 1), np.float32))


def test_the_page_says_what_happened_and_how_to_repeat_it() -> None:
    one = Comparison(rows="recent", count=1200, blocks=30, champion=0.7, challenger=0.4, gain=0.3, low=0.25, high=0.36)
    told = page(
        RetrainingRecord(
            workload="footfall", key="k", trigger=Trigger.DRIFT, why="fleet: errors", began_s=0.0, ended_s=60.0,
            table_version=17, outcome=Outcome.PROMOTED, reason="the challenger is better", metric="mean absolute error",
            comparisons=(one,), champion=3, release=4, rollout_id="footfall-k",
        )
    )  # fmt: skip
    assert "The challenger is better." in told
    assert "| recent | 1,200 | 30 | 0.7 | 0.4 | +0.3 | +0.25 to +0.36 |" in told
    assert "tinymlops retrain footfall --table-version 17" in told


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(approved=False, comment="nobody answered in time"), "nobody answered in time"),
        (Answer(approved=False, who="Ada", comment="too soon"), "Ada declined: too soon"),
        (Answer(approved=False), "somebody declined"),
        (Answer(approved=True, who="Ada"), "Ada agreed"),
    ],
)
def test_an_answer_is_a_sentence(answer: Answer, words: str) -> None:
    assert answer.words == words
