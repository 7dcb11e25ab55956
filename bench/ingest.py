"""How many signed windows a second become durable on two cores, devices and all; none is lost by a kill -9.

A crowd of devices signs and sends as quickly as one gateway acknowledges. In the middle the gateway is killed by
SIGKILL and started again; at the end the inbox is loaded, and the Delta table has to hold every acknowledged window
exactly once. Named alternative in the same run: FastAPI with pydantic and JSON doing the same job
(`bench/plain_ingest.py`). Everything, the devices too, has two cores.

    python bench/ingest.py                 half a minute
    python bench/ingest.py --seconds 120   two minutes of sustained load
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bench import plain_ingest
from bench.gateway import cpu_s, free_port, wait_for
from tests.support.senders import Crowd, Sender, packed, senders
from tinymlops.fleet import Fleet, open_fleet
from tinymlops.gateway import GatewayKey, GatewaySettings, Listening, create_app, serve
from tinymlops.gateway.observing import configure_logging
from tinymlops.store import DirectoryStore
from tinymlops.telemetry.loading import Loader
from tinymlops.telemetry.tables import Tables

OURS, PLAIN = "tinymlops", "plain"
_LOOK_S = 0.5


@dataclass(frozen=True)
class Plan:
    """One run.

    Attributes:
        server: `OURS` or `PLAIN`.
        each: Windows in a request.
        seconds: How long devices send.
        kill: Whether the server is killed in the middle.
    """

    server: str
    each: int
    seconds: float
    kill: bool = False


@dataclass
class Result:
    """Of one run; ``away_s`` is the time without a server, ``rss_mib`` what was seen of its memory, in order."""

    windows: int
    took_s: float
    away_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    rss_mib: list[float]
    load_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Windows a second, while a server was there."""
        return self.windows / (self.took_s - self.away_s)

    @property
    def whole_per_s(self) -> float:
        """Windows a second with the kill, the restart and the loading into the table counted."""
        return self.windows / (self.took_s + self.load_s)


class Server:
    """A server's process, which can be killed and started again.

    Args:
        kind: `OURS` or `PLAIN`.
        folder: Holds everything.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self._command = [sys.executable, __file__, "--serve", kind, str(folder), str(free_port())]
        self.port = int(self._command[-1])
        self._process: subprocess.Popen[bytes] | None = None
        self._listens = False
        self._used_s = 0.0
        self.rss_mib: list[float] = []
        self.away_s = 0.0

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(self._command)
        wait_for(self.port)
        self._used_s -= cpu_s(self._process.pid)  # to start is not what is measured
        self._listens = True

    async def restart(self) -> None:
        """Kill -9, and start again at the same port."""
        began = time.perf_counter()
        self.stop()
        await asyncio.to_thread(self.start)
        self.away_s += time.perf_counter() - began

    def stop(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._used_s, self._listens = self.cpu_s, False
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    @property
    def cpu_s(self) -> float:
        """Of all lives, once they listened."""
        return self._used_s + (cpu_s(self._process.pid) if self._process else 0.0)

    async def watch(self) -> None:
        """Look at the memory, until cancelled."""
        while True:
            if self._process is not None and self._listens:
                with contextlib.suppress(OSError, StopIteration):  # it was killed just now
                    self.rss_mib.append(rss_mib(self._process.pid))
            await asyncio.sleep(_LOOK_S)


def main() -> None:
    """Measure all, print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load, with the windows of a day in a request")
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--only", choices=(OURS, PLAIN))
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "FOLDER", "PORT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve_here(*given.serve)
        return
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    short_s = min(given.seconds, 10.0) / 2
    plans = [
        Plan(OURS, 4, given.seconds, kill=True),
        Plan(OURS, 1, short_s),
        Plan(PLAIN, 4, short_s),
        Plan(PLAIN, 1, short_s),
    ]
    results = {}
    for plan in plans:
        if given.only in {None, plan.server}:
            results[plan.server, plan.each] = result = measure(plan, given.devices, given.connections)
            show(plan, result)
    for each in (4, 1):
        if (OURS, each) in results and (PLAIN, each) in results:
            ours, plain = results[OURS, each], results[PLAIN, each]
            print(
                f"{each} a request: {ours.per_s / plain.per_s:.1f} times the plain server; "
                f"{plain.cpu_us / ours.cpu_us:.1f} times less of the server's CPU"
            )


