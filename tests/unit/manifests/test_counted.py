"""What a release lets devices count: of inputs, of answers, of errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.manifests.histograms import BINS, MOST_INPUTS, edges_of, histograms_of
from tinymlops.manifests.output_features import of_classes, of_values
from tinymlops.wire.manifest import Statistic
from tinymlops.wire.observations import FeatureKind


def test_training_rows_fill_the_bins_evenly() -> None:
    inputs = np.random.default_rng(1).normal(size=(3200, 10, 2)).astype(np.float32)

    found = histograms_of(inputs)

    assert [one.name for one in found] == [
        "channel 0 mean",
        "channel 1 mean",
        "channel 0 standard deviation",
        "channel 1 standard deviation",
    ]
    for one in found:
        assert len(one.reference) == len(one.edges) + 1 == BINS
        assert max(one.reference) < 2 * min(one.reference)
        assert one.rows == 3200


def test_a_channel_that_never_changes_has_no_histogram() -> None:
    inputs = np.ones((50, 4), np.float32)
    inputs[:, 2] = np.arange(50)

    assert [(one.channel, one.statistic) for one in histograms_of(inputs)] == [(2, Statistic.MEAN)]


def test_a_one_hot_code_is_not_counted_unless_the_owner_wants_it() -> None:
    inputs = np.eye(5, dtype=np.float32)[np.arange(100) % 5]

    assert not histograms_of(inputs)
    (wanted,) = histograms_of(inputs, ["channel 1 mean"])
    assert (wanted.edges, wanted.reference) == ((0.5,), (0.8, 0.2))


def test_copies_of_other_channels_are_not_worth_their_share_of_the_budget() -> None:
    rng = np.random.default_rng(2)
    told = rng.normal(size=(500, MOST_INPUTS))
    inputs = np.concatenate([told, told @ rng.normal(size=(MOST_INPUTS, 12)) * 1e-3, told + 1.0], axis=1)
    inputs[:, MOST_INPUTS : MOST_INPUTS + 12] += rng.normal(size=(500, 1)) * 1e-6

    found = histograms_of(inputs.astype(np.float32))

    columns = np.stack([inputs[:, one.channel] for one in found], axis=1)
    assert len(found) == MOST_INPUTS
    assert np.linalg.matrix_rank(columns - columns.mean(axis=0), tol=1e-4) == MOST_INPUTS


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=60))
def test_edges_rise_and_fractions_add_up(values: list[float]) -> None:
    for one in histograms_of(np.array(values, np.float32)[:, None]):
        assert list(one.edges) == sorted(set(one.edges))
        assert sum(one.reference) == pytest.approx(1.0, abs=1e-4)


@given(st.sets(st.integers(-1000, 1000), min_size=2, max_size=BINS))
def test_a_few_distinct_values_have_bins_of_their_own_that_rounding_does_not_leave(distinct: set[int]) -> None:
    values = np.array(sorted(distinct), np.float64)

    edges = edges_of(values)

    for rounded in (values * (1 - 1e-5), values * (1 + 1e-5)):
        assert np.searchsorted(edges, rounded, side="right").tolist() == list(range(len(values)))


def test_confidence_class_and_error_are_counted_of_a_model_that_classifies() -> None:
    confidences = np.array([[0.92, 0.05, 0.03], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.98, 0.01, 0.01]])

    confidence, classes, error = of_classes(confidences, np.array([0, 1, 1, 0]))

    assert confidence.edges == (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # a third at least
    assert list(confidence.reference) == [0, 0, 0.25, 0, 0, 0.25, 0.25, 0.25, 0]
    assert (classes.edges, classes.reference) == ((0.5, 1.5), (0.5, 0.25, 0.25))
    assert error.kind is FeatureKind.ERROR
    assert (error.reference, error.rows) == ((0.75, 0.25), 4)


def test_output_and_error_are_counted_of_a_regression_and_their_bins_follow_from_the_targets_alone() -> None:
    rng = np.random.default_rng(3)
    taught, true = rng.normal(4.0, 2.0, (900, 1)), rng.normal(4.0, 2.0, (300, 1))

    good = of_values(true + rng.normal(0, 0.1, true.shape), true, taught)
    bad = of_values(true + 5.0, true, taught)

    assert [(one.name, one.kind) for one in good] == [("output", FeatureKind.OUTPUT), ("error", FeatureKind.ERROR)]
    assert [one.edges for one in good] == [one.edges for one in bad]
    middle = len(good[1].reference) // 2
    assert sum(good[1].reference[middle - 3 : middle + 3]) > 0.99
    assert math.fsum(bad[1].reference[:2]) == pytest.approx(1.0)  # truth minus output


def test_outputs_of_a_regression_are_told_apart_and_the_owner_chooses_among_them() -> None:
    rows = np.random.default_rng(4).normal(size=(50, 6))

    assert [one.name for one in of_values(rows, rows, rows)][-1] == "error 3"
    assert [(one.name, one.index) for one in of_values(rows, rows, rows, ["error 5"])] == [("error 5", 5)]
    assert of_classes(np.abs(rows), np.zeros(50, np.int64), ["class"])[0].name == "class"
