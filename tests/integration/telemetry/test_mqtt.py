"""Telemetry through a real Mosquitto: whatever is killed, each window that a device tells is in the table once."""

from __future__ import annotations

import queue
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.mosquitto import Broker, free_port, mosquitto
from tests.support.observations import Teller, consent, window
from tests.support.segments import kept
from tinymlops.fleet import Fleet, open_fleet
from tinymlops.gateway.keys import GatewayKey
from tinymlops.store import DirectoryStore
from tinymlops.telemetry.loading import Loader
from tinymlops.telemetry.tables import Tables
from tinymlops.wire.carried import CarriedRequest, TelemetryKept, kept_topic, told_topic
from tinymlops.wire.encoding import decode, encode_packed
from tinymlops.wire.messages import Record, SignedBytes, TelemetryBatch

WAIT_S = 15.0
COMMAND = "from tinymlops.cli.main import main; main()"


class Site:
    """What an owner has: a broker, a fleet, an inbox, a gateway's key, bridges."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder = folder
        self.broker = broker
        self.key = GatewayKey.create(folder / "gateway.pem")
        self.database = f"sqlite:///{folder / 'fleet.sqlite'}"
        self.fleet: Fleet = open_fleet(self.database)
        self.store = DirectoryStore(folder / "telemetry")

    @contextmanager
    def bridge(self, *options: str, url: str = "") -> Iterator[subprocess.Popen[str]]:
        """A bridge's process; killed at the end, unless it has ended."""
        process = subprocess.Popen(
            [
                sys.executable, "-c", COMMAND, "telemetry", "bridge", "--broker", url or self.broker.url,
                "--telemetry", str(self.folder / "telemetry"), "--database", self.database,
                "--key", str(self.folder / "gateway.pem"),
                "--username", "bridge", "--password-file", str(self.broker.folder / "bridge"), *options,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=10)

    def meet(self) -> None:
        """Let the broker know the bridge: from then on it keeps messages for it."""
        with self.bridge() as process:
            started(process)

    def loaded_windows(self) -> dict[str, list[int]]:
        """Numbers of the windows in the table, by device."""
        tables = Tables(str(self.folder / "telemetry"))
        Loader(self.store, self.fleet, tables).load()
        rows = tables.windows("activity", began_s=0, ended_s=time.time()).collect()
        found: dict[str, list[int]] = {}
        for device_id, number in sorted(rows.select("device_id", "sequence").iter_rows()):
            found.setdefault(device_id, []).append(number)
        return found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with mosquitto(tmp_path / "broker") as broker:
        site = Site(tmp_path, broker)
        yield site
        site.fleet.close()


class Device:
    """Publishes what it has to tell, and learns what is kept."""

    def __init__(self, site: Site) -> None:
        self.teller = Teller.of(site.fleet)
        self.id = self.teller.id
        self.answers: queue.Queue[TelemetryKept] = queue.Queue()
        self.gateway_key = site.key.public
        self.client = site.broker.client(self.id)
        self.client.on_message = self._answered
        self.client.subscribe(kept_topic(self.id), qos=1)

    def tell(self, *records: Record) -> bytes:
        """Publish, until the broker has it; gives the message."""
        body = encode_packed(TelemetryBatch(records=records))
        message = encode_packed(CarriedRequest.signed(body, self.teller.keys, now_s=time.time()))
        self.publish(message)
        return message

    def publish(self, message: bytes) -> None:
        self.client.publish(told_topic(self.id), message, qos=1).wait_for_publish(WAIT_S)

    def learn(self, through: int) -> None:
        """Wait for the gateway's word that all up to ``through`` is kept."""
        until = time.monotonic() + WAIT_S
        while self.answers.get(timeout=max(0.1, until - time.monotonic())).through < through:
            pass

    def windows(self, count: int) -> tuple[Record, ...]:
        now_s = time.time()
        told = [window(began_s=now_s - 7200, ended_s=now_s - 3600) for _ in range(count)]
        return self.teller.tell(*told)

    def agreement(self) -> tuple[Record, ...]:
        now_s = int(time.time())
        return self.teller.tell(consent(given_s=now_s - 86_400, until_s=now_s + 86_400))

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _answered(self, _: Any, __: Any, message: Any) -> None:
        signed = decode(message.payload, SignedBytes)
        told = decode(signed.checked(self.gateway_key, what="the answer"), TelemetryKept)
        assert told.device_id == self.id
        self.answers.put(told)


@pytest.fixture
def device(site: Site) -> Iterator[Device]:
    device = Device(site)
    yield device
    device.close()


def test_a_device_learns_what_is_durable_also_when_it_was_away(site: Site, device: Device) -> None:
    site.meet()
    device.tell(*device.agreement(), *device.windows(3))
    with site.bridge():
        device.learn(4)
    assert kept(site.store, device.id) == [1, 2, 3, 4]
    device.client.unsubscribe(kept_topic(device.id))
    device.client.subscribe(kept_topic(device.id), qos=1)
    device.learn(4)


def test_a_bridge_that_is_killed_again_and_again_loses_nothing(site: Site) -> None:
    site.meet()
    devices = [Device(site) for _ in range(8)]
    chance = random.Random(7)  # noqa: S311 - of moments, not of secrets
    expected: dict[str, list[int]] = {}
    for one in devices:
        one.tell(*one.agreement())
        expected[one.id] = list(range(2, 42))
    for _ in range(3):
        with site.bridge() as process:
            started(process)
            publish_some(devices, 104)
            time.sleep(chance.uniform(0.0, 0.1))
            process.send_signal(signal.SIGKILL)
    publish_some(devices, 8)
    with site.bridge():
        for one in devices:
            one.learn(41)
    assert site.loaded_windows() == expected
    for one in devices:
        one.close()


def test_what_comes_twice_is_kept_once(site: Site, device: Device) -> None:
    with site.bridge() as process:
        started(process)
        first = device.tell(*device.agreement(), *device.windows(2))
        device.learn(3)
        device.publish(first)
        device.learn(3)
        device.tell(*device.windows(1))
        device.learn(4)
    assert kept(site.store, device.id) == [1, 2, 3, 4]


def test_what_is_not_signed_by_a_device_that_is_let_in_is_dropped_and_blocks_nothing(
    site: Site, device: Device
) -> None:
    shut_out, stranger = Teller.of(site.fleet), Teller()
    site.fleet.revoke(shut_out.id, now_s=time.time())
    good = CarriedRequest.signed(b"", device.teller.keys, now_s=time.time())
    body = encode_packed(TelemetryBatch(records=(Record(9, "window", b"forged"),)))
    other = CarriedRequest.signed(body, stranger.keys, now_s=time.time())
    with site.bridge("--listen", f"127.0.0.1:{free_port()}") as process:
        address = started(process)
        device.publish(b"")
        device.publish(b"\xc1 no MessagePack")
        device.publish(encode_packed(good))  # signed, and no telemetry in it
        for forged in (
            CarriedRequest.signed(body, shut_out.keys, now_s=time.time()),
            other,
            CarriedRequest(
                content_digest=other.content_digest,
                signature_input=other.signature_input.replace(stranger.id, device.id),
                signature=other.signature,
                body=body,
            ),
        ):
            device.publish(encode_packed(forged))
        device.tell(*device.windows(1))
        device.learn(1)
        eventually(lambda: figure(address, 'messages_total{fate="kept"}') == 1)
        counted = {fate: figure(address, f'messages_total{{fate="{fate}"}}') for fate in FATES}
    assert counted == {"malformed": 3, "not enrolled": 1, "revoked": 1, "signature": 1}
    assert kept(site.store, device.id) == [1]
    assert kept(site.store, stranger.id) == kept(site.store, shut_out.id) == []


def test_while_the_storage_fails_nothing_is_acknowledged_and_the_broker_keeps_the_rest(
    site: Site, device: Device
) -> None:
    with site.bridge("--listen", f"127.0.0.1:{free_port()}") as process:
        address = started(process)
        (site.folder / "telemetry" / "inbox").write_bytes(b"in the way")
        for record in device.windows(200):
            device.client.publish(told_topic(device.id), message_of(device, record), qos=1)
        eventually(lambda: figure(address, "waiting") == 64)
        time.sleep(1)
        assert figure(address, "waiting") == 64
        assert device.answers.empty()
        (site.folder / "telemetry" / "inbox").unlink()
        device.learn(200)
    assert kept(site.store, device.id) == list(range(1, 201))


def test_bridges_of_a_group_share_the_messages(site: Site) -> None:
    devices = [Device(site) for _ in range(6)]
    with (
        site.bridge("--share", "all", "--client-id", "one", "--listen", f"127.0.0.1:{free_port()}") as first,
        site.bridge("--share", "all", "--client-id", "two", "--listen", f"127.0.0.1:{free_port()}") as second,
    ):
        addresses = [started(first), started(second)]
        for one in devices:
            one.tell(*one.agreement())
            one.learn(1)
            one.tell(*one.windows(4))
            one.learn(5)
        shares = [figure(address, 'messages_total{fate="kept"}') for address in addresses]
    assert sum(shares) == 12
    assert min(shares) > 0
    assert site.loaded_windows() == {one.id: [2, 3, 4, 5] for one in devices}
    for one in devices:
        one.close()


def test_a_broker_that_is_started_again_is_found_again(site: Site, device: Device) -> None:
    with site.bridge() as process:
        started(process)
        device.tell(*device.windows(1))
        device.learn(1)
        site.broker.stop()
        site.broker.start()
        eventually(device.client.is_connected)
        device.client.subscribe(kept_topic(device.id), qos=1)
        device.tell(*device.windows(1))
        device.learn(2)


def test_a_wrong_login_ends_the_bridge_with_a_reason(site: Site) -> None:
    (site.broker.folder / "bridge").write_text("something else")
    with site.bridge() as process:
        words, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 9
    assert "check its login" in words


def test_over_tls_a_broker_is_believed_by_its_certificate_alone(site: Site, device: Device) -> None:
    url = f"mqtts://127.0.0.1:{site.broker.tls_port}"
    with site.bridge(url=url) as process:
        refused = next(line for line in process.stdout or () if "unreachable" in line)
    assert "CERTIFICATE_VERIFY_FAILED" in refused
    with site.bridge("--ca", str(site.broker.certificate), url=url) as process:
        started(process)
        device.tell(*device.windows(1))
        device.learn(1)


def test_two_bridges_of_one_name_lose_nothing_although_they_take_turns(site: Site, device: Device) -> None:
    with site.bridge() as first, site.bridge():
        started(first)
        for through in range(1, 6):
            device.tell(*device.windows(1))
            device.learn(through)
    assert sorted(set(kept(site.store, device.id))) == [1, 2, 3, 4, 5]


def test_a_device_can_read_nobodys_telemetry(site: Site, device: Device) -> None:
    spy = site.broker.client("spy")
    seen: list[Any] = []
    spy.on_message = lambda *message: seen.append(message)
    spy.subscribe(told_topic("+"), qos=1)
    with site.bridge() as process:
        started(process)
        device.tell(*device.windows(1))
        device.learn(1)
    spy.disconnect()
    spy.loop_stop()
    assert seen == []


FATES = ("malformed", "not enrolled", "revoked", "signature")


def message_of(device: Device, record: Record) -> bytes:
    body = encode_packed(TelemetryBatch(records=(record,)))
    return encode_packed(CarriedRequest.signed(body, device.teller.keys, now_s=time.time()))


def publish_some(devices: list[Device], count: int) -> None:
    """Publish windows in turn, without waiting: most are on their way when this returns."""
    for number in range(count):
        one = devices[number % len(devices)]
        (record,) = one.windows(1)
        one.client.publish(told_topic(one.id), message_of(one, record), qos=1)


def started(process: subprocess.Popen[str]) -> str:
    """Wait until the bridge is ready; gives the address of its figures, if it has one."""
    assert process.stdout is not None
    options = list(process.args) if isinstance(process.args, list) else []
    for line in process.stdout:
        if '"subscribed"' in line:
            break
    else:
        raise AssertionError("the bridge has ended")
    return f"http://{options[options.index('--listen') + 1]}" if "--listen" in options else ""


def figure(address: str, name: str) -> float:
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith(f"tinymlops_bridge_{name} ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def eventually(check: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not check():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.05)
