"""Servers under supervision: started again when they die, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.running import tinymlops
from tinymlops.cli import supervisor as module
from tinymlops.cli.supervisor import Server, Supervisor, refuse_taken
from tinymlops.errors import SetupError

# A server that starts a process in a session of its own, as Prefect's worker does, and says the ids of both.
_SERVER = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
place = pathlib.Path(sys.argv[1])
place.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")
place.with_suffix(".new").rename(place)
time.sleep(60)
"""


def server(folder: Path) -> Server:
    said = folder / "said"
    return Server(name="one", command=[sys.executable, "-c", _SERVER, str(said)], url="", health=said.exists)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ids(folder: Path) -> tuple[int, int]:
    first, second = (folder / "said").read_text().split()
    return int(first), int(second)


def test_at_the_end_nothing_is_left_and_what_died_was_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(tmp_path / "logs", told.append)
    supervisor.start(server(tmp_path))
    supervisor.wait("one")
    first = ids(tmp_path)
    watching = threading.Thread(target=supervisor.watch, daemon=True)  # ends with the tests' process
    watching.start()
    os.kill(first[0], signal.SIGKILL)
    until(lambda: ids(tmp_path) != first)
    assert told == ["one has ended (SIGKILL); it is started again."]
    assert not any(alive(process) for process in first), "its child is gone before it is started again"
    second = ids(tmp_path)
    supervisor.end()
    assert not any(alive(process) for process in second)


def test_when_the_supervisor_itself_is_killed_nothing_is_left(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from tests.unit.cli.test_supervisor import server\n"
        "from tinymlops.cli.supervisor import Supervisor\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "supervisor = Supervisor(folder / 'logs', print)\n"
        "supervisor.start(server(folder))\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).parents[3]
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    until((tmp_path / "said").exists)
    process.kill()
    process.wait(timeout=20)
    until(lambda: not any(alive(one) for one in ids(tmp_path)))


def test_a_server_that_does_not_start_is_said_with_its_log(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, print)
    supervisor.start(
        Server(name="one", command=[sys.executable, "-c", "print('no port', flush=True); raise SystemExit(3)"], url="",
               health=lambda: False)
    )  # fmt: skip
    with pytest.raises(SetupError, match="one did not start: .*one.log says why"):
        supervisor.wait("one")
    assert supervisor.log("one").read_text() == "no port\n"
    supervisor.end()


def test_a_server_that_dies_again_and_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_DEATHS", 2)
    supervisor = Supervisor(tmp_path, lambda _: None)
    supervisor.start(
        Server(name="one", command=[sys.executable, "-c", "raise SystemExit(3)"], url="", health=lambda: True)
    )
    with pytest.raises(SetupError, match="again and again \\(exit code 3\\)"):
        supervisor.watch()
    supervisor.end()


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"port {port} of 127.0.0.1 can't be used"):
            refuse_taken("127.0.0.1", port, "--prefect-port")
        ended = tinymlops(
            "serve", "--only", "gateway", "--gateway-port", str(port), TINYMLOPS_STATE=str(tmp_path / "state")
        )
    assert ended.returncode == 9
    assert "choose another one with --gateway-port" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "state").exists()
