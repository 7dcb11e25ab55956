"""The routes of the pages: a login, three pages, a style sheet."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import RedirectResponse

from tinymlops.files import sha256
from tinymlops.gateway.authentication import address_of
from tinymlops.gateway.pages.consents import FEWEST, SPAN_DAYS, Agreements
from tinymlops.gateway.pages.facts import Facts
from tinymlops.gateway.pages.sessions import COOKIE, LIFE_S, Session, Sessions, is_from_here
from tinymlops.gateway.problems import Refusal
from tinymlops.gateway.services import Gateway
from tinymlops.gateway.settings import token_digest
from tinymlops.store import ObjectStore
from tinymlops.wire.messages import Problem

HOME = "/fleet"
_LOGIN, _STYLE = f"{HOME}/login", f"{HOME}/style.css"
_FOLDER = Path(__file__).parent
_MOST_FORM_BYTES = 4096
_POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store", "X-Frame-Options": "DENY"}
_Word = Annotated[str, Query(max_length=64)]


def page_routes(gateway: Gateway, telemetry: ObjectStore) -> APIRouter:
    """The pages; all but login and style sheet need a session."""
    router, pages = APIRouter(redirect_slashes=False), _Pages(gateway, telemetry)
    for method, path, answer in (
        ("GET", HOME, pages.overview),
        ("GET", f"{HOME}/devices", pages.devices),
        ("GET", f"{HOME}/devices/{{device_id}}", pages.device),
        ("GET", _STYLE, pages.style),
        ("GET", _LOGIN, pages.login),
        ("POST", _LOGIN, pages.log_in),
        ("POST", f"{HOME}/logout", pages.log_out),
    ):
        router.add_api_route(path, answer, methods=[method], response_model=None, include_in_schema=False)
    return router


class _Pages:
    """One method for each route."""

    def __init__(self, gateway: Gateway, telemetry: ObjectStore) -> None:
        self._gateway = gateway
        settings = gateway.settings
        self._sessions = Sessions(gateway.key, settings.operator_token_sha256, gateway.clock)
        self._facts = Facts(gateway.fleet, telemetry, _agreements(settings.tables, gateway.clock))

    async def overview(self, request: Request) -> Response:
        """The whole fleet at a glance."""
        session = self._session(request)
        if session is None:
            return _to_login()
        seen = await self._gateway.in_thread(lambda: self._facts.overview(self._gateway.clock()))
        return self._page("overview", session, seen=seen, fewest=FEWEST, span_days=SPAN_DAYS)

    async def devices(
        self, request: Request, profile: _Word = "", region: _Word = "", tag: _Word = "", after: _Word = ""
    ) -> Response:
        """A page of devices."""
        session = self._session(request)
        if session is None:
            return _to_login()
        wanted = {"profile": profile, "region": region, "tag": tag}
        found = await self._gateway.in_thread(lambda: self._facts.devices(**wanted, after=after))
        return self._page("devices", session, found=found, wanted=wanted)

    async def device(self, request: Request, device_id: str) -> Response:
        """One device."""
        session = self._session(request)
        if session is None:
            return _to_login()
        found = await self._gateway.in_thread(lambda: self._facts.device(device_id))
        if found is None:
            return self._page("missing", session, status=HTTPStatus.NOT_FOUND, device_id=device_id)
        return self._page("device", session, found=found)

    async def style(self) -> Response:
        """The one style sheet."""
        return Response(_style(), headers={"Cache-Control": "public, max-age=3600"}, media_type="text/css")

    async def login(self, request: Request) -> Response:
        """The form."""
        return _to_home() if self._session(request) else self._form()

    async def log_in(self, request: Request) -> Response:
        """Begin a session for whoever knows the operator's token."""
        self._gateway.rates.count_address(address_of(request))
        self._gateway.rates.count_login(address_of(request))
        form = await self._form_of(request)
        cookie = self._sessions.begin(token_digest(form.get("token", "").strip()))
        if cookie is None:
            return self._form("This is not the operator's token.", HTTPStatus.UNAUTHORIZED)
        answer, secure = _to_home(), request.url.scheme == "https"
        answer.set_cookie(COOKIE, cookie, LIFE_S, path=HOME, secure=secure, httponly=True, samesite="strict")
        return answer

    async def log_out(self, request: Request) -> Response:
        """End the session whose own form asks for it."""
        session, form = self._session(request), await self._form_of(request)
        if session is not None:
            if form.get("form") != session.form:
                raise _not_from_here()
            self._sessions.end(session)
        answer = _to_login()
        answer.delete_cookie(COOKIE, path=HOME, httponly=True, samesite="strict")
        return answer

    def _session(self, request: Request) -> Session | None:
        self._gateway.rates.count_address(address_of(request))
        return self._sessions.find(request.cookies.get(COOKIE))

    async def _form_of(self, request: Request) -> dict[str, str]:
        if not is_from_here(request):
            raise _not_from_here()
        async with self._gateway.bodies.read(request, _MOST_FORM_BYTES) as body:
            fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8) if body.count(b"&") < 8 else {}
        return {name: values[0] for name, values in fields.items()}

    def _form(self, problem: str = "", status: int = HTTPStatus.OK) -> Response:
        return _answer("login", status, problem=problem, is_open=self._sessions.is_open, session=None)

    def _page(self, name: str, session: Session, status: int = HTTPStatus.OK, **facts: Any) -> Response:
        return _answer(name, status, session=session, now_s=self._gateway.clock(), **facts)


def _agreements(tables: str | None, clock: Callable[[], float]) -> Agreements | None:
    if tables is None:
        return None
    from tinymlops.telemetry.tables import Tables

    return Agreements(Tables(tables), clock)


def _to_home() -> Response:
    return RedirectResponse(HOME, HTTPStatus.SEE_OTHER, headers=_HEADERS)


def _to_login() -> Response:
    return RedirectResponse(_LOGIN, HTTPStatus.SEE_OTHER, headers=_HEADERS)


def _not_from_here() -> Refusal:
    return Refusal(403, "foreign form", Problem("this form was not sent from the gateway's page", "open /fleet anew"))


def _answer(name: str, status: int, **facts: Any) -> Response:
    content = _templates().get_template(f"{name}.html.j2").render(**facts)
    return Response(content, status, _HEADERS, media_type="text/html")


@cache
def _style() -> bytes:
    return (_FOLDER / "fleet.css").read_bytes()


@cache
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"moment": _moment, "count": "{:,}".format, "ago": _ago}
    found.globals["style"] = f"{_STYLE}?{sha256(_style())[:8]}"
    return found


def _moment(at_s: float | None) -> str:
    return "never" if at_s is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_s))


def _ago(at_s: float | None, now_s: float) -> str:
    """How long ago, in the largest unit that fits."""
    if at_s is None:
        return "never"
    for seconds, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if now_s - at_s >= seconds:
            return f"{int((now_s - at_s) // seconds)} {unit} ago"
    return "just now"
