"""What people agreed to and how much of their privacy is spent, over all devices: never about fewer than `FEWEST`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from tinymlops.telemetry.tables import Tables

FEWEST = 20
"""Devices that a figure has to rest on."""
SPAN_DAYS = 30
_TTL_S = 300.0


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """The summary.

    Attributes:
        devices: That ever gave a consent; None for fewer than `FEWEST`.
        purposes: Purpose → devices that agree to it now; None likewise.
        reporting: Devices that spent something in the last `SPAN_DAYS`; None likewise.
        median: Of what they spent, ε in all; None likewise.
        most: What the tenth that spent most spent at least; None likewise.
    """

    devices: int | None = None
    purposes: dict[str, int | None] = {}
    reporting: int | None = None
    median: float | None = None
    most: float | None = None


class Agreements:
    """Reads the tables, every five minutes at most.

    Args:
        tables: Of telemetry.
        clock: Seconds since 1970.
    """

    def __init__(self, tables: Tables, clock: Callable[[], float]) -> None:
        self._tables, self._clock = tables, clock
        self._lock = threading.Lock()
        self._known: Agreement | None = None
        self._read_s = 0.0

    def now(self) -> Agreement:
        """The summary; raises `StorageError` where the tables can't be read."""
        with self._lock:
            if self._known is None or time.monotonic() - self._read_s > _TTL_S:
                self._known, self._read_s = summary(self._tables, self._clock()), time.monotonic()
            return self._known


def summary(tables: Tables, now_s: float) -> Agreement:
    """The summary of the tables as they are."""
    import polars as pl  # half a second, and only this asks

    from tinymlops.telemetry.tables import day_of

    newest = (
        tables.scan("consents")
        .select("device_id", "sequence", "purposes", "until_s")
        .sort("sequence")
        .unique("device_id", keep="last")
        .collect()
    )
    valid = newest.filter(pl.col("until_s") > now_s).explode("purposes").drop_nulls("purposes")
    agreed = {str(purpose): int(count) for purpose, count in valid["purposes"].value_counts().iter_rows()}
    spent = (
        tables.scan("windows")
        .filter(pl.col("date") >= day_of(now_s - SPAN_DAYS * 86_400), pl.col("epsilon") > 0)
        .select("device_id", spent=pl.col("epsilon") * pl.col("histograms").list.len())
        .group_by("device_id")
        .agg(pl.col("spent").sum())
        .collect()["spent"]
    )
    enough = len(spent) >= FEWEST
    return Agreement(
        devices=_enough(len(newest)),
        purposes={purpose: _enough(count) for purpose, count in sorted(agreed.items())},
        reporting=_enough(len(spent)),
        median=_number(spent.quantile(0.5)) if enough else None,
        most=_number(spent.quantile(0.9)) if enough else None,
    )


def _enough(count: int) -> int | None:
    return count if count >= FEWEST else None


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
