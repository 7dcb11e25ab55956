"""What each look at a workload found, one after the other: `MonitorReport`s in a store."""

from __future__ import annotations

import msgspec

from tinymlops.drift import MonitorReport
from tinymlops.store import ObjectStore
from tinymlops.wire.encoding import decode, encode

_FOLDER = "monitoring"
_ENDING = ".json"


class MonitorRecords:
    """The reports of all looks.

    Args:
        store: The telemetry store, which no device can read.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def keep(self, report: MonitorReport) -> None:
        """Keep a report; one of the same end takes the place of an earlier one."""
        self._store.put(_key(report), encode(report))

    def keep_with_page(self, report: MonitorReport, page: bytes) -> MonitorReport:
        """Keep a report and, before it, the HTML page that goes with it, if there is one; the report names the page."""
        if page:
            key = f"{_key(report).removesuffix(_ENDING)}.html"
            self._store.put(key, page)
            report = msgspec.structs.replace(report, report=key)
        self.keep(report)
        return report

    def newest(self, workload: str) -> MonitorReport | None:
        """The report of the latest windows, or None before the first look."""
        return next(iter(self.history(workload, most=1)), None)

    def history(self, workload: str, most: int = 90) -> tuple[MonitorReport, ...]:
        """The last ``most`` reports, oldest first.

        Raises:
            FormatError: One is damaged, or of another version of this software.
        """
        keys = sorted(one.key for one in self._store.list(f"{_FOLDER}/{workload}/") if one.key.endswith(_ENDING))
        return tuple(decode(self._store.get(key), MonitorReport, what=key) for key in keys[-most:])

    def workloads(self) -> tuple[str, ...]:
        """Workloads that somebody looked at, sorted."""
        return tuple(sorted({one.key.split("/")[1] for one in self._store.list(f"{_FOLDER}/")}))


def _key(report: MonitorReport) -> str:
    """Named by the end of its windows in whole seconds, 12 digits, so that keys sort as time goes."""
    return f"{_FOLDER}/{report.workload}/{int(report.ended_s):012d}{_ENDING}"
