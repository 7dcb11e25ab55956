"""Samples from the field become a challenger, which is released if it is better for certain and harms nobody."""

from __future__ import annotations

from typing import NamedTuple

from prefect import flow

from flows.build import build
from flows.release import release
from tasks.retraining import (
    ask,
    assemble,
    begin_rollout,
    conclude,
    contest,
    find_finished,
    find_release,
    hand_over,
    in_use,
    one_at_a_time,
    pin,
    promote,
    read_request,
)
from tinymlops.errors import CompressionError, WorkloadError
from tinymlops.retraining import Outcome, RetrainingRecord
from tinymlops.retraining.lease import Lease
from tinymlops.retraining.plans import Plan
from tinymlops.retraining.steps import FEWEST_FRESH, lacking, reason_of


@flow(name="retrain", flow_run_name="{workload}, {trigger}", persist_result=True)
def retrain(  # noqa: PLR0913, PLR0917 - what can be set in the Prefect UI
    workload: str = "activity",
    trigger: str = "manual",
    why: str = "",
    key: str | None = None,
    table_version: int | None = None,
    seed: int = 7,
    approval: bool = False,
    approval_s: float = 3 * 24 * 3600.0,
    recipes: list[str] | None = None,
    devices: list[str] | None = None,
    fewest: int = FEWEST_FRESH,
    k: int = 20,
    out: str | None = None,
) -> RetrainingRecord:
    """Retrain WORKLOAD with the labelled samples of its devices; the same key is one retraining, however often it runs.

    With ``approval``, a person has to agree within ``approval_s``. Groups of fewer than ``k`` devices are not shown.
    """
    request = read_request(workload, trigger, why, key, table_version, seed)
    record = find_finished(request)
    if record is None:
        plan = pin(request)
        with one_at_a_time(plan) as lease:
            how = How(approval_s if approval else None, recipes, devices, fewest, k, out)
            record = find_finished(request) or _carry_out(plan, how, lease)
    hand_over(record)
    return record


class How(NamedTuple):
    """Settings of a retraining that its plan does not pin; as the flow's parameters of these names."""

    approval_s: float | None
    recipes: list[str] | None
    devices: list[str] | None
    fewest: int
    k: int
    out: str | None


def _carry_out(plan: Plan, how: How, lease: Lease) -> RetrainingRecord:
    data = assemble(plan)
    lack = lacking(data, how.fewest)
    if lack:
        return conclude(plan, Outcome.NO_DATA, lack)

    recipes, devices = in_use(plan, how.recipes, how.devices)
    try:
        report = build(data.reference, recipes, devices, plan.seed, how.out, promote=False)
        verdict = contest(plan, data, report, how.k)
    except (CompressionError, WorkloadError) as error:
        conclude(plan, Outcome.FAILED, str(error))
        raise
    if not verdict.promote:
        return conclude(plan, Outcome.REJECTED, verdict.reason, report, verdict)
    if how.approval_s is not None:
        answer = ask(plan, verdict, how.approval_s)
        if not answer.approved:
            return conclude(plan, Outcome.DECLINED, answer.words, report, verdict)

    lease.check()
    overtaken, number = find_release(plan)
    if overtaken:
        return conclude(plan, Outcome.REJECTED, overtaken, report, verdict)
    promote(report)
    if number is None:
        number = release(data.reference, devices, reason_of(plan, plan.why)).version
    rollout_id = begin_rollout(plan, number)
    return conclude(plan, Outcome.PROMOTED, verdict.reason, report, verdict, release=number, rollout_id=rollout_id)
