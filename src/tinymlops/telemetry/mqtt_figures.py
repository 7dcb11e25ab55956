"""What a bridge has done, and whether it is well, for Prometheus and for whoever starts it again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from tinymlops.errors import SetupError

_QUIET_S = 30.0
"""A bridge that has not gone round for so long is stuck."""


class BridgeFigures:
    """Counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._messages = Counter(
            "tinymlops_bridge_messages_total", "Messages, by fate.", ("fate",), registry=self._registry
        )
        self._waiting = Gauge(
            "tinymlops_bridge_waiting", "Messages received and not durable yet.", registry=self._registry
        )
        self._connected_s = -_QUIET_S

    @property
    def is_well(self) -> bool:
        """Whether it has lately gone round with a broker at the other end."""
        return time.monotonic() - self._connected_s < _QUIET_S

    def told(self, fate: str) -> None:
        """A message's fate is known."""
        self._messages.labels(fate).inc()

    def turned(self, *, connected: bool, waiting: int) -> None:
        """The bridge has gone once round."""
        self._waiting.set(waiting)
        if connected:
            self._connected_s = time.monotonic()

    def text(self) -> bytes:
        """All figures in Prometheus's text format."""
        return generate_latest(self._registry)


@contextmanager
def showing(figures: BridgeFigures, host: str, port: int) -> Iterator[str]:
    """Serve ``/healthz`` and ``/metrics`` until the block ends; gives their address.

    Raises:
        SetupError: The port is taken.
    """
    try:
        server = ThreadingHTTPServer((host, port), _pages(figures))
    except OSError as error:
        raise SetupError(f"{host}:{port} can't be listened on ({error.strerror})", "choose another --listen") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True, name="figures")
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _pages(figures: BridgeFigures) -> type[BaseHTTPRequestHandler]:
    class Pages(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._say(200, figures.text())
            elif self.path == "/healthz":
                self._say(*((200, b"ok\n") if figures.is_well else (503, b"no broker\n")))
            else:
                self._say(404, b"there is /healthz and /metrics\n")

        def _say(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            """Say nothing: whoever asks, asks every few seconds."""

    return Pages
