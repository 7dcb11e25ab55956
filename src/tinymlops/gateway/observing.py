"""The outermost layer: a name for each request, a line in the log, figures, careful headers, and no bare failures."""

from __future__ import annotations

import logging
import secrets
import sys
import time
from typing import TextIO

import msgspec
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tinymlops.gateway.metrics import Metrics
from tinymlops.gateway.problems import INTERNAL
from tinymlops.wire.encoding import encode

_CAREFUL = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
_CLIENT_GONE = 499
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def configure_logging(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Log lines as JSON, one a line, to ``stream`` (standard error unless given).

    Bodies, codes, tokens and signatures never get near a log line: only what `Observed` names is written.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


class Observed:
    """Wraps the app.

    Args:
        app: The rest.
        metrics: Where answers are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._log = structlog.get_logger("tinymlops.gateway")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = secrets.token_hex(8)
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*_with_defaults(message["headers"]), (b"x-request-id", request_id.encode())]
            await send(message)

        with self._metrics.under_way.track_inprogress():
            try:
                await self._app(scope, receive, sending)
            except ClientDisconnect:
                status = _CLIENT_GONE
            except Exception:  # noqa: BLE001 - the edge: whatever it was, the client gets a sentence and the log the rest
                self._log.exception("failed", request=request_id)
                if status == 0:
                    await _say_internal(sending)
                status = 500
        self._note(scope, request_id, status, time.perf_counter() - began)

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.answered(method, route, status, seconds)
        state = scope.get("state") or {}
        self._log.info(
            "answered",
            request=request_id,
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            address=scope["client"][0] if scope.get("client") else None,
            **{name: state[name] for name in ("device", "reason") if name in state},
        )


def _with_defaults(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    names = {name.lower() for name, _ in headers}
    own = [(name, value) for name, value in _CAREFUL if name not in names]
    if b"cache-control" not in names:
        own.append((b"cache-control", b"no-store"))
    return [*headers, *own]


async def _say_internal(send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": encode(INTERNAL)})


def _json(value: object, **_: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
