"""A real Mosquitto of a test's own, on the loopback interface, with the users and rights of infra/services."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

RIGHTS = Path(__file__).parents[2] / "infra/services/mosquitto/rights"
PROGRAM = shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin")))
PASSWORDS = {"devices": "for devices", "bridge": "for the bridge"}


class Broker:
    """A broker that can be stopped and started again.

    Args:
        folder: For its files, and what it keeps.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.tls_port = free_port(), free_port()
        self.certificate = folder / "certificate.pem"
        for name, password in PASSWORDS.items():
            (folder / name).touch(0o600)
            (folder / name).write_text(password)
        self._configure()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        if PROGRAM is None:
            pytest.fail("there is no mosquitto: run `make test`, or install Debian's package")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-c", str(self.folder / "conf")], stdout=log, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def client(self, name: str, user: str = "devices") -> Any:
        """A client that is connected, with a thread of its own."""
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTv5)
        client.username_pw_set(user, PASSWORDS[user])
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        return client

    def _configure(self) -> None:
        passwords = self.folder / "passwords"
        passwords.write_text("".join(f"{name}:{password}\n" for name, password in PASSWORDS.items()))
        subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True, timeout=10)
        passwords.chmod(0o600)
        made = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]
        name = ["-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", str(self.folder / "certificate.key"), "-out", str(self.certificate)]
        subprocess.run([*made, *name, *files], check=True, capture_output=True, timeout=20)
        rights = self.folder / "rights"
        rights.write_text(RIGHTS.read_text())
        lines = (
            f"listener {self.port} 127.0.0.1",
            f"listener {self.tls_port} 127.0.0.1",
            f"certfile {self.certificate}",
            f"keyfile {self.folder / 'certificate.key'}",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {rights}",
            "persistence true",
            f"persistence_location {self.folder}/",
            "max_inflight_messages 0",
            "max_queued_messages 100000",
            "max_packet_size 1100000",
            *(["user root"] if os.getuid() == 0 else []),
        )
        (self.folder / "conf").write_text("\n".join(lines) + "\n")


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


@contextmanager
def mosquitto(folder: Path) -> Iterator[Broker]:
    """A broker that runs until the block ends."""
    folder.mkdir()
    broker = Broker(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
