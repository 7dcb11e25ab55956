"""The sealed package: a header anybody can read and nobody can change, then encrypted chunks.

    ┌ "TMZ" 0x01 │ header length, u32 │ header, MessagePack ┬ chunk 0 │ tag ┬ chunk 1 │ tag ┬ … ┐

Each chunk is encrypted on its own (STREAM: Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015). Its nonce is
prefix ‖ number ‖ last-flag and the digest of everything before the first chunk is its associated data, so that chunks
can't be changed, swapped, dropped, repeated or moved into another package. A content key seals one package and no
other.

Neither cipher commits to its key: somebody who picks two keys can make one package that opens with both, to two
payloads. What a payload has to be is therefore decided by the digest in the signed manifest, never by the seal.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from msgspec import Meta

from tinymlops.errors import FormatError, UntrustedError
from tinymlops.wire.encoding import Versioned, decode_packed, encode_packed
from tinymlops.wire.fields import MOST_MODEL_BYTES, Sha256, Sha256OrNothing, Word

CHUNK_BYTES = 64 * 1024
MOST_PAYLOAD_BYTES = MOST_MODEL_BYTES + MOST_MODEL_BYTES // 64
"""What can't be compressed grows a little."""
_MAGIC = b"TMZ\x01"
_KEY_BYTES = 32
_PREFIX_BYTES = 7
_TAG_BYTES = 16
_MOST_HEADER_BYTES = 4096
_LENGTH = struct.Struct(">I")
_START = len(_MAGIC) + _LENGTH.size


class Cipher(StrEnum):
    """How the chunks are encrypted."""

    AES_256_GCM = "aes-256-gcm"
    """Where the CPU has AES instructions: about four times as fast as the other."""
    CHACHA20_POLY1305 = "chacha20-poly1305"
    """Everywhere else."""


_CIPHERS: dict[Cipher, type[AESGCM | ChaCha20Poly1305]] = {
    Cipher.AES_256_GCM: AESGCM,
    Cipher.CHACHA20_POLY1305: ChaCha20Poly1305,
}


class PackageHeader(Versioned, frozen=True, kw_only=True):
    """What a package says of itself, under the protection of every chunk's tag.

    Attributes:
        cipher: Of the chunks.
        key_id: Names the content key.
        encoding: How the model is encoded inside: see `tinymlops.wire.deltas`.
        base: SHA-256 of the model that a difference starts from, or empty.
        sha256: Of the model, after decoding.
        size: Of the model, bytes.
        payload_bytes: Of the plain text of all chunks together.
        chunk_bytes: Plain text of each chunk but the last.
        nonce_prefix: 7 bytes.
    """

    cipher: Cipher
    key_id: Word
    encoding: Word
    sha256: Sha256
    size: Annotated[int, Meta(ge=0, le=MOST_MODEL_BYTES)]
    payload_bytes: Annotated[int, Meta(ge=0, le=MOST_PAYLOAD_BYTES)]
    nonce_prefix: Annotated[bytes, Meta(min_length=_PREFIX_BYTES, max_length=_PREFIX_BYTES)]
    base: Sha256OrNothing = ""
    chunk_bytes: int = CHUNK_BYTES


def preferred_cipher(cpuinfo: Path = Path("/proc/cpuinfo")) -> Cipher:
    """AES-GCM where this machine's CPU says that it has AES instructions, else ChaCha20."""
    try:
        flags = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        flags = ""
    has_aes = re.search(r"^(?:flags|Features)\s*:.*\baes\b", flags, re.MULTILINE)
    return Cipher.AES_256_GCM if has_aes else Cipher.CHACHA20_POLY1305