def show(plan: Plan, result: Result) -> None:
    """A run in words."""
    name = "tinymlops" if plan.server == OURS else "FastAPI + pydantic"
    print(
        f"{name}, {plan.each} a request: {result.per_s:,.0f} windows/s acknowledged over {result.took_s:.0f} s "
        f"({result.windows:,}, all kept once), {result.cpu_us:.0f} us of the server's CPU each, "
        f"answers p50 {result.p50_ms:.0f} ms, p99 {result.p99_ms:.0f} ms"
    )
    first, last = result.rss_mib[len(result.rss_mib) // 4], result.rss_mib[-1]
    print(
        f"    resident memory: {first:.0f} MiB early, {last:.0f} MiB at the end, {max(result.rss_mib):.0f} MiB at most"
    )
    if plan.server == OURS:
        print(
            f"    killed and back after {result.away_s:.1f} s; "
            * plan.kill
            + f"loaded into the table in {result.load_s:.1f} s ({result.windows / result.load_s:,.0f} windows/s); "
            f"with all that counted {result.whole_per_s:,.0f} windows/s"
        )


def measure(plan: Plan, devices: int, connections: int) -> Result:
    """One server, one crowd; ends the program if a window is missing or there twice."""
    with tempfile.TemporaryDirectory(prefix="tinymlops-ingest-") as name, opened(Path(name)) as fleet:
        folder = Path(name)
        crowd_of = senders(fleet, devices)
        crowd = Crowd(crowd_of, each=plan.each, body=packed if plan.server == OURS else plain_ingest.body)
        server = Server(plan.server, folder)
        server.start()
        try:
            asyncio.run(crowd.greet(server.port))
            before, used_s = crowd.windows, server.cpu_s
            began = time.perf_counter()
            asyncio.run(drive(plan, server, crowd, connections))
            took_s = time.perf_counter() - began
            windows, used_s = crowd.windows - before, server.cpu_s - used_s
        finally:
            server.stop()
        began = time.perf_counter()
        check(plan, folder, fleet, crowd_of)
        load_s = time.perf_counter() - began
        times = sorted(crowd.told.latencies_s)
    return Result(
        windows=windows,
        took_s=took_s,
        away_s=server.away_s,
        cpu_us=used_s / windows * 1e6,
        p50_ms=times[len(times) // 2] * 1e3,
        p99_ms=times[len(times) * 99 // 100] * 1e3,
        rss_mib=server.rss_mib,
        load_s=load_s if plan.server == OURS else 0.0,
    )


async def drive(plan: Plan, server: Server, crowd: Crowd, connections: int) -> None:
    """Send, watch the memory, and kill in the middle."""
    watching = asyncio.create_task(server.watch())
    sending = asyncio.create_task(crowd.send(server.port, seconds=plan.seconds, connections=connections))
    if plan.kill:
        await asyncio.sleep(plan.seconds / 2)
        await server.restart()
    await sending
    watching.cancel()


def check(plan: Plan, folder: Path, fleet: Fleet, devices: list[Sender]) -> None:
    """Every acknowledged window is kept once."""
    sent = {one.keys.device_id: one.windows for one in devices if one.windows}
    if plan.server == PLAIN:
        if plain_ingest.kept(folder / "plain.sqlite") != sum(sent.values()):
            raise SystemExit("the plain server lost windows")
        return
    tables = Tables(str(folder / "telemetry"))
    loaded = Loader(DirectoryStore(folder / "telemetry"), fleet, tables).load()
    if loaded.refused or loaded.quarantined:
        raise SystemExit(f"not all was believed: {loaded}")
    rows = (
        tables.scan("windows").group_by("device_id").agg(pl.len().alias("n"), pl.col("sequence").n_unique().alias("u"))
    )
    found = {one["device_id"]: (one["n"], one["u"]) for one in rows.collect().iter_rows(named=True)}
    if found != {device: (count, count) for device, count in sent.items()}:
        raise SystemExit("the table does not hold every acknowledged window once")


def serve_here(kind: str, folder: str, port: str) -> None:
    """The server's process."""
    place = Path(folder)
    with opened(place) as fleet:
        if kind == PLAIN:
            keys = {device.device_id: device.keys.signing for device in fleet.devices()}
            plain_ingest.serve_plain(place / "plain.sqlite", keys, int(port))
            return
        with (place / "log").open("a") as log:
            configure_logging(log)
            telemetry = DirectoryStore(place / "telemetry")
            app = create_app(
                GatewaySettings(rates=None),
                fleet,
                DirectoryStore(place / "store"),
                GatewayKey.generate(),
                telemetry=telemetry,
            )
            serve(app, Listening(port=int(port)))


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Fleet]:
    """The fleet's record in a folder."""
    with open_fleet(f"sqlite:///{folder / 'fleet.sqlite'}") as fleet:
        yield fleet


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(one for one in lines if one.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    main()
