import numpy as np
import pytest

from bench.drift import discrete_laplace
from tinymlops.drift import DeviceHistory, FeatureEvidence, GroupEvidence, Rules, scatter_of, sensors_of, verdict_of
from tinymlops.drift.findings import holm
from tinymlops.wire.observations import Feature, FeatureKind, noise_variance

DAY_S = 86_400.0


def history(**columns: list[float]) -> DeviceHistory:
    many = len(next(iter(columns.values())))
    facts = {
        "first_s": [-10 * DAY_S] * many,
        "last_s": [7 * DAY_S] * many,
        "windows": [7.0] * many,
        "missing": [0.0] * many,
        "stuck": [0.0] * many,
    } | columns
    return DeviceHistory(**{name: np.asarray(column, np.float64) for name, column in facts.items()})


def test_devices_with_sick_sensors_leave_the_test_and_new_ones_do_not() -> None:
    found = sensors_of(
        history(
            missing=[0, 4, 3, 0, 0, 0],
            stuck=[0, 7, 3, 4, 0, 0],
            first_s=[-DAY_S, -DAY_S, -DAY_S, -DAY_S, 2 * DAY_S, -DAY_S],
            windows=[7, 7, 7, 7, 5, 0],
            last_s=[7 * DAY_S] * 5 + [-DAY_S],
        ),
        0.0,
        7 * DAY_S,
    )

    assert found.missing.tolist() == [False, True, False, False, False, False]
    assert found.stuck.tolist() == [False, False, False, True, False, False]  # 1 lacks values: that comes first
    assert found.new.tolist() == [False, False, False, False, True, False]
    assert found.silent.tolist() == [False, False, False, False, False, True]
    assert found.sound.tolist() == [True, False, True, False, True, False]
    assert found.among(np.array([True] * 4 + [False] * 2)).stuck == 1


def test_a_device_that_fell_silent_within_the_span_is_silent_only_after_half_of_it() -> None:
    found = sensors_of(history(last_s=[3 * DAY_S, 4 * DAY_S]), 0.0, 7 * DAY_S)

    assert found.silent.tolist() == [True, False]


def test_a_fleet_that_just_began_is_not_all_new() -> None:
    assert not sensors_of(history(first_s=[DAY_S] * 3), 0.0, 7 * DAY_S).new.any()


def test_holm_steps_down() -> None:
    assert holm(np.array([0.04, 0.01, 0.03])).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([])).tolist() == []
    assert holm(np.array([0.9, 0.9])).tolist() == [1.0, 1.0]


def evidence(
    kind: FeatureKind, edges: tuple[float, ...], reference: tuple[float, ...], shares: tuple[float, ...], seed: int = 0
) -> FeatureEvidence:
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(100, shares, size=(7, 40)) + discrete_laplace(rng, 1.0, (7, 40, len(shares)))
    return FeatureEvidence(
        feature=Feature(name=str(kind), kind=kind, edges=edges, reference=reference, rows=2000),
        counts=counts.sum(axis=1).astype(np.float64),
        variance=np.full(7, 40 * noise_variance(1.0)),
        devices=40,
        scatter=scatter_of(counts.sum(axis=0).astype(np.float64)),
    )


def group(*features: FeatureEvidence, classifies: bool = True, score: float | None = None) -> GroupEvidence:
    return GroupEvidence(
        workload="activity", release=1, group="fleet", began_s=0, ended_s=7 * DAY_S, devices=40, queries=28_000,
        features=features, classifies=classifies, score=score,
    )  # fmt: skip


CONFIDENCE = ((0.5, 0.7, 0.9), (0.05, 0.1, 0.25, 0.6))


def test_with_labels_accuracy_is_counted_and_the_truth_lies_in_the_interval() -> None:
    found = 0
    for seed in range(40):
        told = verdict_of(group(evidence(FeatureKind.ERROR, (0.5,), (0.9, 0.1), (0.8, 0.2), seed), score=0.91))
        assert told.performance is not None
        assert told.performance_low is not None
        assert told.performance_high is not None
        assert told.performance_reference == 0.91
        found += told.performance_low <= 0.8 <= told.performance_high

    assert found >= 35  # 38 expected


def test_labels_come_before_confidences() -> None:
    confident = evidence(FeatureKind.CONFIDENCE, *CONFIDENCE, (0.0, 0.0, 0.0, 1.0))
    wrong = evidence(FeatureKind.ERROR, (0.5,), (0.9, 0.1), (0.3, 0.7))

    told = verdict_of(group(confident, wrong))

    assert told.performance == pytest.approx(0.3, abs=0.03)


def test_without_labels_accuracy_falls_as_confidence_does() -> None:
    quiet, worse = (
        verdict_of(group(evidence(FeatureKind.CONFIDENCE, *CONFIDENCE, shares), score=0.87)).performance
        for shares in (CONFIDENCE[1], (0.2, 0.3, 0.3, 0.2))
    )

    assert quiet == pytest.approx(0.87, abs=0.01)  # the release's own, not the mean of the bins' middles
    assert worse == pytest.approx(0.87 - 0.165, abs=0.02)


def test_a_regression_without_labels_has_no_estimate() -> None:
    output = evidence(FeatureKind.OUTPUT, (0.0, 1.0), (0.2, 0.5, 0.3), (0.2, 0.5, 0.3))

    assert verdict_of(group(output, classifies=False)).performance is None


def test_mean_absolute_error_of_a_regression_grows_with_its_errors() -> None:
    edges, reference = (-1.0, -0.5, 0.0, 0.5, 1.0), (0.05, 0.15, 0.3, 0.3, 0.15, 0.05)

    told = verdict_of(
        group(evidence(FeatureKind.ERROR, edges, reference, (0.3, 0.2, 0.1, 0.1, 0.2, 0.1)), classifies=False)
    )

    assert told.performance_reference == pytest.approx(0.5, abs=0.01)
    assert told.performance == pytest.approx(0.85, abs=0.03)


def test_too_few_labels_give_no_estimate() -> None:
    few = evidence(FeatureKind.ERROR, (0.5,), (0.9, 0.1), (0.9, 0.1))

    assert verdict_of(group(few), Rules(least_queries=29_000)).performance is None
