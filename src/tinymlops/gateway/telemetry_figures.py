"""Figures of telemetry for Prometheus: what waits here, and what all loaders have made of the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tinymlops.gateway.inbox import SharedInbox
from tinymlops.store import ObjectStore
from tinymlops.telemetry.totals import totals
from tinymlops.telemetry.values import Loaded

_TTL_S = 15.0


class TelemetryFigures(Collector):
    """Asks the inbox and, every fifteen seconds at most, the store.

    Args:
        store: Of telemetry.
        inbox: Of this gateway.
    """

    def __init__(self, store: ObjectStore, inbox: SharedInbox) -> None:
        self._store = store
        self._inbox = inbox
        self._loaded = Loaded()
        self._read_s = -_TTL_S

    def describe(self) -> Iterator[Metric]:
        """Names of the families; nothing is read for it."""
        yield from self._families(Loaded(), 0)

    def collect(self) -> Iterator[Metric]:
        """The families with their figures."""
        if time.monotonic() - self._read_s >= _TTL_S:
            self._loaded, self._read_s = totals(self._store), time.monotonic()
        yield from self._families(self._loaded, self._inbox.waiting_bytes)

    @staticmethod
    def _families(loaded: Loaded, waiting: int) -> Iterator[Metric]:
        yield GaugeMetricFamily("tinymlops_telemetry_waiting_bytes", "Received and not durable yet.", value=waiting)
        rows = CounterMetricFamily("tinymlops_telemetry_loaded", "Loaded into tables.", labels=("what",))
        for what, number in loaded.numbers.items():
            rows.add_metric([what], number)
        yield rows
        refused = CounterMetricFamily(
            "tinymlops_telemetry_refused", "Records that are not kept anywhere.", labels=("reason",)
        )
        for reason, number in sorted(loaded.refused.items()):
            refused.add_metric([reason], number)
        yield refused
