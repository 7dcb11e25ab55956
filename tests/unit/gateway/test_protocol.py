"""HTTP/1.1 with bounded headers, a part of a request at a time and without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from tinymlops.gateway import server
from tinymlops.gateway.server import MOST_HEADER_BYTES, MOST_HEADERS, BoundedProtocol


class Wire(asyncio.Transport):
    """What is written, and who hung up."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.written = b""
        self.closed = False
        self.hung_up = False  # before the other side went

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


def said(*parts: bytes, wait_s: float = 0.05) -> Wire:
    """What comes back for the parts of a request."""

    async def talk() -> Wire:
        config = uvicorn.Config(hello, log_config=None)
        protocol, wire = BoundedProtocol(config, ServerState(), {}), Wire()
        protocol.connection_made(wire)
        for part in parts:
            protocol.data_received(part)
        await asyncio.sleep(wait_s)
        wire.hung_up = wire.closed
        protocol.connection_lost(None)
        return wire

    return asyncio.run(talk())


def test_a_request_is_answered_also_in_many_parts() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    for parts in ((whole,), tuple(whole[at : at + 1] for at in range(len(whole)))):
        wire = said(*parts)
        assert wire.written.startswith(b"HTTP/1.1 200")
        assert not wire.hung_up


def test_two_requests_on_one_connection_are_counted_apart() -> None:
    header = b"X-Long: " + b"y" * (MOST_HEADER_BYTES - 100) + b"\r\n"
    wire = said(*[b"GET / HTTP/1.1\r\n" + header + b"\r\n"] * 2)
    assert wire.written.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    "parts",
    [
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * (MOST_HEADERS + 1) + b"\r\n",),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * MOST_HEADER_BYTES + b"\r\n\r\n",),
        (b"GET / HTTP/1.1\r\nX: ", *[b"y" * 1000] * (MOST_HEADER_BYTES // 1000 + 1), b"never read"),
        (b"GET /" + b"y" * 1000, *[b"y" * 1000] * (MOST_HEADER_BYTES // 1000 + 1)),
    ],
    ids=["many", "long", "endless", "endless path"],
)
def test_too_many_or_too_large_headers_end_the_connection(parts: tuple[bytes, ...]) -> None:
    wire = said(*parts)
    assert wire.written.startswith(b"HTTP/1.1 431")
    assert wire.written.count(b"HTTP/1.1") == 1
    assert wire.hung_up


def test_what_is_no_http_ends_the_connection() -> None:
    wire = said(b"\x16\x03\x01")
    assert wire.written.startswith(b"HTTP/1.1 400")
    assert wire.hung_up


@pytest.mark.parametrize("parts", [(), (b"GET / HTTP/1.1\r\nHost",)])
def test_headers_that_do_not_come_are_not_waited_for(parts: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_TIMEOUT_S", 0.05)
    wire = said(*parts, wait_s=0.3)
    assert wire.hung_up
    assert wire.written == b""
