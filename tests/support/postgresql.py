"""A real PostgreSQL for tests: a private cluster on a free port, on this machine alone, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_DEBIAN = Path("/usr/lib/postgresql")
_OWNER = "postgres"
_TIMEOUT_S = 120
_FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=60")


@dataclass(frozen=True)
class PostgreSQL:
    """A running server.

    Attributes:
        port: On 127.0.0.1.
    """

    port: int

    def database(self) -> str:
        """Address of a new, empty database."""
        import psycopg

        name = f"t{secrets.token_hex(6)}"
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user={_OWNER} dbname=postgres", autocommit=True) as made:
            made.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://{_OWNER}@127.0.0.1:{self.port}/{name}"


@contextlib.contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Start a server; it is stopped and its data removed when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if os.geteuid() == 0:  # initdb refuses root, and its user must reach the folder
        shutil.chown(folder, _OWNER, _OWNER)
    data, port = folder / "data", _free_port()
    try:
        _run("initdb", "-D", str(data), "-U", _OWNER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} " + " ".join(f"-c {one}" for one in _FAST)
        _run("pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-o", options, "-w", "start")
        try:
            yield PostgreSQL(port)
        finally:
            _run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


def _run(program: str, *arguments: str) -> None:
    command: Sequence[str] = [str(_binaries() / program), *arguments]
    if os.geteuid() == 0:
        user = pwd.getpwnam(_OWNER)
        command = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *command]
    # pg_ctl's server would keep a pipe open for ever: output goes to a file
    with tempfile.TemporaryFile() as output:
        ended = subprocess.run(command, stdout=output, stderr=output, timeout=_TIMEOUT_S, check=False, cwd="/")
        output.seek(0)
        assert ended.returncode == 0, f"{program}: {output.read().decode(errors='replace')}"


def _binaries() -> Path:
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    assert found, "PostgreSQL is not installed: run infra/test-machine.sh"
    return found[-1].parent


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
