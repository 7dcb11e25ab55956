"""Who is heard: signed, in time, never before, still let in."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.gateway.rig import NOW_S, FakeDevice, Rig, digest_name, health, problem, records, value
from tinymlops.billing.invoices import Account
from tinymlops.fleet import VoucherTerms
from tinymlops.wire.cose import opened, signed
from tinymlops.wire.encoding import decode, encode, encode_packed
from tinymlops.wire.messages import Acknowledgement, SignedBytes, TimeAnswer, TimeRequest
from tinymlops.wire.metering import (
    Checkpoint,
    Mark,
    Revocation,
    UsageAcknowledgement,
    UsageAnswer,
    UsageRecord,
    UsageReport,
    Verdict,
    Voucher,
    VoucherList,
    end_of,
    first_mark,
)
from tinymlops.wire.request_signing import CLOCK_WINDOW_S

PACKAGE = b"sealed"
PACKAGE_PATH = f"/v1/targets/releases/activity/1/{digest_name(PACKAGE, 'int8.tmz')}"
TIME_REQUEST = encode(TimeRequest(nonce=bytes(16)))
OPERATOR_ROUTES = ("/v1/devices", "/v1/rollouts", "/v1/rollouts/r", "/metrics")


def device_routes(device: FakeDevice) -> list[tuple[str, str, bytes]]:
    """Every route that a device has after it was let in, with a request that would get something."""
    return [
        ("GET", "/v1/metadata/timestamp.json", b""),
        ("GET", "/v1/metadata/1.root.json", b""),
        ("GET", PACKAGE_PATH, b""),
        ("GET", f"/v1/targets/devices/{digest_name(b'own', device.id)}", b""),
        ("POST", "/v1/health", encode(health(1))),
        ("POST", "/v1/time", TIME_REQUEST),
        ("POST", "/v1/telemetry", encode_packed(records(1))),
        ("GET", "/v1/vouchers", b""),
        ("POST", "/v1/usage", usage_of(device)),
    ]


def usage_of(device: FakeDevice) -> bytes:
    """A report of one query, on the device's voucher where it has one."""
    found = device.rig.fleet.till.vouchers(device_id=device.id)
    first = first_mark(found[0].message) if found else Mark(0, 0, bytes(32))
    record = UsageRecord.new(1, 1, 0.0).to_bytes()
    checkpoint = Checkpoint(serial="0" * 32, start=first, end=end_of(first, record), at_s=0)
    return encode_packed(UsageReport(checkpoint=signed(checkpoint, "checkpoint", device.keys.sign), records=record))


def fill(rig: Rig, device: FakeDevice) -> None:
    rig.store.put("metadata/timestamp.json", b"{}")
    rig.store.put(f"targets{PACKAGE_PATH.removeprefix('/v1/targets')}", PACKAGE)
    rig.store.put(f"targets/devices/{digest_name(b'own', device.id)}", b"own")
    if rig.fleet.find_device(device.id) is not None:
        give_voucher(rig, device)


def give_voucher(rig: Rig, device: FakeDevice) -> None:
    rig.fleet.till.save_account(Account(name="acme"), now_s=NOW_S)
    terms = VoucherTerms(
        serial="0" * 32, device_id=device.id, workload="activity", account="acme", quota=100, life_s=1000
    )
    rig.fleet.till.issue(terms, rig.key.signature, now_s=NOW_S)


def test_a_report_of_use_is_acknowledged_with_a_signature(rig: Rig) -> None:
    device = rig.device()
    give_voucher(rig, device)
    listed = decode(device.ask("GET", "/v1/vouchers").content, VoucherList)
    assert opened(listed.vouchers[0], "voucher", rig.key.public, Voucher).quota == 100
    body = usage_of(device)
    for verdict in (Verdict.BILLED, Verdict.STALE):
        answer = decode(device.ask("POST", "/v1/usage", body).content, UsageAnswer)
        told = opened(answer.acknowledgement, "acknowledgement", rig.key.public, UsageAcknowledgement)
        assert (told.verdict, told.mark.used) == (verdict, 1)
    rig.fleet.till.revoke("0" * 32, now_s=NOW_S)
    listed = decode(device.ask("GET", "/v1/vouchers").content, VoucherList)
    assert listed.vouchers == ()
    assert opened(listed.revocations[0], "revocation", rig.key.public, Revocation).serial == "0" * 32


