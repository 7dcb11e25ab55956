"""Webhooks on their way to Prefect: tried at once, then again and again until a run has begun.

The requests are in the database, so that a gateway which starts anew goes on with them. Gateways that share the
database take requests from each other only when one has died in the middle; even then Prefect starts one run, since
all of them send the request's name as the idempotency key.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol, TypeVar

import msgspec
import structlog

from tinymlops.errors import RefusedError, StorageError, UnreachableError
from tinymlops.fleet import Outbox, WebhookRequest
from tinymlops.gateway.metrics import Metrics
from tinymlops.gateway.prefect_api import PrefectAPI

_LEASE_S = 60.0  # longer than both requests to Prefect may take
_MOST_AT_ONCE = 16
_LOOK_EVERY_S = 2.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
GIVE_UP_S = 24 * 3600.0
"""How long a request waits for Prefect before it is given up, in seconds."""


T = TypeVar("T")


class InThread(Protocol):
    """Runs what waits for the database."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """What ``work`` gives back."""


class Dispatcher:
    """Sends requests on, in the background.

    Args:
        outbox: Where they are.
        prefect: Where they go.
        deployment: What they start, as ``flow/deployment``.
        clock: Seconds since 1970.
        in_thread: Runs what waits for the database.
        metrics: Where they are counted.
    """

    def __init__(
        self,
        outbox: Outbox,
        prefect: PrefectAPI,
        deployment: str,
        *,
        clock: Callable[[], float],
        in_thread: InThread,
        metrics: Metrics,
    ) -> None:
        self._outbox, self._prefect, self._deployment = outbox, prefect, deployment
        self._clock, self._in_thread, self._metrics = clock, in_thread, metrics
        self._awake = asyncio.Event()
        self._watched: dict[str, asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("tinymlops.gateway")

    def start(self) -> None:
        """Begin, or look at once if it has begun. Needs a running loop."""
        self._awake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="webhooks")

    @contextlib.contextmanager
    def watching(self, webhook_id: str) -> Iterator[asyncio.Event]:
        """An event that is set once this gateway has tried to send the request on, with whatever success."""
        event = self._watched.setdefault(webhook_id, asyncio.Event())
        try:
            yield event
        finally:
            self._watched.pop(webhook_id, None)

    async def close(self) -> None:
        """Stop. A request that is on its way is sent again by whoever starts next."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._prefect.close()

    async def _run(self) -> None:
        while True:
            self._awake.clear()
            try:
                taken = await self._claim()
                await asyncio.gather(*(self._send(one) for one in taken))
            except StorageError as error:
                self._log.error("webhooks", cause=str(error))
                taken = ()
            if not taken:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._awake.wait(), _LOOK_EVERY_S)

    async def _claim(self) -> tuple[WebhookRequest, ...]:
        now_s = self._clock()
        return await self._in_thread(lambda: self._outbox.claim(now_s=now_s, lease_s=_LEASE_S, most=_MOST_AT_ONCE))

    async def _send(self, request: WebhookRequest) -> None:
        name = request.webhook_id
        try:
            run_id = await self._prefect.start(
                self._deployment, parameters_of(request), key=f"webhook-{name}", tags=("webhook",)
            )
        except UnreachableError as error:
            await self._not_now(request, error.cause)
        except RefusedError as error:
            await self._give_up(name, error.cause)
        else:
            await self._in_thread(lambda: self._outbox.started(name, run_id))
            self._count(name, "started", run=run_id)
        finally:
            if name in self._watched:
                self._watched[name].set()

    async def _not_now(self, request: WebhookRequest, cause: str) -> None:
        now_s = self._clock()
        if now_s - request.received_s > GIVE_UP_S:
            await self._give_up(request.webhook_id, f"{cause}, for a day")
            return
        until_s = now_s + pause_s(request.attempts)
        await self._in_thread(lambda: self._outbox.put_off(request.webhook_id, until_s=until_s, note=cause))
        self._count(request.webhook_id, "put off", cause=cause)

    async def _give_up(self, name: str, cause: str) -> None:
        await self._in_thread(lambda: self._outbox.fail(name, cause))
        self._count(name, "failed", cause=cause)

    def _count(self, name: str, outcome: str, **words: str) -> None:
        self._metrics.webhook(outcome)
        self._log.info("webhook", webhook=name, outcome=outcome, **words)


def parameters_of(request: WebhookRequest) -> dict[str, object]:
    """Parameters of the flow ``retrain``: what was asked for, by whom, under the request's name."""
    asked: dict[str, object] = msgspec.json.decode(request.parameters)
    return {**asked, "trigger": "webhook", "key": f"webhook-{request.webhook_id}"}


def pause_s(attempts: int) -> float:
    """How long to wait after so many attempts: twice as long each time, to a bound, and never in step with others."""
    longest = min(_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S * float(2 ** min(attempts, 10)))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - it only has to differ
