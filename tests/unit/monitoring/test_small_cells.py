"""Nothing of fewer than k devices is in a report, nor can it be worked out of what is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.windows import Crowd, Town, inputs, outputs
from tests.unit.monitoring.looks import look_at, references
from tinymlops.drift import FLEET, Level, MonitorReport, Rules
from tinymlops.wire.encoding import encode

K = 5
RULES = Rules(k=K, least_queries=1)
CROWDS = st.lists(
    st.builds(
        Crowd,
        devices=st.integers(1, 12),
        region=st.sampled_from([None, "north", "south"]),
        tags=st.sampled_from([(), ("hot",), ("hot", "old"), ("old",)]),
        drift=st.sampled_from([True, True, True, False]),
        labelled=st.sampled_from([0.0, 0.5]),
        missing=st.sampled_from([(), (), (), (0,)]),
        stuck=st.sampled_from([(), (), (), (1,)]),
        until_day=st.sampled_from([None, None, 1]),
    ),
    min_size=1,
    max_size=5,
)
FEATURES = (*inputs(1, 4), *outputs(2))


def town_of(crowds: list[Crowd]) -> Town:
    return Town(tuple(crowds), features=FEATURES, days=2, windows_a_day=2, queries=20)


def devices_of(town: Town, group: str) -> dict[str, Crowd]:
    """Everybody in a group, with what they are."""
    kind, _, name = group.partition("=")
    found: dict[str, Crowd] = {}
    for crowd, names in zip(town.crowds, town.names(), strict=True):
        inside = {FLEET: True, "profile": True, "region": crowd.region == name, "tag": name in crowd.tags}[kind]
        if inside:
            found |= dict.fromkeys(names, crowd)
    return found


def sound(crowd: Crowd) -> bool:
    return not crowd.missing and not crowd.stuck


def few_outside(town: Town) -> set[str]:
    """Devices that are in no region of k sound ones, if they are few and there are two such regions."""
    everybody = {d: crowd for d, crowd in devices_of(town, FLEET).items() if sound(crowd)}
    sizes = Counter(crowd.region for crowd in everybody.values())
    large = {region for region, size in sizes.items() if region is not None and size >= K}
    outside = {d for d, crowd in everybody.items() if crowd.region not in large}
    return outside if len(large) > 1 and len(outside) < K else set()


def smallest_difference(cells: list[frozenset[str]]) -> int:
    """Fewest devices that any sum or difference of up to four of the cells rests on, if it rests on any."""
    found = [len(one) for one in cells if one]
    for count in (2, 3, 4):
        for chosen in combinations(cells, count):
            for signs in product((1, -1), repeat=count - 1):
                weights: dict[str, int] = {}
                for cell, sign in zip(chosen, (1, *signs), strict=True):
                    for device in cell:
                        weights[device] = weights.get(device, 0) + sign
                left = sum(weight != 0 for weight in weights.values())
                found += [left] if left else []
    return min(found, default=K)


def cells_of(town: Town, report: MonitorReport) -> list[list[frozenset[str]]]:
    """Sets of devices that published sums rest on; sums of one kind are in one list."""
    shown = [one for one in report.verdicts if one.level is not Level.HIDDEN]
    members = {one.group: devices_of(town, one.group) for one in shown}
    left_out = few_outside(town)
    in_sums = {
        one.group: {
            d: crowd for d, crowd in members[one.group].items() if sound(crowd) and crowd.drift and d not in left_out
        }
        for one in shown
    }
    whole = [frozenset(of) for of in in_sums.values()]
    assert [len(one) for one in whole] == [one.devices for one in shown]
    truths = [
        frozenset(d for d, crowd in in_sums[one.group].items() if crowd.labelled)
        for one in shown
        if any(finding.kind == "error" for finding in one.features)
    ]
    sick: dict[str, Callable[[Crowd], bool]] = {
        "missing": lambda crowd: bool(crowd.missing),
        "stuck": lambda crowd: bool(crowd.stuck) and not crowd.missing,
        "silent": lambda crowd: crowd.until_day == 1,
    }
    lists = [whole, truths]
    for kind, is_so in sick.items():
        numbered = [one.group for one in shown if any(s.kind == kind and s.devices for s in one.sensors)]
        lists.append(
            [frozenset(d for d, crowd in members[group].items() if is_so(crowd)) for group in numbered] + whole
        )
    return lists


@settings(max_examples=8)
@given(CROWDS)
@example([Crowd(12, region="north"), Crowd(4, region="south")])  # the fleet less the north is the south
@example([Crowd(12, tags=("hot",)), Crowd(4)])  # the fleet less a tag
@example([Crowd(9, region="north", missing=(0,)), Crowd(3, region="south", missing=(0,)), Crowd(10, region="south")])
@example([Crowd(8, labelled=0.5, region="north"), Crowd(3, labelled=0.5, region="south"), Crowd(9, region="south")])
def test_no_sum_or_difference_rests_on_fewer_than_k_devices(crowds: list[Crowd]) -> None:
    check_that_nothing_rests_on_fewer_than_k(crowds)


def check_that_nothing_rests_on_fewer_than_k(crowds: list[Crowd]) -> None:
    """Look at such a fleet, and try all sums and differences of what is shown."""
    town = town_of(crowds)
    with TemporaryDirectory() as folder:
        report = look_at(Path(folder), town, rules=RULES)

    for cells in cells_of(town, report):
        assert smallest_difference(cells) >= K
    for verdict in report.verdicts:
        assert verdict.devices == 0 or verdict.devices >= K
        assert all(one.devices == 0 or one.devices >= K for one in verdict.sensors)


def test_what_can_be_shown_is_shown(tmp_path: Path) -> None:
    crowds = [Crowd(12, region="north", tags=("hot",), labelled=0.5), Crowd(8, region="south", labelled=0.5)]

    report = look_at(tmp_path, replace(town_of(crowds), epsilon=0.0), rules=RULES)

    assert [one.group for one in report.verdicts] == [FLEET, "region=north", "region=south", "tag=hot"]
    assert all(any(one.kind == "error" for one in verdict.features) for verdict in report.verdicts)


def test_the_name_of_a_small_group_is_nowhere(tmp_path: Path) -> None:
    crowds = [Crowd(30), Crowd(4, region="region-of-four", tags=("tag-of-four",), shift=1.0)]

    told = encode(look_at(tmp_path, town_of(crowds), rules=RULES))

    assert b"of-four" not in told


def test_a_few_devices_elsewhere_do_not_hide_a_region(tmp_path: Path) -> None:
    crowds = [Crowd(12, region="north"), Crowd(8, region="south"), Crowd(2, region="island"), Crowd(1)]

    report = look_at(tmp_path, town_of(crowds), rules=RULES)

    assert {one.group: one.devices for one in report.verdicts} == {FLEET: 20, "region=north": 12, "region=south": 8}


def test_a_fleet_below_k_shows_that_alone(tmp_path: Path) -> None:
    report = look_at(tmp_path, town_of([Crowd(4, shift=1.0), Crowd(3, stuck=(0,))]), rules=RULES)

    (only,) = report.verdicts
    assert (only.group, only.level, only.devices, only.queries) == (FLEET, Level.HIDDEN, 0, 0)
    assert (only.features, only.sensors, only.performance) == ((), (), None)


@pytest.mark.parametrize(("others", "told"), [(20, "20 devices"), (4, None)])
def test_devices_of_a_strange_layout_are_a_cell_as_well(tmp_path: Path, others: int, told: str | None) -> None:
    town = town_of([Crowd(30)])
    strange = replace(town, crowds=(Crowd(others),), seed=8, layout="0123456789abcdef")

    report = look_at(tmp_path, strange, town, known={1: references(town)}, rules=RULES)

    assert ("are not as any manifest" in report.verdicts[0].why) == (told is not None)
    assert told is None or told in report.verdicts[0].why
