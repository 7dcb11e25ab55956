"""The tables of windows, samples and consents: appended to once, read as they are or as they were.

Each lies under ``tables/<name>`` of its address and is partitioned by the UTC day that its rows tell of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from tinymlops.telemetry.delta import Delta
from tinymlops.telemetry.schemas import TableName

_DAY_H = 24
_LAST_S = 253_402_300_799.0
"""The year 9999 ends: calendars stop there."""


class Tables:
    """All tables of one place. Nothing is opened before it is asked for; every method is safe to call at any time.

    Args:
        address: A folder, ``dir:/path`` or ``s3://bucket/prefix``: `Premises.telemetry`.

    Every method raises ``StorageError`` for tables that can't be read or written. A frame reads when it is collected:
    of a version that `vacuum` has deleted, that fails with ``FileNotFoundError``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._tables = {name: Delta(f"{address.rstrip('/')}/tables/{name}", name) for name in TableName}

    def append(self, name: TableName, rows: Any) -> int:
        """Append rows that are not there yet, in one commit; how many those were.

        Args:
            name: Of the table.
            rows: Anything that speaks Arrow (a `pyarrow.Table`, a Polars frame). Columns that are missing become null.
        """
        table = pa.table(rows)
        return self._tables[name].append(table) if table.num_rows else 0

    def append_windows(self, rows: Any) -> int:
        """`append` to the windows; `tinymlops.telemetry.rows.window_rows` makes the rows."""
        return self.append(TableName.WINDOWS, rows)

    def append_samples(self, rows: Any) -> int:
        """`append` to the samples; `tinymlops.telemetry.rows.sample_rows` makes the rows."""
        return self.append(TableName.SAMPLES, rows)

    def windows(
        self, workload: str, *, began_s: float, ended_s: float, release: int | None = None, version: int | None = None
    ) -> pl.LazyFrame:
        """Windows of a workload that ended in a span of time.

        Args:
            workload: Which task.
            began_s: They ended after this, in seconds since 1970.
            ended_s: They ended then or before.
            release: Only of this one.
            version: Of the table; the newest unless given.
        """
        frame = self.scan(TableName.WINDOWS, version).filter(
            _days(began_s, ended_s),
            pl.col("workload") == workload,
            pl.col("ended_s") > began_s,
            pl.col("ended_s") <= ended_s,
        )
        return frame if release is None else frame.filter(pl.col("release") == release)

    def samples(
        self,
        workload: str,
        *,
        began_s: float | None = None,
        ended_s: float | None = None,
        version: int | None = None,
    ) -> pl.LazyFrame:
        """Samples of a workload, of a span of time where one is given.

        Args:
            workload: Which task.
            began_s: They were taken after this, in seconds since 1970.
            ended_s: They were taken then or before.
            version: Of the table; the newest unless given.
        """
        frame = self.scan(TableName.SAMPLES, version).filter(_days(began_s, ended_s), pl.col("workload") == workload)
        if began_s is not None:
            frame = frame.filter(pl.col("at_s") > began_s)
        return frame if ended_s is None else frame.filter(pl.col("at_s") <= ended_s)

    def scan(self, name: str, version: int | None = None) -> pl.LazyFrame:
        """All rows of a table, with the columns of today."""
        return self._tables[TableName(name)].scan(version)

    def version(self, name: str) -> int:
        """Of a table as it is now: what is read at this version stays the same for as long as it is kept."""
        return self._tables[TableName(name)].version()

    def compact(self) -> None:
        """Write small files together. No row changes, and older versions stay readable."""
        for table in self._tables.values():
            table.compact()

    def vacuum(self, *, retention_days: float = 90, keep_versions: Mapping[str, Sequence[int]] | None = None) -> int:
        """Delete files of versions that are older than that; how many.

        Args:
            retention_days: How long any version can be read.
            keep_versions: Table → versions that stay readable for longer, because something was learnt from them.
        """
        hours = round(retention_days * _DAY_H)
        kept = keep_versions or {}
        return sum(
            table.vacuum(retention_hours=hours, keep_versions=kept.get(name, ()))
            for name, table in self._tables.items()
        )


def day_of(at_s: float) -> str:
    """The UTC day of a moment, ``YYYY-MM-DD``."""
    return datetime.fromtimestamp(min(max(at_s, 0.0), _LAST_S), UTC).date().isoformat()


def _days(began_s: float | None, ended_s: float | None) -> pl.Expr:
    """Of the partitions that can hold such rows: the others are not even opened."""
    day, chosen = pl.col("date"), pl.lit(True)
    if began_s is not None:
        chosen &= day >= day_of(began_s)
    if ended_s is not None:
        chosen &= day <= day_of(ended_s)
    return chosen
