"""Small signed values: COSE_Sign1 (RFC 9052 §4.2) with Ed25519 over deterministic CBOR (RFC 8949 §4.2).

There is one form only. Header parameters, order and lengths are fixed, and what is read must be, byte for byte, what
would be written: nobody can make a second message of a valid one. Nothing but the envelope's four fixed parts is
looked at before the signature holds. The kind of a value goes into the signature (as external data), so that a
voucher can't pass for an acknowledgement, although one key signs both.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Protocol, TypeVar

import cbor2
import msgspec

from tinymlops.errors import FormatError
from tinymlops.wire.encoding import refuse_unknown_version
from tinymlops.wire.identity import verify

T = TypeVar("T", bound=msgspec.Struct)
_SIGN1, _ALGORITHM, _EDDSA = 18, 1, -8
_MOST_BYTES = 16 * 1024
_SIGNATURE_BYTES = 64
_LENGTHS = {24: ">B", 25: ">H"}
_PROTECTED = cbor2.dumps({_ALGORITHM: _EDDSA}, canonical=True)
_START = b"\xd2\x84" + cbor2.dumps(_PROTECTED) + b"\xa0"  # tag 18, array of four, protected header, empty map


class Verifier(Protocol):
    """Checks an Ed25519 signature, as `tinymlops.wire.identity.verify` does."""

    def __call__(self, signing_key: bytes, signature: bytes, message: bytes, /, *, what: str) -> None:
        """Raise `UntrustedError` where it does not hold."""


def signed(value: msgspec.Struct, kind: str, sign: Callable[[bytes], bytes]) -> bytes:
    """``value`` as a COSE_Sign1 message.

    Args:
        value: Becomes a CBOR map of its fields, with sorted keys.
        kind: What it is, for example ``"voucher"``; whoever reads it must expect just that.
        sign: Makes an Ed25519 signature of 64 bytes.
    """
    payload = encode_cbor(value)
    signature = sign(to_be_signed(payload, kind))
    return cbor2.dumps(cbor2.CBORTag(_SIGN1, [_PROTECTED, {}, payload, signature]), canonical=True)


def opened(message: bytes, kind: str, signing_key: bytes, expected: type[T], *, check: Verifier = verify) -> T:
    """The value in a message, once its signature holds.

    Args:
        message: As `signed` made it.
        kind: What it must be.
        signing_key: Ed25519 public key, 32 bytes.
        expected: Type of the value.
        check: Another library's check of the signature, where there is a quicker one.

    Raises:
        FormatError: It is no such message, or of a version that is not known.
        UntrustedError: The key's owner did not sign this, or not as this kind.
    """
    payload, signature = _parts(message, kind)
    check(signing_key, signature, to_be_signed(payload, kind), what=f"the {kind}")
    return decode_cbor(payload, expected, what=f"the {kind}")


def unchecked(message: bytes, kind: str, expected: type[T]) -> T:
    """The value in a message, without a look at its signature: to find out whose key it should be.

    Raises:
        FormatError: It is no such message.
    """
    return decode_cbor(_parts(message, kind)[0], expected, what=f"the {kind}")


def to_be_signed(payload: bytes, kind: str) -> bytes:
    """What the signature covers: the Sig_structure of RFC 9052 §4.4."""
    return _before_payload(kind) + _packed(payload)


def external_data(kind: str) -> bytes:
    """What the signature covers beside the message (``external_aad``)."""
    return f"tinymlops/{kind}/v1".encode()


def encode_cbor(value: msgspec.Struct) -> bytes:
    """``value`` as a CBOR map with sorted keys and shortest lengths."""
    return cbor2.dumps(msgspec.to_builtins(value, builtin_types=(bytes,)), canonical=True)


def decode_cbor(content: bytes, kind: type[T], *, what: str) -> T:
    """The value that CBOR ``content`` holds.

    Raises:
        FormatError: It is no ``kind``, of another version, or written in another way than `encode_cbor` does.
    """
    try:
        value = msgspec.convert(cbor2.loads(content), kind)
    except (cbor2.CBORDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise FormatError(f"{what} can't be read ({error})", "ask for it again") from error
    refuse_unknown_version(value, kind, what)
    if encode_cbor(value) != content:
        raise FormatError(f"{what} is not in the one form that it may have", "ask for it again")
    return value


def _parts(message: bytes, kind: str) -> tuple[bytes, bytes]:
    """Payload and signature of a message, which has nothing else that could differ."""
    if not message.startswith(_START) or len(message) > _MOST_BYTES:
        raise _no_message(kind)
    payload, rest = _byte_string(message[len(_START) :], kind)
    signature, rest = _byte_string(rest, kind)
    if rest or len(signature) != _SIGNATURE_BYTES or _packed(payload) + _packed(signature) != message[len(_START) :]:
        raise _no_message(kind)
    return payload, signature


@functools.cache
def _before_payload(kind: str) -> bytes:
    parts = (cbor2.dumps("Signature1"), cbor2.dumps(_PROTECTED), cbor2.dumps(external_data(kind)))
    return b"\x84" + b"".join(parts)


def _packed(content: bytes) -> bytes:
    """``content`` as a CBOR byte string: once a message, so not by the general encoder, which takes its time."""
    length = len(content)
    if length < min(_LENGTHS):
        return bytes((0x40 + length,)) + content
    return (b"\x58" + length.to_bytes(1, "big") if length < 256 else b"\x59" + length.to_bytes(2, "big")) + content


def _byte_string(content: bytes, kind: str) -> tuple[bytes, bytes]:
    """The CBOR byte string that ``content`` begins with, and what follows it."""
    length = content[0] - 0x40 if content else -1
    at = 1
    if length in _LENGTHS:
        form = _LENGTHS[length]
        at += struct.calcsize(form)
        if len(content) < at:
            raise _no_message(kind)
        (length,) = struct.unpack_from(form, content, 1)
    elif not 0 <= length < min(_LENGTHS):
        raise _no_message(kind)
    return content[at : at + length], content[at + length :]


def _no_message(kind: str) -> FormatError:
    return FormatError(f"this is no signed {kind}", "ask for it again")
