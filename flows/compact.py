"""Tables stay quick to read and do not grow for ever; what something was learnt from stays readable."""

from __future__ import annotations

from prefect import flow

from tasks.telemetry import compact_tables, delete_old_versions, pinned_versions


@flow(name="compact", flow_run_name="keep {retention_days} days")
def compact(retention_days: float = 90) -> int:
    """Merge small files, and delete those of old versions; how many were deleted.

    Args:
        retention_days: How long any version of a table can be read. What retrainings used is kept for longer.
    """
    compact_tables()
    return delete_old_versions(retention_days, pinned_versions())
