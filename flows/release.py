"""The selected variants leave the registry: described, sealed, signed, published."""

from __future__ import annotations

from prefect import flow

from tasks.releasing import (
    choose_variants,
    decide_metered,
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
    workload: str = "activity", devices: list[str] | None = None, why: str = "selected", metered: bool | None = None
) -> ReleaseRecord:
    """Release what the registry holds selected for all devices, unless some are named. Needs the targets key.

    Of a ``metered`` release, devices answer only what a voucher pays for. Unless it is said, the release is what the
    last one was, so that a model which is sold does not become free by being trained again.
    """
    registered = read_registry(workload, devices)
    candidates = choose_variants(registered)
    paid = decide_metered(registered.workload, metered)
    refuse_unchanged(registered.workload, candidates, metered=paid)
    version = next_version(registered.workload)
    manifests = [describe_variant(workload, candidate, version, metered=paid) for candidate in candidates]
    record = publish_release(manifests, candidates, registered, why)
    show_release(record)
    return record
