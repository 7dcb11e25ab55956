"""Figures for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tinymlops.fleet import Fleet

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_PHASES_TTL_S = 15.0


class Metrics:
    """What this gateway has done, and how its fleet does.

    Args:
        fleet: Whose devices are counted.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tinymlops_requests_total", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "tinymlops_request_seconds",
            "Time to the end of the answer.",
            ("route",),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._refused = Counter("tinymlops_refused_total", "Requests refused.", ("reason",), registry=self._registry)
        self._webhooks = Counter(
            "tinymlops_webhooks_total", "Webhooks, by fate.", ("outcome",), registry=self._registry
        )
        self.under_way = Gauge("tinymlops_requests_under_way", "Requests being answered.", registry=self._registry)
        self._registry.register(_Phases(fleet))
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer. ``route`` is a template, never what somebody typed."""
        count, times = self._of(method, route, status)
        count.inc()
        times.observe(seconds)

    def _of(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        # Looking labels up costs more than counting; methods, routes and statuses are few.
        found = self._known.get((method, route, status))
        if found is None:
            found = self._requests.labels(method, route, str(status)), self._seconds.labels(route)
            self._known[method, route, status] = found
        return found

    def refused(self, reason: str) -> None:
        """Count a refusal."""
        self._refused.labels(reason).inc()

    def webhook(self, outcome: str) -> None:
        """Count what became of a webhook: accepted, repeated, started, put off or failed."""
        self._webhooks.labels(outcome).inc()

    def show(self, figures: Collector) -> None:
        """Show others' figures too."""
        self._registry.register(figures)

    def text(self) -> bytes:
        """All figures in Prometheus's text format. Asks the database."""
        return generate_latest(self._registry)


class _Phases(Collector):
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._read_s = -_PHASES_TTL_S
        self._family = self._empty()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield self._empty()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if time.monotonic() - self._read_s >= _PHASES_TTL_S:
            family = self._empty()
            for (workload, version, phase), count in sorted(self._fleet.phases().items()):
                family.add_metric([workload, str(version), phase], count)
            self._family, self._read_s = family, time.monotonic()
        yield self._family

    @staticmethod
    def _empty() -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "tinymlops_devices", "Devices by what they last said.", labels=("workload", "version", "phase")
        )
