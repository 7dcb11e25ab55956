"""A wire that is watched: a TCP proxy that keeps every byte that goes through it, in both directions."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_WAIT_S = 30.0


class Wire:
    """What went over the wire.

    Args:
        port: Of the server behind it.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._sent: list[bytearray] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.settimeout(0.2)
        self._stop = threading.Event()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Of the near end."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def sent(self) -> bytes:
        """All bytes that went to the server, connection by connection."""
        with self._lock:
            return b"\n".join(bytes(one) for one in self._sent)

    def posted(self, path: str) -> list[bytes]:
        """Bodies of the POST requests to a path, as far as they have gone through; requests name their length."""
        with self._lock:
            connections = [bytes(one) for one in self._sent]
        return [body for content in connections for target, body in _requests(content) if target == path]

    def close(self) -> None:
        """Cut it."""
        self._stop.set()
        self._thread.join(5)
        self._listener.close()
        with self._lock:
            ends = list(self._open)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                near, _ = self._listener.accept()
                self._join(near)

    def _join(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._port), timeout=_WAIT_S)
        except OSError:
            near.close()
            return
        near.settimeout(_WAIT_S)
        kept = bytearray()
        with self._lock:
            self._open += [near, far]
            self._sent.append(kept)
        for source, target, memory in ((near, far, kept), (far, near, None)):
            threading.Thread(target=self._pump, args=(source, target, memory), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, memory: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                if memory is not None:
                    with self._lock:
                        memory += part  # before it goes on: what arrived is always counted
                target.sendall(part)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def _requests(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Target and body of each HTTP/1.1 request of a connection."""
    at = 0
    while (end := content.find(b"\r\n\r\n", at)) >= 0:
        head = content[at:end].decode("latin-1")
        length = re.search(r"(?im)^content-length: *(\d+)", head)
        at = end + 4 + (int(length[1]) if length else 0)
        yield head.split(" ", 2)[1], content[end + 4 : at]


@contextmanager
def watched(port: int) -> Iterator[Wire]:
    """A wire to a port of this machine, until the block ends."""
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()
