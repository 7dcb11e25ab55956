"""How many signed health reports a gateway keeps in a second on one core, each one durable before it is acknowledged.

The server has one core of this machine and the client, which signed everything beforehand, another. Named alternative:
the same server with a transaction for each report. ``python bench/gateway.py`` prints both and their ratio, and the
time of the server's CPU for each report, which does not depend on how quick disk and client are.

``--database postgresql://…`` measures with that database instead of SQLite; it gets a table or two.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tinymlops.fleet import CodeTerms, Fleet, open_fleet
from tinymlops.gateway import GatewayKey, GatewaySettings, Listening, create_app, serve
from tinymlops.gateway.observing import configure_logging
from tinymlops.store import DirectoryStore
from tinymlops.wire.encoding import encode
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.messages import EnrolmentRequest, HealthReport, Phase, ReleaseHealth
from tinymlops.wire.request_signing import Request, sign
from tinymlops.wire.sealing import Cipher

DEVICES, CONNECTIONS = 500, 64
TICKS = os.sysconf("SC_CLK_TCK")


class Result(msgspec.Struct, frozen=True):
    """Of one run."""

    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    """Measure both, print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=15_000)
    parser.add_argument("--database")
    parser.add_argument("--serve", nargs=4, metavar=("FOLDER", "DATABASE", "PORT", "MOST"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve_here(*given.serve)
        return
    together = measure(given.reports, 500, given.database)
    alone = measure(max(500, given.reports // 10), 1, given.database)
    for name, result in (("commits shared", together), ("a commit each", alone)):
        print(
            f"{name:15} {result.per_s:7,.0f} reports/s on one core, {result.cpu_us:5.0f} us of the server's CPU each, "
            f"answers p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
        )
    print(f"ratio           {together.per_s / alone.per_s:7.1f}")


def serve_here(folder: str, database: str, port: str, most: str) -> None:
    """The server's process: one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    settings = GatewaySettings(rates=None, most_in_a_commit=int(most))
    with (Path(folder) / "log").open("w") as log, open_fleet(database) as fleet:
        configure_logging(log)
        app = create_app(settings, fleet, DirectoryStore(Path(folder) / "store"), GatewayKey.generate())
        serve(app, Listening(port=int(port)))


def measure(reports: int, most: int, database: str | None) -> Result:
    """One server, one crowd of devices."""
    with tempfile.TemporaryDirectory() as folder:
        address = database or f"sqlite:///{folder}/fleet.sqlite"
        with open_fleet(address) as fleet:
            devices = [enrolled(fleet) for _ in range(DEVICES)]
        port = free_port()
        command = [sys.executable, __file__, "--serve", folder, address, str(port), str(most)]
        server = subprocess.Popen(command)
        try:
            requests = [request(devices[number % DEVICES], number // DEVICES) for number in range(reports)]
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            wait_for(port)
            return asyncio.run(drive(server.pid, port, requests))
        finally:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
            server.terminate()
            server.wait(timeout=30)


def enrolled(fleet: Fleet) -> DeviceKeys:
    """A device that was let in."""
    keys = DeviceKeys.generate()
    terms = CodeTerms(expires_s=time.time() + 3600, root_version=1)
    code = fleet.new_code(terms, root=b"root", gateway_key=bytes(32))
    wanted = EnrolmentRequest(
        secret=code.secret,
        signing_key=keys.public.signing,
        sealing_key=keys.public.sealing,
        profile="raspberry-pi-5",
        agent_version="0.1.0",
        cipher=Cipher.AES_256_GCM,
    )
    fleet.enrol(wanted, now_s=time.time())
    return keys


def request(keys: DeviceKeys, sequence: int) -> bytes:
    """A signed report as bytes of HTTP/1.1."""
    release = ReleaseHealth(
        workload="activity",
        version=3,
        assignment=5,
        phase=Phase.GOOD,
        recipe="pruned-int8",
        sha256="0" * 64,
        queries=1000 + sequence,
        latency_p50_us=210.0,
        latency_p95_us=330.0,
    )
    report = HealthReport(sequence=sequence, sent_at=time.time(), agent_version="0.1.0", releases=(release,))
    body = encode(report)
    headers = sign(Request("POST", "/v1/health", body), keys, now_s=time.time())
    lines = ["POST /v1/health HTTP/1.1", "Host: gateway", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def drive(server: int, port: int, requests: Sequence[bytes]) -> Result:
    """Send everything over a few connections, one request at a time on each."""
    times: list[float] = []
    waiting = iter(requests)
    before, began = cpu_s(server), time.perf_counter()
    await asyncio.gather(*(one_connection(port, waiting, times) for _ in range(CONNECTIONS)))
    took, used = time.perf_counter() - began, cpu_s(server) - before
    times.sort()
    count = len(times)
    return Result(count / took, used / count * 1e6, times[count // 2] * 1e3, times[count * 99 // 100] * 1e3)


async def one_connection(port: int, waiting: object, times: list[float]) -> None:
    """Requests and answers in turn until there are no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for content in waiting:  # type: ignore[attr-defined]
        began = time.perf_counter()
        writer.write(content)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"refused: {body.decode()}")
        times.append(time.perf_counter() - began)
    writer.close()


def cpu_s(pid: int) -> float:
    """Time of CPU that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(port: int) -> None:
    """Until somebody listens."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()
