from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from tests.unit.wire.samples import KEYS, OTHER_KEYS, each_bit_flipped
from tinymlops.errors import FormatError, UntrustedError
from tinymlops.wire.identity import _SMALL_ORDER_U, _SMALL_ORDER_Y, DeviceKeys, PublicKeys, verify

PRIME = 2**255 - 19


def test_the_device_id_of_known_keys_never_changes() -> None:
    assert KEYS.device_id == "b0ad74674cbfcd86f01fb305773fc935"
    assert OTHER_KEYS.device_id == "e362ed4bd5f86cc37d0894dc064e7f86"
    assert KEYS.public.device_id == KEYS.device_id


def test_the_device_id_depends_on_both_keys_and_their_order() -> None:
    one, other = KEYS.public, OTHER_KEYS.public
    ids = {PublicKeys(*pair).device_id for pair in itertools.permutations((one.signing, one.sealing, other.sealing), 2)}
    assert len(ids) == 6


def test_test_2_of_rfc_8032() -> None:
    """RFC 8032 §7.1, TEST 2."""
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    keys = DeviceKeys.from_bytes(b"TMK\x01" + secret + bytes(32))
    assert keys.public.signing == public
    assert keys.sign(b"\x72") == signature
    verify(public, signature, b"\x72", what="the vector")


def test_a_signature_has_one_form() -> None:
    """RFC 8032 §5.1.7: S below the group's order, so that nobody can make a second signature out of one."""
    order = 2**252 + 27742317777372353535851937790883648493
    signature = KEYS.sign(b"message")
    other_s = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(UntrustedError):
        verify(KEYS.public.signing, signature[:32] + other_s.to_bytes(32, "little"), b"message", what="it")


def test_no_bit_of_a_signature_may_flip() -> None:
    for changed in each_bit_flipped(KEYS.sign(b"message")):
        with pytest.raises(UntrustedError, match="the signature of the report does not hold"):
            verify(KEYS.public.signing, changed, b"message", what="the report")


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65), bytes(64)])
@pytest.mark.parametrize("key", [b"", bytes(31), b"\xff" * 32, KEYS.public.signing])
def test_what_is_no_signature_or_key_does_not_hold(signature: bytes, key: bytes) -> None:
    with pytest.raises(UntrustedError):
        verify(key, signature, b"message", what="it")


def test_the_key_file_brings_the_keys_back() -> None:
    fresh = DeviceKeys.generate()
    again = DeviceKeys.from_bytes(fresh.to_bytes())
    assert (again.device_id, again.to_bytes()) == (fresh.device_id, fresh.to_bytes())
    assert len(fresh.to_bytes()) == 68
    assert fresh.device_id != DeviceKeys.generate().device_id


@pytest.mark.parametrize(
    "content", [b"", b"TMK\x02" + bytes(64), b"TMK\x01" + bytes(63), b"TMK\x01" + bytes(65), b"tmk\x01" + bytes(64)]
)
def test_what_is_no_key_file_is_refused(content: bytes) -> None:
    with pytest.raises(FormatError, match="not a device key file of a known version"):
        DeviceKeys.from_bytes(content)


def test_no_key_shows_in_a_traceback() -> None:
    secret = KEYS.to_bytes()[4:]
    assert not any(text in repr(KEYS) for text in (secret[:32].hex(), secret[32:].hex(), repr(secret[:32])))


# --- points of small order


def _root(square: int) -> int | None:
    square %= PRIME
    root = pow(square, (PRIME + 3) // 8, PRIME)
    if root * root % PRIME != square:
        root = root * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    return root if root * root % PRIME == square else None


def _order_8_y() -> set[int]:
    """Doubling gives y = (x² + y²) / (1 − d·x²·y²) on −x² + y² = 1 + d·x²·y²; y = 0 there makes d·y⁴ + 2·y² = 1."""
    d = -121665 * pow(121666, -1, PRIME) % PRIME
    root = _root(1 + d)
    assert root is not None
    squares = ((sign * root - 1) * pow(d, -1, PRIME) for sign in (1, -1))
    found = [y for square in squares if (y := _root(square)) is not None]
    return {sign * y % PRIME for y in found for sign in (1, -1)}


def test_the_lists_are_what_the_curves_have() -> None:
    y_of_8 = _order_8_y()
    assert len(y_of_8) == 2
    assert {0, 1, PRIME - 1} | y_of_8 == _SMALL_ORDER_Y
    # u = (1 + y) / (1 − y), RFC 7748 §4.1; −1 lies on the twist.
    assert {0, 1, PRIME - 1} | {(1 + y) * pow(1 - y, -1, PRIME) % PRIME for y in y_of_8} == _SMALL_ORDER_U


def _spellings(coordinate: int) -> list[bytes]:
    numbers = [coordinate] if coordinate + PRIME >= 2**255 else [coordinate, coordinate + PRIME]
    return [(number + top).to_bytes(32, "little") for number in numbers for top in (0, 2**255)]


@pytest.mark.parametrize("key", [key for u in sorted(_SMALL_ORDER_U) for key in _spellings(u)], ids=bytes.hex)
def test_a_sealing_key_that_shares_no_secret_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match="shared key"):
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(key))
    with pytest.raises(FormatError, match="small order"):
        PublicKeys(KEYS.public.signing, key)


@pytest.mark.parametrize("key", [key for y in sorted(_SMALL_ORDER_Y) for key in _spellings(y)], ids=bytes.hex)
def test_a_signing_key_that_anybody_can_sign_for_is_refused(key: bytes) -> None:
    with pytest.raises(FormatError, match="small order"):
        PublicKeys(key, KEYS.public.sealing)


@pytest.mark.parametrize("lengths", [(31, 32), (32, 33), (0, 0)])
def test_public_keys_are_32_bytes(lengths: tuple[int, int]) -> None:
    with pytest.raises(FormatError, match="32 bytes each"):
        PublicKeys(b"k" * lengths[0], b"k" * lengths[1])
