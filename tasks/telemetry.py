"""From the inbox into tables, and the upkeep of the tables."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.progress import StepProgress
from tinymlops.premises import Premises
from tinymlops.retraining.records import RetrainingRecords
from tinymlops.telemetry.loading import Loader
from tinymlops.telemetry.schemas import TableName
from tinymlops.telemetry.values import Loaded


@task(task_run_name="load the inbox", tags=["telemetry"], retries=3, retry_delay_seconds=10)
def load_inbox() -> Loaded:
    """Load all that waits; run again after a failure, it goes on where it was."""
    premises = Premises.from_environment()
    with StepProgress("inbox") as progress, premises.fleet() as fleet:
        loader = Loader(premises.telemetry_store(), fleet, premises.tables())
        loaded = loader.load(lambda done, total: progress(done, total, f"{done} of {total} segments"))
        progress.say(f"{loaded.windows:,} windows, {loaded.samples:,} samples")
    return loaded


def pinned_versions() -> tuple[int, ...]:
    """Versions of the table of samples that something was learnt from: they stay readable."""
    records = RetrainingRecords(Premises.from_environment().telemetry_store())
    history = (one for workload in records.workloads() for one in records.history(workload, most=10_000))
    return tuple(sorted({one.table_version for one in history}))


@task(task_run_name="compact the tables", tags=["telemetry"], retries=2, retry_delay_seconds=10)
def compact_tables() -> None:
    """Write each day's small files together."""
    with StepProgress("tables"):
        Premises.from_environment().tables().compact()


@task(task_run_name="delete old versions", tags=["telemetry"], retries=2, retry_delay_seconds=10)
def delete_old_versions(retention_days: float, pinned: Sequence[int]) -> int:
    """Delete files that only versions need which are older than that and not pinned; how many."""
    with StepProgress("old versions") as progress:
        tables = Premises.from_environment().tables()
        deleted = tables.vacuum(retention_days=retention_days, keep_versions={TableName.SAMPLES: pinned})
        progress.say(f"{deleted} files deleted")
    return deleted


def show_loaded(loaded: Loaded) -> None:
    """Put what a load did on a page."""
    rows = [*loaded.numbers.items(), *((f"refused: {reason}", count) for reason, count in loaded.refused.items())]
    lines = [
        "# Inbox",
        "",
        "| what | how many |",
        "| --- | ---: |",
        *(f"| {what} | {count:,} |" for what, count in rows),
    ]
    create_markdown_artifact("\n".join(lines), key="ingest", description="What came out of the inbox")