def seal(payload: bytes, content_key: bytes, facts: SealedModel, cipher: Cipher) -> bytes:
    """A package.

    Args:
        payload: The encoded model.
        content_key: 32 bytes, never used for another package.
        facts: What the payload is.
        cipher: Of the chunks.

    Raises:
        FormatError: The key is not 32 bytes, or the facts are such as no device would accept.
    """
    if len(content_key) != _KEY_BYTES:
        raise FormatError(f"a content key is not {_KEY_BYTES} bytes long", "take one from new_content_key()")
    header = PackageHeader(
        cipher=cipher,
        key_id=facts.key_id,
        encoding=facts.encoding,
        base=facts.base,
        sha256=facts.sha256,
        size=facts.size,
        payload_bytes=len(payload),
        nonce_prefix=os.urandom(_PREFIX_BYTES),
        chunk_bytes=CHUNK_BYTES,
    )
    packed = encode_packed(header)
    start_of_file = _MAGIC + _LENGTH.pack(len(packed)) + packed
    read_header(start_of_file)
    aead, bound_to = _CIPHERS[cipher](content_key), hashlib.sha256(start_of_file).digest()
    chunks = [
        aead.encrypt(nonce, payload[start : start + header.chunk_bytes], bound_to) for start, nonce in _chunks(header)
    ]
    return b"".join((start_of_file, *chunks))


class SealedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a payload is; the fields are those of `PackageHeader`."""

    key_id: str
    encoding: str
    sha256: str
    size: int
    base: str = ""


def read_header(package: bytes | memoryview) -> PackageHeader:
    """The header of a package, which is not yet believed: only `unseal` checks it.

    Raises:
        FormatError: This is no package, or one of an unknown version or cipher.
    """
    return _split(package)[0]


def unseal(package: bytes | memoryview, content_key: bytes) -> bytearray:
    """The payload of a package, in memory; nothing comes back unless every chunk holds.

    Raises:
        FormatError: This is no package.
        UntrustedError: Key, header or a chunk is not what it was.
    """
    if len(content_key) != _KEY_BYTES:
        raise UntrustedError(f"a content key is not {_KEY_BYTES} bytes long", "wait for the next assignment")
    header, bound, body = _split(package)
    expected = header.payload_bytes + _TAG_BYTES * _chunk_count(header)
    if len(body) != expected:
        raise FormatError(f"a package has {len(body)} encrypted bytes and not {expected}", "download it again")
    payload = bytearray(header.payload_bytes)
    try:
        aead, bound_to = _CIPHERS[header.cipher](content_key), hashlib.sha256(bound).digest()
        for start, nonce in _chunks(header):
            at = start + start // header.chunk_bytes * _TAG_BYTES
            sealed = body[at : at + header.chunk_bytes + _TAG_BYTES]
            payload[start : start + len(sealed) - _TAG_BYTES] = aead.decrypt(nonce, sealed, bound_to)
    except (InvalidTag, ValueError) as error:
        raise UntrustedError(
            f"the seal of package {header.key_id} does not hold", "it was changed or damaged: download it again"
        ) from error
    return payload


def _split(package: bytes | memoryview) -> tuple[PackageHeader, memoryview, memoryview]:
    """The header, the bytes that every chunk is bound to, and the chunks."""
    view = memoryview(package)
    if len(view) < _START or bytes(view[: len(_MAGIC)]) != _MAGIC:
        raise FormatError("this is not a sealed package of a known version", "download it again")
    (length,) = _LENGTH.unpack(view[len(_MAGIC) : _START])
    if length > min(_MOST_HEADER_BYTES, len(view) - _START):
        raise FormatError("the header of a package is longer than allowed", "download it again")
    end = _START + length
    header = decode_packed(view[_START:end], PackageHeader, what="the header of a package")
    if header.chunk_bytes != CHUNK_BYTES:
        raise FormatError(f"the chunks of a package are {header.chunk_bytes} bytes", "download it again")
    return header, view[:end], view[end:]


def _chunk_count(header: PackageHeader) -> int:
    # An empty payload still has one chunk: its tag is what protects the header.
    return max(1, -(-header.payload_bytes // header.chunk_bytes))


def _chunks(header: PackageHeader) -> Iterator[tuple[int, bytes]]:
    count = _chunk_count(header)
    for number in range(count):
        yield number * header.chunk_bytes, header.nonce_prefix + struct.pack(">IB", number, number == count - 1)
