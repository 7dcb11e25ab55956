import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.drift import EDGES, PSI, alarmed, discrete_laplace, looks, mean_shift, rate
from tinymlops.drift import (
    FeatureEvidence,
    GroupEvidence,
    Level,
    Rules,
    SensorEvidence,
    rebased,
    scatter_of,
    verdict_of,
)
from tinymlops.errors import FormatError, UsageError
from tinymlops.wire.observations import Feature, FeatureKind, noise_variance

Floats = NDArray[np.float64]
EVEN = tuple([0.1] * 10)
RNG = np.random.default_rng


def feature(reference: tuple[float, ...] = EVEN, *, kind: FeatureKind = FeatureKind.INPUT, rows: int = 0) -> Feature:
    edges = tuple(float(i) for i in range(len(reference) - 1))
    return Feature(name=str(kind), kind=kind, edges=edges, reference=reference, rows=rows)


def counted(device_counts: Floats, one: Feature | None = None, epsilon: float = 1.0, seed: int = 0) -> FeatureEvidence:
    """Of exact counts of shape (slices, devices, bins), with noise."""
    slices, devices, _ = device_counts.shape
    noisy = device_counts + discrete_laplace(RNG(seed), epsilon, device_counts.shape)
    return FeatureEvidence(
        feature=one or feature(),
        counts=noisy.sum(axis=1),
        variance=np.full(slices, devices * noise_variance(epsilon)),
        devices=devices,
        scatter=scatter_of(noisy.sum(axis=0)),
    )


def drawn(shares: Floats, each: int = 100, seed: int = 0) -> Floats:
    """Counts of devices, ``shares`` being of shape (slices, devices, bins)."""
    return RNG((seed, 1)).multinomial(each, shares).astype(np.float64)


def week(shares: Floats | tuple[float, ...] = EVEN, devices: int = 50) -> Floats:
    return np.tile(np.asarray(shares, np.float64), (7, devices, 1))


def group(
    *features: FeatureEvidence, devices: int = 50, queries: int = 35_000, sensors: SensorEvidence | None = None
) -> GroupEvidence:
    return GroupEvidence(
        workload="activity",
        release=3,
        group="fleet",
        began_s=0.0,
        ended_s=7 * 86400.0,
        devices=devices,
        queries=queries,
        features=features,
        sensors=sensors or SensorEvidence(),
    )


MOVED = np.asarray([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.12, 0.14, 0.16, 0.18])
INDEX = float(np.sum((MOVED - 0.1) * np.log(MOVED / 0.1)))


def test_false_alarms_are_few_and_a_moderate_shift_is_seen_through_the_noise() -> None:
    quiet, moved = (rate(alarmed, looks(60, shift)) for shift in (0.0, PSI))

    assert quiet.alarms <= 2  # 1 % of 60, and its 95 % bound
    assert moved.alarms >= 54


def test_the_shift_of_the_simulation_has_the_index_it_says() -> None:
    rows = RNG(0).normal(mean_shift(PSI), 1, 400_000)
    shares = np.bincount(np.searchsorted(EDGES, rows, "right"), minlength=10) / len(rows)

    assert np.sum((shares - 0.1) * np.log(shares / 0.1)) == pytest.approx(PSI, rel=0.03)


def test_what_is_as_it_was_is_no_drift() -> None:
    assert verdict_of(group(counted(drawn(week())))).level is Level.NONE


def test_a_lasting_shift_is_drift_and_names_what_moved() -> None:
    told = verdict_of(
        group(counted(drawn(week()), feature(kind=FeatureKind.CLASS)), counted(drawn(week(MOVED), seed=1), seed=1))
    )

    assert told.level is Level.DRIFT
    assert [one.feature for one in told.features] == ["input", "class"]
    assert told.why == "input (stability index 0.29) moved, and stays"
    assert told.features[0].effect == pytest.approx(INDEX, abs=0.05)
    assert told.features[0].p_value <= told.features[0].adjusted < 1e-6


def test_the_effect_has_no_part_of_the_noise() -> None:
    effects = [
        verdict_of(group(counted(drawn(week(MOVED), 30, seed=i), epsilon=0.5, seed=i))).features[0].effect
        for i in range(20)
    ]

    assert np.mean(effects) == pytest.approx(INDEX, rel=0.15)


@pytest.mark.parametrize("odd_days", [1, 2])
def test_one_or_two_odd_days_make_one_watch_but_are_no_drift(odd_days: int) -> None:
    shares = week()
    shares[3 : 3 + odd_days] = [0, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.5]

    assert verdict_of(group(counted(drawn(shares)))).level is not Level.DRIFT


def test_a_small_shift_that_is_certain_makes_one_watch() -> None:
    small = 0.1 + 0.6 * (MOVED - 0.1)

    told = verdict_of(group(counted(drawn(week(small), 400))))

    assert told.level is Level.WATCH
    assert "too little or not for long enough" in told.why


