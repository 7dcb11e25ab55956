from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire import hpke
from tests.unit.wire.samples import CONTENT_KEY, KEY_ID, KEYS, OTHER_KEYS, each_bit_flipped
from tinymlops.errors import FormatError, UntrustedError
from tinymlops.wire.identity import sealing_public_key
from tinymlops.wire.key_wrapping import WRAPPED_KEY_BYTES, new_content_key, unwrap, wrap

INFO = f"tinymlops/content-key/v1|{KEYS.device_id}|{KEY_ID}".encode()


def test_the_vector_of_rfc_9180() -> None:
    """RFC 9180 appendix A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode, sequence 0.

    The library's one-shot interface takes no associated data and the published vectors have some, so they check the
    comparison code of these tests, and that code checks the library.
    """
    ephemeral = bytes.fromhex("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600")
    recipient = bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
    info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
    plain = bytes.fromhex("4265617574792069732074727574682c20747275746820626561757479")
    sealed = bytes.fromhex(
        "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
    )
    private = X25519PrivateKey.from_private_bytes(recipient)
    made = hpke.seal(plain, private.public_key(), X25519PrivateKey.from_private_bytes(ephemeral), info, b"Count-0")
    assert made == sealed
    assert hpke.unseal(sealed, private, info, b"Count-0") == plain
    exchanged = private.exchange(X25519PublicKey.from_public_bytes(sealed[:32]))
    shared = hpke.shared_secret(exchanged, sealed[:32], private.public_key().public_bytes_raw())
    assert shared.hex() == "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7"


@given(st.binary(min_size=32, max_size=32))
def test_what_we_wrap_others_open_and_what_others_wrap_we_open(key: bytes) -> None:
    wrapped = wrap(key, KEYS.public, KEY_ID)
    assert len(wrapped) == WRAPPED_KEY_BYTES
    assert hpke.unseal(wrapped, KEYS.sealing, INFO) == key
    theirs = hpke.seal(key, sealing_public_key(KEYS.public), X25519PrivateKey.generate(), INFO)
    assert unwrap(theirs, KEYS, KEY_ID) == key


def test_a_key_is_wrapped_anew_each_time() -> None:
    assert wrap(CONTENT_KEY, KEYS.public, KEY_ID)[:32] != wrap(CONTENT_KEY, KEYS.public, KEY_ID)[:32]
    assert new_content_key() != new_content_key()


def test_another_device_can_not_open_it() -> None:
    with pytest.raises(UntrustedError, match="was not wrapped for this device and package"):
        unwrap(wrap(CONTENT_KEY, KEYS.public, KEY_ID), OTHER_KEYS, KEY_ID)


@pytest.mark.parametrize("key_id", ["activity-7-int", "activity-8-int8", "", KEY_ID + "|", KEY_ID.upper()])
def test_it_opens_for_no_other_package(key_id: str) -> None:
    with pytest.raises(UntrustedError):
        unwrap(wrap(CONTENT_KEY, KEYS.public, KEY_ID), KEYS, key_id)


def test_no_bit_of_it_may_flip() -> None:
    """Not even the 256th, which X25519 ignores (RFC 7748 §5): the key schedule takes it in."""
    for changed in each_bit_flipped(wrap(CONTENT_KEY, KEYS.public, KEY_ID)):
        with pytest.raises(UntrustedError):
            unwrap(changed, KEYS, KEY_ID)


def test_it_may_be_neither_shorter_nor_longer() -> None:
    wrapped = wrap(CONTENT_KEY, KEYS.public, KEY_ID)
    for changed in (*(wrapped[:length] for length in range(WRAPPED_KEY_BYTES)), wrapped + b"\x00"):
        with pytest.raises(UntrustedError):
            unwrap(changed, KEYS, KEY_ID)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_neither_goes_in_nor_comes_out(length: int) -> None:
    with pytest.raises(FormatError, match="not 32 bytes"):
        wrap(bytes(length), KEYS.public, KEY_ID)
    theirs = hpke.seal(bytes(length), sealing_public_key(KEYS.public), X25519PrivateKey.generate(), INFO)
    with pytest.raises(UntrustedError):
        unwrap(theirs, KEYS, KEY_ID)
