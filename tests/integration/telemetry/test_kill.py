"""Gateway and loader killed by SIGKILL while devices send: what was acknowledged is in the table, once."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.integration.gateway.live import COMMAND, free_port
from tests.support.seaweedfs import BUCKET, S3Server
from tests.support.senders import Crowd, senders
from tinymlops.fleet import Fleet, open_fleet
from tinymlops.store import ObjectStore, open_store
from tinymlops.telemetry.loading import Loader
from tinymlops.telemetry.segments import segment_keys
from tinymlops.telemetry.tables import Tables

_START_S = 60
_PAUSES_S = (0.0, 0.01, 0.05)
"""How long loaders live once they have begun to write."""


class Site:
    """A gateway that can be killed, and loaders that are."""

    def __init__(self, folder: Path, telemetry: str, *, kills: int) -> None:
        self.telemetry = telemetry
        self.kills = kills
        database = f"sqlite:///{folder / 'fleet.sqlite'}"
        self.fleet: Fleet = open_fleet(database)
        self.log = folder / "log"
        self.port = free_port()
        self.environment = os.environ | {
            "TINYMLOPS_STATE": str(folder),
            "TINYMLOPS_DATABASE": database,
            "TINYMLOPS_TELEMETRY": telemetry,
        }
        self.gateway: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen([COMMAND, *words], stdout=log, stderr=log, env=self.environment)

    def start_gateway(self) -> None:
        rates = ("--device-rate", "1000000/minute", "--address-rate", "1000000/minute")
        self.gateway = self.start("gateway", "--listen", f"127.0.0.1:{self.port}", *rates)

    def kill_gateway(self) -> None:
        if self.gateway is not None:
            kill(self.gateway)

    def load(self) -> None:
        """What is left, in this process."""
        Loader(self.store(), self.fleet, Tables(self.telemetry)).load()

    def store(self) -> ObjectStore:
        return open_store(self.telemetry)

    def rows(self) -> dict[str, list[int]]:
        """Device → numbers of its windows in the table."""
        frame = Tables(self.telemetry).scan("windows").group_by("device_id").agg(pl.col("sequence").sort()).collect()
        return dict(frame.iter_rows())


@pytest.fixture(params=["folder", "bucket"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    telemetry, kills = str(tmp_path / "telemetry"), 2
    if request.param == "bucket":
        server: S3Server = request.getfixturevalue("s3_server")
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        telemetry, kills = f"s3://{BUCKET}/kill-{secrets.token_hex(4)}", 1
    site = Site(tmp_path, telemetry, kills=kills)
    yield site
    site.kill_gateway()
    site.fleet.close()


def test_every_acknowledged_window_is_in_the_table_once_whoever_is_killed(site: Site) -> None:
    devices = senders(site.fleet, 24)
    crowd = Crowd(devices, each=4)
    site.start_gateway()
    try:
        asyncio.run(asyncio.wait_for(disturbed(site, crowd), timeout=150))
    except TimeoutError:
        raise AssertionError(site.log.read_text(errors="replace")[-3000:]) from None
    assert crowd.told.broken > 0, "nobody was cut off: the gateway was not killed while devices sent"
    site.load()
    assert segment_keys(site.store()) == []
    expected = {one.keys.device_id: list(range(1, one.windows + 1)) for one in devices if one.windows}
    assert site.rows() == expected


async def disturbed(site: Site, crowd: Crowd) -> None:
    """Devices send; gateways and loaders die meanwhile."""
    await listening(site)
    sending = asyncio.create_task(crowd.send(site.port, seconds=2 + 3 * site.kills, connections=8))
    loading = asyncio.create_task(killed_loaders(site))
    for _ in range(site.kills):
        await asyncio.sleep(1)
        site.kill_gateway()
        site.start_gateway()
        await listening(site)
    await loading
    await sending


async def killed_loaders(site: Site) -> None:
    """Each lives until it has begun to write, and some time that nobody chose."""
    for pause_s in _PAUSES_S[: site.kills + 1]:
        waiting = set(segment_keys(site.store()))
        loader = site.start("telemetry", "load")
        end = time.monotonic() + 30
        while time.monotonic() < end and loader.poll() is None:
            if waiting - set(segment_keys(site.store())):
                break  # it has loaded some, and goes on
            await asyncio.sleep(0.02)
        await asyncio.sleep(pause_s)
        kill(loader)


async def listening(site: Site) -> None:
    """Until the gateway listens."""
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        assert site.gateway is not None
        assert site.gateway.poll() is None, site.log.read_text(errors="replace")[-3000:]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise AssertionError(site.log.read_text(errors="replace")[-3000:])


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(timeout=30)
