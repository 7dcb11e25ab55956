"""The gateway's check of signatures refuses whatever the devices' own refuses, and more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.samples import KEYS, OTHER_KEYS, each_bit_flipped
from tinymlops.errors import UntrustedError
from tinymlops.gateway.signatures import verify
from tinymlops.wire import identity

ORDER = 2**252 + 27742317777372353535851937790883648493


def test_test_2_of_rfc_8032() -> None:
    """RFC 8032 §7.1, TEST 2."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    verify(public, signature, b"\x72", what="the vector")


@given(st.binary(max_size=300))
def test_both_libraries_take_an_honest_signature(message: bytes) -> None:
    signature = KEYS.sign(message)
    for check in (verify, identity.verify):
        check(KEYS.public.signing, signature, message, what="it")
        with pytest.raises(UntrustedError):
            check(OTHER_KEYS.public.signing, signature, message, what="it")


def test_no_bit_of_a_signature_or_message_may_flip() -> None:
    signature = KEYS.sign(b"message")
    for changed in each_bit_flipped(signature):
        with pytest.raises(UntrustedError, match="the signature of the report does not hold"):
            verify(KEYS.public.signing, changed, b"message", what="the report")
    for changed in each_bit_flipped(b"message"):
        with pytest.raises(UntrustedError):
            verify(KEYS.public.signing, signature, changed, what="the report")


def test_a_signature_has_one_form() -> None:
    signature = KEYS.sign(b"message")
    other_s = int.from_bytes(signature[32:], "little") + ORDER
    with pytest.raises(UntrustedError):
        verify(KEYS.public.signing, signature[:32] + other_s.to_bytes(32, "little"), b"message", what="it")


def test_bytes_can_not_wander_between_signature_and_message() -> None:
    signature = KEYS.sign(b"message")
    for cut in (63, 65):
        whole = signature + b"message"
        with pytest.raises(UntrustedError):
            verify(KEYS.public.signing, whole[:cut], whole[cut:], what="it")


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65), bytes(64)])
@pytest.mark.parametrize("key", [b"", bytes(31), bytes(32), b"\xff" * 32, KEYS.public.signing])
def test_what_is_no_signature_or_key_does_not_hold(signature: bytes, key: bytes) -> None:
    with pytest.raises(UntrustedError):
        verify(key, signature, b"message", what="it")
