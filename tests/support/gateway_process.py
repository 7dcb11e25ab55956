"""The simulated gateway behind a real HTTP server on the loopback interface."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.agent_scenario import Control
from tests.support.gateway_simulator import World
from tinymlops.edge.seams import Call
from tinymlops.errors import TinyMLOpsError


@contextmanager
def serving(world: World, control: Control | None = None) -> Iterator[str]:
    """Serve until the block ends; gives the address. ``/test/…`` lets a device's play steer its owner."""
    server = _Server(("127.0.0.1", 0), _handler(world, control))
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a device that was killed in the middle
            super().handle_error(request, client_address)


def _handler(world: World, control: Control | None) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 64 * 1024

        def do_GET(self) -> None:
            self._answer("GET", b"")

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.path.startswith("/test/") and control is not None:
                _, device, stage = self.path.strip("/").split("/")
                with lock:
                    control.enter(device, int(stage))
                self._send(200, {}, b"")
            else:
                self._answer("POST", content)

        def _answer(self, method: str, content: bytes) -> None:
            answer = world.send(Call(method, self.path, dict(self.headers.items()), content))
            parts: list[bytes] = []
            try:
                parts.extend(answer.chunks)
                whole = True
            except TinyMLOpsError:
                whole = False
            self._send(answer.status, answer.headers, b"".join(parts), whole=whole)

        def _send(self, status: int, headers: Any, content: bytes, *, whole: bool = True) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) + (0 if whole else 1000)))
            self.close_connection = not whole
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler
