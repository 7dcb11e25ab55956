"""What leaves a device, counted on the wire: the installed agent as a process, a real gateway, a proxy in between."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from tests.integration.gateway.live import COMMAND, Site
from tests.support.counting_proxy import Wire, watched
from tests.support.owner import CLASSES, FEATURES, PROFILES, WORKLOAD, tiny_manifest, tiny_model
from tinymlops.edge.agent import Agent
from tinymlops.edge.http_transport import HttpTransport
from tinymlops.edge.local_client import post
from tinymlops.edge.status import status_of
from tinymlops.edge.storage import Folder
from tinymlops.files import sha256
from tinymlops.fleet import CodeTerms
from tinymlops.gateway.keys import GatewayKey
from tinymlops.premises import Premises
from tinymlops.telemetry.tables import Tables
from tinymlops.wire.encoding import decode_packed
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.manifest import Histogram, Manifest, Statistic
from tinymlops.wire.messages import Record, TelemetryBatch
from tinymlops.wire.observations import Feature, FeatureKind, RecordName, Sample, Window

WAIT_S = 120.0
WINDOW_S = 2.0
QUIET_S = 2 * WINDOW_S + 2.0
"""Two windows and two rounds of the agent: what is to leave has left by then."""
TELEMETRY = "/v1/telemetry"


def counted(manifest: Manifest) -> Manifest:
    """The same manifest with an input feature and the classes to be counted."""
    histogram = Histogram(
        name="channel 0 mean", channel=0, statistic=Statistic.MEAN, edges=(0.0,), reference=(0.5, 0.5), rows=10
    )
    edges = tuple(place + 0.5 for place in range(CLASSES - 1))
    classes = Feature(name="class", kind=FeatureKind.CLASS, edges=edges, reference=(0.25,) * CLASSES, rows=10)
    return msgspec.structs.replace(manifest, histograms=(histogram,), output_features=(classes,))


class Device:
    """An agent's process, what it is asked, and all that it sends.

    Args:
        site: The owner's.
        wire: To the gateway.
        number: Of the device.
    """

    def __init__(self, site: Site, wire: Wire, number: int) -> None:
        self.site, self.wire, self.state = site, wire, site.folder / f"device-{number}"
        self.asked = self.newest = 0
        self.process: subprocess.Popen[bytes] | None = None
        premises, key = premises_of(site.folder), GatewayKey.load(site.folder / "gateway.pem").public
        terms = CodeTerms(expires_s=time.time() + 600, root_version=1)
        with premises.fleet() as fleet:
            code = fleet.new_code(terms, root=(premises.keys / "root.json").read_bytes(), gateway_key=key)
        Agent(Folder(self.state), HttpTransport(wire.address)).enrol(code, wire.address, PROFILES[0])

    def agent(self, *words: str) -> str:
        return self.site.run("agent", *words, "--state", str(self.state))

    def start(self, *options: str) -> None:
        words = ["run", "--state", str(self.state), "--listen", "127.0.0.1:0", "--trial", "0.2"]
        words += ["--window", str(WINDOW_S / 3600), "--samples-a-day", "500", *options]
        with (self.site.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen([COMMAND, "agent", *words], env=self.site.environment, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        (self.state / "listen").unlink()  # so that nobody takes it for the next one's

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def restart(self, *options: str) -> None:
        self.stop()
        self.start(*options)
        wait_for(self.answers)

    def answers(self) -> bool:
        ready = any(one.version == 1 for one in status_of(Folder(self.state)).workloads)
        return ready and (self.state / "listen").exists()

    def use(self, seconds: float) -> None:
        """Ask again and again."""
        address, rng = (self.state / "listen").read_text(), np.random.default_rng(self.asked)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            body = json.dumps({"inputs": rng.normal(size=FEATURES).tolist()}).encode()
            status, answer = post(address, f"/v1/models/{WORKLOAD}/predict", body)
            assert status == 200, answer
            self.asked, self.newest = self.asked + 1, json.loads(answer)["id"]
            time.sleep(0.02)

    def records(self) -> list[Record]:
        """Records that went over the wire, each once, in their order."""
        found = {
            record.sequence: record
            for body in self.wire.posted(TELEMETRY)
            for record in decode_packed(body, TelemetryBatch).records
        }
        return [found[sequence] for sequence in sorted(found)]

    def kinds(self) -> list[str]:
        return [one.kind for one in self.records()]

    def sent(self, name: RecordName) -> list[Record]:
        return [one for one in self.records() if one.kind == name]

    def windows(self) -> list[Window]:
        return [decode_packed(one.content, Window) for one in self.sent(RecordName.WINDOW)]

    def in_table(self) -> list[tuple[float, tuple[tuple[int, ...], ...]]]:
        """Beginnings and histograms of this device's windows in the owner's table."""
        self.site.run("telemetry", "load")
        keys = DeviceKeys.from_bytes((self.state / "identity.key").read_bytes())
        rows = Tables(str(self.site.folder / "telemetry")).windows(WORKLOAD, began_s=0.0, ended_s=time.time() + 1e6)
        mine = rows.filter(pl.col("device_id") == keys.device_id).collect()
        found = zip(mine["began_s"].to_list(), mine["histograms"].to_list(), strict=True)
        return sorted((began_s, tuple(map(tuple, bins))) for began_s, bins in found)


def wait_for(condition: Callable[[], bool], *, most_s: float = WAIT_S) -> None:
    end = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Device]]:
    """Devices that run a release, each behind a wire of its own, and on whose disks nobody agreed to anything."""
    folder = tmp_path_factory.mktemp("site")
    site = Site(folder)
    site.run("keys", "create", "--development", "--bin-bits", "2")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(site.gateway("--poll", "1"))
        made = [Device(site, stack.enter_context(watched(server.port)), number) for number in range(3)]
        for one in made:
            one.start()
            stack.callback(one.stop)
        roll_out(premises_of(folder), made)
        yield iter(made)


def more_than(device: Device, count: int) -> bool:
    return len(device.windows()) > count


def premises_of(folder: Path) -> Premises:
    return Premises(
        store=str(folder / "repository"), private=str(folder / "private"), telemetry=str(folder / "telemetry"),
        database=f"sqlite:///{folder / 'fleet.sqlite'}", keys=folder / "keys",
    )  # fmt: skip


def roll_out(premises: Premises, made: list[Device]) -> None:
    model = tiny_model(1)
    manifests = [counted(tiny_manifest(model, 1, profile)) for profile in PROFILES]
    premises.publisher().publish(manifests, {sha256(model): model}, why="test", now_s=time.time())
    steering = premises.steering()
    steering.start(WORKLOAD, stages=(1.0,), rollout_id="all")

    def done() -> bool:
        steering.step("all")
        return all(one.answers() for one in made)

    wait_for(done)
    steering.fleet.close()


def test_nothing_leaves_before_consent_just_the_window_with_it_and_nothing_after(devices: Iterator[Device]) -> None:
    device = next(devices)
    device.use(QUIET_S)
    assert device.asked > 50
    assert device.wire.posted(TELEMETRY) == []
    assert not any(word in device.wire.sent for word in (b"/v1/telemetry", b"histograms", b"latencies"))
    assert b"/v1/health" in device.wire.sent, "the wire was watched"
    assert not (device.state / "observed").exists(), "nothing was even counted"

    before = device.asked
    device.agent("consent", "give", "drift", "operations", "--yes")
    device.use(WINDOW_S * 1.5)
    told = [device.agent("feedback", WORKLOAD, str(number), "b") for number in (device.newest, device.newest, 1)]
    assert [one.startswith("Counted.") for one in told] == [True, False, False]
    wait_for(lambda: sum(one.queries for one in device.windows()) >= device.asked - before)
    windows = device.windows()
    assert sum(one.queries for one in windows) == device.asked - before
    assert {(one.consent, one.epsilon, len(one.histograms)) for one in windows} == {(1, 0.5, 2)}
    wait_for(lambda: sum(one.labelled for one in device.windows()) == 1)
    assert device.sent(RecordName.SAMPLE) == []
    assert device.kinds()[0] == RecordName.CONSENT
    wait_for(lambda: device.in_table() == sorted((one.began_s, one.histograms) for one in device.windows()))

    device.use(WINDOW_S / 2)
    device.agent("consent", "withdraw")
    left = len(device.windows())
    device.use(QUIET_S)
    assert len(device.windows()) == left
    assert device.kinds()[-1] == RecordName.CONSENT
    assert "nothing" in device.agent("consent", "show")


def test_on_a_metered_network_consent_leaves_and_observations_wait_until_they_are_withdrawn(
    devices: Iterator[Device],
) -> None:
    device = next(devices)
    device.restart("--network", "metered")
    device.agent("consent", "give", "drift", "samples", "--yes")
    device.use(QUIET_S)
    assert set(device.kinds()) == {RecordName.CONSENT}
    waits = [path for path in (device.state / "spool").rglob("*") if path.is_file() and b"window" in path.read_bytes()]
    assert waits, "a window waits"

    taken_back = re.search(r"(\d+) records that waited here are deleted", device.agent("consent", "withdraw", "drift"))
    assert taken_back is not None
    assert int(taken_back[1]) >= 1
    device.restart()
    device.use(QUIET_S)
    wait_for(lambda: bool(device.sent(RecordName.SAMPLE)))
    assert device.windows() == []
    sample = decode_packed(device.sent(RecordName.SAMPLE)[0].content, Sample)
    assert np.frombuffer(sample.inputs, "<f4").size == FEATURES


def test_a_spent_ledger_keeps_histograms_here_also_after_kill_9(devices: Iterator[Device]) -> None:
    device = next(devices)
    device.restart("--privacy-budget", "1")
    device.agent("consent", "give", "drift", "operations", "--yes")
    device.use(QUIET_S + WINDOW_S)
    wait_for(lambda: len(device.windows()) >= 2)
    assert [bool(one.histograms) for one in device.windows()].count(True) == 1
    assert "1 of 1 spent" in device.agent("consent", "show")

    for _ in range(2):
        told = len(device.windows())
        device.kill()
        device.start("--privacy-budget", "1")
        wait_for(device.answers)
        device.use(WINDOW_S * 1.5)
        wait_for(functools.partial(more_than, device, told))
    windows = device.windows()
    assert [bool(one.histograms) for one in windows].count(True) == 1
    assert all(one.epsilon == 0 for one in windows if not one.histograms)
