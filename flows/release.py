"""The selected variants leave the registry: described, sealed, signed, published."""

from __future__ import annotations

from prefect import flow

from tasks.releasing import (
    choose_variants,
    describe_variant,
    next_version,
    publish_release,
    read_registry,
    refuse_unchanged,
    show_release,
)
from tinymlops.releases.records import ReleaseRecord


@flow(name="release", flow_run_name="{workload}")
def release(
    workload: str = "activity", devices: list[str] | None = None, why: str = "selected", metered: bool = False
) -> ReleaseRecord:
    """Release what the registry holds selected for all devices, unless some are named. Needs the targets key.

    With ``metered``, devices answer only what a voucher pays for.
    """
    registered = read_registry(workload, devices)
    candidates = choose_variants(registered)
    if not metered:  # the same variants may become metered ones
        refuse_unchanged(registered.workload, candidates)
    version = next_version(registered.workload)
    manifests = [describe_variant(workload, candidate, version, metered=metered) for candidate in candidates]
    record = publish_release(manifests, candidates, registered, why)
    show_release(record)
    return record