def test_what_rests_on_one_odd_device_is_no_shift_of_the_fleet() -> None:
    shares = week(devices=21)
    shares[:, 0] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    alike = counted(drawn(shares, 1000))
    blind = FeatureEvidence(feature=alike.feature, counts=alike.counts, variance=alike.variance, devices=21)

    assert verdict_of(group(alike, devices=21)).level is Level.NONE
    assert verdict_of(group(blind, devices=21)).features[0].adjusted < 1e-6  # which is why devices are compared


def test_rows_without_a_value_are_no_shift() -> None:
    counts = drawn(week())
    counts[:, ::2] = 0

    assert verdict_of(group(counted(counts))).level is Level.NONE


def test_days_of_different_volume_are_no_shift() -> None:
    counts = np.concatenate([drawn(week()[:1], 20 + 100 * day, seed=day) for day in range(7)])

    assert verdict_of(group(counted(counts))).level is Level.NONE


def test_a_bin_that_the_few_rows_of_the_reference_missed_is_not_impossible() -> None:
    missed = feature((0.5, 0.25, 0.25, 0.0), rows=100)
    seen = np.asarray([0.495, 0.25, 0.25, 0.005])

    assert verdict_of(group(counted(drawn(week(seen)), missed))).level is Level.NONE


def test_a_rare_class_that_becomes_common_is_drift() -> None:
    rare = feature((0.6, 0.4, 0.0), kind=FeatureKind.CLASS, rows=10_000)

    assert verdict_of(group(counted(drawn(week((0.4, 0.3, 0.3))), rare))).level is Level.DRIFT


def test_few_queries_tell_nothing() -> None:
    told = verdict_of(group(counted(drawn(week())[:, :, :]), queries=499))

    assert told.level is Level.UNKNOWN
    assert told.why == "499 queries; 500 are needed to tell"


def test_counts_that_drown_in_noise_tell_nothing() -> None:
    told = verdict_of(group(counted(drawn(week(), 2), epsilon=0.01)))

    assert told.level is Level.UNKNOWN
    assert "noise" in told.why


def test_a_span_too_short_to_last_makes_one_watch() -> None:
    told = verdict_of(group(counted(drawn(week(MOVED)[:3], 200))))

    assert told.level is Level.WATCH


def test_of_fewer_than_k_devices_nothing_is_told() -> None:
    told = verdict_of(group(counted(drawn(week(MOVED))), devices=19, sensors=SensorEvidence(stuck=30)))

    assert told.level is Level.HIDDEN
    assert (told.devices, told.queries, told.features, told.sensors, told.performance) == (0, 0, (), (), None)
    assert "fewer than 20" in told.why


def test_a_feature_that_fewer_than_k_devices_count_is_left_out() -> None:
    told = verdict_of(group(counted(drawn(week(MOVED, devices=19)))))

    assert told.features == ()


def test_sensors_are_told_apart_and_small_numbers_are_not_told() -> None:
    sensors = SensorEvidence(missing=25, stuck=3, silent=0, new=20)

    told = verdict_of(group(counted(drawn(week())), sensors=sensors)).sensors

    assert [(one.kind, one.devices) for one in told] == [("missing", 25), ("stuck", 0), ("new", 20)]
    assert told[1].what == "fewer than 20 devices sent the same value again and again"


def test_a_new_reference_is_quiet_about_what_it_was_made_of_and_about_more_of_it() -> None:
    first, later = (counted(drawn(week(MOVED), seed=i), seed=i) for i in range(2))
    new = rebased(first)

    again = [FeatureEvidence(feature=new, counts=x.counts, variance=x.variance, devices=50) for x in (first, later)]

    assert sum(new.reference) == pytest.approx(1)
    assert [verdict_of(group(one)).level for one in again] == [Level.NONE, Level.NONE]
    assert new.rows < first.counts.sum()  # the noise makes it less sure than its rows would


def test_a_reference_is_not_made_of_noise() -> None:
    with pytest.raises(UsageError, match="do not stand out"):
        rebased(counted(drawn(week(), 1), epsilon=0.001))


def test_counts_of_another_layout_are_refused() -> None:
    with pytest.raises(FormatError, match="one layout"):
        FeatureEvidence(feature=feature(), counts=np.zeros((7, 9)), variance=np.zeros(7), devices=50)


@settings(deadline=None, max_examples=60)
@given(
    bins=st.integers(2, 12),
    slices=st.integers(1, 8),
    each=st.integers(0, 60),
    epsilon=st.sampled_from([0.05, 0.5, 1.0, 8.0]),
    seed=st.integers(0, 10_000),
)
def test_any_counts_at_all_have_a_verdict_of_finite_figures(
    bins: int, slices: int, each: int, epsilon: float, seed: int
) -> None:
    rng = RNG(seed)
    reference = tuple(rng.dirichlet(np.full(bins, 0.3)).tolist())
    counts = rng.multinomial(each, rng.dirichlet(np.full(bins, 0.3), (slices, 25))).astype(np.float64)
    evidence = counted(counts, feature(reference, rows=int(seed % 300)), epsilon, seed)

    told = verdict_of(group(evidence, devices=25), Rules(least_queries=1))

    for one in told.features:
        assert 0 <= one.p_value <= one.adjusted <= 1
        assert np.isfinite(one.effect)
        assert one.effect >= 0
