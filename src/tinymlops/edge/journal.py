"""The last transitions, for people. Nothing relies on it, so it costs no wait for the disk and may be lost."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

from tinymlops.edge.storage import Folder
from tinymlops.edge.transitions import Transition
from tinymlops.errors import StorageError
from tinymlops.wire.fields import one_line

_FILE, _OLD = "journal", "journal.old"
_MOST_BYTES = 64 * 1024
_QUIET = frozenset(
    {
        Transition.PACKAGE_PARTIAL, Transition.OBSERVATION_APPENDED, Transition.RECEIPT_APPENDED,
        Transition.COUNTERS_RESERVED, Transition.COUNTERS_SAVED, Transition.HEALTH_QUEUED, Transition.HEALTH_SENT,
        Transition.HEALTH_ACKNOWLEDGED, Transition.SPOOL_SENT, Transition.SPOOL_ACKNOWLEDGED, Transition.SPOOL_PRUNED,
        Transition.METADATA_REFRESHED, Transition.TIMESTAMP_SAVED, Transition.SNAPSHOT_SAVED,
        Transition.TARGETS_SAVED, Transition.TIME_ASKED, Transition.TIME_VERIFIED,
        Transition.QUOTA_RESERVED, Transition.RECORD_CLOSED, Transition.CHECKPOINT_MADE, Transition.USAGE_SENT,
        Transition.USAGE_ACKNOWLEDGED, Transition.RECORDS_PRUNED, Transition.COUNTS_SAVED, Transition.CONSENT_QUEUED,
        Transition.PRIVACY_SPENT, Transition.WINDOW_CLOSED, Transition.WINDOW_QUEUED,
    }
)  # fmt: skip
"""What happens at every round, or at every query."""


def is_news(transition: Transition) -> bool:
    """Whether people want to hear of a transition."""
    return transition not in _QUIET


def note(folder: Folder, now_s: float, transition: Transition, about: str) -> None:
    """Add a line about a transition, unless it is one of those that happen all the time."""
    if not is_news(transition):
        return
    line = f"{datetime.fromtimestamp(now_s, UTC):%Y-%m-%d %H:%M:%S} {transition}: {one_line(about)}\n"
    with contextlib.suppress(StorageError):
        if (folder.size(_FILE) or 0) > _MOST_BYTES:
            folder.move(_FILE, _OLD)
        folder.append(_FILE, line.encode(), durable=False)


def last(folder: Folder, count: int) -> list[str]:
    """The last lines, oldest first."""
    content = (folder.read(_OLD) or b"") + (folder.read(_FILE) or b"")
    return content.decode("utf-8", "replace").splitlines()[-count:]
