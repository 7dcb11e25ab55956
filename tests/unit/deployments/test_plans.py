"""What runs when, before Prefect is asked."""

from __future__ import annotations

import importlib
import inspect
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import yaml  # type: ignore[import-untyped]
from prefect.automations import AutomationCore
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.schemas.automations import EventTrigger

from deployments.automations import automations, same
from deployments.plans import Plan, plans
from deployments.pools import with_our_defaults
from deployments.prefect_yaml import FILE, prefect_yaml
from tasks.recovery import MOST_RUNS, RECOVER
from tinymlops.project import kept_workloads

ROOT = Path(__file__).parents[3]
PLANS = plans(("activity", "footfall"))
DRIFT, AGAIN = UUID(int=7), UUID(int=6)


def test_every_flow_has_a_deployment_and_no_two_share_a_name() -> None:
    assert {plan.flow for plan in PLANS} == {file.stem for file in (ROOT / "flows").glob("[!_]*.py")}
    names = [plan.full_name for plan in PLANS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.full_name)
def test_a_deployment_gives_its_flow_what_it_takes(plan: Plan) -> None:
    file, function = plan.entrypoint.split(":")
    assert (ROOT / file).is_file()
    flow = getattr(importlib.import_module(f"flows.{plan.flow}"), function)
    known = inspect.signature(flow.fn).parameters
    assert plan.parameters.keys() <= known.keys()
    needed = {name: "x" for name, one in known.items() if one.default is one.empty}
    flow.validate_parameters({**needed, **plan.parameters})
    if plan.cron:
        CronSchedule(cron=plan.cron, timezone="UTC")


def test_what_is_told_to_prefect_by_file_is_what_is_told_by_code() -> None:
    assert FILE.read_text() == prefect_yaml(), "run `python -m deployments.prefect_yaml`"
    listed = yaml.safe_load(FILE.read_text())["deployments"]
    assert [one["entrypoint"] for one in listed] == [plan.entrypoint for plan in plans(("activity",))]


def test_what_is_done_by_the_clock_is_never_done_twice_at_once() -> None:
    assert all(plan.collision for plan in PLANS if plan.cron)


def test_a_release_is_not_made_again_by_itself() -> None:
    assert not any(RECOVER in plan.tags for plan in PLANS if plan.flow in {"release", "rollout"})


def trigger_of(name: str) -> EventTrigger:
    (found,) = [one for one in automations(DRIFT, AGAIN) if one.name == name]
    assert isinstance(found.trigger, EventTrigger)
    return found.trigger


def test_a_run_that_crashes_again_and_again_is_left_alone_at_last() -> None:
    trigger = trigger_of("Run again what crashed")
    match = trigger.model_dump()["match"]
    assert match["prefect.run-count"] == [str(count) for count in range(1, MOST_RUNS)]


def test_a_run_that_waits_for_a_person_is_not_taken_for_dead() -> None:
    assert "prefect.flow-run.Suspended" in trigger_of("Crash runs without a heartbeat").expect


def test_after_a_retraining_drift_starts_no_other_for_most_of_a_day() -> None:
    trigger = trigger_of("Retrain on drift")
    assert timedelta(hours=12) < trigger.within < timedelta(days=1)
    assert (trigger.threshold, trigger.for_each) == (1, {"prefect.resource.id"})


def test_automations_are_compared_by_what_they_do() -> None:
    for one, again in zip(automations(DRIFT, AGAIN), automations(DRIFT, AGAIN), strict=True):
        assert same(one, again), "ids are made up each time"
        kept = AutomationCore.model_validate_json(one.model_dump_json())
        assert same(one, kept), "as it comes back from the server"
    assert not same(automations(DRIFT, AGAIN)[0], automations(DRIFT, AGAIN, cool_down=timedelta(hours=1))[0])
    assert not same(automations(DRIFT, AGAIN)[0], automations(UUID(int=8), AGAIN)[0])
    assert len(automations(DRIFT, AGAIN, notify=UUID(int=9))) == len(automations(DRIFT, AGAIN)) + 1


def test_a_drift_event_becomes_parameters_that_retraining_takes() -> None:
    from prefect.server.events.actions import RunDeployment

    (action,) = automations(DRIFT, AGAIN)[0].actions
    checked = RunDeployment.model_validate(action.model_dump(mode="json"))
    assert checked.parameters is not None
    flow = importlib.import_module("flows.retrain").retrain
    assert checked.parameters.keys() <= inspect.signature(flow.fn).parameters.keys()


def test_a_container_runs_our_image_and_is_removed() -> None:
    names = ("image", "auto_remove", "image_pull_policy", "privileged")
    template = {"job_configuration": {}, "variables": {"properties": {name: {"default": None} for name in names}}}
    ours = with_our_defaults(template, "docker")["variables"]["properties"]
    assert ours["image"]["default"] == "tinymlops-worker:latest"
    assert ours["auto_remove"]["default"] is True
    assert ours["privileged"]["default"] is None
    assert with_our_defaults(template, "process") == template


def test_workloads_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYMLOPS_WORKLOADS", raising=False)
    assert kept_workloads() == ("activity",)
    monkeypatch.setenv("TINYMLOPS_WORKLOADS", "footfall, activity,,footfall")
    assert kept_workloads() == ("footfall", "activity")
