"""Whatever bytes arrive: a value or one of our errors, never another exception, and never much memory."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.samples import CONTENT_KEY, FACTS, KEYS, PAYLOAD, REQUEST, SENT_AS_JSON, SENT_PACKED, name_of
from tinymlops.errors import FormatError, RefusedError, UntrustedError
from tinymlops.wire.deltas import Encoding, apply
from tinymlops.wire.encoding import Versioned, decode, decode_packed, encode, encode_packed
from tinymlops.wire.identity import DeviceKeys
from tinymlops.wire.key_wrapping import unwrap
from tinymlops.wire.messages import Problem, SignedBytes, TelemetryBatch
from tinymlops.wire.request_signing import Request, check, read_signature, sign
from tinymlops.wire.sealing import Cipher, PackageHeader, read_header, seal, unseal

OURS = (FormatError, UntrustedError, RefusedError)
KINDS_OF_JSON = [*(type(value) for value in SENT_AS_JSON), SignedBytes, Problem]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=80)
    | st.sampled_from(("AA==", "activity", "a" * 64, "0" * 32, "releases/a/1/b", "trial"))
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def quiet(call: Callable[[], object]) -> None:
    with contextlib.suppress(*OURS):
        call()


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """``good`` with a few bytes replaced, cut out or put in."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 3)))
        content[at:end] = draw(st.binary(max_size=5))
    return bytes(content)


@pytest.mark.parametrize("kind", KINDS_OF_JSON, ids=lambda kind: kind.__name__)
@given(content=st.binary(max_size=200))
def test_any_bytes_as_json(kind: type[msgspec.Struct], content: bytes) -> None:
    quiet(lambda: decode(content, kind))


@pytest.mark.parametrize("value", SENT_AS_JSON, ids=name_of)
@given(data=st.data())
def test_damaged_json(value: Versioned, data: st.DataObject) -> None:
    content = data.draw(damaged(encode(value)))
    quiet(lambda: decode(content, type(value)))


@pytest.mark.parametrize("value", SENT_AS_JSON, ids=name_of)
@given(data=st.data())
def test_json_with_another_value_in_a_field(value: Versioned, data: st.DataObject) -> None:
    fields = msgspec.json.decode(encode(value))
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(JSON)
    content = msgspec.json.encode(fields)
    quiet(lambda: decode(content, type(value)))


@pytest.mark.parametrize("value", SENT_PACKED, ids=name_of)
@given(data=st.data())
def test_damaged_messagepack(value: Versioned, data: st.DataObject) -> None:
    content = data.draw(damaged(encode_packed(value)) | st.binary(max_size=100))
    quiet(lambda: decode_packed(content, type(value)))


@given(damaged(seal(PAYLOAD, CONTENT_KEY, FACTS, Cipher.AES_256_GCM)) | st.binary(max_size=100).map(b"TMZ\x01".__add__))
def test_damaged_packages(content: bytes) -> None:
    quiet(lambda: read_header(content))
    quiet(lambda: unseal(content, CONTENT_KEY))


@given(st.binary(max_size=100))
def test_any_bytes_as_keys(content: bytes) -> None:
    quiet(lambda: DeviceKeys.from_bytes(content))
    quiet(lambda: DeviceKeys.from_bytes(b"TMK\x01" + content))
    quiet(lambda: unwrap(content, KEYS, "key"))


HEADER_TEXT = st.text(max_size=60) | st.sampled_from(list(sign(REQUEST, KEYS, now_s=1.0).values()))


@given(
    st.dictionaries(st.sampled_from(("signature", "signature-input", "content-digest")), HEADER_TEXT),
    st.text(max_size=10),
    st.text(max_size=20),
    st.binary(max_size=20),
)
def test_any_text_as_a_request(headers: dict[str, str], method: str, target: str, body: bytes) -> None:
    quiet(lambda: check(Request(method, target, body), read_signature(headers), KEYS.public.signing))


@given(
    st.sampled_from(list(Encoding)) | st.text(max_size=5), st.binary(max_size=200), st.none() | st.binary(max_size=50)
)
def test_any_bytes_as_a_payload(encoding: str, payload: bytes, base: bytes | None) -> None:
    quiet(lambda: apply(encoding, payload, base=base, size=64))


# --- memory


def _hostile() -> list[tuple[str, bytes]]:
    return [
        ("a long list", b'{"v":1,"releases":[' + b"0," * 50_000 + b"0]}"),
        ("a deep list", b'{"v":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ("a long number", b'{"v":' + b"9" * 200_000 + b"}"),
        ("many unknown fields", b"{" + b",".join(b'"%d":0' % n for n in range(20_000)) + b"}"),
        ("a long name", b'{"' + b"a" * 200_000 + b'":0}'),
    ]


@pytest.mark.parametrize("content", [content for _, content in _hostile()], ids=[name for name, _ in _hostile()])
@pytest.mark.parametrize("kind", KINDS_OF_JSON, ids=lambda kind: kind.__name__)
def test_json_takes_no_more_memory_than_a_small_multiple(kind: type[msgspec.Struct], content: bytes) -> None:
    assert _peak(lambda: decode(content, kind)) < 200_000 + 4 * len(content)


@pytest.mark.parametrize(
    "head", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
)
@pytest.mark.parametrize(
    "before", [b"", b"\x81\xa7records", b"\x81\xa1x", b"\x81\xa7records\x91", b"\x81\xa7records\x91\x93\x01\xa1a"]
)
def test_a_length_that_is_only_promised_takes_no_memory(head: bytes, before: bytes) -> None:
    assert _peak(lambda: decode_packed(before + head, TelemetryBatch)) < 100_000
    assert _peak(lambda: decode_packed(before + head, PackageHeader)) < 100_000


def _peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        quiet(call)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
