"""What devices and gateway say about metered use: signed in one form only, and chained."""

from __future__ import annotations

from collections.abc import Callable

import cbor2
import msgspec
import pytest
from cwt import COSE, COSEKey

from tests.support.metering import GATEWAY, GATEWAY_KEY, KEYS, NOW_S, a_voucher
from tinymlops.errors import FormatError, UntrustedError
from tinymlops.wire import cose
from tinymlops.wire.metering import (
    ACKNOWLEDGEMENT,
    CHECKPOINT,
    REVOCATION,
    VOUCHER,
    Checkpoint,
    Mark,
    Revocation,
    UsageAcknowledgement,
    UsageRecord,
    UsageReport,
    Verdict,
    Voucher,
    checked_report,
    end_of,
    first_mark,
    records_of,
)

VOUCHER_VALUE, MESSAGE = a_voucher()
START = first_mark(MESSAGE)
RECORDS = b"".join(UsageRecord.new(seq, 100, NOW_S).to_bytes() for seq in (1, 2, 3))
CHECKED = Checkpoint(serial=VOUCHER_VALUE.serial, start=START, end=end_of(START, RECORDS), at_s=int(NOW_S))
TOLD = UsageAcknowledgement(serial=VOUCHER_VALUE.serial, mark=CHECKED.end, verdict=Verdict.BILLED, at_s=int(NOW_S))
REVOKED = Revocation(serial=VOUCHER_VALUE.serial, revoked_s=int(NOW_S))
SIGNED: dict[str, tuple[msgspec.Struct, Callable[[bytes], bytes], bytes]] = {
    VOUCHER: (VOUCHER_VALUE, GATEWAY.sign, GATEWAY_KEY),
    CHECKPOINT: (CHECKED, KEYS.sign, KEYS.public.signing),
    ACKNOWLEDGEMENT: (TOLD, GATEWAY.sign, GATEWAY_KEY),
    REVOCATION: (REVOKED, GATEWAY.sign, GATEWAY_KEY),
}


@pytest.mark.parametrize("kind", SIGNED)
def test_every_single_bit_edit_of_a_message_is_rejected(kind: str) -> None:
    value, sign, key = SIGNED[kind]
    message = cose.signed(value, kind, sign)
    assert cose.opened(message, kind, key, type(value)) == value
    for bit in range(8 * len(message)):
        edited = bytearray(message)
        edited[bit // 8] ^= 1 << bit % 8
        with pytest.raises((FormatError, UntrustedError)):
            cose.opened(bytes(edited), kind, key, type(value))


def test_every_single_bit_edit_of_a_record_is_rejected() -> None:
    checkpoint = cose.signed(CHECKED, CHECKPOINT, KEYS.sign)
    assert checked_report(UsageReport(checkpoint=checkpoint, records=RECORDS), KEYS.public.signing) == CHECKED
    for bit in range(8 * len(RECORDS)):
        edited = bytearray(RECORDS)
        edited[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            checked_report(UsageReport(checkpoint=checkpoint, records=bytes(edited)), KEYS.public.signing)


@pytest.mark.parametrize("kind", SIGNED)
def test_another_library_reads_what_we_sign_and_we_read_what_it_signs(kind: str) -> None:
    value, sign, key = SIGNED[kind]
    message = cose.signed(value, kind, sign)
    public = COSEKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": _base64(key), "alg": "EdDSA"})
    content = COSE().decode(message, public, external_aad=cose.external_data(kind))
    assert content == cose.encode_cbor(value)
    assert cbor2.loads(content) == msgspec.to_builtins(value, builtin_types=(bytes,))
    if key == GATEWAY_KEY:
        private = COSEKey.from_jwk(
            {"kty": "OKP", "crv": "Ed25519", "x": _base64(key), "d": _base64(GATEWAY.private_bytes_raw()),
             "alg": "EdDSA", "use": "sig"}
        )  # fmt: skip
        theirs = COSE().encode_and_sign(
            content, private, protected={"alg": "EdDSA"}, external_aad=cose.external_data(kind)
        )
        assert theirs == message


def _base64(content: bytes) -> str:
    import base64

    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def test_a_message_of_one_kind_passes_for_no_other() -> None:
    message = cose.signed(REVOKED, REVOCATION, GATEWAY.sign)
    for kind in (VOUCHER, ACKNOWLEDGEMENT, CHECKPOINT):
        with pytest.raises(UntrustedError):
            cose.opened(message, kind, GATEWAY_KEY, Revocation)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xd2",
        MESSAGE[:-1],
        MESSAGE + b"\x00",
        MESSAGE[:9] + b"\x58",
        b"\xd2\x84\x43\xa1\x01\x27\xa0\x5b" + b"\xff" * 8,
    ],
    ids=["empty", "tag", "short", "long", "length", "huge"],
)
def test_what_is_no_message_is_refused_before_anything_is_computed(message: bytes) -> None:
    with pytest.raises(FormatError):
        cose.opened(message, VOUCHER, GATEWAY_KEY, Voucher)


def _signed_payload(payload: bytes) -> bytes:
    protected = cbor2.dumps({1: -8}, canonical=True)
    signature = GATEWAY.sign(cose.to_be_signed(payload, REVOCATION))
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))


@pytest.mark.parametrize(
    "payload",
    [
        cbor2.dumps(msgspec.to_builtins(REVOKED) | {"v": 2}, canonical=True),
        cbor2.dumps(msgspec.to_builtins(REVOKED) | {"extra": 1}, canonical=True),
        cbor2.dumps(dict(sorted(msgspec.to_builtins(REVOKED).items()))),
        cbor2.dumps(msgspec.to_builtins(REVOKED) | {"serial": "no serial"}, canonical=True),
        b"\x81" * 5000,
        b"",
    ],
    ids=["version", "field", "order", "serial", "depth", "nothing"],
)
def test_signed_content_has_one_form_only(payload: bytes) -> None:
    with pytest.raises(FormatError):
        cose.opened(_signed_payload(payload), REVOCATION, GATEWAY_KEY, Revocation)


def test_chains_of_equal_use_differ() -> None:
    one = end_of(START, UsageRecord.new(1, 100, NOW_S).to_bytes())
    other = end_of(START, UsageRecord.new(1, 100, NOW_S).to_bytes())
    assert (one.seq, one.used) == (other.seq, other.used) == (1, 100)
    assert one.head != other.head


def test_a_chain_is_bound_to_the_bytes_of_its_voucher() -> None:
    assert first_mark(MESSAGE) != first_mark(a_voucher()[1])


@pytest.mark.parametrize(
    "records",
    [RECORDS[:-1], RECORDS[18:], RECORDS[:18] + RECORDS[36:], bytes(18)],
    ids=["end", "first", "middle", "nothing"],
)
def test_records_that_leave_something_out_are_refused(records: bytes) -> None:
    with pytest.raises(FormatError):
        end_of(START, records)


def test_a_record_is_eighteen_bytes_that_can_be_read() -> None:
    assert [(one.seq, one.units, one.hour) for one in records_of(RECORDS)] == [(n, 100, 500_000) for n in (1, 2, 3)]
    assert end_of(START, RECORDS) == Mark(3, 300, CHECKED.end.head)
