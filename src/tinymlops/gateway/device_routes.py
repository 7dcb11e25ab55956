"""What devices ask."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse, StreamingResponse
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from tinymlops.errors import RefusedError
from tinymlops.files import sha256
from tinymlops.fleet import Handed
from tinymlops.gateway.authentication import Signed
from tinymlops.gateway.files import TIMESTAMP, byte_range, target_key
from tinymlops.gateway.problems import RETRY_S, Refusal, blaming_the_request, json_response
from tinymlops.gateway.services import Gateway
from tinymlops.gateway.signatures import verify
from tinymlops.store import NotFoundError
from tinymlops.telemetry.inbox import Delivery, checked
from tinymlops.wire import cose
from tinymlops.wire.encoding import decode, decode_packed, encode
from tinymlops.wire.identity import PublicKeys
from tinymlops.wire.messages import (
    Acknowledgement,
    Enrolment,
    EnrolmentRequest,
    HealthReport,
    Problem,
    TelemetryBatch,
    TimeAnswer,
    TimeRequest,
)
from tinymlops.wire.metering import (
    ACKNOWLEDGEMENT,
    REVOCATION,
    Revocation,
    UsageAcknowledgement,
    UsageAnswer,
    UsageReport,
    VoucherList,
    checked_report,
)

_FOR_EVER = "private, max-age=31536000, immutable"
_LOOK_EACH_TIME = "private, no-cache"


def device_routes(gateway: Gateway) -> APIRouter:
    """The routes of devices but `busy_routes`; each request is signed."""
    router = APIRouter(prefix="/v1", redirect_slashes=False)
    answers = _DeviceAnswers(gateway)
    for method, path, answer in (
        ("POST", "/enrol", answers.enrol),
        ("GET", "/metadata/{name}", answers.metadata),
        ("GET", "/targets/{path:path}", answers.target),
        ("POST", "/time", answers.time),
        ("GET", "/vouchers", answers.vouchers),
        ("POST", "/usage", answers.usage),
    ):
        router.add_api_route(path, answer, methods=[method], response_model=None)
    return router


def busy_routes(gateway: Gateway) -> list[BaseRoute]:
    """The routes that a fleet asks all day, for the front of the app; each request is signed."""
    answers = _DeviceAnswers(gateway)
    return [
        _BareRoute("/v1/telemetry", answers.telemetry, methods=["POST"]),
        _BareRoute("/v1/health", answers.health, methods=["POST"]),
    ]


class _BareRoute(Route):
    """A route without FastAPI's dependencies and conversions, which nothing here needs: a third of a request's time."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say which route it is, as FastAPI's own do: figures and log lines name it."""
        match, found = super().matches(scope)
        return match, found if match is Match.NONE else {**found, "route": self}


