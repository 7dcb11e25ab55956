"""Every step after which an agent's state is another than before, by name.

An agent may be killed at any of them and goes on from there. The observer of an agent is told right after each, which
is how tests and the fake fleet kill it there.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Transition(StrEnum):
    """What has just happened; docs/agent.md says what state each leaves behind."""

    KEY_SAVED = "key saved"
    ENROLMENT_ANSWERED = "enrolment answered"
    ENROLMENT_CHECKED = "enrolment checked against the code"
    ENROLMENT_SAVED = "enrolment saved"
    TIME_ASKED = "time asked"
    TIME_VERIFIED = "time verified"
    CLOCK_ADVANCED = "clock advanced"
    ROOT_SAVED = "root metadata saved"
    TIMESTAMP_SAVED = "timestamp metadata saved"
    SNAPSHOT_SAVED = "snapshot metadata saved"
    TARGETS_SAVED = "targets metadata saved"
    METADATA_REFRESHED = "metadata refreshed"
    ASSIGNMENT_FETCHED = "assignment fetched"
    ASSIGNMENT_VERIFIED = "assignment verified"
    ASSIGNMENT_SAVED = "assignment saved"
    INSTALL_PLANNED = "install planned"
    TRIAL_ABANDONED = "trial abandoned for a newer assignment"
    FALLBACK_FORGOTTEN = "previous release given up"
    SLOT_CLEARED = "slot cleared"
    MANIFEST_FETCHED = "manifest fetched"
    MANIFEST_VERIFIED = "manifest verified"
    MANIFEST_SAVED = "manifest saved"
    PACKAGE_STARTED = "package started"
    PACKAGE_PARTIAL = "package partly saved"
    PACKAGE_RESUMED = "package resumed"
    PACKAGE_FETCHED = "package fetched"
    PACKAGE_VERIFIED = "package verified"
    PACKAGE_UNSEALED = "package unsealed in memory"
    PACKAGE_REJECTED = "package given up for another one"
    DELTA_APPLIED = "difference applied in memory"
    RESEALED = "sealed again for this device"
    PACKAGE_SAVED = "package saved in slot"
    SELF_TEST_COUNTED = "self-test counted"
    SELF_TEST_STARTED = "self-test started"
    SELF_TEST_PASSED = "self-test passed"
    SELF_TEST_FAILED = "self-test failed"
    RECORD_SIGNED = "slot record signed"
    RELEASE_FAILED = "release marked as failed"
    DOWNLOADS_PRUNED = "downloads pruned"
    SWITCHED = "switched to trial"
    TRIAL_STARTED = "start in trial counted"
    MODEL_LOADED = "model loaded"
    TRIAL_CONFIRMED = "trial confirmed"
    FELL_BACK = "fell back"
    COUNTERS_RESERVED = "counters reserved"
    COUNTERS_SAVED = "counters saved"
    HEALTH_QUEUED = "health queued"
    HEALTH_SENT = "health sent"
    HEALTH_ACKNOWLEDGED = "health acknowledged"
    OBSERVATION_APPENDED = "observation appended"
    OBSERVATIONS_DROPPED = "oldest observations dropped"
    OBSERVATIONS_PURGED = "observations taken back"
    RECEIPT_APPENDED = "receipt appended"
    SPOOL_SENT = "spool sent"
    SPOOL_ACKNOWLEDGED = "spool acknowledged"
    SPOOL_PRUNED = "spool pruned"
    VOUCHER_SAVED = "voucher saved"
    VOUCHER_DAMAGED = "voucher is damaged"
    VOUCHER_STOPPED = "voucher pays for nothing more"
    QUOTA_RESERVED = "quota reserved"
    RECORD_CLOSED = "record of use closed"
    CHECKPOINT_MADE = "checkpoint made"
    USAGE_SENT = "use reported"
    USAGE_ACKNOWLEDGED = "use acknowledged"
    RECORDS_PRUNED = "records of use pruned"
    CONSENT_SAVED = "consent saved"
    CONSENT_QUEUED = "consent queued"
    CONSENT_APPLIED = "consent applied"
    COUNTS_SAVED = "counts of observations saved"
    PRIVACY_SPENT = "privacy spent"
    WINDOW_CLOSED = "window closed"
    WINDOW_QUEUED = "window queued"
    STOPPED = "stopped"


Observer = Callable[[Transition, str], None]
"""Told of each transition right after it, with a few words about what it was about."""


def ignore(transition: Transition, about: str) -> None:
    """The observer of an agent that nobody watches."""
    del transition, about
