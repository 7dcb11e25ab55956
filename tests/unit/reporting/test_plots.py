from __future__ import annotations

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.reporting.samples import build_report, failed, measurement, profile
from tinymlops.measurement import Status
from tinymlops.reporting.plots import _box, _free_box, _near, _overlap, _staircase, pareto_png
from tinymlops.reporting.views import device_views


def test_the_same_report_gives_the_same_bytes() -> None:
    first = pareto_png(build_report())
    assert first.startswith(b"\x89PNG")
    assert pareto_png(build_report()) == first


def test_drawing_leaves_no_global_state_behind() -> None:
    pareto_png(build_report())
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.filterwarnings("error")
def test_a_device_on_which_nothing_ran_is_drawn_all_the_same() -> None:
    lost = failed("int8", Status.CRASHED, "exit code 139")
    assert pareto_png(build_report(measurements=(lost,), profiles=(profile(),), selections=()))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("devices", [1, 2, 3, 5])
def test_any_number_of_devices_and_odd_names_can_be_drawn(devices: int) -> None:
    boards = tuple(profile(f"board-{index}") for index in range(devices))
    runs = tuple(measurement("$x_{1", device=board.name) for board in boards)
    assert pareto_png(build_report(title="100 $", measurements=runs, profiles=boards, selections=()))


def test_identical_points_keep_their_own_labels() -> None:
    runs = tuple(measurement(f"twin-{index}") for index in range(6))
    assert pareto_png(build_report(measurements=runs, profiles=(profile(),), selections=()))


def test_a_label_goes_where_nothing_is_yet() -> None:
    spot, size, frame = (100.0, 100.0), (60.0, 12.0), (0.0, 0.0, 400.0, 400.0)
    first = _free_box(spot, size, [], frame)
    second = _free_box(spot, size, [first], frame)
    assert _overlap(first, second) == 0
    assert first == _box(spot, size, 14, (1, 0))


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 1)), max_size=12), st.booleans())
def test_the_staircase_only_gets_better_as_time_grows(points: list[tuple[float, float]], higher: bool) -> None:
    steps = _staircase(points, higher=higher)
    assert steps == sorted(steps, key=lambda step: (step[0], step[1] if higher else -step[1]))
    assert {step[1] for step in steps} <= {score for _, score in points}


def test_a_rejected_variant_that_scores_far_off_does_not_shrink_the_others() -> None:
    views = device_views(build_report())
    gateway = next(view for view in views if view.profile.name == "x86-gateway")
    points = [(row, (1.0, float(row.validation))) for row in gateway.rows if row.validation]
    shown = {row.facts.recipe for row, _ in _near(points)}
    assert {row.facts.recipe for row, _ in points} - shown == {"clustered-int8"}


def test_an_empty_report_is_still_a_picture() -> None:
    assert pareto_png(msgspec.structs.replace(build_report(), profiles=()))