def test_use_that_another_device_signed_is_refused(rig: Rig) -> None:
    device, other = rig.device(), rig.device()
    give_voucher(rig, device)
    assert other.ask("POST", "/v1/usage", usage_of(device)).status_code == 400
    assert other.ask("POST", "/v1/usage", usage_of(other)).status_code == 403
    assert device.ask("POST", "/v1/usage", b"\x00").status_code == 400


def test_the_table_of_routes_is_complete(rig: Rig) -> None:
    device = rig.device()
    tried = {"/v1/" + target.split("/")[2] for _, target, _ in device_routes(device)} | {"/v1/enrol"}
    tried |= {"/v1/" + target.split("/")[2] for target in OPERATOR_ROUTES if target.startswith("/v1/")}
    known = {path for path in rig.app.openapi()["paths"] if path.startswith("/v1/")}
    assert {"/v1/" + path.split("/")[2] for path in known} == tried


def test_an_enrolled_device_is_answered_on_every_route(rig: Rig) -> None:
    device = rig.device()
    fill(rig, device)
    for method, target, body in device_routes(device):
        assert device.ask(method, target, body).status_code == 200, target


def test_a_device_that_is_not_enrolled_gets_nothing_on_any_route(rig: Rig) -> None:
    stranger = FakeDevice(rig)
    fill(rig, stranger)
    for method, target, body in device_routes(stranger):
        for answer in (stranger.ask(method, target, body), rig.call(method, target, body)):
            assert answer.status_code == 401, target
            problem(answer)
    for target in OPERATOR_ROUTES:
        assert stranger.ask("GET", target).status_code == 401
    assert list(rig.store.list("inbox")) == []


def test_a_revoked_device_gets_nothing_on_any_route_from_the_next_request_on(rig: Rig) -> None:
    device = rig.device()
    fill(rig, device)
    assert device.ask("GET", "/v1/metadata/1.root.json").status_code == 200
    rig.fleet.revoke(device.id, now_s=rig.clock())
    for method, target, body in device_routes(device):
        answer = device.ask(method, target, body)
        assert answer.status_code == 403, target
        assert "revoked" in problem(answer).error
    assert device.enrol(rig.code()).status_code == 403
    assert list(rig.store.list("inbox")) == []
    assert rig.fleet.history(device.id) == ()


def test_a_request_counts_once_also_after_a_restart(rig: Rig) -> None:
    device = rig.device()
    fill(rig, device)
    for method, target, body in device_routes(device):
        headers = device.signed(method, target, body)
        assert rig.call(method, target, body, headers).status_code == 200, target
        assert rig.call(method, target, body, headers).status_code == 409, target
        rig.restart()
        again = rig.call(method, target, body, headers)
        assert again.status_code == 409, target
        assert "before" in problem(again).error


def test_of_one_request_sent_many_times_at_once_one_counts(rig: Rig) -> None:
    device = rig.device()
    body = encode(health(1))
    headers = device.signed("POST", "/v1/health", body)
    answers = rig.together(*[("POST", "/v1/health", body, headers)] * 10)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9


@pytest.mark.parametrize("off_s", [-CLOCK_WINDOW_S - 1, CLOCK_WINDOW_S + 1, -NOW_S])
def test_a_request_of_another_time_is_refused_with_the_time(rig: Rig, off_s: float) -> None:
    device = rig.device()
    rig.clock.now_s += off_s
    headers = device.signed("GET", "/v1/metadata/1.root.json")
    rig.clock.now_s = NOW_S
    answer = rig.call("GET", "/v1/metadata/1.root.json", headers=headers)
    assert answer.status_code == 401
    assert problem(answer).now_s == NOW_S


@pytest.mark.parametrize("off_s", [-CLOCK_WINDOW_S, CLOCK_WINDOW_S])
def test_a_replay_is_refused_for_as_long_as_the_request_is_timely(rig: Rig, off_s: float) -> None:
    device, other = rig.device(), rig.device()
    rig.clock.now_s += off_s
    headers = device.signed("GET", "/v1/metadata/1.root.json")
    rig.clock.now_s = NOW_S
    assert rig.call("GET", "/v1/metadata/1.root.json", headers=headers).status_code == 200
    for _ in range(13):
        rig.clock.now_s += 50
        other.ask("GET", "/v1/metadata/1.root.json")  # lets the gateway forget what it may
        assert rig.call("GET", "/v1/metadata/1.root.json", headers=headers).status_code in {401, 409}


