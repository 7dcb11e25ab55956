"""Whose run is lost, by what the server knows of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from prefect.client.schemas.objects import FlowRun, State, StateType

from tasks.recovery import CRASHED_BEFORE, CRASHED_SINCE, NEVER_BEGAN, RECOVER, SILENT, is_lost

NOW = datetime(2026, 11, 24, 2, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def run(kind: StateType, age: timedelta, *, deployed: bool = True, tags: tuple[str, ...] = ()) -> FlowRun:
    return FlowRun(
        flow_id=UUID(int=1),
        name="one",
        deployment_id=UUID(int=2) if deployed else None,
        tags=list(tags),
        state=State(type=kind, timestamp=NOW - age),
    )


def test_a_run_that_its_worker_never_began_is_lost_after_a_while() -> None:
    assert is_lost(run(StateType.PENDING, NEVER_BEGAN + SECOND), None, NOW)
    assert not is_lost(run(StateType.PENDING, NEVER_BEGAN - SECOND), None, NOW)


def test_a_part_of_another_run_is_never_offered_to_a_worker() -> None:
    assert not is_lost(run(StateType.PENDING, 10 * NEVER_BEGAN, deployed=False), None, NOW)


def test_a_run_is_lost_that_was_heard_and_is_silent() -> None:
    old = run(StateType.RUNNING, 10 * SILENT)
    assert is_lost(old, NOW - SILENT - SECOND, NOW)
    assert not is_lost(old, NOW - SILENT + SECOND, NOW)


def test_a_run_that_died_before_its_first_heartbeat_is_lost() -> None:
    assert is_lost(run(StateType.RUNNING, SILENT + SECOND, tags=(RECOVER,)), None, NOW)
    assert not is_lost(run(StateType.RUNNING, SILENT - SECOND, tags=(RECOVER,)), None, NOW)


def test_a_command_which_has_no_heartbeat_is_left_alone() -> None:
    assert not is_lost(run(StateType.RUNNING, 100 * SILENT, deployed=False), None, NOW)


def test_a_crash_that_no_automation_heard_of_is_found_for_an_hour() -> None:
    for age, found in ((CRASHED_BEFORE - SECOND, False), (CRASHED_BEFORE + SECOND, True), (CRASHED_SINCE, False)):
        assert is_lost(run(StateType.CRASHED, age, tags=(RECOVER,)), None, NOW) is found
    assert not is_lost(run(StateType.CRASHED, CRASHED_BEFORE + SECOND), None, NOW)


@pytest.mark.parametrize("kind", sorted(set(StateType) - {StateType.PENDING, StateType.RUNNING}))
def test_what_rests_waits_or_has_ended_is_not_lost(kind: StateType) -> None:
    assert not is_lost(run(kind, 100 * SILENT, tags=(RECOVER,)), NOW - 50 * SILENT, NOW)