class _DeviceAnswers:
    """One method for each route."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._authenticator = gateway.authenticator
        self._settings = gateway.settings

    async def enrol(self, request: Request) -> Response:
        """Let a device in that brings a code and proves that it holds its key.

        The nonce is kept at the end, so a request that is played again gets nothing either.
        """
        most_bytes = self._settings.small_body_bytes
        async with self._authenticator.enrolling(request, most_bytes=most_bytes) as (body, claimed):
            with blaming_the_request():
                wanted = decode(body, EnrolmentRequest, what="the request to enrol")
                device_id = PublicKeys(wanted.signing_key, wanted.sealing_key).device_id
            if claimed.device_id != device_id:
                raise Refusal(
                    401, "signature", Problem("the request names another device than its keys", "use the agent")
                )
            self._authenticator.check_enrolling(request, body, claimed, wanted.signing_key)
            now_s = self._gateway.clock()
            with blaming_the_request():
                ticket = await self._gateway.in_thread(lambda: self._gateway.fleet.enrol(wanted, now_s=now_s))
            request.state.device = device_id
            root = await self._root(ticket.root_version)
            await self._authenticator.admit(Signed(device_id, claimed.nonce, body))
        return json_response(
            Enrolment(
                device_id=device_id, root=root, gateway_key=self._gateway.key.public, poll_s=self._settings.poll_s
            )
        )

    async def metadata(self, request: Request, name: str) -> Response:
        """A file of the signed repository's metadata."""
        async with self._asked(request):
            content = await self._gateway.files.metadata(name)
        if name != TIMESTAMP:
            return Response(content, headers={"Cache-Control": _FOR_EVER}, media_type="application/json")
        headers = {"ETag": f'"{sha256(content)}"', "Cache-Control": _LOOK_EACH_TIME}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type="application/json")

    async def target(self, request: Request, path: str) -> Response:
        """A package, a manifest, or what this device is offered."""
        async with self._asked(request) as signed:
            key = target_key(path, signed.device_id)
            return await self._target(request, key)

    async def health(self, request: Request) -> Response:
        """Keep a report, durably, and say so."""
        async with self._authenticator.signed(request, most_bytes=self._settings.small_body_bytes) as signed:
            request.state.device = signed.device_id
            with blaming_the_request():
                report = decode(signed.body, HealthReport, what="the health report")
            admission = await self._authenticator.admit(signed, report)
        return json_response(Acknowledgement(through=max(admission.sequence, 0), poll_s=self._settings.poll_s))

    async def time(self, request: Request) -> Response:
        """The time, with the gateway's word for it; the one route where the device's own clock does not matter."""
        most_bytes = self._settings.small_body_bytes
        async with self._authenticator.signed(request, most_bytes=most_bytes, timed=False) as signed:
            request.state.device = signed.device_id
            with blaming_the_request():
                wanted = decode(signed.body, TimeRequest, what="the request for the time")
            await self._authenticator.admit(signed)
        answer = TimeAnswer(now_s=self._gateway.clock(), nonce=wanted.nonce)
        return json_response(self._gateway.key.sign(encode(answer)))

    async def telemetry(self, request: Request) -> Response:
        """Keep records, each one once, durably, and say how far."""
        async with self._authenticator.signed(request, most_bytes=self._settings.telemetry_body_bytes) as signed:
            request.state.device = signed.device_id
            with blaming_the_request():
                batch = checked(decode_packed(signed.body, TelemetryBatch, what="the telemetry"))
            await self._authenticator.admit(signed)
            delivery = Delivery(signed.device_id, batch.records)
            through = await self._gateway.inbox.keep(delivery, len(signed.body))
        return json_response(Acknowledgement(through=through))

    async def vouchers(self, request: Request) -> Response:
        """The device's vouchers, and which of them were taken back."""
        async with self._asked(request) as signed:
            gateway, now_s = self._gateway, self._gateway.clock()
            found = await gateway.in_thread(lambda: gateway.fleet.till.vouchers_for(signed.device_id, now_s=now_s))
        gone = (
            Revocation(serial=one.serial, revoked_s=int(one.revoked_s)) for one in found if one.revoked_s is not None
        )
        return json_response(
            VoucherList(
                vouchers=tuple(one.message for one in found if one.revoked_s is None),
                revocations=tuple(cose.signed(one, REVOCATION, gateway.key.signature) for one in gone),
            )
        )

    async def usage(self, request: Request) -> Response:
        """Settle a report of use, durably, and say so with the gateway's signature."""
        gateway = self._gateway
        async with self._authenticator.signed(request, most_bytes=self._settings.small_body_bytes) as signed:
            request.state.device = signed.device_id
            with blaming_the_request():
                report = decode_packed(signed.body, UsageReport, what="the report of use")
            await self._authenticator.admit(signed)
            with blaming_the_request():
                told = await gateway.in_thread(lambda: self._settled(signed.device_id, report))
        return json_response(UsageAnswer(acknowledgement=cose.signed(told, ACKNOWLEDGEMENT, gateway.key.signature)))

    def _settled(self, device_id: str, report: UsageReport) -> UsageAcknowledgement:
        device = self._gateway.fleet.find_device(device_id)
        if device is None:
            raise RefusedError("this device is not let in", "enrol it")
        checkpoint = checked_report(report, device.keys.signing, check=verify)
        handed = Handed(device_id=device_id, checkpoint=checkpoint, report=report, at_s=self._gateway.clock())
        return self._gateway.fleet.till.settle([handed])[0]

    @contextlib.asynccontextmanager
    async def _asked(self, request: Request) -> AsyncIterator[Signed]:
        """A request without a body that counts."""
        async with self._authenticator.signed(request, most_bytes=0) as signed:
            request.state.device = signed.device_id
            await self._authenticator.admit(signed)
            yield signed

    async def _root(self, version: int) -> bytes:
        try:
            return await self._gateway.files.metadata(f"{version}.root.json")
        except NotFoundError as error:
            problem = Problem(
                "the repository that this code was made for is not here", "tell the owner; then try again"
            )
            raise Refusal(503, "storage", problem, {"Retry-After": str(RETRY_S)}) from error

    async def _target(self, request: Request, key: str) -> Response:
        files, settings = self._gateway.files, self._settings
        if settings.redirects and key.startswith("targets/releases/"):
            url = await files.url(key, settings.redirect_s)
            if url is not None:
                return RedirectResponse(url, 307, headers={"Cache-Control": "no-store"})
        content = await files.target(key)
        size = await files.size(key) if content is None else len(content)
        asked = byte_range(request.headers.get("range"), size)
        start, end = asked or (0, size)
        headers = {"Accept-Ranges": "bytes", "Cache-Control": _FOR_EVER}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        status, kind = (206 if asked else 200), "application/octet-stream"
        if content is not None:
            return Response(content[start:end], status, headers, media_type=kind)
        headers["Content-Length"] = str(end - start)
        return StreamingResponse(files.parts(key, start, end), status, headers, media_type=kind)
