from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.support.windows import Crowd, Town, inputs, outputs
from tests.unit.monitoring.looks import look_at, references, verdict
from tinymlops.drift import FLEET, Level
from tinymlops.errors import UsageError
from tinymlops.monitoring.references import References
from tinymlops.monitoring.spans import span_of
from tinymlops.wire.observations import layout_of

FEW = inputs(2, 8)


def test_counts_of_a_group_are_the_sums_of_its_windows(tmp_path: Path) -> None:
    town = Town((Crowd(25, region="north"), Crowd(30, region="south")), features=FEW, days=2)

    report = look_at(tmp_path, town)

    rows = town.table().to_pylist()
    for group, region in ((FLEET, None), ("region=north", "north"), ("region=south", "south")):
        own = [row for row in rows if region in {None, row["region"]}]
        expected = np.sum([row["histograms"] for row in own], axis=0)
        found = verdict(report, group)
        assert {one.feature: list(one.counts) for one in found.features} == {
            feature.name: counts.tolist() for feature, counts in zip(FEW, expected, strict=True)
        }
        assert found.queries == sum(row["queries"] for row in own)
        assert found.devices == len({row["device_id"] for row in own})


def test_a_quiet_fleet_is_quiet_and_a_shifted_region_is_found(tmp_path: Path) -> None:
    quiet = Crowd(40, region="north")
    moved = Crowd(40, region="south", shift=0.8, features_shifted=(1,))

    report = look_at(tmp_path, Town((quiet, moved), features=inputs(3, 8)))

    assert verdict(report, "region=north").level is Level.NONE
    south = verdict(report, "region=south")
    assert south.level is Level.DRIFT
    assert south.features[0].feature == "channel 1 mean"
    assert south.features[0].effect > 0.1
    assert report.verdicts[0].group == FLEET
    assert report.table_version >= 1


def test_a_small_shift_is_watched(tmp_path: Path) -> None:
    report = look_at(tmp_path, Town((Crowd(40, shift=0.42),), features=FEW))

    assert verdict(report).level is Level.WATCH


def test_one_odd_day_is_no_drift(tmp_path: Path) -> None:
    report = look_at(tmp_path, Town((Crowd(40, shift=1.0, shift_from_day=6),), features=FEW))

    assert verdict(report).level in {Level.NONE, Level.WATCH}


def test_windows_of_ill_sensors_are_in_no_count_and_their_devices_are_told(tmp_path: Path) -> None:
    ill = Crowd(25, shift=1.0, missing=(0,)), Crowd(22, shift=1.0, stuck=(1,))

    report = look_at(tmp_path, Town((Crowd(50), *ill), features=FEW))

    fleet = verdict(report)
    assert (fleet.level, fleet.devices) == (Level.NONE, 50)
    assert {one.kind: one.devices for one in fleet.sensors} == {"missing": 25, "stuck": 22}


def test_silent_and_new_devices_are_told_apart_from_drift(tmp_path: Path) -> None:
    before = Town((Crowd(60), Crowd(24)), features=FEW)
    now = before.later(7, crowds=(Crowd(60), Crowd(24, until_day=2), Crowd(26, from_day=1)))

    fleet = verdict(look_at(tmp_path, before, now))

    assert fleet.level is Level.NONE
    assert {one.kind: one.devices for one in fleet.sensors} == {"silent": 24, "new": 26}


def test_devices_without_consent_to_histograms_are_in_no_cell(tmp_path: Path) -> None:
    report = look_at(tmp_path, Town((Crowd(30), Crowd(50, drift=False, region="north")), features=FEW))

    assert verdict(report).devices == 30
    assert [one.group for one in report.verdicts] == [FLEET]


def test_errors_count_only_where_the_truth_came(tmp_path: Path) -> None:
    features = (*FEW, *outputs())
    with_truth, without = Crowd(30, labelled=0.5), Crowd(40)

    fleet = verdict(look_at(tmp_path, Town((with_truth, without), features=features, epsilon=0.0)))

    assert fleet.performance == pytest.approx(0.9, abs=0.01)
    (errors,) = [one for one in fleet.features if one.kind == "error"]
    assert sum(errors.counts) == 30 * 7 * 4 * 25


