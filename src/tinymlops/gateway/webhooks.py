"""Webhooks: another system asks for a retraining.

In this order, cheapest and least believed first: the address's rate, the body's size, the form of the headers, the
signature, its time, the parameters. What passes is kept, durably, under the name that the sender gave it; then it is
sent on to Prefect. The answer says where the run is, or where to ask for it if Prefect is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from tinymlops.errors import UntrustedError
from tinymlops.files import sha256
from tinymlops.fleet import WebhookRequest, WebhookState
from tinymlops.gateway.authentication import address_of
from tinymlops.gateway.dispatching import Dispatcher
from tinymlops.gateway.problems import Refusal, blaming_the_request, json_response, not_found
from tinymlops.gateway.services import Gateway
from tinymlops.gateway.settings import WebhookSettings
from tinymlops.gateway.webhook_signatures import WebhookHeaders, check, read_headers
from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.messages import Problem, Word

PATH = "/webhooks/retrain"


class RetrainRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be asked for: nothing else gets anywhere near the flow.

    Attributes:
        workload: One of those that the gateway was told.
        why: For the record.
        approval: Whether a person decides before the new release goes out.
    """

    workload: Word
    why: Annotated[str, Meta(max_length=500)] = ""
    approval: bool = False


class RetrainStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a webhook.

    Attributes:
        id: Its name.
        state: Where it stands.
        run: Page of the run in Prefect, once it has begun.
        status: Where to ask again, below the gateway's address.
        note: Why it has not begun so far, or empty.
    """

    id: str
    state: WebhookState
    run: str | None
    status: str
    note: str = ""


def webhook_routes(gateway: Gateway) -> APIRouter:
    """The routes of webhooks; each request is signed."""
    router = APIRouter(redirect_slashes=False)
    answers = _WebhookAnswers(gateway)
    router.add_api_route(PATH, answers.ask, methods=["POST"], response_model=None)
    router.add_api_route(PATH + "/{webhook_id}", answers.status, methods=["GET"], response_model=None)
    return router


class _WebhookAnswers:
    """One method for each route."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def ask(self, request: Request) -> Response:
        """Keep what is asked for, and begin it; asked again, the answer is the same one."""
        settings, dispatcher = self._open()
        async with self._signed(request, settings) as (claimed, body):
            with blaming_the_request():
                wanted = decode(body, RetrainRequest, what="the webhook")
            if wanted.workload not in settings.workloads:
                problem = Problem(f"{wanted.workload!r} may not be asked for", "see `tinymlops gateway run --help`")
                raise Refusal(400, "webhook workload", problem)
            with dispatcher.watching(claimed.webhook_id) as tried:
                kept = await self._keep(claimed.webhook_id, wanted, sha256(body))
                if kept.state is WebhookState.WAITING:
                    dispatcher.start()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(tried.wait(), settings.answer_s)
        return await self._answer(claimed.webhook_id, settings, status=202)

    async def status(self, request: Request, webhook_id: str) -> Response:
        """Where a webhook stands; signed under its own name, with an empty body."""
        settings, _ = self._open()
        async with self._signed(request, settings) as (claimed, _):
            if claimed.webhook_id != webhook_id:
                raise not_found()
        return await self._answer(webhook_id, settings, status=200)

    def _open(self) -> tuple[WebhookSettings, Dispatcher]:
        settings, dispatcher = self._gateway.settings.webhooks, self._gateway.dispatcher
        if settings is None or dispatcher is None:
            raise not_found()
        return settings, dispatcher

    @contextlib.asynccontextmanager
    async def _signed(self, request: Request, settings: WebhookSettings) -> AsyncIterator[tuple[WebhookHeaders, bytes]]:
        self._gateway.rates.count_webhook(address_of(request))
        try:
            claimed = read_headers(
                (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw
            )
            async with self._gateway.bodies.read(request, settings.body_bytes) as body:
                check(claimed, body, settings.secrets, now_s=self._gateway.clock())
                yield claimed, body
        except UntrustedError as error:
            raise Refusal(401, "webhook signature", Problem(error.cause, error.next_step)) from error

    async def _keep(self, webhook_id: str, wanted: RetrainRequest, digest: str) -> WebhookRequest:
        now_s = self._gateway.clock()
        kept, is_new = await self._gateway.in_thread(
            lambda: self._gateway.fleet.outbox.put(webhook_id, digest=digest, parameters=encode(wanted), now_s=now_s)
        )
        if kept.digest != digest:
            problem = Problem("another webhook of this id was here before", "give each webhook an id of its own")
            raise Refusal(409, "webhook replay", problem)
        self._gateway.metrics.webhook("accepted" if is_new else "repeated")
        return kept

    async def _answer(self, webhook_id: str, settings: WebhookSettings, *, status: int) -> Response:
        found = await self._gateway.in_thread(lambda: self._gateway.fleet.outbox.find(webhook_id))
        if found is None:
            raise not_found()
        place = f"{PATH}/{webhook_id}"
        said = RetrainStatus(
            id=webhook_id,
            state=found.state,
            run=settings.prefect.run_page(found.run_id) if found.run_id else None,
            status=place,
            note=found.note,
        )
        return json_response(said, status=status, headers={"Location": place})
