"""What follows from what: automations of Prefect, as values.

Drift starts a retraining, once in a while however often it is seen. Runs whose worker died are found by the heartbeats
that stop, and begun again. See https://docs.prefect.io/v3/advanced/detect-zombie-flows. Runs that never had a heartbeat
are found by the flow `sweep`: an automation would wait for events that a server which was killed never hands out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import AutomationCore
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from deployments.plans import HEARTBEAT_S
from tasks.recovery import MOST_RUNS, RECOVER

DRIFT_EVENT = "drift.detected"
COOL_DOWN = timedelta(hours=20)
"""Shorter than a day, so that a drift which stays is acted on by every day's look, and by one only."""
SILENCE = timedelta(seconds=3 * HEARTBEAT_S)

_RUN = "prefect.flow-run."
_ENDED = ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut")
_RESTS = ("Suspended", "Paused", "AwaitingRetry")
"""A run that rests has no process, and so no heartbeat. One that pauses in its process goes on beating."""


def automations(
    drift_deployment: UUID,
    recover_deployment: UUID,
    *,
    cool_down: timedelta = COOL_DOWN,
    threshold: int = 1,
    notify: UUID | None = None,
) -> tuple[AutomationCore, ...]:
    """All of them.

    Args:
        drift_deployment: Id of the deployment that retrains after drift.
        recover_deployment: Id of the one that begins crashed runs again.
        cool_down: After it has started one run for a workload, drift starts no other for so long.
        threshold: How many events within ``cool_down`` it takes.
        notify: Block of Prefect that tells people of runs which failed, or None.
    """
    own = (
        retrain_on_drift(drift_deployment, cool_down=cool_down, threshold=threshold),
        crash_silent_runs(recover_deployment),
        run_again(),
    )
    return own if notify is None else (*own, tell_of_failures(notify))


def retrain_on_drift(deployment: UUID, *, cool_down: timedelta, threshold: int) -> AutomationCore:
    """Events ``drift.detected`` start a retraining of their workload.

    A trigger that has fired counts again only when its time is over: that is the cool-down. The key makes it one
    retraining for each release and day even if Prefect should fire twice.
    """
    return AutomationCore(
        name="Retrain on drift",
        description="A drift verdict starts one retraining of its workload, then none for a while.",
        trigger=EventTrigger(
            expect={DRIFT_EVENT},
            match=ResourceSpecification({"prefect.resource.id": "tinymlops.workload.*"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=threshold,
            within=cool_down,
        ),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=deployment,
                job_variables=None,
                parameters={
                    "workload": _template("{{ event.payload.workload }}"),
                    "why": _template("{{ event.payload.why | truncate(500) }}"),
                    "key": _template(
                        "drift-{{ event.payload.workload }}-{{ event.payload.release }}"
                        "-{{ event.occurred.strftime('%Y%m%d') }}"
                    ),
                },
            )
        ],
    )


def crash_silent_runs(recover: UUID) -> AutomationCore:
    """A run whose heartbeats have stopped is not running, whatever its state says.

    It is begun again by a run of its own, besides `run_again`: a server that was restarted holds events of states back
    for 15 minutes if it has not seen the state before, for it keeps in memory what it has seen.
    """
    return AutomationCore(
        name="Crash runs without a heartbeat",
        description=f"No heartbeat for {SILENCE.seconds} s: the process or its machine is gone.",
        trigger=EventTrigger(
            after={f"{_RUN}heartbeat"},
            expect={f"{_RUN}{name}" for name in ("heartbeat", *_ENDED, *_RESTS)},
            match=ResourceSpecification({"prefect.resource.id": f"{_RUN}*"}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, name="Crashed", force=False, message="its heartbeats have stopped"
            ),
            RunDeployment(
                source="selected",
                deployment_id=recover,
                job_variables=None,
                parameters={"run": _template("{{ event.resource.id }}")},
            ),
        ],
    )


def run_again() -> AutomationCore:
    """A run that crashed is begun again, with the parameters it had, unless it has crashed often enough."""
    return AutomationCore(
        name="Run again what crashed",
        description=f"Runs tagged {RECOVER!r} are begun up to {MOST_RUNS} times.",
        trigger=EventTrigger(
            expect={f"{_RUN}Crashed"},
            match=ResourceSpecification(
                {
                    "prefect.resource.id": f"{_RUN}*",
                    "prefect.run-count": [str(count) for count in range(1, MOST_RUNS)],
                }
            ),
            match_related=ResourceSpecification(
                {"prefect.resource.id": f"prefect.tag.{RECOVER}", "prefect.resource.role": "tag"}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.SCHEDULED, name="AwaitingRetry", force=False, message="begun again after a crash"
            )
        ],
    )


def tell_of_failures(block: UUID) -> AutomationCore:
    """People hear of runs that failed, and of automations that could not act: Prefect logs those nowhere else."""
    return AutomationCore(
        name="Tell of failures",
        description="Sends failed and crashed runs, and automations that could not act, to a notification block.",
        trigger=EventTrigger(
            expect={f"{_RUN}Failed", f"{_RUN}Crashed", "prefect.automation.action.failed"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=block,
                subject="TinyMLOps: {{ event.event }}",
                body="{{ event.resource.name }}: {{ event.payload | tojson }}",
            )
        ],
    )


def same(one: AutomationCore, other: AutomationCore) -> bool:
    """Whether two automations do the same; what Prefect made up for them does not count."""
    return _bare(one.model_dump(mode="json")) == _bare(other.model_dump(mode="json"))


def _template(text: str) -> dict[str, str]:
    """A parameter that stays text: Prefect would make a number of what looks like one, and fail the run for it."""
    return {"__prefect_kind": "jinja", "template": text}


_MADE_UP = frozenset({"id", "created", "updated", "owner_resource"})
_KEPT = ("name", "description", "enabled", "trigger", "actions")


def _bare(automation: Mapping[str, Any]) -> object:
    return _without_made_up({name: automation.get(name) for name in _KEPT})


def _without_made_up(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _without_made_up(inner) for name, inner in value.items() if name not in _MADE_UP}
    if isinstance(value, Iterable) and not isinstance(value, str):
        inner = [_without_made_up(one) for one in value]
        return sorted(inner, key=repr) if all(isinstance(one, str) for one in inner) else inner
    return value
