"""Letting devices in over HTTP."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.gateway.rig import ROOT, FakeDevice, Rig, checked_enrolment, problem, value
from tinymlops.errors import UntrustedError
from tinymlops.fleet import CodeTerms
from tinymlops.wire.encoding import decode, encode
from tinymlops.wire.enrolment_code import EnrolmentCode
from tinymlops.wire.messages import Enrolment, EnrolmentRequest


def test_the_answer_holds_what_the_code_is_anchored_to(rig: Rig) -> None:
    device, code = FakeDevice(rig), rig.code(tags=("shop",))
    enrolment = checked_enrolment(device.enrol(code), code)
    assert (enrolment.device_id, enrolment.root, enrolment.gateway_key) == (device.id, ROOT, rig.key.public)
    found = rig.fleet.find_device(device.id)
    assert found is not None
    assert found.tags == ("shop",)


def test_the_answer_holds_the_root_of_the_code_and_not_the_newest_one(rig: Rig) -> None:
    device, code = FakeDevice(rig), rig.code()
    rig.store.put("metadata/2.root.json", b"a newer root")
    assert checked_enrolment(device.enrol(code), code).root == ROOT
    second = rig.fleet.new_code(
        msgspec.structs.replace(_terms(rig), root_version=2), root=b"a newer root", gateway_key=rig.key.public
    )
    assert checked_enrolment(FakeDevice(rig).enrol(second), second).root == b"a newer root"


def test_a_code_of_another_gateway_key_does_not_hold(rig: Rig) -> None:
    code = rig.fleet.new_code(_terms(rig), root=ROOT, gateway_key=bytes(32))
    answer = FakeDevice(rig).enrol(code)
    with pytest.raises(UntrustedError):
        checked_enrolment(answer, code)


def test_a_lost_answer_can_be_asked_for_again(rig: Rig) -> None:
    device, code = FakeDevice(rig), rig.code()
    assert value(device.enrol(code), Enrolment) == value(device.enrol(code), Enrolment)


def test_a_stolen_code_works_once(rig: Rig) -> None:
    owner, thief, code = FakeDevice(rig), FakeDevice(rig), rig.code()
    assert thief.enrol(code).status_code == 200
    answer = owner.enrol(code)
    assert answer.status_code == 403
    assert "used by another device" in problem(answer).error


def test_of_two_devices_with_one_code_at_once_one_gets_in(rig: Rig) -> None:
    code, crowd = rig.code(), [FakeDevice(rig) for _ in range(8)]
    bodies = [device.enrolment(code) for device in crowd]
    answers = rig.together(
        *(
            ("POST", "/v1/enrol", body, device.signed("POST", "/v1/enrol", body))
            for device, body in zip(crowd, bodies, strict=True)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [403] * 7


def test_a_played_back_enrolment_gets_nothing(rig: Rig) -> None:
    device, code = FakeDevice(rig), rig.code()
    body = device.enrolment(code)
    headers = device.signed("POST", "/v1/enrol", body)
    assert rig.call("POST", "/v1/enrol", body, headers).status_code == 200
    assert rig.call("POST", "/v1/enrol", body, headers).status_code == 409


def test_who_has_the_code_but_not_the_key_gets_nothing(rig: Rig) -> None:
    device, other, code = FakeDevice(rig), FakeDevice(rig), rig.code()
    body = device.enrolment(code)
    assert rig.call("POST", "/v1/enrol", body).status_code == 401
    assert rig.call("POST", "/v1/enrol", body, other.signed("POST", "/v1/enrol", body)).status_code == 401
    own = device.signed("POST", "/v1/enrol", body)
    forged = {**other.signed("POST", "/v1/enrol", body), "Signature-Input": own["Signature-Input"]}
    assert rig.call("POST", "/v1/enrol", body, forged).status_code == 401
    assert device.enrol(code).status_code == 200


def test_a_code_that_is_unknown_or_has_run_out_gets_nothing(rig: Rig) -> None:
    assert FakeDevice(rig).enrol(EnrolmentCode.new(ROOT, rig.key.public)).status_code == 403
    code = rig.code()
    rig.clock.now_s += 3601
    answer = FakeDevice(rig).enrol(code)
    assert answer.status_code == 403
    assert "run out" in problem(answer).error


def test_a_device_with_a_wrong_clock_is_told_the_time(rig: Rig) -> None:
    device, code = FakeDevice(rig), rig.code()
    now_s, rig.clock.now_s = rig.clock.now_s, 0.0
    body = device.enrolment(code)
    headers = device.signed("POST", "/v1/enrol", body)
    rig.clock.now_s = now_s
    answer = rig.call("POST", "/v1/enrol", body, headers)
    assert answer.status_code == 401
    assert problem(answer).now_s == now_s
    assert device.enrol(code).status_code == 200


def test_without_its_repository_the_gateway_says_that_it_is_not_ready(rig: Rig) -> None:
    device = FakeDevice(rig)
    code = rig.code(root_version=9)
    answer = device.enrol(code)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    rig.store.put("metadata/9.root.json", ROOT)
    assert checked_enrolment(device.enrol(code), code).root == ROOT


@pytest.mark.parametrize("change", [{"v": 2}, {"profile": "no name!"}, {"cipher": "rot13"}, {"signing_key": "AAAA"}])
def test_a_request_of_another_form_is_refused(rig: Rig, change: dict[str, object]) -> None:
    device = FakeDevice(rig)
    facts = msgspec.json.decode(device.enrolment(rig.code()))
    answer = device.ask("POST", "/v1/enrol", msgspec.json.encode({**facts, **change}))
    assert answer.status_code == 400
    problem(answer)


def test_a_secret_shows_in_no_log_line(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    import io

    import structlog

    from tinymlops.gateway.observing import configure_logging

    lines = io.StringIO()
    before = structlog.get_config()
    configure_logging(lines)
    try:
        device, code = FakeDevice(rig), rig.code()
        device.enrol(code)
        device.ask("GET", "/v1/metadata/1.root.json?token=hidden")
        rig.operator("/v1/devices")
    finally:
        structlog.configure(**before)
    text = lines.getvalue()
    assert text.count("\n") == 3
    assert device.id in text
    body = decode(device.enrolment(code), EnrolmentRequest)
    facts = msgspec.json.decode(encode(body))
    for secret in (facts["secret"], facts["signing_key"], str(code), "hidden", "operator's token"):
        assert secret not in text


def _terms(rig: Rig) -> CodeTerms:
    return CodeTerms(expires_s=rig.clock() + 3600, root_version=1)
