from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, MappingKeyResolver
from http_message_signatures.algorithms import ED25519
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.samples import KEYS, NOW_S, OTHER_KEYS, REQUEST
from tinymlops.errors import RefusedError, UntrustedError, UsageError
from tinymlops.wire.request_signing import (
    CLOCK_WINDOW_S,
    NONCE_MEMORY_S,
    Request,
    check,
    is_timely,
    read_signature,
    sign,
)

COVERED = ("@method", "@path", "@query", "content-digest")
TAG = "tinymlops-device-v1"
TARGETS = st.from_regex(r"/[a-zA-Z0-9._~!$&'()*+,;=:@/%-]{0,40}(\?[a-zA-Z0-9._~=&%+-]{0,20})?", fullmatch=True)


@dataclass
class Message:
    """A request as the independent implementation wants it."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _signed(request: Request = REQUEST) -> dict[str, str]:
    return _lower(sign(request, KEYS, now_s=NOW_S))


def _resolver() -> MappingKeyResolver:
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    return MappingKeyResolver(
        public_keys={KEYS.device_id: Ed25519PublicKey.from_public_bytes(KEYS.public.signing)},
        private_keys={KEYS.device_id: private},
    )


def _accept(request: Request, headers: dict[str, str]) -> None:
    check(request, read_signature(headers), KEYS.public.signing)


# --- against an independent implementation of RFC 9421


@pytest.mark.parametrize(
    "request_", [REQUEST, Request("GET", "/v1/metadata/timestamp.json"), Request("GET", "/v1/targets/a%2Fb?x=%0A&y")]
)
def test_an_independent_implementation_accepts_our_signatures(request_: Request) -> None:
    headers = sign(request_, KEYS, now_s=time.time())
    verifier = HTTPMessageVerifier(signature_algorithm=ED25519, key_resolver=_resolver())
    (result,) = verifier.verify(
        Message(request_.method, f"http://gateway.example{request_.target}", headers),
        expect_tag=TAG,
        require_components=COVERED,
        body=request_.body,
    )
    assert (result.label, result.parameters["keyid"]) == ("sig1", KEYS.device_id)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_we_accept_signatures_of_an_independent_implementation(method: str) -> None:
    body = b"" if method == "GET" else b'{"a":1}'
    message = Message(method, "http://gateway.example/v1/health?retry=1")
    HTTPMessageSigner(signature_algorithm=ED25519, key_resolver=_resolver()).sign(
        message,
        key_id=KEYS.device_id,
        created=dt.datetime.fromtimestamp(NOW_S, dt.UTC),
        nonce="AAAAAAAAAAAAAAAAAAAAAA",
        label="sig1",
        tag=TAG,
        covered_component_ids=COVERED,
        body=body,
    )
    claimed = read_signature(_lower(message.headers))
    check(Request(method, "/v1/health?retry=1", body), claimed, KEYS.public.signing)
    assert (claimed.device_id, claimed.created, claimed.nonce) == (KEYS.device_id, NOW_S, "A" * 22)


# --- our own


@given(st.sampled_from(("GET", "POST", "PUT")), TARGETS, st.binary(max_size=100))
def test_what_was_signed_is_accepted(method: str, target: str, body: bytes) -> None:
    request = Request(method, target, body)
    claimed = read_signature(_signed(request))
    check(request, claimed, KEYS.public.signing)
    assert (claimed.device_id, claimed.created) == (KEYS.device_id, NOW_S)


@pytest.mark.parametrize(
    "changed",
    [
        Request("PUT", REQUEST.target, REQUEST.body),
        Request("POST", "/v1/telemetry?retry=1", REQUEST.body),
        Request("POST", "/v1/health?retry=2", REQUEST.body),
        Request("POST", "/v1/health", REQUEST.body),
        Request("POST", "/v1/health%3Fretry=1", REQUEST.body),
        Request("POST", "/v1//health?retry=1", REQUEST.body),
        Request("POST", REQUEST.target, b""),
        Request("POST", REQUEST.target, b'{"a":2}'),
    ],
)
def test_no_part_of_a_request_can_be_replaced(changed: Request) -> None:
    with pytest.raises(UntrustedError):
        _accept(changed, _signed())


def test_a_new_digest_does_not_make_a_new_body_believable() -> None:
    changed = Request("POST", REQUEST.target, b'{"a":2}')
    headers = {**_signed(), "content-digest": _signed(changed)["content-digest"]}
    with pytest.raises(UntrustedError, match="the signature of the request does not hold"):
        _accept(changed, headers)


def test_another_device_can_not_sign_for_this_one() -> None:
    headers = _lower(sign(REQUEST, OTHER_KEYS, now_s=NOW_S))
    headers["signature-input"] = headers["signature-input"].replace(OTHER_KEYS.device_id, KEYS.device_id)
    with pytest.raises(UntrustedError):
        _accept(REQUEST, headers)


@pytest.mark.parametrize("name", ["signature", "signature-input", "content-digest"])
def test_no_character_of_a_header_can_be_replaced(name: str) -> None:
    headers = _signed()
    for at, character in enumerate(headers[name]):
        for other in ("0", "a", "A", " ", "\n", '"', chr(ord(character) ^ 1)):
            if other != character:
                value = headers[name][:at] + other + headers[name][at + 1 :]
                with pytest.raises((RefusedError, UntrustedError)):
                    _accept(REQUEST, {**headers, name: value})


@pytest.mark.parametrize("name", ["signature", "signature-input", "content-digest"])
def test_a_header_is_whole_and_alone(name: str) -> None:
    headers = _signed()
    value = headers[name]
    others = [value[:length] for length in range(len(value))]
    others += [f"{value}, {value}", f"{value},", f" {value}", f"{value} ", f"{value}\n", value * 100, "\ud800"]
    for other in others:
        with pytest.raises((RefusedError, UntrustedError)):
            _accept(REQUEST, {**headers, name: other})
    with pytest.raises((RefusedError, UntrustedError)):
        _accept(REQUEST, {other: headers[other] for other in headers if other != name})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"@query" ', ""),
        ('("@method" "@path"', '("@path" "@method"'),
        ('alg="ed25519"', 'alg="hmac-sha256"'),
        ('alg="ed25519";', ""),
        (TAG, "tinymlops-device-v2"),
        ("created=", "created=0"),
        ("created=1", "created=١"),
        ("created=1", "created=-1"),
        ("sig1=", "sig2="),
        (";tag", ";expires=1;tag"),
    ],
)
def test_another_profile_is_refused(old: str, new: str) -> None:
    headers = _signed()
    assert old in headers["signature-input"]
    headers["signature-input"] = headers["signature-input"].replace(old, new, 1)
    with pytest.raises(RefusedError, match="not signed in the way that devices sign"):
        read_signature(headers)


def test_a_signature_is_spelt_in_one_way() -> None:
    """The last character of the base64 text holds four bits that mean nothing."""
    headers = _signed()
    last = headers["signature"][-4]
    for other in "BCDEFGHIJKLMNOP":
        with pytest.raises((RefusedError, UntrustedError)):
            _accept(REQUEST, {**headers, "signature": headers["signature"].replace(f"{last}==:", f"{other}==:")})


@pytest.mark.parametrize(
    "target",
    [
        "",
        "v1/health",
        "http://gateway/v1/health",
        '/v1/health\n"@query": ?',
        "/v1/health\r",
        "/v1/ä",
        "/v1/health#fragment",
        "/v1/a b",
        "/" + "a" * 2048,
        "/\x7f",
        "*",
    ],
)
def test_a_target_that_could_be_read_in_two_ways_is_neither_signed_nor_checked(target: str) -> None:
    request = Request("GET", target)
    with pytest.raises(UsageError, match="can't be signed"):
        sign(request, KEYS, now_s=NOW_S)
    with pytest.raises(UntrustedError, match="that nobody signs"):
        check(request, read_signature(_signed(Request("GET", "/"))), KEYS.public.signing)


@pytest.mark.parametrize("method", ["", "get", "GET ", "GET\n", "G" * 17, "ß", 'GET\n"@path": /'])
def test_a_method_is_in_capitals(method: str) -> None:
    with pytest.raises(UsageError, match="can't be signed"):
        sign(Request(method, "/"), KEYS, now_s=NOW_S)


def test_no_nonce_comes_twice() -> None:
    assert len({read_signature(_signed()).nonce for _ in range(200)}) == 200


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_request_is_timely_within_the_window(now_s: float) -> None:
    claimed = read_signature(_signed())
    assert is_timely(claimed, now_s=now_s) == (NOW_S - CLOCK_WINDOW_S <= now_s <= NOW_S + CLOCK_WINDOW_S)


@given(st.integers(-2 * CLOCK_WINDOW_S, 2 * CLOCK_WINDOW_S), st.floats(NONCE_MEMORY_S, 10 * NONCE_MEMORY_S))
def test_a_forgotten_nonce_can_not_be_played_again(skew_s: int, later_s: float) -> None:
    """Whatever the device's clock said: a request that was timely is not any more once its nonce may be forgotten."""
    claimed = msgspec.structs.replace(read_signature(_signed()), created=NOW_S + skew_s)
    assert not (is_timely(claimed, now_s=NOW_S) and is_timely(claimed, now_s=NOW_S + later_s))


def test_a_clock_before_1970_signs_for_1970() -> None:
    assert read_signature(_lower(sign(REQUEST, KEYS, now_s=-5.0))).created == 0
