"""Asks the agent that runs on this device."""

from __future__ import annotations

import http.client
import socket

from tinymlops.errors import UnreachableError

_WAIT_S = 30.0


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_WAIT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_WAIT_S)
        self.sock.connect(self._path)


def post(address: str, path: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer.

    Args:
        address: As `LocalServer.address` gives it.
        path: Of the page.
        body: JSON.

    Raises:
        UnreachableError: Nobody answers there.
    """
    if address.startswith("unix:"):
        connection: http.client.HTTPConnection = _Unix(address.removeprefix("unix:"))
    else:
        connection = http.client.HTTPConnection(address, timeout=_WAIT_S)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(
            f"the agent at {address} does not answer ({error})", "look at `tinymlops agent status`, or start it again"
        ) from error
    finally:
        connection.close()