def test_truths_of_few_devices_are_not_shown(tmp_path: Path) -> None:
    features = (*FEW, *outputs())

    fleet = verdict(look_at(tmp_path, Town((Crowd(19, labelled=0.5), Crowd(40)), features=features)))

    assert not [one for one in fleet.features if one.kind == "error"]


def test_each_release_is_held_against_its_own_reference_the_newest_first(tmp_path: Path) -> None:
    old = Town((Crowd(30),), features=FEW)
    new = replace(old, crowds=(Crowd(30),), release=2, seed=8, features=inputs(3, 4))

    report = look_at(tmp_path, old, new)

    assert [(one.release, one.group) for one in report.verdicts if one.group == FLEET] == [(2, FLEET), (1, FLEET)]
    assert len(verdict(report, release=2).features) == 3
    assert {one.level for one in report.verdicts} == {Level.NONE}


def test_variants_of_a_release_with_other_references_are_mixed_by_their_use(tmp_path: Path) -> None:
    one_way, other_way = (0.25, 0.25, 0.25, 0.25), (0.1, 0.2, 0.3, 0.4)
    int8 = Town((Crowd(30),), features=inputs(1, 4))
    (feature,) = int8.features
    moved = type(feature)(name=feature.name, kind=feature.kind, edges=feature.edges, reference=other_way, rows=10_000)
    pruned = replace(int8, recipe="pruned-int8", features=(moved,), seed=8, crowds=(Crowd(60),))
    both = References({**references(int8).manifests, **references(pruned).manifests})

    fleet = verdict(look_at(tmp_path, int8, pruned, known={1: both}))

    (found,) = fleet.features
    shares = np.array(found.expected) / sum(found.expected)
    assert shares == pytest.approx((np.array(one_way) + 2 * np.array(other_way)) / 3, abs=0.001)
    assert fleet.level is Level.NONE


def test_a_layout_that_no_manifest_has_is_said_and_not_guessed(tmp_path: Path) -> None:
    town = Town((Crowd(30),), features=FEW)
    strange = replace(town, crowds=(Crowd(25),), seed=8, layout="0123456789abcdef")

    fleet = verdict(look_at(tmp_path, strange, town, known={1: references(town)}))

    assert fleet.devices == 30
    assert "windows of 25 devices are not as any manifest of release 1 says" in fleet.why


def test_windows_that_are_not_as_their_layout_says_are_left_out(tmp_path: Path) -> None:
    town = Town((Crowd(30),), features=FEW)
    wrong = replace(town, crowds=(Crowd(25),), seed=8, features=inputs(3, 8), layout=layout_of(FEW))

    fleet = verdict(look_at(tmp_path, wrong, town, known={1: references(town)}))

    assert fleet.devices == 30


def test_a_release_that_nobody_knows_is_unknown(tmp_path: Path) -> None:
    report = look_at(tmp_path, Town((Crowd(30),), features=FEW), known={})

    (only,) = report.verdicts
    assert (only.level, only.devices) == (Level.UNKNOWN, 30)
    assert "withdrawn or is not in the records" in only.why


def test_the_same_look_at_the_same_version_finds_the_same(tmp_path: Path) -> None:
    town = Town((Crowd(30),), features=FEW)
    first = look_at(tmp_path, town)

    again = look_at(tmp_path, town)  # every row is there already

    assert again == first


def test_no_windows_are_no_verdicts(tmp_path: Path) -> None:
    town = Town((Crowd(30),), features=FEW)

    assert look_at(tmp_path, town, town.later(7, crowds=())).verdicts == ()


@pytest.mark.parametrize(("days", "slices"), [(1, 4), (1.5, 6), (2, 7), (7, 7), (30, 30)])
def test_a_span_has_slices_that_hold_windows(days: float, slices: int) -> None:
    span = span_of(days, 1_800_000_000.0)

    parts = list(span.parts())
    assert len(parts) == span.slices == slices
    assert parts[0][0] == span.began_s
    assert parts[-1][1] == span.ended_s
    assert all(end == begin for (_, end), (begin, _) in pairwise(parts))


@pytest.mark.parametrize("days", [0.5, 0.0, -1.0, float("nan")])
def test_too_short_a_span_is_refused(days: float) -> None:
    with pytest.raises(UsageError, match="too few"):
        span_of(days, 1_800_000_000.0)