def test_a_device_that_has_no_clock_gets_the_time_signed(rig: Rig) -> None:
    device, nonce = rig.device(), os.urandom(16)
    rig.clock.now_s = 12.0
    body = encode(TimeRequest(nonce=nonce))
    headers = device.signed("POST", "/v1/time", body)
    rig.clock.now_s = NOW_S
    signed = value(rig.call("POST", "/v1/time", body, headers), SignedBytes)
    answer = decode(signed.checked(rig.key.public, what="the time"), TimeAnswer)
    assert (answer.now_s, answer.nonce) == (NOW_S, nonce)


@pytest.mark.parametrize("name", ["Signature", "Signature-Input", "Content-Digest"])
def test_a_request_without_a_part_of_its_signature_is_refused(rig: Rig, name: str) -> None:
    device = rig.device()
    headers = device.signed("GET", "/v1/metadata/1.root.json")
    del headers[name]
    assert rig.call("GET", "/v1/metadata/1.root.json", headers=headers).status_code == 401


def test_what_was_signed_and_nothing_else_is_answered(rig: Rig) -> None:
    device, other = rig.device(), rig.device()
    body = encode(health(1))
    headers = device.signed("POST", "/v1/health", body)
    assert rig.call("POST", "/v1/health", body + b" ", headers).status_code == 401
    assert rig.call("POST", "/v1/time", body, headers).status_code == 401
    assert rig.call("POST", "/v1/health?a=b", body, headers).status_code == 401
    stolen = {**headers, "Signature-Input": headers["Signature-Input"].replace(device.id, other.id)}
    assert rig.call("POST", "/v1/health", body, stolen).status_code == 401
    assert rig.call("POST", "/v1/health", body, headers).status_code == 200


def test_two_signatures_are_none(rig: Rig) -> None:
    device = rig.device()
    headers = [*device.signed("GET", "/v1/metadata/1.root.json").items()]
    target = rig.client.build_request("GET", "/v1/metadata/1.root.json", headers=[*headers, headers[-1]])
    assert rig.loop.run_until_complete(rig.client.send(target)).status_code == 401


def test_a_query_is_signed_as_it_was_sent(rig: Rig) -> None:
    device = rig.device()
    assert device.ask("GET", "/v1/metadata/1.root.json?a=%20b&c=%C3%A4").status_code == 200


def test_flipping_any_bit_of_a_signature_is_noticed(rig: Rig) -> None:
    device = rig.device()
    headers = device.signed("GET", "/v1/metadata/1.root.json")
    raw = base64.b64decode(headers["Signature"][6:-1])

    @given(st.integers(0, 511))
    def flipped(bit: int) -> None:
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        forged = {**headers, "Signature": f"sig1=:{base64.b64encode(changed).decode()}:"}
        assert rig.call("GET", "/v1/metadata/1.root.json", headers=forged).status_code == 401

    flipped()


def test_health_is_kept_and_an_old_report_changes_nothing(rig: Rig) -> None:
    device = rig.device()
    assert value(device.report(health(5, version=2)), Acknowledgement).through == 5
    assert value(device.report(health(3)), Acknowledgement).through == 5
    assert [one.health.version for one in rig.fleet.health()] == [2]
    assert [one.report.sequence for one in rig.fleet.history(device.id)] == [5]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"sequence":-1}', b'{"v":2,"sequence":1}', b"[" * 5000])
def test_a_report_of_another_form_is_refused(rig: Rig, body: bytes) -> None:
    answer = rig.device().ask("POST", "/v1/health", body)
    assert answer.status_code == 400
    problem(answer)


def test_unknown_addresses_and_methods_are_problems_too(rig: Rig) -> None:
    device = rig.device()
    for method, target, status in (("GET", "/", 404), ("GET", "/v1/health", 405), ("DELETE", "/v1/devices", 405)):
        answer = device.ask(method, target)
        assert answer.status_code == status
        problem(answer)
