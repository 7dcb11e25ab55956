"""What the owner and the owner's monitoring ask."""

from __future__ import annotations

import hmac
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from tinymlops.fleet import Device, StoredRollout
from tinymlops.gateway.problems import Refusal, json_response, not_found
from tinymlops.gateway.services import Gateway
from tinymlops.gateway.settings import TOKEN_VARIABLE, token_digest
from tinymlops.wire.messages import Problem, ReleaseHealth

MOST_DEVICES = 1000
_Words = Annotated[list[str], Query(max_length=64)]


class DeviceLine(msgspec.Struct, frozen=True, kw_only=True):
    """A device and the releases on it.

    Attributes:
        device: As it is recorded.
        releases: By its newest report.
    """

    device: Device
    releases: tuple[ReleaseHealth, ...] = ()


class DevicePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some devices, in the order of their ids.

    Attributes:
        devices: The lines.
        after: For the next page; None on the last one.
    """

    devices: tuple[DeviceLine, ...]
    after: str | None = None


class RolloutLine(msgspec.Struct, frozen=True, kw_only=True):
    """A roll-out.

    Attributes:
        rollout_id: Names it.
        version: Grows with every change.
        updated_s: When it was last changed, in seconds since 1970.
        document: Its state (`tinymlops.rollouts.Rollout`).
    """

    rollout_id: str
    version: int
    updated_s: float
    document: dict[str, Any]


class RolloutList(msgspec.Struct, frozen=True, kw_only=True):
    """All roll-outs, the one that was changed last first."""

    rollouts: tuple[RolloutLine, ...]


def operator_routes(gateway: Gateway) -> APIRouter:
    """The routes of the owner; all but ``/healthz`` need the operator's token."""
    router = APIRouter(redirect_slashes=False)
    answers = _OperatorAnswers(gateway)
    for path, answer in (
        ("/v1/devices", answers.devices),
        ("/v1/rollouts", answers.rollouts),
        ("/v1/rollouts/{rollout_id}", answers.rollout),
        ("/metrics", answers.metrics),
        ("/healthz", answers.healthz),
    ):
        router.add_api_route(path, answer, methods=["GET"], response_model=None)
    return router


class _OperatorAnswers:
    """One method for each route."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._fleet = gateway.fleet

    async def devices(
        self,
        request: Request,
        profile: _Words = [],  # noqa: B006 - FastAPI copies it
        tag: _Words = [],  # noqa: B006
        region: _Words = [],  # noqa: B006
        after: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_DEVICES)] = 100,
    ) -> Response:
        """A page of devices."""
        self._check(request)
        page = await self._gateway.in_thread(lambda: self._page(profile, tag, region, after, limit))
        return json_response(page)

    async def rollouts(self, request: Request) -> Response:
        """All roll-outs."""
        self._check(request)
        found = await self._gateway.in_thread(self._fleet.rollouts)
        return json_response(RolloutList(rollouts=tuple(_line(one) for one in found)))

    async def rollout(self, request: Request, rollout_id: str) -> Response:
        """One roll-out."""
        self._check(request)
        found = await self._gateway.in_thread(lambda: self._fleet.load_rollout(rollout_id))
        if found is None:
            raise not_found()
        return json_response(_line(found))

    async def metrics(self, request: Request) -> Response:
        """Figures for Prometheus."""
        self._check(request)
        text = await self._gateway.in_thread(self._gateway.metrics.text)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def healthz(self) -> Response:
        """Whether database and store answer."""
        return json_response(await self._gateway.wellbeing())

    def _check(self, request: Request) -> None:
        expected = self._gateway.settings.operator_token_sha256
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        # digests are compared, so that neither length nor contents of the token show in the time it takes
        given = token_digest(token.strip())
        if expected is None or kind.lower() != "bearer" or not hmac.compare_digest(given, expected):
            problem = Problem("this is for the operator", f"send the token of {TOKEN_VARIABLE} as a bearer token")
            raise Refusal(401, "operator token", problem, {"WWW-Authenticate": "Bearer"})

    def _page(self, profiles: list[str], tags: list[str], regions: list[str], after: str, limit: int) -> DevicePage:
        found = self._fleet.devices(
            profiles=profiles, tags=tags, regions=regions, revoked=True, after=after, limit=limit + 1
        )
        shown = found[:limit]
        releases: dict[str, list[ReleaseHealth]] = {device.device_id: [] for device in shown}
        for one in self._fleet.health(device_ids=releases):
            releases[one.device_id].append(one.health)
        lines = tuple(DeviceLine(device=device, releases=tuple(releases[device.device_id])) for device in shown)
        return DevicePage(devices=lines, after=shown[-1].device_id if len(found) > limit else None)


def _line(stored: StoredRollout) -> RolloutLine:
    document = msgspec.json.decode(stored.document, type=dict[str, Any])
    return RolloutLine(
        rollout_id=stored.rollout_id, version=stored.version, updated_s=stored.updated_s, document=document
    )
