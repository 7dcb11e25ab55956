"""Write what a build found: files for people and programs, artifacts for the Prefect UI."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tasks.training import WorkloadFacts
from tinymlops.compression.variants import Variant
from tinymlops.devices.profile import DeviceProfile
from tinymlops.files import write_atomic
from tinymlops.measurement import Measurement
from tinymlops.registry import Registration
from tinymlops.reporting import BuildReport, RecipeFailure, measurements_json, selection_json
from tinymlops.reporting.html import report_html
from tinymlops.reporting.plots import pareto_png
from tinymlops.reporting.tables import markdown_tables
from tinymlops.selection import Selection
from tinymlops.training import Reference, TrainedNetwork

_VERSIONED = (
    "ai-edge-litert",
    "ai-edge-quantizer",
    "tensorflow",
    "tensorflow-model-optimization",
    "tf-keras",
    "tinymlops",
)


def assemble(  # noqa: PLR0913 - one value out of all that was found
    workload: WorkloadFacts,
    trained: TrainedNetwork,
    reference: Reference,
    measurements: Iterable[Measurement],
    selections: tuple[Selection, ...],
    profiles: tuple[DeviceProfile, ...],
    *,
    failures: tuple[RecipeFailure, ...] = (),
    notes: tuple[str, ...] = (),
) -> BuildReport:
    """All that was found, as one value."""
    train, validation, test = workload.rows
    return BuildReport(
        workload=workload.name,
        title=workload.title or workload.name,
        metric=workload.metric,
        higher_is_better=workload.higher_is_better,
        labels=workload.labels,
        rows_train=train,
        rows_validation=validation,
        rows_test=test,
        seed=workload.seed,
        float_scores=trained.scores,
        reference_name=reference.name,
        reference_scores=reference.scores,
        measurements=tuple(measurements),
        selections=selections,
        profiles=profiles,
        failures=failures,
        notes=notes,
        versions={name: version(name) for name in _VERSIONED},
        command=f"tinymlops build {workload.reference} --seed {workload.seed}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        credit=workload.credit,
    )


@task(tags=["report"])
def write_report(report: BuildReport, variants: tuple[Variant, ...], out: str) -> dict[str, Path]:
    """Write variants, JSON files, picture and page; returns name → path of all but the variants."""
    folder = Path(out).resolve()
    for variant in variants:
        write_atomic(folder / "variants" / f"{variant.facts.recipe}.tflite", variant.tflite)
    picture = pareto_png(report)
    contents = {
        "measurements.json": measurements_json(report),
        "selection.json": selection_json(report),
        "pareto.png": picture,
        "report.html": report_html(report, picture),
    }
    for name, content in contents.items():
        write_atomic(folder / name, content)
    return {name: folder / name for name in contents}


@task(tags=["report"])
def publish(report: BuildReport, files: dict[str, Path], registration: Registration) -> None:
    """Show the tables, the selection and where things are in the Prefect UI."""
    key = report.workload
    create_markdown_artifact(markdown_tables(report), key=f"{key}-report", description=f"{report.title}: all figures")
    rows = [
        {"device": one.device, "variant": one.recipe or "none", "why": one.reason, "runner-up": one.runner_up or ""}
        for one in report.selections
    ]
    create_table_artifact(rows, key=f"{key}-selection", description="The variant selected for each device")
    create_link_artifact(
        files["report.html"].as_uri(),
        link_text="report.html",
        key=f"{key}-page",
        description=f"Offline page; MLflow model {registration.model}, run {registration.run_id}",
    )
