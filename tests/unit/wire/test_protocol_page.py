"""docs/protocol.md shows what is really sent: its examples are golden values that accidental changes break."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.wire.examples import examples, signed_headers
from tests.unit.wire.samples import (
    CARRIED,
    CODE,
    CONTENT_KEY,
    GATEWAY_KEY,
    HEADER,
    KEY_ID,
    KEYS,
    MODEL,
    NOW_S,
    REQUEST,
    ROOT,
    SENT_AS_JSON,
    SENT_PACKED,
    SIGNED_TIME,
    TIME,
    name_of,
)
from tinymlops.wire.deltas import Encoding, apply
from tinymlops.wire.encoding import Versioned, decode, decode_packed, encode
from tinymlops.wire.enrolment_code import EnrolmentCode, secret_digest
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.key_wrapping import unwrap
from tinymlops.wire.messages import SignedBytes, TimeAnswer
from tinymlops.wire.request_signing import check, read_signature
from tinymlops.wire.sealing import read_header, unseal

PAGE = Path(__file__).parents[3] / "docs" / "protocol.md"
SHOWN = dict(re.findall(r"<!-- example: (.+?) -->\n```\w+\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL))


def _bytes(name: str) -> bytes:
    return bytes.fromhex(SHOWN[name].replace("\n", ""))


def _json(name: str) -> bytes:
    """The example as it is sent: nothing between its tokens."""
    return json.dumps(json.loads(SHOWN[name]), separators=(",", ":"), ensure_ascii=False).encode()


def test_the_page_shows_every_example() -> None:
    assert set(SHOWN) == set(examples())


@pytest.mark.parametrize("name", sorted(examples()))
def test_the_page_shows_what_the_code_makes(name: str) -> None:
    assert SHOWN.get(name) == examples()[name]


@pytest.mark.parametrize("value", SENT_AS_JSON, ids=name_of)
def test_the_code_reads_and_writes_what_the_page_shows(value: Versioned) -> None:
    assert decode(_json(name_of(value)), type(value)) == value
    assert encode(value) == _json(name_of(value))


@pytest.mark.parametrize("value", SENT_PACKED, ids=name_of)
def test_the_code_reads_the_packed_values_of_the_page(value: Versioned) -> None:
    assert decode_packed(_bytes(name_of(value)), type(value)) == value


def test_the_page_names_every_encoding() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| .*(?:frame|stream)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(Encoding)


def test_the_keys_of_the_page() -> None:
    keys = DeviceKeys.from_bytes(_bytes("key file"))
    assert keys.device_id == SHOWN["device id"] == KEYS.device_id


def test_the_signed_request_of_the_page() -> None:
    head, body = SHOWN["signed request"].split("\n\n")
    first, *lines = head.splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    assert first == f"POST {REQUEST.target} HTTP/1.1"
    assert (headers, body.encode()) == (signed_headers(), REQUEST.body)
    claimed = read_signature(headers)
    check(REQUEST, claimed, KEYS.public.signing)
    assert (claimed.device_id, claimed.created) == (KEYS.device_id, NOW_S)


def test_the_carried_request_of_the_page() -> None:
    claimed = CARRIED.claimed()
    CARRIED.check(claimed, KEYS.public.signing)
    assert (claimed.device_id, claimed.created) == (KEYS.device_id, NOW_S)


def test_the_enrolment_code_of_the_page() -> None:
    code = EnrolmentCode.parse(SHOWN["enrolment code"])
    assert code == CODE
    code.check_anchor(ROOT, GATEWAY_KEY)
    assert SHOWN["enrolment digests"] == f"secret  {secret_digest(code.secret)}\nanchor  {code.anchor.hex()}"


def test_the_signed_time_of_the_page() -> None:
    signed = decode(_json("SignedBytes"), SignedBytes)
    assert signed == SIGNED_TIME
    assert decode(signed.checked(GATEWAY_KEY, what="it"), TimeAnswer) == TIME


@pytest.mark.parametrize("name", ["package, ChaCha20-Poly1305", "package, AES-256-GCM"])
def test_the_packages_of_the_page_lead_to_the_model(name: str) -> None:
    package, content_key = _bytes(name), unwrap(_bytes("wrapped key"), KEYS, KEY_ID)
    assert content_key == CONTENT_KEY == _bytes("content key")
    header = read_header(package)
    assert apply(header.encoding, unseal(package, content_key), base=None, size=header.size) == MODEL
    if header.cipher == HEADER.cipher:
        assert header == HEADER
