"""The way to the gateway over HTTP: urllib3, with an end to every wait."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tinymlops import __version__
from tinymlops.edge.seams import Answer, Call
from tinymlops.errors import SetupError, UnreachableError, UsageError

_CHUNK_BYTES = 64 * 1024
_CONNECT_S, _SILENCE_S, _ANSWER_S = 5.0, 15.0, 30.0


class _Bounded:
    """Of a connection: an end to answers whose head drips in, which a time-out per read alone would wait for."""

    sock: socket.socket | None
    talking: list[socket.socket | None]

    def getresponse(self, *arguments: Any, **options: Any) -> Any:
        """The head of the answer, within 30 s."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            _shut(self.sock)

        timer = threading.Timer(_ANSWER_S, give_up)
        timer.daemon = True
        timer.start()
        self.talking[:] = [self.sock]
        try:
            answer = super().getresponse(*arguments, **options)  # type: ignore[misc]
        finally:
            timer.cancel()
        if late.is_set():
            # The parser takes a head that is cut off for a whole one
            raise TimeoutError(f"no whole head in {_ANSWER_S:g} s")
        return answer


def _pools(talking: list[socket.socket | None]) -> dict[str, type[HTTPConnectionPool]]:
    """Pools whose connections say in ``talking`` which socket is in use."""
    http = type("_Http", (_Bounded, HTTPConnection), {"talking": talking})
    https = type("_Https", (_Bounded, HTTPSConnection), {"talking": talking})
    return {
        "http": type("_HttpPool", (HTTPConnectionPool,), {"ConnectionCls": http}),
        "https": type("_HttpsPool", (HTTPSConnectionPool,), {"ConnectionCls": https}),
    }


class HttpTransport:
    """Sends requests to one gateway, and on to the storage that it points to.

    Args:
        gateway: Its address, for example ``https://gateway.example``.
        authorities: Certificates to trust instead of the system's, in PEM.

    Raises:
        UsageError: The address is none.
        SetupError: The certificates can't be read.
    """

    def __init__(self, gateway: str, authorities: Path | None = None) -> None:
        parts = urlsplit(gateway)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise UsageError(f"{gateway!r} is not the address of a gateway", "give one like https://gateway.example")
        self._gateway = gateway.rstrip("/")
        timeout = urllib3.Timeout(connect=_CONNECT_S, read=_SILENCE_S)
        self._pools = urllib3.PoolManager(
            2, retries=False, timeout=timeout, ssl_context=_context(authorities), maxsize=1
        )
        self._talking: list[socket.socket | None] = []
        self._pools.pool_classes_by_scheme = _pools(self._talking)
        self._closed = False

    def send(self, call: Call) -> Answer:
        """Send a request and wait for the beginning of its answer.

        Raises:
            UnreachableError: Nothing answers.
        """
        if self._closed:
            raise UnreachableError("the agent is stopping", "start it again")
        url = self._gateway + call.target if call.target.startswith("/") else call.target
        headers = {"User-Agent": f"tinymlops-agent/{__version__}", **call.headers}
        try:
            answer = self._pools.request(
                call.method, url, body=call.body or None, headers=headers, redirect=False, preload_content=False,
                decode_content=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(url, error) from error
        names = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, names, self._chunks(answer, url), lambda: _finish(answer))

    def close(self) -> None:
        """End what is under way: whoever waits gets an error at once. May be called from a signal handler."""
        self._closed = True
        for sock in self._talking:
            _shut(sock)

    def _chunks(self, answer: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
        try:
            # read1 gives what is there: to wait for whole chunks would let a dripping body live for ever
            while chunk := answer.read1(_CHUNK_BYTES, decode_content=False):
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(url, error) from error

    def _unreachable(self, url: str, error: Exception) -> UnreachableError:
        where = urlsplit(url).netloc
        return UnreachableError(f"{where} does not answer ({_words(error)})", "it is tried again later")


def _context(authorities: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise SetupError(f"{authorities} is no list of certificates ({error})", "give a PEM file with --ca") from error


def _finish(answer: urllib3.BaseHTTPResponse) -> None:
    """Give the connection back if the body is through, else close it."""
    with contextlib.suppress(OSError):
        answer.close() if getattr(answer, "length_remaining", 1) else answer.release_conn()


def _shut(sock: socket.socket | None) -> None:
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason).partition("\n")[0].rpartition(": ")[2][:200] or type(error).__name__
