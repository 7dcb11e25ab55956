"""Several servers as one: started, waited for, started again when they die, and ended together."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinymlops.cli.supervised import GRACE_S, command_for
from tinymlops.errors import SetupError

START_S = 180.0
"""How long a server may take until it answers, in seconds; the first start makes databases."""
_END_S = GRACE_S + 10.0
_LOOK_EVERY_S = 0.2
_MOST_DEATHS, _WITHIN_S = 5, 120.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server, before it is started.

    Attributes:
        name: For people, and of its log.
        command: That starts it.
        url: For people; empty for one that has no pages.
        health: Answers with a success once it is well.
        environment: On top of this process's own.
    """

    name: str
    command: Sequence[str]
    url: str
    health: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)


class Supervisor:
    """Runs servers.

    Args:
        logs: Folder that each writes to, in a file of its name.
        say: Tells a person.
    """

    def __init__(self, logs: Path, say: Callable[[str], None]) -> None:
        self._logs, self._say = logs, say
        self._running: dict[str, tuple[Server, subprocess.Popen[bytes]]] = {}
        self._deaths: dict[str, deque[float]] = {}
        self._ending = False

    def log(self, name: str) -> Path:
        """Where a server writes what it has to say."""
        return self._logs / f"{name}.log"

    def start(self, server: Server) -> None:
        """Start a server; `wait` for it then."""
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(server.name).open("ab") as log:
            process = subprocess.Popen(
                command_for([*server.command]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | dict(server.environment),
                start_new_session=True,  # Ctrl-C is for this process, which ends the others in order
            )
        self._running[server.name] = (server, process)

    def wait(self, name: str) -> None:
        """Return once the server is well.

        Raises:
            SetupError: It ended, or is not well in time.
        """
        server, process = self._running[name]
        deadline = time.monotonic() + START_S
        while not server.health():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SetupError(f"{name} did not start", f"{self.log(name)} says why; mend that and run this again")
            time.sleep(_LOOK_EVERY_S)

    def watch(self) -> None:
        """Start again what dies, until `end` is called.

        Raises:
            SetupError: One dies again and again.
        """
        while not self._ending:
            time.sleep(_LOOK_EVERY_S)
            for server, process in list(self._running.values()):
                if process.poll() is not None and not self._ending:
                    self._start_again(server, process.returncode)

    def end(self) -> None:
        """End all of them, the last one first; nothing of them is left."""
        self._ending = True
        processes = [process for _, process in reversed(self._running.values())]
        for process in processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + _END_S
        for process in processes:
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _start_again(self, server: Server, code: int) -> None:
        how = signal.Signals(code - 128).name if code > 128 else f"exit code {code}"
        deaths = self._deaths.setdefault(server.name, deque(maxlen=_MOST_DEATHS))
        deaths.append(time.monotonic())
        if len(deaths) == _MOST_DEATHS and deaths[-1] - deaths[0] < _WITHIN_S:
            raise SetupError(f"{server.name} ends again and again ({how})", f"{self.log(server.name)} says why")
        self._say(f"{server.name} has ended ({how}); it is started again.")
        self.start(server)


def answers(url: str) -> bool:
    """Whether something answers at ``url`` with a success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
            return bool(200 <= answer.status < 300)
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False


def refuse_taken(host: str, port: int, option: str) -> None:
    """Check that a port is free.

    Raises:
        SetupError: It is not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SetupError(
                f"port {port} of {host} can't be used ({error.strerror})",
                f"choose another one with {option}, or stop whatever has it",
            ) from error
