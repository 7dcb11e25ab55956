from __future__ import annotations

import json

import msgspec
import pytest

import tinymlops.wire
from tests.unit.wire.samples import MANIFEST, SENT, SENT_AS_JSON, SENT_PACKED, SENT_SIGNED, changed_version, name_of
from tinymlops.errors import FormatError
from tinymlops.wire.encoding import Versioned, decode, decode_packed, encode, encode_packed
from tinymlops.wire.fields import Count, DeviceId, Sha256, TargetPath, Word, one_line
from tinymlops.wire.messages import Acknowledgement, TelemetryBatch, TimeRequest


def _kinds(parent: type[Versioned]) -> set[type[Versioned]]:
    below = parent.__subclasses__()
    return {*below, *(kind for child in below for kind in _kinds(child))}


def test_every_versioned_type_has_a_sample() -> None:
    room = f"{tinymlops.wire.__name__}."
    here = {kind for kind in _kinds(Versioned) if kind.__module__.startswith(room)}
    assert here == {type(value) for value in SENT} | {type(value) for value, _, _ in SENT_SIGNED}


@pytest.mark.parametrize("value", SENT_AS_JSON, ids=name_of)
def test_json_brings_the_value_back_and_equal_values_give_equal_bytes(value: Versioned) -> None:
    there = encode(value)
    assert decode(there, type(value)) == value
    assert encode(decode(there, type(value))) == there


@pytest.mark.parametrize("value", SENT_PACKED, ids=name_of)
def test_messagepack_brings_the_value_back_and_equal_values_give_equal_bytes(value: Versioned) -> None:
    there = encode_packed(value)
    assert decode_packed(there, type(value)) == value
    assert encode_packed(decode_packed(there, type(value))) == there


@pytest.mark.parametrize("version", [0, 2, -1, 2**63 - 1])
@pytest.mark.parametrize("value", SENT, ids=name_of)
def test_an_unknown_version_is_refused_by_its_number(value: Versioned, version: int) -> None:
    packed, newer = value in SENT_PACKED, changed_version(value, version)
    content = encode_packed(newer) if packed else encode(newer)
    with pytest.raises(FormatError, match=rf"is of version {version}, and this software knows version 1: update"):
        (decode_packed if packed else decode)(content, type(value))


@pytest.mark.parametrize("value", SENT_AS_JSON, ids=name_of)
def test_a_newer_version_is_named_even_where_its_fields_are_others(value: Versioned) -> None:
    with pytest.raises(FormatError, match="is of version 2"):
        decode(b'{"v":2,"quite":"different"}', type(value))


def test_a_field_that_is_not_known_is_passed_over() -> None:
    content = json.loads(encode(MANIFEST))
    assert decode(json.dumps({**content, "new": {"a": [1]}}).encode(), type(MANIFEST)) == MANIFEST


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"nonce":1}',
        b'{"nonce":"AAAA"}',
        b"\xff",
        b"[" * 100_000,
        b'{"v":' + b"9" * 100_000,
    ],
)
def test_what_is_no_time_request_is_one_sentence(content: bytes) -> None:
    with pytest.raises(FormatError, match="the question can't be read"):
        decode(content, TimeRequest, what="the question")


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"\xc1", b"\x91" * 100_000, b"\x81\xa7records\xdd\xff\xff\xff\xff", b"\x81\xa7records\x01"],
)
def test_what_is_no_batch_is_one_sentence(content: bytes) -> None:
    with pytest.raises(FormatError, match="TelemetryBatch can't be read"):
        decode_packed(content, TelemetryBatch)


def test_nothing_may_follow_a_value() -> None:
    good = encode(Acknowledgement(through=1))
    packed = encode_packed(SENT_PACKED[1])
    with pytest.raises(FormatError):
        decode(good + b"{}", Acknowledgement)
    with pytest.raises(FormatError):
        decode_packed(packed + b"\x00", TelemetryBatch)


def test_a_number_that_json_can_not_say_does_not_arrive() -> None:
    with pytest.raises(FormatError):
        decode(encode(msgspec.structs.replace(MANIFEST, temperature=float("nan"))), type(MANIFEST))


@pytest.mark.parametrize("text", ["a\n", "", "-a", ".a", "a/b", "a b", "a" * 65, "ä", "a\x00", "a\r\n"])
def test_a_word_is_a_plain_name(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, Word)


@pytest.mark.parametrize(
    "text",
    [
        "releases/../1/a",
        "releases/a/1/..",
        "releases/a/1/.hidden",
        "releases/a/01/b",
        "releases/a/1/b\n",
        "releases/a/1/b/c",
        "releases/a//b",
        "/releases/a/1/b",
        "devices/" + "0" * 32,
        "releases/a/٣/b",
        "releases/a/1/" + "b" * 256,
    ],
)
def test_a_path_stays_where_the_offline_key_signs(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, TargetPath)


@pytest.mark.parametrize("text", ["0" * 63, "0" * 65, "A" * 64, "0" * 64 + "\n", "g" * 64])
def test_a_digest_is_64_lower_case_digits(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, Sha256)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text[:31] + text[-1] * 2, DeviceId)


@pytest.mark.parametrize("number", [-1, 2**53, 1.5, True, "1"])
def test_a_count_is_a_whole_number_that_every_reader_can_hold(number: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(number, Count)


def test_text_from_another_machine_can_not_steer_a_terminal() -> None:
    assert one_line("a\x1b[31mred\nb\u202ec\ud800") == "a [31mred b c "
    assert one_line("x" * 1000) == "x" * 500
