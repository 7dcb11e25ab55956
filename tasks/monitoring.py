"""Look at the windows of a workload, draw what was found, keep it, show it, and tell who waits for it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.runtime import flow_run

from tasks.progress import StepProgress
from tinymlops.drift import MonitorReport, Rules
from tinymlops.monitoring.drawing import Drawn, draw
from tinymlops.monitoring.looking import look
from tinymlops.monitoring.publishing import Published, publish_look
from tinymlops.monitoring.records import MonitorRecords
from tinymlops.monitoring.references import ReferenceFinder
from tinymlops.monitoring.spans import Span, span_of
from tinymlops.monitoring.summary import alarm, effect_of
from tinymlops.monitoring.tables import markdown
from tinymlops.premises import Premises
from tinymlops.registry import RegistrySettings

EVENT = "drift.detected"
MLFLOW_PAGES = "TINYMLOPS_MLFLOW_PAGES"
"""Names MLflow's address for browsers, where that is another than the one that flows use."""


def choose_span(days: float, ended_s: float | None) -> Span:
    """The days before a moment; unless one is given, before the run was due: a run that is begun again looks again."""
    due = flow_run.scheduled_start_time
    now_s = due.timestamp() if due is not None else time.time()
    return span_of(days, float(int(now_s if ended_s is None else ended_s)))


@task(task_run_name="look at {workload}", tags=["monitoring"], retries=2, retry_delay_seconds=10, cache_policy=NO_CACHE)
def judge(workload: str, span: Span, rules: Rules) -> MonitorReport:
    """Sum the windows of a span and judge every release and group."""
    premises = Premises.from_environment()
    with StepProgress(f"windows of {workload}") as progress:
        report = look(
            premises.tables(),
            ReferenceFinder(premises, workload),
            workload,
            span,
            rules=rules,
            made_s=time.time(),
            on_progress=lambda done, total: progress(done, total, f"{done} of {total} slices"),
        )
        progress.say(f"{len(report.verdicts)} verdicts")
    return report


@task(task_run_name="draw", tags=["monitoring"], cache_policy=NO_CACHE)
def draw_look(report: MonitorReport, span: Span, rules: Rules) -> Drawn:
    """Draw drift over time, and Evidently's page."""
    premises = Premises.from_environment()
    with StepProgress("page and picture") as progress:
        drawn = draw(report, span, rules, premises, MonitorRecords(premises.telemetry_store()).history(report.workload))
        progress.say(drawn.words)
    return drawn


@task(task_run_name="keep", tags=["monitoring"], retries=2, retry_delay_seconds=10, cache_policy=NO_CACHE)
def keep_look(report: MonitorReport, drawn: Drawn) -> MonitorReport:
    """Keep the page, then the record that names it."""
    return MonitorRecords(Premises.from_environment().telemetry_store()).keep_with_page(report, drawn.page)


@task(task_run_name="publish", tags=["mlflow"], retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def publish(drawn: Drawn) -> Published | None:
    """Add the look to MLflow; nothing where nothing may be shown."""
    if not drawn.verdicts:
        return None
    return publish_look(drawn.verdicts, drawn.files, RegistrySettings.from_environment())


def show_look(report: MonitorReport, drawn: Drawn, published: Published | None, rules: Rules) -> None:
    """Put verdicts, picture and the way to the page into the Prefect UI."""
    create_markdown_artifact(
        markdown(report, rules.k, drawn.picture),
        key=f"{report.workload}-drift",
        description=f"Verdicts on {report.workload}, and drift over time",
    )
    address = _address(report, published)
    if address:
        create_link_artifact(
            address, link_text="Evidently's page", key=f"{report.workload}-drift-page", description=drawn.words
        )


def tell(report: MonitorReport, rules: Rules) -> bool:
    """Emit ``drift.detected`` if there is a verdict to act on; whether there is one. The same look is one event."""
    found = alarm(report, rules.k)
    if found is None:
        return False
    emit_event(
        event=EVENT,
        resource={
            "prefect.resource.id": f"tinymlops.workload.{report.workload}",
            "prefect.resource.name": report.workload,
        },
        payload={
            "workload": found.workload,
            "release": found.release,
            "group": found.group,
            "effect": effect_of(found),
            "features": [one.feature for one in found.features if one.effect >= rules.watch],
            "why": f"{found.group}: {found.why}",
            "report": report.report,
        },
        id=uuid5(NAMESPACE_URL, f"{EVENT}/{report.workload}/{found.release}/{report.ended_s}"),
    )
    return True


def _address(report: MonitorReport, published: Published | None) -> str | None:
    """Where people find the page: on MLflow's pages if there are any, else in the telemetry's folder."""
    pages = os.environ.get(MLFLOW_PAGES)
    if published is not None and (url := published.url(pages)) is not None:
        return url
    store = Premises.from_environment().telemetry_store().address.removeprefix("dir:")
    if not report.report or "://" in store:
        return None
    return (Path(store) / report.report).absolute().as_uri()
