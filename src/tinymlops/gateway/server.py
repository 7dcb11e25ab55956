"""The gateway behind a socket: uvicorn, with limits that it does not have itself."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tinymlops.errors import SetupError, UsageError
from tinymlops.wire.encoding import encode
from tinymlops.wire.messages import Problem

MOST_HEADER_BYTES = 32 * 1024
MOST_HEADERS = 100
HEADERS_TIMEOUT_S = 10.0
_KEEP_ALIVE_S = 65  # longer than the minute that most proxies keep theirs, so that they never write into a closed one
_DRAIN_S = 20
_MOST_CONNECTIONS = 4000
_TOO_LARGE = Problem("the headers of the request are too large, or too many", "send only what the agent sends")


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a gateway listens.

    Attributes:
        host: Address of this machine; 127.0.0.1 for this machine alone.
        port: 0 for any that is free.
        tls_cert: Certificate chain in PEM, or None for plain HTTP.
        tls_key: Its key.
        trusted_proxies: Addresses or networks whose ``X-Forwarded-For`` is believed; none by default.
    """

    host: str = "127.0.0.1"
    port: int = 8700
    tls_cert: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """For people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose headers are bounded in bytes, number and time. uvicorn bounds them with h11 alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0  # received while the headers are not complete
        self._whole_bytes = 0  # of headers that are
        self._in_headers = True
        self._too_large = False
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is closed, like one that does not finish its headers."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._forget_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the body. The parser holds a header until its end, however long that takes."""
        if self._refused:
            return
        super().data_received(data)
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MOST_HEADER_BYTES and not self.transport.is_closing():
                self._say(431, _TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._header_bytes = self._whole_bytes = 0
        self._await_headers()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header; the parser turns the error into an end of the connection."""
        super().on_header(name, value)
        self._whole_bytes += len(name) + len(value)
        if len(self.headers) > MOST_HEADERS or self._whole_bytes > MOST_HEADER_BYTES:
            self._too_large = True
            raise ValueError(_TOO_LARGE.error)

    def on_headers_complete(self) -> None:
        """The rest is body, which the app bounds."""
        self._in_headers = False
        self._forget_deadline()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or too much of it, gets a sentence and the end of the connection."""
        del msg
        if self._too_large:
            self._say(431, _TOO_LARGE)
        else:
            self._say(400, Problem("this is not HTTP/1.1", "use the agent"))

    def _say(self, status: int, problem: Problem) -> None:
        self._refused = True
        body = encode(problem)
        head = (
            f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _await_headers(self) -> None:
        self._in_headers = True
        self._forget_deadline()
        self._deadline = self.loop.call_later(HEADERS_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def serve(app: FastAPI, listening: Listening) -> None:
    """Answer requests until the process is told to stop; then finish those that have begun.

    Raises:
        UsageError: Only one of certificate and key is given.
        SetupError: The certificate can't be used, or the port is taken.
    """
    server = uvicorn.Server(configuration(app, listening))
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not bind
        raise SetupError(
            f"{listening.url} can't be listened on", "choose another --listen, or stop whatever has it"
        ) from error


def configuration(app: FastAPI, listening: Listening) -> uvicorn.Config:
    """Settings of uvicorn.

    Raises:
        UsageError: Only one of certificate and key is given.
    """
    if (listening.tls_cert is None) != (listening.tls_key is None):
        raise UsageError("a certificate needs its key, and a key its certificate", "give both --tls-cert and --tls-key")
    secure = [("strict-transport-security", "max-age=31536000")] if listening.tls_cert else []
    _log_as_json()
    return uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        http=BoundedProtocol,
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=secure,
        proxy_headers=bool(listening.trusted_proxies),
        forwarded_allow_ips=list(listening.trusted_proxies),
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_DRAIN_S,
        ssl_certfile=listening.tls_cert,
        ssl_keyfile=listening.tls_key,
    )


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger("uvicorn").log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


def _log_as_json() -> None:
    log = logging.getLogger("uvicorn")
    log.handlers = [_ToStructlog()]
    log.propagate = False
    log.setLevel(logging.INFO)
