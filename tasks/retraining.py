"""Retrain: pin, assemble, compare, ask, promote, remember. What is kept under the request's key is found again."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.deployments import run_deployment
from prefect.exceptions import FlowPauseTimeout, ObjectNotFound
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run

from tasks.progress import StepProgress
from tinymlops.premises import Premises
from tinymlops.reporting import BuildReport
from tinymlops.retraining import Outcome, RetrainingRecord, Trigger, steps
from tinymlops.retraining.field import FieldData
from tinymlops.retraining.lease import Lease, leased
from tinymlops.retraining.page import page
from tinymlops.retraining.plans import Answer, Plan, Plans
from tinymlops.retraining.records import checked_request_key
from tinymlops.retraining.steps import Request, Verdict

ROLLOUT = "rollout/rollout"
_GRACE_S = 30


class Approval(RunInput):
    """What a person is asked in the Prefect UI."""

    approve: bool = False
    who: str = ""
    comment: str = ""


def read_request(
    workload: str, trigger: str, why: str, key: str | None, table_version: int | None, seed: int
) -> Request:
    """The request; without a key, the flow run names it: it stays the same when the run is begun again."""
    named = key or f"{trigger}-{flow_run.id or uuid4().hex}"
    return Request(
        reference=workload,
        key=checked_request_key(named),
        trigger=Trigger(trigger),
        why=why,
        seed=seed,
        table_version=table_version,
    )


def find_finished(request: Request) -> RetrainingRecord | None:
    """The record of this request, if it was carried out before."""
    return steps.find_finished(Premises.from_environment(), request)


@contextlib.contextmanager
def one_at_a_time(plan: Plan) -> Iterator[Lease]:
    """Hold the workload's lease."""
    with leased(Premises.from_environment().telemetry_store(), plan.workload, plan.key) as lease:
        yield lease


@task(task_run_name="pin {request.key}", tags=["retraining"], cache_policy=NO_CACHE)
def pin(request: Request) -> Plan:
    """Pin data and champion."""
    with StepProgress("pin") as progress:
        plan = steps.pin(Premises.from_environment(), request, time.time())
        progress.say(f"samples version {plan.table_version}, champion release {plan.champion}")
        return plan


@task(tags=["retraining"], cache_policy=NO_CACHE)
def assemble(plan: Plan) -> FieldData:
    """Read the samples that were pinned; always done, since the build reads the file that it keeps."""
    with StepProgress("samples") as progress:
        data = steps.assemble(Premises.from_environment(), plan)
        progress.say(f"{data.rows:,} labelled of {data.devices:,} devices, {data.fresh:,} of them new")
        return data


def in_use(plan: Plan, recipes: list[str] | None, devices: list[str] | None) -> tuple[list[str], list[str]]:
    """Recipes and kinds of device of the champion, unless some are named."""
    used = steps.in_use(Premises.from_environment(), plan)
    return recipes or used[0], devices or used[1]


@task(tags=["retraining"], cache_policy=NO_CACHE)
def contest(plan: Plan, data: FieldData, report: BuildReport, k: int) -> Verdict:
    """Run champion and challenger on rows that neither learnt from."""
    with StepProgress("contest") as progress:
        verdict = steps.contest(Premises.from_environment(), plan, data, report, k)
        progress.say("the challenger wins" if verdict.promote else "the champion stays")
        return verdict


def ask(plan: Plan, verdict: Verdict, within_s: float) -> Answer:
    """What a person says of the challenger; nothing said in time means no.

    A run of a deployment is suspended meanwhile, so that no worker waits: Prefect begins it again with the answer, and
    a second run at the deadline writes down that nobody spoke. Elsewhere the process waits.
    """
    plans = Plans(Premises.from_environment().telemetry_store())
    now_s = time.time()
    plan = plans.change(plan, lambda one: one if one.asked_s else msgspec.structs.replace(one, asked_s=now_s))
    if plan.answer is None:
        left_s = int((plan.asked_s or now_s) + within_s - now_s)
        said = _hear(plan, verdict, left_s) if left_s > 0 else None
        answer = Answer(approved=False, comment="nobody answered in time")
        if said is not None:
            answer = Answer(approved=said.approve, who=said.who, comment=said.comment)
        plan = plans.change(plan, lambda one: one if one.answer else msgspec.structs.replace(one, answer=answer))
    return plan.answer or Answer(approved=False)


def _hear(plan: Plan, verdict: Verdict, left_s: int) -> Approval | None:
    question = Approval.with_initial_data(
        description=f"**{plan.workload}**: {verdict.reason}. Promote the challenger over release {plan.champion}?"
    )
    if not deployment.id:
        with contextlib.suppress(FlowPauseTimeout):
            return pause_flow_run(wait_for_input=question, timeout=left_s, poll_interval=2, key="approval")
        return None
    run_deployment(
        name=deployment.id,
        parameters={**flow_run.parameters, "key": plan.key},
        scheduled_time=datetime.now(UTC) + timedelta(seconds=left_s + _GRACE_S),
        idempotency_key=f"{plan.workload}-{plan.key}-deadline",
        timeout=0,
        as_subflow=False,
    )
    return suspend_flow_run(wait_for_input=question, timeout=left_s, key="approval")


@task(tags=["mlflow"], retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def promote(report: BuildReport) -> None:
    """Point the aliases of the registry to the challenger."""
    steps.promote(report)


def find_release(plan: Plan) -> tuple[str, int | None]:
    """Why the contest is out of date, or nothing; and the release that an earlier run of this retraining made."""
    return steps.find_release(Premises.from_environment(), plan)


@task(tags=["release"], cache_policy=NO_CACHE)
def begin_rollout(plan: Plan, release: int) -> str:
    """Begin the roll-out; the same key is the same roll-out."""
    return steps.begin_rollout(Premises.from_environment(), plan, release)


def conclude(  # noqa: PLR0913 - all that is remembered
    plan: Plan,
    outcome: Outcome,
    reason: str,
    report: BuildReport | None = None,
    verdict: Verdict | None = None,
    *,
    release: int | None = None,
    rollout_id: str = "",
) -> RetrainingRecord:
    """Tag the challenger, show the page, keep the record: once that is kept, nobody comes back to do the others."""
    record = steps.record_of(plan, outcome, reason, verdict, release=release, rollout_id=rollout_id)
    if report is not None:
        _note(record, report)
    create_markdown_artifact(
        page(record), key=f"{plan.workload}-retraining", description=f"{plan.workload}: {record.outcome}"
    )
    return steps.keep(Premises.from_environment(), record)


@task(task_run_name="note", tags=["mlflow"], retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def _note(record: RetrainingRecord, report: BuildReport) -> None:
    steps.note(record, report)


def hand_over(record: RetrainingRecord) -> None:
    """Let the deployment of roll-outs drive this one; where there is none, say how to go on."""
    if not record.rollout_id:
        return
    parameters = {"workload": record.workload, "version": record.release, "rollout_id": record.rollout_id}
    try:
        run_deployment(
            name=ROLLOUT, parameters=parameters, idempotency_key=record.rollout_id, timeout=0, as_subflow=False
        )
    except ObjectNotFound:
        get_run_logger().info("no deployment drives roll-outs: `tinymlops rollout resume %s` does", record.rollout_id)
