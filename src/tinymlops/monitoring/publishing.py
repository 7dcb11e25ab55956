"""Looks in MLflow: one run for each release, its effects as curves over time, the pages and pictures as files."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tinymlops.drift import Verdict
from tinymlops.monitoring.summary import effect_of
from tinymlops.registry import RegistrySettings
from tinymlops.registry.connection import connect, plain_errors

_TAG = "tinymlops.monitoring"
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tells MLflow's pages that this is no evaluation of prompts."""
_DAY_S = 86_400


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """Where a look is in MLflow.

    Attributes:
        experiment_id: Of all looks at the workload.
        run_id: Of those at the release.
        place: Of what to look at first, among the run's files.
        tracking_uri: Of MLflow.
    """

    experiment_id: str
    run_id: str
    place: str
    tracking_uri: str

    def url(self, pages: str | None = None) -> str | None:
        """Of the look on MLflow's pages; None where no server shows them.

        Args:
            pages: MLflow's address for browsers; the tracking address if not given.
        """
        root = pages or self.tracking_uri
        if not root.startswith(("http://", "https://")):
            return None
        return f"{root.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}/artifacts/{self.place}"


def publish_look(verdicts: Sequence[Verdict], files: Mapping[str, bytes], settings: RegistrySettings) -> Published:
    """Add a look to its release's run; the same look again changes nothing.

    Args:
        verdicts: That may be shown, of one release, the one to lead with first.
        files: Name → content, what to look at first before the others.
        settings: Where MLflow is.

    Raises:
        StorageError: MLflow can't be written.
    """
    first = verdicts[0]
    with plain_errors(settings.tracking_uri):
        client = connect(settings)
        experiment = _experiment(client, f"{first.workload}-monitoring", settings)
        run_id = _run(client, experiment, first)
        _log_effects(client, run_id, verdicts)
        folder = f"looks/{datetime.fromtimestamp(first.ended_s, UTC):%Y-%m-%dT%H%M%S}"
        with tempfile.TemporaryDirectory(prefix="tinymlops-monitor-") as scratch:
            for name, content in files.items():
                (Path(scratch) / name).write_bytes(content)
            client.log_artifacts(run_id, scratch, folder)
    place = f"{folder}/{next(iter(files))}"
    return Published(experiment_id=experiment, run_id=run_id, place=place, tracking_uri=settings.tracking_uri)


def _experiment(client: Any, name: str, settings: RegistrySettings) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    root = settings.artifact_root
    place = f"{root}/{name}" if root else None
    return str(client.create_experiment(name, artifact_location=place, tags=_KIND))


def _run(client: Any, experiment: str, verdict: Verdict) -> str:
    key = f"release {verdict.release}"
    found = client.search_runs([experiment], f"tags.`{_TAG}` = '{key}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    note = f"Drift of release {verdict.release} of {verdict.workload}: effects over time, and the page of each look."
    run = client.create_run(experiment, tags={_TAG: key, "mlflow.runName": key, "mlflow.note.content": note})
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _log_effects(client: Any, run_id: str, verdicts: Sequence[Verdict]) -> None:
    """One point a look: the step is the day, so that a curve shows time."""
    from mlflow.entities import Metric

    first = verdicts[0]
    values = {f"effect/{_name(one.feature)}": one.effect for one in first.features}
    values |= {f"group/{_name(one.group)}": effect_of(one) for one in verdicts}
    if first.performance is not None:
        values["performance"] = first.performance
    moment_ms, step = int(first.ended_s * 1000), int(first.ended_s // _DAY_S)
    client.log_batch(run_id, metrics=[Metric(name, value, moment_ms, step) for name, value in values.items()])


def _name(text: str) -> str:
    """``text`` with what MLflow does not take in a metric's name made a dash."""
    return re.sub(r"[^\w\-. ]", "-", text, flags=re.ASCII)
