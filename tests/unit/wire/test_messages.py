from __future__ import annotations

import msgspec
import pytest

from tests.unit.wire.samples import (
    GATEWAY,
    GATEWAY_KEY,
    KEYS,
    NOW_S,
    SENT,
    SENT_AS_JSON,
    SIGNED_TIME,
    TIME,
    each_bit_flipped,
    name_of,
)
from tinymlops.errors import FormatError, UntrustedError
from tinymlops.wire.encoding import Versioned, decode, encode
from tinymlops.wire.messages import (
    Acknowledgement,
    Enrolment,
    EnrolmentRequest,
    HealthReport,
    Phase,
    Problem,
    ReleaseHealth,
    SignedBytes,
    TimeAnswer,
)


def _of(kind: type[Versioned]) -> Versioned:
    return next(value for value in SENT if type(value) is kind)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (EnrolmentRequest, {"secret": "AAAA"}),
        (EnrolmentRequest, {"signing_key": "AAAA"}),
        (EnrolmentRequest, {"profile": "../../etc"}),
        (EnrolmentRequest, {"cipher": "rot13"}),
        (Enrolment, {"device_id": "B0" * 16}),
        (Enrolment, {"gateway_key": ""}),
        (Enrolment, {"poll_s": 1e12}),
        (Enrolment, {"poll_s": -1}),
        (HealthReport, {"sequence": -1}),
        (HealthReport, {"sequence": 2**53}),
        (HealthReport, {"sent_at": -1}),
        (HealthReport, {"battery": 1.01}),
        (HealthReport, {"agent_version": "0.1.0\n"}),
        (HealthReport, {"releases": [{}] * 65}),
        (Acknowledgement, {"through": 1.5}),
        (Acknowledgement, {"poll_s": 1e9}),
        (TimeAnswer, {"nonce": "AAAA"}),
        (TimeAnswer, {"now_s": -1}),
        (TimeAnswer, {"kind": "lease"}),
    ],
    ids=str,
)
def test_what_is_out_of_bounds_is_refused(kind: type[Versioned], change: dict[str, object]) -> None:
    good = msgspec.json.decode(encode(_of(kind)))
    with pytest.raises(FormatError, match=f"{kind.__name__} can't be read"):
        decode(msgspec.json.encode({**good, **change}), kind)


@pytest.mark.parametrize("value", SENT_AS_JSON, ids=name_of)
def test_every_field_without_default_is_needed(value: Versioned) -> None:
    good = msgspec.json.decode(encode(value))
    for field in msgspec.structs.fields(type(value)):
        if field.required:
            with pytest.raises(FormatError, match=field.encode_name):
                decode(msgspec.json.encode({k: v for k, v in good.items() if k != field.encode_name}), type(value))


def test_the_secret_of_an_enrolment_shows_in_no_log() -> None:
    request = _of(EnrolmentRequest)
    assert isinstance(request, EnrolmentRequest)
    assert repr(request.secret) not in repr(request)
    assert request.signing_key.hex() in repr(request)


# --- text for people


def test_a_reason_becomes_one_line_at_both_ends() -> None:
    health = ReleaseHealth(
        workload="a", version=1, assignment=1, phase=Phase.FAILED, reason="Traceback:\n\x1b[2Jbad\n" + "x" * 1000
    )
    assert health.reason.startswith("Traceback:  [2Jbad x")
    assert len(health.reason) == 500
    assert decode(encode(health), ReleaseHealth) == health
    hostile = encode(health).replace(b"Traceback:", b"\\u001b]0;\\n..")
    assert decode(hostile, ReleaseHealth).reason.isprintable()


def test_a_problem_can_not_steer_the_terminal_that_shows_it() -> None:
    problem = decode(b'{"error":"no\\u001b[31m","next_step":"a\\nb"}', Problem)
    assert problem == Problem("no [31m", "a b")
    with pytest.raises(FormatError):
        decode(msgspec.json.encode({"error": "x" * 501, "next_step": ""}), Problem)


# --- what the gateway vouches for


def test_a_signed_time_is_believed() -> None:
    content = decode(encode(SIGNED_TIME), SignedBytes).checked(GATEWAY_KEY, what="the time answer")
    assert decode(content, TimeAnswer) == TIME


def test_no_bit_of_a_signed_time_may_flip() -> None:
    for changed in each_bit_flipped(SIGNED_TIME.content):
        with pytest.raises(UntrustedError, match="the signature of the time answer does not hold"):
            SignedBytes(changed, SIGNED_TIME.signature).checked(GATEWAY_KEY, what="the time answer")


def test_a_device_can_not_sign_for_the_gateway() -> None:
    forged = SignedBytes(SIGNED_TIME.content, KEYS.sign(SIGNED_TIME.content))
    with pytest.raises(UntrustedError):
        forged.checked(GATEWAY_KEY, what="the time answer")


def test_something_else_that_the_gateway_signed_is_no_time() -> None:
    other = msgspec.json.encode({"v": 1, "kind": "lease", "now_s": NOW_S, "nonce": "AAECAwQFBgcICQoLDA0ODw=="})
    signed = SignedBytes(other, GATEWAY.sign(other))
    with pytest.raises(FormatError, match="kind"):
        decode(signed.checked(GATEWAY_KEY, what="the time answer"), TimeAnswer)
