"""What is believed of messages that strangers carry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.observations import NOW_S, Teller, window
from tests.support.segments import kept
from tinymlops.errors import StorageError, UsageError
from tinymlops.fleet import Fleet, open_fleet
from tinymlops.gateway.keys import GatewayKey
from tinymlops.store import DirectoryStore
from tinymlops.telemetry.carrying import CarriedTelemetry, Fate
from tinymlops.telemetry.inbox import Inbox
from tinymlops.telemetry.mqtt_settings import BrokerSettings, Login, broker_address
from tinymlops.wire.carried import CarriedRequest, TelemetryKept, kept_topic, told_topic
from tinymlops.wire.encoding import decode, encode_packed
from tinymlops.wire.messages import Record, SignedBytes, TelemetryBatch

MONTH_S = 31 * 86_400


class Site:
    """A fleet, an inbox, and what keeps messages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet: Fleet = open_fleet(f"sqlite:///{folder / 'fleet.sqlite'}")
        self.store = DirectoryStore(folder / "telemetry")
        self.key = GatewayKey.generate()
        self.carried = CarriedTelemetry(
            Inbox(self.store, self.fleet, lambda: NOW_S), self.fleet, self.key.sign, lambda: NOW_S
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.fleet.close()


def message(device: Teller, *numbers: int, now_s: float = NOW_S) -> bytes:
    return encode_packed(request(device, *numbers, now_s=now_s))


def request(device: Teller, *numbers: int, now_s: float = NOW_S) -> CarriedRequest:
    batch = TelemetryBatch(records=tuple(Record(number, "window", encode_packed(window())) for number in numbers))
    return CarriedRequest.signed(encode_packed(batch), device.keys, now_s=now_s)


def test_a_devices_message_is_kept_and_the_gateway_signs_how_far(site: Site) -> None:
    device = Teller.of(site.fleet)
    carried = site.carried.keep([message(device, 1, 2), message(device, 3)])
    assert carried.fates == (Fate.KEPT, Fate.KEPT)
    (answer,) = carried.answers
    told = decode(decode(answer.content, SignedBytes).checked(site.key.public, what="it"), TelemetryKept)
    assert (told.device_id, told.through, told.now_s, answer.device_id) == (device.id, 3, NOW_S, device.id)
    assert kept(site.store, device.id) == [1, 2, 3]


def test_a_message_that_lay_in_a_broker_for_a_month_is_kept(site: Site) -> None:
    device = Teller.of(site.fleet)
    assert site.carried.keep([message(device, 1, now_s=NOW_S - MONTH_S)]).fates == (Fate.KEPT,)


def test_an_old_message_changes_nothing_and_is_answered_anew(site: Site) -> None:
    device = Teller.of(site.fleet)
    old = message(device, 1, 2)
    site.carried.keep([old, message(device, 3, 4)])
    again = site.carried.keep([old])
    assert again.fates == (Fate.KEPT,)
    assert decode(decode(again.answers[0].content, SignedBytes).content, TelemetryKept).through == 4
    assert kept(site.store, device.id) == [1, 2, 3, 4]


def test_messages_out_of_order_lose_nothing_since_each_begins_with_the_oldest_that_is_not_acknowledged(
    site: Site,
) -> None:
    device = Teller.of(site.fleet)
    site.carried.keep([message(device, 1, 2, 3)])
    site.carried.keep([message(device, 1, 2)])
    assert kept(site.store, device.id) == [1, 2, 3]


def test_what_is_not_to_be_believed_is_dropped_and_takes_nothing_with_it(site: Site) -> None:
    good, shut_out, stranger = Teller.of(site.fleet), Teller.of(site.fleet), Teller()
    site.fleet.revoke(shut_out.id, now_s=NOW_S)
    honest = request(good, 7)
    foreign = request(stranger, 9)
    claims_to_be_good = foreign.signature_input.replace(stranger.id, good.id)
    carried = site.carried.keep(
        [
            b"",
            b"\xc1",
            encode_packed(CarriedRequest.signed(b"no telemetry", good.keys, now_s=NOW_S)),
            encode_packed(CarriedRequest.of({**headers(honest), "Signature": "sig1=:AA==:"}, honest.body)),
            message(good, 3, 2),
            encode_packed(foreign),
            message(shut_out, 1),
            encode_packed(CarriedRequest.of({**headers(foreign), "Signature-Input": claims_to_be_good}, foreign.body)),
            encode_packed(CarriedRequest.of(headers(honest), foreign.body)),
            encode_packed(honest),
        ]
    )
    assert carried.fates == (
        *[Fate.MALFORMED] * 5, Fate.STRANGER, Fate.REVOKED, Fate.FORGED, Fate.FORGED, Fate.KEPT,
    )  # fmt: skip
    assert [one.device_id for one in carried.answers] == [good.id]
    assert kept(site.store, good.id) == [7]
    assert kept(site.store, stranger.id) == kept(site.store, shut_out.id) == []


def test_a_message_for_another_route_is_no_telemetry(site: Site) -> None:
    from tinymlops.wire.request_signing import Request, sign

    device = Teller.of(site.fleet)
    body = encode_packed(TelemetryBatch(records=(Record(1, "window", b""),)))
    elsewhere = CarriedRequest.of(sign(Request("POST", "/v1/usage", body), device.keys, now_s=NOW_S), body)
    assert site.carried.keep([encode_packed(elsewhere)]).fates == (Fate.FORGED,)


def test_where_nothing_can_be_kept_nothing_is_answered(site: Site) -> None:
    device = Teller.of(site.fleet)
    (site.folder / "telemetry").mkdir(exist_ok=True)
    (site.folder / "telemetry" / "inbox").write_bytes(b"in the way")
    with pytest.raises((StorageError, UsageError)):
        site.carried.keep([message(device, 1)])
    assert site.fleet.telemetry_through(device.id) == -1


def test_topics_name_the_device() -> None:
    assert told_topic("ab") == "tinymlops/v1/telemetry/ab"
    assert kept_topic("ab") == "tinymlops/v1/kept/ab"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mqtt://broker", ("broker", 1883, False)),
        ("mqtt://127.0.0.1:1884/", ("127.0.0.1", 1884, False)),
        ("mqtts://[::1]", ("::1", 8883, True)),
    ],
)
def test_addresses_of_brokers(text: str, expected: tuple[str, int, bool]) -> None:
    assert broker_address(text) == expected


@pytest.mark.parametrize(
    "text", ["broker:1883", "http://broker", "mqtt://", "mqtt://a:b@broker", "mqtt://broker/topic", "mqtt://b:99999999"]
)
def test_what_is_no_address_of_a_broker_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="mqtt://host:1883"):
        broker_address(text)


def test_bridges_that_share_have_names_of_their_own_and_no_password_is_shown() -> None:
    alone = BrokerSettings(host="broker", port=1883, login=Login("bridge", "a secret"))
    shared = BrokerSettings(host="broker", port=1883, share="all")
    assert (alone.name, alone.filter) == ("tinymlops-bridge", "tinymlops/v1/telemetry/+")
    assert shared.name.startswith("tinymlops-bridge-")
    assert shared.filter == "$share/all/tinymlops/v1/telemetry/+"
    assert "a secret" not in repr(alone)


def headers(one: CarriedRequest) -> dict[str, str]:
    return {
        "Content-Digest": one.content_digest,
        "Signature-Input": one.signature_input,
        "Signature": one.signature,
    }
