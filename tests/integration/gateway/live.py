"""The installed gateway as its own process, and devices that talk to it over a socket."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import urllib3
from urllib3.response import BaseHTTPResponse

from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import Enrolment, EnrolmentRequest
from tinymlops.wire.request_signing import Request, sign
from tinymlops.wire.sealing import Cipher

TOKEN = "an operator's token for tests"  # noqa: S105
COMMAND = str(Path(sys.executable).with_name("tinymlops"))


class Site:
    """The owner's commands, with everything in one folder."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = (
            os.environ | {"TINYMLOPS_STATE": str(folder), "TINYMLOPS_OPERATOR_TOKEN": TOKEN} | environment
        )

    def run(self, *arguments: str) -> str:
        """What a command that ends well prints."""
        ended = subprocess.run(
            [COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, env=self.environment
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def code(self, *options: str) -> EnrolmentCode:
        return EnrolmentCode.parse(self.run("fleet", "code", *options))

    @contextlib.contextmanager
    def gateway(self, *options: str) -> Iterator[Server]:
        """A gateway that answers; it is told to stop when the block ends, and must end well."""
        port = free_port()
        log = self.folder / "gateway.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [COMMAND, "gateway", "--listen", f"127.0.0.1:{port}", *options],
                stdout=output,
                stderr=output,
                env=self.environment,
            )
        server = Server(process, port, log)
        try:
            server.wait()
            yield server
            server.stop()
        finally:
            process.kill()
            process.wait(timeout=30)


class Server:
    """A gateway's process."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.pool = urllib3.PoolManager(timeout=30, retries=False)

    def wait(self) -> None:
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        """Ends by itself, with success, within seconds."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) in {0, -signal.SIGTERM}, self.log.read_text()

    def call(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        scheme: str = "http",
    ) -> BaseHTTPResponse:
        url = f"http://127.0.0.1:{self.port}{target}"
        return self.pool.request(method, url, body=body, headers=headers, redirect=False)

    def raw(self, content: bytes, *, timeout_s: float = 20) -> bytes:
        """All that comes back for some bytes, until the gateway closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(content)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(65536):
                    answer += part
        return answer

    def memory_mib(self) -> float:
        """Resident memory of the process."""
        line = next(
            one for one in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if one.startswith("VmRSS")
        )
        return int(line.split()[1]) / 1024


class LiveDevice:
    """Keys, and requests signed with them."""

    def __init__(self) -> None:
        self.keys = DeviceKeys.generate()
        self.id = self.keys.device_id

    def signed(self, method: str, target: str, body: bytes = b"") -> dict[str, str]:
        return sign(Request(method, target, body), self.keys, now_s=time.time())

    def ask(self, server: Server, method: str, target: str, body: bytes = b"") -> BaseHTTPResponse:
        return server.call(method, target, body, self.signed(method, target, body))

    def enrol(self, server: Server, code: EnrolmentCode, profile: str = "raspberry-pi-5") -> Enrolment:
        wanted = EnrolmentRequest(
            secret=code.secret,
            signing_key=self.keys.public.signing,
            sealing_key=self.keys.public.sealing,
            profile=profile,
            agent_version="0.1.0",
            cipher=Cipher.AES_256_GCM,
        )
        answer = self.ask(server, "POST", "/v1/enrol", encode(wanted))
        assert answer.status == 200, answer.data
        enrolment = decode(answer.data, Enrolment)
        code.check_anchor(enrolment.root, enrolment.gateway_key)
        return enrolment


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
