"""The embedded Prefect server of a command: its pages can be watched, and it never outlives the command.

Prefect would start a server of its own accord, but one without pages, which goes on for ever if the command is killed.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tinymlops.errors import SetupError
from tinymlops.isolation import die_with_parent

_USUAL_PORT = 4200
_START_S = 120.0
_STOP_S = 10.0


def start_prefect_server(log: Path) -> Callable[[], str]:
    """Start a server and set ``PREFECT_API_URL``, unless that names one already.

    Returns a function that waits until the server answers, and gives the address of its pages. Call this before
    Prefect is imported: what Prefect still has to send when the process ends is then sent before the server stops.

    Args:
        log: Where the server writes what troubles it.
    """
    chosen = os.environ.get("PREFECT_API_URL")
    if chosen:
        return lambda: chosen.removesuffix("/api")
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    pages = {"PREFECT_SERVER_UI_API_URL": f"{address}/api", "PREFECT_UI_ENABLED": "true"}
    with log.open("ab") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "tinymlops.cli.prefect_server", str(port), str(os.getpid())],
            stdout=stream,
            stderr=stream,
            env=os.environ | pages,
            start_new_session=True,  # Ctrl-C is for the command, which still has things to tell the server
        )
    atexit.register(_stop, server)
    os.environ["PREFECT_API_URL"] = f"{address}/api"
    return lambda: _ready(server, address, log)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _ready(server: subprocess.Popen[bytes], address: str, log: Path) -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/api/health", timeout=5):  # noqa: S310 - our own address
                return address
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SetupError("the embedded Prefect server did not start", f"{log} says why; mend that and run this again")


def _free_port() -> int:
    for port in (_USUAL_PORT, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SetupError("no port of this machine is free", "close some programs")


def _main(port: int, parent: int) -> None:
    import uvicorn

    die_with_parent(parent)
    uvicorn.run("prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
