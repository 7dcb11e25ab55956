"""What runs when: every deployment as a value, before Prefect is asked.

Times are UTC. A limit of one run at a time holds for each deployment; what comes in between either waits (``ENQUEUE``)
or is dropped because the next one does the same work (``CANCEL_NEW``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tasks.recovery import RECOVER

POOL = "tinymlops"
"""Name of the work pool."""
TIME_ZONE = "UTC"
HEARTBEAT_S = 30
"""How often a run says that it is alive, in seconds: the shortest that Prefect takes."""

Collision = Literal["ENQUEUE", "CANCEL_NEW"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A deployment.

    Attributes:
        flow: Name of the flow, of its file and of the function in it.
        name: Of the deployment.
        what: One sentence for people.
        parameters: That differ from the flow's own defaults.
        cron: When it runs by itself, or None.
        collision: What becomes of a run while another one is under way; None for as many at once as come.
        recover: Whether a run whose worker died is begun again.
        grace_s: How long a run that a worker has taken keeps others away before it begins, in seconds; 60 at least.
    """

    flow: str
    name: str
    what: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    cron: str | None = None
    collision: Collision | None = "ENQUEUE"
    recover: bool = True
    grace_s: int = 300

    @property
    def full_name(self) -> str:
        """As Prefect writes it."""
        return f"{self.flow}/{self.name}"

    @property
    def entrypoint(self) -> str:
        """File and function, below the project's folder."""
        return f"flows/{self.flow}.py:{self.flow}"

    @property
    def tags(self) -> tuple[str, ...]:
        """For choosing runs in the UI, and for the automations."""
        own = ("scheduled",) if self.cron else ()
        return (*own, *((RECOVER,) if self.recover else ()))

    @property
    def job_variables(self) -> dict[str, object]:
        """For every kind of worker."""
        return {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)}}


def plans(workloads: tuple[str, ...]) -> tuple[Plan, ...]:
    """Every deployment.

    Args:
        workloads: Those that are watched and retrained by themselves.
    """
    each = (one for workload in workloads for one in _of_workload(workload))
    return (*BY_HAND, *UPKEEP, *each)


BY_HAND = (
    Plan(flow="build", name="build", what="Train, compress, measure, select and register a workload."),
    # a release is numbered when it begins, and a roll-out pauses for people: neither is begun again by itself
    Plan(flow="release", name="release", what="Publish what the registry holds selected.", recover=False),
    Plan(flow="rollout", name="rollout", what="Roll a release out in stages.", collision=None, recover=False),
    Plan(flow="monitor", name="monitor", what="Look at the windows of a workload."),
    Plan(flow="retrain", name="retrain", what="Retrain a workload: by hand, or for a webhook."),
    Plan(
        flow="retrain",
        name="drift",
        what="Retrain a workload that has drifted; the automation starts it.",
        parameters={"trigger": "drift"},
        collision="CANCEL_NEW",
    ),
)

UPKEEP = (
    Plan(
        flow="ingest",
        name="ingest",
        what="Load telemetry from the inbox into the tables.",
        cron="*/5 * * * *",
        collision="CANCEL_NEW",
    ),
    Plan(
        flow="compact",
        name="compact",
        what="Join small files of the tables, and delete old ones.",
        cron="17 3 * * *",
        collision="CANCEL_NEW",
    ),
    Plan(
        flow="maintain",
        name="maintain",
        what="Offer newcomers their release, and renew signatures.",
        parameters={"garbage": False},
        cron="*/10 * * * *",
        collision="CANCEL_NEW",
    ),
    Plan(
        flow="maintain",
        name="nightly",
        what="The same, and delete what nothing names any more.",
        parameters={"garbage": True},
        cron="37 2 * * *",
    ),
    Plan(
        flow="recover",
        name="recover",
        what="Begin a run again that crashed; the automation starts it.",
        collision=None,
        recover=False,
    ),
    Plan(
        flow="sweep",
        name="sweep",
        what="Find runs that nobody works at any more.",
        cron="*/2 * * * *",
        collision="CANCEL_NEW",
        recover=False,  # the next one does it
        grace_s=60,
    ),
    Plan(flow="settle", name="settle", what="Close the month that is over: invoices.", cron="7 1 1 * *"),
)


def _of_workload(workload: str) -> tuple[Plan, ...]:
    return (
        Plan(
            flow="monitor",
            name=workload,
            what=f"Look at the windows of {workload} every day.",
            parameters={"workload": workload},
            cron="0 4 * * *",
            collision="CANCEL_NEW",
        ),
        Plan(
            flow="retrain",
            name=workload,
            what=f"Retrain {workload} every month.",
            parameters={"workload": workload, "trigger": "schedule", "why": "the first of the month"},
            cron="0 5 1 * *",
            collision="CANCEL_NEW",
        ),
    )
