"""What the routes work with, put together in one place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from tinymlops.fleet import Fleet
from tinymlops.gateway.admissions import Admissions
from tinymlops.gateway.authentication import Authenticator
from tinymlops.gateway.bodies import Bodies
from tinymlops.gateway.dispatching import Dispatcher
from tinymlops.gateway.files import TIMESTAMP, Files, metadata_key
from tinymlops.gateway.inbox import SharedInbox
from tinymlops.gateway.keys import GatewayKey
from tinymlops.gateway.metrics import Metrics
from tinymlops.gateway.prefect_api import PrefectAPI
from tinymlops.gateway.rate_limits import RateLimiter
from tinymlops.gateway.settings import GatewaySettings
from tinymlops.gateway.telemetry_figures import TelemetryFigures
from tinymlops.store import NotFoundError, ObjectStore
from tinymlops.telemetry.inbox import Inbox

_THREADS = 16
_WELL_TTL_S = 1.0

T = TypeVar("T")


class Wellbeing(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ``/healthz``.

    Attributes:
        status: ``"ok"``; everything else is an error.
        has_repository: Whether the store holds signed metadata yet.
    """

    status: str = "ok"
    has_repository: bool


class Gateway:
    """The parts of a gateway.

    Args:
        settings: How it behaves.
        fleet: Record of the devices.
        store: Holds the repository.
        key: Signs the time.
        clock: Seconds since 1970.
        telemetry: Takes telemetry.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        fleet: Fleet,
        store: ObjectStore,
        key: GatewayKey,
        clock: Callable[[], float],
        telemetry: ObjectStore,
    ) -> None:
        self.settings = settings
        self.fleet = fleet
        self.store = store
        self.key = key
        self.clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="gateway")
        self.admissions = Admissions(fleet, clock, settings.most_in_a_commit)
        self.metrics = Metrics(fleet)
        self.inbox = SharedInbox(Inbox(telemetry, fleet, clock), settings)
        self.metrics.show(TelemetryFigures(telemetry, self.inbox))
        self.files = Files(
            store, self._threads, cache_bytes=settings.cache_bytes, timestamp_ttl_s=settings.timestamp_ttl_s
        )
        self.bodies = Bodies(settings.bodies_bytes, settings.body_timeout_s)
        self.rates = RateLimiter(settings.rates, clock)
        self.authenticator = Authenticator(
            fleet=fleet,
            admissions=self.admissions,
            bodies=self.bodies,
            rates=self.rates,
            clock=clock,
            threads=self._threads,
        )
        self.dispatcher = self._dispatcher()
        self._well: Wellbeing | None = None
        self._well_s = 0.0

    async def in_thread(self, work: Callable[[], T]) -> T:
        """What ``work`` gives back; it may wait for a disk or a server."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def wellbeing(self) -> Wellbeing:
        """That database and store answer; believed for a second.

        Raises:
            StorageError: One of them does not.
            UnreachableError: Likewise.
        """
        if self._well is None or time.monotonic() - self._well_s > _WELL_TTL_S:
            self._well = None
            self._well = await self.in_thread(self._look)
            self._well_s = time.monotonic()
        return self._well

    async def close(self) -> None:
        """Answer what has come, then let the threads go. Fleet and store stay open: they belong to the caller."""
        if self.dispatcher is not None:
            await self.dispatcher.close()
        await self.admissions.drain()
        await self.inbox.drain()
        self.admissions.close()
        self.inbox.close()
        self._threads.shutdown()

    def _dispatcher(self) -> Dispatcher | None:
        webhooks = self.settings.webhooks
        if webhooks is None:
            return None
        return Dispatcher(
            self.fleet.outbox,
            PrefectAPI(webhooks.prefect),
            webhooks.deployment,
            clock=self.clock,
            in_thread=self.in_thread,
            metrics=self.metrics,
        )

    def _look(self) -> Wellbeing:
        self.fleet.check()
        try:
            self.store.get(metadata_key(TIMESTAMP), start=0, length=1)
        except NotFoundError:
            return Wellbeing(has_repository=False)
        return Wellbeing(has_repository=True)
